//! What a guest finds on its side: store data, host functions, environment.
//!
//! One linker serves all components and one all modules of preview 1; what is
//! not in them no guest can import. A guest gets the arguments, variables and
//! folders that its [`Environment`] names and nothing else of the host.

pub mod ending;
mod environment;
mod etc;
mod hooks;
mod root;
mod staging;
mod stdin;

use std::sync::Arc;

use wasmtime::component::{Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, Linker as ModuleLinker, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub use environment::{Environment, EnvironmentError, Stdio};
pub use hooks::BODY_BUFFER;
pub use root::Root;
pub use staging::Staging;
pub use stdin::Stdin;

use hooks::Hooks;

use crate::executor::FUEL_SLICE;
use crate::limits::InstanceLimits;
use crate::network::PodNet;
use crate::sockets::{HttpHooks, Neighbours, NetCtx, NetCtxView, NetView};

/// Resources (streams, sockets, bodies) one instance may hold open: each is
/// host memory that no linear memory accounts for.
const MAX_RESOURCES: usize = 4096;

/// Bytes one call of a guest may make the host copy: far above what any WASI
/// call needs, far below what would hurt.
const MAX_CALL_BYTES: usize = 8 << 20;

/// The data of a component's store.
pub struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    net: NetCtx,
    hooks: Hooks,
    limits: InstanceLimits,
}

impl Guest {
    /// Resources that the guest holds open.
    pub fn resources(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// Whether it holds a body that it has not finished, for whose end somebody may wait.
    pub fn has_unfinished_body(&mut self) -> bool {
        is_unfinished(&mut self.table)
    }

    /// Whether buffers of bodies that it has made may be full still.
    fn has_bodies(&mut self) -> bool {
        self.table.iter_mut().any(|resource| {
            resource.is::<HostOutgoingBody>()
                || resource.is::<HostOutgoingRequest>()
                || resource.is::<HostOutgoingResponse>()
        })
    }

    /// Prepares it for one more request.
    pub fn rest(&mut self) {
        if !self.has_bodies() {
            self.hooks.forget_bodies();
        }
    }

    /// What the next guest of the same container can use; the rest ends here.
    pub fn into_wasi(self) -> WasiCtx {
        self.wasi
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl NetView for Guest {
    fn net(&mut self) -> NetCtxView<'_> {
        NetCtxView { ctx: &mut self.net, table: &mut self.table }
    }
}

fn is_unfinished(table: &mut ResourceTable) -> bool {
    table.iter_mut().any(|resource| resource.is::<HostOutgoingBody>())
}

/// The data of a preview-1 module's store.
pub struct ModuleGuest {
    wasi: WasiP1Ctx,
    limits: InstanceLimits,
}

/// All that components may import.
pub fn component_linker(engine: &Engine) -> wasmtime::Result<ComponentLinker<Guest>> {
    let mut linker = ComponentLinker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // The sockets of wasmtime-wasi are the host's: ours stand before them.
    linker.allow_shadowing(true);
    crate::sockets::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// All that modules of preview 1 may import.
pub fn module_linker(engine: &Engine) -> wasmtime::Result<ModuleLinker<ModuleGuest>> {
    let mut linker = ModuleLinker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |guest: &mut ModuleGuest| &mut guest.wasi)?;
    Ok(linker)
}

/// A store for one component instance, which may call its neighbours by name.
pub fn component_store(
    engine: &Engine,
    wasi: WasiCtx,
    net: PodNet,
    neighbours: Option<Arc<dyn Neighbours>>,
    limits: InstanceLimits,
    fuel: Option<u64>,
) -> wasmtime::Result<Store<Guest>> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let hooks = Hooks::new(HttpHooks::new(net.clone(), neighbours), limits.reserve());
    let net = NetCtx::new(net);
    let guest = Guest { table, wasi, http: WasiHttpCtx::new(), net, hooks, limits };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limits);
    meter(&mut store, fuel)?;
    Ok(store)
}

/// A store for one module of preview 1.
pub fn module_store(
    engine: &Engine,
    wasi: WasiP1Ctx,
    limits: InstanceLimits,
    fuel: Option<u64>,
) -> wasmtime::Result<Store<ModuleGuest>> {
    let mut store = Store::new(engine, ModuleGuest { wasi, limits });
    store.limiter(|guest| &mut guest.limits);
    meter(&mut store, fuel)?;
    Ok(store)
}

fn meter<T>(store: &mut Store<T>, fuel: Option<u64>) -> wasmtime::Result<()> {
    store.set_hostcall_fuel(MAX_CALL_BYTES);
    store.set_fuel(fuel.unwrap_or(u64::MAX))?;
    store.fuel_async_yield_interval(Some(FUEL_SLICE))
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::p2::body::StreamContext;

    use super::*;

    #[test]
    fn a_body_is_unfinished_until_its_guest_gives_it_up() {
        let mut table = ResourceTable::new();
        table.push("something else".to_owned()).unwrap();
        assert!(!is_unfinished(&mut table));
        let (body, _read) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1024);
        let body = table.push(body).unwrap();
        assert!(is_unfinished(&mut table));
        table.delete(body).unwrap();
        assert!(!is_unfinished(&mut table));
    }
}
