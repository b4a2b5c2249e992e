//! Keeps the switch in step with Services and EndpointSlices.
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use shim::network::Switch;
use tokio::time::sleep;

use super::changes::{PAUSE, Wakeup};
use super::host_ports::HostPorts;
use super::rules::{self, Rules};
use crate::client::Informers;

/// Feeds the switch until it is dropped.
pub(super) async fn run(
    informers: &Informers,
    switch: &Switch,
    domain: &str,
    host_ports: HostPorts,
) {
    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    let wakeup = Wakeup::default();
    wakeup.on(&services);
    wakeup.on(&slices);
    // Half of what there is would cut off the other half.
    tokio::join!(services.synced(), slices.synced());
    let mut actual = Rules::default();
    loop {
        let wanted = rules::plan(&services.list(), &slices.list(), domain);
        if wanted.services != actual.services {
            switch.set_services(wanted.services.clone());
        }
        if wanted.names != actual.names {
            switch.set_names(wanted.names.clone());
        }
        host_ports.set(wanted.host_ports.clone());
        actual = wanted;
        sleep(PAUSE).await;
        wakeup.wait().await;
    }
}
