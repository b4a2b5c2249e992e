//! Container logs, in the CRI's format.
//!
//! One line of a guest is one line of the file: a timestamp, the stream, `F` or
//! `P` (the line goes on in the next one), and the text. [`LogFile`] writes and
//! rotates, [`read()`] reads them back for `podium logs` and the node's API.

mod line;
mod output;
mod read;
mod write;

pub use line::{MAX_LINE, Stream};
pub use output::{GuestOutput, Outputs};
pub use read::{Options, ReadError, read};
pub use write::LogFile;

#[cfg(test)]
mod tests;
