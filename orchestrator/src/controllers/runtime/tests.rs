use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused(#[source] Option<Box<kube::Error>>);

/// Tells each pass and fails as often as it is told to.
struct Counting {
    passes: mpsc::UnboundedSender<String>,
    failing: AtomicUsize,
    pods: Informer<Pod>,
    version: &'static str,
    /// The reason of the cause in the server's answer; no answer if it is empty.
    cause: &'static str,
}

#[async_trait]
impl Controller for Counting {
    const NAME: &'static str = "counting";
    type Error = Refused;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Refused> {
        self.passes.send(key.name.clone()).unwrap();
        let meta = serde_json::from_value(json!({"resourceVersion": self.version})).unwrap();
        written.note(&self.pods, &meta);
        let left = self.failing.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(Requeue::OnChange);
        }
        self.failing.store(left - 1, Ordering::SeqCst);
        let status = json!({"status": "Failure", "message": "no", "reason": "Forbidden",
            "code": 403, "details": {"causes": [{"reason": self.cause}]}});
        let answer = || kube::Error::Api(serde_json::from_value(status).unwrap());
        Err(Refused((!self.cause.is_empty()).then(|| Box::new(answer()))))
    }
}

fn key(name: &str) -> Arc<ObjectKey> {
    Arc::new(ObjectKey::new("default", name))
}

struct Driven {
    queue: Arc<Queue>,
    passes: mpsc::UnboundedReceiver<String>,
    pods: Informer<Pod>,
    stop: CancellationToken,
}

fn driven(failing: usize, version: &'static str) -> Driven {
    refused(failing, version, "")
}

fn refused(failing: usize, version: &'static str, cause: &'static str) -> Driven {
    let (passes, told) = mpsc::unbounded_channel();
    let pods = Informer::new();
    pods.reach("1");
    let (queue, stop) = (Queue::new(), CancellationToken::new());
    let controller =
        Counting { passes, failing: AtomicUsize::new(failing), pods: pods.clone(), version, cause };
    tokio::spawn(drive(controller, Arc::clone(&queue), Entropy::seeded(1), stop.clone()));
    Driven { queue, passes: told, pods, stop }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"))
}

#[tokio::test]
async fn a_pass_that_fails_is_repeated_until_it_goes_well() {
    let mut driven = driven(3, "1");
    driven.queue.add(key("a"));
    for _ in 0..4 {
        soon("a pass", driven.passes.recv()).await;
    }
    driven.queue.add(key("b"));
    assert_eq!(soon("the next key", driven.passes.recv()).await.unwrap(), "b");
    driven.stop.cancel();
    assert_eq!(soon("the end", driven.passes.recv()).await, None);
}

/// Panics in its first pass, and wants another an hour after each later one.
struct Panicking(mpsc::UnboundedSender<Instant>, AtomicUsize);

#[async_trait]
impl Controller for Panicking {
    const NAME: &'static str = "panicking";
    type Error = Refused;

    async fn reconcile(&self, _: &ObjectKey, _: &Written) -> Result<Requeue, Refused> {
        self.0.send(Instant::now()).unwrap();
        assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "the first pass");
        Ok(Requeue::After(Duration::from_secs(3600)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_is_repeated_and_times_of_the_day_are_looked_at_often() {
    let (passes, mut told) = mpsc::unbounded_channel();
    let (queue, stop) = (Queue::new(), CancellationToken::new());
    let controller = Panicking(passes, AtomicUsize::new(0));
    let driven = drive(controller, Arc::clone(&queue), Entropy::seeded(1), stop.clone());
    let driven = tokio::spawn(driven);
    queue.add(key("a"));
    let began = told.recv().await.unwrap();
    let second = told.recv().await.unwrap();
    assert!(second - began < Duration::from_secs(1), "the backoff of a first failure");
    let third = told.recv().await.unwrap();
    assert!(third - second <= Duration::from_secs(61), "the computer may have slept");
    stop.cancel();
    driven.await.unwrap();
}

#[tokio::test]
async fn a_pass_that_is_refused_because_its_namespace_goes_is_not_repeated() {
    for (cause, passes) in [("NamespaceTerminating", 1), ("Quota", 4)] {
        let mut driven = refused(3, "1", cause);
        driven.queue.add(key("a"));
        for _ in 0..passes {
            assert_eq!(soon("a pass", driven.passes.recv()).await.unwrap(), "a");
        }
        let longest = backoff(3, 1.0) * 10;
        assert!(tokio::time::timeout(longest, driven.passes.recv()).await.is_err(), "{cause}");
        driven.stop.cancel();
    }
}

#[tokio::test]
async fn a_key_does_not_run_again_before_informers_have_what_it_wrote() {
    let mut driven = driven(0, "7");
    driven.queue.add(key("a"));
    assert_eq!(soon("the first pass", driven.passes.recv()).await.unwrap(), "a");
    driven.queue.add(key("a"));
    driven.queue.add(key("b"));
    assert_eq!(soon("another key", driven.passes.recv()).await.unwrap(), "b");
    driven.queue.add(key("c"));
    assert_eq!(soon("another key", driven.passes.recv()).await.unwrap(), "c");
    driven.pods.reach("7");
    assert_eq!(soon("the second pass", driven.passes.recv()).await.unwrap(), "a");
}

#[tokio::test]
async fn a_key_waits_once_and_the_earliest_delay_counts() {
    let queue = Queue::new();
    queue.add_after(key("late"), Duration::from_secs(3600));
    queue.add_after(key("late"), Duration::from_millis(20));
    queue.add(key("a"));
    queue.add(key("a"));
    assert_eq!(soon("a", queue.next()).await.name, "a");
    assert_eq!(soon("late", queue.next()).await.name, "late");
    assert!(futures::FutureExt::now_or_never(queue.next()).is_none());
}

#[test]
fn waits_double_up_to_a_minute() {
    assert_eq!(backoff(1, 0.0), Duration::from_millis(5));
    assert_eq!(backoff(4, 0.0), Duration::from_millis(40));
    assert_eq!(backoff(4, 1.0), Duration::from_millis(50));
    assert_eq!(backoff(u32::MAX, 0.0), Duration::from_secs(60));
}
