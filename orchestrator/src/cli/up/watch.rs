//! `--watch`: redeploys what changes on disk.
//!
//! Files are looked at, not listened to: a look costs a few microseconds a file, works
//! in shared folders and virtual machines, where change notices do not arrive, and is
//! the same on every system. A change is taken once two looks agree, so that a file
//! that is being written is not read.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::deploy::{Deployer, Done, SLOW};
use super::desired::Desired;
use crate::cli::manifests::{Files, is_manifest};
use crate::cli::output::{Tone, paint_errors};
use crate::cli::{chain, progress};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Files that are looked at: a folder with more is not one of manifests.
const MAX_FILES: usize = 10_000;

/// What tells a file's contents from others without reading them.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Watches until it is stopped.
pub(super) async fn run(
    file: Option<&Path>,
    files: &Files,
    mut deployer: Deployer,
    mut desired: Desired,
) -> Result<()> {
    progress("watching for changes");
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deployed = stamps(file, files, &desired);
    let mut seen = deployed.clone();
    let mut since = None;
    let mut rollout: Option<Rollout> = None;
    loop {
        looks.tick().await;
        if let Some(going) = &mut rollout
            && going.is_over(&deployer).await
        {
            rollout = None;
        }
        let now = stamps(file, files, &desired);
        if now == deployed {
            (seen, since) = (now, None);
            continue;
        }
        let began = *since.get_or_insert_with(Instant::now);
        if now != seen {
            seen = now;
            continue;
        }
        deployed = now;
        since = None;
        let mut complaints = Vec::new();
        match desired.next(file, files, &mut complaints) {
            Ok(next) => {
                for line in next.news(&desired) {
                    progress(&line);
                }
                let done = deployer.deploy(&next, &mut complaints).await;
                desired = next;
                if done.changed {
                    rollout = Some(Rollout { done, began, told: false });
                }
            }
            Err(error) => complaints.push(error),
        }
        for error in &complaints {
            complain(error);
        }
    }
}

/// A change on its way.
struct Rollout {
    done: Done,
    /// When the change was seen first.
    began: Instant,
    /// Whether it was told that it is slow.
    told: bool,
}

impl Rollout {
    /// Whether there is nothing left to wait for; says how long it took.
    async fn is_over(&mut self, deployer: &Deployer) -> bool {
        for (namespace, name) in &self.done.rolling {
            match deployer.is_available(namespace, name).await {
                Ok(true) => {}
                Ok(false) => {
                    if self.began.elapsed() > SLOW && !self.told {
                        self.told = true;
                        deployer.tell_why(namespace, name).await;
                    }
                    return false;
                }
                Err(error) => {
                    complain(&error);
                    return true;
                }
            }
        }
        let took = self.began.elapsed().as_millis();
        let names: Vec<&str> = self.done.rolling.iter().map(|(_, name)| name.as_str()).collect();
        let what = if names.is_empty() {
            "applied".into()
        } else {
            format!("{} rolled out", names.join(", "))
        };
        progress(&paint_errors().text(Tone::Good, &format!("{what} in {took} ms")));
        true
    }
}

fn complain(error: &anyhow::Error) {
    let label = paint_errors().text(Tone::Bad, "error:");
    progress(&format!("{label} {}; the old version goes on", chain(error)));
}

/// How every file is that may matter.
fn stamps(file: Option<&Path>, files: &Files, desired: &Desired) -> Stamps {
    let mut stamps = Stamps::new();
    let guests = desired.guests().map(|(_, image)| image.path.clone());
    for path in file.map(Path::to_path_buf).into_iter().chain(guests) {
        stamp(&path, &mut stamps);
    }
    for path in &files.files {
        look(path, files.recursive, true, &mut stamps);
    }
    stamps
}

/// A path that is named counts whatever it is called; in a folder, manifests and guests do.
fn look(path: &Path, recursive: bool, named: bool, stamps: &mut Stamps) {
    if !path.is_dir() {
        let is_guest = path.extension().is_some_and(|extension| extension == "wasm");
        if named || is_guest || is_manifest(path) {
            stamp(path, stamps);
        }
        return;
    }
    // A folder that cannot be read now may be there again at the next look.
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if recursive || !path.is_dir() {
            look(&path, recursive, false, stamps);
        }
    }
}

fn stamp(path: &Path, stamps: &mut Stamps) {
    if stamps.len() < MAX_FILES
        && let Ok(metadata) = std::fs::metadata(path)
    {
        stamps.insert(path.to_path_buf(), (metadata.modified().ok(), metadata.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_guests_are_looked_at_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.wasm", "notes.txt", "a.yaml~", "sub/c.yaml"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let files = Files { files: vec![folder.path().to_path_buf()], recursive: false };
        let before = stamps(None, &files, &Desired::default());
        let names: Vec<_> = before.keys().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.wasm"]);
        std::fs::write(folder.path().join("a.yaml"), "longer").unwrap();
        assert_ne!(stamps(None, &files, &Desired::default()), before);
    }
}
