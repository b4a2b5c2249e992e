//! Init containers that go on beside the others.
use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Whether an init container goes on running beside the Pod's containers.
pub fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// The init containers of a Pod that go on running.
pub fn sidecars(spec: &PodSpec) -> impl DoubleEndedIterator<Item = &Container> {
    spec.init_containers.iter().flatten().filter(|init| is_sidecar(init))
}
