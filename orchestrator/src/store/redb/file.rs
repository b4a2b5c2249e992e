//! The file behind a store, which is opened again after a write failed.
//!
//! redb refuses all after an I/O error until it is opened anew. A commit that failed may have
//! reached the disk all the same; as its writers were told that it failed, it is undone before
//! anything else is written. So the file says no more than what was acknowledged, whatever failed.
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability};

use super::{ENTRIES, META, OpenError, Opener, REVISION, guarded, opened, revision, row};
use crate::store::sequencer::Journal;
use crate::store::{Entry, Error, Event, Revision};

/// A journal in a file.
pub(super) struct File {
    opener: Opener,
    path: PathBuf,
    /// None after a failure.
    database: Option<Database>,
    /// The last revision that was acknowledged.
    acknowledged: Revision,
    /// What the last commit that failed may have written.
    unsure: Vec<Event>,
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::Lost(Arc::new(error))
    }
}

impl File {
    /// The journal in a file that is open and at this revision.
    pub(super) fn new(
        opener: Opener,
        path: &Path,
        database: Database,
        acknowledged: Revision,
    ) -> Self {
        let (path, database) = (path.to_path_buf(), Some(database));
        Self { opener, path, database, acknowledged, unsure: Vec::new() }
    }

    fn reopen(&mut self) -> Result<Database, Error> {
        let database = opened(&self.opener, &self.path).map_err(|error| self.unopened(error))?;
        if let Err(error) = guarded::run(&self.path, || self.undo(&database)) {
            guarded::close(&self.path, database);
            return Err(error);
        }
        self.unsure.clear();
        Ok(database)
    }

    /// Takes back what was written though its commit failed.
    fn undo(&self, database: &Database) -> Result<(), Error> {
        let stored = revision(database).map_err(|error| self.unwritten(error))?;
        if stored == self.acknowledged {
            return Ok(());
        }
        if self.unsure.last().is_none_or(|event| event.revision != stored) {
            return Err(OpenError::Changed(self.path.clone()).into());
        }
        let before = self.unsure.iter().rev().map(|event| (event.key(), event.previous.as_ref()));
        write(database, before, self.acknowledged).map_err(|error| self.unwritten(error))
    }

    /// Ends what cannot be mended by trying again.
    fn unopened(&self, error: OpenError) -> Error {
        match error {
            OpenError::File(path, source) if source.kind() == ErrorKind::NotFound => {
                OpenError::Missing(path).into()
            }
            OpenError::File(_, source) => self.failed(source),
            error => error.into(),
        }
    }

    fn unwritten(&self, error: redb::Error) -> Error {
        match error {
            redb::Error::Io(source) => self.failed(source),
            error => Error::Backend(Arc::new(error)),
        }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        let full = matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        match self.path.parent() {
            Some(folder) if full => Error::Full(folder.to_path_buf(), Arc::new(source)),
            _ => Error::Backend(Arc::new(source)),
        }
    }
}

impl Journal for File {
    fn commit(&mut self, events: &[Event]) -> Result<(), Error> {
        let Some(last) = events.last() else { return Ok(()) };
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let changes = events.iter().map(|event| (event.key(), event.entry.as_ref()));
        let written = guarded::run(&self.path, || {
            write(&database, changes, last.revision).map_err(|error| self.unwritten(error))
        });
        if let Err(error) = written {
            self.unsure = events.to_vec();
            guarded::close(&self.path, database);
            return Err(error);
        }
        self.acknowledged = last.revision;
        self.database = Some(database);
        Ok(())
    }
}

/// Sets keys, or removes them, and the revision, in one commit.
fn write<'a>(
    database: &Database,
    changes: impl Iterator<Item = (&'a str, Option<&'a Entry>)>,
    revision: Revision,
) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut entries = write.open_table(ENTRIES)?;
        let mut bytes = Vec::new();
        for (key, entry) in changes {
            let Some(entry) = entry else {
                entries.remove(key)?;
                continue;
            };
            row::encode(entry, &mut bytes);
            entries.insert(key, bytes.as_slice())?;
        }
        write.open_table(META)?.insert(REVISION, revision.0)?;
    }
    write.commit()?;
    Ok(())
}
