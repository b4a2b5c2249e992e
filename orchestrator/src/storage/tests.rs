use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::api::{FieldSelector, LabelSelector, Strategy};
use crate::clock::SystemClock;

struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Kind = ConfigMap;
}

fn storage() -> (Storage, Resource) {
    let store = crate::store::memory::open(Arc::new(SystemClock)).unwrap();
    (Storage::new(Arc::new(store)), Resource::of(ConfigMaps))
}

fn map(namespace: &str, name: &str, app: &str) -> Object {
    Object::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
    }))
    .unwrap()
}

fn names(page: &ListPage) -> Vec<&str> {
    page.items.iter().map(|stored| &*stored.key.name).collect()
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_a_conflict_and_one_that_changes_nothing_is_none() {
    let (storage, row) = storage();
    let first = storage.create(&row, &map("default", "a", "x")).await.unwrap();
    let again = storage.create(&row, &map("default", "a", "x")).await;
    assert!(matches!(again, Err(StorageError::AlreadyExists(_))));
    let same = storage.update(&row, &first.key, first.revision, &map("default", "a", "x")).await;
    assert_eq!(same.unwrap().revision, first.revision);
    let second = storage.update(&row, &first.key, first.revision, &map("default", "a", "y")).await;
    assert!(second.unwrap().revision > first.revision);
    let late = storage.update(&row, &first.key, first.revision, &map("default", "a", "z")).await;
    assert!(matches!(late, Err(StorageError::Conflict(_))));
    let late = storage.delete(&row, &first.key, first.revision).await;
    assert!(matches!(late, Err(StorageError::Conflict(_))));
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_stored() {
    let (storage, row) = storage();
    let deep = |levels: usize| {
        let mut object = map("default", "a", "x");
        let nest = |inner, _| json!([inner]);
        object.body.insert("data".into(), (1..levels).fold(json!(0), nest));
        object
    };
    let stored = storage.create(&row, &deep(LEVELS_MAX)).await.unwrap();
    assert_eq!(stored.object().unwrap().body, deep(LEVELS_MAX).body);
    let deeper = storage.update(&row, &stored.key, stored.revision, &deep(LEVELS_MAX + 1)).await;
    assert!(matches!(deeper, Err(StorageError::TooDeep)));

    let mut large = map("default", "b", "x");
    large.body.insert("data".into(), json!("x".repeat(OBJECT_MAX)));
    assert!(matches!(storage.create(&row, &large).await, Err(StorageError::TooLarge)));
    let larger = storage.update(&row, &stored.key, stored.revision, &large).await;
    assert!(matches!(larger, Err(StorageError::TooLarge)));
}

#[tokio::test]
async fn pages_are_read_at_the_revision_of_the_first() {
    let (storage, row) = storage();
    for name in ["a", "b", "c", "d", "e"] {
        storage.create(&row, &map("default", name, "x")).await.unwrap();
    }
    storage.create(&row, &map("default-2", "other", "x")).await.unwrap();
    let mut query =
        ListQuery { namespace: Some("default".into()), limit: Some(2), ..ListQuery::default() };
    let first = storage.list(&row, &query).await.unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["a", "b"], Some(3)));

    storage.create(&row, &map("default", "bb", "x")).await.unwrap();
    let d = storage.get(&row, &ObjectKey::new("default", "d")).await.unwrap();
    storage.delete(&row, &d.key, d.revision).await.unwrap();

    query.continue_token = first.continue_token;
    let second = storage.list(&row, &query).await.unwrap();
    assert_eq!((names(&second), second.revision), (vec!["c", "d"], first.revision));
    query.continue_token = second.continue_token;
    let last = storage.list(&row, &query).await.unwrap();
    assert_eq!((names(&last), &last.continue_token), (vec!["e"], &None));
    query.continue_token = Some("nonsense".into());
    assert!(matches!(storage.list(&row, &query).await, Err(StorageError::InvalidQuery(_))));
}

#[tokio::test]
async fn a_selected_page_goes_on_until_it_is_full() {
    let (storage, row) = storage();
    for n in 0..40 {
        let app = if n % 10 == 0 { "web" } else { "db" };
        storage.create(&row, &map("default", &format!("m{n:02}"), app)).await.unwrap();
    }
    let mut query = ListQuery {
        labels: LabelSelector::parse("app=web").unwrap(),
        limit: Some(3),
        ..ListQuery::default()
    };
    let first = storage.list(&row, &query).await.unwrap();
    assert_eq!(names(&first), ["m00", "m10", "m20"]);
    query.continue_token = first.continue_token;
    let second = storage.list(&row, &query).await.unwrap();
    assert_eq!((names(&second), &second.continue_token), (vec!["m30"], &None));
    query.fields = FieldSelector::parse("spec.x=1").unwrap();
    let refused = storage.list(&row, &query).await.err().unwrap();
    assert_eq!(refused.to_string(), "field label not supported: spec.x");
}

#[tokio::test]
async fn what_begins_or_ceases_to_match_is_added_or_deleted() {
    let (storage, row) = storage();
    let query = WatchQuery {
        labels: LabelSelector::parse("app=web").unwrap(),
        initial_events: Some(true),
        ..WatchQuery::default()
    };
    storage.create(&row, &map("default", "old", "web")).await.unwrap();
    let mut events = storage.watch(&row, &query).await.unwrap();
    let a = storage.create(&row, &map("default", "a", "db")).await.unwrap();
    let a = storage.update(&row, &a.key, a.revision, &map("default", "a", "web")).await.unwrap();
    let a = storage.update(&row, &a.key, a.revision, &map("default", "a", "db")).await.unwrap();
    storage.delete(&row, &a.key, a.revision).await.unwrap();
    let old = storage.get(&row, &ObjectKey::new("default", "old")).await.unwrap();
    let gone = storage.delete(&row, &old.key, old.revision).await.unwrap();

    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(match events.next().await.unwrap().unwrap() {
            WatchEvent::Added(stored) => format!("added {}", stored.key.name),
            WatchEvent::Modified(stored) => format!("modified {}", stored.key.name),
            WatchEvent::Deleted(stored) => {
                format!("deleted {} at {}", stored.key.name, stored.revision)
            }
            WatchEvent::Bookmark { initial_events_end, .. } => {
                format!("bookmark {initial_events_end}")
            }
        });
    }
    let ended = format!("deleted a at {}", a.revision);
    let deleted = format!("deleted old at {}", gone.revision);
    assert_eq!(seen, ["added old", "bookmark true", "added a", &ended, &deleted]);
}

#[tokio::test]
async fn a_file_keeps_objects_and_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server/store.redb");
    let open = || crate::store::redb::open(&path, Arc::new(SystemClock));
    let row = Resource::of(ConfigMaps);
    let (kept, last) = {
        let storage = Storage::new(Arc::new(open().unwrap()));
        let kept = storage.create(&row, &map("default", "kept", "x")).await.unwrap();
        let gone = storage.create(&row, &map("default", "gone", "x")).await.unwrap();
        storage.delete(&row, &gone.key, gone.revision).await.unwrap();
        (kept, storage.revision())
    };
    let storage = Storage::new(Arc::new(open().unwrap()));
    assert_eq!(storage.revision(), last);
    let found = storage.get(&row, &kept.key).await.unwrap();
    assert_eq!(found.object().unwrap(), kept.object().unwrap());
    drop(storage);
    std::fs::write(&path, b"not a store, but long enough to be looked at as one").unwrap();
    let error = open().err().unwrap().to_string();
    assert!(error.contains("store.redb") && error.contains("restore it"), "{error}");
}

#[tokio::test]
async fn resource_versions_go_on_from_the_base() {
    let store: Arc<dyn Store> =
        Arc::new(crate::store::memory::open(Arc::new(SystemClock)).unwrap());
    let row = Resource::of(ConfigMaps);
    let storage = Storage::with_base(store, 1_000);
    let a = storage.create(&row, &map("default", "a", "x")).await.unwrap();
    assert_eq!((a.revision, storage.revision()), (1_002, 1_002));
    assert_eq!(a.object().unwrap().metadata.resource_version.as_deref(), Some("1002"));
    let b = storage.update(&row, &a.key, 1_002, &map("default", "a", "y")).await.unwrap();
    let page = storage.list(&row, &ListQuery::default()).await.unwrap();
    assert_eq!((page.revision, page.items[0].revision), (1_003, b.revision));
    let before = WatchQuery { after: Some(7), ..WatchQuery::default() };
    let gone = storage.watch(&row, &before).await.err().unwrap();
    assert_eq!(gone.to_string(), "too old resource version: 7 (1001)");
    let after = WatchQuery { after: Some(1_002), ..WatchQuery::default() };
    let mut events = storage.watch(&row, &after).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Modified(stored) if stored.revision == 1_003));
    assert_eq!(storage.delete(&row, &a.key, 1_003).await.unwrap().revision, 1_004);
}

#[tokio::test]
async fn names_that_would_be_other_keys_are_not_there_and_not_made() {
    let (storage, row) = storage();
    storage.create(&row, &map("a", "b", "x")).await.unwrap();
    for key in [
        ObjectKey::new("", "a/b"),
        ObjectKey::new("a/b", ""),
        ObjectKey::cluster("b"),
        ObjectKey::new("a", "../a/b"),
    ] {
        let found = storage.get(&row, &key).await;
        assert!(matches!(found, Err(StorageError::NotFound(_))), "{key:?}");
        let made = storage.create(&row, &map(&key.namespace, &key.name, "x")).await;
        assert!(matches!(made, Err(StorageError::InvalidQuery(_))), "{key:?}");
    }
}

#[tokio::test]
async fn a_selected_name_is_found_alone() {
    let (storage, row) = storage();
    for name in ["a", "ab", "b"] {
        storage.create(&row, &map("default", name, "x")).await.unwrap();
        storage.create(&row, &map("other", name, "x")).await.unwrap();
    }
    let fields = |text| FieldSelector::parse(text).unwrap();
    let mut query = ListQuery { fields: fields("metadata.name=a"), ..ListQuery::default() };
    assert_eq!(storage.list(&row, &query).await.unwrap().items.len(), 2);
    query.namespace = Some("default".into());
    assert_eq!(names(&storage.list(&row, &query).await.unwrap()), ["a"]);
    query.namespace = None;
    query.fields = fields("metadata.namespace=other,metadata.name!=a");
    assert_eq!(names(&storage.list(&row, &query).await.unwrap()), ["ab", "b"]);
}

#[tokio::test]
async fn a_corrupt_object_is_an_error_with_its_key() {
    let store = Arc::new(crate::store::memory::open(Arc::new(SystemClock)).unwrap());
    let (storage, row) = (Storage::new(store.clone()), Resource::of(ConfigMaps));
    let key = "/registry/core/configmaps/default/a";
    store.put(key, "nonsense".into(), Precondition::Absent, None).await.unwrap();
    let query = ListQuery { labels: LabelSelector::parse("app").unwrap(), ..ListQuery::default() };
    let found = storage.get(&row, &ObjectKey::new("default", "a")).await.unwrap();
    for error in [
        found.json().map(drop).unwrap_err(),
        found.object().map(drop).unwrap_err(),
        storage.list(&row, &query).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(&error, StorageError::Corrupt { key: named, .. } if named == key));
    }
}

#[tokio::test]
async fn expired_history_is_told_in_kubernetes_words() {
    let store = Arc::new(crate::store::memory::open(Arc::new(SystemClock)).unwrap());
    let (storage, row) = (Storage::new(store.clone()), Resource::of(ConfigMaps));
    for name in ["a", "b", "c"] {
        storage.create(&row, &map("default", name, "x")).await.unwrap();
    }
    let mut query = ListQuery { limit: Some(1), ..ListQuery::default() };
    query.continue_token = storage.list(&row, &query).await.unwrap().continue_token;
    storage.create(&row, &map("default", "d", "x")).await.unwrap();
    store.compact(store.revision()).await.unwrap();
    let error = storage.list(&row, &query).await.err().unwrap();
    assert!(matches!(&error, StorageError::Expired(_)), "{error}");
    assert!(error.to_string().starts_with("The provided continue parameter is too old"));
    let query = ListQuery {
        resource_version: Some(2),
        resource_version_match: Some(ResourceVersionMatch::Exact),
        ..ListQuery::default()
    };
    let error = storage.list(&row, &query).await.err().unwrap();
    assert_eq!(error.to_string(), "The resourceVersion for the provided list is too old.");
    let query = ListQuery { resource_version: Some(99), ..ListQuery::default() };
    let error = storage.list(&row, &query).await.err().unwrap();
    assert_eq!(error.to_string(), "Too large resource version: 99, current: 5");
}

#[tokio::test]
async fn a_quiet_watch_gets_bookmarks_at_the_present_revision() {
    let (storage, row) = storage();
    let query = WatchQuery {
        labels: LabelSelector::parse("app=web").unwrap(),
        after: Some(storage.revision()),
        ..WatchQuery::default()
    };
    let events = storage.watch(&row, &query).await.unwrap();
    let period = std::time::Duration::from_millis(20);
    let mut events = super::watch::bookmarked(storage.clone(), events, period);
    storage.create(&row, &map("default", "a", "db")).await.unwrap();
    let last = storage.create(&row, &map("default", "b", "db")).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    let WatchEvent::Bookmark { revision, initial_events_end } = event else {
        panic!("no bookmark")
    };
    assert_eq!((revision, initial_events_end), (last.revision, false));
    let made = storage.create(&row, &map("default", "c", "web")).await.unwrap();
    let event = loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Bookmark { .. } => {}
            event => break event,
        }
    };
    assert!(matches!(event, WatchEvent::Added(stored) if stored.revision == made.revision));
}
