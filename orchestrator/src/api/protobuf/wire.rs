//! The wire format of protocol buffers: fields of a number and a value.
use super::ProtobufError;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    /// A number of one to ten bytes.
    Varint(u64),
    /// Four or eight bytes.
    Fixed(u64),
    /// A text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, in order; ends after the first error.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), ProtobufError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let field = field(bytes, &mut at);
        if field.is_err() {
            at = bytes.len();
        }
        Some(field)
    })
}

/// The numbers of a packed field.
pub(super) fn packed(bytes: &[u8]) -> impl Iterator<Item = Result<u64, ProtobufError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let number = varint(bytes, &mut at);
        if number.is_err() {
            at = bytes.len();
        }
        Some(number)
    })
}

fn field<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u32, Wire<'a>), ProtobufError> {
    let malformed = ProtobufError::Malformed(*at);
    let key = varint(bytes, at)?;
    let Ok(number) = u32::try_from(key >> 3) else { return Err(malformed) };
    let wire = match key & 7 {
        0 => Wire::Varint(varint(bytes, at)?),
        1 => Wire::Fixed(u64::from_le_bytes(fixed(bytes, at)?)),
        2 => {
            let length = usize::try_from(varint(bytes, at)?);
            let end = length.ok().and_then(|length| at.checked_add(length));
            let Some(value) = end.and_then(|end| bytes.get(*at..end)) else {
                return Err(malformed);
            };
            *at += value.len();
            Wire::Bytes(value)
        }
        5 => Wire::Fixed(u32::from_le_bytes(fixed(bytes, at)?).into()),
        _ => return Err(malformed),
    };
    Ok((number, wire))
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], ProtobufError> {
    let value = bytes.get(*at..*at + N).and_then(|value| value.try_into().ok());
    let value = value.ok_or(ProtobufError::Malformed(*at))?;
    *at += N;
    Ok(value)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, ProtobufError> {
    let start = *at;
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.get(*at).ok_or(ProtobufError::Malformed(start))?;
        *at += 1;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(ProtobufError::Malformed(start))
}
