//! What differs between operating systems, for the command line.
use std::fs::File;
use std::io;

/// Lets everybody read a file that was made for its owner.
#[cfg(unix)]
pub(super) fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// Files inherit the folder's access list.
#[cfg(not(unix))]
pub(super) fn readable_by_all(_: &File) -> io::Result<()> {
    Ok(())
}
