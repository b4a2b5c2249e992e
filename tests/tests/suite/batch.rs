//! Work that ends: Jobs, and `CronJob`s that begin them.

use std::collections::BTreeSet;

use crate::support::{cluster, create, push, shows};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client};
use podium_tests::{Cluster, eventually};
use serde_json::{Value, json};

/// A cluster with the guest that does what its arguments say.
async fn with_toolbox() -> Cluster {
    let cluster = cluster(&[]).await;
    push(&cluster, "tests/guests/toolbox.wasm", "toolbox:latest").await;
    cluster
}

fn pod_spec(arguments: &[&str]) -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "work", "image": "toolbox:latest", "args": arguments},
    ]}})
}

fn job(name: &str, arguments: &[&str], more: &Value) -> Value {
    let mut spec = json!({"template": pod_spec(arguments)});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

/// Waits until a Job is at its end and answers its status.
async fn finished(client: &Client, name: &str, condition: &str) -> JobStatus {
    let api = Api::<Job>::default_namespaced(client.clone());
    eventually(&format!("job {name} is {condition}"), async || {
        let status = api.get(name).await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        if conditions.any(|c| c.type_ == condition && c.status == "True") {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
}

async fn pods_of(client: &Client, job: &str) -> Vec<Pod> {
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    Api::<Pod>::default_namespaced(client.clone()).list(&selector).await.unwrap().items
}

fn succeeded(pods: &[Pod]) -> usize {
    fn phase(pod: &Pod) -> Option<&str> {
        pod.status.as_ref().and_then(|status| status.phase.as_deref())
    }
    pods.iter().filter(|pod| phase(pod) == Some("Succeeded")).count()
}

/// Waits until events about an object have all these reasons.
async fn told(client: &Client, about: &str, reasons: &[&str]) {
    let api = Api::<Event>::default_namespaced(client.clone());
    eventually(&format!("events about {about}: {reasons:?}"), async || {
        let all = api.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let of_it = |event: &Event| event.involved_object.name.as_deref() == Some(about);
        let seen: BTreeSet<String> =
            all.into_iter().filter(of_it).filter_map(|event| event.reason).collect();
        let all = reasons.iter().all(|&reason| seen.contains(reason));
        if all { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_as_many_pods_as_it_asks_for_and_goes_with_them() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let wanted = json!({"completions": 12, "parallelism": 4});
    create::<Job>(&client, &job("many", &["log", "1"], &wanted)).await;
    let status = finished(&client, "many", "Complete").await;
    assert_eq!((status.succeeded, status.failed, status.active), (Some(12), None, None));
    let pods = pods_of(&client, "many").await;
    assert_eq!((pods.len(), succeeded(&pods)), (12, 12));
    assert!(pods.iter().all(|pod| pod.metadata.finalizers.is_none()), "a finalizer is left");
    told(&client, "many", &["SuccessfulCreate", "Completed"]).await;
    let api = Api::<Job>::default_namespaced(client.clone());
    api.delete("many", &DeleteParams::background()).await.unwrap();
    eventually("its Pods are gone", async || {
        let left = pods_of(&client, "many").await.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_goes_at_once_with_its_pods_in_every_way() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let api = Api::<Job>::default_namespaced(client.clone());
    for (name, params, left) in [
        ("back", DeleteParams::background(), 0),
        ("fore", DeleteParams::foreground(), 0),
        ("orphan", DeleteParams::orphan(), 2),
    ] {
        let mut endless =
            job(name, &["sleep", "600000"], &json!({"completions": 2, "parallelism": 2}));
        endless["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
        create::<Job>(&client, &endless).await;
        eventually("both Pods run", async || {
            let status = api.get(name).await.map_err(|e| e.to_string())?.status.unwrap_or_default();
            if status.ready == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        api.delete(name, &params).await.unwrap();
        eventually(&format!("{name}: the Job is gone, and what should go with it"), async || {
            let job = api.get_opt(name).await.unwrap();
            let pods = pods_of(&client, name).await;
            let tracked = pods.iter().filter(|pod| pod.metadata.finalizers.is_some()).count();
            let seen = (job.is_some(), pods.len(), tracked);
            if seen == (false, left, 0) { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_counted_once_although_the_power_fails() {
    let mut cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let wanted = json!({"completions": 40, "parallelism": 8, "backoffLimit": 100});
    create::<Job>(&client, &job("counted", &["sleep", "30"], &wanted)).await;
    let api = Api::<Job>::default_namespaced(client.clone());
    eventually("some have succeeded", async || {
        let status =
            api.get("counted").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        if status.succeeded >= Some(5) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    cluster.kill().unwrap();
    cluster.restart().await.unwrap();
    let client = cluster.client().await.unwrap();
    let status = finished(&client, "counted", "Complete").await;
    let pods = pods_of(&client, "counted").await;
    assert_eq!((status.succeeded, succeeded(&pods)), (Some(40), 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_with_its_reason() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    create::<Job>(&client, &job("fails", &["exit", "3"], &json!({"backoffLimit": 0}))).await;
    let late = json!({"activeDeadlineSeconds": 1});
    create::<Job>(&client, &job("late", &["sleep", "600000"], &late)).await;
    let policy = json!({"backoffLimit": 9, "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]}});
    create::<Job>(&client, &job("policed", &["exit", "42"], &policy)).await;
    for (name, reason) in [
        ("fails", "BackoffLimitExceeded"),
        ("late", "DeadlineExceeded"),
        ("policed", "PodFailurePolicy"),
    ] {
        let status = finished(&client, name, "Failed").await;
        let conditions = status.conditions.unwrap();
        let why: Vec<_> = conditions.iter().map(|c| (&*c.type_, c.reason.as_deref())).collect();
        assert_eq!(why, [("FailureTarget", Some(reason)), ("Failed", Some(reason))], "{name}");
        assert_eq!(status.failed, Some(1), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_index_of_a_job_knows_which_it_is() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let wanted = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    create::<Job>(&client, &job("indexed", &["env"], &wanted)).await;
    let status = finished(&client, "indexed", "Complete").await;
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0-2"), Some(3)));
    let api = Api::<Pod>::default_namespaced(client.clone());
    let mut told = BTreeSet::new();
    for pod in pods_of(&client, "indexed").await {
        let name = pod.metadata.name.unwrap();
        let index = &pod.metadata.annotations.unwrap()["batch.kubernetes.io/job-completion-index"];
        let log = api.logs(&name, &LogParams::default()).await.unwrap();
        assert!(log.contains(&format!("JOB_COMPLETION_INDEX={index}")), "{name}: {log}");
        assert!(name.starts_with(&format!("indexed-{index}-")), "{name}");
        told.insert(index.clone());
    }
    assert_eq!(told.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_waits_and_a_finished_one_goes_when_its_time_is_over() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let waiting = json!({"suspend": true, "ttlSecondsAfterFinished": 0});
    create::<Job>(&client, &job("waits", &["log", "1"], &waiting)).await;
    finished(&client, "waits", "Suspended").await;
    assert!(pods_of(&client, "waits").await.is_empty());
    let api = Api::<Job>::default_namespaced(client.clone());
    let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
    api.patch("waits", &PatchParams::default(), &resume).await.unwrap();
    eventually("the Job has run and is gone with its Pods", async || {
        let job = api.get_opt("waits").await.unwrap();
        let pods = pods_of(&client, "waits").await.len();
        if job.is_none() && pods == 0 { Ok(()) } else { Err((job.and_then(|j| j.status), pods)) }
    })
    .await;
    told(&client, "waits", &["Completed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_begins_jobs_and_keeps_a_few() {
    let cluster = with_toolbox().await;
    let client = cluster.client().await.unwrap();
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "often"},
        "spec": {
            "schedule": "@every 1s", "timeZone": "Europe/Berlin", "successfulJobsHistoryLimit": 1,
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"metadata": {"labels": {"cron": "often"}}, "spec": {"template": pod_spec(&["log", "1"])}},
        },
    });
    // Jobs are named after the minute they are due, so there is one in a minute.
    create::<CronJob>(&client, &cron_job).await;
    let api = Api::<CronJob>::default_namespaced(client.clone());
    let jobs = Api::<Job>::default_namespaced(client.clone());
    let selector = ListParams::default().labels("cron=often");
    eventually("a Job has succeeded and the CronJob knows", async || {
        let status = api.get("often").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let made = jobs.list(&selector).await.map_err(|e| e.to_string())?.items.len();
        let done = status.last_schedule_time.is_some() && status.last_successful_time.is_some();
        if done && made >= 1 { Ok(()) } else { Err(format!("{made} {status:?}")) }
    })
    .await;
    told(&client, "often", &["SuccessfulCreate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_watches_and_describes_jobs() {
    let cluster = with_toolbox().await;
    let Some(kubectl) = cluster.kubectl() else { return };
    let made = kubectl
        .run(&["create", "job", "hello", "--image=toolbox:latest", "--", "toolbox", "log", "2"])
        .await;
    assert_eq!(made, "job.batch/hello created\n");
    kubectl.run(&["wait", "--for=condition=complete", "job/hello", "--timeout=120s"]).await;
    let table = kubectl.run(&["get", "jobs"]).await;
    for part in ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE", "Complete", "1/1"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    assert!(kubectl.run(&["get", "all"]).await.contains("job.batch/hello"));
    assert_eq!(kubectl.run(&["logs", "job/hello"]).await, "log line 0\nlog line 1\n");
    let parts = ["1 Succeeded", "SuccessfulCreate", "Completed", "Pods Statuses"];
    shows(&kubectl, &["describe", "job", "hello"], &parts).await;
    kubectl
        .run(&[
            "create",
            "cronjob",
            "nightly",
            "--image=toolbox:latest",
            "--schedule=0 3 * * *",
            "--",
            "toolbox",
            "log",
            "1",
        ])
        .await;
    kubectl.run(&["create", "job", "now", "--from=cronjob/nightly"]).await;
    kubectl.run(&["wait", "--for=condition=complete", "job/now", "--timeout=120s"]).await;
    let table = kubectl.run(&["get", "cronjobs"]).await;
    for part in ["SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "0 3 * * *", "False"]
    {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let refused = kubectl
        .fail(&["create", "cronjob", "never", "--image=x", "--schedule=60 * * * *"], "")
        .await;
    assert!(refused.contains("end of range (60) above maximum (59): 60"), "{refused}");
    let classes = kubectl.run(&["get", "priorityclasses,runtimeclasses"]).await;
    for part in ["system-node-critical", "2000001000", "wasmtime-spin-v2", "PREEMPTIONPOLICY"] {
        assert!(classes.contains(part), "no {part} in {classes}");
    }
    kubectl.run(&["delete", "job", "hello", "now", "--timeout=120s"]).await;
    kubectl.run(&["delete", "cronjob", "nightly", "--timeout=120s"]).await;
    // kubectl waits for the Jobs, not for what they owned.
    eventually("their Pods are gone", async || {
        let left = kubectl.run(&["get", "pods"]).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
