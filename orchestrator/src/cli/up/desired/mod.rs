//! What files ask for: objects, and the guests that they run.
//!
//! An image that names a .wasm file beside its manifest (`hello`, `hello:latest` for
//! `hello.wasm`, or `./hello.wasm`) is replaced by what that file is now, by digest:
//! another content is another image, and rolls out.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cli::artifact::{Guest, image_name};
use crate::cli::generate::{FUNCTION_PORT, Workload};
use crate::cli::manifests::{self, Document, Files};

/// Everything that files ask for, file by file.
#[derive(Default, Clone)]
pub(super) struct Desired {
    /// The objects of each manifest.
    manifests: BTreeMap<PathBuf, Vec<Document>>,
    /// The guests, by the name of their image.
    guests: BTreeMap<String, Image>,
    /// The file that is deployed without a manifest, by the name of its image.
    alone: Option<String>,
    /// Files that could not be read; their old contents count.
    broken: BTreeSet<PathBuf>,
}

/// A guest beside the manifests.
#[derive(Clone)]
pub(super) struct Image {
    /// The file.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) guest: std::sync::Arc<Guest>,
}

impl Desired {
    /// Reads everything; anything wrong ends it.
    pub(super) fn read(file: Option<&Path>, files: &Files) -> Result<Self> {
        let mut complaints = Vec::new();
        let desired = Self::default().next(file, files, &mut complaints)?;
        match complaints.into_iter().next() {
            Some(complaint) => Err(complaint),
            None => Ok(desired),
        }
    }

    /// Reads everything again; of a file that cannot be read the old state stays.
    pub(super) fn next(
        &self,
        file: Option<&Path>,
        files: &Files,
        complaints: &mut Vec<anyhow::Error>,
    ) -> Result<Self> {
        let mut next = Self::default();
        let (manifests, wasm) = list(file, files)?;
        for path in manifests {
            let read = if path == Path::new("-") {
                let stdin = Files { files: vec![path.clone()], recursive: false };
                stdin.read()
            } else {
                manifests::read(&path)
            };
            match (read, self.manifests.get(&path)) {
                (Ok(documents), _) => {
                    next.manifests.insert(path, documents);
                }
                (Err(error), before) => {
                    next.broken.insert(path.clone());
                    complaints.push(error);
                    if let Some(before) = before {
                        next.manifests.insert(path, before.clone());
                    }
                }
            }
        }
        for path in wasm {
            let alone = file == Some(path.as_path());
            match Guest::read(&path).and_then(|guest| Ok((guest.name()?, guest))) {
                Ok((name, guest)) => {
                    if alone {
                        next.alone = Some(name.clone());
                    }
                    next.guests.insert(name, Image { path, guest: guest.into() });
                }
                Err(error) => {
                    next.broken.insert(path.clone());
                    let before = self.guests.iter().find(|(_, image)| image.path == path);
                    if let Some((name, image)) = before {
                        next.guests.insert(name.clone(), image.clone());
                        if alone {
                            next.alone.clone_from(&self.alone);
                        }
                    }
                    complaints.push(error);
                }
            }
        }
        Ok(next)
    }

    /// What a person wants to hear of files that come to no change of an object by themselves.
    pub(super) fn news(&self, before: &Self) -> Vec<String> {
        let is_read = |path: &&PathBuf| {
            let guest = self.guests.values().any(|image| &image.path == *path);
            !self.broken.contains(*path) && (guest || self.manifests.contains_key(*path))
        };
        let mended = before.broken.iter().filter(is_read);
        let mended = mended.map(|path| format!("{} can be read again", path.display()));
        let gone = before.guests.iter().filter(|(name, _)| !self.guests.contains_key(*name));
        let gone = gone.map(|(name, image)| {
            format!(
                "{} is gone: the image {name} is what the registry has under that name",
                image.path.display()
            )
        });
        mended.chain(gone).collect()
    }

    /// The guests, by the name of their image.
    pub(super) fn guests(&self) -> impl Iterator<Item = (&String, &Image)> {
        self.guests.iter()
    }

    /// The name of the guest that is deployed without a manifest.
    pub(super) fn alone(&self) -> Option<&str> {
        self.alone.as_deref()
    }

    /// The same if it is a function.
    pub(super) fn function(&self) -> Option<&str> {
        let is_function = |name: &&str| self.guests.get(*name).is_some_and(|i| i.guest.function);
        self.alone().filter(is_function)
    }

    /// Every object, its images being those of the files beside it; the names of the guests it runs.
    pub(super) fn objects(&self) -> Vec<Document> {
        let mut objects = Vec::new();
        if let Some(name) = &self.alone
            && let Some(image) = self.guests.get(name)
        {
            let workload = Workload {
                name: name.clone(),
                image: pinned(name, image),
                port: image.guest.function.then_some(FUNCTION_PORT),
                ..Workload::default()
            };
            let source = image.path.display().to_string();
            let made = workload.deployment().into_iter();
            objects.extend(made.map(|object| Document { object, source: source.clone() }));
        }
        for (path, documents) in &self.manifests {
            let folder = path.parent().unwrap_or(Path::new(""));
            for document in documents {
                let mut document = document.clone();
                each_image(&mut document.object, &mut |image| {
                    if let Some((name, found)) = self.guest_of(folder, image) {
                        *image = pinned(name, found);
                    }
                });
                objects.push(document);
            }
        }
        objects
    }

    /// Guests that no object runs.
    pub(super) fn idle(&self) -> Vec<&str> {
        let mut used: Vec<String> = Vec::new();
        for mut document in self.objects() {
            each_image(&mut document.object, &mut |image| used.push(image.clone()));
        }
        let runs = |(name, image): &(&String, &Image)| used.contains(&pinned(name, image));
        self.guests.iter().filter(|guest| !runs(guest)).map(|(name, _)| name.as_str()).collect()
    }

    /// The guest that an image means: by path, or by the name of the file.
    fn guest_of(&self, folder: &Path, image: &str) -> Option<(&String, &Image)> {
        if image.ends_with(".wasm") {
            let path = folder.join(image);
            let same = |a: &Path, b: &Path| a.canonicalize().ok() == b.canonicalize().ok();
            return self.guests.iter().find(|(_, known)| same(&known.path, &path));
        }
        if image.contains(['/', '@']) {
            return None;
        }
        let name = image.split(':').next().unwrap_or_default();
        self.guests.get_key_value(name)
    }
}

/// An image by digest: other contents are another image.
fn pinned(name: &str, image: &Image) -> String {
    format!("{name}@{}", image.guest.digest())
}

/// The manifests and the guests that are meant.
fn list(file: Option<&Path>, files: &Files) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut manifests, mut wasm) = (Vec::new(), Vec::new());
    wasm.extend(file.map(Path::to_path_buf));
    for path in &files.files {
        if path == Path::new("-") {
            manifests.push(path.clone());
            continue;
        }
        let found = manifests::files(path, files.recursive)?;
        let mut folders: Vec<PathBuf> = if path.is_dir() {
            found.iter().filter_map(|file| file.parent().map(Path::to_path_buf)).collect()
        } else {
            Vec::new()
        };
        folders.sort();
        folders.dedup();
        for folder in folders {
            wasm.extend(guests_in(&folder)?);
        }
        for manifest in &found {
            wasm.extend(referenced(manifest));
        }
        manifests.extend(found);
    }
    wasm.sort();
    wasm.dedup();
    Ok((manifests, wasm))
}

/// The .wasm files of a folder whose names can be images'.
fn guests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("read {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        let is_wasm = path.extension().is_some_and(|extension| extension == "wasm");
        if is_wasm && image_name(&path).is_ok() {
            found.push(path);
        }
    }
    Ok(found)
}

/// The .wasm files that a manifest names as images; one that cannot be read complains elsewhere.
fn referenced(manifest: &Path) -> Vec<PathBuf> {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for mut document in manifests::read(manifest).unwrap_or_default() {
        each_image(&mut document.object, &mut |image| {
            if image.ends_with(".wasm") {
                found.push(folder.join(&*image));
            }
        });
    }
    found
}

/// Every image of every container of an object, wherever its template is.
fn each_image(value: &mut Value, visit: &mut impl FnMut(&mut String)) {
    let Some(fields) = value.as_object_mut() else { return };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("containers" | "initContainers", Value::Array(containers)) => {
                for container in containers {
                    if let Some(Value::String(image)) = container.get_mut("image") {
                        visit(image);
                    }
                }
            }
            ("spec" | "template" | "jobTemplate", value) => each_image(value, visit),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
