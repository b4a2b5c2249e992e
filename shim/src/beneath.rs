//! Opening what lies beneath a folder that guests may write to.
//!
//! A name that was looked at may lead elsewhere once it is opened: a guest may
//! have put a link in its place. So the way is taken from the handle of the
//! folder, links never lead out of it, and what counts afterwards is the handle
//! and not the name.
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_primitives::ambient_authority;
use cap_primitives::fs::{self, DirOptions, FollowSymlinks, OpenOptions};

use crate::platform;

/// A file or folder that is held open: it stays what it is, whatever becomes of its name.
#[derive(Debug)]
pub struct Opened {
    file: File,
    name: PathBuf,
    is_folder: bool,
}

/// Opens what is at `path`, which begins with `within`, for reading. Links may lead
/// elsewhere below `within`, never out of it. Blocks.
pub fn open(within: &Path, path: &Path) -> io::Result<Opened> {
    let opened = |file, is_folder| Opened { file, name: path.to_owned(), is_folder };
    let below = below(within, path)?;
    if below.as_os_str().is_empty() {
        if within.metadata()?.is_file() {
            return Ok(opened(File::open(within)?, false));
        }
        return Ok(opened(fs::open_ambient_dir(within, ambient_authority())?, true));
    }
    let folder = fs::open_ambient_dir(within, ambient_authority())?;
    let found = fs::stat(&folder, below, FollowSymlinks::Yes)?;
    if found.is_dir() {
        Ok(opened(fs::open_dir(&folder, below)?, true))
    } else if found.is_file() {
        Ok(opened(fs::open(&folder, below, OpenOptions::new().read(true))?, false))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a folder"))
    }
}

/// Makes the folder `path`, which begins with `within`, and those above it; those that are
/// there already may be no links that lead up. Blocks.
pub fn create_dir_all(within: &Path, path: &Path) -> io::Result<()> {
    let mut folder = fs::open_ambient_dir(within, ambient_authority())?;
    for name in below(within, path)? {
        let name = Path::new(name);
        match fs::create_dir(&folder, name, &DirOptions::new()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        folder = fs::open_dir(&folder, name)?;
    }
    Ok(())
}

/// Makes the empty file `path`, which begins with `within`, where nothing is yet. Blocks.
pub fn create_file(within: &Path, path: &Path) -> io::Result<()> {
    let folder = fs::open_ambient_dir(within, ambient_authority())?;
    let new = OpenOptions::new().write(true).create_new(true).clone();
    fs::open(&folder, below(within, path)?, &new).map(drop)
}

fn below<'a>(within: &Path, path: &'a Path) -> io::Result<&'a Path> {
    path.strip_prefix(within).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl Opened {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The name under which it was opened.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Its bytes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A path that leads to it as long as it is held, by whatever name it goes.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        platform::path_of(&self.file, &self.name)
    }

    /// Copies a file with its permissions. Blocks.
    pub(crate) fn copy_to(&self, target: &Path) -> io::Result<()> {
        let mut copy = File::create(target)?;
        io::copy(&mut &self.file, &mut copy)?;
        copy.set_permissions(self.file.metadata()?.permissions())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(opened: &Opened) -> String {
        let mut text = String::new();
        opened.file().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_lies_below_is_opened_and_made() {
        let home = tempfile::tempdir().unwrap();
        let within = home.path();
        create_dir_all(within, &within.join("a/b")).unwrap();
        create_dir_all(within, &within.join("a/b")).unwrap();
        assert!(open(within, &within.join("a/b")).unwrap().is_folder());
        assert!(open(within, within).unwrap().is_folder());
        create_file(within, &within.join("a/file")).unwrap();
        assert!(create_file(within, &within.join("a/file")).is_err());
        std::fs::write(within.join("a/file"), "words").unwrap();
        let file = open(within, &within.join("a/file")).unwrap();
        assert_eq!((file.is_folder(), read(&file).as_str()), (false, "words"));
        assert!(open(&within.join("a"), within).is_err());
        assert!(create_dir_all(within, &within.join("../out")).is_err());
    }

    #[test]
    fn no_link_leads_out() {
        if !platform::LINKS {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let within = home.path().join("volume");
        write(&home.path().join("secret/file"), "secret");
        write(&within.join("inside/file"), "mine");
        for (target, name) in
            [("..", "up"), ("../secret", "folder"), ("../secret/file", "file"), ("inside", "in")]
        {
            platform::symlink(Path::new(target), &within.join(name)).unwrap();
        }
        for path in ["up", "up/secret/file", "folder", "folder/file", "file"] {
            assert!(open(&within, &within.join(path)).is_err(), "{path}");
        }
        assert_eq!(read(&open(&within, &within.join("in/file")).unwrap()), "mine");
        assert!(create_dir_all(&within, &within.join("folder/new")).is_err());
        assert!(create_file(&within, &within.join("folder/new")).is_err());
        assert!(!home.path().join("secret/new").exists());
    }

    #[test]
    fn a_path_leads_to_what_was_opened_whatever_has_taken_its_name() {
        if !platform::LINKS {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let (within, name) = (home.path().join("volume"), home.path().join("volume/part"));
        write(&name.join("file"), "mine");
        write(&home.path().join("secret/file"), "secret");
        let opened = open(&within, &name).unwrap();

        std::fs::rename(&name, within.join("old")).unwrap();
        platform::symlink(Path::new("../secret"), &name).unwrap();

        assert_eq!(std::fs::read_to_string(name.join("file")).unwrap(), "secret");
        let path = opened.path().unwrap();
        assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), "mine");
    }
}
