//! One request in one instance, from its store to its end.
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::Inner;
use super::answer::{Failure, Head, Verdict};
use super::instance::{Instance, Room};
use crate::guest::ending;
use crate::network::{BoxError, Request};

/// What a request holds while its guest runs.
pub(super) struct Call {
    pub(super) function: Arc<Inner>,
    pub(super) verdict: Verdict,
    pub(super) deadline: Instant,
    /// Its place among those that the function handles at once.
    pub(super) _slot: OwnedSemaphorePermit,
}

/// What a request begins with.
pub(super) enum Start {
    /// A component, and room for an instance of its own.
    Fresh(usize, Room),
    /// An instance that has served before.
    Kept(Instance),
}

impl Call {
    /// Runs the guest to its end and leaves the verdict, before the store and
    /// with it the guest's ends of body and head are dropped.
    pub(super) async fn run(self, start: Start, request: Request, head: Head) {
        let built = self.instance(start);
        let (ended, instance) = match built {
            Ok(mut instance) => (self.drive(&mut instance, request, head).await, Some(instance)),
            Err(error) => (Err(failure(&error)), None),
        };
        let function = &self.function;
        match (ended, instance) {
            (Ok(whole), Some(instance)) => {
                let whole = whole && !function.killed.is_cancelled();
                function.kept.give_back(&function.setup, instance, whole);
            }
            (Err(failure), instance) => {
                if let Failure::Guest(reason, message) = &failure {
                    function.report(*reason, message.clone());
                }
                self.verdict.set(failure);
                drop(instance);
            }
            (Ok(_), None) => {}
        }
        // Who sees it counted finds its instance given back.
        function.setup.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn instance(&self, start: Start) -> wasmtime::Result<Instance> {
        let Inner { setup, kept, neighbours, .. } = &*self.function;
        match start {
            Start::Fresh(component, room) => {
                Instance::new(setup, kept, neighbours.clone(), component, room)
            }
            Start::Kept(mut instance) => {
                instance.refuel(setup)?;
                Ok(instance)
            }
        }
    }

    /// Whether the guest is whole afterwards.
    async fn drive(
        &self,
        instance: &mut Instance,
        request: Request,
        head: Head,
    ) -> Result<bool, Failure> {
        let mut handling = pin!(self.handle(instance, request, head));
        // Most guests end at their first poll: those need no timer.
        let mut limit = None;
        poll_fn(|context| {
            if let Poll::Ready(ended) = handling.as_mut().poll(context) {
                return Poll::Ready(outcome(ended));
            }
            let limit = limit.get_or_insert_with(|| Box::pin(self.limit()));
            limit.as_mut().poll(context).map(Err)
        })
        .await
    }

    /// Ends when the guest has to.
    async fn limit(&self) -> Failure {
        tokio::select! {
            () = tokio::time::sleep_until(self.deadline) => Failure::Deadline,
            () = self.function.killed.cancelled() => Failure::Killed,
        }
    }

    async fn handle(
        &self,
        instance: &mut Instance,
        request: Request,
        head: Head,
    ) -> wasmtime::Result<()> {
        let store = &mut instance.store;
        let request = request.map(|body| body.map_err(body_error));
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let head = store.data_mut().http().new_response_outparam(head)?;
        let proxy = match &instance.proxy {
            Some(proxy) => proxy,
            None => {
                let component = &self.function.setup.components[instance.component];
                let proxy = component.pre.instantiate_async(&mut *store).await?;
                instance.proxy.insert(proxy)
            }
        };
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, head).await
    }
}

/// Whether a guest that came back by itself is whole.
fn outcome(ended: wasmtime::Result<()>) -> Result<bool, Failure> {
    let Err(error) = ended else { return Ok(true) };
    // A guest that exits after its answer has only come to its end.
    let exit = ending::failed(&error);
    if exit.code == 0 { Ok(false) } else { Err(Failure::Guest(exit.reason, exit.message)) }
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
