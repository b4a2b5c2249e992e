//! What a Pod's spec gets where the client left something out.
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, DownwardAPIVolumeFile, EnvVar, EphemeralContainer, HTTPGetAction,
    Lifecycle, ObjectFieldSelector, PodSpec, Probe, ResourceFieldSelector, ResourceRequirements,
    Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::apis::checks::canonical;

/// Permissions of files in volumes: 0644.
const FILE_MODE: i32 = 0o644;
/// Seconds a projected service account token lives.
const TOKEN_SECONDS: i64 = 3600;

/// Fills in a spec, that of a Pod or of a template.
pub fn spec_defaults(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    service_account(spec);
    canonical(spec.overhead.as_mut());
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(&mut spec.containers) {
        container_defaults(container);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        ephemeral_defaults(container);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        volume_defaults(volume);
    }
}

/// Sets the requests that a container leaves out to its limits, as a Pod's containers have it; templates stay as written.
pub fn requests_from_limits(spec: &mut PodSpec) {
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(&mut spec.containers) {
        let Some(resources) = &mut container.resources else { continue };
        let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else {
            continue;
        };
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept.
fn service_account(spec: &mut PodSpec) {
    let set = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if set(&spec.service_account_name) {
        spec.service_account.clone_from(&spec.service_account_name);
    } else if set(&spec.service_account) {
        spec.service_account_name.clone_from(&spec.service_account);
    }
}

fn container_defaults(container: &mut Container) {
    let image = container.image.as_deref();
    if container.image_pull_policy.as_ref().is_none_or(String::is_empty) {
        container.image_pull_policy = Some(pull_policy(image).into());
    }
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    resources(&mut container.resources);
    container.ports.iter_mut().flatten().for_each(port);
    container.env.iter_mut().flatten().for_each(env);
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    probes.into_iter().flatten().for_each(probe);
    container.lifecycle.iter_mut().for_each(lifecycle);
}

fn ephemeral_defaults(container: &mut EphemeralContainer) {
    let image = container.image.as_deref();
    if container.image_pull_policy.as_ref().is_none_or(String::is_empty) {
        container.image_pull_policy = Some(pull_policy(image).into());
    }
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    resources(&mut container.resources);
    container.env.iter_mut().flatten().for_each(env);
}

/// A moving tag is looked up each time, anything else only once.
fn pull_policy(image: Option<&str>) -> &'static str {
    let image = image.unwrap_or_default();
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.rsplit_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

fn resources(resources: &mut Option<ResourceRequirements>) {
    let resources = resources.get_or_insert_default();
    canonical(resources.limits.as_mut());
    canonical(resources.requests.as_mut());
}

fn port(port: &mut ContainerPort) {
    text(&mut port.protocol, "TCP");
}

fn env(variable: &mut EnvVar) {
    let Some(source) = &mut variable.value_from else { return };
    source.field_ref.iter_mut().for_each(field);
    source.resource_field_ref.iter_mut().for_each(resource_field);
}

fn field(field: &mut ObjectFieldSelector) {
    text(&mut field.api_version, "v1");
}

fn resource_field(field: &mut ResourceFieldSelector) {
    field.divisor.get_or_insert_with(|| Quantity("0".into()));
}

fn probe(probe: &mut Probe) {
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    handlers.into_iter().flatten().flat_map(|handler| &mut handler.http_get).for_each(http_get);
}

fn http_get(action: &mut HTTPGetAction) {
    text(&mut action.path, "/");
    text(&mut action.scheme, "HTTP");
}

fn volume_defaults(volume: &mut Volume) {
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config) = &mut volume.config_map {
        config.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward.items.iter_mut().flatten().for_each(downward_file);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
            }
            let files = source.downward_api.iter_mut().flat_map(|downward| &mut downward.items);
            files.flatten().for_each(downward_file);
        }
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(image) = &mut volume.image
        && image.pull_policy.as_ref().is_none_or(String::is_empty)
    {
        image.pull_policy = Some(pull_policy(image.reference.as_deref()).into());
    }
    let unnamed = Volume { name: volume.name.clone(), ..Volume::default() };
    if *volume == unnamed {
        volume.empty_dir = Some(Default::default());
    }
}

fn downward_file(file: &mut DownwardAPIVolumeFile) {
    file.field_ref.iter_mut().for_each(field);
    file.resource_field_ref.iter_mut().for_each(resource_field);
}

fn text(field: &mut Option<String>, default: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(default.into());
    }
}

fn number(field: &mut Option<i32>, default: i32) {
    if field.is_none_or(|number| number == 0) {
        *field = Some(default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_tags_are_pulled_each_time() {
        for image in ["web", "web:latest", "reg:5000/web", "reg:5000/a/web:latest", ""] {
            assert_eq!(pull_policy(Some(image)), "Always", "{image}");
        }
        for image in ["web:1", "reg:5000/web:1", "web@sha256:ab", "web:1@sha256:ab"] {
            assert_eq!(pull_policy(Some(image)), "IfNotPresent", "{image}");
        }
    }
}
