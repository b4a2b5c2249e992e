//! How long to wait before something that failed is tried again.
//!
//! As the kubelet's: the first failure is followed by a try at once, each one
//! after it by a wait twice as long, until it went well for long enough.
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// The first wait, as the kubelet's.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait, as the kubelet's.
const LONGEST: Duration = Duration::from_secs(300);
/// After this long without failure the waits begin anew, as in the kubelet.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The waits of one Pod, by container or image.
#[derive(Debug, Clone, Default)]
pub struct Backoffs(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    wait: Duration,
    updated: Timestamp,
}

/// A wait that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Its length.
    pub length: Duration,
    /// When it is over.
    pub until: Timestamp,
}

impl Backoffs {
    /// The wait that a failure of `key` at `failed` began, if it is not over.
    pub fn waiting(&self, key: &str, failed: Timestamp, now: Timestamp) -> Option<Wait> {
        let entry = self.0.get(key).filter(|entry| !entry.is_forgotten(failed))?;
        let until = failed + entry.wait;
        (now < until).then_some(Wait { length: entry.wait, until })
    }

    /// Notes that `key`, which failed at `failed`, is tried again.
    pub fn next(&mut self, key: &str, failed: Timestamp, now: Timestamp) {
        let wait = match self.0.get(key) {
            Some(entry) if !entry.is_forgotten(failed) => (entry.wait * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Notes that `key` went well.
    pub fn reset(&mut self, key: &str) {
        self.0.remove(key);
    }
}

impl Entry {
    fn is_forgotten(&self, failed: Timestamp) -> bool {
        failed.duration_since(self.updated).unsigned_abs() > FORGOTTEN && failed > self.updated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn waits_double_from_ten_seconds_to_five_minutes() {
        let mut backoffs = Backoffs::default();
        assert_eq!(backoffs.waiting("web", at(0), at(0)), None);
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            backoffs.next("web", at(now), at(now));
            let wait = backoffs.waiting("web", at(now), at(now)).unwrap();
            waits.push(wait.length.as_secs());
            now = wait.until.as_second();
            assert_eq!(backoffs.waiting("web", at(now) - wait.length, at(now)), None);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_good_minutes_are_forgiven() {
        let mut backoffs = Backoffs::default();
        backoffs.next("web", at(0), at(0));
        backoffs.next("web", at(5), at(20));
        assert_eq!(backoffs.waiting("web", at(620), at(620)).unwrap().length.as_secs(), 20);
        assert_eq!(backoffs.waiting("web", at(621), at(621)), None);
        backoffs.next("web", at(621), at(621));
        assert_eq!(backoffs.waiting("web", at(621), at(621)).unwrap().length.as_secs(), 10);
    }
}
