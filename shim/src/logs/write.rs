//! Writes a container's log without ever blocking a guest's thread.
//!
//! Guests append lines to a bounded buffer; a thread that may block takes the
//! buffer to the file. A guest that writes faster than the disk waits for room,
//! like any other guest that waits for I/O.
//!
//! Rotation renames the file to `NAME.<UTC time>` and begins a new one, as the
//! kubelet does; of the rotated files only the newest are kept.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::line::{self, Stream};
use crate::cri::LogRotation;

/// Bytes of lines that wait for the disk, per container.
pub(super) const BUFFER: usize = 256 << 10;

/// One container's log.
pub struct LogFile {
    path: PathBuf,
    rotation: LogRotation,
    runtime: tokio::runtime::Handle,
    buffer: Mutex<Buffer>,
    /// Told when the buffer was taken to the file.
    drained: Notify,
    file: Mutex<Current>,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Whether a thread is taking lines to the file.
    draining: bool,
}

struct Current {
    file: File,
    size: u64,
}

impl LogFile {
    /// Opens the log, and the folders above it; what is there is kept.
    pub fn open(
        path: PathBuf,
        rotation: LogRotation,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<Arc<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = Mutex::new(Current::open(&path)?);
        let (buffer, drained) = (Mutex::default(), Notify::new());
        Ok(Arc::new(Self { path, rotation, runtime, buffer, drained, file }))
    }

    /// The file that is written now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of this file and the rotated ones.
    pub fn size(&self) -> u64 {
        let rotated = rotated(&self.path).unwrap_or_default();
        let sizes = rotated.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len());
        self.file.lock().size + sizes.sum::<u64>()
    }

    /// Appends one line now; `whole` is false where the guest's line goes on.
    pub(super) fn append(self: &Arc<Self>, stream: Stream, text: &[u8], whole: bool) {
        let mut buffer = self.buffer.lock();
        line::format(&mut buffer.lines, Timestamp::now(), stream, whole, text);
        if !std::mem::replace(&mut buffer.draining, true) {
            let log = self.clone();
            self.runtime.spawn_blocking(move || log.drain());
        }
    }

    /// Appends a line of the runtime's own, such as a trap's words.
    pub fn note(self: &Arc<Self>, text: &str) {
        for part in text.lines() {
            for chunk in part.as_bytes().chunks(line::MAX_LINE) {
                self.append(Stream::Stderr, chunk, true);
            }
        }
    }

    /// Bytes that may be written now.
    pub(super) fn room(&self) -> usize {
        BUFFER.saturating_sub(self.buffer.lock().lines.len())
    }

    /// Waits until the buffer has room.
    pub(super) async fn roomy(&self) {
        loop {
            let drained = self.drained.notified();
            if self.room() > 0 {
                return;
            }
            drained.await;
        }
    }

    /// Waits until everything appended so far is in the file.
    pub async fn flush(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if !self.buffer.lock().draining {
                return;
            }
            drained.await;
        }
    }

    /// Takes the buffer to the file until it is empty.
    fn drain(&self) {
        loop {
            let lines = {
                let mut buffer = self.buffer.lock();
                if buffer.lines.is_empty() {
                    buffer.draining = false;
                    self.drained.notify_waiters();
                    return;
                }
                std::mem::take(&mut buffer.lines)
            };
            if let Err(error) = self.file.lock().write(&self.path, &lines, self.rotation) {
                tracing::warn!(path = %self.path.display(), %error, "cannot write container log");
            }
            self.drained.notify_waiters();
        }
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    fn write(&mut self, path: &Path, lines: &[u8], rotation: LogRotation) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let fits = fitting(rest, rotation.max_size.saturating_sub(self.size));
            let now = match fits {
                0 if self.size > 0 => {
                    *self = rotate(path, rotation.max_files)?;
                    continue;
                }
                // One line may be longer than a file should be.
                0 => first_line(rest),
                fits => fits,
            };
            self.file.write_all(&rest[..now])?;
            self.size += now as u64;
            rest = &rest[now..];
        }
        Ok(())
    }
}

/// Bytes of the whole lines that fit into `room`.
fn fitting(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

fn rotate(path: &Path, max_files: u32) -> io::Result<Current> {
    // Nanoseconds, so that two rotations never share a name and names sort by age.
    let suffix = Timestamp::now().strftime("%Y%m%d-%H%M%S.%9f").to_string();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    std::fs::rename(path, path.with_file_name(name))?;
    let older = rotated(path)?;
    let kept = usize::try_from(max_files.saturating_sub(1)).unwrap_or(usize::MAX);
    for gone in older.iter().take(older.len().saturating_sub(kept)) {
        std::fs::remove_file(gone)?;
    }
    Current::open(path)
}

/// The rotated files of a log, oldest first.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
