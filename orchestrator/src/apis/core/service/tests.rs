//! Services as users write them.
use serde_json::{Value, json};

use crate::api::Object;
use crate::apis::testing::{cells, create, create_errors, fields, headers, object, update, with};

fn service(spec: Value) -> Object {
    object("v1", "Service", json!({"spec": spec}))
}

fn errors(spec: Value) -> Vec<String> {
    create_errors(&service(spec))
}

/// A Service as it is stored: with the address it was given.
fn stored(spec: Value) -> Object {
    let created = create(&service(spec)).unwrap();
    let created = with(&created, "/spec/clusterIP", json!("10.43.0.9"));
    with(&created, "/spec/clusterIPs", json!(["10.43.0.9"]))
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let created = create(&service(
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}, {"name": "x", "port": 81, "targetPort": "http"}]}),
    ));
    assert!(created.is_err(), "the first port needs a name");
    let created =
        create(&service(json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}))).unwrap();
    assert_eq!(
        created.body["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
        })
    );
    let balanced = create(&service(
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}),
    ))
    .unwrap();
    assert_eq!(balanced.body["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced.body["spec"]["allocateLoadBalancerNodePorts"], true);
    assert_eq!(
        balanced.body["spec"]["sessionAffinityConfig"],
        json!({"clientIP": {"timeoutSeconds": 10800}})
    );
    let named =
        create(&service(json!({"type": "ExternalName", "externalName": "example.com."}))).unwrap();
    assert_eq!(named.body["spec"].get("ipFamilies"), None);
}

#[test]
fn rows_show_addresses_and_ports() {
    let shown = |spec| cells(&service(spec));
    let plain = stored(json!({"selector": {"a": "b", "c": "d"}, "ports": [{"port": 80}]}));
    assert_eq!(headers(&plain), ["Type", "Cluster-IP", "External-IP", "Port(s)", "Selector"]);
    assert_eq!(cells(&plain), ["ClusterIP", "10.43.0.9", "<none>", "80/TCP", "a=b,c=d"]);
    assert_eq!(fields(&plain), ["spec.clusterIP=10.43.0.9", "spec.type=ClusterIP"]);
    assert_eq!(
        shown(
            json!({"type": "NodePort", "clusterIP": "None", "externalIPs": ["1.2.3.4"], "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]})
        ),
        ["NodePort", "None", "1.2.3.4", "80:30080/TCP,53/UDP", "<none>"]
    );
    assert_eq!(shown(json!({"type": "LoadBalancer"}))[2], "<pending>");
    assert_eq!(shown(json!({"type": "ExternalName", "externalName": "e.com"}))[2], "e.com");
    let balanced = with(
        &service(json!({"type": "LoadBalancer"})),
        "/status",
        json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}, {"hostname": "h"}]}}),
    );
    assert_eq!(cells(&balanced)[2], "127.0.0.1,h");
}

#[test]
fn ports_are_named_once_and_in_range() {
    assert_eq!(errors(json!({})), ["spec.ports: Required value"]);
    assert!(errors(json!({"clusterIP": "None"})).is_empty());
    assert_eq!(
        errors(
            json!({"ports": [{"name": "a", "port": 0}, {"name": "a", "port": 70000, "protocol": "HTTP"}, {"port": 80}]})
        ),
        [
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[1].protocol: Unsupported value: \"HTTP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[1].name: Duplicate value: \"a\"",
            "spec.ports[2].name: Required value",
        ]
    );
    assert_eq!(
        errors(json!({"ports": [{"port": 80, "nodePort": 30080}]})),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    assert_eq!(
        errors(
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30080}]})
        ),
        ["spec.ports[1].nodePort: Duplicate value: 30080"]
    );
    assert_eq!(
        errors(json!({"ports": [{"port": 80, "targetPort": "a--b"}]})),
        ["spec.ports[0].targetPort: Invalid value: \"a--b\": must not contain consecutive hyphens"]
    );
}

#[test]
fn types_and_policies_are_known() {
    assert_eq!(
        errors(json!({"type": "Public", "ports": [{"port": 80}]})),
        [
            "spec.type: Unsupported value: \"Public\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\""
        ]
    );
    assert_eq!(
        errors(json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]})),
        [
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"
        ]
    );
    assert_eq!(
        errors(json!({"clusterIP": "10.43.0.300", "ports": [{"port": 80}]})),
        [
            "spec.clusterIPs[0]: Invalid value: \"10.43.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        ]
    );
    assert_eq!(errors(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
    assert_eq!(
        errors(json!({"externalTrafficPolicy": "Local", "ports": [{"port": 80}]})),
        [
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"
        ]
    );
}

#[test]
fn the_cluster_has_one_family_of_addresses() {
    let wrong = |spec: Value| {
        let mut all = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        errors(all)
    };
    assert_eq!(
        wrong(json!({"ipFamilyPolicy": "RequireDualStack"})),
        [
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
        ]
    );
    assert_eq!(
        wrong(json!({"ipFamilies": ["IPv6"]})),
        ["spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"]
    );
    assert_eq!(
        wrong(json!({"ipFamilyPolicy": "Both", "ipFamilies": ["IPX"]})),
        [
            "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
            "spec.ipFamilies[0]: Unsupported value: \"IPX\": supported values: \"IPv4\", \"IPv6\"",
        ]
    );
    assert!(wrong(json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"]})).is_empty());
    let anywhere =
        json!({"selector": {}, "clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"});
    assert!(wrong(anywhere).is_empty());
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let old = stored(
        json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30080}]}),
    );
    let new = service(
        json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}),
    );
    let updated = update(&old, &new).unwrap();
    assert_eq!(updated.body["spec"]["clusterIP"], "10.43.0.9");
    assert_eq!(updated.body["spec"]["clusterIPs"], json!(["10.43.0.9"]));
    assert_eq!(updated.body["spec"]["ports"][0]["nodePort"], 30080);
    assert_eq!(updated.body["spec"]["ports"][1].get("nodePort"), None);
}

#[test]
fn the_address_cannot_change() {
    let old = stored(json!({"ports": [{"port": 80}]}));
    let new = service(json!({"clusterIP": "10.43.0.10", "ports": [{"port": 80}]}));
    assert_eq!(
        update(&old, &new).unwrap_err(),
        ["spec.clusterIPs[0]: Invalid value: [\"10.43.0.10\"]: may not change once set"]
    );
}

#[test]
fn a_node_port_goes_when_the_type_does() {
    let old = stored(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    let updated = update(&old, &with(&old, "/spec/type", json!("ClusterIP"))).unwrap();
    assert_eq!(
        updated.body["spec"]["ports"],
        json!([{"port": 80, "targetPort": 80, "protocol": "TCP"}])
    );
    let mut named = with(&old, "/spec/type", json!("ExternalName"));
    named = with(&named, "/spec/externalName", json!("example.com"));
    let updated = update(&old, &named).unwrap();
    assert_eq!(updated.body["spec"].get("clusterIP"), None);
}
