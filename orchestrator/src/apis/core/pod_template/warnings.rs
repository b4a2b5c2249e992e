//! What of a Pod's spec is allowed but probably not meant, or means nothing for WebAssembly.
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, PodSpec, PodTemplateSpec, SeccompProfile,
};

use super::volumes::source_fields;
use crate::api::{FieldPath, Quantity};

/// Types of volumes that nodes can mount.
const VOLUMES: [&str; 6] =
    ["configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"];

/// Warns about a template.
pub fn template_warnings(template: &PodTemplateSpec) -> Vec<String> {
    let path = FieldPath::new("spec").child("template").child("spec");
    template.spec.as_ref().map(|spec| spec_warnings(&path, spec)).unwrap_or_default()
}

/// Warns about a spec that stands at `path`.
pub fn spec_warnings(path: &FieldPath, spec: &PodSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    for (field, set) in [
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
        ("shareProcessNamespace", spec.share_process_namespace),
    ] {
        if set == Some(true) {
            let path = path.child(field);
            warnings.push(format!("{path}: has no effect, there are no processes in WebAssembly"));
        }
    }
    resolver(&mut warnings, path, spec);
    let context = spec.security_context.as_ref();
    let seccomp = context.and_then(|context| context.seccomp_profile.as_ref());
    let app_armor = context.and_then(|context| context.app_armor_profile.as_ref());
    profiles(&mut warnings, path, seccomp, app_armor);
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        let path = path.child("resourceClaims");
        warnings.push(format!("{path}: has no effect, nodes have no devices to give"));
    }
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        let medium = volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref());
        if medium == Some("Memory") {
            let path = path.child("volumes").index(i).child("emptyDir").child("medium");
            warnings.push(format!("{path}: has no effect, the files lie on the node's disk and count for no container's memory; sizeLimit applies"));
        }
        for field in source_fields(volume).iter().filter(|field| !VOLUMES.contains(&field.as_str()))
        {
            let path = path.child("volumes").index(i).child(field);
            let list = VOLUMES.join(", ");
            warnings.push(format!("{path}: nodes cannot mount this type of volume, only {list}"));
        }
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (field, containers) in [("initContainers", init), ("containers", &spec.containers)] {
        for (i, container) in containers.iter().enumerate() {
            container_warnings(&mut warnings, &path.child(field).index(i), container);
        }
    }
    warnings
}

fn container_warnings(warnings: &mut Vec<String>, path: &FieldPath, container: &Container) {
    duplicates(warnings, path, container);
    fractions(warnings, path, container);
    let privileged = container.security_context.as_ref().and_then(|context| context.privileged);
    if privileged == Some(true) {
        let path = path.child("securityContext").child("privileged");
        warnings.push(format!("{path}: has no effect, a sandbox gives no privileges"));
    }
    let context = container.security_context.as_ref();
    let seccomp = context.and_then(|context| context.seccomp_profile.as_ref());
    let app_armor = context.and_then(|context| context.app_armor_profile.as_ref());
    profiles(warnings, path, seccomp, app_armor);
    if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
        let path = path.child("volumeDevices");
        warnings.push(format!("{path}: has no effect, guests cannot open devices"));
    }
    let hooks = container
        .lifecycle
        .as_ref()
        .map(|all| [("postStart", all.post_start.as_ref()), ("preStop", all.pre_stop.as_ref())]);
    for (field, hook) in hooks.into_iter().flatten() {
        if hook.is_some_and(|hook| hook.tcp_socket.is_some()) {
            let path = path.child("lifecycle").child(field).child("tcpSocket");
            warnings.push(format!("{path}: always fails, use httpGet or sleep"));
        }
    }
}

/// Profiles of the machine filter system calls, of which guests make none.
fn profiles(
    warnings: &mut Vec<String>,
    path: &FieldPath,
    seccomp: Option<&SeccompProfile>,
    app_armor: Option<&AppArmorProfile>,
) {
    let path = path.child("securityContext");
    for (field, kind) in [
        ("seccompProfile", seccomp.map(|profile| profile.type_.as_str())),
        ("appArmorProfile", app_armor.map(|profile| profile.type_.as_str())),
    ] {
        if kind == Some("Localhost") {
            let path = path.child(field);
            warnings.push(format!("{path}: has no effect, guests make no system calls"));
        }
    }
}

fn resolver(warnings: &mut Vec<String>, path: &FieldPath, spec: &PodSpec) {
    let Some(config) = &spec.dns_config else { return };
    let path = path.child("dnsConfig");
    for (field, set) in [
        ("nameservers", config.nameservers.as_ref().is_some_and(|all| !all.is_empty())),
        ("options", config.options.as_ref().is_some_and(|all| !all.is_empty())),
    ] {
        if set {
            let path = path.child(field);
            warnings.push(format!("{path}: has no effect, names are looked up by the node"));
        }
    }
}

fn duplicates(warnings: &mut Vec<String>, path: &FieldPath, container: &Container) {
    let env = container.env.as_deref().unwrap_or_default();
    for (i, variable) in env.iter().enumerate() {
        if env[..i].iter().any(|other| other.name == variable.name) {
            let path = path.child("env").index(i);
            let name = &variable.name;
            warnings.push(format!(
                "{path}: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    for (i, port) in ports.iter().enumerate() {
        let same = ports[..i].iter().position(|other| {
            other.container_port == port.container_port && other.protocol == port.protocol
        });
        if let Some(first) = same {
            let path = path.child("ports");
            let (second, first) = (path.index(i), path.index(first));
            warnings.push(format!("{second}: duplicate port definition with {first}"));
        }
    }
}

fn fractions(warnings: &mut Vec<String>, path: &FieldPath, container: &Container) {
    let Some(resources) = &container.resources else { return };
    for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        let Some(memory) = list.as_ref().and_then(|list| list.get("memory")) else { continue };
        if Quantity::try_from(memory).is_ok_and(|amount| !amount.is_whole()) {
            let path = path.child("resources").child(field).key("memory");
            let text = &memory.0;
            warnings.push(format!(
                "{path}: fractional byte value {text:?} is invalid, must be an integer"
            ));
        }
    }
}
