//! Environments of Pods as users write them.
use serde_json::{Value, json};

use super::*;

fn pod(container: Value) -> Pod {
    let mut main = json!({
        "name": "web",
        "resources": {
            "requests": {"cpu": "125m", "memory": "10Mi"},
            "limits": {"cpu": "1500m", "memory": "64Mi"},
        },
    });
    main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u-1",
            "labels": {"app": "web", "tier": "front"},
            "annotations": {"team": "a"},
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "default",
            "containers": [main, {"name": "side"}],
        },
    }))
    .unwrap()
}

fn objects() -> Objects {
    let config = json!({"metadata": {"name": "settings"}, "data": {"COLOR": "blue", "SIZE": "3"}});
    let secret = json!({"metadata": {"name": "keys"}, "data": {"TOKEN": "c2VjcmV0"}});
    Objects {
        config_maps: BTreeMap::from([(
            "settings".to_owned(),
            Arc::new(serde_json::from_value(config).unwrap()),
        )]),
        secrets: BTreeMap::from([(
            "keys".to_owned(),
            Arc::new(serde_json::from_value(secret).unwrap()),
        )]),
    }
}

fn services() -> Vec<Arc<Service>> {
    let service = |namespace: &str, name: &str, ip: &str, port: Value| {
        let service = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [port]},
        });
        Arc::new(serde_json::from_value(service).unwrap())
    };
    vec![
        service("default", "kubernetes", "10.43.0.1", json!({"name": "https", "port": 443})),
        service("shop", "my-db", "10.43.0.7", json!({"port": 5432})),
        service("shop", "headless", "None", json!({"port": 1})),
        service("other", "hidden", "10.43.0.8", json!({"port": 1})),
    ]
}

fn environment(container: Value) -> Result<Vec<(String, String)>, String> {
    in_pod(&pod(container))
}

fn in_pod(pod: &Pod) -> Result<Vec<(String, String)>, String> {
    let context = Context {
        pod,
        ip: Some([10, 64, 0, 5].into()),
        host_ip: [192, 168, 1, 2].into(),
        objects: &objects(),
        services: &services(),
        allocatable: Amount { cpu: 2000, memory: 8 << 30 },
    };
    of(context, &pod.spec.as_ref().unwrap().containers[0]).map_err(|error| error.to_string())
}

fn value(source: Value) -> Result<Option<String>, String> {
    let all = environment(json!({"env": [{"name": "X", "valueFrom": source}]}))?;
    Ok(all.into_iter().find(|(name, _)| name == "X").map(|(_, value)| value))
}

#[test]
fn fields_of_the_pod_are_values() {
    for (path, wanted) in [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['team']", "a"),
        ("metadata.labels", "app=\"web\"\ntier=\"front\""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.64.0.5"),
        ("status.podIPs", "10.64.0.5"),
        ("status.hostIP", "192.168.1.2"),
    ] {
        assert_eq!(
            value(json!({"fieldRef": {"fieldPath": path}})),
            Ok(Some(wanted.into())),
            "{path}"
        );
    }
    assert_eq!(
        value(json!({"fieldRef": {"fieldPath": "spec.hostname"}})),
        Err("unsupported fieldPath: spec.hostname".into())
    );
}

#[test]
fn resources_are_divided_and_rounded_up() {
    for (resource, divisor, wanted) in [
        ("limits.cpu", None, "2"),
        ("limits.cpu", Some("1m"), "1500"),
        ("requests.cpu", None, "1"),
        ("requests.memory", Some("1Mi"), "10"),
        ("limits.memory", Some("1Ki"), "65536"),
        ("limits.memory", None, "67108864"),
    ] {
        let mut source = json!({"resourceFieldRef": {"resource": resource}});
        if let Some(divisor) = divisor {
            source["resourceFieldRef"]["divisor"] = json!(divisor);
        }
        assert_eq!(value(source), Ok(Some(wanted.into())), "{resource} {divisor:?}");
    }
    let node = json!({"resourceFieldRef": {"containerName": "side", "resource": "limits.cpu"}});
    assert_eq!(value(node), Ok(Some("2".into())));
}

#[test]
fn keys_of_objects_are_values_and_missing_ones_are_named() {
    let key = |kind: &str, name: &str, key: &str, optional: bool| {
        value(json!({kind: {"name": name, "key": key, "optional": optional}}))
    };
    assert_eq!(key("configMapKeyRef", "settings", "COLOR", false), Ok(Some("blue".into())));
    assert_eq!(key("secretKeyRef", "keys", "TOKEN", false), Ok(Some("secret".into())));
    assert_eq!(key("configMapKeyRef", "none", "COLOR", true), Ok(None));
    assert_eq!(key("secretKeyRef", "keys", "NONE", true), Ok(None));
    assert_eq!(
        key("configMapKeyRef", "none", "COLOR", false),
        Err("configmap \"none\" not found".into())
    );
    assert_eq!(
        key("secretKeyRef", "none", "TOKEN", false),
        Err("secret \"none\" not found".into())
    );
    assert_eq!(
        key("configMapKeyRef", "settings", "NONE", false),
        Err("couldn't find key NONE in ConfigMap shop/settings".into())
    );
}

#[test]
fn env_wins_over_env_from_and_refers_to_what_stands_before_it() {
    let all = environment(json!({
        "envFrom": [
            {"configMapRef": {"name": "settings"}},
            {"prefix": "S_", "secretRef": {"name": "keys"}},
            {"configMapRef": {"name": "none", "optional": true}},
        ],
        "env": [
            {"name": "SIZE", "value": "4"},
            {"name": "URL", "value": "http://$(MY_DB_SERVICE_HOST)/$(COLOR)$(SIZE)$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "EMPTY"},
        ],
    }))
    .unwrap();
    let all: HashMap<_, _> = all.into_iter().collect();
    assert_eq!(all["COLOR"], "blue");
    assert_eq!(all["SIZE"], "4");
    assert_eq!(all["S_TOKEN"], "secret");
    assert_eq!(all["URL"], "http://10.43.0.7/blue4$(LATER)");
    assert_eq!(all["EMPTY"], "");
}

#[test]
fn services_of_the_namespace_are_variables_unless_links_are_off() {
    let names = |pod: &Pod| -> Vec<String> {
        in_pod(pod).unwrap().into_iter().map(|(name, _)| name).collect()
    };
    let mut pod = pod(json!({}));
    let all: HashMap<_, _> = in_pod(&pod).unwrap().into_iter().collect();
    assert_eq!(all["KUBERNETES_SERVICE_HOST"], "10.43.0.1");
    assert_eq!(all["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
    assert_eq!(all["MY_DB_PORT_5432_TCP"], "tcp://10.43.0.7:5432");
    assert_eq!(all["MY_DB_SERVICE_PORT"], "5432");
    assert!(!all.keys().any(|name| name.starts_with("HIDDEN") || name.starts_with("HEADLESS")));

    pod.spec.as_mut().unwrap().enable_service_links = Some(false);
    assert!(names(&pod).iter().all(|name| name.starts_with("KUBERNETES_")));
}
