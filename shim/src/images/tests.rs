//! The image store over real folders, without a registry.
use super::*;
use crate::cri::ContainerConfig;

const NOTHING: Bytes = Bytes::from_static(b"\0asm\x01\0\0\0");
const OTHER: Bytes = Bytes::from_static(b"\0asm\x0d\0\x01\0");

fn open(folder: &tempfile::TempDir) -> Images {
    Images::open(folder.path().to_owned(), Config::default()).unwrap()
}

#[tokio::test]
async fn images_survive_a_restart_and_their_bytes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let id = open(&folder).import("registry.test/app:v1", NOTHING).await.unwrap();

    let images = open(&folder);

    let found = images.status("registry.test/app:v1").unwrap();
    assert_eq!(found.id, id);
    assert_eq!(found.size, NOTHING.len() as u64);
    assert_eq!(images.status(&id.0).unwrap().id, id);
    let image = images.get(&id).unwrap();
    let program =
        images.program(&id, &image.components[0], &ContainerConfig::default()).await.unwrap();
    assert_eq!(program.reader()().unwrap(), NOTHING);
    assert_eq!(image.components[0].name, "app");
}

#[tokio::test]
async fn a_tag_names_one_image_and_a_digest_keeps_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let images = open(&folder);
    let old = images.import("registry.test/app:v1", NOTHING).await.unwrap();
    let new = images.import("registry.test/app:v1", OTHER).await.unwrap();

    assert_eq!(images.status("registry.test/app:v1").unwrap().id, new);
    assert!(images.status(&old.0).unwrap().repo_tags.is_empty());
    assert_eq!(images.list().len(), 2);
}

#[tokio::test]
async fn removing_an_image_removes_its_blobs_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let images = open(&folder);
    let gone = images.import("registry.test/gone:v1", NOTHING).await.unwrap();
    let kept = images.import("registry.test/kept:v1", OTHER).await.unwrap();

    let orphans = images.remove("registry.test/gone:v1").await.unwrap();

    assert_eq!(orphans, [gone.0.as_str()]);
    assert!(images.get(&gone).is_err());
    let blobs = images.store.blobs().unwrap();
    let left: Vec<_> = blobs.iter().map(|blob| blob.digest.as_str()).collect();
    assert_eq!(left, [kept.0.as_str()]);
    assert!(images.remove("registry.test/gone:v1").await.unwrap().is_empty());
}

#[tokio::test]
async fn bad_names_and_unreachable_registries_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { unqualified_registries: vec!["127.0.0.1:1".into()], ..Config::default() };
    let images = Images::open(folder.path().to_owned(), config).unwrap();

    let bad = images.pull("Not A Name", None).await.unwrap_err();
    assert!(matches!(bad, RuntimeError::InvalidImageName(..)), "{bad}");

    let unreachable = images.pull("app", None).await.unwrap_err();
    let RuntimeError::Pull { image, why } = unreachable else { panic!("{unreachable}") };
    assert_eq!(image, "127.0.0.1:1/app:latest");
    assert!(why.contains("127.0.0.1:1"), "{why}");
}

#[tokio::test]
async fn a_damaged_index_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.json"), "{").unwrap();
    let Err(error) = Images::open(folder.path().to_owned(), Config::default()) else {
        panic!("it was taken")
    };
    assert!(error.to_string().contains("index.json"), "{error}");
}

#[tokio::test]
async fn files_that_a_container_uses_are_not_replaced_by_another_pull_of_them() {
    let home = tempfile::tempdir().unwrap();
    let images = open(&home);
    let id = ImageRef("sha256:aa".to_owned());
    let unpacked = |text: &str| {
        let work = tempfile::tempdir_in(home.path().join(ROOTFS)).unwrap();
        std::fs::create_dir(work.path().join(UNPACKED)).unwrap();
        std::fs::write(work.path().join(UNPACKED).join("motd"), text).unwrap();
        images.put_in_place(&work, &id).unwrap();
        std::fs::read_to_string(images.rootfs_folder(&id).join("motd")).unwrap()
    };
    assert_eq!(unpacked("first"), "first");
    let component = StoredComponent { root: Some(PathBuf::new()), ..Default::default() };
    let lease = images.lease(&id, &component).unwrap();
    assert_eq!(unpacked("second"), "first");
    drop(lease);
    assert_eq!(unpacked("third"), "third");
}

#[tokio::test]
async fn work_on_one_key_is_done_one_after_the_other_and_leaves_nothing() {
    let turns = Mutex::new(HashMap::new());
    let busy = std::sync::atomic::AtomicBool::new(false);
    let work = || async {
        assert!(!busy.swap(true, std::sync::atomic::Ordering::SeqCst), "two at once");
        tokio::task::yield_now().await;
        busy.store(false, std::sync::atomic::Ordering::SeqCst);
    };
    futures::future::join_all((0..8).map(|_| in_turn(&turns, "key", work()))).await;
    assert!(turns.lock().is_empty());
}
