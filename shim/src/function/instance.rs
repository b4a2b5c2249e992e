//! Instances: one for each request, or kept for the next.
//!
//! What a guest cannot change (its context: arguments, variables, opened
//! folders) outlives it in either case and serves the next one. An instance
//! itself is kept only where its container asks for it: it then carries what
//! the guest left in its memory from one request to the next, as a process
//! would. One that trapped, exited or was ended is never used again.
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::Setup;
use crate::guest::{self, Guest};
use crate::limits::InstanceLimits;
use crate::logs::Outputs;
use crate::sockets::Neighbours;

/// How long an instance waits for its next request: longer than pauses within a
/// session, shorter than anybody would pay memory for.
pub const IDLE_TIME: Duration = Duration::from_secs(30);

/// Instances that one function keeps: more than a node's CPUs can run at once,
/// few enough that a burst does not fill the container's memory for good.
const MAX_IDLE: usize = 32;

/// Resources that an instance may hold between two requests: far more than open
/// files and streams of a runtime, few enough to be counted each time. A guest
/// that forgets to drop some with each request is replaced before it runs out.
const MAX_LEFT_OPEN: usize = 256;

/// Contexts kept for the next instances; each is some 2 KiB and its open folders.
const MAX_SPARE: usize = 16;

/// A guest and what it stands on.
pub(super) struct Instance {
    /// Which component of the function it is of.
    pub(super) component: usize,
    pub(super) store: Store<Guest>,
    /// Its exports, once it is instantiated.
    pub(super) proxy: Option<Proxy>,
    outputs: Outputs,
    served: u64,
    room: Room,
}

/// A place among the instances of the node.
pub(super) type Room = OwnedSemaphorePermit;

/// A guest's surroundings, as good for the next guest of its component.
struct Context {
    component: usize,
    wasi: WasiCtx,
    outputs: Outputs,
}

/// What waits for the next request.
#[derive(Default)]
pub(super) struct Kept {
    contexts: Mutex<Vec<Context>>,
    idle: Mutex<Vec<Idle>>,
    /// Told when there is an idle instance where there was none.
    first: Notify,
}

struct Idle {
    instance: Instance,
    /// Its place among those of the node that may be idle.
    _place: OwnedSemaphorePermit,
    until: Instant,
}

impl Instance {
    /// A store without a guest in it yet.
    pub(super) fn new(
        setup: &Setup,
        kept: &Kept,
        neighbours: Option<Arc<dyn Neighbours>>,
        component: usize,
        room: Room,
    ) -> wasmtime::Result<Self> {
        let limits = InstanceLimits::new(setup.memory.clone())?;
        let is_its = |spare: &Context| spare.component == component;
        let spare = take_last(&mut kept.contexts.lock(), is_its);
        let Context { wasi, outputs, .. } = match spare {
            Some(context) => context,
            None => {
                let outputs = Outputs::new(&setup.log);
                let environment = &setup.components[component].environment;
                let wasi = environment.context(guest::Stdin::closed(), &outputs)?.build();
                Context { component, wasi, outputs }
            }
        };
        let fuel = Some(setup.fuel.load(Ordering::Relaxed));
        let net = setup.net.clone();
        let engine = setup.engine.wasmtime();
        let store = guest::component_store(engine, wasi, net, neighbours, limits, fuel)?;
        Ok(Self { component, store, proxy: None, outputs, served: 0, room })
    }

    /// Prepares it for one more request.
    pub(super) fn refuel(&mut self, setup: &Setup) -> wasmtime::Result<()> {
        self.store.set_fuel(setup.fuel.load(Ordering::Relaxed))
    }
}

impl Kept {
    /// The instance of a component that was used last: its memory is the warmest,
    /// and those below it come to their end where they are not needed.
    pub(super) fn take(&self, component: usize) -> Option<Instance> {
        let is_its = |idle: &Idle| idle.instance.component == component;
        take_last(&mut self.idle.lock(), is_its).map(|idle| idle.instance)
    }

    /// Takes an instance back whose request ended well; `whole` if its guest may go on.
    pub(super) fn give_back(&self, setup: &Setup, mut instance: Instance, whole: bool) {
        instance.served += 1;
        let wanted = setup.reuse.is_some_and(|most| instance.served < NonZeroU64::get(most));
        if wanted
            && whole
            && instance.store.data_mut().resources() <= MAX_LEFT_OPEN
            // Its caller would wait for the end of the body for as long as the instance is kept.
            && !instance.store.data_mut().has_unfinished_body()
            && let Some(place) = setup.engine.try_idle()
        {
            instance.store.data_mut().rest();
            let until = Instant::now() + IDLE_TIME;
            let mut idle = self.idle.lock();
            let oldest = push_last(&mut idle, Idle { instance, _place: place, until }, MAX_IDLE);
            if idle.len() == 1 {
                self.first.notify_one();
            }
            drop(idle);
            drop(oldest);
            return;
        }
        let Instance { component, store, outputs, room, .. } = instance;
        let wasi = store.into_data().into_wasi();
        drop(room);
        outputs.finish();
        let context = Context { component, wasi, outputs };
        let oldest = push_last(&mut self.contexts.lock(), context, MAX_SPARE);
        drop(oldest);
    }

    /// Ends the instance that waits longest; whether there was one.
    pub(super) fn give_up_one(&self) -> bool {
        let oldest = {
            let mut idle = self.idle.lock();
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        oldest.is_some()
    }

    /// Ends every instance that waits.
    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    /// Ends instances that waited too long; never returns.
    pub(super) async fn expire(&self) {
        loop {
            // The one at the bottom waits longest.
            let next = self.idle.lock().iter().map(|idle| idle.until).min();
            let Some(next) = next else {
                self.first.notified().await;
                continue;
            };
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            let late: Vec<Idle> =
                self.idle.lock().extract_if(.., |idle| idle.until <= now).collect();
            drop(late);
        }
    }
}

/// The last that is wanted.
fn take_last<T>(all: &mut Vec<T>, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
    let at = all.iter().rposition(is_wanted)?;
    Some(all.remove(at))
}

/// Adds one. The first, whose component may have no requests any more, makes room where there
/// are as many as may be.
fn push_last<T>(all: &mut Vec<T>, one: T, most: usize) -> Option<T> {
    let first = (all.len() == most).then(|| all.remove(0));
    all.push(one);
    first
}
