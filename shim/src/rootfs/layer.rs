//! One layer: an archive laid over the folder that the layers below it left.
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::path::{Last, resolve};
use super::{MAX_BYTES, MAX_FILES, RootfsError};
use crate::platform;

/// A file whose name begins so deletes what the layers below have under the rest of its name.
const WHITEOUT: &str = ".wh.";

/// Deletes all that the layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

/// Bytes of a name or of other notes about one file: paths are 4 KiB at most.
const MAX_NOTES: u64 = 64 << 10;

/// What may still be unpacked.
pub(super) struct Budget {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Budget {
    pub(super) fn take_bytes(&mut self, bytes: u64) -> Result<(), RootfsError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes =
            left.ok_or_else(|| RootfsError::TooLarge { what: format!("{MAX_BYTES} bytes") })?;
        Ok(())
    }

    fn take_file(&mut self) -> Result<(), RootfsError> {
        let left = self.files.checked_sub(1);
        self.files =
            left.ok_or_else(|| RootfsError::TooLarge { what: format!("{MAX_FILES} in number") })?;
        Ok(())
    }
}

/// What entries said of the one that follows them.
#[derive(Default)]
struct Notes {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Lays an archive over `root`; `broken` makes an error of what is wrong with the archive itself.
pub(super) fn lay(
    root: &Path,
    archive: impl Read,
    budget: &mut Budget,
    broken: &dyn Fn(io::Error) -> RootfsError,
) -> Result<(), RootfsError> {
    let mut archive = Archive::new(archive);
    let mut notes = Notes::default();
    let mut own = HashSet::new();
    // Raw, as the library would take names of any length into memory.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => notes.name = Some(text(&mut entry).map_err(broken)?),
            EntryType::GNULongLink => notes.link = Some(text(&mut entry).map_err(broken)?),
            EntryType::XHeader => notes.read(&text(&mut entry).map_err(broken)?).map_err(broken)?,
            EntryType::XGlobalHeader => {}
            _ => {
                let notes = std::mem::take(&mut notes);
                place(root, &mut entry, notes, &mut own, budget, broken)?;
            }
        }
    }
    Ok(())
}

impl Notes {
    fn read(&mut self, text: &[u8]) -> io::Result<()> {
        for extension in PaxExtensions::new(text) {
            let extension = extension?;
            let value = || Some(extension.value_bytes().to_vec());
            match extension.key_bytes() {
                b"path" => self.name = value(),
                b"linkpath" => self.link = value(),
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.by_ref().take(MAX_NOTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_NOTES {
        let why = format!("the notes about a file are longer than {MAX_NOTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn place(
    root: &Path,
    entry: &mut Entry<'_, impl Read>,
    notes: Notes,
    own: &mut HashSet<PathBuf>,
    budget: &mut Budget,
    broken: &dyn Fn(io::Error) -> RootfsError,
) -> Result<(), RootfsError> {
    let name = notes.name.unwrap_or_else(|| entry.path_bytes().into_owned());
    let name = String::from_utf8(name).map_err(|error| {
        RootfsError::entry(&String::from_utf8_lossy(error.as_bytes()), "is not UTF-8")
    })?;
    let Some(path) = target(root, &name)? else { return Ok(()) };
    let last = path.file_name().and_then(|last| last.to_str()).unwrap_or_default();
    if last == OPAQUE {
        let folder = path.parent().unwrap_or(root);
        return empty(folder, own);
    }
    if let Some(hidden) = last.strip_prefix(WHITEOUT) {
        return match hidden {
            "" | "." | ".." => Err(RootfsError::entry(&name, "deletes nothing that has a name")),
            hidden => remove(&path.with_file_name(hidden)),
        };
    }
    let link = || {
        let link = notes.link.or_else(|| Some(entry.link_name_bytes()?.into_owned()));
        let link = link.and_then(|link| String::from_utf8(link).ok());
        link.ok_or_else(|| RootfsError::entry(&name, "is a link to what is not UTF-8"))
    };
    match entry.header().entry_type() {
        EntryType::Directory => {
            if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                make_room(root, &path, budget)?;
                fs::create_dir(&path).map_err(RootfsError::disk("make folder", &path))?;
            }
        }
        EntryType::Regular | EntryType::Continuous => {
            let size = entry.header().size().map_err(broken)?;
            budget.take_bytes(size)?;
            make_room(root, &path, budget)?;
            let mut file = File::create(&path).map_err(RootfsError::disk("make", &path))?;
            let copied = io::copy(entry, &mut file).map_err(broken)?;
            if copied != size {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        EntryType::Symlink => {
            let link = link()?;
            make_room(root, &path, budget)?;
            let inward = inward(root, &path, &link);
            platform::symlink(&inward, &path).map_err(RootfsError::disk("make link", &path))?;
        }
        EntryType::Link => {
            let link = link()?;
            let source = resolve(root, &link, Last::Keep);
            let source = source.ok().filter(|source| {
                source.symlink_metadata().is_ok_and(|found| found.is_file()) && *source != path
            });
            let source = source.ok_or_else(|| {
                RootfsError::entry(&name, "is a link to a file that is not there")
            })?;
            make_room(root, &path, budget)?;
            fs::hard_link(&source, &path).map_err(RootfsError::disk("make link", &path))?;
        }
        EntryType::GNUSparse => return Err(RootfsError::entry(&name, "is a sparse file")),
        // Devices and pipes: a guest has none.
        _ => return Ok(()),
    }
    let above = path.ancestors().take_while(|above| *above != root);
    own.extend(above.map(Path::to_owned));
    Ok(())
}

/// Where the entry of this name belongs; `None` for the root itself.
pub(super) fn target(root: &Path, name: &str) -> Result<Option<PathBuf>, RootfsError> {
    if name.split('/').any(|part| part == "..") {
        return Err(RootfsError::entry(name, "leads out of the image"));
    }
    if name.contains(['\0', '\\']) {
        return Err(RootfsError::entry(name, "is no name of a file"));
    }
    let path = resolve(root, name, Last::Keep)
        .map_err(|_| RootfsError::entry(name, "leads in circles or too deep"))?;
    Ok((path != root).then_some(path))
}

/// Makes the folders above `path`, and removes what is in its place.
pub(super) fn make_room(root: &Path, path: &Path, budget: &mut Budget) -> Result<(), RootfsError> {
    budget.take_file()?;
    let parent = path.parent().unwrap_or(root);
    let above: Vec<&Path> = parent.ancestors().take_while(|above| *above != root).collect();
    for folder in above.into_iter().rev() {
        match folder.symlink_metadata() {
            Ok(found) if found.is_dir() => continue,
            // A layer may put a folder where one below has a file.
            Ok(_) => remove(folder)?,
            Err(_) => {}
        }
        budget.take_file()?;
        fs::create_dir(folder).map_err(RootfsError::disk("make folder", folder))?;
    }
    remove(path)
}

/// Removes what the layers below left in a folder.
fn empty(folder: &Path, own: &HashSet<PathBuf>) -> Result<(), RootfsError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(RootfsError::disk("list", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(RootfsError::disk("list", folder))?.path();
        if !own.contains(&path) {
            remove(&path)?;
        } else if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            empty(&path, own)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), RootfsError> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RootfsError::disk("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The target of a link, as it must be written so that `/` means `root`.
fn inward(root: &Path, link: &Path, target: &str) -> PathBuf {
    let Some(absolute) = target.strip_prefix('/') else { return PathBuf::from(target) };
    let parent = link.parent().unwrap_or(root);
    let depth = parent.strip_prefix(root).map_or(0, |below| below.components().count());
    let mut inward = PathBuf::from("../".repeat(depth));
    inward.push(absolute.trim_start_matches('/'));
    if inward.as_os_str().is_empty() { PathBuf::from(".") } else { inward }
}
