//! `nodes`
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, NodeSystemInfo, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use crate::api::{
    Column, FieldError, FieldErrors, FieldPath, Operation, SelectableField, Strategy, Subresource,
    Verb, age, names,
};
use crate::apis::checks::{canonical, cidr, forbidden, form, quantity, required, required_one_of};

/// The labels that give a node its roles.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// The label that gives a node one more.
const ROLE: &str = "kubernetes.io/role";
/// What a taint may do.
pub const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The `nodes` resource.
#[derive(Debug)]
pub struct Nodes;

impl Strategy for Nodes {
    type Kind = Node;

    const SHORT_NAMES: &'static [&'static str] = &["no"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Connect { name: "proxy", kind: "NodeProxyOptions", verbs: Verb::PROXY },
    ];
    // Its table has the version after the age.
    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<Node>] = &[
        Column::new("Status", "The status of the node", |n, _| json!(status(n))),
        Column::new("Roles", "The roles of the node", |n, _| json!(roles(n))),
        Column::new("Age", "How long ago it was created", |n, now| {
            json!(age(n.metadata.creation_timestamp.as_ref().map(|time| time.0), now))
        }),
        Column::new("Version", "The version of its agent", |n, _| {
            json!(info(n).map_or("", |info| info.kubelet_version.as_str()))
        }),
        Column::new("Internal-IP", "Its address in the cluster", |n, _| address(n, "InternalIP"))
            .wide(),
        Column::new("External-IP", "Its address outside", |n, _| address(n, "ExternalIP")).wide(),
        Column::new("OS-Image", "Its operating system", |n, _| {
            known(info(n).map(|info| &info.os_image))
        })
        .wide(),
        Column::new("Kernel-Version", "Its kernel", |n, _| {
            known(info(n).map(|info| &info.kernel_version))
        })
        .wide(),
        Column::new("Container-Runtime", "What runs its containers", |n, _| {
            known(info(n).map(|info| &info.container_runtime_version))
        })
        .wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Node>] =
        &[SelectableField { path: "spec.unschedulable", value: |n| unschedulable(n).to_string() }];

    fn empty_status(&self) -> Value {
        json!({
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": NodeSystemInfo::default(),
        })
    }

    fn default(&self, node: &mut Node) {
        if let Some(status) = &mut node.status {
            if status.allocatable.as_ref().is_none_or(BTreeMap::is_empty) {
                status.allocatable.clone_from(&status.capacity);
            }
            canonical(status.capacity.as_mut());
            canonical(status.allocatable.as_mut());
        }
    }

    fn validate(&self, new: &Node, operation: Operation<'_, Node>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        if let Some(spec) = &new.spec {
            taints(&mut errors, &path.child("taints"), spec.taints.as_deref().unwrap_or_default());
            cidrs(&mut errors, &path, spec.pod_cidr.as_deref(), spec.pod_cidrs.as_deref());
        }
        let status = FieldPath::new("status");
        if let Some(seen) = &new.status {
            amounts(&mut errors, &status.child("capacity"), seen.capacity.as_ref());
            amounts(&mut errors, &status.child("allocatable"), seen.allocatable.as_ref());
            let mut addresses = BTreeSet::new();
            for (i, address) in seen.addresses.iter().flatten().enumerate() {
                errors.check(addresses.insert((&address.type_, &address.address)), || {
                    FieldError::Duplicate(status.child("addresses").index(i), json!(address))
                });
            }
        }
        if let Some(old) = operation.old() {
            kept(&mut errors, &path, new, old);
        }
        errors
    }
}

/// What of a node may be set once and then not change.
fn kept(errors: &mut FieldErrors, path: &FieldPath, new: &Node, old: &Node) {
    let of = |node: &Node| {
        let spec = node.spec.clone().unwrap_or_default();
        (spec.provider_id.unwrap_or_default(), spec.pod_cidrs.unwrap_or_default())
    };
    let ((provider, cidrs), (old_provider, old_cidrs)) = (of(new), of(old));
    errors.check(old_provider.is_empty() || provider == old_provider, || {
        let why = "node updates may not change providerID except from \"\" to valid";
        forbidden(&path.child("providerID"), why)
    });
    errors.check(old_cidrs.is_empty() || cidrs == old_cidrs, || {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        forbidden(&path.child("podCIDRs"), why)
    });
}

fn taints(errors: &mut FieldErrors, path: &FieldPath, taints: &[Taint]) {
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        form(errors, &path.child("key"), &taint.key, names::qualified);
        let value = taint.value.as_deref().unwrap_or_default();
        form(errors, &path.child("value"), value, names::label_value);
        let effect = Some(taint.effect.as_str());
        required_one_of(errors, &path.child("effect"), effect, &TAINT_EFFECTS);
        errors.check(seen.insert((&taint.key, &taint.effect)), || {
            FieldError::Duplicate(path.clone(), json!(taint))
        });
    }
}

fn cidrs(errors: &mut FieldErrors, path: &FieldPath, one: Option<&str>, all: Option<&[String]>) {
    let all = all.unwrap_or_default();
    let at = path.child("podCIDRs");
    for (i, range) in all.iter().enumerate() {
        cidr(errors, &at.index(i), range);
    }
    if let (Some(one), Some(first)) = (one, all.first()) {
        errors.check(one.is_empty() || one == first, || {
            let why = "must match podCIDR";
            FieldError::Invalid(at.index(0), json!(first), why.into())
        });
    }
}

fn amounts(errors: &mut FieldErrors, path: &FieldPath, all: Option<&BTreeMap<String, Quantity>>) {
    for (name, amount) in all.into_iter().flatten() {
        let path = path.key(name);
        if name.is_empty() {
            errors.push(required(&path, ""));
        }
        quantity(errors, &path, amount);
    }
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn status(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    let word = match ready {
        None => "Unknown",
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
    };
    if unschedulable(node) { format!("{word},SchedulingDisabled") } else { word.into() }
}

fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() {
        return "<none>".into();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn info(node: &Node) -> Option<&NodeSystemInfo> {
    node.status.as_ref()?.node_info.as_ref()
}

fn address(node: &Node, sort: &str) -> Value {
    let addresses = node.status.iter().filter_map(|status| status.addresses.as_ref()).flatten();
    let mut found = addresses.filter(|address| address.type_ == sort);
    json!(found.next().map_or("<none>", |address| address.address.as_str()))
}

fn known(text: Option<&String>) -> Value {
    json!(text.map(String::as_str).filter(|text| !text.is_empty()).unwrap_or("<unknown>"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, fields, object, update, with};

    fn node() -> crate::api::Object {
        object(
            "v1",
            "Node",
            json!({
                "metadata": {"name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
                "spec": {"unschedulable": true, "podCIDR": "10.64.0.0/24", "podCIDRs": ["10.64.0.0/24"], "providerID": "podium://n1"},
                "status": {
                    "capacity": {"cpu": "2000m", "memory": "4194304Ki"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "192.168.0.7"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "", "containerRuntimeVersion": "podium://0.1.0",
                        "architecture": "amd64", "bootID": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux", "systemUUID": ""},
                },
            }),
        )
    }

    #[test]
    fn allocatable_is_capacity_unless_said_otherwise() {
        let created = create(&node()).unwrap();
        assert_eq!(created.body["status"]["allocatable"], json!({"cpu": "2", "memory": "4Gi"}));
    }

    #[test]
    fn its_row_shows_readiness_and_roles() {
        assert_eq!(
            cells(&node()),
            [
                "Ready,SchedulingDisabled",
                "control-plane,edge",
                "60m",
                "v1.36.0",
                "192.168.0.7",
                "<none>",
                "Debian",
                "<unknown>",
                "podium://0.1.0"
            ]
        );
        let bare = object("v1", "Node", json!({"metadata": {"name": "n2"}}));
        assert_eq!(cells(&bare)[..3], ["Unknown", "<none>", "<unknown>"]);
        assert_eq!(fields(&bare), ["spec.unschedulable=false"]);
    }

    #[test]
    fn taints_have_an_effect_and_stand_once() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        let node = with(
            &node(),
            "/spec/taints",
            json!([taint, taint, {"key": "b", "effect": "No"}, {"key": "", "effect": ""}]),
        );
        let errors = create_errors(&node);
        assert_eq!(
            errors[..3],
            [
                "spec.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}",
                "spec.taints[2].effect: Unsupported value: \"No\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                "spec.taints[3].key: Invalid value: \"\": name part must be non-empty",
            ]
        );
        assert_eq!(errors[3], "spec.taints[3].effect: Required value");
    }

    #[test]
    fn its_identity_does_not_change() {
        let old = create(&node()).unwrap();
        let new = with(
            &with(&old, "/spec/providerID", json!("x")),
            "/spec/podCIDR",
            json!("10.64.1.0/24"),
        );
        let errors =
            update(&old, &with(&new, "/spec/podCIDRs", json!(["10.64.1.0/24"]))).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("spec.providerID: Forbidden"), "{errors:?}");
    }

    #[test]
    fn amounts_must_parse() {
        let errors = create_errors(&with(&node(), "/status/capacity/pods", json!("many")));
        assert!(
            errors[0].starts_with(
                "status.capacity[pods]: Invalid value: \"many\": quantities must match"
            ),
            "{errors:?}"
        );
    }
}
