//! Lists in pages: repositories, tags, referrers.
use axum::body::Body;
use http::{HeaderValue, Response, header};
use serde_json::json;

use super::query::Query;
use super::{Error, Server, json as respond, text};
use crate::manifest::IMAGE_INDEX;
use crate::reference::{Digest, RepositoryName};

/// Says which filter the answer went through.
const FILTERS_APPLIED: &str = "oci-filters-applied";

impl Server {
    pub(super) async fn catalog(&self, query: &Query) -> Result<Response<Body>, Error> {
        let (limit, last) = query.page()?;
        let page = self.store.list(last, limit).await?;
        let mut response = respond(&json!({ "repositories": page.entries }));
        if page.more {
            let last = page.entries.last().map(RepositoryName::as_str);
            link(&mut response, "/v2/_catalog", limit, last, None);
        }
        Ok(response)
    }

    pub(super) async fn tags(
        &self,
        repository: &RepositoryName,
        query: &Query,
    ) -> Result<Response<Body>, Error> {
        let (limit, last) = query.page()?;
        let page = self.store.tags(repository, last, limit).await?.ok_or(Error::NameUnknown)?;
        let mut response = respond(&json!({ "name": repository, "tags": page.entries }));
        if page.more {
            let last = page.entries.last().map(crate::reference::Tag::as_str);
            link(&mut response, &format!("/v2/{repository}/tags/list"), limit, last, None);
        }
        Ok(response)
    }

    /// What says something about a manifest, as an index; empty if nothing does, known or not.
    pub(super) async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        query: &Query,
    ) -> Result<Response<Body>, Error> {
        let (limit, last) = query.page()?;
        let kind = query.get("artifactType").filter(|kind| !kind.is_empty());
        let page = self.store.referrers(repository, subject, kind, last, limit).await?;
        let mut response = respond(&json!({
            "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": page.entries,
        }));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(IMAGE_INDEX));
        if kind.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        if page.more {
            let path = format!("/v2/{repository}/referrers/{subject}");
            let last = page.entries.last().map(|entry| entry.digest.as_str());
            link(&mut response, &path, limit, last, kind);
        }
        Ok(response)
    }
}

/// Says where the next page is. A page of nothing has no next one.
fn link(
    response: &mut Response<Body>,
    path: &str,
    limit: usize,
    last: Option<&str>,
    artifact_type: Option<&str>,
) {
    let Some(last) = last else { return };
    let filter = match artifact_type {
        Some(kind) => format!("&artifactType={}", percent_encode(kind)),
        None => String::new(),
    };
    let last = percent_encode(last);
    let value = text(&format!("<{path}?n={limit}&last={last}{filter}>; rel=\"next\""));
    response.headers_mut().insert(header::LINK, value);
}

/// Encodes a value for a query.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
