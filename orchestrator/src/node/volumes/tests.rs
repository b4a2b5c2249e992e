//! Volumes as users write them, on a real disk.
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::mounts::MountError;
use super::*;

fn objects(data: Value) -> Objects {
    let map = json!({"metadata": {"name": "settings"}, "data": data});
    let secret = json!({"metadata": {"name": "keys"}, "data": {"token": "c2VjcmV0"}});
    Objects {
        config_maps: BTreeMap::from([(
            "settings".to_owned(),
            Arc::new(serde_json::from_value(map).unwrap()),
        )]),
        secrets: BTreeMap::from([(
            "keys".to_owned(),
            Arc::new(serde_json::from_value(secret).unwrap()),
        )]),
    }
}

fn volume(source: Value) -> Volume {
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    serde_json::from_value(volume).unwrap()
}

fn plan(source: Value) -> Result<BTreeMap<String, (String, u32)>, String> {
    plan_with(source, &objects(json!({"a.conf": "1", "b.conf": "2"})))
}

fn plan_with(source: Value, objects: &Objects) -> Result<BTreeMap<String, (String, u32)>, String> {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Mi"}}}]},
    }))
    .unwrap();
    let context = Context {
        pod: &pod,
        ip: None,
        host_ip: [127, 0, 0, 1].into(),
        objects,
        allocatable: Amount::default(),
        tokens: &Tokens::default(),
    };
    match contents(&volume(source), context).map_err(|error| error.to_string())? {
        Content::EmptyDir => Ok(BTreeMap::new()),
        Content::Files(files) => Ok(files
            .into_iter()
            .map(|(path, file)| (path, (String::from_utf8(file.content).unwrap(), file.mode)))
            .collect()),
        Content::HostPath(source) => panic!("{source:?}"),
    }
}

fn files(list: &[(&str, &str, u32)]) -> Result<BTreeMap<String, (String, u32)>, String> {
    Ok(list.iter().map(|(p, c, m)| ((*p).to_owned(), ((*c).to_owned(), *m))).collect())
}

#[test]
fn an_object_is_a_folder_of_its_keys() {
    assert_eq!(
        plan(json!({"configMap": {"name": "settings", "defaultMode": 0o400}})),
        files(&[("a.conf", "1", 0o400), ("b.conf", "2", 0o400)])
    );
    assert_eq!(
        plan(json!({"secret": {"secretName": "keys"}})),
        files(&[("token", "secret", 0o644)])
    );
}

#[test]
fn items_choose_keys_paths_and_modes() {
    assert_eq!(
        plan(json!({"configMap": {"name": "settings", "items": [
            {"key": "b.conf", "path": "etc/b", "mode": 0o600},
        ]}})),
        files(&[("etc/b", "2", 0o600)])
    );
}

#[test]
fn missing_objects_and_keys_are_named_unless_optional() {
    let map = |optional| json!({"configMap": {"name": "none", "optional": optional}});
    assert_eq!(plan(map(false)), Err("configmap \"none\" not found".into()));
    assert_eq!(plan(map(true)), files(&[]));
    assert_eq!(
        plan(json!({"secret": {"secretName": "none"}})),
        Err("secret \"none\" not found".into())
    );
    let key = |optional| {
        json!({"configMap": {"name": "settings", "optional": optional, "items": [
            {"key": "x", "path": "x"},
        ]}})
    };
    assert_eq!(plan(key(false)), Err("configmap references non-existent config key: x".into()));
    assert_eq!(plan(key(true)), files(&[]));
}

#[test]
fn projections_join_sources_and_fields_of_the_pod() {
    assert_eq!(
        plan(json!({"projected": {"sources": [
            {"secret": {"name": "keys"}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "mem", "resourceFieldRef": {
                    "containerName": "c", "resource": "limits.memory", "divisor": "1Ki",
                }},
            ]}},
        ]}})),
        files(&[
            ("labels", "app=\"web\"", 0o644),
            ("mem", "1024", 0o644),
            ("token", "secret", 0o644)
        ])
    );
    assert!(
        plan(json!({"nfs": {"path": "/", "server": "s"}}))
            .unwrap_err()
            .starts_with("unsupported volume")
    );
}

#[test]
fn paths_stay_in_the_volume() {
    for path in ["../x", "/x", "a/../../x", "..data", "a//b", "", "c:x", "a\\b"] {
        let source = json!({"configMap": {"name": "settings", "items": [
            {"key": "a.conf", "path": path},
        ]}});
        assert!(plan(source).unwrap_err().starts_with("invalid path"), "{path}");
    }
}

fn config_map(data: Value) -> Content {
    let objects = objects(data);
    let pod = Pod::default();
    let context = Context {
        pod: &pod,
        ip: None,
        host_ip: [127, 0, 0, 1].into(),
        objects: &objects,
        allocatable: Amount::default(),
        tokens: &Tokens::default(),
    };
    contents(&volume(json!({"configMap": {"name": "settings"}})), context).unwrap()
}

#[tokio::test]
async fn a_changed_object_replaces_the_files_behind_an_open_folder() {
    let home = tempfile::tempdir().unwrap();
    let volume = volume(json!({"configMap": {"name": "settings"}}));
    let mut volumes = Volumes::new(home.path(), &[]);
    volumes.write(&volume, config_map(json!({"a": "1", "old": "x"}))).await.unwrap();
    let folder = volumes.path(&volume);
    assert!(folder.ends_with("volumes/kubernetes.io~configmap/v"));
    assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "1");

    volumes.write(&volume, config_map(json!({"a": "2", "new": "y"}))).await.unwrap();
    assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "2");
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "y");
    assert!(fs::symlink_metadata(folder.join("old")).is_err());

    // After a restart nothing is remembered, and nothing breaks.
    let mut volumes = Volumes::new(home.path(), &[]);
    volumes.write(&volume, config_map(json!({"a": "3"}))).await.unwrap();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(".."))
        .collect();
    names.sort();
    assert_eq!(names, ["a"]);
}

#[tokio::test]
async fn mounts_lead_to_volumes_and_parts_of_them() {
    let home = tempfile::tempdir().unwrap();
    let spec: PodSpec = serde_json::from_value(json!({
        "volumes": [{"name": "v", "configMap": {"name": "settings"}}, {"name": "e", "emptyDir": {}}],
        "containers": [{"name": "c", "volumeMounts": [
            {"name": "v", "mountPath": "/etc/app"},
            {"name": "v", "mountPath": "/etc/a", "subPath": "a"},
            {"name": "e", "mountPath": "/data", "subPathExpr": "$(WHO)/x"},
        ]}],
    }))
    .unwrap();
    let mut volumes = Volumes::new(home.path(), &[]);
    let list = spec.volumes.as_ref().unwrap();
    volumes.write(&list[0], config_map(json!({"a": "1"}))).await.unwrap();
    volumes.write(&list[1], Content::EmptyDir).await.unwrap();

    let envs = [("WHO".to_owned(), "me".to_owned())];
    let found = mounts(&spec, &spec.containers[0], &volumes, &envs).unwrap();

    assert_eq!(found[0].host_path, volumes.path(&list[0]));
    assert!(found[0].readonly);
    assert_eq!(fs::read_to_string(&found[1].host_path).unwrap(), "1");
    assert!(found[2].host_path.ends_with("e/me/x") && found[2].host_path.is_dir());
    assert!(!found[2].readonly);
    let unset = mounts(&spec, &spec.containers[0], &volumes, &[]).unwrap_err();
    assert!(matches!(unset, MountError::Variable(_)));
}

#[tokio::test]
async fn a_link_in_the_place_of_a_part_shows_nothing_outside_of_its_volume() {
    if !crate::platform::LINKS {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let spec: PodSpec = serde_json::from_value(json!({
        "volumes": [{"name": "e", "emptyDir": {}}],
        "containers": [{"name": "c", "volumeMounts": [
            {"name": "e", "mountPath": "/v"}, {"name": "e", "mountPath": "/s", "subPath": "s"},
        ]}],
    }))
    .unwrap();
    let mut volumes = Volumes::new(home.path(), &[]);
    let volume = &spec.volumes.as_ref().unwrap()[0];
    volumes.write(volume, Content::EmptyDir).await.unwrap();
    let found = mounts(&spec, &spec.containers[0], &volumes, &[]).unwrap();

    // What a guest does once its mounts were looked at.
    let part = &found[1].host_path;
    fs::rename(part, part.with_file_name("t")).unwrap();
    crate::platform::link(Path::new("../../../../../../.."), part).unwrap();

    assert!(shim::beneath::open(&found[1].within, part).is_err());
    let refused = mounts(&spec, &spec.containers[0], &volumes, &[]).unwrap_err();
    assert!(matches!(refused, MountError::SubPath(_)), "{refused}");
}
