//! Durations as Go writes them: `90s`, `1h30m`, `500ms`; a bare number is seconds.
use std::time::Duration;

/// Parses a duration; `clap` prints the complaint with the flag's name.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    let complaint = || format!("{text:?} is no duration; say for example 30s, 5m or 1h30m");
    if rest.is_empty() {
        return Err(complaint());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(complaint)?;
        let number: f64 = rest[..digits].parse().map_err(|_| complaint())?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(complaint()),
        };
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| complaint())?;
        rest = &after[letters..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in
            [("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5s", 1500), ("5", 5000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "1x", "1h30", "-1s"] {
            assert!(parse(text).unwrap_err().contains("30s"), "{text}");
        }
    }
}
