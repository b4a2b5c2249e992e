//! Writes a volume so that a guest sees all of the old files or all of the new.
//!
//! As the kubelet's: the files are links to `..data/FILE`, `..data` is a link to
//! a folder with one version of them, and a new version is swapped in by renaming
//! one link. Where there are no links the files are replaced one by one.
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::Files;
use crate::platform;

/// The link to the version that is seen.
const DATA: &str = "..data";
/// The link before it is renamed.
const NEXT: &str = "..data_tmp";
/// What folders with a version begin with.
const VERSION: &str = "..v";

/// Makes a folder for what guests write.
pub(super) fn folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Makes `folder` hold these files and no others.
pub(super) fn files(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if platform::LINKS { swap(folder, files) } else { replace(folder, files) }
}

fn swap(folder: &Path, files: &Files) -> io::Result<()> {
    let old = fs::read_link(folder.join(DATA)).ok();
    let number =
        old.as_ref().and_then(|old| old.to_str()?.strip_prefix(VERSION)?.parse::<u64>().ok());
    let version = format!("{VERSION}{}", number.map_or(0, |number| number + 1));
    // What a crash left behind.
    remove_all(&folder.join(&version))?;
    remove_file(&folder.join(NEXT))?;
    write_files(&folder.join(&version), files)?;
    platform::link(Path::new(&version), &folder.join(NEXT))?;
    fs::rename(folder.join(NEXT), folder.join(DATA))?;
    let tops: BTreeSet<&str> = files.keys().map(|path| top(path)).collect();
    for top in &tops {
        let link = folder.join(top);
        if fs::symlink_metadata(&link).is_err() {
            platform::link(&Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let known = name.to_str().is_some_and(|n| n == DATA || n == version || tops.contains(n));
        if !known {
            if entry.file_type()?.is_dir() {
                remove_all(&entry.path())?;
            } else {
                remove_file(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn replace(folder: &Path, files: &Files) -> io::Result<()> {
    for (path, file) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let unfinished = folder.join("..new");
        fs::write(&unfinished, &file.content)?;
        fs::rename(&unfinished, &target)?;
    }
    let tops: BTreeSet<&str> = files.keys().map(|path| top(path)).collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| tops.contains(name)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_all(&entry.path())?;
        } else {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn write_files(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (path, file) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        platform::set_mode(&target, file.mode)?;
    }
    Ok(())
}

/// The first part of a path.
fn top(path: &str) -> &str {
    path.split_once('/').map_or(path, |(top, _)| top)
}

fn remove_all(folder: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_dir_all(folder))
}

fn remove_file(file: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(file))
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
