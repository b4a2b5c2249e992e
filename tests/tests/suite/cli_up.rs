//! `podium up` and `podium push` with bad input: one clear error, and nothing half done.

use std::net::TcpListener;
use std::path::Path;

use crate::support::cluster;
use podium_tests::{Output, Tool, eventually, file};

/// `podium up` on a directory, with addresses that are free, and more arguments.
async fn up(data_dir: &Path, arguments: &[&str]) -> Output {
    let data_dir = data_dir.display().to_string();
    let mut all = vec!["up", "--data-dir", &data_dir];
    for address in
        ["--api-addr", "--registry-addr", "--gateway-addr", "--gateway-tls-addr", "--node-api-addr"]
    {
        if !arguments.contains(&address) {
            all.extend([address, "127.0.0.1:0"]);
        }
    }
    all.extend(arguments);
    Tool::at(env!("CARGO_BIN_EXE_podium-under-test")).try_run(&all, "").await
}

/// Asserts that it failed with this code and all of these words.
fn refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?} in:\n{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deployed_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let write = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.display().to_string()
    };
    let text = write("notes.wasm", b"hello");
    refused(&up(&data, &[&text]).await, 1, &["notes.wasm cannot be run", "magic number"]);
    let module = write("module.wasm", b"\0asm\x01\0\0\0");
    refused(&up(&data, &[&module]).await, 1, &["core module without `_start`", "wasm32-wasip1"]);
    let named = write("1st.wasm", b"\0asm\x01\0\0\0");
    refused(&up(&data, &[&named]).await, 1, &["1st.wasm"]);
    refused(&up(&data, &["/nowhere.wasm"]).await, 1, &["read /nowhere.wasm"]);
    let broken = write("broken.yaml", b"a: [");
    refused(&up(&data, &["-f", &broken]).await, 1, &["broken.yaml, document 1"]);
    refused(&up(&data, &["-f", &text]).await, 1, &["notes.wasm"]);
    refused(&up(&data, &["--api-addr", "nonsense"]).await, 64, &["--api-addr \"nonsense\""]);
    refused(&up(&data, &["--watch"]).await, 64, &["--watch looks at files"]);
    refused(&up(&data, &["--no-such-flag"]).await, 64, &["--no-such-flag"]);
    let nowhere = ["--allow-host-path", "/nowhere"];
    refused(&up(&data, &nowhere).await, 64, &["/nowhere: there is no such folder"]);
    assert!(!data.exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer");
    std::fs::create_dir(&newer).unwrap();
    std::fs::write(newer.join("format.json"), r#"{"version":99}"#).unwrap();
    refused(&up(&newer, &[]).await, 1, &["has format 99", "--data-dir"]);

    let corrupt = folder.path().join("corrupt");
    std::fs::create_dir_all(corrupt.join("server")).unwrap();
    std::fs::write(corrupt.join("server/store.redb"), "x".repeat(10_000)).unwrap();
    refused(&up(&corrupt, &[]).await, 1, &["store.redb", "backup"]);

    let lost = folder.path().join("lost");
    std::fs::create_dir_all(lost.join("node/pods")).unwrap();
    refused(&up(&lost, &[]).await, 1, &["store.redb is missing", "restore", "remove the whole"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in
        ["--api-addr", "--registry-addr", "--gateway-addr", "--gateway-tls-addr", "--node-api-addr"]
    {
        let output = up(&folder.path().join("free"), &[flag, &address]).await;
        let holder = format!("(process {})", std::process::id());
        refused(&output, 1, &[&address, &holder, "choose another with", flag]);
    }

    let cluster = cluster(&[]).await;
    let process = format!("(process {})", cluster.process_id());
    refused(&up(&cluster.data_dir(), &[]).await, 1, &["in use", &process, "--data-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_the_server_refuses_is_told_and_the_cluster_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yaml");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndtaa: {}\n---\n\
                    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {mode: \"no\"}\n";
    std::fs::write(&path, manifest).unwrap();
    let cluster = cluster(&["-f", &path.display().to_string()]).await;
    eventually("the field is told, and that the cluster goes on", async || {
        let log = cluster.log();
        let parts = ["web.yaml, document 1", ".dtaa: field not declared in schema", "goes on"];
        if parts.iter().all(|part| log.contains(part)) { Ok(()) } else { Err(log) }
    })
    .await;
    let podium = cluster.podium();
    assert_eq!(podium.run(&["get", "cm", "b", "-o", "jsonpath={.data.mode}"]).await, "no");
    // What is printed can be applied again.
    let printed = podium.run(&["get", "cm", "b", "-o", "yaml"]).await;
    assert_eq!(podium.run_with(&["apply", "-f", "-"], &printed).await, "configmap/b unchanged\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_says_what_to_do() {
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let nobody = tempfile::tempdir().unwrap();
    let mut cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let lost = podium.clone().env("PODIUM_DATA_DIR", &nobody.path().display().to_string());
    refused(&lost.try_run(&["push", &hello], "").await, 1, &["no cluster runs", "podium up"]);
    let wrong = podium.try_run(&["push", &hello, "team/Hello"], "").await;
    refused(&wrong, 64, &["lowercase", "NAME[:TAG]"]);
    let pushed = podium.try_run(&["push", &hello, "team/hello:v2"], "").await;
    assert!(pushed.stdout.contains("/team/hello:v2\nsha256:"), "{pushed:?}");
    assert!(pushed.stderr.contains("function") && !pushed.stderr.contains('\r'), "{pushed:?}");
    cluster.kill().unwrap();
    let down = podium.try_run(&["push", &hello], "").await;
    refused(&down, 1, &["podium up", "cannot reach registry"]);
    refused(
        &podium.try_run(&["get", "pods"], "").await,
        1,
        &["cannot reach the cluster", "podium up"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_stopped_by_its_directory() {
    let mut cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let stopped = podium.run(&["stop"]).await;
    assert!(stopped.starts_with("stopped the cluster in "), "{stopped}");
    let status = cluster.ended().await.unwrap();
    assert!(status.success() && cluster.log().contains("stopping"), "{}", cluster.log());
    let nobody = podium.run(&["stop"]).await;
    assert!(nobody.starts_with("no cluster runs in "), "{nobody}");
    // The directory is free, at once and with everything in it.
    cluster.restart().await.unwrap();
    podium.run(&["stop"]).await;
    cluster.ended().await.unwrap();
}
