//! create, and what every write shares.
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use podium::api::User;
use serde_json::json;

use crate::harness::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

#[tokio::test]
async fn an_unmodified_client_creates_and_reads_objects() {
    let cluster = Cluster::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let wished = serde_json::from_value(config_map("c1")).unwrap();
    let created = api.create(&PostParams::default(), &wished).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
    assert_eq!(api.get("c1").await.unwrap(), created);
    assert_eq!(api.list(&Default::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let answer = cluster.post(CONFIG_MAPS, config_map("c1")).await;
    assert_eq!(
        answer.json,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "configmaps \"c1\" already exists", "reason": "AlreadyExists",
            "details": {"name": "c1", "kind": "configmaps"}, "code": 409,
        })
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let cluster = Cluster::start().await;
    let answer = cluster.get("/apis/apps/v1/namespaces/default/deployments/d").await;
    assert_eq!(
        answer.json,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "deployments.apps \"d\" not found", "reason": "NotFound",
            "details": {"name": "d", "group": "apps", "kind": "deployments"}, "code": 404,
        })
    );
}

#[tokio::test]
async fn an_invalid_object_is_refused_with_every_reason() {
    let cluster = Cluster::start().await;
    let mut wrong = config_map("Not_a_name");
    wrong["metadata"]["labels"] = json!({"a b": "c"});
    let answer = cluster.post(CONFIG_MAPS, wrong).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let causes = answer.json["details"]["causes"].as_array().unwrap().clone();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels"]);
    let message = answer.json["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            r#"ConfigMap "Not_a_name" is invalid: [metadata.name: Invalid value: "Not_a_name": a lowercase RFC 1123 subdomain"#
        ),
        "{message}"
    );
}

#[tokio::test]
async fn a_nameless_object_is_refused_or_named() {
    let cluster = Cluster::start().await;
    let answer = cluster.post(CONFIG_MAPS, json!({"metadata": {}})).await;
    let message = answer.json["message"].as_str().unwrap();
    assert!(
        message.contains("metadata.name: Required value: name or generateName is required"),
        "{message}"
    );
    let wished = json!({"metadata": {"generateName": "web-"}});
    let names = [
        cluster.create(CONFIG_MAPS, wished.clone()).await["metadata"]["name"].clone(),
        cluster.create(CONFIG_MAPS, wished).await["metadata"]["name"].clone(),
    ];
    assert_ne!(names[0], names[1]);
    for name in names {
        assert!(name.as_str().unwrap().starts_with("web-") && name.as_str().unwrap().len() == 9);
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_ignored_as_asked() {
    let cluster = Cluster::start().await;
    let body = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},
        "spec":{"containers":[{"name":"a","image":"i","bogus":1}],"containers":[{"name":"a","image":"i","bogus":1}]}}"#;
    let post = async |validation: &str| {
        let path = format!("{PODS}?dryRun=All&fieldValidation={validation}");
        cluster.send(Method::POST, &path, &[], body).await
    };
    let strict = post("Strict").await;
    assert_eq!(strict.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        strict.json["message"],
        r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: duplicate field "spec.containers", unknown field "spec.containers[0].bogus""#
    );
    let warned = post("Warn").await;
    assert_eq!(warned.status, StatusCode::CREATED, "{}", warned.text);
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "duplicate field \"spec.containers\"""#,
            r#"299 - "unknown field \"spec.containers[0].bogus\"""#
        ]
    );
    let ignored = post("Ignore").await;
    assert_eq!(ignored.status, StatusCode::CREATED);
    assert!(ignored.headers.get("warning").is_none());
}

#[tokio::test]
async fn unknown_fields_of_metadata_are_unknown_too() {
    let cluster = Cluster::start().await;
    let mut object = config_map("c1");
    object["metadata"]["bogus"] = json!(1);
    let answer = cluster.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), object).await;
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.contains(r#"unknown field "metadata.bogus""#), "{message}");
}

#[tokio::test]
async fn bodies_that_are_no_such_object_are_bad_requests() {
    let cluster = Cluster::start().await;
    let mut wrong_type = config_map("c1");
    wrong_type["data"]["a"] = json!(1);
    for (body, message) in [
        (
            wrong_type.to_string(),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: data.a: invalid type: integer `1`, expected a string",
        ),
        ("{".into(), "couldn't get version/kind; json parse error: EOF while parsing an object"),
        (
            json!({"apiVersion": "v2", "kind": "ConfigMap"}).to_string(),
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            json!({"metadata": {"name": "a", "resourceVersion": "7"}}).to_string(),
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "other"}}).to_string(),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = cluster.send(Method::POST, CONFIG_MAPS, &[], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        let actual = answer.json["message"].as_str().unwrap();
        assert!(actual.contains(message), "{actual}");
    }
}

#[tokio::test]
async fn bodies_may_be_yaml_or_protobuf() {
    let cluster = Cluster::start().await;
    let yaml = "metadata:\n  name: yaml\ndata:\n  a: b\n";
    let headers = [("content-type", "application/yaml")];
    let answer = cluster.send(Method::POST, CONFIG_MAPS, &headers, yaml).await;
    assert_eq!(answer.json["data"]["a"], "b", "{}", answer.text);
    // runtime.Unknown {typeMeta {v1, ConfigMap}, raw {metadata {name: p}, data {k: v}}}
    let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d".to_vec();
    body.extend_from_slice(b"\x0a\x03\x0a\x01p\x12\x06\x0a\x01k\x12\x01v");
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let answer = cluster.send(Method::POST, CONFIG_MAPS, &headers, body).await;
    assert_eq!(answer.json["data"]["k"], "v", "{}", answer.text);
    let headers = [("content-type", "application/cbor")];
    let answer = cluster.send(Method::POST, CONFIG_MAPS, &headers, "x").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let cluster = Cluster::start().await;
    let body = vec![b' '; 3 * 1024 * 1024 + 1];
    let answer = cluster.send(Method::POST, CONFIG_MAPS, &[], body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json["reason"], "RequestEntityTooLarge");
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let cluster = Cluster::start().await;
    let answer = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("c1")).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert!(answer.json["metadata"]["uid"].is_string());
    assert!(answer.json["metadata"].get("resourceVersion").is_none());
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/c1")).await.status, StatusCode::NOT_FOUND);
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let answer = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("c1")).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_server_sets_what_clients_may_not() {
    let cluster = Cluster::start().await;
    let mut wished = config_map("c1");
    wished["metadata"]["uid"] = json!("mine");
    wished["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    wished["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
    let created = cluster.create(CONFIG_MAPS, wished).await;
    assert_ne!(created["metadata"]["uid"], "mine");
    assert_eq!(created["metadata"]["creationTimestamp"], "2026-11-21T04:00:00Z");
    assert!(created["metadata"].get("deletionTimestamp").is_none());
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_not_there_or_is_going() {
    let cluster = Cluster::start().await;
    let answer = cluster.post("/api/v1/namespaces/gone/configmaps", config_map("c1")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json["message"], "namespaces \"gone\" not found");
    cluster.create("/api/v1/namespaces", json!({"metadata": {"name": "going"}})).await;
    cluster.delete("/api/v1/namespaces/going", json!(null)).await;
    let answer = cluster.post("/api/v1/namespaces/going/configmaps", config_map("c1")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer.json["message"],
        "configmaps \"c1\" is forbidden: unable to create new content in namespace going because it is being terminated"
    );
}

#[tokio::test]
async fn a_pod_gets_its_service_account_and_default_tolerations() {
    let cluster = Cluster::start().await;
    let created = cluster.create(PODS, pod("web")).await;
    assert_eq!(created["spec"]["serviceAccountName"], "default");
    assert_eq!(created["spec"]["tolerations"].as_array().unwrap().len(), 2);
    let volume = created["spec"]["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"), "{volume}");
    let mount = &created["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let mut wrong = pod("other");
    wrong["spec"]["serviceAccountName"] = json!("nobody");
    let answer = cluster.post(PODS, wrong).await;
    assert_eq!(
        answer.json["message"],
        "pods \"other\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
}

#[tokio::test]
async fn an_ingress_without_a_class_gets_the_default_one() {
    let cluster = Cluster::start().await;
    let classes = "/apis/networking.k8s.io/v1/ingressclasses";
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let ingress = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"defaultBackend": {
            "service": {"name": "web", "port": {"number": 80}},
        }}})
    };
    let none = cluster.create(ingresses, ingress("a")).await;
    assert!(none["spec"].get("ingressClassName").is_none(), "{none}");
    let default = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    let class = json!({
        "metadata": {"name": "mine", "annotations": default},
        "spec": {"controller": "example.com/mine"},
    });
    cluster.create(classes, class).await;
    let given = cluster.create(ingresses, ingress("b")).await;
    assert_eq!(given["spec"]["ingressClassName"], "mine");
    let mut own = ingress("c");
    own["spec"]["ingressClassName"] = json!("other");
    let kept = cluster.create(ingresses, own).await;
    assert_eq!(kept["spec"]["ingressClassName"], "other");
}

#[tokio::test]
async fn methods_that_make_no_sense_are_not_allowed() {
    let cluster = Cluster::start().await;
    let object = format!("{CONFIG_MAPS}/c1");
    for (method, path) in [
        (Method::POST, object.as_str()),
        (Method::PUT, CONFIG_MAPS),
        (Method::PATCH, CONFIG_MAPS),
        (Method::GET, "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
    ] {
        let answer = cluster.send(method, path, &[], config_map("c1").to_string()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_caller_learns_who_it_is() {
    let cluster = Cluster::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let alice = User::component("alice");
    let answer = cluster.send_as(Some(alice), Method::POST, path, &[], "{}").await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json["status"]["userInfo"]["username"], "alice");
}

#[tokio::test]
async fn both_groups_of_events_show_the_same_objects() {
    let cluster = Cluster::start().await;
    let event = json!({
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reason": "Pulled", "message": "hello", "type": "Normal",
        "source": {"component": "kubelet"},
    });
    cluster.create("/api/v1/namespaces/default/events", event).await;
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let other = cluster.get(&format!("{path}/e")).await.json;
    assert_eq!(other["apiVersion"], "events.k8s.io/v1");
    assert_eq!(other["note"], "hello");
    assert_eq!(other["regarding"]["name"], "web");
    let list = cluster.get(path).await.json;
    assert_eq!(list["items"][0]["note"], "hello");
}

#[tokio::test]
async fn strangers_and_bad_tokens_are_kept_out() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/pods";
    let get = async |user, headers: &[(&str, &str)]| {
        cluster.send_as(user, Method::GET, path, headers, "").await
    };
    let anonymous = get(None, &[]).await;
    assert_eq!(anonymous.status, StatusCode::FORBIDDEN);
    assert_eq!(
        anonymous.json["message"],
        r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    let known = get(Some(User::component("alice")), &[]).await;
    assert_eq!(known.status, StatusCode::FORBIDDEN);
    let forged = get(None, &[("authorization", "Bearer a.b.c")]).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    let as_other = get(Some(crate::harness::admin()), &[("impersonate-user", "bob")]).await;
    assert_eq!(as_other.status, StatusCode::BAD_REQUEST);
    let health = cluster.send_as(None, Method::GET, "/readyz?verbose", &[], "").await;
    assert!(health.text.contains("[+]bootstrap ok"), "{}", health.text);
}
