//! Lists the addresses of `Endpoints` that somebody wrote by hand, in `EndpointSlice`s, so that
//! a Service without selector leads there.
//!
//! [`groups`] decides which endpoints there are; what came of them goes with the `Endpoints`,
//! and when the Service gets a selector.
use std::net::IpAddr;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::{Client, Resource};
use tokio::task::JoinSet;
use tracing::debug;

use super::endpointslice::arrange::{self, Error, Frame, Groups, IPV4, MANAGED_BY, Plan, SERVICE};
use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, owner};
use crate::client::{EventRecorder, Informer, ObjectKey};

const OURS: &str = "endpointslicemirroring-controller.k8s.io";
/// Whoever wrote it writes slices, too.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// An object that is the lock of an election, as once was usual.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that tell of the `Endpoints` alone.
const NOT_COPIED: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// The type of addresses with colons.
const IPV6: &str = "IPv6";
/// Addresses of one subset that are mirrored (upstream's `--mirroring-max-endpoints-per-subset`).
const PER_SUBSET: usize = 1000;

struct Mirroring {
    client: Client,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    events: EventRecorder,
}

/// Starts the control loop, whose keys are Services and the `Endpoints` of the same name.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let services = context.informers.of::<Service>();
    let endpoints = context.informers.of::<Endpoints>();
    let slices = context.informers.of::<EndpointSlice>();
    let queue = Queue::new();
    queue.feed_own(&services);
    queue.feed_own(&endpoints);
    queue.feed(&slices, |change, add| {
        for slice in change.both().filter(|slice| is_ours(slice)) {
            if let Some(service) = label(slice, SERVICE) {
                add(ObjectKey::new(change.key.namespace.clone(), service));
            }
        }
    });
    let controller = Mirroring {
        client: context.client.clone(),
        services: services.clone(),
        endpoints: endpoints.clone(),
        slices: slices.clone(),
        events: context.recorder("endpoint-slice-mirroring-controller", tasks),
    };
    let synced =
        async move { tokio::join!(services.synced(), endpoints.synced(), slices.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for Mirroring {
    const NAME: &'static str = "endpointslicemirroring";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let of_service =
            [(SERVICE.to_owned(), key.name.clone()), (MANAGED_BY.to_owned(), OURS.to_owned())];
        let slices = self.slices.select(&key.namespace, &of_service.into());
        let service = self.services.get(key);
        let endpoints = self.endpoints.get(key);
        let plan = match endpoints.filter(|e| is_mirrored(e, service.as_deref())) {
            Some(endpoints) => {
                let (groups, left_out) = groups(&endpoints);
                let plan = frame(&endpoints).arrange(groups, &slices);
                if plan != Plan::default() {
                    self.tell(&endpoints, left_out);
                }
                plan
            }
            None => Plan { delete: slices, ..Plan::default() },
        };
        if plan != Plan::default() {
            debug!(key = %key, create = plan.create.len(), update = plan.update.len(), delete = plan.delete.len(), "mirroring endpoints");
        }
        arrange::write(&self.client, &self.slices, &key.namespace, plan, written).await?;
        Ok(Requeue::OnChange)
    }
}

impl Mirroring {
    fn tell(&self, endpoints: &Endpoints, left_out: LeftOut) {
        let about = || endpoints.object_ref(&());
        if left_out.invalid > 0 {
            let told = format!(
                "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                left_out.invalid
            );
            self.events.warning(about(), "InvalidIPAddress", told);
        }
        if left_out.surplus > 0 {
            let told = format!(
                "A max of {PER_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                left_out.surplus
            );
            self.events.warning(about(), "TooManyAddressesToMirror", told);
        }
    }
}

/// Whether slices of `Endpoints` are to be made: nobody else makes them, and a Service asks.
fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let metadata = &endpoints.metadata;
    let skipped = metadata.labels.as_ref().and_then(|l| l.get(SKIP)).is_some_and(|s| s == "true");
    let elects = metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER));
    let asked = service.and_then(|service| service.spec.as_ref()).is_some_and(|spec| {
        let selected = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
        !selected && spec.type_.as_deref() != Some("ExternalName")
    });
    asked && !skipped && !elects && metadata.deletion_timestamp.is_none()
}

fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY).as_deref() == Some(OURS)
}

fn label(slice: &EndpointSlice, name: &str) -> Option<String> {
    slice.metadata.labels.as_ref()?.get(name).cloned()
}

/// The labels, annotations and owner that slices of `Endpoints` have.
fn frame(endpoints: &Endpoints) -> Frame {
    let metadata = &endpoints.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let mut labels = metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED_BY.into(), OURS.into());
    let mut annotations = metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    Frame {
        name,
        namespace: metadata.namespace.clone(),
        labels,
        annotations: Some(annotations),
        owner: owner::controller_reference(endpoints),
    }
}

/// Addresses that are not mirrored.
#[derive(Debug, Default, PartialEq, Eq)]
struct LeftOut {
    invalid: usize,
    surplus: usize,
}

/// The endpoints of `Endpoints`, and what is left out of them.
fn groups(endpoints: &Endpoints) -> (Groups, LeftOut) {
    let (mut groups, mut left_out) = (Groups::default(), LeftOut::default());
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let other = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut room = PER_SUBSET;
        for (address, ready) in ready.chain(other) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                left_out.invalid += 1;
                continue;
            };
            if room == 0 {
                left_out.surplus += 1;
                continue;
            }
            room -= 1;
            let address_type = if ip.is_ipv4() { IPV4 } else { IPV6 };
            groups.add(address_type, ports.clone(), endpoint(address, ready));
        }
    }
    (groups, left_out)
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: port.app_protocol.clone(),
    });
    ports.collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn endpoints(metadata: Value, subsets: Value) -> Endpoints {
        let mut all = json!({"name": "db", "namespace": "shop", "uid": "e"});
        all.as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": all, "subsets": subsets})).unwrap()
    }

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn stored(slices: &[EndpointSlice]) -> Vec<Arc<EndpointSlice>> {
        let named = slices.iter().enumerate().map(|(number, slice)| {
            let mut slice = slice.clone();
            slice.metadata.name = Some(format!("db-{number}"));
            Arc::new(slice)
        });
        named.collect()
    }

    fn two() -> Value {
        json!([{
            "addresses": [{"ip": "10.64.0.1"}, {"ip": "fd00::1"}, {"ip": "x"}],
            "notReadyAddresses": [{"ip": "10.64.0.2", "hostname": "b"}],
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        }])
    }

    #[test]
    fn a_slice_has_the_addresses_ports_and_labels_of_hand_made_endpoints() {
        let made = endpoints(
            json!({"labels": {"team": "blue"}, "annotations": {"a": "1", NOT_COPIED[1]: "{}"}}),
            two(),
        );
        let (groups, left_out) = groups(&made);
        assert_eq!(left_out, LeftOut { invalid: 1, surplus: 0 });
        let plan = frame(&made).arrange(groups, &[]);
        let types: Vec<_> = plan.create.iter().map(|slice| slice.address_type.as_str()).collect();
        assert_eq!(types, [IPV4, IPV6]);
        let slice = serde_json::to_value(&plan.create[0]).unwrap();
        assert_eq!(slice["metadata"]["annotations"], json!({"a": "1"}));
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"team": "blue", SERVICE: "db", MANAGED_BY: OURS})
        );
        assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
        assert_eq!(slice["ports"], json!([{"name": "sql", "port": 5432, "protocol": "TCP"}]));
        let ready: Vec<_> = (0..2)
            .map(|n| (&slice["endpoints"][n]["addresses"][0], &slice["endpoints"][n]["conditions"]))
            .collect();
        assert_eq!(ready[0], (&json!("10.64.0.1"), &json!({"ready": true})));
        assert_eq!(ready[1], (&json!("10.64.0.2"), &json!({"ready": false})));
    }

    #[test]
    fn slices_that_are_right_are_left_alone_and_no_more_than_a_thousand_addresses_are_taken() {
        let made = endpoints(json!({}), two());
        let slices = stored(&frame(&made).arrange(groups(&made).0, &[]).create);
        assert_eq!(frame(&made).arrange(groups(&made).0, &slices), Plan::default());
        let many: Vec<_> =
            (0..1100).map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)})).collect();
        let many = endpoints(json!({}), json!([{"addresses": many}]));
        assert_eq!(groups(&many).1, LeftOut { invalid: 0, surplus: 100 });
    }

    #[test]
    fn only_what_nobody_else_makes_slices_of_is_mirrored() {
        let plain = endpoints(json!({}), two());
        let bare = service(json!({"clusterIP": "10.43.0.9"}));
        assert!(is_mirrored(&plain, Some(&bare)));
        assert!(!is_mirrored(&plain, None));
        assert!(!is_mirrored(&plain, Some(&service(json!({"selector": {"app": "db"}})))));
        let skipped = endpoints(json!({"labels": {SKIP: "true"}}), two());
        assert!(!is_mirrored(&skipped, Some(&bare)));
        let lock = endpoints(json!({"annotations": {LEADER: "{}"}}), two());
        assert!(!is_mirrored(&lock, Some(&bare)));
    }
}
