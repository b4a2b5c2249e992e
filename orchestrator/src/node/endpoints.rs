//! Which Pods of the node still get traffic, as EndpointSlices say.
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::{Index, Informer};

/// Slices by the addresses in them.
const ADDRESS: Index<EndpointSlice> = Index {
    name: "address",
    values: |slice| {
        let endpoints = slice.endpoints.iter().flatten();
        endpoints.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
    },
};

/// Pods that wait until nothing sends traffic to them, by address.
#[derive(Clone, Default)]
pub(super) struct Draining(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

/// A Pod's place among those that wait; leaves it when dropped.
pub(super) struct Listed {
    all: Weak<Mutex<HashMap<String, Arc<Notify>>>>,
    address: String,
}

impl Draining {
    /// None yet; told by `slices` from now on.
    pub fn new(slices: &Informer<EndpointSlice>) -> Self {
        let draining = Self::default();
        let all = Arc::downgrade(&draining.0);
        slices.listen(move |change| {
            let Some(all) = all.upgrade() else { return ControlFlow::Break(()) };
            let waiting = all.lock();
            if !waiting.is_empty() {
                let endpoints = change.both().flat_map(|slice| slice.endpoints.iter().flatten());
                for address in endpoints.flat_map(|endpoint| &endpoint.addresses) {
                    if let Some(pod) = waiting.get(address) {
                        pod.notify_one();
                    }
                }
            }
            ControlFlow::Continue(())
        });
        draining
    }

    /// Wakes `pod` when a slice with its address changes.
    pub fn enter(&self, ip: IpAddr, pod: Arc<Notify>) -> Listed {
        let address = ip.to_string();
        self.0.lock().insert(address.clone(), pod);
        Listed { all: Arc::downgrade(&self.0), address }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.lock().remove(&self.address);
        }
    }
}

/// Whether a slice of the namespace still names the address as ready.
pub(super) fn is_routed(slices: &Informer<EndpointSlice>, namespace: &str, ip: IpAddr) -> bool {
    let address = ip.to_string();
    let named = slices.by(&ADDRESS, &address);
    let own = named.iter().filter(|slice| slice.metadata.namespace.as_deref() == Some(namespace));
    own.flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| endpoint.addresses.contains(&address))
        .any(|endpoint| endpoint.conditions.as_ref().is_none_or(|c| c.ready != Some(false)))
}
