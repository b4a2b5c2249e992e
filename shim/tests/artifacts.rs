//! What may run, how it is compiled once, and what a restart finds again.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shim::cri::{ContainerConfig, ExitReason, Id, ImageRef, Runtime, RuntimeError};
use shim::engine::Engine;
use shim::network::Switch;
use support::{Node, guest, named, pod, shim_in};

/// A core module that exports `_start` and imports one function of `()` or,
/// for `proc_exit`, calls it with 3.
fn module(import: Option<(&str, &str)>) -> Vec<u8> {
    let section = |id: u8, body: &[u8]| [&[id, body.len() as u8], body].concat();
    let name = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    wasm.extend(section(1, &[2, 0x60, 0, 0, 0x60, 1, 0x7f, 0]));
    if let Some((host, function)) = import {
        wasm.extend(section(2, &[&[1], &*name(host), &*name(function), &[0, 1]].concat()));
    }
    wasm.extend(section(3, &[1, 0]));
    let start = u8::from(import.is_some());
    // The host functions of preview 1 want to find the memory.
    wasm.extend(section(5, &[1, 0, 1]));
    let exports = [&[2], &*name("_start"), &[0, start], &*name("memory"), &[2, 0]].concat();
    wasm.extend(section(7, &exports));
    let code: &[u8] = if import.is_some() { &[0, 0x41, 3, 0x10, 0, 0x0b] } else { &[0, 0x0b] };
    wasm.extend(section(10, &[&[1, code.len() as u8], code].concat()));
    wasm
}

async fn create(node: &Node, wasm: &[u8]) -> Result<Id, RuntimeError> {
    let image = node.shim.images().import("test/artifact:v1", wasm.to_vec().into()).await.unwrap();
    let config = ContainerConfig { image, ..named("c", ContainerConfig::default()) };
    node.shim.create_container(&node.sandbox, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_preview_1_runs_and_its_exit_code_counts() {
    let node = Node::start().await;

    let plain = create(&node, &module(None)).await.unwrap();
    node.shim.start_container(&plain).await.unwrap();
    assert_eq!(node.exit(&plain).await.reason, ExitReason::Completed);

    let exits = module(Some(("wasi_snapshot_preview1", "proc_exit")));
    let exits = create(&node, &exits).await.unwrap();
    node.shim.start_container(&exits).await.unwrap();
    assert_eq!(node.exit(&exits).await.code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_in_words_before_it_starts() {
    let node = Node::start().await;
    let broken = &guest("tests/guests/toolbox.wasm")[..5_000];
    let cases: [(&[u8], &str); 4] = [
        (b"#!/bin/sh\necho hello\n", "not WebAssembly"),
        (broken, "broken"),
        (b"\0asm\x0d\0\x01\0", "wasi:http/incoming-handler"),
        (&module(Some(("env", "launch_rockets"))), "launch_rockets"),
    ];
    for (wasm, words) in cases {
        let refused = create(&node, wasm).await.unwrap_err();
        assert!(matches!(refused, RuntimeError::NotRunnable { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let config =
        ContainerConfig { image: ImageRef("sha256:no".into()), ..ContainerConfig::default() };
    let refused = node.shim.create_container(&node.sandbox, config).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::NotFound { what: "image", .. }), "{refused}");
}

/// The compiled code in a node's folder.
fn compiled(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("node/compiled")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "cwasm"));
    files
}

async fn run_hello(folder: &Path) {
    let shim = shim_in(folder, &Switch::default());
    let [image] = <[_; 1]>::try_from(shim.list_images()).unwrap();
    assert_eq!(image.repo_tags, ["hello:v1"]);
    let sandbox = shim.run_pod_sandbox(pod("hello", folder)).await.unwrap();
    let config = ContainerConfig { image: image.id, ..named("c", ContainerConfig::default()) };
    let id = shim.create_container(&sandbox, config).await.unwrap();
    shim.start_container(&id).await.unwrap();
    shim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_used_again_and_damaged_code_never() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = guest("examples/hello/hello.wasm");
    let first = shim_in(folder.path(), &Switch::default());
    first.images().import("hello:v1", wasm.into()).await.unwrap();
    drop(first);
    run_hello(folder.path()).await;
    let [code] = <[_; 1]>::try_from(compiled(folder.path())).unwrap();
    let first = std::fs::read(&code).unwrap();
    let written = code.metadata().unwrap().modified().unwrap();

    run_hello(folder.path()).await;
    assert_eq!(code.metadata().unwrap().modified().unwrap(), written, "it was compiled again");

    let mut damaged = first.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&code, &damaged).unwrap();
    run_hello(folder.path()).await;
    assert_ne!(std::fs::read(&code).unwrap(), damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_want_one_artifact_at_once_wait_for_one_compilation() {
    let node = Node::start().await;
    let image = node.import("tests/guests/toolbox.wasm").await;

    let create = (0..8).map(|number| {
        let config = named(&format!("c{number}"), ContainerConfig::default());
        let config = ContainerConfig { image: image.clone(), ..config };
        node.shim.create_container(&node.sandbox, config)
    });
    let created = futures::future::join_all(create).await;

    assert!(created.iter().all(Result::is_ok), "{created:?}");
    assert_eq!(compiled(node.folder.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_waiting_does_not_make_others_compile_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::new(folder.path().join("compiled")).unwrap());
    let reads = Arc::new(AtomicUsize::new(0));
    let prepare = || {
        let reads = reads.clone();
        engine.prepare("sha256:toolbox", move || {
            reads.fetch_add(1, Ordering::Relaxed);
            Ok(guest("tests/guests/toolbox.wasm"))
        })
    };
    let mut impatient = Box::pin(prepare());
    assert!(futures::poll!(&mut impatient).is_pending());
    drop(impatient);

    let (first, second) = tokio::join!(prepare(), prepare());

    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert!(engine.is_compiled("sha256:toolbox"));
}
