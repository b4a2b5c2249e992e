//! The folder of one container's copies: mounted files, and a root file system.
//!
//! Whoever holds it last removes it, whichever way a container comes to its end;
//! also one that was never made because what it asked for was not there.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder that goes with its last owner; it need not be there yet.
#[derive(Debug, Clone)]
pub struct Staging {
    folder: PathBuf,
    _whole: Arc<Whole>,
}

#[derive(Debug)]
struct Whole(PathBuf);

impl Staging {
    /// The folder, which nobody else knows of.
    pub fn new(folder: PathBuf) -> Self {
        Self { _whole: Arc::new(Whole(folder.clone())), folder }
    }

    /// A part of it; it goes with the whole.
    pub fn part(&self, number: usize) -> Self {
        Self { folder: self.folder.join(number.to_string()), _whole: Arc::clone(&self._whole) }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        // Many files may be in it: no guest waits for them.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&folder))),
            Err(_) => remove(&folder),
        }
    }
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove mounted files");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_last_owner() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("id");
        std::fs::create_dir_all(folder.join("0/root/etc")).unwrap();
        let whole = Staging::new(folder.clone());
        let part = whole.part(0);
        drop(whole);
        assert!(part.folder().join("root").exists());
        drop(part);
        assert!(!folder.exists());
        drop(Staging::new(folder));
    }
}
