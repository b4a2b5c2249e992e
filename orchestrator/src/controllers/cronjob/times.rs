//! When a `CronJob` was due last and is due next.
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;

use crate::client::Schedule;

/// As many times as may be missed before it is told that something is wrong; upstream's.
const MISSED_MAX: i64 = 100;
/// A little later than due, so that clocks that differ a little do not wake it too early; upstream's.
const LATER: Duration = Duration::from_millis(100);

/// The time a Job was due last, if it was since the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// Whether very many times were missed before.
    pub many_missed: bool,
}

/// What a schedule says at one moment.
#[derive(Debug, Clone)]
pub struct Times<'a> {
    /// Since when it counts: the last time a Job was due, or the creation.
    since: Timestamp,
    /// As long as a Job may be late.
    deadline: Option<SignedDuration>,
    schedule: &'a Schedule,
    zone: &'a TimeZone,
    now: Timestamp,
}

impl<'a> Times<'a> {
    /// The times of a `CronJob`.
    pub fn of(
        cron_job: &CronJob,
        schedule: &'a Schedule,
        zone: &'a TimeZone,
        now: Timestamp,
    ) -> Self {
        let created = cron_job.metadata.creation_timestamp.as_ref();
        let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
        let seconds = cron_job.spec.starting_deadline_seconds;
        Self {
            since: last.or(created).map_or(now, |time| time.0),
            deadline: seconds.map(SignedDuration::from_secs),
            schedule,
            zone,
            now,
        }
    }

    /// The latest time that is due, unless it was before the deadline.
    pub fn due(&self) -> Option<Due> {
        let earliest = self.deadline.and_then(|deadline| self.now.checked_sub(deadline).ok());
        let since = earliest.map_or(self.since, |earliest| earliest.max(self.since));
        self.last_since(since)
    }

    /// How long until the next time.
    pub fn until_next(&self) -> Option<Duration> {
        let last = self.last_since(self.since).map_or(self.since, |due| due.at);
        let from = if self.next(last)? > self.now { last } else { self.now };
        let wait = self.next(from)?.duration_since(self.now);
        Some(Duration::try_from(wait).unwrap_or_default().saturating_add(LATER))
    }

    fn last_since(&self, since: Timestamp) -> Option<Due> {
        let first = self.next(since).filter(|first| *first <= self.now)?;
        let Some(second) = self.next(first).filter(|second| *second <= self.now) else {
            return Some(Due { at: first, many_missed: false });
        };
        // Times are counted by the distance of two of them, not one by one: there may be years of them.
        let distance = second.duration_since(first).as_secs().max(1);
        let missed = self.now.duration_since(first).as_secs() / distance + 1;
        let near = SignedDuration::from_secs(distance.saturating_mul(missed - 2));
        let mut last = None;
        let mut at = first.checked_add(near).ok()?.max(first);
        // From there on one by one, as distances differ. Where there is none the
        // schedule pauses, and what was due before the pause is let go, as upstream.
        while let Some(next) = self.next(at).filter(|next| *next <= self.now) {
            (at, last) = (next, Some(next));
        }
        Some(Due { at: last?, many_missed: missed > MISSED_MAX })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A time of Thursday, 1 January 2026, or of another day of that month.
    fn at(text: &str) -> Timestamp {
        let (day, time) = text.split_once(' ').unwrap_or(("01", text));
        format!("2026-01-{day}T{time}Z").parse().unwrap()
    }

    fn due(schedule: &str, deadline: Option<i64>, last: &str, now: &str) -> (Option<Due>, u64) {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "2025-12-01T00:00:00Z"},
            "spec": {"schedule": schedule, "startingDeadlineSeconds": deadline, "jobTemplate": {}},
            "status": {"lastScheduleTime": at(last).to_string()},
        }))
        .unwrap();
        let schedule = Schedule::parse(schedule).unwrap();
        let zone = TimeZone::UTC;
        let times = Times::of(&cron_job, &schedule, &zone, at(now));
        (times.due(), times.until_next().unwrap().as_secs())
    }

    fn some(text: &str) -> Option<Due> {
        Some(Due { at: at(text), many_missed: false })
    }

    #[test]
    fn the_latest_of_the_times_that_were_missed_is_due() {
        assert_eq!(due("*/10 * * * *", None, "10:00:00", "10:09:00"), (None, 60));
        assert_eq!(due("*/10 * * * *", None, "10:00:00", "10:10:00"), (some("10:10:00"), 600));
        assert_eq!(due("*/10 * * * *", None, "10:00:00", "10:25:00"), (some("10:20:00"), 300));
        // Distances differ: five hours, then one.
        assert_eq!(due("0 6,11,12 * * *", None, "05:00:00", "12:30:00").0, some("12:00:00"));
        assert_eq!(due("@every 7m", None, "10:00:00", "10:30:00"), (some("10:28:00"), 300));
    }

    #[test]
    fn what_was_missed_before_a_gap_in_the_schedule_is_let_go() {
        let office = "*/5 9-17 * * 1-5";
        let saturday = due(office, None, "02 14:00:00", "03 10:00:00");
        let until_monday = (47 * 60) * 60;
        assert_eq!(saturday, (None, until_monday));
        let monday = due(office, None, "02 14:00:00", "05 09:00:00").0.unwrap();
        assert_eq!(monday, Due { at: at("05 09:00:00"), many_missed: true });
        assert_eq!(due(office, None, "02 17:55:00", "05 09:02:00").0, some("05 09:00:00"));
    }

    #[test]
    fn what_is_later_than_the_deadline_is_not_due() {
        assert_eq!(due("*/10 * * * *", Some(200), "10:00:00", "10:14:00").0, None);
        assert_eq!(due("*/10 * * * *", Some(300), "10:00:00", "10:14:00").0, some("10:10:00"));
    }

    #[test]
    fn very_many_missed_times_are_noticed_and_cheap() {
        let missed = due("* * * * *", None, "01:00:00", "03:00:00").0.unwrap();
        assert_eq!(missed, Due { at: at("03:00:00"), many_missed: true });
        assert!(!due("* * * * *", Some(60), "01:00:00", "03:00:00").0.unwrap().many_missed);
    }
}
