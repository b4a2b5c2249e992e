//! Limits on what Pods take from their node, and eviction.
use crate::support::{TOOLBOX, cluster, create, events, logs, pod, push, seen};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use podium_tests::eventually;
use serde_json::{Value, json};

fn reason(pod: &Pod) -> Option<String> {
    pod.status.clone()?.reason
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_more_than_its_limits_is_evicted() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let writer = |name: &str, size_limit: Value, resources: Value| {
        let mut object = pod(name, &["fill", "/scratch/file", "4", "600000"]);
        object["spec"]["volumes"] =
            json!([{"name": "scratch", "emptyDir": {"sizeLimit": size_limit}}]);
        object["spec"]["containers"][0]["resources"] = resources;
        object["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "scratch", "mountPath": "/scratch"}]);
        object
    };
    let limit = |size: &str| json!({"limits": {"ephemeral-storage": size}});
    create::<Pod>(&client, &writer("modest", json!("8Mi"), limit("8Mi"))).await;
    logs(&client, "modest", "filled\n").await;
    create::<Pod>(&client, &writer("volume", json!("1Mi"), json!({}))).await;
    create::<Pod>(&client, &writer("total", json!(null), limit("2Mi"))).await;
    for (name, words) in [
        ("volume", "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". "),
        ("total", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
    ] {
        let found = seen(&client, name, |pod| reason(pod).as_deref() == Some("Evicted")).await;
        let status = found.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.message.as_deref(), Some(words));
        let conditions = status.conditions.unwrap();
        assert!(!conditions.iter().any(|c| c.type_ == "DisruptionTarget"), "its own fault");
        events(&client, name, "Evicted", words.trim_end()).await;
    }
    let modest = seen(&client, "modest", |_| true).await.status.unwrap();
    assert_eq!(modest.phase.as_deref(), Some("Running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_low_on_memory_evicts_the_greediest() {
    let cluster = cluster(&["--node-memory", "256Mi"]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let hog = |name: &str, mebibytes: &str, request: &str| {
        let mut object = pod(name, &["hog", mebibytes, "600000"]);
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": request}});
        object
    };
    create::<Pod>(&client, &hog("modest", "60", "100Mi")).await;
    seen(&client, "modest", is_running).await;
    create::<Pod>(&client, &hog("greedy", "130", "1Mi")).await;

    let evicted = seen(&client, "greedy", |pod| reason(pod).as_deref() == Some("Evicted")).await;
    let status = evicted.status.unwrap();
    let conditions = status.conditions.unwrap();
    let target = conditions.iter().find(|c| c.type_ == "DisruptionTarget").unwrap();
    assert_eq!(target.reason.as_deref(), Some("TerminationByKubelet"));
    let message = status.message.unwrap();
    assert!(
        message.starts_with("The node was low on resource: memory. Threshold quantity: 100Mi, "),
        "{message}"
    );
    // How much depends on how far it had come.
    assert!(message.contains("Container main was using "), "{message}");
    assert!(message.contains("request is 1Mi, has larger consumption of memory."), "{message}");
    let nodes = Api::<Node>::all(client.clone());
    eventually("the node says that it is under pressure", async || {
        let node = nodes.list(&Default::default()).await.unwrap().items.remove(0);
        let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
        let memory = conditions.into_iter().find(|c| c.type_ == "MemoryPressure").unwrap();
        if memory.status == "True" { Ok(()) } else { Err(memory) }
    })
    .await;
    // Bound by hand, as nobody schedules what asks for nothing to such a node.
    let mut late = pod("late", &["exit", "0"]);
    let node = nodes.list(&Default::default()).await.unwrap().items.remove(0);
    late["spec"]["nodeName"] = json!(node.metadata.name);
    create::<Pod>(&client, &late).await;
    let refused = seen(&client, "late", |pod| reason(pod).is_some()).await.status.unwrap();
    assert_eq!(refused.reason.as_deref(), Some("Evicted"));
    let words = "Pod was rejected: The node had condition: [MemoryPressure]. ";
    assert_eq!(refused.message.as_deref(), Some(words));
    events(&client, "late", "Evicted", "The node had condition: [MemoryPressure].").await;
    let modest = seen(&client, "modest", |_| true).await.status.unwrap();
    assert_eq!(modest.phase.as_deref(), Some("Running"), "who keeps to its request stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_resources_of_a_node_are_given_out() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let nodes = Api::<Node>::all(client.clone());
    let node = nodes.list(&Default::default()).await.unwrap().items.remove(0).metadata.name;
    let node = node.unwrap();
    let patch = Patch::Merge(json!({"status": {"capacity": {"example.com/dongle": "1"}}}));
    nodes.patch_status(&node, &PatchParams::default(), &patch).await.unwrap();
    let holder = |name: &str| {
        let mut object = pod(name, &["sleep", "600000"]);
        object["spec"]["containers"][0]["resources"] =
            json!({"limits": {"example.com/dongle": "1"}});
        object
    };
    create::<Pod>(&client, &holder("first")).await;
    seen(&client, "first", |pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running"))
        .await;
    // Bound by hand, as nobody schedules it.
    let mut second = holder("second");
    second["spec"]["nodeName"] = json!(node);
    create::<Pod>(&client, &second).await;
    let refused = seen(&client, "second", |pod| reason(pod).is_some()).await;
    assert_eq!(reason(&refused).as_deref(), Some("OutOfexample.com/dongle"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_resized_while_it_runs() {
    let cluster = cluster(&[]).await;
    let Some(kubectl) = cluster.kubectl() else { return };
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let mut object = pod("grows", &["sleep", "600000"]);
    object["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "100m", "memory": "32Mi"}});
    create::<Pod>(&client, &object).await;
    seen(&client, "grows", is_running).await;
    let resize = |request: &str, limit: &str| {
        let limits = json!({"limits": {"cpu": limit}, "requests": {"cpu": request}});
        let patch = json!({"spec": {"containers": [{"name": "main", "resources": limits}]}});
        patch.to_string()
    };
    let arguments = ["patch", "pod", "grows", "--subresource", "resize", "--patch"];
    kubectl.run(&[&arguments[..], &[resize("20m", "200m").as_str()]].concat()).await;
    let resources = |pod: &Pod| {
        let status = pod.status.clone()?.container_statuses?.into_iter().next()?;
        let limits = status.resources?.limits?;
        Some((limits.get("cpu")?.0.clone(), status.restart_count))
    };
    seen(&client, "grows", |pod| resources(pod) == Some(("200m".to_owned(), 0))).await;

    kubectl.run(&[&arguments[..], &[resize("999", "1000").as_str()]].concat()).await;
    let waits = |pod: &Pod| {
        let conditions = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "PodResizePending").and_then(|c| c.reason)
    };
    let waiting = seen(&client, "grows", |pod| waits(pod).is_some()).await;
    assert_eq!(waits(&waiting).as_deref(), Some("Infeasible"));
    for (reason, words) in [
        ("ResizeStarted", "Pod resize started: {\"containers\":[{\"name\":\"main\","),
        ("ResizeCompleted", "Pod resize completed: {\"containers\":[{\"name\":\"main\","),
        (
            "ResizeInfeasible",
            "\"error\":\"Node didn't have enough capacity: cpu, requested: 999000,",
        ),
    ] {
        events(&client, "grows", reason, words).await;
    }
    assert_eq!(resources(&waiting), Some(("200m".to_owned(), 0)));
    kubectl.run(&[&arguments[..], &[resize("30m", "300m").as_str()]].concat()).await;
    let grown = Some(("300m".to_owned(), 0));
    seen(&client, "grows", |pod| waits(pod).is_none() && resources(pod) == grown).await;

    let quality = json!({"spec": {"containers": [{"name": "main", "image": "other"}]}}).to_string();
    let refused = kubectl.fail(&[&arguments[..], &[quality.as_str()]].concat(), "").await;
    assert!(refused.contains("only cpu and memory resources are mutable"), "{refused}");
    let more = resize("40m", "400m");
    let plain = ["patch", "pod", "grows", "--patch", more.as_str()];
    let refused = kubectl.fail(&plain, "").await;
    assert!(refused.contains("pod updates may not change fields other than"), "{refused}");
}

fn condition(pod: &Pod, type_: &str) -> Option<(String, String)> {
    let conditions = pod.status.clone()?.conditions?;
    let found = conditions.into_iter().find(|condition| condition.type_ == type_)?;
    Some((found.reason.unwrap_or_default(), found.message.unwrap_or_default()))
}

/// Waits until the container of a Pod has this much of a limited resource.
async fn has(client: &Client, name: &str, resource: &str, amount: &str) {
    seen(client, name, |pod| {
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        let mut limits = statuses.filter_map(|s| s.resources.as_ref()?.limits.as_ref());
        limits.any(|limits| limits.get(resource).is_some_and(|limit| limit.0 == amount))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_limit_is_not_lowered_below_what_is_in_use() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let mut object = pod("full", &["hog", "30", "600000"]);
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    create::<Pod>(&client, &object).await;
    logs(&client, "full", "hog ok\n").await;
    let resize = async |limit: &str| {
        let resources = json!({"limits": {"memory": limit}, "requests": {"memory": limit}});
        let containers = json!([{"name": "main", "resources": resources}]);
        let patch = Patch::Strategic(json!({"spec": {"containers": containers}}));
        let api = Api::<Pod>::default_namespaced(client.clone());
        api.patch_subresource("resize", "full", &PatchParams::default(), &patch).await.unwrap();
    };
    resize("16Mi").await;
    let words = "attempting to set container \"main\" memory limit (16777216) below current usage";
    let refused = seen(&client, "full", |pod| {
        condition(pod, "PodResizeInProgress")
            .is_some_and(|(reason, message)| reason == "Error" && message.contains(words))
    })
    .await;
    assert_eq!(refused.status.unwrap().phase.as_deref(), Some("Running"));
    has(&client, "full", "memory", "64Mi").await;
    events(&client, "full", "ResizeError", "cannot decrease memory limits: [").await;

    resize("48Mi").await;
    has(&client, "full", "memory", "48Mi").await;
    seen(&client, "full", |pod| condition(pod, "PodResizeInProgress").is_none()).await;

    let api = Api::<Pod>::default_namespaced(client.clone());
    let annotate = async |fuel: Option<&str>| {
        let patch = json!({"metadata": {"annotations": {"podium.dev/fuel.main": fuel}}});
        api.patch("full", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    annotate(Some("much")).await;
    resize("56Mi").await;
    let words = "container \"main\": annotation podium.dev/fuel.main must be a whole number";
    seen(&client, "full", |pod| {
        condition(pod, "PodResizeInProgress")
            .is_some_and(|(reason, message)| reason == "Error" && message.contains(words))
    })
    .await;
    has(&client, "full", "memory", "48Mi").await;
    annotate(None).await;
    has(&client, "full", "memory", "56Mi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ended_leaves_its_room_to_the_next() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let node = Api::<Node>::all(client.clone()).list(&Default::default()).await.unwrap();
    let cpus = node.items[0].status.clone().unwrap().allocatable.unwrap()["cpu"].0.clone();
    let names = ["one", "two", "three", "four", "five", "six"];
    for name in names {
        let mut object = pod(name, &["exit", "0"]);
        object["spec"]["restartPolicy"] = json!("Never");
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpus}});
        create::<Pod>(&client, &object).await;
    }
    for name in names {
        let phase = |pod: &Pod| pod.status.clone().unwrap_or_default().phase.unwrap_or_default();
        let ended = seen(&client, name, |p| ["Succeeded", "Failed"].contains(&&*phase(p))).await;
        assert_eq!((phase(&ended).as_str(), reason(&ended)), ("Succeeded", None), "{name}");
    }
    for (reason, words) in [("Created", "Container created"), ("Started", "Container started")] {
        events(&client, "six", reason, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_waits_for_room_is_done_as_soon_as_there_is_some() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let node = Api::<Node>::all(client.clone()).list(&Default::default()).await.unwrap();
    let cpus = node.items[0].status.clone().unwrap().allocatable.unwrap()["cpu"].0.clone();
    let milli = 1000 * cpus.parse::<u64>().unwrap();
    let asking = |name: &str, milli: u64| {
        let amount = json!({"cpu": format!("{milli}m")});
        let mut object = pod(name, &["sleep", "600000"]);
        object["spec"]["containers"][0]["resources"] =
            json!({"requests": amount, "limits": amount});
        object
    };
    create::<Pod>(&client, &asking("holder", milli - 500)).await;
    create::<Pod>(&client, &asking("grows", 100)).await;
    for name in ["holder", "grows"] {
        seen(&client, name, |pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running"))
            .await;
    }
    let wanted = asking("grows", 900)["spec"]["containers"][0]["resources"].clone();
    let containers = json!([{"name": "main", "resources": wanted}]);
    let patch = Patch::Strategic(json!({"spec": {"containers": containers}}));
    let api = Api::<Pod>::default_namespaced(client.clone());
    api.patch_subresource("resize", "grows", &PatchParams::default(), &patch).await.unwrap();
    seen(&client, "grows", |pod| {
        condition(pod, "PodResizePending").is_some_and(|(reason, _)| reason == "Deferred")
    })
    .await;
    events(&client, "grows", "ResizeDeferred", "Pod resize OutOfcpu: {").await;

    api.delete("holder", &Default::default()).await.unwrap();
    has(&client, "grows", "cpu", "900m").await;
}
