//! The CRI's log line: `<RFC3339Nano> <stdout|stderr> <F|P> <text>`.
use jiff::Timestamp;

/// Bytes of text in one line of the file, as in containerd: a guest that writes
/// no newline must not make us hold more.
pub const MAX_LINE: usize = 16 << 10;

/// Which of a guest's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Appends one line to `out`; `text` has no newline.
pub(super) fn format(out: &mut Vec<u8>, at: Timestamp, stream: Stream, whole: bool, text: &[u8]) {
    let tag = if whole { "F" } else { "P" };
    out.extend_from_slice(format!("{at:.9} {} {tag} ", stream.as_str()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// A line of a log file, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) timestamp: &'a str,
    pub(super) stdout: bool,
    /// Whether the guest's line ends here.
    pub(super) whole: bool,
    pub(super) text: &'a [u8],
}

/// Takes a line without its newline apart; `None` if it is not the CRI's.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let timestamp = std::str::from_utf8(parts.next()?).ok()?;
    let stdout = match parts.next()? {
        b"stdout" => true,
        b"stderr" => false,
        _ => return None,
    };
    // Tags are separated by colons; the first says whether the line is partial.
    let whole = match parts.next()?.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { timestamp, stdout, whole, text: parts.next().unwrap_or_default() })
}

/// Cuts a guest's bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// What follows the last newline; shorter than [`MAX_LINE`].
    rest: Vec<u8>,
}

impl Splitter {
    /// Hands every line that `bytes` completes to `line`, with whether it is whole.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.rest.len();
            let window = &bytes[..bytes.len().min(room)];
            let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
                self.rest.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.rest.len() == MAX_LINE {
                    line(&self.rest, false);
                    self.rest.clear();
                }
                continue;
            };
            if self.rest.is_empty() {
                line(&window[..end], true);
            } else {
                self.rest.extend_from_slice(&window[..end]);
                line(&self.rest, true);
                self.rest.clear();
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// Hands out what has no newline yet.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&[u8], bool)) {
        if !self.rest.is_empty() {
            line(&self.rest, true);
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Vec::new();
        let mut splitter = Splitter::default();
        for piece in pieces {
            splitter.push(piece, |text, whole| lines.push((text.to_vec(), whole)));
        }
        splitter.finish(|text, whole| lines.push((text.to_vec(), whole)));
        lines
    }

    #[test]
    fn pieces_of_a_line_become_one_and_the_last_needs_no_newline() {
        let lines = split(&[b"one", b" line\ntwo\n\n", b"rest"]);
        let text: Vec<_> = lines.iter().map(|(text, _)| text.as_slice()).collect();
        assert_eq!(text, [&b"one line"[..], b"two", b"", b"rest"]);
        assert!(lines.iter().all(|(_, whole)| *whole));
    }

    #[test]
    fn a_line_without_end_is_cut_into_partial_ones() {
        let mut long = vec![b'x'; 2 * MAX_LINE + 5];
        long.push(b'\n');

        let lines = split(&[&long]);

        let seen: Vec<_> = lines.iter().map(|(text, whole)| (text.len(), *whole)).collect();
        assert_eq!(seen, [(MAX_LINE, false), (MAX_LINE, false), (5, true)]);
    }

    #[test]
    fn a_formatted_line_parses_back() {
        let mut out = Vec::new();
        let at: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        format(&mut out, at, Stream::Stderr, false, b"a b  c");

        assert_eq!(out, b"2026-01-02T03:04:05.500000000Z stderr P a b  c\n");
        let line = parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((line.stdout, line.whole, line.text), (false, false, &b"a b  c"[..]));
        assert_eq!(parse(b"no log line"), None);
    }
}
