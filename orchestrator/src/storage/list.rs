//! Lists in pages, each page as of the revision of the first.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::stored::check_fields;
use super::{Storage, StorageError, Stored, prefix};
use crate::api::{FieldSelector, LabelSelector, Resource};
use crate::store::{self, Range, Revision};

/// Entries read at once while a page is filled through selectors.
const CHUNK: usize = 1_000;

/// How `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceVersionMatch {
    /// As of that revision.
    Exact,
    /// As of that revision or a later one.
    NotOlderThan,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Of this namespace alone.
    pub namespace: Option<String>,
    /// Selected by labels.
    pub labels: LabelSelector,
    /// Selected by fields.
    pub fields: FieldSelector,
    /// At most so many.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub continue_token: Option<String>,
    /// The revision asked for.
    pub resource_version: Option<u64>,
    /// How it is meant.
    pub resource_version_match: Option<ResourceVersionMatch>,
}

/// A page of a list.
#[derive(Clone)]
pub struct ListPage {
    /// The objects, in the order of their keys.
    pub items: Vec<Stored>,
    /// The revision they are read at.
    pub revision: u64,
    /// Where the next page begins; none if this is the last.
    pub continue_token: Option<String>,
    /// How many come after it, where no selector makes that unknown.
    pub remaining: Option<u64>,
}

/// What a continue token says.
#[derive(Serialize, Deserialize)]
struct Token {
    /// The revision of the list.
    rv: u64,
    /// The key after which to go on.
    start: String,
}

impl Storage {
    /// Lists the objects of a resource.
    pub async fn list(
        &self,
        resource: &Resource,
        query: &ListQuery,
    ) -> Result<ListPage, StorageError> {
        check_fields(resource, &query.fields)?;
        let prefix = prefix(&resource.stored_as, query.namespace.as_deref());
        let token = query.continue_token.as_deref().map(|text| token(text, &prefix)).transpose()?;
        let mut at = match (&token, query.resource_version, query.resource_version_match) {
            (Some(token), ..) => Some(Revision(token.rv)),
            (None, Some(version), Some(ResourceVersionMatch::Exact)) => Some(Revision(version)),
            (None, Some(version), _) if version > self.revision() => {
                return Err(StorageError::Future { wanted: version, current: self.revision() });
            }
            _ => None,
        };
        let plain = query.labels.is_empty() && query.fields.is_empty();
        let limit = query.limit.filter(|limit| *limit > 0);
        let mut start = token.map(|token| token.start);
        let mut items = Vec::new();
        loop {
            let missing = limit.map(|limit| limit - items.len());
            let chunk = match missing {
                Some(missing) if plain => Some(missing),
                Some(_) => Some(CHUNK),
                None => None,
            };
            let range = Range { prefix: &prefix, start_after: start.as_deref(), limit: chunk, at };
            let page = self.0.list(range).await.map_err(|error| listing(error, start.is_some()))?;
            at = Some(page.revision);
            let (count, mut remaining) = (page.entries.len(), page.remaining);
            for (i, entry) in page.entries.into_iter().enumerate() {
                let key = entry.key().to_owned();
                let stored = Stored::of(entry, resource)?;
                if stored.matches(resource, &query.labels, &query.fields)? {
                    items.push(stored);
                }
                start = Some(key);
                if limit == Some(items.len()) {
                    remaining += count - i - 1;
                    break;
                }
            }
            if remaining == 0 || limit.is_none_or(|limit| limit == items.len()) {
                let more = remaining > 0;
                let continue_token = start.filter(|_| more).map(|start| {
                    let token =
                        Token { rv: page.revision.0, start: start[prefix.len()..].to_owned() };
                    BASE64.encode(serde_json::json!(token).to_string())
                });
                let remaining = (more && plain).then_some(remaining as u64);
                return Ok(ListPage {
                    items,
                    revision: page.revision.0,
                    continue_token,
                    remaining,
                });
            }
        }
    }
}

fn token(text: &str, prefix: &str) -> Result<Token, StorageError> {
    let invalid = || StorageError::InvalidQuery("continue key is not valid".into());
    let bytes = BASE64.decode(text).map_err(|_| invalid())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    Ok(Token { start: format!("{prefix}{}", token.start), ..token })
}

fn listing(error: store::Error, continued: bool) -> StorageError {
    match error {
        store::Error::Compacted(_) if continued => StorageError::Expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.".into()),
        store::Error::Compacted(at) => StorageError::Expired(format!("The resourceVersion for the provided list is too old; the oldest is {at}.")),
        store::Error::Future { wanted, current } => StorageError::Future { wanted: wanted.0, current: current.0 },
        other => StorageError::Backend(other),
    }
}
