//! Programs, from start to exit, through the CRI.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use shim::cri::{ContainerConfig, ContainerState, ExitReason, Mount, Runtime, RuntimeError};
use support::{Node, named};

fn plain() -> ContainerConfig {
    ContainerConfig::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_its_own_code() {
    let node = Node::start().await;

    let (id, exit) = node.toolbox(&["exit", "7"], plain()).await;
    assert_eq!((exit.code, exit.reason), (7, ExitReason::Error));
    assert!(!node.shim.container_status(&id).unwrap().function);

    let (_, exit) = node.toolbox(&["exit", "0"], plain()).await;
    assert_eq!((exit.code, exit.reason), (0, ExitReason::Completed));
    let (id, exit) = node.toolbox(&["log", "2", "0"], plain()).await;
    assert_eq!((exit.code, exit.reason), (0, ExitReason::Completed));
    assert!(node.log(&id).await.ends_with("log line 0\nlog line 1\n"));
    let (_, exit) = node.toolbox(&[], plain()).await;
    assert_eq!((exit.code, exit.reason), (1, ExitReason::Error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_134_with_its_words_in_message_and_log() {
    let node = Node::start().await;

    let (id, exit) = node.toolbox(&["trap"], plain()).await;

    assert_eq!((exit.code, exit.reason), (134, ExitReason::Error));
    assert!(exit.message.contains("unreachable"), "{}", exit.message);
    assert!(node.log(&id).await.contains("unreachable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_over_its_memory_limit_is_oom_killed() {
    let node = Node::start().await;
    let mut config = plain();
    config.resources.memory_limit = Some(8 << 20);

    let (id, exit) = node.toolbox(&["hog", "64"], config).await;

    assert_eq!((exit.code, exit.reason), (137, ExitReason::OomKilled));
    let stats = node.shim.container_stats(&id).unwrap();
    assert!(stats.memory_peak > 4 << 20 && stats.memory_peak <= 8 << 20, "{stats:?}");
    assert_eq!(stats.memory_working_set, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_within_its_memory_limit_runs_to_its_end() {
    let node = Node::start().await;
    let mut config = plain();
    config.resources.memory_limit = Some(16 << 20);

    let (_, exit) = node.toolbox(&["hog", "8"], config).await;

    assert_eq!(exit.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_out_of_fuel_ends_as_fuel_exhausted() {
    let node = Node::start().await;
    let mut config = plain();
    config.resources.fuel = Some(5_000_000);

    let (_, exit) = node.toolbox(&["loop"], config).await;

    assert_eq!((exit.code, exit.reason), (137, ExitReason::FuelExhausted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_the_environment_it_is_given_and_no_more() {
    let node = Node::start().await;
    let config = ContainerConfig {
        envs: vec![("GREETING".into(), "hello".into()), ("EMPTY".into(), String::new())],
        ..plain()
    };

    let (id, exit) = node.toolbox(&["env"], config).await;

    assert_eq!(exit.code, 0);
    assert_eq!(node.log(&id).await, "EMPTY=\nGREETING=hello\nHOSTNAME=web\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_read_and_written_as_they_allow() {
    let node = Node::start().await;
    let host = node.folder.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("note"), "from the host").unwrap();
    let mount = |path: &str, host: &std::path::Path, readonly| Mount {
        container_path: path.into(),
        host_path: host.into(),
        within: host.into(),
        readonly,
    };
    let config = ContainerConfig {
        mounts: vec![
            mount("/data", &host, false),
            mount("/fixed", &host, true),
            mount("/etc/one.conf", &host.join("note"), true),
        ],
        ..plain()
    };

    let (id, _) = node.toolbox(&["cat", "/etc/one.conf"], config.clone()).await;
    assert_eq!(node.log(&id).await, "from the host\n");
    let (_, exit) = node.toolbox(&["write", "/data/new", "by the guest"], config.clone()).await;
    assert_eq!(exit.code, 0);
    assert_eq!(std::fs::read_to_string(host.join("new")).unwrap(), "by the guest");
    let (_, exit) = node.toolbox(&["write", "/fixed/other", "x"], config.clone()).await;
    assert_eq!(exit.code, 1);
    assert!(!host.join("other").exists());
    let (_, exit) = node.toolbox(&["cat", "/data/../../etc/passwd"], config).await;
    assert_eq!(exit.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_place_of_what_is_mounted_shows_nothing_of_the_host() {
    if !shim::platform::LINKS {
        return;
    }
    let node = Node::start().await;
    let host = node.folder.path().join("volume");
    let (part, outside) = (host.join("part"), node.folder.path().join("outside"));
    for (folder, text) in [(&part, "mine"), (&outside, "secret")] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("note"), text).unwrap();
    }
    let image = node.import("tests/guests/toolbox.wasm").await;
    let config = |path: std::path::PathBuf, seen: &str| ContainerConfig {
        image: image.clone(),
        args: ["cat", "/part/note"].map(str::to_owned).to_vec(),
        mounts: vec![Mount {
            container_path: seen.into(),
            host_path: path,
            within: host.clone(),
            readonly: false,
        }],
        ..named("tool", plain())
    };
    let early = config(part.clone(), "/part");
    let early = node.shim.create_container(&node.sandbox, early).await.unwrap();

    std::fs::rename(&part, host.join("old")).unwrap();
    shim::platform::symlink(std::path::Path::new("../outside"), &part).unwrap();

    node.shim.start_container(&early).await.unwrap();
    node.exit(&early).await;
    assert_eq!(node.log(&early).await, "mine\n");
    for late in [config(part.clone(), "/part"), config(part.join("note"), "/part/note")] {
        let refused = node.shim.create_container(&node.sandbox, late).await.unwrap_err();
        assert!(refused.to_string().contains("cannot mount"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_made_and_one_that_is_removed_leave_no_files() {
    let node = Node::start().await;
    let host = node.folder.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("note"), "from the host").unwrap();
    let mount = |path: &str, host: &std::path::Path| Mount {
        container_path: path.into(),
        host_path: host.into(),
        within: host.into(),
        readonly: true,
    };
    let note = host.join("note");
    let staging = node.folder.path().join("node/staging");
    let is_empty = || std::fs::read_dir(&staging).unwrap().next().is_none();
    let image = node.import("tests/guests/toolbox.wasm").await;
    let mounts = vec![mount("/etc/one", &note), mount("/v", &host), mount("/v/two", &note)];
    let config = ContainerConfig { image, mounts, ..named("twice", plain()) };

    let refused = node.shim.create_container(&node.sandbox, config.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("/v is mounted twice"), "{refused}");
    support::eventually("its files are gone", is_empty).await;

    let mounts = vec![mount("/etc/one", &note)];
    let config = ContainerConfig { mounts, ..config };
    let id = node.shim.create_container(&node.sandbox, config).await.unwrap();
    assert!(!is_empty());
    node.shim.remove_container(&id).await.unwrap();
    support::eventually("the files of the other are gone", is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spinning_program_is_interrupted_after_its_grace() {
    let node = Node::start().await;
    let image = node.import("tests/guests/toolbox.wasm").await;
    let config = ContainerConfig { args: vec!["loop".into()], ..named("spin", plain()) };
    let id = node.run(&image, config).await;
    support::eventually("it runs", || !node.shim.container_stats(&id).unwrap().cpu_usage.is_zero())
        .await;

    node.shim.stop_container(&id, Duration::from_millis(20)).await.unwrap();

    let exit = node.exit(&id).await;
    assert_eq!((exit.code, exit.reason), (137, ExitReason::Error));
    node.shim.stop_container(&id, Duration::ZERO).await.unwrap();
    node.shim.remove_container(&id).await.unwrap();
    node.shim.remove_container(&id).await.unwrap();
    let gone = node.shim.container_status(&id).unwrap_err();
    assert!(matches!(gone, RuntimeError::NotFound { what: "container", .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_grace_overrides_a_longer_one() {
    let node = Node::start().await;
    let image = node.import("tests/guests/toolbox.wasm").await;
    let config = ContainerConfig { args: vec!["loop".into()], ..named("spin", plain()) };
    let id = node.run(&image, config).await;

    let patient = node.shim.stop_container(&id, Duration::from_secs(3600));
    let forced = node.shim.stop_container(&id, Duration::ZERO);
    let (patient, forced) =
        tokio::time::timeout(support::PATIENCE, async { tokio::join!(patient, forced) })
            .await
            .unwrap();

    patient.unwrap();
    forced.unwrap();
    assert_eq!(node.exit(&id).await.code, 137);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_sandbox_ends_its_containers_and_gives_the_address_back() {
    let node = Node::start().await;
    let image = node.import("tests/guests/toolbox.wasm").await;
    let config = ContainerConfig { args: vec!["loop".into()], ..named("spin", plain()) };
    let running = node.run(&image, config.clone()).await;
    let config = ContainerConfig { image: image.clone(), attempt: 1, ..config };
    let created = node.shim.create_container(&node.sandbox, named("two", config)).await.unwrap();

    node.shim.stop_pod_sandbox(&node.sandbox).await.unwrap();

    for id in [&running, &created] {
        let state = node.shim.container_status(id).unwrap().state;
        assert!(matches!(state, ContainerState::Exited { .. }), "{state:?}");
    }
    assert_eq!(node.shim.pod_sandbox_status(&node.sandbox).unwrap().ip, None);
    let config = ContainerConfig { image, ..plain() };
    let refused = node.shim.create_container(&node.sandbox, config).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::FailedPrecondition(_)), "{refused}");
    node.shim.remove_pod_sandbox(&node.sandbox).await.unwrap();
    assert!(node.shim.list_containers(None).is_empty());
    assert!(node.shim.list_pod_sandboxes().is_empty());
}
