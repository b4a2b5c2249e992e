//! Blobs: reading, in whole or in part, and taking them from a repository.
use std::io::SeekFrom;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::range::{self, Part};
use super::{CONTENT_DIGEST, Error, Server, empty, header_text, text};
use crate::reference::{Digest, RepositoryName};
use crate::store::StoreError;

/// Bytes read from disk at once: few hand-overs between threads, little memory per download.
const PIECE: usize = 128 << 10;

impl Server {
    pub(super) async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        headers: &HeaderMap,
        sends_body: bool,
    ) -> Result<Response<Body>, Error> {
        if !self.store.has_blob(repository, digest).await? {
            return Err(Error::BlobUnknown(digest.clone()));
        }
        // What is damaged is not here: who pushes sends it again, and it costs less to look than to
        // send.
        if !self.store.content().is_intact(digest).await? {
            return Err(Error::BlobUnknown(digest.clone()));
        }
        // Who only asks is about to push, and will not send what is here.
        if !sends_body && !self.store.content().renew(digest).await? {
            return Err(Error::BlobUnknown(digest.clone()));
        }
        let (mut file, size) = match self.store.content().open_blob(digest).await {
            Err(StoreError::NotFound(digest)) => return Err(Error::BlobUnknown(digest)),
            opened => opened?,
        };
        let part = range::requested(header_text(headers, header::RANGE), size);
        let (status, first, length) = match part {
            Part::Whole => (StatusCode::OK, 0, size),
            Part::Bytes { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Part::Unsatisfiable => return Err(Error::Range { size }),
        };
        let body = if sends_body {
            let path = self.store.content().blob_path(digest);
            file.seek(SeekFrom::Start(first)).await.map_err(StoreError::io("seek in", &path))?;
            Body::from_stream(ReaderStream::with_capacity(file.take(length), PIECE))
        } else {
            Body::empty()
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::ETAG, text(&format!("\"{digest}\"")));
        headers.insert(CONTENT_DIGEST, text(digest.as_str()));
        if let Part::Bytes { first, last } = part {
            headers.insert(header::CONTENT_RANGE, text(&format!("bytes {first}-{last}/{size}")));
        }
        Ok(response)
    }

    pub(super) async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, Error> {
        if !self.store.unlink_blob(repository, digest).await? {
            return Err(Error::BlobUnknown(digest.clone()));
        }
        tracing::info!(%repository, %digest, "blob deleted");
        Ok(empty(StatusCode::ACCEPTED))
    }
}
