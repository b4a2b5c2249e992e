//! Pods as users write them and `kubectl` shows them.
use serde_json::{Value, json};

use crate::api::Object;
use crate::apis::testing::{cells, create, fields, headers, object, row, update, with};

fn pod(spec: Value) -> Object {
    object("v1", "Pod", json!({"spec": spec}))
}

fn seen(status: Value) -> Object {
    let pod = pod(json!({
        "nodeName": "n1",
        "initContainers": [{"name": "setup", "image": "setup:1"}],
        "containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}],
    }));
    with(&pod, "/status", status)
}

fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": state.get("running").is_some(),
        "restartCount": 0, "state": state})
}

/// READY and STATUS.
fn shown(status: Value) -> String {
    cells(&seen(status))[..2].join(" ")
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let created = create(&pod(json!({
        "serviceAccountName": "robot",
        "containers": [{
            "name": "web", "image": "web",
            "ports": [{"containerPort": 80}],
            "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
            "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": 0.1}},
            "livenessProbe": {"httpGet": {"port": 80}},
        }],
        "volumes": [{"name": "tmp"}, {"name": "conf", "configMap": {"name": "conf"}}, {"name": "key", "secret": {"secretName": "key"}}],
    })))
    .unwrap();
    assert_eq!(
        created.body["spec"],
        json!({
            "serviceAccountName": "robot", "serviceAccount": "robot",
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
            "containers": [{
                "name": "web", "image": "web", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [
                    {"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}},
                ],
                "resources": {
                    "limits": {"cpu": "500m", "memory": "1Gi"},
                    "requests": {"cpu": "100m", "memory": "1Gi"},
                },
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
            }],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "conf", "configMap": {"name": "conf", "defaultMode": 420}},
                {"name": "key", "secret": {"secretName": "key", "defaultMode": 420}},
            ],
        })
    );
    assert_eq!(created.body["status"], json!({"phase": "Pending", "qosClass": "Burstable"}));
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    let class = |resources: Value| {
        let spec = json!({"containers": [{"name": "a", "image": "a", "resources": resources}]});
        create(&pod(spec)).unwrap().body["status"]["qosClass"].clone()
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1m"}});
    assert_eq!(class(less), "Burstable");
}

#[test]
fn status_is_the_most_telling_word() {
    let done = container("setup", json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
    let running = json!({"running": {}});
    let both = |web: Value, log: Value| {
        shown(json!({"phase": "Running", "initContainerStatuses": [done.clone()],
            "containerStatuses": [container("web", web), container("log", log)]}))
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let ended =
        |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});

    assert_eq!(shown(json!({"phase": "Pending"})), "0/2 Pending");
    assert_eq!(
        both(waiting("ContainerCreating"), waiting("ContainerCreating")),
        "0/2 ContainerCreating"
    );
    assert_eq!(both(running.clone(), running.clone()), "2/2 Running");
    assert_eq!(both(waiting("CrashLoopBackOff"), running.clone()), "1/2 CrashLoopBackOff");
    assert_eq!(both(waiting("ImagePullBackOff"), waiting("ErrImagePull")), "0/2 ImagePullBackOff");
    assert_eq!(both(ended(137, "OOMKilled"), running.clone()), "1/2 OOMKilled");
    assert_eq!(both(ended(1, "Error"), running.clone()), "1/2 Error");
    assert_eq!(both(ended(3, ""), running.clone()), "1/2 ExitCode:3");
    assert_eq!(both(ended(0, "Completed"), running.clone()), "1/2 NotReady");
    assert_eq!(both(ended(0, "Completed"), ended(0, "Completed")), "0/2 Completed");
    assert_eq!(both(json!({"terminated": {"exitCode": 0, "signal": 9}}), running), "1/2 Signal:9");
    assert_eq!(shown(json!({"phase": "Failed", "reason": "Evicted"})), "0/2 Evicted");
}

#[test]
fn initialization_shows_how_far_it_got() {
    let setup = |state: Value| {
        let running = container("web", json!({"waiting": {"reason": "PodInitializing"}}));
        shown(json!({"phase": "Pending", "initContainerStatuses": [container("setup", state)],
            "containerStatuses": [running]}))
    };
    assert_eq!(setup(json!({"running": {}})), "0/2 Init:0/1");
    assert_eq!(setup(json!({"waiting": {"reason": "PodInitializing"}})), "0/2 Init:0/1");
    assert_eq!(
        setup(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        "0/2 Init:CrashLoopBackOff"
    );
    assert_eq!(setup(json!({"terminated": {"exitCode": 1, "reason": "Error"}})), "0/2 Init:Error");
    assert_eq!(setup(json!({"terminated": {"exitCode": 7}})), "0/2 Init:ExitCode:7");
    assert_eq!(setup(json!({"terminated": {"exitCode": 0}})), "0/2 PodInitializing");
}

#[test]
fn a_side_car_counts_as_a_container() {
    let pod = pod(json!({
        "initContainers": [{"name": "proxy", "image": "p:1", "restartPolicy": "Always"}],
        "containers": [{"name": "web", "image": "web:1"}],
    }));
    let mut proxy = container("proxy", json!({"running": {}}));
    proxy["started"] = json!(true);
    proxy["restartCount"] = json!(2);
    let status = json!({"phase": "Running", "initContainerStatuses": [proxy],
        "containerStatuses": [container("web", json!({"running": {}}))]});
    assert_eq!(cells(&with(&pod, "/status", status))[..3], ["2/2", "Running", "2"]);
}

#[test]
fn a_deleted_pod_is_terminating_until_it_ends() {
    let deleted = |status: Value| {
        let pod = with(&seen(status), "/metadata/deletionTimestamp", json!("2026-01-01T01:00:00Z"));
        cells(&pod)[1].clone()
    };
    assert_eq!(deleted(json!({"phase": "Running"})), "Terminating");
    assert_eq!(deleted(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
    assert_eq!(deleted(json!({"phase": "Succeeded"})), "Succeeded");
}

#[test]
fn restarts_say_when_the_last_was() {
    let mut web = container("web", json!({"running": {}}));
    web["restartCount"] = json!(3);
    web["lastState"] = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:54:30Z"}});
    let pod = seen(json!({"phase": "Running", "containerStatuses": [web], "podIP": "10.64.0.9",
        "podIPs": [{"ip": "10.64.0.9"}]}));
    assert_eq!(
        headers(&pod),
        ["Ready", "Status", "Restarts", "IP", "Node", "Nominated Node", "Readiness Gates"]
    );
    assert_eq!(
        cells(&pod),
        ["1/2", "Running", "3 (5m30s ago)", "10.64.0.9", "n1", "<none>", "<none>"]
    );
}

#[test]
fn readiness_gates_are_counted() {
    let pod = with(
        &seen(json!({"conditions": [{"type": "a", "status": "True"}]})),
        "/spec/readinessGates",
        json!([{"conditionType": "a"}, {"conditionType": "b"}]),
    );
    assert_eq!(cells(&pod)[6], "1/2");
}

#[test]
fn fields_can_be_selected() {
    let created =
        create(&pod(json!({"nodeName": "n1", "containers": [{"name": "a", "image": "a"}]})));
    assert_eq!(
        fields(&created.unwrap()),
        [
            "spec.nodeName=n1",
            "spec.restartPolicy=Always",
            "spec.schedulerName=default-scheduler",
            "spec.serviceAccountName=",
            "spec.hostNetwork=false",
            "status.phase=Pending",
            "status.podIP=",
            "status.nominatedNodeName=",
        ]
    );
}

#[test]
fn only_a_bound_living_pod_has_grace() {
    let grace =
        |pod: &Object, requested| row(pod).behaviour.graceful_deletion(pod, requested).unwrap();
    let bound = seen(json!({"phase": "Running"}));
    assert_eq!(grace(&bound, None), 30);
    assert_eq!(grace(&bound, Some(5)), 5);
    assert_eq!(grace(&bound, Some(0)), 0);
    let patient = with(&bound, "/spec/terminationGracePeriodSeconds", json!(90));
    assert_eq!(grace(&patient, None), 90);
    assert_eq!(grace(&with(&bound, "/spec/nodeName", json!("")), Some(5)), 0);
    assert_eq!(grace(&seen(json!({"phase": "Failed"})), None), 0);
}

fn living() -> Object {
    create(&pod(json!({
        "activeDeadlineSeconds": 60,
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
        "containers": [{"name": "web", "image": "web:1"}],
    })))
    .unwrap()
}

#[test]
fn an_update_may_change_images_and_little_else() {
    let old = living();
    let allowed = [
        ("/spec/containers/0/image", json!("web:2")),
        ("/spec/activeDeadlineSeconds", json!(30)),
        ("/spec/tolerations/1", json!({"key": "b", "operator": "Exists"})),
        ("/spec/tolerations/0/tolerationSeconds", json!(5)),
        ("/metadata/labels", json!({"a": "b"})),
    ];
    for (pointer, value) in allowed {
        assert_eq!(update(&old, &with(&old, pointer, value)).err(), None, "{pointer}");
    }
    let errors = update(&old, &with(&old, "/spec/restartPolicy", json!("Never"))).unwrap_err();
    assert!(
        errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 1);
}

#[test]
fn an_update_may_not_add_containers_or_time_or_take_tolerations() {
    let old = living();
    let refused =
        |pointer: &str, value: Value| update(&old, &with(&old, pointer, value)).unwrap_err();
    assert_eq!(
        refused("/spec/containers/1", json!({"name": "log", "image": "log:1"})),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    assert_eq!(
        refused("/spec/activeDeadlineSeconds", json!(90)),
        [
            "spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value"
        ]
    );
    assert_eq!(
        refused("/spec/tolerations", json!([])),
        [
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
        ]
    );
    assert_eq!(
        refused("/spec/schedulingGates", json!([{"name": "wait"}])),
        [
            "spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate 'wait'"
        ]
    );
}
