//! Pods that are refused, with the words a user reads.
use serde_json::{Value, json};

use crate::apis::testing::{create, create_errors, object, update, warnings, with};

/// What is wrong with a Pod of this spec; a good container is added if it has none.
fn spec(mut spec: Value) -> Vec<String> {
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "web", "image": "web:1"}]);
    }
    create_errors(&object("v1", "Pod", json!({"spec": spec})))
}

/// What is wrong with a container that has this beside name and image.
fn container(mut more: Value) -> Vec<String> {
    more["name"] = json!("web");
    more["image"] = json!("web:1");
    spec(json!({"containers": [more], "volumes": [{"name": "v"}]}))
}

/// Asserts that each is refused with exactly these words.
fn refused(check: fn(Value) -> Vec<String>, cases: &[(Value, &[&str])]) {
    for (value, expected) in cases {
        assert_eq!(check(value.clone()), *expected, "{value}");
    }
}

#[test]
fn containers_have_a_name_of_their_own_and_an_image() {
    refused(
        spec,
        &[
            (json!({"containers": []}), &["spec.containers: Required value"]),
            (
                json!({"containers": [{"name": ""}, {"name": "a", "image": " a"}], "initContainers": [{"name": "a", "image": "b"}]}),
                &[
                    "spec.containers[0].name: Required value",
                    "spec.containers[0].image: Required value",
                    "spec.containers[1].image: Invalid value: \" a\": must not have leading or trailing whitespace",
                    "spec.initContainers[0].name: Duplicate value: \"a\"",
                ],
            ),
            (
                json!({"containers": [{"name": "A_b", "image": "a"}]}),
                &[
                    "spec.containers[0].name: Invalid value: \"A_b\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
            (
                json!({"containers": [{"name": "a", "image": "a", "imagePullPolicy": "Sometimes", "restartPolicy": "Always"}]}),
                &[
                    "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                    "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
                ],
            ),
            (
                json!({"initContainers": [{"name": "a", "image": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]}),
                &[
                    "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                ],
            ),
        ],
    );
}

#[test]
fn ports_are_in_range_and_named_once() {
    refused(
        container,
        &[
            (
                json!({"ports": [{"containerPort": 0}, {"containerPort": 70000, "protocol": "HTTP"}]}),
                &[
                    "spec.containers[0].ports[0].containerPort: Required value",
                    "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    "spec.containers[0].ports[1].protocol: Unsupported value: \"HTTP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a", "hostPort": 9}, {"containerPort": 3, "name": "longer-than-15-letters", "hostPort": 9}]}),
                &[
                    "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
                    "spec.containers[0].ports[2].name: Invalid value: \"longer-than-15-letters\": must be no more than 15 characters",
                    "spec.containers[0].ports[2].hostPort: Duplicate value: \"TCP//9\"",
                ],
            ),
        ],
    );
}

#[test]
fn variables_come_from_one_place() {
    let from = |source: Value| container(json!({"env": [{"name": "A", "valueFrom": source}]}));
    let path = "spec.containers[0].env[0].valueFrom";
    assert_eq!(
        container(json!({"env": [{"name": ""}, {"name": "A=B"}]})),
        [
            "spec.containers[0].env[0].name: Required value",
            "spec.containers[0].env[1].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ]
    );
    assert_eq!(
        from(json!({})),
        [format!(
            "{path}: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        )]
    );
    assert_eq!(
        from(
            json!({"configMapKeyRef": {"name": "c", "key": "k"}, "secretKeyRef": {"name": "", "key": "a b"}})
        ),
        [
            format!("{path}.secretKeyRef.name: Required value"),
            format!(
                "{path}.secretKeyRef.key: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            ),
            format!(
                "{path}: Invalid value: \"\": may not have more than one field specified at a time"
            ),
        ]
    );
    assert_eq!(
        container(
            json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})
        ),
        [format!("{path}: Invalid value: \"\": may not be specified when `value` is not empty")]
    );
    assert_eq!(
        from(json!({"fieldRef": {"fieldPath": "spec.color"}})),
        [format!(
            "{path}.fieldRef.fieldPath: Invalid value: \"spec.color\": error converting fieldPath: field label not supported: spec.color"
        )]
    );
    assert!(from(json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}})).is_empty());
    assert!(
        from(json!({"fieldRef": {"fieldPath": "metadata.labels"}}))[0]
            .contains("Unsupported value")
    );
    assert_eq!(
        from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}})),
        [format!(
            "{path}.resourceFieldRef.divisor: Invalid value: \"2\": only divisor's values 1m, 1 are supported with the cpu resource"
        )]
    );
    assert_eq!(
        container(
            json!({"envFrom": [{}, {"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]})
        ),
        [
            "spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            "spec.containers[0].envFrom[1]: Invalid value: \"\": may not have more than one field specified at a time",
        ]
    );
}

#[test]
fn requests_stay_within_limits() {
    let resources = |resources: Value| container(json!({"resources": resources}));
    assert_eq!(
        resources(json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "200m"}})),
        [
            "spec.containers[0].resources.requests: Invalid value: \"200m\": must be less than or equal to cpu limit of 100m"
        ]
    );
    assert_eq!(
        resources(json!({"limits": {"cpu": "-1", "memory": "lots"}})),
        [
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.containers[0].resources.limits[memory]: Invalid value: \"lots\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            "spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.containers[0].resources.requests[memory]: Invalid value: \"lots\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ]
    );
    assert_eq!(
        resources(json!({"requests": {"fuel": "1"}})),
        [
            "spec.containers[0].resources.requests[fuel]: Invalid value: \"fuel\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.requests[fuel]: Invalid value: \"fuel\": must be a standard resource for containers",
        ]
    );
    assert!(resources(json!({"limits": {"podium.dev/slots": "2"}})).is_empty());
}

#[test]
fn probes_have_one_handler() {
    let liveness = |probe: Value| container(json!({"livenessProbe": probe}));
    let path = "spec.containers[0].livenessProbe";
    assert_eq!(
        liveness(json!({})),
        [format!("{path}: Required value: must specify a handler type")]
    );
    assert_eq!(
        liveness(json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}})),
        [format!("{path}.tcpSocket: Forbidden: may not specify more than 1 handler type")]
    );
    assert_eq!(
        liveness(
            json!({"httpGet": {"port": 0, "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}, "successThreshold": 2, "periodSeconds": -1})
        ),
        [
            format!(
                "{path}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive"
            ),
            format!(
                "{path}.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\""
            ),
            format!(
                "{path}.httpGet.httpHeaders[0].name: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
            ),
            format!("{path}.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
            format!("{path}.successThreshold: Invalid value: 2: must be 1"),
        ]
    );
    assert!(
        container(
            json!({"readinessProbe": {"tcpSocket": {"port": "http"}, "successThreshold": 2}})
        )
        .is_empty()
    );
}

#[test]
fn mounts_are_of_volumes_that_are_there() {
    let mounts = |mounts: Value| container(json!({"volumeMounts": mounts}));
    assert!(mounts(json!([{"name": "v", "mountPath": "/a", "subPath": "b/c"}])).is_empty());
    assert_eq!(
        mounts(
            json!([{"name": "w", "mountPath": "/a"}, {"name": "v", "mountPath": "/a", "subPath": "../b"}, {"name": "", "mountPath": ""}])
        ),
        [
            "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "spec.containers[0].volumeMounts[1].subPath: Invalid value: \"../b\": must not contain '..'",
            "spec.containers[0].volumeMounts[2].name: Required value",
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
        ]
    );
}

#[test]
fn devices_are_of_volumes_that_are_there() {
    let devices = |devices: Value| container(json!({"volumeDevices": devices}));
    assert!(devices(json!([{"name": "v", "devicePath": "/dev/a"}])).is_empty());
    assert_eq!(
        devices(json!([
            {"name": "w", "devicePath": "/dev/a"}, {"name": "v", "devicePath": "/dev/a"},
            {"name": "v", "devicePath": "../b"}, {"name": "", "devicePath": ""},
        ])),
        [
            "spec.containers[0].volumeDevices[0].name: Not found: \"w\"",
            "spec.containers[0].volumeDevices[1].devicePath: Invalid value: \"/dev/a\": must be unique",
            "spec.containers[0].volumeDevices[2].name: Invalid value: \"v\": must be unique",
            "spec.containers[0].volumeDevices[2].devicePath: Invalid value: \"../b\": can not contain backsteps ('..')",
            "spec.containers[0].volumeDevices[3].name: Required value",
            "spec.containers[0].volumeDevices[3].devicePath: Required value",
        ]
    );
}

#[test]
fn volumes_have_one_source() {
    let volumes = |volumes: Value| spec(json!({"volumes": volumes}));
    assert_eq!(
        volumes(
            json!([{"name": "a", "emptyDir": {}, "configMap": {"name": "x"}, "secret": {"secretName": "s"}}, {"name": "a"}])
        ),
        [
            "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[1].name: Duplicate value: \"a\"",
        ]
    );
    assert_eq!(
        volumes(
            json!([{"name": "a", "secret": {"defaultMode": 1000, "items": [{"key": "", "path": "/x"}]}}, {"name": "b", "configMap": {}}])
        ),
        [
            "spec.volumes[0].secret.secretName: Required value",
            "spec.volumes[0].secret.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].secret.items[0].key: Required value",
            "spec.volumes[0].secret.items[0].path: Invalid value: \"/x\": must be a relative path",
            "spec.volumes[1].configMap.name: Required value",
        ]
    );
    assert_eq!(
        volumes(json!([{"name": "p", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 60}},
            {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "token"}]}},
            {},
        ]}}])),
        [
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
            "spec.volumes[0].projected.sources[1]: Invalid value: \"token\": conflicting duplicate paths",
            "spec.volumes[0].projected.sources[2]: Required value: must specify a projected volume type",
        ]
    );
}

#[test]
fn policies_and_names_are_known() {
    refused(
        spec,
        &[
            (
                json!({"restartPolicy": "Maybe", "dnsPolicy": "Mine"}),
                &[
                    "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                    "spec.dnsPolicy: Unsupported value: \"Mine\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
                ],
            ),
            (
                json!({"dnsPolicy": "None"}),
                &[
                    "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
                ],
            ),
            (
                json!({"activeDeadlineSeconds": 0}),
                &[
                    "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"hostNetwork": true}),
                &[
                    "spec.hostNetwork: Forbidden: Pods have a network of their own in user space, there is no host network for them; use a Service of type NodePort, an Ingress or a hostPort instead",
                ],
            ),
            (
                json!({"securityContext": {"runAsUser": -1}}),
                &[
                    "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"nodeName": "n1", "schedulingGates": [{"name": "wait"}]}),
                &[
                    "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
                ],
            ),
        ],
    );
}

#[test]
fn tolerations_make_sense() {
    let tolerations = |tolerations: Value| spec(json!({"tolerations": tolerations}));
    assert!(tolerations(json!([{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}])).is_empty());
    assert_eq!(
        tolerations(
            json!([{}, {"key": "a", "tolerationSeconds": 3}, {"key": "a", "operator": "Exists", "value": "b"}, {"key": "a", "operator": "In", "effect": "No"}])
        ),
        [
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "spec.tolerations[2].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            "spec.tolerations[3].operator: Unsupported value: \"In\": supported values: \"Equal\", \"Exists\"",
            "spec.tolerations[3].effect: Unsupported value: \"No\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ]
    );
}

#[test]
fn affinity_and_spreading_make_sense() {
    assert_eq!(
        spec(json!({"affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {"matchFields": [{"key": "x", "operator": "In", "values": ["n"]}]}}],
            },
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]},
        }})),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
        ]
    );
    assert_eq!(
        spec(
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Cry"}]})
        ),
        [
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Cry\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ]
    );
}

#[test]
fn a_hook_sleeps_no_longer_than_the_pod_has_to_end() {
    let pod = |seconds: i64| {
        let hooks = json!({"preStop": {"sleep": {"seconds": seconds}}});
        let container = json!({"name": "a", "image": "a", "lifecycle": hooks});
        let spec = json!({"terminationGracePeriodSeconds": 5, "containers": [container]});
        object("v1", "Pod", json!({"spec": spec}))
    };
    let refusal = |seconds: i64| {
        format!(
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: {seconds}: must be non-negative and less than terminationGracePeriodSeconds (5)"
        )
    };
    assert_eq!(create_errors(&pod(6)), [refusal(6)]);
    assert_eq!(create_errors(&pod(-1)), [refusal(-1)]);
    assert!(create(&pod(5)).is_ok() && create(&pod(0)).is_ok());
    let seconds = "/spec/containers/0/lifecycle/preStop/sleep/seconds";
    let stored = with(&create(&pod(5)).unwrap(), seconds, json!(6));
    let released = with(&stored, "/metadata/labels", json!({"a": "b"}));
    assert!(update(&stored, &released).is_ok(), "one that is there can be let go");
}

#[test]
fn what_means_nothing_here_warns() {
    let pod = object(
        "v1",
        "Pod",
        json!({"spec": {
            "hostPID": true, "terminationGracePeriodSeconds": -1,
            "volumes": [
                {"name": "d", "nfs": {"server": "s", "path": "/"}},
                {"name": "m", "emptyDir": {"medium": "Memory"}},
            ],
            "dnsConfig": {"nameservers": ["192.0.2.1"]},
            "securityContext": {
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
                "appArmorProfile": {"type": "RuntimeDefault"},
            },
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
            "containers": [{
                "name": "a", "image": "a", "volumeDevices": [{"name": "d", "devicePath": "/d"}],
                "securityContext": {
                    "privileged": true,
                    "appArmorProfile": {"type": "Localhost", "localhostProfile": "p"},
                },
                "env": [{"name": "A"}, {"name": "A"}],
                "ports": [{"containerPort": 80}, {"containerPort": 80, "name": "x"}],
                "resources": {"limits": {"memory": "100m"}},
                "lifecycle": {"preStop": {"tcpSocket": {"port": 80}}},
            }],
        }}),
    );
    assert_eq!(
        warnings(&pod),
        [
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            "spec.hostPID: has no effect, there are no processes in WebAssembly",
            "spec.dnsConfig.nameservers: has no effect, names are looked up by the node",
            "spec.securityContext.seccompProfile: has no effect, guests make no system calls",
            "spec.resourceClaims: has no effect, nodes have no devices to give",
            "spec.volumes[0].nfs: nodes cannot mount this type of volume, only configMap, downwardAPI, emptyDir, hostPath, projected, secret",
            "spec.volumes[1].emptyDir.medium: has no effect, the files lie on the node's disk and count for no container's memory; sizeLimit applies",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].securityContext.privileged: has no effect, a sandbox gives no privileges",
            "spec.containers[0].securityContext.appArmorProfile: has no effect, guests make no system calls",
            "spec.containers[0].volumeDevices: has no effect, guests cannot open devices",
            "spec.containers[0].lifecycle.preStop.tcpSocket: always fails, use httpGet or sleep",
        ]
    );
}

#[test]
fn what_a_sandbox_cannot_do_is_refused() {
    let pod = object(
        "v1",
        "Pod",
        json!({"spec": {
            "volumes": [
                {"name": "d", "hostPath": {"path": "/dev/sda", "type": "BlockDevice"}},
                {"name": "p", "projected": {"sources": [
                    {"clusterTrustBundle": {"name": "b", "path": "ca.pem"}},
                ]}},
            ],
            "containers": [{
                "name": "a", "image": "a",
                "livenessProbe": {"exec": {"command": ["true"]}},
                "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
            }],
        }}),
    );
    let errors = create_errors(&pod);
    let told = |start: &str, words: &str| {
        assert!(errors.iter().any(|e| e.starts_with(start) && e.contains(words)), "{errors:?}");
    };
    told("spec.volumes[0].hostPath.type: Forbidden", "files and directories only");
    told("spec.volumes[1].projected.sources[0].clusterTrustBundle: Forbidden", "issues none");
    told("spec.containers[0].livenessProbe.exec: Forbidden", "no other programs");
    told("spec.containers[0].lifecycle.postStart.exec: Forbidden", "no other programs");
}
