//! Time and chance, as arguments.
//!
//! Nothing else in the crate asks the operating system for the time or for
//! random bytes, so that a test can say both. Delays go through `tokio::time`.
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Letters of generated names: no vowels, no look-alikes, as in Kubernetes.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that a test sets.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves it.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock() = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// A source of chance; clones share it.
#[derive(Debug, Clone)]
pub struct Entropy(Arc<Mutex<StdRng>>);

impl Entropy {
    /// Unpredictable.
    pub fn from_os() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// The end of a generated name: `length` letters and digits.
    pub fn suffix(&self, length: usize) -> String {
        let mut random = self.0.lock();
        let letter = |_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]);
        (0..length).map(letter).collect()
    }

    /// A version 4 UUID.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.0.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A number from 0 up to, not including, 1.
    pub fn fraction(&self) -> f64 {
        self.0.lock().random()
    }
}
