//! Amounts of resources: `250m`, `64Mi`, `1e3`.
//!
//! Fixed-point, never floating: an amount is a whole number of billionths, the
//! smallest unit Kubernetes knows. The form it was written in is kept, as
//! `1Gi` must come back as `1Gi` and not as `1073741824`.
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;
/// Billionths in a thousandth.
const PER_MILLI: i128 = 1_000_000;
/// The largest amount, in billionths: Kubernetes caps at 2^63-1.
const LARGEST: i128 = i64::MAX as i128 * NANO;
/// As many digits as are read before a power of ten: all of the largest amount in billionths. Later ones round up.
const DIGITS_MAX: usize = 28;
/// As many digits as are read before a power of two: with the largest, 2^60, they still fit into 128 bits.
const BINARY_DIGITS_MAX: usize = 20;
/// As many bytes as a quantity may have; the longest sensible one has far fewer.
const LENGTH_MAX: usize = 128;

/// Suffixes of powers of 1024, from 1024^1.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Suffixes of powers of 1000, from 1000^-3.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// A text that is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is not a number and a suffix.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The suffix is none that Kubernetes knows.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// A parsed quantity; `Display` is its canonical form. Compares by amount.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, form: Form::DecimalSi };

    /// The quantity a text describes.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err(QuantityError::Format);
        }
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return Err(QuantityError::Format);
        }
        let (form, twos, tens) = self::suffix(suffix)?;
        let nanos = nanos(whole, fraction, twos, tens);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, form })
    }

    /// `amount` whole units, written in powers of 1000.
    pub const fn from_value(amount: i64) -> Self {
        Self { nanos: amount as i128 * NANO, form: Form::DecimalSi }
    }

    /// `amount` billionths, such as nano-CPUs.
    pub const fn from_nanos(amount: i64) -> Self {
        Self { nanos: amount as i128, form: Form::DecimalSi }
    }

    /// `amount` thousandths, such as milli-CPUs.
    pub const fn from_milli(amount: i64) -> Self {
        Self { nanos: amount as i128 * PER_MILLI, form: Form::DecimalSi }
    }

    /// `amount` bytes, written in powers of 1024.
    pub const fn from_bytes(amount: i64) -> Self {
        Self { nanos: amount as i128 * NANO, form: Form::BinarySi }
    }

    /// Whole units; a fraction counts as one more.
    pub fn value(self) -> i64 {
        rounded_up(self.nanos, NANO)
    }

    /// Thousandths; a fraction counts as one more. Saturates.
    pub fn milli_value(self) -> i64 {
        rounded_up(self.nanos, PER_MILLI)
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it has no fraction.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// This amount with nothing smaller than a thousandth; a fraction of one counts as one more.
    #[must_use]
    pub fn rounded_to_milli(self) -> Self {
        let nanos = away_from_zero(self.nanos, PER_MILLI) * PER_MILLI;
        Self { nanos, form: self.form }
    }

    fn canonical_form(self) -> Form {
        let small = self.nanos.abs() < 1024 * NANO;
        if self.form == Form::BinarySi && (small || !self.is_whole()) {
            Form::DecimalSi
        } else {
            self.form
        }
    }
}

impl Add for Quantity {
    type Output = Self;
    /// The sum, capped at 2^63-1, in the form of the first that is not zero.
    fn add(self, other: Self) -> Self {
        let form = if self.is_zero() { other.form } else { self.form };
        Self { nanos: (self.nanos + other.nanos).clamp(-LARGEST, LARGEST), form }
    }
}

impl Sub for Quantity {
    type Output = Self;
    /// The difference, which may be negative.
    fn sub(self, other: Self) -> Self {
        self + Self { nanos: -other.nanos, form: other.form }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl TryFrom<&resource::Quantity> for Quantity {
    type Error = QuantityError;
    fn try_from(quantity: &resource::Quantity) -> Result<Self, QuantityError> {
        Self::parse(&quantity.0)
    }
}

impl From<Quantity> for resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let form = self.canonical_form();
        if form == Form::BinarySi {
            let mut amount = self.nanos / NANO;
            let mut power = 0;
            while amount % 1024 == 0 && power < BINARY.len() {
                amount /= 1024;
                power += 1;
            }
            let suffix = if power == 0 { "" } else { BINARY[power - 1] };
            return write!(f, "{amount}{suffix}");
        }
        let mut amount = self.nanos;
        let mut power = 0;
        while amount % 1000 == 0 && power < DECIMAL.len() - 1 {
            amount /= 1000;
            power += 1;
        }
        match (form, power) {
            (Form::DecimalExponent, 3) | (Form::DecimalSi, _) => {
                write!(f, "{amount}{}", DECIMAL[power])
            }
            _ => write!(f, "{amount}e{}", (power as i32 - 3) * 3),
        }
    }
}

/// The form of a suffix and the powers of two and ten it stands for.
fn suffix(text: &str) -> Result<(Form, u32, i32), QuantityError> {
    if let Some(power) = BINARY.iter().position(|&s| s == text) {
        return Ok((Form::BinarySi, (power as u32 + 1) * 10, 0));
    }
    if let Some(power) = DECIMAL.iter().position(|&s| s == text) {
        return Ok((Form::DecimalSi, 0, (power as i32 - 3) * 3));
    }
    let exponent = text.strip_prefix(['e', 'E']).ok_or_else(|| {
        let known = |c: char| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit();
        if text.chars().all(known) { QuantityError::Suffix } else { QuantityError::Format }
    })?;
    let exponent = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Form::DecimalExponent, 0, exponent))
}

/// `whole.fraction · 2^twos · 10^tens` in billionths, rounded up, at most [`LARGEST`].
fn nanos(whole: &str, fraction: &str, twos: u32, tens: i32) -> i128 {
    let mut digits: u128 = 0;
    let mut read = 0;
    let mut scale = i64::from(tens) + 9;
    let mut inexact = false;
    let digits_max = if twos == 0 { DIGITS_MAX } else { BINARY_DIGITS_MAX };
    let all = whole.bytes().map(|c| (c, false)).chain(fraction.bytes().map(|c| (c, true)));
    for (digit, fractional) in all {
        let digit = u128::from(digit - b'0');
        if read == digits_max {
            inexact |= digit != 0;
            scale += i64::from(!fractional);
            continue;
        }
        digits = digits * 10 + digit;
        read += usize::from(digits != 0);
        scale -= i64::from(fractional);
    }
    if digits == 0 {
        return 0;
    }
    let scaled = digits << twos;
    let power = u32::try_from(scale.unsigned_abs()).unwrap_or(u32::MAX);
    let nanos = if scale >= 0 {
        10_u128.checked_pow(power).and_then(|ten| scaled.checked_mul(ten))
    } else {
        let quotient = 10_u128.checked_pow(power).map_or(1, |ten| scaled.div_ceil(ten));
        Some(quotient)
    };
    let nanos = nanos.and_then(|n| i128::try_from(n).ok()).unwrap_or(LARGEST);
    nanos.saturating_add(i128::from(inexact && scale >= 0)).min(LARGEST)
}

fn away_from_zero(nanos: i128, unit: i128) -> i128 {
    let (whole, rest) = (nanos / unit, nanos % unit);
    whole + rest.signum()
}

fn rounded_up(nanos: i128, unit: i128) -> i64 {
    let rounded = away_from_zero(nanos, unit);
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).map_or_else(|error| error.to_string(), |q| q.to_string())
    }

    #[test]
    fn canonical_form_has_no_fraction_and_the_largest_suffix() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("0Ki", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+3", "3"),
            ("-3k", "-3k"),
            ("1500000", "1500k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1023Mi", "1023Mi"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("100e-3", "100e-3"),
            ("12e6", "12e6"),
            ("1e0", "1"),
            ("1E", "1E"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1u", "1u"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775807"),
            ("100E", "9223372036854775807"),
            ("1e999", "9223372036854775807"),
            ("1e-999", "1e-9"),
            ("00000000000000000000000000000001", "1"),
            ("123456789012345678901234567890", "9223372036854775807"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        for text in ["", "a", "1.2.3", "-", "1 Gi", "1\u{b5}", ".", "--1", "0x10"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Format), "{text}");
        }
        for text in ["1ki", "1e", "1K", "1mm", "1Kie", "1e1.5"] {
            let refused = Quantity::parse(text);
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
        assert_eq!(Quantity::parse("1K"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse(&"1".repeat(129)), Err(QuantityError::Format));
    }

    #[test]
    fn values_round_up() {
        let parse = |text: &str| Quantity::parse(text).unwrap();
        assert_eq!(parse("250m").milli_value(), 250);
        assert_eq!(parse("250m").value(), 1);
        assert_eq!(parse("1.1").value(), 2);
        assert_eq!(parse("1Gi").value(), 1 << 30);
        assert_eq!(parse("100u").milli_value(), 1);
        assert_eq!(parse("100u").rounded_to_milli().to_string(), "1m");
        assert_eq!(parse("9e18").milli_value(), i64::MAX);
        assert_eq!(parse("1") + parse("500m"), parse("1500m"));
        assert_eq!((parse("1Gi") - parse("512Mi")).to_string(), "512Mi");
        assert!(parse("1Gi") > parse("1G"));
    }

    #[test]
    fn canonical_form_keeps_the_amount_and_is_its_own_canonical_form() {
        let mut random = StdRng::seed_from_u64(7);
        let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "e-2"];
        for _ in 0..20_000 {
            let digits = random.random_range(0..7);
            let whole = random.random_range(0..10_u32.pow(digits));
            let mut text = whole.to_string();
            if random.random_bool(0.5) {
                text = format!("{text}.{}", random.random_range(0..1000));
            }
            if random.random_bool(0.2) {
                text = format!("-{text}");
            }
            text.push_str(suffixes[random.random_range(0..suffixes.len())]);

            let parsed = Quantity::parse(&text).unwrap();
            let again = Quantity::parse(&parsed.to_string()).unwrap();

            assert_eq!(parsed, again, "{text}");
            assert_eq!(parsed.to_string(), again.to_string(), "{text}");
            assert!(!parsed.to_string().contains('.'), "{text}");
        }
    }

    #[test]
    fn adding_and_subtracting_again_changes_nothing() {
        let mut random = StdRng::seed_from_u64(8);
        for _ in 0..5_000 {
            let a = Quantity::from_milli(random.random_range(-1_000_000_000..1_000_000_000));
            let b = Quantity::from_bytes(random.random_range(-1_000_000_000..1_000_000_000));
            assert_eq!(a + b - b, a);
            assert_eq!(a + b, b + a);
            assert_eq!((a < b, a > b), ((a - b).is_negative(), (b - a).is_negative()));
        }
    }
}
