//! What makes no sense is answered as Kubernetes does; nothing panics or hangs.
use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment};

const JSON: (&str, &str) = ("content-type", "application/json");

fn message(answer: &Answer) -> String {
    answer.json["message"].as_str().unwrap_or_default().to_owned()
}

/// Every answer that is a refusal is a whole `Status`.
fn check(answer: &Answer, what: &str) {
    let code = answer.status.as_u16();
    if code < 400 {
        return;
    }
    assert_eq!(answer.json["kind"], "Status", "{what}: {}", answer.text);
    assert_eq!(answer.json["code"], code, "{what}");
    assert!(!message(answer).is_empty(), "{what}");
    assert!(!answer.text.contains("panicked"), "{what}: {}", answer.text);
}

#[tokio::test]
async fn bodies_that_are_no_objects_are_bad_requests() {
    let cluster = Cluster::start().await;
    let nested = |open: &str, close: &str, depth: usize| {
        let data = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"c"}},"data":{data}}}"#
        )
    };
    let bodies: [Vec<u8>; 14] = [
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{\"metadata\":{\"name\":\"\xff\"}}".to_vec(),
        b"{\"metadata\":{\"name\":\"\\ud800\"}}".to_vec(),
        br#"{"metadata":{"name":"c","generation":1e999}}"#.to_vec(),
        br#"{"metadata":{"name":"c"},"data":{"a":1}}"#.to_vec(),
        br#"{"metadata":7}"#.to_vec(),
        br#"{"kind":{},"apiVersion":[]}"#.to_vec(),
        nested("[", "]", 10_000).into_bytes(),
        nested("{\"a\":", "}", 10_000).into_bytes(),
    ];
    for body in bodies {
        for form in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
        {
            let what = format!("{form} {:?}", String::from_utf8_lossy(&body[..body.len().min(60)]));
            for (method, path) in [
                (Method::POST, CONFIG_MAPS),
                (Method::PUT, "/api/v1/namespaces/default/configmaps/c"),
            ] {
                let headers = [("content-type", form)];
                let answer = cluster.send(method, path, &headers, body.clone()).await;
                check(&answer, &what);
                assert!(
                    matches!(answer.status.as_u16(), 400 | 404 | 422),
                    "{what}: {} {}",
                    answer.status,
                    answer.text
                );
            }
        }
    }
}

#[tokio::test]
async fn yaml_that_would_grow_without_end_is_refused() {
    let cluster = Cluster::start().await;
    let mut deep = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        deep.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(",")));
    }
    let list = |item: &str, times: usize| vec![item; times].join(",");
    let flat = format!("a: &a [{}]\nb: [{}]\n", list("0", 1_000), list("*a", 100_000));
    for bomb in [deep, flat] {
        let headers = [("content-type", "application/yaml")];
        let answer = cluster.send(Method::POST, CONFIG_MAPS, &headers, bomb).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_named() {
    let cluster = Cluster::start().await;
    for number in
        [json!(2_147_483_648_i64), json!(-2_147_483_649_i64), json!(1.5), json!("2"), json!(1e30)]
    {
        let mut wanted = deployment("d");
        wanted["spec"]["replicas"] = number;
        let answer = cluster.post(DEPLOYMENTS, wanted).await;
        check(&answer, "replicas");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(message(&answer).contains("spec.replicas"), "{}", message(&answer));
    }
}

#[tokio::test]
async fn fields_that_stand_twice_are_warned_of_or_refused() {
    let cluster = Cluster::start().await;
    let json = r#"{"metadata":{"name":"c"},"data":{"a":"1","a":"2"}}"#;
    let yaml = "metadata: {name: c}\ndata:\n  a: '1'\n  a: '2'\n";
    for (form, body) in [("application/json", json), ("application/yaml", yaml)] {
        let headers = [("content-type", form)];
        let path = format!("{CONFIG_MAPS}?dryRun=All");
        let answer = cluster.send(Method::POST, &path, &headers, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert_eq!(answer.headers["warning"], r#"299 - "duplicate field \"data.a\"""#);
        let path = format!("{CONFIG_MAPS}?fieldValidation=Strict");
        let answer = cluster.send(Method::POST, &path, &headers, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(message(&answer).contains(r#"strict decoding error: duplicate field "data.a""#));
    }
}

#[tokio::test]
async fn forms_that_are_not_read_are_named() {
    let cluster = Cluster::start().await;
    for form in [
        "text/plain",
        "application/cbor",
        "application/json-patch+json",
        "x",
        "multipart/form-data; boundary=x",
    ] {
        let headers = [("content-type", form)];
        let answer = cluster.send(Method::POST, CONFIG_MAPS, &headers, "{}").await;
        check(&answer, form);
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{form}");
    }
    cluster.create(CONFIG_MAPS, config_map("c")).await;
    let path = format!("{CONFIG_MAPS}/c");
    for form in ["application/json", "application/yaml", "text/plain"] {
        let answer = cluster.send(Method::PATCH, &path, &[("content-type", form)], "{}").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{form}");
    }
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c")).await;
    for (query, code, says) in [
        ("labelSelector=a%20in%20(", 400, "unable to parse requirement"),
        ("labelSelector=%3D%3D", 400, ""),
        ("labelSelector=a%3D%24", 400, ""),
        ("labelSelector=!!a", 400, ""),
        ("fieldSelector=a", 400, ""),
        ("fieldSelector=spec.x%3Dy", 400, "field label not supported"),
        ("continue=%21%21", 400, "continue key is not valid"),
        ("continue=eyJ9", 400, "continue key is not valid"),
        ("continue=bnVsbA", 400, "continue key is not valid"),
        ("limit=x", 400, "invalid syntax"),
        ("limit=99999999999999999999", 400, ""),
        ("resourceVersion=x", 400, "invalid syntax"),
        ("resourceVersion=-1", 400, ""),
        ("resourceVersion=99999999999999999999999", 400, ""),
        ("resourceVersion=999999999", 504, "Too large resource version"),
        (
            "resourceVersionMatch=Exact",
            422,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            "is forbidden for resourceVersion \\\"0\\\"",
        ),
        (
            "resourceVersionMatch=Roughly&resourceVersion=1",
            422,
            "Unsupported value: \\\"Roughly\\\"",
        ),
        (
            "resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x",
            422,
            "is forbidden when continue is provided",
        ),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersion=x", 400, "invalid syntax"),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            422,
            "is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("watch=1&timeoutSeconds=x", 400, ""),
    ] {
        let answer = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        check(&answer, query);
        assert_eq!(answer.status.as_u16(), code, "{query}: {}", answer.text);
        assert!(answer.text.contains(says), "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn queries_that_mean_nothing_do_no_harm() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c")).await;
    for query in [
        "limit=-1",
        "limit=0",
        "limit=9223372036854775807",
        "pretty",
        "pretty=x",
        "a&b=&=c&&",
        "%zz=%",
        "timeoutSeconds=-1",
        "resourceVersion=0",
        "resourceVersion=",
        "labelSelector=",
        "labelSelector=%20",
    ] {
        let answer = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        let items = answer.json["items"].as_array().unwrap();
        assert!(items.iter().any(|item| item["metadata"]["name"] == "c"), "{query}");
    }
}

#[tokio::test]
async fn methods_that_are_not_served_are_refused() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c")).await;
    let one = format!("{CONFIG_MAPS}/c");
    let odd = || Method::from_bytes(b"FROBNICATE").unwrap();
    for (method, path) in [
        (Method::OPTIONS, CONFIG_MAPS),
        (Method::TRACE, one.as_str()),
        (odd(), CONFIG_MAPS),
        (Method::POST, one.as_str()),
        (Method::PUT, CONFIG_MAPS),
        (Method::PATCH, CONFIG_MAPS),
        (Method::DELETE, "/openapi/v2"),
    ] {
        let answer = cluster.send(method.clone(), path, &[JSON], "{}").await;
        check(&answer, path);
        assert_eq!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}: {}",
            answer.text
        );
    }
    assert_eq!(cluster.send(Method::HEAD, &one, &[], Body::empty()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_not_found() {
    let cluster = Cluster::start().await;
    for path in [
        "/api/v1/namespaces/default/configmaps/c/bogus",
        "/api/v1/namespaces/default/bogus",
        "/api/v2/pods",
        "/apis/nope/v1/things",
        "/api/v1/namespaces//configmaps",
        "/api/v1/namespaces/default/configmaps/%2e%2e%2f",
        "/api/v1/namespaces/default/configmaps/a%00b",
        "/api/v1/namespaces/%ff/configmaps",
        "//api/v1/pods",
        "/api/v1/namespaces/default/pods/p/log/more",
        "/..%2f..%2fetc",
    ] {
        let answer = cluster.get(path).await;
        check(&answer, path);
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn patches_that_make_no_sense_change_nothing() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d");
    let before = cluster.get(&path).await.text;
    let broken: [(&str, Value); 15] = [
        ("json", json!({})),
        ("json", json!([{"op": "explode", "path": "/"}])),
        ("json", json!([{"op": "remove", "path": "/spec/nothing"}])),
        ("json", json!([{"op": "add", "path": "no/slash", "value": 1}])),
        ("json", json!([{"op": "add", "path": "/spec/template/spec/containers/99", "value": {}}])),
        ("json", json!([{"op": "copy", "from": "/spec", "path": "/spec/template/x/y"}])),
        ("json", json!([{"op": "replace", "path": "", "value": 7}])),
        ("json", json!([{"op": "replace", "path": "/metadata", "value": []}])),
        ("merge", json!({"spec": 7})),
        ("merge", json!({"spec": {"replicas": -1}})),
        ("merge", json!({"kind": "Pod"})),
        ("merge", json!({"metadata": {"name": "e"}})),
        (
            "strategic-merge",
            json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}),
        ),
        ("strategic-merge", json!({"spec": {"template": {"spec": {"containers": {"a": 1}}}}})),
        ("strategic-merge", json!({"spec": {"$patch": "explode"}})),
    ];
    for (form, patch) in broken {
        let answer = cluster.patch(&path, form, patch.clone()).await;
        check(&answer, &patch.to_string());
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{patch}: {}", answer.text);
    }
    assert_eq!(cluster.get(&path).await.text, before);
}

#[tokio::test]
async fn options_of_a_deletion_are_checked() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c")).await;
    let path = format!("{CONFIG_MAPS}/c");
    for options in [
        json!([]),
        json!({"gracePeriodSeconds": "x"}),
        json!({"propagationPolicy": "Perhaps"}),
        json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
        json!({"dryRun": ["Some"]}),
        json!({"preconditions": {"uid": 7}}),
    ] {
        let answer = cluster.delete(&path, options.clone()).await;
        check(&answer, &options.to_string());
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{options}: {}", answer.text);
    }
    assert_eq!(cluster.get(&path).await.status, StatusCode::OK);
    let answer = cluster.delete(&format!("{PODS}?labelSelector=%3D%3D"), Value::Null).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
