//! One request in one instance, from its store to its end.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::Inner;
use super::answer::{Failure, Head, Verdict};
use crate::guest::{self, Guest, ending};
use crate::limits::InstanceLimits;
use crate::network::{BoxError, Request};

/// What a request holds while its guest runs.
pub(super) struct Call {
    pub(super) function: Arc<Inner>,
    pub(super) verdict: Verdict,
    pub(super) deadline: Instant,
    /// Its places among those handled at once, by the function and by the node.
    pub(super) _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Call {
    /// Runs the guest to its end and leaves the verdict, before the store and
    /// with it the guest's ends of body and head are dropped.
    pub(super) async fn run(self, request: Request, head: Head) {
        let built = self.store();
        let (ended, _store) = match built {
            Ok(mut store) => (self.drive(&mut store, request, head).await, Some(store)),
            Err(error) => (Err(failure(&error)), None),
        };
        self.function.setup.requests.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = ended {
            if let Failure::Guest(reason, message) = &failure {
                self.function.report(*reason, message.clone());
            }
            self.verdict.set(failure);
        }
    }

    async fn drive(
        &self,
        store: &mut Store<Guest>,
        request: Request,
        head: Head,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            ended = self.handle(store, request, head) => ended.or_else(|error| {
                // A guest that exits after its answer has only come to its end.
                let exit = ending::failed(&error);
                if exit.code == 0 { Ok(()) } else { Err(Failure::Guest(exit.reason, exit.message)) }
            }),
            () = tokio::time::sleep_until(self.deadline) => Err(Failure::Deadline),
            () = self.function.killed.cancelled() => Err(Failure::Killed),
        }
    }

    async fn handle(
        &self,
        store: &mut Store<Guest>,
        request: Request,
        head: Head,
    ) -> wasmtime::Result<()> {
        let request = request.map(|body| body.map_err(body_error));
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let head = store.data_mut().http().new_response_outparam(head)?;
        let proxy = self.function.setup.pre.instantiate_async(&mut *store).await?;
        proxy.wasi_http_incoming_handler().call_handle(store, request, head).await
    }

    fn store(&self) -> wasmtime::Result<Store<Guest>> {
        let setup = &self.function.setup;
        let limits = InstanceLimits::new(setup.memory.clone())?;
        let wasi = setup.environment.context(&setup.stdio)?.build();
        let fuel = setup.fuel.load(Ordering::Relaxed);
        let net = setup.net.clone();
        guest::component_store(setup.engine.wasmtime(), wasi, net, limits, Some(fuel))
    }
}

fn failure(error: &wasmtime::Error) -> Failure {
    let exit = ending::failed(error);
    Failure::Guest(exit.reason, exit.message)
}

/// The caller broke off: what the guest reads ends with an error.
fn body_error(error: BoxError) -> wasmtime_wasi_http::Error {
    tracing::debug!(%error, "a request's body broke off");
    wasmtime_wasi_http::Error::ConnectionTerminated
}
