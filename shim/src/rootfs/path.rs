//! Paths below a folder that stands for `/`.
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// Symbolic links followed on one path: what Linux follows.
const MAX_LINKS: usize = 40;

/// Folders within folders: far more than any tree of people, few enough to walk.
pub(super) const MAX_DEPTH: usize = 128;

/// Whether a symbolic link at the very end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It is.
    Follow,
    /// It is what is meant.
    Keep,
}

/// A path that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Its links go in circles, or its folders too deep.
    #[error("it has too many levels")]
    TooDeep,
    /// A link's target is not UTF-8.
    #[error("a symbolic link on it is not UTF-8")]
    Name,
    /// The disk failed.
    #[error("it cannot be looked at")]
    Look(#[source] io::Error),
}

/// Where `path` is below `root`: never outside of it, as links and `..` are followed as if `root`
/// were `/`. What does not exist is where it would be.
pub fn resolve(root: &Path, path: &str, last: Last) -> Result<PathBuf, PathError> {
    let mut at: Vec<String> = Vec::new();
    let mut rest: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        if at.len() > MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        let here = join(root, &at);
        let is_link = match here.symlink_metadata() {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // A file on the way is found out by whoever uses the path.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
            Err(error) => return Err(PathError::Look(error)),
        };
        let is_last = rest.iter().all(|part| part.is_empty() || part == ".");
        if !is_link || (is_last && last == Last::Keep) {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(PathError::TooDeep);
        }
        let target = std::fs::read_link(&here).map_err(PathError::Look)?;
        let target = target.to_str().ok_or(PathError::Name)?;
        at.pop();
        if target.starts_with('/') {
            at.clear();
        }
        for part in target.split('/').rev() {
            rest.push_front(part.to_owned());
        }
    }
    Ok(join(root, &at))
}

fn join(root: &Path, parts: &[String]) -> PathBuf {
    let mut path = root.to_owned();
    path.extend(parts);
    path
}
