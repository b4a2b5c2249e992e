//! One field of a schedule: a list of numbers, ranges and steps.

/// What a field may hold.
#[derive(Debug)]
pub struct Bounds {
    /// The lowest number.
    pub min: u32,
    /// The highest number.
    pub max: u32,
    /// Words for the numbers from `min` on, in lower case.
    pub names: &'static [&'static str],
}

/// The numbers that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bit n stands for n; no bound is above 59.
    bits: u64,
    /// Whether it holds a `*` (or `?`) without a step.
    pub any: bool,
}

impl Field {
    /// Reads a list such as `1,10-20/5,*/15`.
    pub fn parse(text: &str, bounds: &Bounds) -> Result<Self, String> {
        let mut all = Self { bits: 0, any: false };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let one = range(part, bounds)?;
            all.bits |= one.bits;
            all.any |= one.any;
        }
        if all.bits == 0 {
            return Err(format!("empty list: {text}"));
        }
        Ok(all)
    }

    /// Whether a number matches.
    pub fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| number < 64 && self.bits & (1 << number) != 0)
    }
}

fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let (numbers, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((numbers, step)) => (numbers, Some(step)),
        None => (text, None),
    };
    let (low, high) = match numbers.split_once('-') {
        Some((_, high)) if high.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((low, high)) => (low, Some(high)),
        None => (numbers, None),
    };
    let star = matches!(low, "*" | "?");
    let start = if star { bounds.min } else { named(low, bounds)? };
    let mut end = match high {
        _ if star => bounds.max,
        Some(high) => named(high, bounds)?,
        None => start,
    };
    let step = match step {
        None => 1,
        Some(step) => {
            // `5/15` is `5-59/15`.
            if high.is_none() {
                end = bounds.max;
            }
            number(step)?
        }
    };
    let (min, max) = (bounds.min, bounds.max);
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, number| bits | (1 << number));
    Ok(Field { bits, any: star && step == 1 })
}

fn named(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let word = text.to_lowercase();
    let place = bounds.names.iter().zip(bounds.min..).find(|(name, _)| **name == word);
    place.map_or_else(|| number(text), |(_, number)| Ok(number))
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) => u32::try_from(number)
            .map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
    }
}
