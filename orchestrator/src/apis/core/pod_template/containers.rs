//! What is wrong with the containers of a Pod.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EphemeralContainer, PodSpec, SecurityContext, VolumeDevice,
    VolumeMount,
};
use serde_json::json;

use super::validate::user_id;
use super::{env, probes, resources};
use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{forbidden, form, invalid, ip, one_of, port, required, required_one_of};

/// When an image is looked up in its registry.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
/// Where a container's last words come from.
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
/// How mounts in a volume are seen by others.
const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
/// What a port may speak.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Checks all containers; `path` is that of the spec, `volumes` the names of its volumes.
pub fn validate(
    errors: &mut FieldErrors,
    path: &FieldPath,
    spec: &PodSpec,
    volumes: &BTreeSet<&str>,
) {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    if spec.containers.is_empty() {
        errors.push(required(&path.child("containers"), ""));
    }
    for (field, containers) in
        [("containers", spec.containers.as_slice()), ("initContainers", init)]
    {
        let is_init = field == "initContainers";
        for (i, container) in containers.iter().enumerate() {
            let path = path.child(field).index(i);
            one(errors, &path, container, volumes);
            restart(errors, &path, container, is_init);
            unique(errors, &path, &mut seen, &container.name);
        }
        host_ports(errors, &path.child(field), containers);
    }
    for (i, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.child("ephemeralContainers").index(i);
        ephemeral(errors, &path, container);
        unique(errors, &path, &mut seen, &container.name);
    }
}

fn unique<'a>(
    errors: &mut FieldErrors,
    path: &FieldPath,
    seen: &mut BTreeSet<&'a str>,
    name: &'a str,
) {
    errors.check(name.is_empty() || seen.insert(name), || {
        FieldError::Duplicate(path.child("name"), json!(name))
    });
}

fn one(
    errors: &mut FieldErrors,
    path: &FieldPath,
    container: &Container,
    volumes: &BTreeSet<&str>,
) {
    name(errors, &path.child("name"), &container.name);
    image(errors, &path.child("image"), container.image.as_deref());
    let policy = container.termination_message_policy.as_deref();
    required_one_of(errors, &path.child("terminationMessagePolicy"), policy, &MESSAGE_POLICIES);
    ports(errors, &path.child("ports"), container.ports.as_deref().unwrap_or_default());
    env::variables(errors, &path.child("env"), container.env.as_deref().unwrap_or_default());
    env::sources(errors, &path.child("envFrom"), container.env_from.as_deref().unwrap_or_default());
    let mounted = container.volume_mounts.as_deref().unwrap_or_default();
    mounts(errors, &path.child("volumeMounts"), mounted, volumes);
    let given = container.volume_devices.as_deref().unwrap_or_default();
    devices(errors, &path.child("volumeDevices"), given, volumes);
    let policy = container.image_pull_policy.as_deref();
    required_one_of(errors, &path.child("imagePullPolicy"), policy, &PULL_POLICIES);
    if let Some(wanted) = &container.resources {
        resources::validate(errors, &path.child("resources"), wanted);
    }
    if let Some(context) = &container.security_context {
        security(errors, &path.child("securityContext"), context);
    }
}

/// What only init containers may say, and what they may not.
fn restart(errors: &mut FieldErrors, path: &FieldPath, container: &Container, is_init: bool) {
    let policy = container.restart_policy.as_deref();
    let at = path.child("restartPolicy");
    match policy {
        Some(_) if !is_init => {
            errors.push(forbidden(&at, "may not be set for non-init containers"));
        }
        Some(policy) => one_of(errors, &at, policy, &["Always"]),
        None => {}
    }
    if !is_init || policy == Some("Always") {
        probes::of_container(errors, path, container);
        return;
    }
    for (field, set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        let why = "may not be set for init containers without restartPolicy=Always";
        errors.check(!set, || forbidden(&path.child(field), why));
    }
}

fn ephemeral(errors: &mut FieldErrors, path: &FieldPath, container: &EphemeralContainer) {
    name(errors, &path.child("name"), &container.name);
    image(errors, &path.child("image"), container.image.as_deref());
    for (field, set) in [
        ("ports", container.ports.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ] {
        errors.check(!set, || {
            forbidden(&path.child(field), "cannot be set for an Ephemeral Container")
        });
    }
}

fn name(errors: &mut FieldErrors, path: &FieldPath, name: &str) {
    if name.is_empty() {
        errors.push(required(path, ""));
    } else {
        form(errors, path, name, names::dns_label);
    }
}

fn image(errors: &mut FieldErrors, path: &FieldPath, image: Option<&str>) {
    match image {
        None | Some("") => errors.push(required(path, "")),
        Some(image) => errors.check(image.trim() == image, || {
            invalid(path, image, "must not have leading or trailing whitespace")
        }),
    }
}

fn ports(errors: &mut FieldErrors, path: &FieldPath, ports: &[ContainerPort]) {
    let mut seen = BTreeSet::new();
    for (i, item) in ports.iter().enumerate() {
        let path = path.index(i);
        if let Some(name) = item.name.as_deref().filter(|name| !name.is_empty()) {
            let path = path.child("name");
            form(errors, &path, name, names::port_name);
            errors.check(seen.insert(name), || FieldError::Duplicate(path.clone(), json!(name)));
        }
        match item.container_port {
            0 => errors.push(required(&path.child("containerPort"), "")),
            number => port(errors, &path.child("containerPort"), number),
        }
        if let Some(number) = item.host_port.filter(|&number| number != 0) {
            port(errors, &path.child("hostPort"), number);
        }
        if let Some(address) = item.host_ip.as_deref().filter(|address| !address.is_empty()) {
            ip(errors, &path.child("hostIP"), address);
        }
        let protocol = item.protocol.as_deref();
        required_one_of(errors, &path.child("protocol"), protocol, &PROTOCOLS);
    }
}

/// A port of the host can be given to one container only.
fn host_ports(errors: &mut FieldErrors, path: &FieldPath, containers: &[Container]) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|&number| number != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let address = port.host_ip.as_deref().unwrap_or_default();
            let text = format!("{protocol}/{address}/{number}");
            let path = path.index(i).child("ports").index(j).child("hostPort");
            errors.check(seen.insert(text.clone()), || FieldError::Duplicate(path, json!(text)));
        }
    }
}

fn mounts(
    errors: &mut FieldErrors,
    path: &FieldPath,
    mounts: &[VolumeMount],
    volumes: &BTreeSet<&str>,
) {
    let mut seen = BTreeMap::new();
    for (i, mount) in mounts.iter().enumerate() {
        let path = path.index(i);
        let at = path.child("name");
        if mount.name.is_empty() {
            errors.push(required(&at, ""));
        } else if !volumes.contains(mount.name.as_str()) {
            errors.push(FieldError::NotFound(at, json!(mount.name)));
        }
        let at = path.child("mountPath");
        if mount.mount_path.is_empty() {
            errors.push(required(&at, ""));
        } else if seen.insert(&mount.mount_path, ()).is_some() {
            errors.push(invalid(&at, mount.mount_path.as_str(), "must be unique"));
        }
        let sub = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (sub_path, sub_path_expr) = (sub(&mount.sub_path), sub(&mount.sub_path_expr));
        if let (Some(_), Some(expr)) = (&sub_path, &sub_path_expr) {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(invalid(&path.child("subPathExpr"), expr.as_str(), why));
        }
        for (field, text) in [("subPath", sub_path), ("subPathExpr", sub_path_expr)] {
            if let Some(text) = text {
                relative(errors, &path.child(field), &text);
            }
        }
        if let Some(propagation) = &mount.mount_propagation {
            one_of(errors, &path.child("mountPropagation"), propagation, &PROPAGATIONS);
        }
    }
}

fn devices(
    errors: &mut FieldErrors,
    path: &FieldPath,
    devices: &[VolumeDevice],
    volumes: &BTreeSet<&str>,
) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in devices.iter().enumerate() {
        let path = path.index(i);
        let (name, at) = (device.name.as_str(), path.child("name"));
        if name.is_empty() {
            errors.push(required(&at, ""));
        } else if !names.insert(name) {
            errors.push(invalid(&at, name, "must be unique"));
        } else if !volumes.contains(name) {
            errors.push(FieldError::NotFound(at, json!(name)));
        }
        let (file, at) = (device.device_path.as_str(), path.child("devicePath"));
        if file.is_empty() {
            errors.push(required(&at, ""));
        } else if !paths.insert(file) {
            errors.push(invalid(&at, file, "must be unique"));
        } else if file.split('/').any(|part| part == "..") {
            errors.push(invalid(&at, file, "can not contain backsteps ('..')"));
        }
    }
}

/// A path that stays below where it begins.
pub fn relative(errors: &mut FieldErrors, path: &FieldPath, text: &str) {
    if text.starts_with('/') {
        errors.push(invalid(path, text, "must be a relative path"));
    }
    if text.split('/').any(|part| part == "..") {
        errors.push(invalid(path, text, "must not contain '..'"));
    }
}

fn security(errors: &mut FieldErrors, path: &FieldPath, context: &SecurityContext) {
    user_id(errors, &path.child("runAsUser"), context.run_as_user);
    user_id(errors, &path.child("runAsGroup"), context.run_as_group);
    if context.allow_privilege_escalation == Some(false) && context.privileged == Some(true) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(invalid(path, json!(context), why));
    }
}
