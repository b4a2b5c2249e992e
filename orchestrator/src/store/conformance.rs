//! What every [`Store`] must do, as one suite that each backend runs.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Error, Event, Precondition, Range, Revision, Store};

type Events = BoxStream<'static, Result<Event, Error>>;

/// Runs the suite, with a fresh store for each case.
pub(super) async fn run<S: Store>(fresh: impl AsyncFn() -> S) {
    an_empty_store_is_at_revision_one(fresh().await).await;
    each_write_has_the_next_revision(fresh().await).await;
    create_is_refused_if_the_key_exists(fresh().await).await;
    stale_writes_are_refused_with_the_actual_revision(fresh().await).await;
    list_does_not_see_a_sibling_with_a_longer_name(fresh().await).await;
    pages_go_on_at_their_revision_while_writes_go_on(fresh().await).await;
    listing_a_revision_to_come_is_refused(fresh().await).await;
    watch_replays_what_came_after_the_revision_then_follows(fresh().await).await;
    watch_has_no_gap_and_no_repeat_under_concurrent_writers(fresh().await).await;
    once_the_revision_is_answered_its_events_are_ready(fresh().await).await;
    a_slow_watcher_is_told_to_list_again(fresh().await).await;
    compaction_forgets_the_past_and_keeps_the_entries(fresh().await).await;
    an_entry_expires_as_an_ordinary_deletion(fresh().await).await;
    writing_again_postpones_the_expiry(fresh().await).await;
    random_writes_agree_with_a_model(fresh().await).await;
}

async fn create(store: &impl Store, key: &str, value: &str) -> Revision {
    let value = value.to_owned().into();
    store.put(key, value, Precondition::Absent, None).await.unwrap().revision()
}

async fn keys(store: &impl Store, range: Range<'_>) -> Vec<String> {
    let page = store.list(range).await.unwrap();
    page.entries.iter().map(|entry| entry.key().to_owned()).collect()
}

async fn next(events: &mut Events) -> Event {
    let soon = tokio::time::timeout(Duration::from_secs(10), events.next());
    soon.await.expect("an event within 10 s").expect("the watch goes on").unwrap()
}

async fn an_empty_store_is_at_revision_one(store: impl Store) {
    assert_eq!(store.revision(), Revision(1));
    let page = store.list(Range::default()).await.unwrap();
    assert_eq!((page.entries.len(), page.revision), (0, Revision(1)));
    assert!(store.get("/a").await.unwrap().is_none());
}

async fn each_write_has_the_next_revision(store: impl Store) {
    let a = create(&store, "/a", "1").await;
    let b = create(&store, "/b", "1").await;
    let removed = store.delete("/a", a).await.unwrap();
    assert_eq!((a, b, removed.revision), (Revision(2), Revision(3), Revision(4)));
    assert_eq!(store.revision(), Revision(4));
    assert_eq!(removed.previous.unwrap().value(), "1");
    assert!(store.get("/a").await.unwrap().is_none());
    assert_eq!(store.get("/b").await.unwrap().unwrap().revision(), b);
}

async fn create_is_refused_if_the_key_exists(store: impl Store) {
    let first = create(&store, "/pods/a", "1").await;
    let second = store.put("/pods/a", "2".into(), Precondition::Absent, None).await;
    let Err(Error::Conflict { key, actual }) = second else { panic!("written: {second:?}") };
    assert_eq!((key.as_str(), actual), ("/pods/a", Some(first)));
    assert_eq!(store.get("/pods/a").await.unwrap().unwrap().value(), "1");
}

async fn stale_writes_are_refused_with_the_actual_revision(store: impl Store) {
    let first = create(&store, "/pods/a", "1").await;
    let unchanged = Precondition::Unchanged(first);
    let second = store.put("/pods/a", "2".into(), unchanged, None).await.unwrap().revision();
    for stale in [
        store.put("/pods/a", "3".into(), unchanged, None).await.map(drop),
        store.delete("/pods/a", first).await.map(drop),
    ] {
        let Err(Error::Conflict { actual, .. }) = stale else { panic!("written") };
        assert_eq!(actual, Some(second));
    }
    store.delete("/pods/a", second).await.unwrap();
    for gone in [
        store.put("/pods/a", "3".into(), Precondition::Unchanged(second), None).await.map(drop),
        store.delete("/pods/a", second).await.map(drop),
    ] {
        assert!(matches!(gone, Err(Error::Conflict { actual: None, .. })), "{gone:?}");
    }
}

async fn list_does_not_see_a_sibling_with_a_longer_name(store: impl Store) {
    create(&store, "/pods/default/a", "1").await;
    create(&store, "/pods/default-2/a", "1").await;
    let page = store.list(Range { prefix: "/pods/default/", ..Range::default() }).await.unwrap();
    assert_eq!((page.entries.len(), page.revision), (1, Revision(3)));
}

async fn pages_go_on_at_their_revision_while_writes_go_on(store: impl Store) {
    let mut revisions = BTreeMap::new();
    for name in ["b", "d", "f", "h"] {
        let key = format!("/pods/{name}");
        revisions.insert(name, create(&store, &key, "old").await);
    }
    create(&store, "/other/z", "1").await;
    let range = Range { prefix: "/pods/", limit: Some(1), ..Range::default() };
    let first = store.list(range).await.unwrap();
    assert_eq!((first.entries[0].key(), first.remaining), ("/pods/b", 3));

    create(&store, "/pods/c", "new").await;
    create(&store, "/pods/i", "new").await;
    store.delete("/pods/d", revisions["d"]).await.unwrap();
    create(&store, "/pods/d", "again").await;
    let f = Precondition::Unchanged(revisions["f"]);
    store.put("/pods/f", "new".into(), f, None).await.unwrap();
    store.delete("/pods/h", revisions["h"]).await.unwrap();

    let at = Some(first.revision);
    let range = Range { start_after: Some("/pods/b"), limit: Some(2), at, ..range };
    let second = store.list(range).await.unwrap();
    let shown: Vec<_> = second.entries.iter().map(|e| (e.key(), e.value().clone())).collect();
    assert_eq!(shown, [("/pods/d", "old".into()), ("/pods/f", "old".into())]);
    assert_eq!((second.remaining, second.revision), (1, first.revision));

    let last = Range { start_after: Some("/pods/f"), ..range };
    assert_eq!(keys(&store, last).await, ["/pods/h"]);
    let now = Range { prefix: "/pods/", ..Range::default() };
    assert_eq!(keys(&store, now).await, ["/pods/b", "/pods/c", "/pods/d", "/pods/f", "/pods/i"]);
}

async fn listing_a_revision_to_come_is_refused(store: impl Store) {
    let range = Range { at: Some(Revision(9)), ..Range::default() };
    let refused = store.list(range).await;
    assert!(matches!(refused, Err(Error::Future { current: Revision(1), .. })), "{refused:?}");
}

async fn watch_replays_what_came_after_the_revision_then_follows(store: impl Store) {
    let first = create(&store, "/pods/a", "1").await;
    create(&store, "/nodes/n", "x").await;
    create(&store, "/pods/b", "1").await;
    let mut events = store.watch("/pods/", first).await.unwrap();
    let replayed = next(&mut events).await;
    assert_eq!((replayed.key(), replayed.previous.is_none()), ("/pods/b", true));

    let unchanged = Precondition::Unchanged(first);
    let second = store.put("/pods/a", "2".into(), unchanged, None).await.unwrap().revision();
    let put = next(&mut events).await;
    assert_eq!(put.previous.unwrap().value(), "1");
    assert_eq!(put.entry.unwrap().value(), "2");

    store.delete("/pods/a", second).await.unwrap();
    let deleted = next(&mut events).await;
    assert!(deleted.entry.is_none() && deleted.revision > second);
    assert_eq!(deleted.previous.unwrap().revision(), second);
}

async fn watch_has_no_gap_and_no_repeat_under_concurrent_writers(store: impl Store) {
    const WRITERS: usize = 8;
    const EACH: usize = 50;
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..EACH {
                create(&*store, &format!("/pods/{writer}-{number}"), "x").await;
            }
        });
    }
    let mut watchers = tokio::task::JoinSet::new();
    for delay in 0..8 {
        let store = store.clone();
        watchers.spawn(async move {
            // Begins in the middle: some events are replayed, some are live.
            while store.revision().0 < delay * 40 {
                tokio::task::yield_now().await;
            }
            let mut events = store.watch("/pods/", Revision::EMPTY).await.unwrap();
            for expected in 2..(WRITERS * EACH + 2) as u64 {
                assert_eq!(next(&mut events).await.revision, Revision(expected));
            }
            assert!(events.next().now_or_never().is_none(), "an event too many");
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    while let Some(done) = watchers.join_next().await {
        done.unwrap();
    }
}

async fn once_the_revision_is_answered_its_events_are_ready(store: impl Store) {
    let mut events = store.watch("/", Revision::EMPTY).await.unwrap();
    for number in 0..300 {
        create(&store, &format!("/{number}"), "x").await;
    }
    for expected in 2..=store.revision().0 {
        let event = events.next().now_or_never().expect("ready").unwrap().unwrap();
        assert_eq!(event.revision, Revision(expected));
    }
}

async fn a_slow_watcher_is_told_to_list_again(store: impl Store) {
    let mut slow = store.watch("/", Revision::EMPTY).await.unwrap();
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..150 {
                create(&*store, &format!("/{writer}/{number}"), "x").await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let mut seen = Revision::EMPTY;
    let end = loop {
        match slow.next().now_or_never().expect("ready") {
            Some(Ok(event)) => {
                assert_eq!(event.revision, seen.next());
                seen = event.revision;
            }
            end => break end,
        }
    };
    assert!(matches!(end, Some(Err(Error::Compacted(_)))), "{end:?} after {seen:?}");
    assert!(slow.next().await.is_none());
}

async fn compaction_forgets_the_past_and_keeps_the_entries(store: impl Store) {
    let a = create(&store, "/a", "1").await;
    let b = create(&store, "/b", "1").await;
    create(&store, "/c", "1").await;
    store.compact(b).await.unwrap();
    let past = store.watch("/", a).await.map(drop);
    assert!(matches!(past, Err(Error::Compacted(at)) if at == b), "{past:?}");
    let past = store.list(Range { at: Some(a), ..Range::default() }).await;
    assert!(matches!(past, Err(Error::Compacted(at)) if at == b), "{past:?}");

    assert_eq!(keys(&store, Range { at: Some(b), ..Range::default() }).await, ["/a", "/b"]);
    assert_eq!(keys(&store, Range::default()).await, ["/a", "/b", "/c"]);
    let mut events = store.watch("/", b).await.unwrap();
    assert_eq!(next(&mut events).await.key(), "/c");
    let future = store.compact(Revision(99)).await;
    assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
}

async fn an_entry_expires_as_an_ordinary_deletion(store: impl Store) {
    let mut events = store.watch("/", Revision::EMPTY).await.unwrap();
    let soon = Some(Duration::from_millis(30));
    let entry = store.put("/e", "1".into(), Precondition::Absent, soon).await.unwrap();
    assert!(entry.expires().is_some());
    next(&mut events).await;
    let expired = next(&mut events).await;
    assert_eq!(expired.previous.unwrap().revision(), entry.revision());
    assert!(expired.entry.is_none() && expired.revision > entry.revision());
    assert!(store.get("/e").await.unwrap().is_none());
}

async fn writing_again_postpones_the_expiry(store: impl Store) {
    let soon = Some(Duration::from_millis(30));
    let kept = store.put("/kept", "1".into(), Precondition::Absent, soon).await.unwrap();
    let unchanged = Precondition::Unchanged(kept.revision());
    // Should it have expired already, a slow machine is to blame.
    if store.put("/kept", "2".into(), unchanged, None).await.is_err() {
        return;
    }
    let mut events = store.watch("/", store.revision()).await.unwrap();
    store.put("/other", "1".into(), Precondition::Absent, soon).await.unwrap();
    next(&mut events).await;
    assert_eq!(next(&mut events).await.key(), "/other");
    assert!(store.get("/kept").await.unwrap().is_some());
}

/// Each state of a model that the store must agree with, by revision.
type States = Vec<BTreeMap<String, (String, Revision)>>;

async fn random_writes_agree_with_a_model(store: impl Store) {
    let mut random = StdRng::seed_from_u64(7);
    let mut states: States = vec![BTreeMap::new(); 2];
    let mut events = store.watch("/", Revision::EMPTY).await.unwrap();
    for number in 0..1_000 {
        let mut state = states.last().unwrap().clone();
        let key = format!("/{}/{}", random.random_range(0..3), random.random_range(0..12));
        let present = state.get(&key).map(|(_, revision)| *revision);
        // One in five expects something that does not hold.
        let expected = match random.random_range(0..5) {
            0 => [None, Some(Revision(random.random_range(1..=states.len() as u64)))]
                [random.random_range(0..2)],
            _ => present,
        };
        let value = number.to_string();
        let written = match expected {
            Some(at) if random.random_bool(0.4) => {
                store.delete(&key, at).await.map(|event| (event.revision, None))
            }
            Some(at) => put(&store, &key, &value, Precondition::Unchanged(at)).await,
            None => put(&store, &key, &value, Precondition::Absent).await,
        };
        match written {
            Ok((revision, value)) => {
                assert_eq!(expected, present);
                assert_eq!(revision, Revision(states.len() as u64));
                match value {
                    Some(value) => state.insert(key.clone(), (value, revision)),
                    None => state.remove(&key),
                };
                let event = next(&mut events).await;
                assert_eq!((event.key(), event.revision), (key.as_str(), revision));
                states.push(state);
            }
            Err(Error::Conflict { actual, .. }) => {
                assert_ne!(expected, present);
                assert_eq!(actual, present);
            }
            Err(error) => panic!("{error}"),
        }
        if number % 10 == 0 {
            compare_a_random_page(&store, &states, &mut random).await;
        }
    }
}

async fn put(
    store: &impl Store,
    key: &str,
    value: &str,
    only_if: Precondition,
) -> Result<(Revision, Option<String>), Error> {
    let entry = store.put(key, value.to_owned().into(), only_if, None).await?;
    Ok((entry.revision(), Some(value.to_owned())))
}

async fn compare_a_random_page(store: &impl Store, states: &States, random: &mut StdRng) {
    let at = random.random_range(1..states.len());
    let prefix = ["/", "/0/", "/1/", "/2/", "/1"][random.random_range(0..5)];
    let start = format!("/{}/{}", random.random_range(0..3), random.random_range(0..12));
    let start_after = random.random_bool(0.5).then_some(start.as_str());
    let limit = random.random_range(1..20);
    let range = Range { prefix, start_after, limit: Some(limit), at: Some(Revision(at as u64)) };
    let page = store.list(range).await.unwrap();

    let all: Vec<_> = states[at]
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| start_after.is_none_or(|start| key.as_str() > start))
        .map(|(key, (value, revision))| (key.as_str(), value.as_bytes(), *revision))
        .collect();
    let shown: Vec<_> =
        page.entries.iter().map(|e| (e.key(), e.value().as_ref(), e.revision())).collect();
    assert_eq!(shown, all[..limit.min(all.len())], "{range:?}");
    assert_eq!(page.remaining, all.len() - shown.len(), "{range:?}");
}
