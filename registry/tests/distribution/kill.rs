//! `kill -9` in the middle of pushes: what was acknowledged is whole, what was not is invisible.
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use registry::manifest::Manifest;
use registry::store::{ManifestName, Repositories};
use registry::{Digest, RepositoryName};

use crate::support::manifest;

/// Set for the process that writes until it is killed: where to write, and what round it is.
const WRITER: &str = "PODIUM_TEST_KILLED_WRITER";

/// This test's own name, for starting it again as the writer.
const SELF: &str = "kill::kill_nine_leaves_everything_acknowledged_and_nothing_half_written";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_leaves_everything_acknowledged_and_nothing_half_written() {
    if let Ok(instruction) = std::env::var(WRITER) {
        let (round, dir) = instruction.split_once(' ').unwrap();
        write_until_killed(dir, round.parse().unwrap()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5_usize {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", SELF, "--nocapture"])
            .env(WRITER, format!("{round} {}", dir.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap()).lines();
        let tags = said
            .map(Result::unwrap)
            .filter_map(|line| Some(line.split_once("pushed ")?.1.to_owned()));
        // Another moment of a push in each round.
        acknowledged.extend(tags.take(3 + round * 2));
        writer.kill().unwrap();
        writer.wait().unwrap();
        check(dir.path(), &acknowledged).await;
    }
    assert_eq!(acknowledged.len(), 3 + 5 + 7 + 9 + 11);
}

async fn write_until_killed(dir: &str, round: usize) -> ! {
    let store = Repositories::open(dir).unwrap();
    let repository: RepositoryName = "killed".parse().unwrap();
    let empty = store.content().put(Bytes::from_static(b"{}")).await.unwrap();
    store.link_blob(&repository, &empty).await.unwrap();
    for i in 0_usize.. {
        let layer = Bytes::from(format!("{round}-{i} ").repeat(100_000));
        let digest = store.content().put(layer.clone()).await.unwrap();
        store.link_blob(&repository, &digest).await.unwrap();
        let tag = format!("r{round}-{i}");
        let name = ManifestName::Tag(tag.parse().unwrap());
        let bytes = manifest(&layer).to_string().into();
        store.put_manifest(&repository, &name, None, bytes).await.unwrap();
        println!("pushed {tag}");
    }
    unreachable!("it writes until it is killed")
}

async fn check(dir: &std::path::Path, acknowledged: &[String]) {
    let store = Repositories::open(dir).unwrap();
    let content = store.content();
    assert_eq!(std::fs::read_dir(dir.join("uploads")).unwrap().count(), 0);
    for blob in content.blobs().unwrap() {
        let bytes = std::fs::read(content.blob_path(&blob.digest)).unwrap();
        assert_eq!(Digest::of(&bytes), blob.digest, "half a blob is visible");
    }
    let repository: RepositoryName = "killed".parse().unwrap();
    let tags = store.tags(&repository, "", 10_000).await.unwrap().unwrap().entries;
    for tag in acknowledged {
        assert!(tags.iter().any(|t| t.as_str() == tag), "{tag} was acknowledged and is lost");
    }
    for tag in tags {
        let name = ManifestName::Tag(tag);
        let found = store.manifest(&repository, &name).await.unwrap().expect("a tag names one");
        let bytes = content.read(&found.digest).await.unwrap();
        for blob in Manifest::parse(None, &bytes).unwrap().blobs() {
            assert!(content.contains(&blob.digest), "{name:?} lacks {}", blob.digest);
        }
    }
}
