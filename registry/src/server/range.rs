//! Ranges: `Range` of a download (RFC 9110, section 14) and `Content-Range` of a chunk.

/// What of a blob is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes; both ends belong to it.
    Bytes {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Nothing, as none of what was asked for exists.
    Unsatisfiable,
}

/// Reads a `Range` header. One that is malformed, of another unit or of several ranges is ignored,
/// as the RFC allows.
pub(super) fn requested(header: Option<&str>, size: u64) -> Part {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Part::Whole };
    match (number(first), number(last)) {
        (Some(first), _) if first >= size && (last.is_empty() || number(last).is_some()) => {
            Part::Unsatisfiable
        }
        (Some(first), None) if last.is_empty() => Part::Bytes { first, last: size - 1 },
        (Some(first), Some(last)) if last >= first => {
            Part::Bytes { first, last: last.min(size - 1) }
        }
        (None, Some(suffix)) if first.is_empty() => match suffix.min(size) {
            0 => Part::Unsatisfiable,
            suffix => Part::Bytes { first: size - suffix, last: size - 1 },
        },
        _ => Part::Whole,
    }
}

/// Reads the `Content-Range` of a chunk, `first-last`; the unit before it is optional, as some
/// clients send it.
pub(super) fn chunk(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_exists() {
        let of_ten = |text: &str| requested(Some(text), 10);
        assert_eq!(of_ten("bytes=0-3"), Part::Bytes { first: 0, last: 3 });
        assert_eq!(of_ten("bytes=4-"), Part::Bytes { first: 4, last: 9 });
        assert_eq!(of_ten("bytes=-4"), Part::Bytes { first: 6, last: 9 });
        assert_eq!(of_ten("bytes=-40"), Part::Bytes { first: 0, last: 9 });
        assert_eq!(of_ten("bytes=5-100"), Part::Bytes { first: 5, last: 9 });
        assert_eq!(of_ten("bytes=10-"), Part::Unsatisfiable);
        assert_eq!(of_ten("bytes=-0"), Part::Unsatisfiable);
        assert_eq!(requested(Some("bytes=0-0"), 0), Part::Unsatisfiable);
        for ignored in ["bytes=3-1", "bytes=a-b", "bytes=", "bytes=-", "items=0-1", "bytes=0-1,3-4"]
        {
            assert_eq!(of_ten(ignored), Part::Whole, "{ignored}");
        }
        assert_eq!(requested(None, 10), Part::Whole);
    }

    #[test]
    fn chunks_say_where_they_begin_and_end() {
        assert_eq!(chunk("0-9"), Some((0, 9)));
        assert_eq!(chunk("bytes 10-19/20"), Some((10, 19)));
        for bad in ["", "9-0", "-1", "1-", "a-b", "+1-2"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
