//! `limits.memory`: what a container's instances hold, counted and ended.
//!
//! A container has one [`MemoryAccount`]; each of its instances takes its share
//! from it through [`InstanceLimits`], which wasmtime asks before it grows a
//! memory or a table. The instance that would take the account over its limit
//! ends with [`OomKilled`]; its neighbours keep what they have.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::ResourceLimiter;

/// What an instance makes the host hold besides its own memories and tables:
/// store, resource table, stack and stream buffers, as measured (FACTS: a live
/// C guest of 20 KiB holds 34 after a request), rounded up.
pub const HOST_SHARE: u64 = 64 << 10;

/// Bytes of one table element.
const TABLE_ELEMENT: u64 = size_of::<usize>() as u64;

/// Instances, memories and tables one store may have: enough for a component of
/// composed parts, too few to fill the pool alone.
const PARTS_PER_STORE: usize = 64;

/// An instance wanted more memory than its container's limit leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory limit of {limit} bytes exceeded: the container would hold {wanted}")]
pub struct OomKilled {
    /// Bytes the container would have held.
    pub wanted: u64,
    /// Its limit.
    pub limit: u64,
}

/// What all instances of one container hold together.
pub struct MemoryAccount {
    limit: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
    relief: OnceLock<Relief>,
}

/// Gives memory back that is held for convenience only; whether there was any.
pub type Relief = Box<dyn Fn() -> bool + Send + Sync>;

impl MemoryAccount {
    /// An empty account; `None` is without limit.
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            relief: OnceLock::new(),
        }
    }

    /// Says what to try, again and again, before an instance is ended. Only the
    /// first one counts.
    pub fn set_relief(&self, relief: Relief) {
        self.relief.get_or_init(|| relief);
    }

    /// Changes the limit; what is held already stays.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes held at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: u64) -> Result<(), OomKilled> {
        loop {
            match self.try_charge(bytes) {
                Err(_) if self.relief.get().is_some_and(|relief| relief()) => {}
                done => return done,
            }
        }
    }

    fn try_charge(&self, bytes: u64) -> Result<(), OomKilled> {
        let limit = self.limit.load(Ordering::Relaxed);
        let fits = |used: u64| used.checked_add(bytes).filter(|wanted| *wanted <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => Err(OomKilled { wanted: used.saturating_add(bytes), limit }),
        }
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One instance's share of its container's account; given back when dropped.
pub struct InstanceLimits {
    account: Arc<MemoryAccount>,
    share: u64,
}

impl InstanceLimits {
    /// Takes the host's share for a new instance.
    pub fn new(account: Arc<MemoryAccount>) -> Result<Self, OomKilled> {
        account.charge(HOST_SHARE)?;
        Ok(Self { account, share: HOST_SHARE })
    }

    /// A share of the same account for what the host holds for the instance besides.
    pub fn reserve(&self) -> Reserve {
        Reserve { account: self.account.clone(), bytes: 0 }
    }

    fn take(&mut self, bytes: u64) -> Result<(), OomKilled> {
        self.account.charge(bytes)?;
        self.share += bytes;
        Ok(())
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.account.release(self.share);
    }
}

/// What the host holds for an instance where there is room; given back when dropped.
pub struct Reserve {
    account: Arc<MemoryAccount>,
    bytes: u64,
}

impl Reserve {
    /// Takes bytes if the container's limit leaves them; ends nothing for them.
    pub fn try_take(&mut self, bytes: u64) -> bool {
        let taken = self.account.try_charge(bytes).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    /// Gives all of it back.
    pub fn give_back(&mut self) {
        self.account.release(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Refused by wasmtime in any case: nothing to count.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.take(desired.saturating_sub(current) as u64)?;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.take((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT))?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS_PER_STORE
    }

    fn tables(&self) -> usize {
        PARTS_PER_STORE
    }

    fn memories(&self) -> usize {
        PARTS_PER_STORE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_instance_over_the_limit_fails_and_its_neighbour_keeps_what_it_has() {
        let account = Arc::new(MemoryAccount::new(Some(4 << 20)));
        let mut neighbour = InstanceLimits::new(account.clone()).unwrap();
        assert!(neighbour.memory_growing(0, 2 * MIB, None).unwrap());
        let mut hog = InstanceLimits::new(account.clone()).unwrap();
        assert!(hog.memory_growing(0, MIB, None).unwrap());

        let refused = hog.memory_growing(MIB, 3 * MIB, None).unwrap_err();

        assert_eq!(refused.downcast_ref::<OomKilled>().unwrap().limit, 4 << 20);
        drop(hog);
        assert_eq!(account.used(), (2 << 20) + HOST_SHARE);
        assert_eq!(account.peak(), (3 << 20) + 2 * HOST_SHARE);
        assert!(neighbour.memory_growing(2 * MIB, 3 * MIB, None).unwrap());
    }

    #[test]
    fn what_is_held_for_convenience_goes_before_anything_is_ended() {
        let account = Arc::new(MemoryAccount::new(Some(4 << 20)));
        let idle = || {
            let mut idle = InstanceLimits::new(account.clone()).unwrap();
            idle.memory_growing(0, MIB, None).unwrap();
            idle
        };
        let kept = parking_lot::Mutex::new(vec![idle(), idle()]);
        account.set_relief(Box::new(move || kept.lock().pop().is_some()));
        let mut busy = InstanceLimits::new(account.clone()).unwrap();

        assert!(busy.memory_growing(0, 3 * MIB, None).unwrap());

        assert_eq!(account.used(), (3 << 20) + HOST_SHARE);
        assert!(busy.memory_growing(3 * MIB, 5 * MIB, None).is_err());
    }

    #[test]
    fn growth_beyond_the_memorys_own_maximum_is_not_counted() {
        let account = Arc::new(MemoryAccount::new(None));
        let mut instance = InstanceLimits::new(account.clone()).unwrap();

        assert!(!instance.memory_growing(0, 2 * MIB, Some(MIB)).unwrap());
        assert!(!instance.table_growing(0, 100, Some(10)).unwrap());

        assert_eq!(account.used(), HOST_SHARE);
    }
}
