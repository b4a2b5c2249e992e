//! What is wrong with the volumes of a Pod.
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, PodSpec, ProjectedVolumeSource, Volume, VolumeProjection,
};
use serde_json::{Value, json};

use super::containers::relative;
use super::env;
use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{forbidden, form, invalid, one_of, quantity, required};

/// What a path of the host may have to be.
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
/// The kinds of volumes in the order in which Kubernetes looks for them: the first that is there is
/// meant, and the others are too many.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
/// Those that no WebAssembly guest can open.
const DEVICES: [&str; 3] = ["BlockDevice", "CharDevice", "Socket"];
/// Seconds that a projected token lives at least: ten minutes.
const TOKEN_SECONDS_MIN: i64 = 600;

/// Checks all volumes; their names, for the mounts.
pub fn validate<'a>(
    errors: &mut FieldErrors,
    path: &FieldPath,
    spec: &'a PodSpec,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(i);
        source(errors, &path, volume);
        let at = path.child("name");
        if volume.name.is_empty() {
            errors.push(required(&at, ""));
            continue;
        }
        form(errors, &at, &volume.name, names::dns_label);
        errors.check(seen.insert(volume.name.as_str()), || {
            FieldError::Duplicate(at, json!(volume.name))
        });
    }
    seen
}

/// The fields of a volume that say what it is, in the order of [`SOURCES`].
pub fn source_fields(volume: &Volume) -> Vec<String> {
    let Value::Object(fields) = json!(volume) else { return Vec::new() };
    let names = fields.into_iter().map(|(name, _)| name);
    let mut sources: Vec<String> = names.filter(|name| name != "name").collect();
    sources.sort_by_key(|name| SOURCES.iter().position(|source| source == name));
    sources
}

fn source(errors: &mut FieldErrors, path: &FieldPath, volume: &Volume) {
    let fields = source_fields(volume);
    if fields.is_empty() {
        errors.push(required(path, "must specify a volume type"));
    }
    for field in fields.iter().skip(1) {
        errors.push(forbidden(&path.child(field), "may not specify more than 1 volume type"));
    }
    if let Some(of) = &volume.empty_dir
        && let Some(limit) = &of.size_limit
    {
        quantity(errors, &path.child("emptyDir").child("sizeLimit"), limit);
    }
    if let Some(of) = &volume.secret {
        let path = path.child("secret");
        let name = of.secret_name.as_deref().unwrap_or_default();
        errors.check(!name.is_empty(), || required(&path.child("secretName"), ""));
        mode(errors, &path.child("defaultMode"), of.default_mode);
        items(errors, &path.child("items"), of.items.as_deref());
    }
    if let Some(of) = &volume.config_map {
        let path = path.child("configMap");
        errors.check(!of.name.is_empty(), || required(&path.child("name"), ""));
        mode(errors, &path.child("defaultMode"), of.default_mode);
        items(errors, &path.child("items"), of.items.as_deref());
    }
    if let Some(of) = &volume.downward_api {
        let path = path.child("downwardAPI");
        mode(errors, &path.child("defaultMode"), of.default_mode);
        files(errors, &path.child("items"), of.items.as_deref());
    }
    if let Some(of) = &volume.projected {
        projected(errors, &path.child("projected"), of);
    }
    if let Some(of) = &volume.host_path {
        let path = path.child("hostPath");
        let at = path.child("path");
        if of.path.is_empty() {
            errors.push(required(&at, ""));
        } else if of.path.split('/').any(|part| part == "..") {
            errors.push(invalid(&at, of.path.as_str(), "must not contain '..'"));
        }
        let kind = of.type_.as_deref().unwrap_or_default();
        one_of(errors, &path.child("type"), kind, &HOST_PATH_TYPES);
        errors.check(!DEVICES.contains(&kind), || {
            let why = "a WebAssembly sandbox can open files and directories only";
            forbidden(&path.child("type"), why)
        });
    }
    if let Some(of) = &volume.persistent_volume_claim {
        let path = path.child("persistentVolumeClaim").child("claimName");
        errors.check(!of.claim_name.is_empty(), || required(&path, ""));
    }
}

fn projected(errors: &mut FieldErrors, path: &FieldPath, of: &ProjectedVolumeSource) {
    mode(errors, &path.child("defaultMode"), of.default_mode);
    let mut paths = BTreeSet::new();
    for (i, source) in of.sources.iter().flatten().enumerate() {
        let path = path.child("sources").index(i);
        projection(errors, &path, source);
        for target in targets(source) {
            errors.check(paths.insert(target), || {
                invalid(&path, target, "conflicting duplicate paths")
            });
        }
    }
}

/// The files that a source says it writes.
fn targets(source: &VolumeProjection) -> Vec<&str> {
    let keys = source.secret.iter().flat_map(|s| &s.items);
    let keys = keys.chain(source.config_map.iter().flat_map(|c| &c.items)).flatten();
    let files = source.downward_api.iter().flat_map(|d| &d.items).flatten();
    let token = source.service_account_token.iter().map(|token| token.path.as_str());
    keys.map(|item| item.path.as_str())
        .chain(files.map(|file| file.path.as_str()))
        .chain(token)
        .collect()
}

fn projection(errors: &mut FieldErrors, path: &FieldPath, source: &VolumeProjection) {
    let fields = match json!(source) {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    if fields.is_empty() {
        errors.push(required(path, "must specify a projected volume type"));
    }
    for field in fields.keys().skip(1) {
        errors.push(forbidden(
            &path.child(field),
            "may not specify more than 1 volume type per source",
        ));
    }
    if let Some(of) = &source.secret {
        let path = path.child("secret");
        errors.check(!of.name.is_empty(), || required(&path.child("name"), ""));
        items(errors, &path.child("items"), of.items.as_deref());
    }
    if let Some(of) = &source.config_map {
        let path = path.child("configMap");
        errors.check(!of.name.is_empty(), || required(&path.child("name"), ""));
        items(errors, &path.child("items"), of.items.as_deref());
    }
    if let Some(of) = &source.downward_api {
        files(errors, &path.child("downwardAPI"), of.items.as_deref());
    }
    if let Some(of) = &source.service_account_token {
        let path = path.child("serviceAccountToken");
        let seconds = of.expiration_seconds.unwrap_or(TOKEN_SECONDS_MIN);
        errors.check(seconds >= TOKEN_SECONDS_MIN, || {
            let why = "may not specify a duration less than 10 minutes";
            invalid(&path.child("expirationSeconds"), seconds, why)
        });
        target(errors, &path.child("path"), &of.path);
    }
    for (field, set) in [
        ("clusterTrustBundle", source.cluster_trust_bundle.is_some()),
        ("podCertificate", source.pod_certificate.is_some()),
    ] {
        errors.check(!set, || {
            let why = "this cluster issues none; mount the ConfigMap kube-root-ca.crt for the cluster's own certificate authority";
            forbidden(&path.child(field), why)
        });
    }
}

fn items(errors: &mut FieldErrors, path: &FieldPath, items: Option<&[KeyToPath]>) {
    for (i, item) in items.into_iter().flatten().enumerate() {
        let path = path.index(i);
        errors.check(!item.key.is_empty(), || required(&path.child("key"), ""));
        target(errors, &path.child("path"), &item.path);
        mode(errors, &path.child("mode"), item.mode);
    }
}

fn files(errors: &mut FieldErrors, path: &FieldPath, files: Option<&[DownwardAPIVolumeFile]>) {
    for (i, file) in files.into_iter().flatten().enumerate() {
        let path = path.index(i);
        target(errors, &path.child("path"), &file.path);
        mode(errors, &path.child("mode"), file.mode);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(of), None) => env::file_field(errors, &path.child("fieldRef"), of),
            (None, Some(of)) => {
                let path = path.child("resourceFieldRef");
                let container = of.container_name.as_deref().unwrap_or_default();
                errors.check(!container.is_empty(), || required(&path.child("containerName"), ""));
                env::resource_field(errors, &path, of);
            }
            (Some(_), Some(_)) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(invalid(&path, "resource", why));
            }
            (None, None) => {
                errors.push(required(&path, "one of fieldRef and resourceFieldRef is required"));
            }
        }
    }
}

/// Where below a volume a file goes.
fn target(errors: &mut FieldErrors, path: &FieldPath, text: &str) {
    if text.is_empty() {
        errors.push(required(path, ""));
        return;
    }
    relative(errors, path, text);
    let first = text.split('/').next().unwrap_or_default();
    if first.starts_with("..") && first != ".." {
        errors.push(invalid(path, text, "must not start with '..'"));
    }
}

fn mode(errors: &mut FieldErrors, path: &FieldPath, mode: Option<i32>) {
    let Some(mode) = mode else { return };
    errors.check((0..=0o777).contains(&mode), || {
        invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")
    });
}
