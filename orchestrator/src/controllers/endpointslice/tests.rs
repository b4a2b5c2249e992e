use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn service(spec: Value) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "blue"}},
        "spec": {
            "selector": {"app": "web"}, "clusterIP": "10.43.0.7",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
        },
    });
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(service).unwrap()
}

fn pod(number: usize, port: i32, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("web-{number}"), "namespace": "default", "uid": format!("uid-{number:04}")},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "web", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running", "podIP": format!("10.64.{}.{}", number / 250, number % 250),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

fn typed(pod: Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    (0..count).map(|number| typed(pod(number, 8080, true))).collect()
}

/// What a plan creates, as if the server had named it.
fn stored(created: &[EndpointSlice]) -> Vec<Arc<EndpointSlice>> {
    let named = created.iter().enumerate().map(|(number, slice)| {
        let mut slice = slice.clone();
        slice.metadata.name = Some(format!("web-{number}"));
        Arc::new(slice)
    });
    named.collect()
}

fn endpoints(slice: &EndpointSlice) -> &[k8s_openapi::api::discovery::v1::Endpoint] {
    slice.endpoints.as_deref().unwrap()
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    slices.iter().map(|slice| endpoints(slice).len()).collect()
}

#[test]
fn a_slice_tells_addresses_ports_and_conditions() {
    let mut terminating = pod(2, 8080, true);
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut ended = pod(3, 8080, false);
    ended["status"]["phase"] = "Failed".into();
    let mut early = pod(4, 8080, false);
    early["status"]["podIP"] = "".into();
    let pods: Vec<_> =
        [pod(0, 8080, true), pod(1, 8080, false), terminating, ended, early].map(typed).into();

    let plan = plan(&service(json!({})), &pods, &[]);

    assert_eq!(plan.create.len(), 1);
    let slice = &plan.create[0];
    let labels = slice.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["team"], "blue");
    assert_eq!(slice.metadata.owner_references.as_ref().unwrap()[0].uid, "s");
    let ports = serde_json::to_value(&slice.ports).unwrap();
    assert_eq!(ports, json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let conditions: Vec<_> = endpoints(slice)
        .iter()
        .map(|e| (e.addresses[0].as_str(), e.conditions.clone().unwrap()))
        .map(|(ip, c)| (ip, c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap()))
        .collect();
    assert_eq!(
        conditions,
        [
            ("10.64.0.0", true, true, false),
            ("10.64.0.1", false, false, false),
            ("10.64.0.2", false, true, true),
        ]
    );
}

#[test]
fn pods_that_name_other_ports_are_in_other_slices() {
    let pods = [typed(pod(0, 8080, true)), typed(pod(1, 9090, true))];
    let plan = plan(&service(json!({})), &pods, &[]);
    let ports: Vec<_> =
        plan.create.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port.unwrap()).collect();
    assert_eq!(ports, [8080, 9090]);
}

#[test]
fn slices_hold_a_hundred_endpoints_and_change_as_little_as_possible() {
    let service = service(json!({}));
    let first = plan(&service, &pods(250), &[]);
    assert_eq!(sizes(&first.create), [100, 100, 50]);
    let slices = stored(&first.create);
    assert_eq!(plan(&service, &pods(250), &slices), Plan::default());

    let grown = plan(&service, &pods(260), &slices);
    assert_eq!((sizes(&grown.create), sizes(&grown.update)), (vec![], vec![60]));

    let mut replaced = pods(251);
    replaced.remove(5);
    let replaced = plan(&service, &replaced, &slices);
    assert_eq!(sizes(&replaced.update), [100]);
    assert_eq!((replaced.create.len(), replaced.delete.len()), (0, 0));

    let shrunk = plan(&service, &pods(100), &slices);
    assert_eq!((shrunk.update.len(), shrunk.delete.len()), (0, 2));
}

#[test]
fn a_service_without_pods_keeps_one_empty_slice() {
    let service = service(json!({"clusterIP": "None"}));
    let first = plan(&service, &[], &[]);
    assert_eq!(sizes(&first.create), [0]);
    let labels = first.create[0].metadata.labels.as_ref().unwrap();
    assert!(labels.contains_key("service.kubernetes.io/headless"));
    let slices = stored(&first.create);
    assert_eq!(plan(&service, &[], &slices), Plan::default());

    let found = plan(&service, &pods(1), &slices);
    assert_eq!((sizes(&found.create), found.delete.len()), (vec![1], 1));
}

#[test]
fn addresses_may_be_published_before_they_are_ready() {
    let service = service(json!({"publishNotReadyAddresses": true}));
    let plan = plan(&service, &[typed(pod(0, 8080, false))], &[]);
    let conditions = endpoints(&plan.create[0])[0].conditions.clone().unwrap();
    assert_eq!((conditions.ready, conditions.serving), (Some(true), Some(false)));
}

#[test]
fn only_what_an_endpoint_tells_matters() {
    let change = |old: Value, new: Value| Change {
        key: Arc::new(ObjectKey::new("default", "web-0")),
        old: Some(typed(old)),
        new: Some(typed(new)),
    };
    let mut started = pod(0, 8080, false);
    started["status"]["startTime"] = "2026-01-01T00:00:00Z".into();
    assert!(!matters(&change(pod(0, 8080, false), started)));
    assert!(matters(&change(pod(0, 8080, false), pod(0, 8080, true))));
}
