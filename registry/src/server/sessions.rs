//! Upload sessions: content that comes in several requests.
//!
//! ```text
//! POST → idle ⇄ (PATCH, PUT) busy → PUT done, DELETE or silence gone
//! ```
//!
//! They live in memory with their hash state, so a restart ends them and clients begin again. A
//! request takes the writer out of its session and gives it back, even if it is dropped midway;
//! what it had written until then counts.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::Error;
use crate::reference::RepositoryName;
use crate::store::BlobWriter;

/// As many uploads as may be under way: each holds a file and up to half a MiB of memory.
const MAX_UPLOADS: usize = 256;

/// How long an upload may rest between requests before it may be given up for another.
const MAX_IDLE: Duration = Duration::from_secs(3600);

/// The uploads under way.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    table: Arc<Mutex<HashMap<Uuid, Session>>>,
    max_idle: Duration,
}

#[derive(Debug)]
struct Session {
    repository: RepositoryName,
    touched: Instant,
    /// Absent while a request writes.
    writer: Option<BlobWriter>,
}

/// A session's writer in the hands of one request.
#[derive(Debug)]
pub(super) struct Checkout {
    sessions: Sessions,
    id: Uuid,
    writer: Option<BlobWriter>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { table: Arc::default(), max_idle: MAX_IDLE }
    }
}

impl Sessions {
    /// Begins an upload.
    pub(super) fn begin(
        &self,
        repository: RepositoryName,
        writer: BlobWriter,
    ) -> Result<Uuid, Error> {
        let mut table = self.table.lock();
        if table.len() >= MAX_UPLOADS {
            table.retain(|_, s| s.writer.is_none() || s.touched.elapsed() < self.max_idle);
        }
        if table.len() >= MAX_UPLOADS {
            return Err(Error::TooManyUploads);
        }
        let id = Uuid::new_v4();
        let session = Session { repository, touched: Instant::now(), writer: Some(writer) };
        table.insert(id, session);
        Ok(id)
    }

    /// Takes the writer of an upload of this repository.
    pub(super) fn checkout(
        &self,
        repository: &RepositoryName,
        id: Uuid,
    ) -> Result<Checkout, Error> {
        let mut table = self.table.lock();
        let session = table.get_mut(&id).filter(|s| s.repository == *repository);
        let session = session.ok_or(Error::UploadUnknown)?;
        let writer = session.writer.take().ok_or(Error::UploadBusy)?;
        Ok(Checkout { sessions: self.clone(), id, writer: Some(writer) })
    }
}

impl Checkout {
    /// The writer.
    pub(super) fn writer(&mut self) -> &mut BlobWriter {
        self.writer
            .as_mut()
            .expect("only finish and drop take the writer, and they end the checkout")
    }

    /// Ends the session and keeps the writer.
    pub(super) fn finish(mut self) -> BlobWriter {
        self.sessions.table.lock().remove(&self.id);
        self.writer.take().expect("only finish and drop take the writer, and they end the checkout")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let mut table = self.sessions.table.lock();
        if writer.is_broken() {
            table.remove(&self.id);
        } else if let Some(session) = table.get_mut(&self.id) {
            session.touched = Instant::now();
            session.writer = Some(writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ContentStore;

    #[tokio::test]
    async fn uploads_are_bounded_and_idle_ones_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        let mut sessions = Sessions::default();
        let name: RepositoryName = "a".parse().unwrap();
        let begin = |sessions: &Sessions| sessions.begin(name.clone(), store.writer());
        let first = begin(&sessions).unwrap();
        for _ in 1..MAX_UPLOADS {
            begin(&sessions).unwrap();
        }
        assert!(matches!(begin(&sessions), Err(Error::TooManyUploads)));
        let busy = sessions.checkout(&name, first).unwrap();
        sessions.max_idle = Duration::ZERO;
        assert!(begin(&sessions).is_ok());
        drop(busy);
        assert!(sessions.checkout(&name, first).is_ok(), "a busy upload was given up");
        assert_eq!(sessions.table.lock().len(), 2);
    }

    #[tokio::test]
    async fn one_request_at_a_time_writes_and_gives_back_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        let sessions = Sessions::default();
        let name: RepositoryName = "a".parse().unwrap();
        let id = sessions.begin(name.clone(), store.writer()).unwrap();
        let mut writing = sessions.checkout(&name, id).unwrap();
        assert!(matches!(sessions.checkout(&name, id), Err(Error::UploadBusy)));
        writing.writer().write(bytes::Bytes::from_static(b"abc")).await.unwrap();
        drop(writing);
        assert_eq!(sessions.checkout(&name, id).unwrap().writer().len(), 3);
        let other: RepositoryName = "b".parse().unwrap();
        assert!(matches!(sessions.checkout(&other, id), Err(Error::UploadUnknown)));
    }
}
