//! How wasmtime is set up, and how large its pool is on this machine.
use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::platform;

/// Mappings that one pooled instance takes of `vm.max_map_count`: two of its
/// stack from the start; memory, its copy-on-write image, guard and table while
/// it lives. Measured 7.7 to 10; the rest is for everybody else in the process.
const MAPS_PER_SLOT: u64 = 16;

/// Most instances alive at once: each slot reserves 4 GiB of address space, of
/// which x86-64 and most of aarch64 have 128 TiB.
const MAX_SLOTS: u32 = 4096;

/// A pool smaller than this is not worth its address space.
const MIN_SLOTS: u32 = 32;

/// Core instances per component instance: module, adapter, shims, composed parts.
const CORE_INSTANCES_PER_SLOT: u32 = 4;

/// Core tables per component instance.
const TABLES_PER_SLOT: u32 = 2;

/// Slots kept with their memory image mapped, so that the next request needs no
/// mapping; at most this many times what is kept of each.
const WARM_SLOTS: u32 = 64;

/// Bytes of a freed memory that are reset by hand instead of being unmapped,
/// where the kernel cannot tell which of them were written: all are, so few.
const KEEP_RESIDENT: usize = 64 << 10;

/// The same where it can (Linux 6.7 and later): only those that were. Unmapping
/// costs an interrupt on every other CPU, and a page fault each when they are
/// written again: measured dearer than copying up to some hundred pages.
const KEEP_WRITTEN: usize = 512 << 10;

/// Bytes of a freed table that are zeroed by hand.
const TABLE_KEEP_RESIDENT: usize = 8 << 10;

/// Address space an on-demand memory reserves beyond its size, where the
/// machine has too little for a pool.
const SMALL_RESERVATION: u64 = 16 << 20;

/// Frames of a trap's backtrace: enough to see where, little to capture.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

/// An engine, and how many instances it can hold at once.
pub(super) struct Built {
    pub(super) engine: Engine,
    pub(super) slots: usize,
}

/// Builds the engine with the largest pool that this machine maps.
pub(super) fn build() -> wasmtime::Result<Built> {
    let mut slots = wanted_slots(platform::max_map_count());
    while slots >= MIN_SLOTS {
        let mut config = base();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
        match Engine::new(&config) {
            Ok(engine) => return Ok(Built { engine, slots: slots as usize }),
            Err(error) => tracing::debug!(slots, %error, "pool does not fit, trying a smaller one"),
        }
        slots /= 2;
    }
    tracing::warn!("no room for a pool of instances, allocating them on demand");
    let mut config = base();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(0)
        .memory_reservation_for_growth(SMALL_RESERVATION);
    Ok(Built { engine: Engine::new(&config)?, slots: MIN_SLOTS as usize })
}

/// As many slots as the kernel's limit of mappings allows.
fn wanted_slots(max_map_count: Option<u64>) -> u32 {
    let by_maps = max_map_count.map_or(u64::from(MAX_SLOTS), |maps| maps / MAPS_PER_SLOT);
    u32::try_from(by_maps).unwrap_or(MAX_SLOTS).clamp(MIN_SLOTS, MAX_SLOTS)
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .memory_init_cow(true)
        // 10–15 % cheaper per request, and no guest of WASI 0.2 needs it.
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES));
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let keep = if PoolingAllocationConfig::is_pagemap_scan_available() {
        KEEP_WRITTEN
    } else {
        KEEP_RESIDENT
    };
    pool.total_component_instances(slots)
        .total_core_instances(slots * CORE_INSTANCES_PER_SLOT)
        .total_memories(slots)
        .total_tables(slots * TABLES_PER_SLOT)
        .total_stacks(slots)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(TABLE_KEEP_RESIDENT);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_fits_the_kernels_limit_of_mappings() {
        assert_eq!(wanted_slots(Some(65_530)), 4095);
        assert_eq!(wanted_slots(Some(8_192)), 512);
        assert_eq!(wanted_slots(Some(100)), MIN_SLOTS);
        assert_eq!(wanted_slots(None), MAX_SLOTS);
    }
}
