//! Reads a container's log back, across rotations.
//!
//! The files are opened oldest first and read to their ends. A follower then
//! waits; what a rotation has renamed in the meantime it recognises by the new
//! names beside the log, reads its own file to the end and goes on with the
//! next, so it misses nothing unless a file is deleted before it was opened.
use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::line::{self, MAX_LINE, Stream};
use super::write::rotated;

/// How often a follower at the end looks for more: below what people notice.
const POLL: Duration = Duration::from_millis(50);

/// Bytes handed out at once, about.
const CHUNK: usize = 32 << 10;

/// Bytes read at once when lines are counted from the end.
const COUNT_BLOCK: u64 = 64 << 10;

/// The longest line that is ours: text and what stands before it.
const MAX_STORED_LINE: usize = MAX_LINE + 128;

/// What to read, in the words of `PodLogOptions`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Go on after the end.
    pub follow: bool,
    /// Cancelled when the container has ended or is gone: a follower then stops
    /// at the end.
    pub ended: CancellationToken,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines from this time on.
    pub since: Option<SystemTime>,
    /// Only so many bytes.
    pub limit_bytes: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only one of the two outputs.
    pub stream: Option<Stream>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened; it is not there before the container was created.
    #[error("cannot open log {0}")]
    Open(PathBuf, #[source] io::Error),
}

/// Opens the log at `path`; pieces of its text as they are written.
pub async fn read(
    path: &Path,
    options: Options,
) -> Result<impl stream::Stream<Item = io::Result<Bytes>> + Send + use<>, ReadError> {
    let reader = Reader::open(path.to_owned(), options)
        .await
        .map_err(|source| ReadError::Open(path.to_owned(), source))?;
    Ok(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Reader {
    path: PathBuf,
    options: Options,
    since: Option<Timestamp>,
    /// Files still to be read, oldest first; the first is being read.
    files: VecDeque<BufReader<File>>,
    /// The newest rotated file that is in `files` or was read.
    newest_rotated: Option<PathBuf>,
    /// The beginning of a line whose end is not written yet.
    pending: Vec<u8>,
    left: u64,
}

impl Reader {
    async fn open(path: PathBuf, options: Options) -> io::Result<Self> {
        let since = match options.since {
            Some(since) => Some(Timestamp::try_from(since).map_err(io::Error::other)?),
            None => None,
        };
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        let mut reader = Self {
            path,
            options,
            since,
            files: VecDeque::new(),
            newest_rotated: None,
            pending: Vec::new(),
            left,
        };
        reader.open_newer().await?;
        if let Some(lines) = reader.options.tail_lines {
            reader.skip_to_last(lines).await?;
        }
        Ok(reader)
    }

    /// Opens the rotated files newer than the last one known, and the current.
    async fn open_newer(&mut self) -> io::Result<()> {
        loop {
            for rotated in self.unknown_rotated()? {
                // Deleted by the next rotation already: there is newer text enough.
                if let Ok(file) = File::open(&rotated).await {
                    self.files.push_back(BufReader::new(file));
                }
                self.newest_rotated = Some(rotated);
            }
            let current = File::open(&self.path).await?;
            if self.unknown_rotated()?.is_empty() {
                self.files.push_back(BufReader::new(current));
                return Ok(());
            }
            // Rotated in between: what was opened is found under its new name.
        }
    }

    fn unknown_rotated(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = rotated(&self.path)?;
        if let Some(newest) = &self.newest_rotated {
            files.retain(|path| path > newest);
        }
        Ok(files)
    }

    /// Leaves only the last `lines` lines to be read.
    async fn skip_to_last(&mut self, lines: u64) -> io::Result<()> {
        let mut wanted = lines;
        for index in (0..self.files.len()).rev() {
            let (start, found) = last_lines(self.files[index].get_mut(), wanted).await?;
            self.files[index].seek(SeekFrom::Start(start)).await?;
            wanted -= found;
            if wanted == 0 {
                self.files.drain(..index);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next piece of text; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut out = Vec::new();
        let mut ended = false;
        while self.left > 0 {
            let Some(file) = self.files.front_mut() else { break };
            let room = (MAX_STORED_LINE - self.pending.len().min(MAX_STORED_LINE)) as u64;
            let read = file.take(room).read_until(b'\n', &mut self.pending).await?;
            if read > 0 && (self.pending.ends_with(b"\n") || self.pending.len() >= MAX_STORED_LINE)
            {
                let stored = std::mem::take(&mut self.pending);
                self.show(&stored, &mut out);
                if out.len() >= CHUNK {
                    break;
                }
                continue;
            }
            if read > 0 {
                continue;
            }
            if self.files.len() > 1 {
                self.files.pop_front();
                self.pending.clear();
                continue;
            }
            if !out.is_empty() || !self.options.follow || ended {
                break;
            }
            ended = !self.more().await?;
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// Waits at the end of the current file; `false` once nothing more comes.
    async fn more(&mut self) -> io::Result<bool> {
        tokio::select! {
            () = self.options.ended.cancelled() => return Ok(false),
            () = tokio::time::sleep(POLL) => {}
        }
        match self.unknown_rotated() {
            Ok(rotated) if rotated.is_empty() => Ok(true),
            Ok(rotated) => {
                // The oldest of them is the file we hold.
                self.newest_rotated = rotated.into_iter().next();
                self.open_newer().await?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn show(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        let stored = stored.strip_suffix(b"\n").unwrap_or(stored);
        let Some(line) = line::parse(stored) else { return };
        let wanted = self.options.stream.is_none_or(|only| (only == Stream::Stdout) == line.stdout);
        let early = self
            .since
            .is_some_and(|since| line.timestamp.parse::<Timestamp>().is_ok_and(|at| at < since));
        if !wanted || early {
            return;
        }
        let before = out.len();
        if self.options.timestamps {
            out.extend_from_slice(line.timestamp.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.whole {
            out.push(b'\n');
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        out.truncate(before + room.min(out.len() - before));
        self.left -= (out.len() - before) as u64;
    }
}

/// Where the last `wanted` lines of a file begin, and how many there are.
async fn last_lines(file: &mut File, wanted: u64) -> io::Result<(u64, u64)> {
    let end = file.metadata().await?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut newlines = 0;
    let mut position = end;
    let mut block = Vec::new();
    while position > 0 {
        let size = position.min(COUNT_BLOCK);
        position -= size;
        file.seek(SeekFrom::Start(position)).await?;
        block.clear();
        (&mut *file).take(size).read_to_end(&mut block).await?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The newline before the first wanted line.
            if newlines == wanted {
                return Ok((position + index as u64 + 1, wanted));
            }
            newlines += 1;
        }
    }
    Ok((0, newlines))
}
