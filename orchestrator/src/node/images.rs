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

/// The images of the node.
pub(super) struct Images {
    runtime: Arc<dyn Runtime>,
    pulls: Mutex<HashMap<Key, Pull>>,
    permits: Arc<Semaphore>,
}

impl Images {
    /// The images of a runtime.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, pulls: Mutex::default(), permits: Arc::new(Semaphore::new(PULLS)) }
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
        let key = (name.to_owned(), user);
        let pull = {
            let mut pulls = self.pulls.lock();
            // One that nobody polls any more would never end.
            pulls.retain(|_, pull| pull.strong_count().is_some_and(|count| count > 1));
            pulls.entry(key.clone()).or_insert_with(|| self.start(name, auth)).clone()
        };
        let done = pull.await;
        self.pulls.lock().remove(&key);
        done
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
