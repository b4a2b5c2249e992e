//! The API as an ordinary client sees it: `kube::Client` over the in-process
//! router or over TLS, shared informers, and events.
//!
//! Controllers, scheduler, node agent and proxy know the cluster through this
//! room alone, so that each of them can move to another machine unchanged.

mod connect;
pub mod discovery;
pub mod events;
pub mod informer;

pub use connect::{ConnectError, from_kubeconfig, in_process};
pub use discovery::{Catalog, Served};
pub use events::{EventRecorder, EventWriter};
pub use informer::{Change, Changes, Index, Informer, Informers, Metadata};

pub use crate::api::cron::{Schedule, time_zone};
pub use crate::api::indexes::Indexes;
pub use crate::api::{
    GATEWAY_CLASS, GATEWAY_CONTROLLER, LabelSelector, ObjectKey, Quantity, QuantityError,
    SelectorError, User, int_or_string, is_sidecar, names, resource_requests, sidecars, tolerates,
};

/// The HTTP status code of an answer that refuses; none if there was no answer.
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether nothing can be created any more because the namespace goes.
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the server said, in its own words; `error`'s text if there was no answer.
pub fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}
