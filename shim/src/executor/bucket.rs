//! `limits.cpu`: CFS's bandwidth control, on measured CPU time.
//!
//! A container may use `quota` per `period`. What a slice takes beyond the
//! quota is a debt that the next periods pay, so the long run is exact although
//! a slice is never cut. Nothing is saved up: an idle container gets no burst.
use std::time::{Duration, Instant};

/// CFS's default period, which Kubernetes keeps.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(100);

/// The CPU time one container may still use, and when it gets more.
#[derive(Debug)]
pub struct CpuBucket {
    quota: Option<Duration>,
    period: Duration,
    /// What is left of this period in nanoseconds; a debt where negative.
    left: i64,
    period_start: Instant,
}

impl CpuBucket {
    /// A full bucket; without limit where `quota` is `None`.
    pub fn new(quota: Option<Duration>, period: Duration, now: Instant) -> Self {
        let period = if period.is_zero() { DEFAULT_PERIOD } else { period };
        Self { quota, period, left: nanos(quota.unwrap_or_default()), period_start: now }
    }

    /// Changes quota and period; a debt stays a debt.
    pub fn set(&mut self, quota: Option<Duration>, period: Duration, now: Instant) {
        let debt = self.left.min(0);
        *self = Self::new(quota, period, now);
        if debt < 0 && self.quota.is_some() {
            self.left = debt;
        }
    }

    /// `None` if the container may run now, else when it may ask again.
    pub fn throttled_until(&mut self, now: Instant) -> Option<Instant> {
        let quota = nanos(self.quota?);
        let elapsed = now.saturating_duration_since(self.period_start);
        let periods = (elapsed.as_nanos() / self.period.as_nanos()) as i64;
        if periods > 0 {
            self.left = self.left.saturating_add(quota.saturating_mul(periods)).min(quota);
            let into = (elapsed.as_nanos() % self.period.as_nanos()) as u64;
            self.period_start = now - Duration::from_nanos(into);
        }
        (self.left <= 0).then(|| self.period_start + self.period)
    }

    /// Takes what a slice has used.
    pub fn charge(&mut self, used: Duration) {
        if self.quota.is_some() {
            self.left = self.left.saturating_sub(nanos(used));
        }
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_container_out_of_quota_waits_for_the_next_period() {
        let start = Instant::now();
        let mut bucket = CpuBucket::new(Some(25 * MS), DEFAULT_PERIOD, start);
        assert_eq!(bucket.throttled_until(start), None);

        bucket.charge(25 * MS);

        assert_eq!(bucket.throttled_until(start + 30 * MS), Some(start + 100 * MS));
        assert_eq!(bucket.throttled_until(start + 100 * MS), None);
    }

    #[test]
    fn what_a_slice_overdraws_the_following_periods_pay() {
        let start = Instant::now();
        let mut bucket = CpuBucket::new(Some(10 * MS), DEFAULT_PERIOD, start);

        bucket.charge(35 * MS);

        assert_eq!(bucket.throttled_until(start + 100 * MS), Some(start + 200 * MS));
        assert_eq!(bucket.throttled_until(start + 200 * MS), Some(start + 300 * MS));
        assert_eq!(bucket.throttled_until(start + 300 * MS), None);
    }

    #[test]
    fn idle_periods_save_nothing_up() {
        let start = Instant::now();
        let mut bucket = CpuBucket::new(Some(10 * MS), DEFAULT_PERIOD, start);
        assert_eq!(bucket.throttled_until(start + 5_000 * MS), None);

        bucket.charge(10 * MS);

        assert_eq!(bucket.throttled_until(start + 5_010 * MS), Some(start + 5_100 * MS));
    }

    #[test]
    fn without_a_quota_nothing_waits_and_a_new_quota_counts_from_then() {
        let start = Instant::now();
        let mut bucket = CpuBucket::new(None, Duration::ZERO, start);
        bucket.charge(10_000 * MS);
        assert_eq!(bucket.throttled_until(start), None);

        bucket.set(Some(10 * MS), Duration::ZERO, start);
        bucket.charge(30 * MS);
        bucket.set(Some(50 * MS), Duration::ZERO, start);

        assert_eq!(bucket.throttled_until(start), Some(start + DEFAULT_PERIOD));
        assert_eq!(bucket.throttled_until(start + DEFAULT_PERIOD), None);
    }
}
