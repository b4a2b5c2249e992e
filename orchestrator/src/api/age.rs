//! Ages as people read them: `5s`, `3m20s`, `7d4h`; times as Kubernetes writes them.
//!
//! The thresholds are those of apimachinery's `HumanDuration`, so that our
//! tables look like the ones users know.
use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The length of `duration`, in two units at most.
///
/// A clock may be a little ahead of ours: up to a second of the future is `0s`,
/// more is `<invalid>`.
pub fn human_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let with_rest = |unit: i64, name: &str, rest: i64, rest_name: &str| {
        let (whole, rest) = (seconds / unit, seconds % unit / rest);
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}{name}{rest}{rest_name}") }
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => with_rest(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => with_rest(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => with_rest(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => with_rest(YEAR, "y", DAY, "d"),
        252_288_000.. => format!("{}y", seconds / YEAR),
    }
}

/// The age of something that happened at `then`; `<unknown>` if that is not known.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".into(), |then| human_duration(now.duration_since(then)))
}

/// A time as Kubernetes writes it, without a fraction of a second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_two_units_only_where_the_second_matters() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_199, "7d23h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn an_unset_time_has_an_unknown_age() {
        let now = Timestamp::from_second(1_000).expect("in range");
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Timestamp::from_second(995).ok(), now), "5s");
    }
}
