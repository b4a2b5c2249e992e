//! What differs between operating systems: how a rename is made durable.
use std::io;
use std::path::Path;

/// Makes the entries of a directory durable, so that a rename into it outlives a power cut.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

/// NTFS journals its directories and refuses to open one as a file: nothing is to be done.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}
