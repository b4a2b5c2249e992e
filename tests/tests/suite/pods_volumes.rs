//! What containers find in their volumes, and what happens when it changes.
use crate::support::{TOOLBOX, cluster, create, events, logs, pod, push, seen};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use podium_tests::Tool;
use serde_json::{Value, json};

/// A Pod that reads one file of a volume and ends.
fn reader(name: &str, path: &str, volume: &Value) -> Value {
    let mut object = pod(name, &["cat", path]);
    object["spec"]["restartPolicy"] = json!("Never");
    let mut named = json!({"name": "v"});
    named.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
    object["spec"]["volumes"] = json!([named]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    object
}

fn phase_is(wanted: &'static str) -> impl Fn(&Pod) -> bool {
    move |pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted)
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_hold_what_the_api_says_and_follow_it() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    create::<ConfigMap>(&client, &json!({"metadata": {"name": "c"}, "data": {"a": "1"}})).await;
    create::<Secret>(&client, &json!({"metadata": {"name": "s"}, "stringData": {"k": "x"}})).await;
    let follow = |name: &str, path: &str, volume: &Value| {
        let mut object = reader(name, path, volume);
        object["spec"]["containers"][0]["args"] = json!(["follow", path]);
        object["metadata"]["labels"] = json!({"color": "red"});
        object
    };
    let downward = json!({"downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}});
    let all = json!({"projected": {"sources": [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "deep/a"}]}},
        {"secret": {"name": "s"}},
        {"configMap": {"name": "none", "optional": true}},
    ]}});
    create::<Pod>(&client, &follow("map", "/v/a", &json!({"configMap": {"name": "c"}}))).await;
    create::<Pod>(&client, &follow("hidden", "/v/k", &json!({"secret": {"secretName": "s"}})))
        .await;
    create::<Pod>(&client, &follow("labels", "/v/labels", &downward)).await;
    create::<Pod>(&client, &follow("joined", "/v/deep/a", &all)).await;
    for (name, text) in
        [("map", "1\n"), ("hidden", "x\n"), ("labels", "color=\"red\"\n"), ("joined", "1\n")]
    {
        logs(&client, name, text).await;
    }

    let patch = async |what: &str, patch: Value| {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match what {
            "c" => drop(
                Api::<ConfigMap>::default_namespaced(client.clone())
                    .patch("c", &params, &patch)
                    .await
                    .unwrap(),
            ),
            "s" => drop(
                Api::<Secret>::default_namespaced(client.clone())
                    .patch("s", &params, &patch)
                    .await
                    .unwrap(),
            ),
            pod => drop(
                Api::<Pod>::default_namespaced(client.clone())
                    .patch(pod, &params, &patch)
                    .await
                    .unwrap(),
            ),
        }
    };
    patch("c", json!({"data": {"a": "2"}})).await;
    patch("s", json!({"stringData": {"k": "y"}})).await;
    patch("labels", json!({"metadata": {"labels": {"color": "blue"}}})).await;
    for (name, text) in [
        ("map", "1\n2\n"),
        ("hidden", "x\ny\n"),
        ("labels", "color=\"red\"\ncolor=\"blue\"\n"),
        ("joined", "1\n2\n"),
    ] {
        logs(&client, name, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_files_and_see_parts_of_volumes() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let data = json!({"metadata": {"name": "c"}, "data": {"a": "one", "b": "two"}});
    create::<ConfigMap>(&client, &data).await;
    let mut object = reader("share", "/in/who/note", &json!({"emptyDir": {}}));
    object["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "c", "configMap": {"name": "c"}}));
    object["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "v", "mountPath": "/in"},
        {"name": "c", "mountPath": "/etc/a.conf", "subPath": "a"},
    ]);
    object["spec"]["initContainers"] = json!([
        {"name": "writer", "image": "toolbox:v1", "args": ["write", "/out/note", "shared"],
         "env": [{"name": "WHO", "value": "who"}],
         "volumeMounts": [{"name": "v", "mountPath": "/out", "subPathExpr": "$(WHO)"}]},
        {"name": "part", "image": "toolbox:v1", "args": ["cat", "/etc/a.conf"],
         "volumeMounts": [{"name": "c", "mountPath": "/etc/a.conf", "subPath": "a"}]},
    ]);
    create::<Pod>(&client, &object).await;
    seen(&client, "share", phase_is("Succeeded")).await;
    logs(&client, "share", "shared\n").await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    let of_part = kube::api::LogParams { container: Some("part".into()), ..Default::default() };
    assert_eq!(api.logs("share", &of_part).await.unwrap(), "one\n");

    let mut named = pod("named", &["cat", "/etc/hosts"]);
    named["spec"]["restartPolicy"] = json!("Never");
    named["spec"]["hostAliases"] = json!([{"ip": "10.0.0.1", "hostnames": ["backend"]}]);
    create::<Pod>(&client, &named).await;
    let ip = seen(&client, "named", phase_is("Succeeded")).await.status.unwrap().pod_ip.unwrap();
    let hosts = api.logs("named", &Default::default()).await.unwrap();
    for line in [format!("{ip}\tnamed"), "10.0.0.1\tbackend".to_owned()] {
        assert!(hosts.lines().any(|known| known == line), "{hosts}");
    }

    // Nobody writes what the API says, nor what is mounted for reading.
    for (name, volume, read_only) in [
        ("fixed", json!({"configMap": {"name": "c"}}), false),
        ("readonly", json!({"emptyDir": {}}), true),
    ] {
        let mut object = reader(name, "/v/a", &volume);
        object["spec"]["containers"][0]["args"] = json!(["write", "/v/a", "x"]);
        object["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(read_only);
        create::<Pod>(&client, &object).await;
        seen(&client, name, phase_is("Failed")).await;
    }
    let mut optional = reader("missing", "/v/a", &json!({"configMap": {"name": "none"}}));
    create::<Pod>(&client, &optional).await;
    let words = "MountVolume.SetUp failed for volume \"v\" : configmap \"none\" not found";
    events(&client, "missing", "FailedMount", words).await;
    optional["metadata"]["name"] = json!("optional");
    optional["spec"]["volumes"][0]["configMap"]["optional"] = json!(true);
    optional["spec"]["containers"][0]["args"] = json!(["exit", "0"]);
    create::<Pod>(&client, &optional).await;
    seen(&client, "optional", phase_is("Succeeded")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_the_machine_are_mounted_where_its_owner_allows_it() {
    let home = tempfile::tempdir().unwrap();
    let (open, closed) = (home.path().join("open"), home.path().join("closed"));
    std::fs::create_dir_all(&open).unwrap();
    std::fs::create_dir_all(&closed).unwrap();
    let cluster = cluster(&["--allow-host-path", &open.display().to_string()]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let at = |folder: &std::path::Path, type_: &str| json!({"hostPath": {"path": folder.display().to_string(), "type": type_}});
    let mut writer = reader("writer", "/v/note", &at(&open.join("new"), "DirectoryOrCreate"));
    writer["spec"]["containers"][0]["args"] = json!(["write", "/v/note", "from a guest"]);
    create::<Pod>(&client, &writer).await;
    seen(&client, "writer", phase_is("Succeeded")).await;
    assert_eq!(std::fs::read_to_string(open.join("new/note")).unwrap(), "from a guest");

    create::<Pod>(&client, &reader("refused", "/v/x", &at(&closed, "Directory"))).await;
    events(&client, "refused", "FailedMount", "is not allowed on this node").await;
    create::<Pod>(&client, &reader("absent", "/v/x", &at(&open.join("none"), "Directory"))).await;
    events(&client, "absent", "FailedMount", "hostPath type check failed").await;
    let refused = seen(&client, "refused", |_| true).await;
    assert_eq!(refused.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_finds_the_token_of_its_account() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let robot = json!({
        "metadata": {"name": "robot"},
        "imagePullSecrets": [{"name": "key"}],
    });
    create::<ServiceAccount>(&client, &robot).await;
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let read = async |file: &str| {
        let mut object = pod(&format!("reads-{file}"), &["cat", &format!("{folder}/{file}")]);
        object["metadata"]["name"] = json!(format!("reads-{}", file.replace('.', "-")));
        object["spec"]["restartPolicy"] = json!("Never");
        object["spec"]["serviceAccountName"] = json!("robot");
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let created = create::<Pod>(&client, &object).await;
        let secrets = created.spec.unwrap().image_pull_secrets.unwrap();
        assert_eq!(secrets[0].name, "key");
        seen(&client, &name, phase_is("Succeeded")).await;
        let api = Api::<Pod>::default_namespaced(client.clone());
        api.logs(&name, &Default::default()).await.unwrap().trim_end().to_owned()
    };
    assert_eq!(read("namespace").await, "default");
    assert!(read("ca.crt").await.starts_with("-----BEGIN CERTIFICATE-----"));
    let token = read("token").await;
    assert_eq!(token.split('.').count(), 3, "{token}");
    if let Some(kubectl) = cluster.kubectl() {
        assert_eq!(
            who_is(&kubectl, &cluster.kubeconfig(), &token).await,
            "system:serviceaccount:default:robot"
        );
    }

    let mut without = pod("without", &["cat", &format!("{folder}/token")]);
    without["spec"]["restartPolicy"] = json!("Never");
    without["spec"]["automountServiceAccountToken"] = json!(false);
    let created = create::<Pod>(&client, &without).await;
    assert!(created.spec.unwrap().volumes.is_none());
    seen(&client, "without", phase_is("Failed")).await;
}

/// Whom the API takes the holder of a token for.
async fn who_is(kubectl: &Tool, kubeconfig: &std::path::Path, token: &str) -> String {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let kubectl = kubectl.clone().env("KUBECONFIG", &path.display().to_string());
    let path = "jsonpath={.status.userInfo.username}";
    kubectl.run(&["auth", "whoami", "-o", path]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_a_password_is_pulled_with_the_secret_of_its_pod() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let guarded = guard(cluster.addresses.registry.clone()).await;
    let image = format!("{guarded}/toolbox:v1");
    let mut object = pod("locked", &["exit", "0"]);
    object["spec"]["restartPolicy"] = json!("Never");
    object["spec"]["containers"][0]["image"] = json!(image);
    create::<Pod>(&client, &object).await;
    events(&client, "locked", "Failed", "Failed to pull image").await;
    object["metadata"]["name"] = json!("unlocked");
    object["spec"]["imagePullSecrets"] =
        json!([{"name": "key"}, {"name": "none"}, {"name": "torn"}]);
    let auths = json!({"auths": {guarded: {"username": "ada", "password": "secret"}}});
    let key = json!({
        "metadata": {"name": "key"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()},
    });
    create::<Secret>(&client, &key).await;
    let torn = json!({"metadata": {"name": "torn"}, "stringData": {".dockerconfigjson": "{}"}});
    create::<Secret>(&client, &torn).await;
    create::<Pod>(&client, &object).await;
    seen(&client, "unlocked", phase_is("Succeeded")).await;
    let words = "Unable to retrieve some image pull secrets (none)";
    events(&client, "unlocked", "FailedToRetrieveImagePullSecret", words).await;
    let words = "Unable to read some image pull secrets (torn: .dockerconfigjson is no JSON with";
    events(&client, "unlocked", "FailedToRetrieveImagePullSecret", words).await;
}

/// A registry that wants the user `ada` with the password `secret`, before another; its address.
async fn guard(registry: String) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = near.read_u8().await else { return };
                    head.push(byte);
                }
                // `ada:secret` in base64.
                let text = String::from_utf8_lossy(&head).to_lowercase();
                if !text.contains("authorization: basic ywrhonnly3jlda==") {
                    let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"guard\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    near.write_all(refusal.as_bytes()).await.unwrap();
                    return;
                }
                // One request each, so that every one is checked; the registry wants no password.
                let kept = String::from_utf8(head).unwrap();
                let lines = kept.lines().filter(|line| {
                    let line = line.to_lowercase();
                    !line.starts_with("authorization:") && !line.starts_with("connection:")
                });
                let mut forwarded: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
                forwarded.push("Connection: close");
                let mut far = tokio::net::TcpStream::connect(&registry).await.unwrap();
                let text = format!("{}\r\n\r\n", forwarded.join("\r\n"));
                far.write_all(text.as_bytes()).await.unwrap();
                // Either end may close first.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_container_are_its_message() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let message = |pod: &Pod| {
        let status = pod.status.clone()?.container_statuses?.into_iter().next()?;
        status.state?.terminated?.message
    };
    let run = async |name: &str, args: &[&str], more: Value| {
        let mut object = pod(name, args);
        object["spec"]["restartPolicy"] = json!("Never");
        let container = object["spec"]["containers"][0].as_object_mut().unwrap();
        container.extend(more.as_object().unwrap().clone());
        if container.contains_key("volumeMounts") {
            object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        }
        create::<Pod>(&client, &object).await;
        let found =
            seen(&client, name, |pod| phase_is("Failed")(pod) || phase_is("Succeeded")(pod));
        message(&found.await)
    };
    let own = run("own", &["write", "/dev/termination-log", "no more", "3"], json!({})).await;
    assert_eq!(own.as_deref(), Some("no more"));
    let elsewhere = json!({
        "terminationMessagePath": "/data/message",
        "env": [{"name": "WHO", "value": "me"}],
        "volumeMounts": [{"name": "v", "mountPath": "/data", "subPathExpr": "$(WHO)"}],
    });
    let elsewhere = run("elsewhere", &["write", "/data/message", "by volume"], elsewhere).await;
    assert_eq!(elsewhere.as_deref(), Some("by volume"));
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let logged = run("logged", &["cat", "/none"], fallback.clone()).await;
    assert!(logged.unwrap().starts_with("error: open-at"));
    assert_eq!(run("silent", &["log", "1"], fallback).await, None);
}
