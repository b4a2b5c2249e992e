//! Numbers that may be percentages: `maxSurge`, `maxUnavailable`, …
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

/// Which way a percentage that is no whole number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the next smaller number.
    Down,
    /// To the next larger number.
    Up,
}

/// The percentage that `text` is, such as 25 for `25%`; none if it is no percentage.
pub fn percentage(text: &str) -> Option<i32> {
    let digits = text.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// `value` as a number, percentages taken of `total`; none if it is neither.
pub fn scaled(value: &IntOrString, total: i32, rounding: Rounding) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let product = i64::from(percentage(text)?) * i64::from(total);
            let rounded = match rounding {
                Rounding::Down => product.div_euclid(100),
                Rounding::Up => (product + 99).div_euclid(100),
            };
            i32::try_from(rounded).ok()
        }
    }
}

/// `value` as it stands in JSON.
pub fn to_value(value: &IntOrString) -> Value {
    match value {
        IntOrString::Int(number) => Value::from(*number),
        IntOrString::String(text) => Value::from(text.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let scaled = |value: &str, total, rounding| {
            super::scaled(&IntOrString::String(value.into()), total, rounding)
        };
        assert_eq!(scaled("25%", 10, Rounding::Up), Some(3));
        assert_eq!(scaled("25%", 10, Rounding::Down), Some(2));
        assert_eq!(scaled("100%", 7, Rounding::Up), Some(7));
        assert_eq!(scaled("0%", 7, Rounding::Up), Some(0));
        assert_eq!(super::scaled(&IntOrString::Int(4), 1, Rounding::Up), Some(4));
    }

    #[test]
    fn other_text_is_no_percentage() {
        for text in ["25", "%", "-5%", "a%", "2 5%", "99999999999%", "+1%"] {
            assert_eq!(percentage(text), None, "{text}");
        }
    }
}
