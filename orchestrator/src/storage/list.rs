//! Lists in pages, each page as of the revision of the first.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::lens::Lens;
use super::{Storage, StorageError, Stored, timed};
use crate::api::{FieldSelector, LabelSelector, Resource};
use crate::metrics::store::Operation;
use crate::store::{self, Range, Revision};

/// Entries read at once while a page is filled through selectors.
const CHUNK: usize = 1_000;

/// The words of Kubernetes for a page whose revision is gone.
const CONTINUE_TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";
const LIST_TOO_OLD: &str = "The resourceVersion for the provided list is too old.";

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
        let namespace = query.namespace.as_deref();
        let lens = Lens::new(resource, self.base, namespace, &query.labels, &query.fields)?;
        let token = query.continue_token.as_deref();
        let token = token.map(|text| token_of(text, &lens.prefix)).transpose()?;
        let mut at = self.wanted(query, token.as_ref())?;
        let continued = token.is_some();
        let limit = query.limit.filter(|limit| *limit > 0);
        let mut start = token.map(|token| token.start);
        let mut items = Vec::new();
        loop {
            let chunk = limit.map(|limit| if lens.is_plain() { limit } else { CHUNK });
            let range =
                Range { prefix: &lens.prefix, start_after: start.as_deref(), limit: chunk, at };
            let page = timed(Operation::List, self.store.list(range)).await;
            let page = page.map_err(|error| self.listing(error, continued))?;
            at = Some(page.revision);
            let mut remaining = page.remaining;
            let mut entries = page.entries.into_iter();
            for entry in entries.by_ref() {
                if limit.is_some() {
                    start = Some(entry.key().to_owned());
                }
                items.extend(lens.select(entry)?);
                if limit == Some(items.len()) {
                    break;
                }
            }
            remaining += entries.len();
            if remaining == 0 || limit == Some(items.len()) {
                let more = remaining > 0;
                let revision = self.base + page.revision.0;
                let continue_token = start.filter(|_| more).map(|start| {
                    let start = start[lens.prefix.len()..].to_owned();
                    let token = serde_json::json!(Token { rv: revision, start });
                    BASE64.encode(token.to_string())
                });
                let remaining = (more && lens.is_plain()).then_some(remaining as u64);
                return Ok(ListPage { items, revision, continue_token, remaining });
            }
        }
    }

    /// The revision to read at; none for the present one.
    fn wanted(
        &self,
        query: &ListQuery,
        token: Option<&Token>,
    ) -> Result<Option<Revision>, StorageError> {
        let current = self.revision();
        let exact = match (token, query.resource_version, query.resource_version_match) {
            (Some(token), ..) => Some(token.rv),
            (None, Some(version), Some(ResourceVersionMatch::Exact)) => Some(version),
            // As it was before there was a match to say: a page is of that revision.
            (None, Some(version), None) if version > 0 && query.limit.is_some() => Some(version),
            (None, Some(version), _) if version > current => {
                return Err(StorageError::Future { wanted: version, current });
            }
            _ => None,
        };
        Ok(exact.map(|version| self.at(version)))
    }

    fn listing(&self, error: store::Error, continued: bool) -> StorageError {
        match error {
            store::Error::Compacted(_) => {
                let why = if continued { CONTINUE_TOO_OLD } else { LIST_TOO_OLD };
                StorageError::Expired(why.to_owned())
            }
            other => self.refused_query(other),
        }
    }
}

fn token_of(text: &str, prefix: &str) -> Result<Token, StorageError> {
    let invalid = || StorageError::InvalidQuery("continue key is not valid".into());
    let bytes = BASE64.decode(text).map_err(|_| invalid())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    Ok(Token { start: format!("{prefix}{}", token.start), ..token })
}
