//! Work with a file that may be damaged: redb panics over some of what it finds.
//!
//! Such a panic is caught and told as the damage that it is, without the words of the panic before
//! it: who reads them would look for a mistake in the program.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use redb::Database;

use super::OpenError;

thread_local! {
    /// Whether this thread works with a file.
    static WORKS: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with the file `path`; a panic in it means that the file is damaged.
///
/// The database itself must not be dropped in it: that may panic too, and two at once end the process.
pub(super) fn run<T, E: From<OpenError>>(
    path: &Path,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    hush();
    WORKS.set(true);
    // What a panic may leave half-done is not used again.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    WORKS.set(false);
    outcome.unwrap_or_else(|panic| {
        let why = format!("its pages make no sense: {}", words(&*panic));
        let why = Box::new(redb::Error::Corrupted(why));
        Err(OpenError::Damaged(path.to_path_buf(), why).into())
    })
}

/// Closes a database that may be damaged.
pub(super) fn close(path: &Path, database: Database) {
    let closed: Result<(), OpenError> = run(path, || {
        drop(database);
        Ok(())
    });
    if let Err(error) = closed {
        tracing::debug!(%error, "cannot close the store");
    }
}

/// Lets the panics of threads that do such work pass in silence; all others go on as before.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !WORKS.get() {
                before(panic);
            }
        }));
    });
}

fn words(panic: &dyn std::any::Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
