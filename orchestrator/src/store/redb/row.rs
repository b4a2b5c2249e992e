//! A row of the file: a version of a value, with a checksum.
//!
//! It is the revision, the expiry (milliseconds, 0 for none), the checksum (CRC-32 of the key and
//! all else) and the bytes, in little endian. redb checks its pages only after a crash, so that a
//! disk that lies would otherwise be believed. Rows from before there were checksums have none; a
//! bit of the revision says so.
use bytes::Bytes;
use crc32fast::Hasher;
use jiff::Timestamp;

use crate::store::{Entry, Revision};

/// Set in the revision of a row with a checksum: no store comes to so many writes.
const CHECKED: u64 = 1 << 63;

/// Bytes of the revision and the expiry.
const HEAD: usize = 16;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Writes the row of an entry over `row`.
pub(super) fn encode(entry: &Entry, row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(&(entry.revision().0 | CHECKED).to_le_bytes());
    let expires = entry.expires().map_or(0, Timestamp::as_millisecond);
    row.extend_from_slice(&expires.to_le_bytes());
    let checksum = checksum(entry.key(), row, entry.value());
    row.extend_from_slice(&checksum.to_le_bytes());
    row.extend_from_slice(entry.value());
}

/// The entry of a row; none if it is damaged.
pub(super) fn decode(key: &str, row: &[u8]) -> Option<Entry> {
    let (head, rest) = row.split_at_checked(HEAD)?;
    let revision = u64::from_le_bytes(head[..8].try_into().ok()?);
    let value = if revision & CHECKED == 0 { rest } else { checked(key, head, rest)? };
    let expires = match i64::from_le_bytes(head[8..].try_into().ok()?) {
        0 => None,
        milliseconds => Some(Timestamp::from_millisecond(milliseconds).ok()?),
    };
    let revision = Revision(revision & !CHECKED);
    Some(Entry::new(key.into(), Bytes::copy_from_slice(value), revision, expires))
}

fn checked<'a>(key: &str, head: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let (expected, value) = rest.split_at_checked(CHECKSUM)?;
    let expected = u32::from_le_bytes(expected.try_into().ok()?);
    (checksum(key, head, value) == expected).then_some(value)
}

fn checksum(key: &str, head: &[u8], value: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    for part in [key.as_bytes(), head, value] {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let expires = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        Entry::new("/a".into(), "value".into(), Revision(7), Some(expires))
    }

    fn same(found: &Entry) {
        let entry = entry();
        assert_eq!(found.value(), entry.value());
        assert_eq!((found.revision(), found.expires()), (entry.revision(), entry.expires()));
    }

    #[test]
    fn no_changed_byte_of_a_row_or_its_key_is_believed() {
        let mut row = Vec::new();
        encode(&entry(), &mut row);
        same(&decode("/a", &row).unwrap());
        assert!(decode("/b", &row).is_none());
        for place in 0..row.len() {
            let mut damaged = row.clone();
            // The highest bit of the revision says whether there is a checksum.
            damaged[place] ^= 0x15;
            assert!(decode("/a", &damaged).is_none(), "byte {place}");
        }
        assert!(decode("/a", &row[..HEAD + 2]).is_none());
    }

    #[test]
    fn a_row_from_before_there_were_checksums_is_read() {
        let mut row = 7_u64.to_le_bytes().to_vec();
        row.extend_from_slice(&1_700_000_000_123_i64.to_le_bytes());
        row.extend_from_slice(b"value");
        same(&decode("/a", &row).unwrap());
    }
}
