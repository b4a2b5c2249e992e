//! What the store keeps, refuses and forgets.
use std::time::Duration;

use super::*;

fn store() -> (tempfile::TempDir, ContentStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path()).unwrap();
    (dir, store)
}

fn uploads(dir: &tempfile::TempDir) -> usize {
    fs::read_dir(dir.path().join("uploads")).unwrap().count()
}

#[tokio::test]
async fn content_is_found_under_its_digest() {
    let (_dir, store) = store();
    let mut writer = store.writer();
    writer.write(Bytes::from_static(b"he")).await.unwrap();
    writer.write(Bytes::from_static(b"llo")).await.unwrap();
    let written = writer.commit(None).await.unwrap();

    assert_eq!(written, Written { digest: Digest::of(b"hello"), size: 5 });
    assert!(store.contains(&written.digest));
    assert_eq!(store.size(&written.digest).unwrap(), Some(5));
    assert_eq!(store.read(&written.digest).await.unwrap(), "hello");
    assert_eq!(fs::read(store.blob_path(&written.digest)).unwrap(), b"hello");
}

#[tokio::test]
async fn empty_content_is_content() {
    let (_dir, store) = store();
    let written = store.writer().commit(Some(&Digest::of(b""))).await.unwrap();
    assert_eq!(store.size(&written.digest).unwrap(), Some(0));
}

#[tokio::test]
async fn content_of_another_digest_is_refused_and_leaves_nothing() {
    let (dir, store) = store();
    let mut writer = store.writer();
    writer.write(Bytes::from(vec![7; 2 * 1024 * 1024])).await.unwrap();
    let wrong = Digest::of(b"something else");

    let refused = writer.commit(Some(&wrong)).await.unwrap_err();

    assert!(matches!(refused, StoreError::DigestMismatch { expected, .. } if expected == wrong));
    assert!(!store.contains(&wrong));
    assert_eq!(store.blobs().unwrap(), []);
    assert_eq!(uploads(&dir), 0);
}

#[tokio::test]
async fn sha512_content_is_verified_and_kept_under_that_name() {
    let (_dir, store) = store();
    let digest = Digest::with(Algorithm::Sha512, b"hello");
    store.put_as(&digest, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(store.read(&digest).await.unwrap(), "hello");
}

#[tokio::test]
async fn more_than_the_limit_is_refused() {
    let (dir, store) = store();
    let mut writer = store.writer_of_at_most(4);
    writer.write(Bytes::from_static(b"1234")).await.unwrap();
    let refused = writer.write(Bytes::from_static(b"5")).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { limit: 4 }));
    drop(writer);
    assert_eq!(uploads(&dir), 0);
}

#[tokio::test]
async fn what_a_killed_process_was_writing_is_invisible_and_cleaned_at_open() {
    let (dir, store) = store();
    let kept = store.put(Bytes::from_static(b"kept")).await.unwrap();
    let mut writer = store.writer();
    writer.write(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    assert_eq!(uploads(&dir), 1, "a batch is on disk");
    // A killed process runs no destructor.
    std::mem::forget(writer);

    let store = ContentStore::open(dir.path()).unwrap();

    assert_eq!(uploads(&dir), 0);
    let blobs: Vec<_> = store.blobs().unwrap().into_iter().map(|b| b.digest).collect();
    assert_eq!(blobs, [kept]);
}

#[tokio::test]
async fn the_same_content_may_be_committed_by_many_at_once() {
    let (dir, store) = store();
    let content = Bytes::from(vec![42; 1 << 20]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, content) = (store.clone(), content.clone());
        tasks.spawn(async move { store.put(content).await.unwrap() });
    }
    let digests = tasks.join_all().await;
    assert!(digests.iter().all(|d| *d == Digest::of(&content)));
    assert_eq!(store.blobs().unwrap().len(), 1);
    assert_eq!(uploads(&dir), 0);
}

/// Changes a blob in place, as a failing disk does.
fn damage(store: &ContentStore, digest: &Digest) {
    let path = store.blob_path(digest);
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    fs::write(&path, content).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
}

#[tokio::test]
async fn content_that_rotted_on_disk_is_removed_and_told_with_its_file() {
    let (_dir, store) = store();
    let digest = store.put(Bytes::from_static(b"hello")).await.unwrap();
    damage(&store, &digest);

    let refused = store.read(&digest).await.unwrap_err();

    assert!(matches!(&refused, StoreError::Corrupt { digest: d, .. } if *d == digest));
    let file = store.blob_path(&digest);
    assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
    assert!(!store.contains(&digest));
}

#[tokio::test]
async fn content_that_is_not_what_its_name_says_counts_as_missing_and_is_removed() {
    let (dir, opened) = store();
    let digest = opened.put(Bytes::from_static(b"hello")).await.unwrap();
    assert!(opened.is_intact(&digest).await.unwrap());
    assert!(opened.renew(&digest).await.unwrap());
    damage(&opened, &digest);
    let reopened = ContentStore::open(dir.path()).unwrap();
    for store in [&opened, &reopened] {
        assert!(!store.is_intact(&digest).await.unwrap());
        assert!(!store.contains(&digest));
        store.put(Bytes::from_static(b"hello")).await.unwrap();
        assert!(store.is_intact(&digest).await.unwrap());
        damage(store, &digest);
    }
}

#[tokio::test]
async fn content_committed_over_damaged_content_takes_its_place() {
    let (_dir, store) = store();
    let digest = store.put(Bytes::from_static(b"hello")).await.unwrap();
    damage(&store, &digest);
    store.put(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(store.read(&digest).await.unwrap(), "hello");
}

#[tokio::test]
async fn removing_twice_says_so() {
    let (_dir, store) = store();
    let digest = store.put(Bytes::from_static(b"x")).await.unwrap();
    assert!(store.remove(&digest).await.unwrap());
    assert!(!store.remove(&digest).await.unwrap());
    assert!(matches!(store.read(&digest).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn committing_again_makes_content_young_again() {
    let (_dir, store) = store();
    let digest = store.put(Bytes::from_static(b"x")).await.unwrap();
    let old = SystemTime::now() - Duration::from_secs(7200);
    let age = || {
        let file = fs::File::options().write(true).open(store.blob_path(&digest)).unwrap();
        file.set_modified(old).unwrap();
    };
    age();
    store.put(Bytes::from_static(b"x")).await.unwrap();

    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    assert!(!store.remove_older(&digest, an_hour_ago).unwrap());
    age();
    assert!(store.remove_older(&digest, an_hour_ago).unwrap());
}
