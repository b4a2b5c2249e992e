//! What repositories hold, and what garbage collection leaves them.
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::manifest::{IMAGE_INDEX, IMAGE_MANIFEST};

const HOUR: Duration = Duration::from_secs(3600);

fn open() -> (tempfile::TempDir, Repositories) {
    let dir = tempfile::tempdir().unwrap();
    let repositories = Repositories::open(dir.path()).unwrap();
    (dir, repositories)
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn tag(text: &str) -> ManifestName {
    ManifestName::Tag(text.parse().unwrap())
}

fn manifest(blobs: &[&Digest], subject: Option<&Digest>) -> Bytes {
    let descriptor = |digest: &Digest| json!({"mediaType": "a/b", "digest": digest, "size": 1});
    let mut value = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": descriptor(blobs[0]),
        "layers": blobs[1..].iter().map(|b| descriptor(b)).collect::<Vec<_>>(),
    });
    if let Some(subject) = subject {
        value["subject"] = descriptor(subject);
        value["artifactType"] = json!("application/signature");
    }
    value.to_string().into()
}

async fn push_blob(to: &Repositories, repository: &str, content: &'static str) -> Digest {
    let digest = to.content().put(Bytes::from_static(content.as_bytes())).await.unwrap();
    to.link_blob(&name(repository), &digest).await.unwrap();
    digest
}

fn age(repositories: &Repositories, digest: &Digest) {
    let path = repositories.content().blob_path(digest);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
}

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_by_digest_also_after_a_restart() {
    let (dir, repositories) = open();
    let blob = push_blob(&repositories, "a/b", "blob").await;
    let bytes = manifest(&[&blob], None);
    let stored = repositories
        .put_manifest(&name("a/b"), &tag("v1"), Some(IMAGE_MANIFEST), bytes.clone())
        .await
        .unwrap();
    assert_eq!(stored.digest, Digest::of(&bytes));
    drop(repositories);

    let repositories = Repositories::open(dir.path()).unwrap();
    let by_tag = repositories.manifest(&name("a/b"), &tag("v1")).await.unwrap().unwrap();
    assert_eq!(by_tag, stored);
    let digest = ManifestName::Digest(stored.digest.clone());
    assert_eq!(repositories.manifest(&name("a/b"), &digest).await.unwrap(), Some(stored));
    assert_eq!(repositories.manifest(&name("a"), &digest).await.unwrap(), None);
    assert_eq!(repositories.manifest(&name("a/b"), &tag("v2")).await.unwrap(), None);
}

#[tokio::test]
async fn an_incomplete_manifest_is_refused_with_what_it_lacks() {
    let (_dir, repositories) = open();
    let there = push_blob(&repositories, "a", "there").await;
    let elsewhere = push_blob(&repositories, "other", "elsewhere").await;
    let bytes = manifest(&[&there, &elsewhere], None);
    let refused = repositories.put_manifest(&name("a"), &tag("v1"), None, bytes).await;
    assert!(matches!(&refused, Err(PutManifestError::Incomplete(m)) if *m == [elsewhere.clone()]));
    let index = json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [
        {"mediaType": IMAGE_MANIFEST, "digest": elsewhere, "size": 1}]});
    let refused =
        repositories.put_manifest(&name("a"), &tag("v1"), None, index.to_string().into()).await;
    assert!(matches!(refused, Err(PutManifestError::Incomplete(_))), "{refused:?}");
    assert_eq!(repositories.tags(&name("a"), "", 10).await.unwrap(), None);
}

#[tokio::test]
async fn deleting_a_manifest_deletes_its_tags_and_what_it_said() {
    let (_dir, repositories) = open();
    let blob = push_blob(&repositories, "a", "blob").await;
    let subject = Digest::of(b"subject");
    let bytes = manifest(&[&blob], Some(&subject));
    for version in ["v1", "v2"] {
        repositories.put_manifest(&name("a"), &tag(version), None, bytes.clone()).await.unwrap();
    }
    let said = repositories.referrers(&name("a"), &subject, None, "", 10).await.unwrap();
    assert_eq!(said.entries[0].artifact_type.as_deref(), Some("application/signature"));

    let digest = ManifestName::Digest(Digest::of(&bytes));
    assert!(repositories.delete_manifest(&name("a"), &digest).await.unwrap());

    assert!(!repositories.delete_manifest(&name("a"), &digest).await.unwrap());
    let tags = repositories.tags(&name("a"), "", 10).await.unwrap().unwrap();
    assert_eq!(tags.entries, []);
    let said = repositories.referrers(&name("a"), &subject, None, "", 10).await.unwrap();
    assert_eq!(said.entries, []);
}

#[tokio::test]
async fn lists_come_in_pages_without_neighbours() {
    let (_dir, repositories) = open();
    for repository in ["a", "a/b", "ab"] {
        let blob = push_blob(&repositories, repository, "blob").await;
        for version in ["v3", "v1", "v2"] {
            let bytes = manifest(&[&blob], None);
            repositories.put_manifest(&name(repository), &tag(version), None, bytes).await.unwrap();
        }
    }
    let page = repositories.tags(&name("a"), "", 2).await.unwrap().unwrap();
    assert_eq!(page.entries.iter().map(Tag::as_str).collect::<Vec<_>>(), ["v1", "v2"]);
    assert!(page.more);
    let rest = repositories.tags(&name("a"), "v2", 2).await.unwrap().unwrap();
    assert_eq!(rest.entries.iter().map(Tag::as_str).collect::<Vec<_>>(), ["v3"]);
    assert!(!rest.more);
    let names = repositories.list("a", 1).await.unwrap();
    assert_eq!((names.entries, names.more), (vec![name("a/b")], true));
}

#[tokio::test]
async fn garbage_is_what_no_manifest_needs_and_what_is_old() {
    let (_dir, repositories) = open();
    let needed = push_blob(&repositories, "a", "needed").await;
    let orphan = push_blob(&repositories, "a", "orphan").await;
    let young = push_blob(&repositories, "a", "young").await;
    let unlinked = repositories.content().put(Bytes::from_static(b"unlinked")).await.unwrap();
    let bytes = manifest(&[&needed], None);
    let stored = repositories.put_manifest(&name("a"), &tag("v1"), None, bytes).await.unwrap();
    for old in [&needed, &orphan, &unlinked, &stored.digest] {
        age(&repositories, old);
    }
    let running = repositories.content().writer();

    let collected = repositories.collect_garbage(HOUR).await.unwrap();

    assert_eq!(collected, Collected { blobs: 2, bytes: 14 });
    let content = repositories.content();
    assert!([&needed, &young, &stored.digest].iter().all(|d| content.contains(d)));
    assert!(![&orphan, &unlinked].iter().any(|d| content.contains(d)));
    assert!(!repositories.has_blob(&name("a"), &orphan).await.unwrap());
    assert!(repositories.has_blob(&name("a"), &young).await.unwrap());
    running.commit(None).await.unwrap();
}

#[tokio::test]
async fn content_pushed_again_while_it_is_garbage_survives() {
    let (_dir, repositories) = open();
    let blob = push_blob(&repositories, "a", "blob").await;
    age(&repositories, &blob);
    push_blob(&repositories, "b", "blob").await;
    repositories.collect_garbage(HOUR).await.unwrap();
    assert!(repositories.content().contains(&blob));
}

#[tokio::test]
async fn who_heard_that_content_is_here_may_still_name_it() {
    let (_dir, repositories) = open();
    let blob = push_blob(&repositories, "a", "blob").await;
    age(&repositories, &blob);
    assert!(repositories.content().renew(&blob).await.unwrap());
    repositories.collect_garbage(HOUR).await.unwrap();
    assert!(repositories.has_blob(&name("a"), &blob).await.unwrap());
    assert!(!repositories.content().renew(&Digest::of(b"never pushed")).await.unwrap());
}

#[tokio::test]
async fn what_a_deletion_leaves_is_collected_without_being_asked() {
    let (_dir, repositories) = open();
    let blob = push_blob(&repositories, "a", "blob").await;
    let bytes = manifest(&[&blob], None);
    let stored = repositories.put_manifest(&name("a"), &tag("v1"), None, bytes).await.unwrap();
    age(&repositories, &blob);
    age(&repositories, &stored.digest);
    let collecting = repositories.clone();
    let collecting = tokio::spawn(async move { collecting.collect_forever().await });
    tokio::task::yield_now().await;
    assert!(repositories.content().contains(&blob));

    let digest = ManifestName::Digest(stored.digest.clone());
    repositories.delete_manifest(&name("a"), &digest).await.unwrap();

    let gone = async {
        while repositories.content().contains(&blob) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it is not collected");
    assert!(!repositories.content().contains(&stored.digest));
    collecting.abort();
}
