//! What failed of a command that is about several objects.
use anyhow::Result;

use super::{ReaderGone, complain};

/// A failure that has been told already.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(super) struct Told;

/// Tells each failure when it comes, so that a command goes on with its other objects, as kubectl does.
#[derive(Debug, Default)]
pub(super) struct Failures {
    any: bool,
}

impl Failures {
    /// What came of one object; nothing if it failed.
    pub(super) fn take<T>(&mut self, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is::<ReaderGone>() => Err(error),
            Err(error) => {
                complain(&error);
                self.any = true;
                Ok(None)
            }
        }
    }

    /// Whether something failed.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// How the command ends.
    pub(super) fn end(self) -> Result<()> {
        if self.any { Err(Told.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_taken_after_one_that_failed() {
        let mut failures = Failures::default();
        assert_eq!(failures.take(Err::<u8, _>(anyhow::anyhow!("no"))).unwrap(), None);
        assert_eq!(failures.take(Ok(1)).unwrap(), Some(1));
        assert!(failures.end().unwrap_err().is::<Told>());
        assert!(Failures::default().end().is_ok());
        assert!(Failures::default().take(Err::<u8, _>(ReaderGone.into())).is_err());
    }
}
