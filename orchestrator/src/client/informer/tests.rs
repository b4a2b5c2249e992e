use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchParams};
use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};

use super::*;
use crate::api::ObjectKey;

fn pod(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "resourceVersion": version,
            "labels": {"app": "web", "name": name},
            "managedFields": [{"manager": "kubectl"}],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true,
            }],
        },
        "spec": {"containers": [], "nodeName": format!("node-{version}")},
    })
}

fn typed(name: &str, version: &str) -> Pod {
    serde_json::from_value(pod(name, version)).unwrap()
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    let mut names: Vec<_> = pods.iter().filter_map(|p| p.metadata.name.clone()).collect();
    names.sort();
    names
}

/// Answers lists and watches from scripts; what is not scripted never ends.
#[derive(Default)]
struct Scripted {
    lists: Mutex<VecDeque<Value>>,
    watches: Mutex<VecDeque<Vec<Value>>>,
    watched: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Source for Scripted {
    type Object = Pod;

    async fn list(&self, _: &ListParams) -> Result<ObjectList<Pod>, kube::Error> {
        let page = self.lists.lock().pop_front();
        match page {
            Some(page) => Ok(serde_json::from_value(page).unwrap()),
            None => std::future::pending().await,
        }
    }

    async fn watch(
        &self,
        _: &WatchParams,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>, kube::Error> {
        self.watched.lock().push(version.to_owned());
        let Some(script) = self.watches.lock().pop_front() else {
            return Ok(futures::stream::pending().boxed());
        };
        let events = script.into_iter().map(|event| Ok(serde_json::from_value(event).unwrap()));
        Ok(futures::stream::iter(events.collect::<Vec<_>>()).boxed())
    }
}

fn page(version: &str, token: &str, pods: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PodList",
        "metadata": {"resourceVersion": version, "continue": token}, "items": pods,
    })
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"))
}

#[tokio::test]
async fn a_store_follows_pages_events_bookmarks_and_a_new_list_after_410() {
    let source = Scripted::default();
    source.lists.lock().extend([
        page("5", "more", &[pod("a", "1")]),
        page("5", "", &[pod("b", "2"), pod("c", "3")]),
        page("20", "", &[pod("b", "2"), pod("d", "15")]),
    ]);
    source.watches.lock().extend([
        vec![
            json!({"type": "MODIFIED", "object": pod("a", "6")}),
            json!({"type": "DELETED", "object": pod("c", "7")}),
            json!({"type": "BOOKMARK", "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "9"},
            }}),
        ],
        vec![json!({"type": "ERROR", "object": {
            "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
        }})],
    ]);
    let watched = Arc::clone(&source.watched);
    let informer = Informer::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    informer.listen(move |change: &Change<Pod>| {
        let version = |pod: &Arc<Pod>| pod.metadata.resource_version.clone();
        hearing.lock().push((
            change.key.name.clone(),
            change.old.as_ref().and_then(version),
            change.new.as_ref().and_then(version),
        ));
        ControlFlow::Continue(())
    });
    let reflecting = tokio::spawn(reflector::run(source, "Pod".into(), None, informer.clone()));

    soon("the second list", informer.reached(20)).await;

    assert_eq!(names(&informer.list()), ["b", "d"]);
    assert_eq!(watched.lock()[..2], ["5", "9"]);
    let told = |name: &str, old: Option<&str>, new: Option<&str>| {
        (name.to_owned(), old.map(str::to_owned), new.map(str::to_owned))
    };
    assert_eq!(
        *heard.lock(),
        [
            told("a", None, Some("1")),
            told("b", None, Some("2")),
            told("c", None, Some("3")),
            told("a", Some("1"), Some("6")),
            told("c", Some("3"), None),
            told("a", Some("6"), None),
            told("d", None, Some("15")),
        ]
    );
    let b = informer.get(&ObjectKey::new("default", "b")).unwrap();
    assert_eq!(b.metadata.managed_fields, None);
    reflecting.abort();
}

#[test]
fn indexes_follow_their_objects_whenever_they_were_built() {
    let informer = Informer::<Pod>::new();
    informer.apply(typed("a", "1"));
    assert_eq!(names(&informer.by(&Index::NODE, "node-1")), ["a"]);
    informer.apply(typed("a", "2"));
    informer.apply(typed("b", "2"));

    assert!(informer.by(&Index::NODE, "node-1").is_empty());
    assert_eq!(names(&informer.by(&Index::NODE, "node-2")), ["a", "b"]);
    assert_eq!(names(&informer.by(&Index::CONTROLLER, "1")), ["a", "b"]);
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(names(&informer.select("default", &labels(&[("app", "web")]))), ["a", "b"]);
    assert_eq!(
        names(&informer.select("default", &labels(&[("app", "web"), ("name", "b")]))),
        ["b"]
    );
    assert!(informer.select("default", &labels(&[("app", "web"), ("name", "c")])).is_empty());
    assert!(informer.select("default", &labels(&[])).is_empty());
    assert!(informer.select("other", &labels(&[("app", "web")])).is_empty());

    informer.remove(typed("a", "3"));
    assert_eq!(names(&informer.by(&Index::NODE, "node-2")), ["b"]);
}

#[tokio::test]
async fn a_subscriber_hears_of_what_is_there_and_of_each_changed_key_once() {
    let informer = Informer::<Pod>::new();
    informer.apply(typed("a", "1"));
    let mut changes = informer.subscribe();
    informer.apply(typed("b", "2"));
    informer.apply(typed("a", "3"));

    assert_eq!(changes.next().await.name, "a");
    assert_eq!(changes.next().await.name, "b");
    assert!(futures::FutureExt::now_or_never(changes.next()).is_none());
}

#[tokio::test]
async fn nobody_is_synced_before_the_first_list() {
    let informer = Informer::<Pod>::new();
    assert!(futures::FutureExt::now_or_never(informer.synced()).is_none());
    informer.reach("7");
    soon("synced", informer.synced()).await;
    assert_eq!(informer.version(), Some(7));
    assert!(futures::FutureExt::now_or_never(informer.reached(8)).is_none());
}
