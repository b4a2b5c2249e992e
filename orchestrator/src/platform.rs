//! What differs between operating systems, in one place.
//!
//! The only file of the crate with `cfg(unix)` or `cfg(windows)`: the rooms
//! above it read the same everywhere.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Creates a folder, and those above it, that only its owner may enter.
///
/// On Windows the folder inherits what the one above it allows, which for a
/// user's data folder is that user alone.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(unfinished)?;
    #[cfg(unix)]
    {
        // The mode above is not applied to a file that a crash left behind.
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// Lets everybody read a file that was made for its owner.
///
/// On Windows it inherits what its folder allows.
pub fn make_readable(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    file.metadata()?;
    Ok(())
}

/// Waits for Ctrl-C, or where there is one for the signal that stops services.
pub async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_may_read() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        let file = dir.join("secret");
        create_private_dir(&dir).unwrap();
        fs::write(dir.join("secret.new"), "left behind by a crash").unwrap();
        write_private(&file, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
