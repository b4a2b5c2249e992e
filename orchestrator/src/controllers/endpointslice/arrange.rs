//! Puts endpoints into slices, written with as few changes as possible.
//!
//! Endpoints stay in the slice they are in; those that are new fill up slices
//! that are written anyway, then others, then new ones. What differs in ports
//! or in the type of addresses cannot share a slice.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};

use crate::client::{Informer, status_code};
use crate::controllers::runtime::Written;

/// Endpoints in one slice, as kube-controller-manager's `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;
/// Names the Service of a slice.
pub const SERVICE: &str = "kubernetes.io/service-name";
/// Names the controller of a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The type of addresses that Pods have.
pub const IPV4: &str = "IPv4";

/// Why slices are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A slice could not be created.
    #[error("cannot create endpoint slice")]
    Create(#[source] Box<kube::Error>),
    /// A slice could not be updated.
    #[error("cannot update endpoint slice {name}")]
    Update {
        /// The slice.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// A slice could not be deleted.
    #[error("cannot delete endpoint slice {name}")]
    Delete {
        /// The slice.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What one pass does.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Slices to create.
    pub create: Vec<EndpointSlice>,
    /// Slices as they shall be.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Endpoints by what identifies them.
type Endpoints = BTreeMap<String, Endpoint>;

struct Group {
    address_type: &'static str,
    ports: Vec<EndpointPort>,
    endpoints: Endpoints,
}

/// The endpoints of one Service, those together that may share a slice.
#[derive(Default)]
pub struct Groups(BTreeMap<String, Group>);

impl Groups {
    /// Adds an endpoint that has these ports.
    pub fn add(&mut self, address_type: &'static str, ports: Vec<EndpointPort>, one: Endpoint) {
        self.group(address_type, ports).endpoints.insert(identity(&one), one);
    }

    /// Asks for a slice although there is nothing in it.
    pub fn add_empty(&mut self, address_type: &'static str) {
        self.group(address_type, Vec::new());
    }

    /// Whether no slice is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn group(&mut self, address_type: &'static str, ports: Vec<EndpointPort>) -> &mut Group {
        let endpoints = Endpoints::new();
        let key = group_key(address_type, &ports);
        self.0.entry(key).or_insert(Group { address_type, ports, endpoints })
    }
}

/// What all slices of one Service have in common.
pub struct Frame {
    /// What their names begin with.
    pub name: String,
    /// Where they are.
    pub namespace: Option<String>,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Their annotations; those they have where it is not said.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What they are deleted with.
    pub owner: OwnerReference,
}

impl Frame {
    /// Plans the slices of these endpoints, of those that are there.
    pub fn arrange(&self, wanted: Groups, slices: &[Arc<EndpointSlice>]) -> Plan {
        let mut plan = Plan::default();
        let mut there: BTreeMap<String, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
        for slice in slices.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()) {
            let ports = slice.ports.as_deref().unwrap_or_default();
            let key = group_key(&slice.address_type, ports);
            if wanted.0.contains_key(&key) {
                there.entry(key).or_default().push(slice);
            } else {
                plan.delete.push(Arc::clone(slice));
            }
        }
        for (key, group) in wanted.0 {
            plan_group(self, group, there.remove(&key).unwrap_or_default(), &mut plan);
        }
        plan
    }

    fn slice(
        &self,
        address_type: &str,
        ports: &[EndpointPort],
        endpoints: Vec<Endpoint>,
    ) -> EndpointSlice {
        let mut metadata = ObjectMeta {
            generate_name: Some(format!("{}-", self.name)),
            namespace: self.namespace.clone(),
            ..ObjectMeta::default()
        };
        self.dress(&mut metadata);
        EndpointSlice {
            metadata,
            address_type: address_type.into(),
            endpoints: Some(endpoints),
            ports: (!ports.is_empty()).then(|| ports.to_vec()),
        }
    }

    fn dress(&self, metadata: &mut ObjectMeta) {
        metadata.labels = Some(self.labels.clone());
        metadata.owner_references = Some(vec![self.owner.clone()]);
        if let Some(annotations) = &self.annotations {
            metadata.annotations = Some(annotations.clone()).filter(|all| !all.is_empty());
        }
    }
}

/// Plans the slices of endpoints that have the same ports.
fn plan_group(frame: &Frame, group: Group, mut there: Vec<&Arc<EndpointSlice>>, plan: &mut Plan) {
    let Group { address_type, ports, mut endpoints } = group;
    there.sort_by_key(|slice| slice.metadata.name.clone());
    let mut drafts: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>, bool)> = there
        .into_iter()
        .map(|slice| {
            let before = slice.endpoints.as_deref().unwrap_or_default();
            let kept = before.iter().filter_map(|e| endpoints.remove(&identity(e)));
            let kept: Vec<_> = kept.collect();
            let changed = kept != before;
            (slice, kept, changed)
        })
        .collect();
    let mut new = endpoints.into_values();
    for wanted_changed in [true, false] {
        for (_, kept, changed) in drafts.iter_mut().filter(|draft| draft.2 == wanted_changed) {
            // A slice that was emptied is filled up only if it is written anyway.
            let room = PER_SLICE.saturating_sub(kept.len());
            let before = kept.len();
            kept.extend(new.by_ref().take(room));
            *changed |= kept.len() > before;
        }
    }
    let mut left = drafts.len();
    let rest: Vec<_> = new.collect();
    for (slice, kept, changed) in drafts {
        if kept.is_empty() && left > 1 {
            left -= 1;
            plan.delete.push(Arc::clone(slice));
            continue;
        }
        let mut updated = EndpointSlice::clone(slice);
        frame.dress(&mut updated.metadata);
        if changed || updated.metadata != slice.metadata {
            updated.endpoints = Some(kept);
            plan.update.push(updated);
        }
    }
    if left == 0 && rest.is_empty() {
        plan.create.push(frame.slice(address_type, &ports, Vec::new()));
    }
    for chunk in rest.chunks(PER_SLICE) {
        plan.create.push(frame.slice(address_type, &ports, chunk.to_vec()));
    }
}

/// Writes what is new before it deletes what is old, so that no endpoint is missing meanwhile.
pub async fn write(
    client: &Client,
    slices: &Informer<EndpointSlice>,
    namespace: &str,
    plan: Plan,
    written: &Written,
) -> Result<(), Error> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    for slice in plan.update {
        let name = slice.metadata.name.clone().unwrap_or_default();
        match api.replace(&name, &PostParams::default(), &slice).await {
            Ok(slice) => written.note(slices, &slice.metadata),
            Err(source) => return Err(Error::Update { name, source: Box::new(source) }),
        }
    }
    for slice in plan.create {
        match api.create(&PostParams::default(), &slice).await {
            Ok(slice) => written.note(slices, &slice.metadata),
            Err(error) => return Err(Error::Create(Box::new(error))),
        }
    }
    for slice in plan.delete {
        let name = slice.metadata.name.clone().unwrap_or_default();
        match api.delete(&name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(error) if status_code(&error) == Some(404) => {}
            Err(source) => return Err(Error::Delete { name, source: Box::new(source) }),
        }
    }
    Ok(())
}

fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    uid.or_else(|| endpoint.addresses.first().cloned()).unwrap_or_default()
}

fn group_key(address_type: &str, ports: &[EndpointPort]) -> String {
    let mut keys: Vec<_> = ports
        .iter()
        .map(|p| format!("{:?}/{:?}/{:?}/{:?}", p.name, p.port, p.protocol, p.app_protocol))
        .collect();
    keys.sort();
    format!("{address_type} {}", keys.join(","))
}
