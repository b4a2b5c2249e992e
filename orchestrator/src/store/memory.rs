//! A store that forgets: for tests and for clusters that live as long as
//! their process.
use std::sync::Arc;

use super::sequencer::Journal;
use super::{Embedded, Error, Event, Revision};
use crate::clock::Clock;

/// An empty store. Fails only if the system gives no thread.
pub fn open(clock: Arc<dyn Clock>) -> Result<Embedded, Error> {
    Embedded::start([], Revision::EMPTY, Box::new(Forgetful), clock)
        .map_err(|error| Error::Backend(Arc::new(error)))
}

struct Forgetful;

impl Journal for Forgetful {
    fn commit(&mut self, _: &[Event]) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn memory_conforms() {
        crate::store::conformance::run(async || open(Arc::new(SystemClock)).unwrap()).await;
    }
}
