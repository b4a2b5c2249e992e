//! What one container has used of the CPU, and what it may use.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bucket::CpuBucket;

/// The weight of a container that requests one CPU, as in cgroups v1.
const SHARES_OF_ONE_CPU: u64 = 1024;

/// The least weight a container can have, as in cgroups v1.
const MIN_SHARES: u64 = 2;

/// One container's CPU: its quota, its weight and its use, over all its instances.
#[derive(Debug)]
pub struct CpuAccount {
    id: u64,
    shares: AtomicU64,
    bucket: Mutex<CpuBucket>,
    used_nanos: AtomicU64,
    throttled_periods: AtomicU64,
    /// CPU time divided by weight: whoever has least runs next.
    virtual_runtime: AtomicU64,
}

impl CpuAccount {
    /// An account with nothing used; no quota where `None`, CFS's period where zero.
    pub fn new(quota: Option<Duration>, period: Duration, shares: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            shares: AtomicU64::new(shares.max(MIN_SHARES)),
            bucket: Mutex::new(CpuBucket::new(quota, period, Instant::now())),
            used_nanos: AtomicU64::new(0),
            throttled_periods: AtomicU64::new(0),
            virtual_runtime: AtomicU64::new(0),
        }
    }

    /// Changes the limits while instances run.
    pub fn set(&self, quota: Option<Duration>, period: Duration, shares: u64) {
        self.shares.store(shares.max(MIN_SHARES), Ordering::Relaxed);
        self.bucket.lock().set(quota, period, Instant::now());
    }

    /// CPU time used since the account was opened.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    /// Periods in which the container waited for quota.
    pub fn throttled_periods(&self) -> u64 {
        self.throttled_periods.load(Ordering::Relaxed)
    }

    /// Charges the time of one slice.
    pub fn charge(&self, used: Duration) {
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.used_nanos.fetch_add(nanos, Ordering::Relaxed);
        let weighted =
            nanos.saturating_mul(SHARES_OF_ONE_CPU) / self.shares.load(Ordering::Relaxed);
        self.virtual_runtime.fetch_add(weighted, Ordering::Relaxed);
        self.bucket.lock().charge(used);
    }

    /// `None` if the container has quota, else when it gets some.
    pub(super) fn throttled_until(&self, now: Instant) -> Option<Instant> {
        self.bucket.lock().throttled_until(now)
    }

    pub(super) fn count_throttled(&self) {
        self.throttled_periods.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn virtual_runtime(&self) -> u64 {
        self.virtual_runtime.load(Ordering::Relaxed)
    }

    /// One that slept has no claim on the time it slept through.
    pub(super) fn catch_up(&self, floor: u64) -> u64 {
        self.virtual_runtime.fetch_max(floor, Ordering::Relaxed).max(floor)
    }
}
