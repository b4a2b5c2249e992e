//! Layers as plain archives, whatever they are compressed with.
//!
//! The first bytes decide, not the media type: tools disagree about the one, never about the other.
use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Memory that one zstd frame may ask for: the window of `zstd --ultra -22`.
const MAX_WINDOW: u64 = 128 << 20;

/// Bytes of an archive in all, headers and what is skipped included.
const MAX_ARCHIVE: u64 = 8 << 30;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The plain bytes of a layer.
pub(super) fn decompress(mut file: impl BufRead + 'static) -> io::Result<impl Read> {
    let start = file.fill_buf()?;
    let plain: Box<dyn Read> = if start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(file))
    } else if start.starts_with(ZSTD) || start.get(..4).is_some_and(is_skippable) {
        Box::new(Zstd { frame: next_frame(file)? })
    } else {
        Box::new(file)
    };
    Ok(Bounded { plain, left: MAX_ARCHIVE })
}

/// Fails once more bytes came than may, as a cut would look like an end.
struct Bounded {
    plain: Box<dyn Read>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let why = format!("it unpacks to more than {MAX_ARCHIVE} bytes");
            io::Error::new(io::ErrorKind::FileTooLarge, why)
        })?;
        Ok(read)
    }
}

/// A frame's magic number, read to look at it and read again, then the rest.
type Source<R> = io::Chain<Cursor<[u8; 4]>, R>;

/// zstd frames, one after another: tools for lazy pulling make many.
struct Zstd<R: Read> {
    frame: Option<StreamingDecoder<Source<R>, FrameDecoder>>,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = &mut self.frame {
            let read = frame.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let ended = self.frame.take().expect("it was there just now");
            self.frame = next_frame(ended.into_inner().into_inner().1)?;
        }
        Ok(0)
    }
}

/// The next frame with content, `None` at the end.
fn next_frame<R: BufRead>(
    mut file: R,
) -> io::Result<Option<StreamingDecoder<Source<R>, FrameDecoder>>> {
    while !file.fill_buf()?.is_empty() {
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        if is_skippable(&magic) {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            io::copy(&mut file.by_ref().take(length), &mut io::sink())?;
            continue;
        }
        let source = Cursor::new(magic).chain(file);
        let frame = StreamingDecoder::new_with_max_window_size(source, MAX_WINDOW);
        return frame.map(Some).map_err(io::Error::other);
    }
    Ok(None)
}

/// Whether a zstd frame holds notes for tools, not content.
fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}
