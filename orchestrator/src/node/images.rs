//! Images: when one is pulled, and what is said if it cannot be.
//!
//! Pods that want the same image at the same time share one pull; only so many
//! images are pulled at once.
use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use shim::cri::{AuthConfig, ImageRef, Runtime, RuntimeError};
use tokio::sync::Semaphore;

/// Images pulled at once: enough for a fast registry, few enough for memory.
const PULLS: usize = 8;

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PullPolicy {
    /// Before each start.
    Always,
    /// If it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The policy a container names, or the one that its image's tag implies.
    pub fn of(named: Option<&str>, image: &str) -> Self {
        match named {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if is_latest(image) => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

/// What to do about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use the one that is here.
    Use(ImageRef),
    /// Pull it.
    Pull,
    /// Refuse: it is not here and may not be pulled.
    Refuse,
}

/// What to do about an image that is, or is not, here.
pub(super) fn decide(policy: PullPolicy, present: Option<ImageRef>) -> Decision {
    match (policy, present) {
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => Decision::Pull,
        (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) => Decision::Use(image),
        (PullPolicy::Never, None) => Decision::Refuse,
    }
}

/// No tag, or `latest`, and no digest.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// A container's words for a pull that failed.
pub(super) fn reason(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::InvalidImageName(..) => "InvalidImageName",
        RuntimeError::NotRunnable { .. } => "ErrImageNotRunnable",
        _ => "ErrImagePull",
    }
}

type Pull = Shared<BoxFuture<'static, Result<ImageRef, Arc<RuntimeError>>>>;

/// An image and the user and password it is pulled with: what one may see another may not.
type Key = (String, Option<(String, String)>);

/// The pulls that somebody waits for.
#[derive(Default)]
struct Pulls(Mutex<HashMap<Key, Pull>>);

impl Pulls {
    /// Waits for the pull that is under way, or for one that is started now.
    async fn join(
        &self,
        key: Key,
        start: impl FnOnce() -> Pull,
    ) -> Result<ImageRef, Arc<RuntimeError>> {
        // Before the pull, as it is to go after it.
        let _waiter = Waiter { pulls: self, key: &key };
        let pull = self.0.lock().entry(key.clone()).or_insert_with(start).clone();
        pull.await
    }
}

/// One who waits for a pull; the last to go takes it along. Nobody polls it any more, so it
/// would hold its permit for ever.
struct Waiter<'a> {
    pulls: &'a Pulls,
    key: &'a Key,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut pulls = self.pulls.0.lock();
        let is_over = |pull: &Pull| {
            pull.peek().is_some() || pull.strong_count().is_none_or(|holders| holders <= 1)
        };
        if pulls.get(self.key).is_some_and(is_over) {
            pulls.remove(self.key);
        }
    }
}

/// The images of the node.
pub(super) struct Images {
    runtime: Arc<dyn Runtime>,
    pulls: Pulls,
    permits: Arc<Semaphore>,
}

impl Images {
    /// The images of a runtime.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, pulls: Pulls::default(), permits: Arc::new(Semaphore::new(PULLS)) }
    }

    /// The image that `name` stands for here, if it is here.
    pub fn present(&self, name: &str) -> Option<ImageRef> {
        self.runtime.image_status(name).map(|image| image.id)
    }

    /// Bytes of an image's blobs.
    pub fn size(&self, image: &ImageRef) -> u64 {
        self.runtime.image_status(&image.0).map_or(0, |image| image.size)
    }

    /// Pulls an image, or waits for the pull that is under way. Credentials are tried in
    /// turn; without any the registry is asked as nobody in particular.
    pub async fn pull(
        &self,
        name: &str,
        credentials: Vec<AuthConfig>,
    ) -> Result<ImageRef, Arc<RuntimeError>> {
        let mut all: Vec<_> = credentials.into_iter().map(Some).collect();
        if all.is_empty() {
            all.push(None);
        }
        let last = all.len() - 1;
        for (index, auth) in all.into_iter().enumerate() {
            match self.pull_with(name, auth).await {
                Err(error) if index < last && matches!(*error, RuntimeError::Pull { .. }) => {
                    tracing::debug!(
                        image = name,
                        error = &*error as &dyn std::error::Error,
                        "trying other credentials"
                    );
                }
                done => return done,
            }
        }
        unreachable!("the last try answers")
    }

    async fn pull_with(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
    ) -> Result<ImageRef, Arc<RuntimeError>> {
        let user = auth.clone().map(|auth| (auth.username, auth.password));
        self.pulls.join((name.to_owned(), user), || self.start(name, auth)).await
    }

    fn start(&self, name: &str, auth: Option<AuthConfig>) -> Pull {
        let (runtime, permits) = (Arc::clone(&self.runtime), Arc::clone(&self.permits));
        let name = name.to_owned();
        async move {
            let _permit = permits.acquire().await.expect("the semaphore is never closed");
            runtime.pull_image(&name, auth).await.map_err(Arc::new)
        }
        .boxed()
        .shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_follows_the_tag_where_none_is_named() {
        for (image, wanted) in [
            ("hello", PullPolicy::Always),
            ("localhost:5001/hello", PullPolicy::Always),
            ("localhost:5001/hello:latest", PullPolicy::Always),
            ("localhost:5001/hello:v1", PullPolicy::IfNotPresent),
            ("hello@sha256:abc", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(PullPolicy::of(None, image), wanted, "{image}");
        }
        assert_eq!(PullPolicy::of(Some("Never"), "hello"), PullPolicy::Never);
    }

    #[test]
    fn a_pull_ends_with_the_last_who_waits_for_it() {
        let (pulls, permits) = (Pulls::default(), Arc::new(Semaphore::new(1)));
        let key = || ("web:v1".to_owned(), None);
        let start = || {
            let permits = Arc::clone(&permits);
            async move {
                let _permit = permits.acquire().await.expect("it is not closed");
                std::future::pending().await
            }
            .boxed()
            .shared()
        };
        let mut one = Box::pin(pulls.join(key(), start));
        let mut other = Box::pin(pulls.join(key(), || unreachable!("one is under way")));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(one);
        assert_eq!((pulls.0.lock().len(), permits.available_permits()), (1, 0));
        drop(other);
        assert_eq!((pulls.0.lock().len(), permits.available_permits()), (0, 1));
    }

    #[test]
    fn who_comes_after_a_pull_begins_another() {
        let pulls = Pulls::default();
        let pull = |digest: &str| {
            let image = ImageRef(digest.to_owned());
            let start = || std::future::ready(Ok(image)).boxed().shared();
            pulls.join(("web:v1".to_owned(), None), start).now_or_never().unwrap().unwrap().0
        };
        assert_eq!([pull("a"), pull("b")], ["a", "b"]);
    }

    #[test]
    fn images_are_pulled_as_the_policy_says() {
        let here = || Some(ImageRef("sha256:a".into()));
        let used = Decision::Use(ImageRef("sha256:a".into()));
        assert_eq!(decide(PullPolicy::Always, here()), Decision::Pull);
        assert_eq!(decide(PullPolicy::IfNotPresent, here()), used);
        assert_eq!(decide(PullPolicy::IfNotPresent, None), Decision::Pull);
        assert_eq!(decide(PullPolicy::Never, here()), used);
        assert_eq!(decide(PullPolicy::Never, None), Decision::Refuse);
    }
}
