//! Manifests: reading, writing and deleting them by tag or digest.
use axum::body::Body;
use bytes::BytesMut;
use http::{HeaderMap, Response, StatusCode, header};

use super::{CONTENT_DIGEST, Error, Server, created, empty, header_text, next_chunk, text};
use crate::manifest::{MAX_MANIFEST_SIZE, ManifestError};
use crate::reference::{ReferenceError, RepositoryName};
use crate::store::{ManifestName, PutManifestError};

/// Answers the digest of the subject, so that a client knows that referrers are served.
const SUBJECT: &str = "oci-subject";

/// A name as it stood in the path: it may be neither tag nor digest.
type Wanted = Result<ManifestName, ReferenceError>;

impl Server {
    pub(super) async fn get_manifest(
        &self,
        repository: &RepositoryName,
        wanted: Wanted,
        headers: &HeaderMap,
        sends_body: bool,
    ) -> Result<Response<Body>, Error> {
        // What cannot be a name is not there.
        let wanted = wanted.map_err(|_| Error::ManifestUnknown)?;
        let found = self.store.manifest(repository, &wanted).await?;
        let found = found.ok_or(Error::ManifestUnknown)?;
        if !accepts(headers, &found.media_type) {
            return Err(Error::NotAcceptable(found.media_type));
        }
        if !self.store.content().is_intact(&found.digest).await? {
            return Err(Error::ManifestUnknown);
        }
        let body = if sends_body {
            Body::from(self.store.content().read(&found.digest).await?)
        } else {
            Body::empty()
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, text(&found.media_type));
        headers.insert(header::CONTENT_LENGTH, found.size.into());
        headers.insert(header::ETAG, text(&format!("\"{}\"", found.digest)));
        headers.insert(CONTENT_DIGEST, text(found.digest.as_str()));
        Ok(response)
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        wanted: Wanted,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let wanted = wanted.map_err(Error::Tag)?;
        // Parameters of the media type, such as a charset, say nothing about a manifest.
        let content_type = header_text(headers, header::CONTENT_TYPE)
            .map(|text| text.split(';').next().unwrap_or_default().trim());
        let mut bytes = BytesMut::new();
        let mut body = body.into_data_stream();
        while let Some(chunk) = next_chunk(&mut body).await? {
            if (bytes.len() + chunk.len()) as u64 > MAX_MANIFEST_SIZE {
                return Err(PutManifestError::Invalid(ManifestError::TooLarge).into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let stored =
            self.store.put_manifest(repository, &wanted, content_type, bytes.freeze()).await?;
        let location = format!("/v2/{repository}/manifests/{}", stored.digest);
        let mut response = created(&location, &stored.digest);
        if let Some(subject) = &stored.subject {
            response.headers_mut().insert(SUBJECT, text(subject.as_str()));
        }
        tracing::info!(%repository, digest = %stored.digest, "manifest pushed");
        Ok(response)
    }

    pub(super) async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        wanted: Wanted,
    ) -> Result<Response<Body>, Error> {
        let wanted = wanted.map_err(|_| Error::ManifestUnknown)?;
        if !self.store.delete_manifest(repository, &wanted).await? {
            return Err(Error::ManifestUnknown);
        }
        tracing::info!(%repository, name = ?wanted, "manifest deleted");
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// Whether the `Accept` headers allow a media type. Without one, everything is; plain JSON
/// allows any manifest, as each is JSON.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(header::ACCEPT);
    let mut ranges = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none()
        || ranges.any(|range| {
            range == media_type || matches!(range, "*/*" | "application/*" | "application/json")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{IMAGE_INDEX, IMAGE_MANIFEST};

    #[test]
    fn accept_is_a_list_over_several_headers() {
        let headers = |values: &[&'static str]| {
            let pairs = values.iter().map(|v| (header::ACCEPT, http::HeaderValue::from_static(v)));
            pairs.collect::<HeaderMap>()
        };
        assert!(accepts(&headers(&[]), IMAGE_INDEX));
        assert!(accepts(&headers(&["text/html, */*;q=0.1"]), IMAGE_INDEX));
        assert!(accepts(&headers(&["application/json"]), IMAGE_INDEX));
        assert!(accepts(&headers(&[IMAGE_MANIFEST, IMAGE_INDEX]), IMAGE_INDEX));
        assert!(!accepts(&headers(&[IMAGE_MANIFEST]), IMAGE_INDEX));
    }
}
