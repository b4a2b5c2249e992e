//! Waiting for a condition instead of a time.
use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// As long as anything may take on a loaded machine.
pub const WAIT: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` answers `Ok`; panics with what it saw last.
pub async fn eventually<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_within(WAIT, what, look).await
}

/// The same for what takes long by its nature, such as compiling a language's whole runtime.
pub async fn eventually_within<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if Instant::now() >= deadline => {
                panic!("{what}: not within {limit:?}; last seen: {last:?}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}
