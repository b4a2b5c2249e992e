//! Pods as people meet them: how containers start, fail, are told apart and end.
use std::time::{Duration, Instant};

use crate::support::{TOOLBOX, cluster, create, events, pod, push, seen, shows};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use podium_tests::{Tool, eventually};
use serde_json::json;

/// The status of a Pod's first container.
fn first(pod: &Pod) -> ContainerStatus {
    let status = pod.status.clone().unwrap_or_default();
    status.container_statuses.and_then(|all| all.into_iter().next()).unwrap_or_default()
}

/// Reason and exit code of a Pod's first container once it has ended.
fn ended(pod: &Pod) -> Option<(String, i32)> {
    let status = first(pod);
    let state = status.state.and_then(|state| state.terminated);
    let last = status.last_state.and_then(|state| state.terminated);
    let ended = state.or(last)?;
    Some((ended.reason.unwrap_or_default(), ended.exit_code))
}

fn waiting(pod: &Pod) -> Option<(String, String)> {
    let waiting = first(pod).state?.waiting?;
    Some((waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default()))
}

fn phase(pod: &Pod) -> String {
    pod.status.clone().unwrap_or_default().phase.unwrap_or_default()
}

/// What `kubectl get pod` shows under STATUS.
async fn word(kubectl: &Tool, name: &str) -> String {
    let row = kubectl.run(&["get", "pod", name, "--no-headers"]).await;
    row.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_a_container_has_its_reason_and_code() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let run = async |name: &str, args: &[&str], extra| {
        let mut object = pod(name, args);
        object["spec"]["restartPolicy"] = json!("Never");
        merge(&mut object, &extra);
        create::<Pod>(&client, &object).await;
    };
    let limit = json!({"limits": {"memory": "16Mi"}});
    run("well", &["exit", "0"], json!({})).await;
    run("badly", &["exit", "3"], json!({})).await;
    run("trap", &["trap"], json!({})).await;
    run("hog", &["hog", "64"], json!({"spec": {"containers": [{"resources": limit}]}})).await;
    let fuel = json!({"metadata": {"annotations": {"podium.dev/fuel.main": "1000000"}}});
    run("fuel", &["loop"], fuel).await;
    // The guest is compiled by then, so that it starts before its time is over.
    seen(&client, "well", |pod| phase(pod) == "Succeeded").await;
    run("late", &["loop"], json!({"spec": {"activeDeadlineSeconds": 4}})).await;

    for (name, wanted_phase, reason, code) in [
        ("well", "Succeeded", "Completed", 0),
        ("badly", "Failed", "Error", 3),
        ("trap", "Failed", "Error", 134),
        ("hog", "Failed", "OOMKilled", 137),
        ("fuel", "Failed", "FuelExhausted", 137),
        ("late", "Failed", "Error", 137),
    ] {
        let found = seen(&client, name, |pod| phase(pod) == wanted_phase).await;
        assert_eq!(ended(&found), Some((reason.to_owned(), code)), "{name}");
        let status = found.status.unwrap();
        let condition = |type_: &str| {
            let all = status.conditions.iter().flatten();
            let found = all.into_iter().find(|condition| condition.type_ == type_).unwrap();
            (found.status.clone(), found.reason.clone().unwrap_or_default())
        };
        assert_eq!(condition("PodScheduled").0, "True");
        assert_eq!(condition("Ready").0, "False");
        let why = if code == 0 { "PodCompleted" } else { "PodFailed" };
        assert_eq!(condition("ContainersReady"), ("False".to_owned(), why.to_owned()));
    }
    let late = seen(&client, "late", |_| true).await.status.unwrap();
    assert_eq!(late.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(late.message.unwrap().starts_with("Pod was active on the node longer"));
    let trap = first(&seen(&client, "trap", |_| true).await).state.unwrap().terminated.unwrap();
    assert!(trap.message.unwrap().contains("unreachable"), "the trap's own words");
    let Some(kubectl) = cluster.kubectl() else { return };
    for (name, wanted) in
        [("well", "Completed"), ("badly", "Error"), ("hog", "OOMKilled"), ("fuel", "FuelExhausted")]
    {
        assert_eq!(word(&kubectl, name).await, wanted);
    }
}

/// Merges `extra` into a Pod; the first container takes what its list says.
fn merge(object: &mut serde_json::Value, extra: &serde_json::Value) {
    match (object, extra) {
        (serde_json::Value::Object(object), serde_json::Value::Object(extra)) => {
            for (field, value) in extra {
                merge(object.entry(field.clone()).or_insert(json!(null)), value);
            }
        }
        (serde_json::Value::Array(object), serde_json::Value::Array(extra)) => {
            for (index, value) in extra.iter().enumerate() {
                match object.get_mut(index) {
                    Some(known) => merge(known, value),
                    None => object.push(value.clone()),
                }
            }
        }
        (object, extra) => *object = extra.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fails_backs_off_and_keeps_its_last_state_and_log() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    create::<Pod>(&client, &pod("crash", &["cat", "/none"])).await;

    let found = seen(&client, "crash", |pod| {
        waiting(pod).is_some_and(|(reason, _)| reason == "CrashLoopBackOff")
    })
    .await;
    let status = first(&found);
    let (_, message) = waiting(&found).unwrap();
    assert!(status.restart_count >= 1, "it was started again at once");
    // Twice as long each time; a loaded machine may show a later one first.
    let delay = 10 << (status.restart_count - 1);
    let words = format!("back-off {delay}s restarting failed container=main pod=crash_default(");
    assert!(message.starts_with(&words), "{message}");
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(phase(&found), "Running");
    events(&client, "crash", "BackOff", "Back-off restarting failed container main in pod crash_")
        .await;
    let Some(kubectl) = cluster.kubectl() else { return };
    eventually("it backs off", async || {
        let word = word(&kubectl, "crash").await;
        if word == "CrashLoopBackOff" { Ok(()) } else { Err(word) }
    })
    .await;
    for arguments in [["logs", "crash"].as_slice(), &["logs", "crash", "-p"]] {
        shows(&kubectl, arguments, &["error: open-at"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_runs_can_be_given_another_image() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    push(&cluster, TOOLBOX, "toolbox:v2").await;
    let mut object = pod("renewed", &["sleep", "600000"]);
    object["spec"]["restartPolicy"] = json!("Never");
    create::<Pod>(&client, &object).await;
    seen(&client, "renewed", |pod| first(pod).ready).await;
    let give = async |image: &str| {
        let patch = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        let api = Api::<Pod>::default_namespaced(client.clone());
        api.patch("renewed", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    };

    give("toolbox:v2").await;
    let renewed = |pod: &Pod| first(pod).ready && first(pod).restart_count == 1;
    let found = seen(&client, "renewed", renewed).await;
    assert_eq!(first(&found).image, "toolbox:v2");
    assert_eq!(ended(&found).unwrap().1, 137, "the first run was stopped");
    let why = "Container main definition changed, will be restarted";
    events(&client, "renewed", "Killing", why).await;

    give("toolbox:none").await;
    let found = seen(&client, "renewed", |pod| {
        waiting(pod).is_some_and(|(reason, _)| reason == "ImagePullBackOff")
    })
    .await;
    assert_eq!((&*first(&found).image, &*phase(&found)), ("toolbox:v2", "Running"));
    give("toolbox:v1").await;
    let renewed = |pod: &Pod| first(pod).ready && first(pod).restart_count == 2;
    assert_eq!(first(&seen(&client, "renewed", renewed).await).image, "toolbox:v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_lacks_is_named_and_waited_for() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let mut env = pod("env", &["env"]);
    env["spec"]["restartPolicy"] = json!("Never");
    env["spec"]["containers"][0]["env"] = json!([{"name": "GREETING", "valueFrom": {
        "configMapKeyRef": {"name": "settings", "key": "greeting"}}}]);
    create::<Pod>(&client, &env).await;
    let mut secret = pod("secret", &["env"]);
    secret["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "hidden"}}]);
    create::<Pod>(&client, &secret).await;
    for (name, image) in [("none", "toolbox:none"), ("broken", "Not//valid:::")] {
        let mut object = pod(name, &["exit", "0"]);
        object["spec"]["containers"][0]["image"] = json!(image);
        create::<Pod>(&client, &object).await;
    }
    let mut never = pod("never", &["exit", "0"]);
    never["spec"]["containers"][0]["image"] = json!("toolbox:v2");
    never["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    never["metadata"]["annotations"] = json!({"podium.dev/reuse.mian": "true"});
    create::<Pod>(&client, &never).await;

    let told = async |name: &str, reason: &str, words: &str| {
        let found = seen(&client, name, |pod| {
            waiting(pod).is_some_and(|(r, m)| r == reason && m.contains(words))
        });
        assert_eq!(phase(&found.await), "Pending");
    };
    told("env", "CreateContainerConfigError", "configmap \"settings\" not found").await;
    told("secret", "CreateContainerConfigError", "secret \"hidden\" not found").await;
    let words = "Back-off pulling image \"toolbox:none\": ErrImagePull: ";
    told("none", "ImagePullBackOff", words).await;
    told("broken", "InvalidImageName", "couldn't parse image name").await;
    told("never", "ErrImageNeverPull", "is not present with pull policy of Never").await;
    for (name, reason) in
        [("none", "ErrImagePull"), ("none", "ImagePullBackOff"), ("never", "ErrImageNeverPull")]
    {
        events(&client, name, "Failed", &format!("Error: {reason}")).await;
    }
    let words = "annotation podium.dev/reuse.mian names no container of this Pod and has no effect; its containers are: main";
    events(&client, "never", "UnknownContainer", words).await;

    let settings = json!({"metadata": {"name": "settings"}, "data": {"greeting": "hello"}});
    create::<ConfigMap>(&client, &settings).await;
    seen(&client, "env", |pod| phase(pod) == "Succeeded").await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    let log = api.logs("env", &Default::default()).await.unwrap();
    assert!(log.contains("GREETING=hello"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_as_kubectl_users_read_them() {
    let cluster = cluster(&[]).await;
    let Some(kubectl) = cluster.kubectl() else { return };
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let mut object = pod("talker", &["log", "5"]);
    object["spec"]["restartPolicy"] = json!("Never");
    let other = json!({"name": "other", "image": "toolbox:v1", "args": ["log", "2"]});
    object["spec"]["containers"].as_array_mut().unwrap().push(other);
    let init = json!({"name": "setup", "image": "toolbox:v1", "args": ["log", "1"]});
    object["spec"]["initContainers"] = json!([init]);
    create::<Pod>(&client, &object).await;
    seen(&client, "talker", |pod| phase(pod) == "Succeeded").await;

    let logs = async |more: &[&str]| {
        kubectl.run(&[&["logs", "talker", "-c", "main"][..], more].concat()).await
    };
    let all: String = (0..5).map(|n| format!("log line {n}\n")).collect();
    assert_eq!(logs(&[]).await, all);
    assert_eq!(logs(&["--tail", "2"]).await, "log line 3\nlog line 4\n");
    assert_eq!(logs(&["--tail", "0"]).await, "");
    assert_eq!(logs(&["--limit-bytes", "12"]).await, "log line 0\nl"[..12]);
    assert_eq!(logs(&["--since", "1h"]).await, all);
    assert_eq!(logs(&["--since-time", "2100-01-01T00:00:00Z"]).await, "");
    let timed = logs(&["--timestamps", "--tail", "1"]).await;
    assert!(timed.starts_with("20") && timed.ends_with("Z log line 4\n"), "{timed}");
    let every = kubectl.run(&["logs", "talker", "--all-containers", "--prefix"]).await;
    for (container, lines) in [("setup", 1), ("main", 5), ("other", 2)] {
        let prefix = format!("[pod/talker/{container}] ");
        assert_eq!(every.lines().filter(|l| l.starts_with(&prefix)).count(), lines, "{every}");
    }
    let refused = kubectl.fail(&["logs", "talker", "-c", "main", "-p"], "").await;
    assert!(refused.contains("previous terminated container \"main\" in pod \"talker\" not found"));

    let mut slow = pod("slow", &["log", "4", "100"]);
    slow["spec"]["restartPolicy"] = json!("Never");
    create::<Pod>(&client, &slow).await;
    seen(&client, "slow", |pod| first(pod).container_id.is_some()).await;
    // Ends with the container, after its last line.
    let followed = kubectl.run(&["logs", "-f", "slow"]).await;
    assert!(followed.ends_with("log line 3\n"), "{followed}");

    create::<Pod>(&client, &pod("lasting", &["log", "6000", "100"])).await;
    seen(&client, "lasting", |pod| first(pod).container_id.is_some()).await;
    // Ends with its limit, while the container goes on.
    let followed = kubectl.run(&["logs", "-f", "lasting", "--limit-bytes", "10"]).await;
    assert_eq!(followed, "log line 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_run_one_after_the_other_and_again_when_they_fail() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let share = json!([{"name": "share", "mountPath": "/share"}]);
    let init = |name: &str, args: &[&str]| json!({"name": name, "image": "toolbox:v1", "args": args, "volumeMounts": share});
    let mut object = pod("order", &["cat", "/share/note"]);
    object["spec"]["restartPolicy"] = json!("Never");
    object["spec"]["volumes"] = json!([{"name": "share", "emptyDir": {}}]);
    object["spec"]["containers"][0]["volumeMounts"] = share.clone();
    object["spec"]["initContainers"] = json!([
        init("one", &["write", "/share/note", "first"]),
        init("two", &["cat", "/share/note"]),
    ]);
    create::<Pod>(&client, &object).await;
    let mut failing = object.clone();
    failing["metadata"]["name"] = json!("failing");
    failing["spec"]["restartPolicy"] = json!("Always");
    failing["spec"]["initContainers"][1]["args"] = json!(["exit", "4"]);
    create::<Pod>(&client, &failing).await;
    failing["metadata"]["name"] = json!("failed");
    failing["spec"]["restartPolicy"] = json!("Never");
    create::<Pod>(&client, &failing).await;

    seen(&client, "order", |pod| phase(pod) == "Succeeded").await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    assert_eq!(api.logs("order", &Default::default()).await.unwrap(), "first\n");
    let failed = seen(&client, "failed", |pod| phase(pod) == "Failed").await;
    assert_eq!(first(&failed).state.unwrap().waiting.unwrap().reason.unwrap(), "PodInitializing");
    let failing = seen(&client, "failing", |pod| {
        let status = pod.status.clone().unwrap_or_default();
        let inits = status.init_container_statuses.unwrap_or_default();
        inits.get(1).is_some_and(|init| init.restart_count > 0)
    })
    .await;
    let conditions = failing.status.unwrap().conditions.unwrap();
    let initialized = conditions.iter().find(|c| c.type_ == "Initialized").unwrap();
    assert_eq!(initialized.reason.as_deref(), Some("ContainersNotInitialized"));
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [two]"));
    let Some(kubectl) = cluster.kubectl() else { return };
    assert_eq!(word(&kubectl, "failed").await, "Init:Error");
    eventually("the init container backs off", async || {
        let word = word(&kubectl, "failing").await;
        if word == "Init:CrashLoopBackOff" { Ok(()) } else { Err(word) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_spins_is_gone_when_its_grace_is_over() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let mut object = pod("spin", &["loop"]);
    object["spec"]["terminationGracePeriodSeconds"] = json!(1);
    create::<Pod>(&client, &object).await;
    seen(&client, "spin", |pod| phase(pod) == "Running").await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    let begun = Instant::now();
    let deleting = api.delete("spin", &DeleteParams::default()).await.unwrap();
    let deleting = deleting.left().expect("the Pod is answered");
    assert!(deleting.metadata.deletion_timestamp.is_some(), "it has its grace");
    eventually("the Pod is gone", async || match api.get_opt("spin").await.unwrap() {
        None => Ok(()),
        Some(pod) => Err(format!("{:?}", pod.status)),
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "its grace was not cut short");
    events(&client, "spin", "Killing", "Stopping container main").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_back_after_a_stop_and_after_a_kill_with_counts_and_logs() {
    let mut cluster = cluster(&[]).await;
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let client = cluster.client().await.unwrap();
    create::<Pod>(&client, &pod("stays", &["log", "0", "50"])).await;
    let mut done = pod("done", &["log", "1"]);
    done["spec"]["restartPolicy"] = json!("OnFailure");
    create::<Pod>(&client, &done).await;
    seen(&client, "done", |pod| phase(pod) == "Succeeded").await;
    let before = seen(&client, "stays", |pod| first(pod).ready).await;
    assert_eq!(first(&before).restart_count, 0);

    for (restarts, by_force) in [(1, true), (2, false)] {
        let client = cluster.client().await.unwrap();
        let once = format!("once-{restarts}");
        let mut object = pod(&once, &["log", "0", "50"]);
        object["spec"]["restartPolicy"] = json!("Never");
        create::<Pod>(&client, &object).await;
        seen(&client, &once, |pod| first(pod).ready).await;
        let api = Api::<Pod>::default_namespaced(client.clone());
        eventually("it has written a line", async || {
            let log = api.logs("stays", &Default::default()).await.map_err(|e| e.to_string())?;
            if log.starts_with("log line 0\n") { Ok(()) } else { Err(log) }
        })
        .await;
        if by_force {
            cluster.kill().unwrap();
        } else {
            cluster.stop().await.unwrap();
        }
        cluster.restart().await.unwrap();
        let client = cluster.client().await.unwrap();
        let after =
            seen(&client, "stays", |pod| first(pod).ready && first(pod).restart_count == restarts)
                .await;
        assert_eq!(after.metadata.uid, before.metadata.uid);
        // Only an orderly stop is one that a Job's policy can tell from a failure.
        let failed = seen(&client, &once, |pod| phase(pod) == "Failed").await.status.unwrap();
        assert_eq!(failed.reason.as_deref(), (!by_force).then_some("Terminated"));
        let mut conditions = failed.conditions.into_iter().flatten();
        let told = conditions.find(|condition| condition.type_ == "DisruptionTarget");
        let told = told.map(|told| (told.status, told.reason.unwrap(), told.message.unwrap()));
        let shutdown = (
            "True".to_owned(),
            "TerminationByKubelet".to_owned(),
            "Pod was terminated in response to imminent node shutdown.".to_owned(),
        );
        assert_eq!(told, (!by_force).then_some(shutdown));
        assert!(first(&after).last_state.unwrap().terminated.is_some());
        assert_eq!(phase(&seen(&client, "done", |_| true).await), "Succeeded");
        let api = Api::<Pod>::default_namespaced(client.clone());
        assert_eq!(api.logs("done", &Default::default()).await.unwrap(), "log line 0\n");
        let previous = kube::api::LogParams { previous: true, ..Default::default() };
        assert!(api.logs("stays", &previous).await.unwrap().starts_with("log line 0\n"));
    }
}
