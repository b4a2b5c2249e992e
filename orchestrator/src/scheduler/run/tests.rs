use serde_json::{Value, json};

use super::*;
use crate::clock::SystemClock;

/// A scheduler whose world is what a test puts into its informers; what it writes reaches nobody.
fn scheduler() -> Scheduler {
    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = Client::try_from(nowhere).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (events, _) = EventRecorder::new(client.clone(), NAME, None, Arc::clone(&clock));
    Scheduler {
        pods: Informer::new(),
        nodes: Informer::new(),
        namespaces: Informer::new(),
        budgets: Informer::new(),
        client,
        events,
        clock,
        config: Config::default(),
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        writes: JoinSet::new(),
        changed: Plugins::NONE,
        start: 0,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

impl Scheduler {
    fn node(&mut self, name: &str, cpu: &str, spec: Value) {
        let allocatable = json!({"cpu": cpu, "memory": "4Gi", "pods": "10"});
        let node = json!({"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}});
        self.nodes.apply(serde_json::from_value(node).unwrap());
        self.node_changed(&ObjectKey::cluster(name));
    }

    /// A Pod of this uid that asks for CPU.
    fn pod(&mut self, name: &str, uid: &str, cpu: &str, spec: Value, status: Value) {
        let resources = json!({"requests": {"cpu": cpu}});
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1},
            "spec": {"containers": [{"name": "c", "resources": resources}]}, "status": status,
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.pods.apply(serde_json::from_value(pod).unwrap());
        self.pod_changed(&key(name));
    }

    fn next(&mut self) -> Option<ObjectKey> {
        self.queue.take(Instant::now())
    }
}

#[tokio::test]
async fn a_pod_that_takes_the_name_of_a_placed_one_is_scheduled() {
    let mut scheduler = scheduler();
    scheduler.node("n1", "1", json!({}));
    scheduler.pod("a", "1", "1", json!({"nodeName": "n1"}), json!({}));
    assert_eq!(scheduler.next(), None);
    scheduler.pod("a", "2", "1", json!({}), json!({}));
    assert_eq!(scheduler.next(), Some(key("a")));
    scheduler.decide(&key("a"));
    assert_eq!(scheduler.snapshot.pod(&key("a")).unwrap().uid, "2");
    // The binding of the one before fails late.
    scheduler.written(Ok(Outcome::NotBound(key("a"), "1".into())));
    assert!(scheduler.snapshot.pod(&key("a")).is_some());
    scheduler.written(Ok(Outcome::NotBound(key("a"), "2".into())));
    assert!(scheduler.snapshot.pod(&key("a")).is_none());
}

#[tokio::test]
async fn a_pod_that_takes_the_name_of_a_waiting_one_does_not_wait_for_what_that_waited_for() {
    let mut scheduler = scheduler();
    scheduler.node("n1", "1", json!({}));
    scheduler.pod("a", "1", "2", json!({}), json!({}));
    assert_eq!(scheduler.next(), Some(key("a")));
    scheduler.decide(&key("a"));
    assert_eq!(scheduler.next(), None);
    scheduler.pod("a", "2", "1", json!({}), json!({}));
    assert_eq!(scheduler.next(), Some(key("a")));
}

#[tokio::test]
async fn a_placed_pod_that_shrinks_wakes_those_who_wait_for_resources() {
    let mut scheduler = scheduler();
    scheduler.node("n1", "2", json!({}));
    scheduler.pod("big", "1", "2", json!({"nodeName": "n1"}), json!({}));
    scheduler.changed = Plugins::NONE;
    scheduler.pod("big", "1", "2", json!({"nodeName": "n1", "priority": 5}), json!({}));
    assert!(!scheduler.changed.meets(Plugins::RESOURCES));
    scheduler.pod("big", "1", "1", json!({"nodeName": "n1", "priority": 5}), json!({}));
    assert!(scheduler.changed.meets(Plugins::RESOURCES));
}

#[tokio::test]
async fn room_is_made_no_longer_where_that_does_not_help_any_more() {
    let mut scheduler = scheduler();
    scheduler.node("n1", "2", json!({"unschedulable": true}));
    let named = || json!({"nominatedNodeName": "n1"});
    scheduler.pod("a", "1", "1", json!({"priority": 10}), named());
    assert!(scheduler.snapshot.has_nominated());
    scheduler.decide(&key("a"));
    assert!(!scheduler.snapshot.has_nominated());
    // News from before the status was written do not bring it back for good.
    scheduler.pod("a", "1", "1", json!({"priority": 10}), named());
    scheduler.pod("a", "1", "1", json!({"priority": 10}), json!({}));
    assert!(!scheduler.snapshot.has_nominated());
    // What is not in the status yet is kept.
    let pod = PodInfo::of(&scheduler.pods.get(&key("a")).unwrap());
    scheduler.snapshot.nominate(&key("a"), &pod, "n1");
    scheduler.pod("a", "1", "1", json!({"priority": 10}), json!({}));
    assert!(scheduler.snapshot.has_nominated());
}
