//! The tasks of the workers, and whose each is.
//!
//! Who ended is known by its task, as a worker that panicked says nothing more.
use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// The workers that run.
#[derive(Default)]
pub(super) struct Workers {
    tasks: JoinSet<()>,
    /// The uid of each task's Pod.
    uids: HashMap<Id, String>,
}

impl Workers {
    /// Starts the worker of a Pod.
    pub fn start(&mut self, uid: String, worker: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(worker);
        self.uids.insert(task.id(), uid);
    }

    /// The uid of the Pod whose worker ended next, and how it did; `None` while none runs.
    pub async fn ended(&mut self) -> Option<(String, Result<(), JoinError>)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        self.uids.remove(&id).map(|uid| (uid, ended))
    }

    /// Ends all of them.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_known_whose_worker_panicked() {
        let mut workers = Workers::default();
        workers.start("lasts".into(), std::future::pending());
        workers.start("broken".into(), async { panic!("as the test wants it") });
        let (uid, ended) = workers.ended().await.unwrap();
        assert_eq!(uid, "broken");
        assert!(ended.unwrap_err().is_panic());

        workers.start("broken".into(), async {});
        let (uid, ended) = workers.ended().await.unwrap();
        assert_eq!((uid.as_str(), ended.is_ok()), ("broken", true));
        workers.shutdown().await;
        assert!(workers.ended().await.is_none());
    }
}
