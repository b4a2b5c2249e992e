//! Uploads of blobs: at once, in chunks, or by mounting what another repository has.
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};
use uuid::Uuid;

use super::query::Query;
use super::sessions::Checkout;
use super::{
    Error, Server, blob_location, created, empty, header_text, next_chunk, range, received, text,
};
use crate::reference::{Digest, RepositoryName};
use crate::store::BlobWriter;

/// Names an upload, as Docker's clients look for it.
const UPLOAD_ID: &str = "docker-upload-uuid";

impl Server {
    /// POST: mounts, uploads at once, or begins a session.
    pub(super) async fn begin_upload(
        &self,
        repository: RepositoryName,
        query: &Query,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        if let Some(digest) = query.digest("mount")? {
            if let Some(source) = query.get("from") {
                let source = source.parse().map_err(Error::Name)?;
                if self.store.has_blob(&source, &digest).await?
                    && self.store.content().is_intact(&digest).await?
                    && self.store.content().renew(&digest).await?
                {
                    self.store.link_blob(&repository, &digest).await?;
                    return Ok(created(&blob_location(&repository, &digest), &digest));
                }
            }
            // What cannot be mounted is uploaded.
        } else if let Some(digest) = query.digest("digest")? {
            let mut writer = self.store.content().writer();
            receive(&mut writer, headers, body).await?;
            return self.commit(&repository, writer, &digest).await;
        }
        let writer = self.store.content().writer();
        let id = self.sessions.begin(repository.clone(), writer)?;
        Ok(progress(StatusCode::ACCEPTED, &repository, id, 0))
    }

    /// GET: how far it is.
    pub(super) fn upload_status(
        &self,
        repository: &RepositoryName,
        id: Uuid,
    ) -> Result<Response<Body>, Error> {
        let at = self.sessions.checkout(repository, id)?.writer().len();
        Ok(progress(StatusCode::NO_CONTENT, repository, id, at))
    }

    /// PATCH: one more chunk.
    pub(super) async fn continue_upload(
        &self,
        repository: &RepositoryName,
        id: Uuid,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let mut session = self.sessions.checkout(repository, id)?;
        append(&mut session, repository, id, headers, body).await?;
        let at = session.writer().len();
        Ok(progress(StatusCode::ACCEPTED, repository, id, at))
    }

    /// PUT: a last chunk, possibly empty, and the digest of the whole.
    pub(super) async fn finish_upload(
        &self,
        repository: &RepositoryName,
        id: Uuid,
        query: &Query,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let digest = query.digest("digest")?;
        let digest = digest.ok_or_else(|| Error::Digest("the parameter is missing".to_owned()))?;
        let mut session = self.sessions.checkout(repository, id)?;
        append(&mut session, repository, id, headers, body).await?;
        self.commit(repository, session.finish(), &digest).await
    }

    /// DELETE: never mind.
    pub(super) fn cancel_upload(
        &self,
        repository: &RepositoryName,
        id: Uuid,
    ) -> Result<Response<Body>, Error> {
        drop(self.sessions.checkout(repository, id)?.finish());
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn commit(
        &self,
        repository: &RepositoryName,
        writer: BlobWriter,
        digest: &Digest,
    ) -> Result<Response<Body>, Error> {
        let written = writer.commit(Some(digest)).await?;
        self.store.link_blob(repository, digest).await?;
        tracing::info!(%repository, %digest, bytes = written.size, "blob pushed");
        Ok(created(&blob_location(repository, digest), digest))
    }
}

/// Appends a body to a session, where its `Content-Range` says, if it has one.
async fn append(
    session: &mut Checkout,
    repository: &RepositoryName,
    id: Uuid,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Error> {
    let announced = match header_text(headers, header::CONTENT_RANGE) {
        None => None,
        Some(text) => {
            let (first, last) = range::chunk(text).ok_or(Error::Parameter("Content-Range"))?;
            let at = session.writer().len();
            if first != at {
                return Err(Error::Chunk { at, location: location(repository, id) });
            }
            Some(last - first + 1)
        }
    };
    if let (Some(wanted), Some(length)) = (announced, content_length(headers)?)
        && wanted != length
    {
        return Err(Error::Size);
    }
    let got = receive(session.writer(), headers, body).await?;
    match announced {
        Some(wanted) if wanted != got => Err(Error::Size),
        _ => Ok(()),
    }
}

/// Streams a body into a writer; answers its bytes.
async fn receive(writer: &mut BlobWriter, headers: &HeaderMap, body: Body) -> Result<u64, Error> {
    let announced = content_length(headers)?;
    let mut body = body.into_data_stream();
    let before = writer.len();
    while let Some(chunk) = next_chunk(&mut body).await? {
        writer.write(chunk).await?;
    }
    let got = writer.len() - before;
    match announced {
        Some(wanted) if wanted != got => Err(Error::Size),
        _ => Ok(got),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let parse = |text: &str| text.parse().map_err(|_| Error::Parameter("Content-Length"));
    header_text(headers, header::CONTENT_LENGTH).map(parse).transpose()
}

fn location(repository: &RepositoryName, id: Uuid) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, repository: &RepositoryName, id: Uuid, at: u64) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, text(&location(repository, id)));
    headers.insert(header::RANGE, text(&received(at)));
    headers.insert(UPLOAD_ID, text(&id.to_string()));
    response
}
