//! The Node object: what the machine is, has, and how it is.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node as NodeObject, NodeAddress, NodeCondition,
    NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use shim::cri::Image;

use super::identity::Identity;
use super::status::time;
use super::{Capacity, Config, Node, extended};
use crate::platform;

/// The version of Kubernetes whose kubelet this agent stands for.
const KUBELET_VERSION: &str = "v1.36.0";
/// The runtime and its version, in the CRI's form.
const RUNTIME_VERSION: &str = "wasmtime://48.0";
/// Label that says what runs the containers.
const RUNTIME_LABEL: &str = "podium.dev/runtime";

/// Images that a Node's status lists (the kubelet's nodeStatusMaxImages).
const IMAGES: usize = 50;
/// Names that it lists of each, as the kubelet.
const NAMES: usize = 5;

/// The Node's well-known labels and those of its configuration.
pub(super) fn labels(config: &Config) -> BTreeMap<String, String> {
    let well_known = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", os()),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", os()),
        ("beta.kubernetes.io/arch", architecture()),
        (RUNTIME_LABEL, "wasmtime"),
    ];
    let well_known = well_known.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.labels.clone().into_iter().chain(well_known).collect()
}

/// The Node's status; conditions keep the time since when they hold.
pub(super) fn status(
    config: &Config,
    identity: &Identity,
    memory_pressure: bool,
    known: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let with_extended = |own: Capacity| {
        let mut all = quantities(own);
        all.extend(extended::capacity(known));
        all
    };
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let port = DaemonEndpoint { port: i32::from(config.api_port) };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.host_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        allocatable: Some(with_extended(config.allocatable())),
        capacity: Some(with_extended(config.capacity)),
        conditions: Some(conditions(memory_pressure, known, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(port) }),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            container_runtime_version: RUNTIME_VERSION.to_owned(),
            kernel_version: platform::kernel_version(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            operating_system: os().to_owned(),
            os_image: platform::os_image(),
            machine_id: identity.machine.clone(),
            system_uuid: identity.system.clone(),
            boot_id: identity.boot.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// The images here as the Node's status lists them: the largest, by which the scheduler decides.
pub(super) fn images(mut here: Vec<Image>) -> Vec<ContainerImage> {
    here.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let listed = here.into_iter().take(IMAGES).map(|image| {
        let names = image.repo_digests.into_iter().chain(image.repo_tags);
        ContainerImage {
            names: Some(names.take(NAMES).collect()),
            size_bytes: i64::try_from(image.size).ok(),
        }
    });
    listed.collect()
}

/// The status of a Node as it is now.
fn current(node: &Node, known: Option<&NodeStatus>) -> NodeStatus {
    NodeStatus {
        images: Some(images(node.runtime.list_images())),
        ..status(&node.config, &node.identity, node.pressure.memory(), known, node.clock.now())
    }
}

fn quantities(capacity: Capacity) -> BTreeMap<String, Quantity> {
    let cpu = match capacity.cpu {
        whole if whole % 1000 == 0 => (whole / 1000).to_string(),
        milli => format!("{milli}m"),
    };
    let kibi = |bytes: u64| format!("{}Ki", bytes >> 10);
    let mut all =
        vec![("cpu", cpu), ("memory", kibi(capacity.memory)), ("pods", capacity.pods.to_string())];
    all.extend(capacity.ephemeral_storage.map(|bytes| ("ephemeral-storage", kibi(bytes))));
    all.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount))).collect()
}

fn conditions(
    memory_pressure: bool,
    known: Option<&NodeStatus>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let memory = if memory_pressure {
        ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
    } else {
        ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
    };
    let all = [
        ("MemoryPressure", memory.0, memory.1, memory.2),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let condition = |(type_, status, reason, message): (&str, &str, &str, &str)| {
        let known = known.into_iter().flat_map(|known| known.conditions.iter().flatten());
        let before = known.into_iter().find(|c| c.type_ == type_ && c.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(time(now)),
            last_transition_time: before
                .and_then(|condition| condition.last_transition_time.clone())
                .or_else(|| Some(time(now))),
        }
    };
    all.map(condition).to_vec()
}

/// Makes the Node, or takes it over from an earlier run; then writes its status.
pub(super) async fn register(node: &Node) -> Result<(), kube::Error> {
    let api = Api::<NodeObject>::all(node.client.clone());
    let name = &node.config.node_name;
    let wanted = NodeObject {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(&node.config)),
            ..ObjectMeta::default()
        },
        spec: Some(k8s_openapi::api::core::v1::NodeSpec::default()),
        status: Some(current(node, None)),
    };
    match api.create(&PostParams::default(), &wanted).await {
        Err(kube::Error::Api(error)) if error.code == 409 => {
            let patch = json!({"metadata": {"labels": labels(&node.config)}});
            api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    write_status(node).await
}

/// Writes the status of the Node as it is now.
pub(super) async fn write_status(node: &Node) -> Result<(), kube::Error> {
    let api = Api::<NodeObject>::all(node.client.clone());
    let name = &node.config.node_name;
    let known = api.get_status(name).await?;
    let known = known.status.as_ref();
    let status = current(node, known);
    node.reservations.lock().offer(extended::amounts(status.capacity.as_ref()));
    let mut status = json!(status);
    for name in extended::withdrawn(known) {
        status["allocatable"][name] = Value::Null;
    }
    let patch = Patch::Strategic(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The operating system, in Go's words as everywhere in Kubernetes.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// The architecture, in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            node_name: "n1".to_owned(),
            data_dir: "node".into(),
            capacity: Capacity { cpu: 2500, memory: 3 << 30, ephemeral_storage: None, pods: 7 },
            host_ip: [192, 168, 0, 9].into(),
            api_port: 10250,
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            cluster_domain: "cluster.local".to_owned(),
            host_paths: Vec::new(),
            eviction_memory: crate::node::EVICTION_MEMORY,
        }
    }

    fn identity() -> Identity {
        Identity { machine: "m".into(), system: "s".into(), boot: "b".into() }
    }

    #[test]
    fn a_node_says_which_machine_it_is() {
        let status = status(&config(), &identity(), false, None, Timestamp::UNIX_EPOCH);
        let info = status.node_info.unwrap();
        assert_eq!((&*info.machine_id, &*info.system_uuid, &*info.boot_id), ("m", "s", "b"));
    }

    #[test]
    fn a_node_offers_what_it_was_given() {
        let status = status(&config(), &identity(), false, None, Timestamp::UNIX_EPOCH);
        let status = serde_json::to_value(status).unwrap();
        let amounts = |memory: &str| json!({"cpu": "2500m", "memory": memory, "pods": "7"});
        assert_eq!(status["capacity"], amounts("3145728Ki"));
        assert_eq!(status["allocatable"], amounts("3043328Ki"), "100Mi less: there it evicts");
        assert_eq!(status["addresses"][0]["address"], "192.168.0.9");
        assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
    }

    #[test]
    fn extended_resources_of_the_capacity_are_allocatable() {
        let known = json!({"capacity": {"example.com/dongle": "4", "cpu": "900"}});
        let known: NodeStatus = serde_json::from_value(known).unwrap();
        let status = status(&config(), &identity(), false, Some(&known), Timestamp::UNIX_EPOCH);
        let status = serde_json::to_value(status).unwrap();
        assert_eq!(status["allocatable"]["example.com/dongle"], "4");
        assert_eq!(status["allocatable"]["cpu"], "2500m");
        assert_eq!(status["capacity"]["example.com/dongle"], "4");
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_transition() {
        let first = status(&config(), &identity(), false, None, Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(300).unwrap();
        let second = status(&config(), &identity(), false, Some(&first), later);
        let ready = second.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.last_transition_time.unwrap().0, Timestamp::UNIX_EPOCH);
        assert_eq!(ready.last_heartbeat_time.unwrap().0, later);
    }

    #[test]
    fn the_largest_images_are_listed_with_a_few_of_their_names() {
        let image = |n: u64| Image {
            id: shim::cri::ImageRef(format!("sha256:{n}")),
            repo_tags: (0..9).map(|tag| format!("r/i:{n}-{tag}")).collect(),
            repo_digests: vec![format!("r/i@sha256:{n}")],
            size: n,
        };
        let listed = images((0..60).map(image).collect());
        assert_eq!(listed.len(), IMAGES);
        assert_eq!(listed[0].size_bytes, Some(59));
        let names = listed[0].names.as_ref().unwrap();
        assert_eq!((names.len(), &*names[0], &*names[1]), (NAMES, "r/i@sha256:59", "r/i:59-0"));
    }

    #[test]
    fn labels_are_well_known_and_configured() {
        let labels = labels(&config());
        assert_eq!(labels["kubernetes.io/hostname"], "n1");
        assert_eq!(labels["zone"], "a");
    }
}
