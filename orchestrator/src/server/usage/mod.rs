//! What nodes and Pods use: `metrics.k8s.io`, without a metrics server.
//!
//! A rate is the difference between two samples. One is taken when somebody
//! asks; the one before it, by a slow round in the background. Nodes are asked
//! through their APIs, as for anything else that only they know.

mod answer;
mod samples;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::NodeApis;
use crate::api::User;
use samples::{Samples, Summary};

pub use answer::{get, list};

/// The time between two rounds while somebody asks: metrics-server's resolution
/// as it is usually installed, and the autoscaler's period.
const ROUND: Duration = Duration::from_secs(15);

/// The time between two rounds while nobody asks.
const IDLE_ROUND: Duration = Duration::from_secs(60);

/// Nobody asks when the last question is so old.
const IDLE_AFTER: Duration = Duration::from_secs(300);

/// Samples younger than this are as good as new ones.
const FRESH: Duration = Duration::from_secs(2);

/// How long a node may take to answer: the question of somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// As many bytes as a node's answer may have: some 700 for each of 10,000 Pods, four times over.
const ANSWER_MAX: usize = 32 << 20;

/// The path of the kubelet's summary, of what is needed alone.
const SUMMARY: &str = "/stats/summary?only_cpu_and_memory=true";

/// The samples of all nodes.
pub struct Usage {
    samples: Mutex<Samples>,
    state: Mutex<State>,
    /// One round at a time.
    turn: Semaphore,
}

#[derive(Default)]
struct State {
    sampled: Option<Instant>,
    asked: Option<Instant>,
}

/// Why a node did not say what it uses.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it did not answer in time")]
    Late,
    #[error("it answered with {0}")]
    Refused(http::StatusCode),
    #[error("its answer broke off: {0}")]
    Broken(String),
    #[error("its answer is no summary")]
    Decode(#[source] serde_json::Error),
}

impl Default for Usage {
    fn default() -> Self {
        Self { samples: Mutex::default(), state: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl Usage {
    /// Takes samples now and then, until `stop`.
    pub async fn run(&self, nodes: &NodeApis, stop: CancellationToken) {
        loop {
            self.round(nodes).await;
            let idle = self.state.lock().asked.is_none_or(|asked| asked.elapsed() > IDLE_AFTER);
            let pause = tokio::time::sleep(if idle { IDLE_ROUND } else { ROUND });
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Takes samples for somebody who asks, unless there are fresh ones.
    async fn ask(&self, nodes: &NodeApis) {
        self.state.lock().asked = Some(Instant::now());
        self.round(nodes).await;
    }

    async fn round(&self, nodes: &NodeApis) {
        // Who waited for the turn of another finds its samples fresh.
        let Ok(_turn) = self.turn.acquire().await else { return };
        if self.state.lock().sampled.is_some_and(|sampled| sampled.elapsed() < FRESH) {
            return;
        }
        let apis = nodes.all();
        let answers = join_all(apis.iter().map(|(name, api)| async move {
            let answer = timeout(PATIENCE, summary(api.clone())).await;
            (name.as_str(), answer.unwrap_or(Err(AskError::Late)))
        }))
        .await;
        let mut samples = self.samples.lock();
        samples.retain(|node| apis.iter().any(|(name, _)| name == node));
        for (node, answer) in answers {
            match answer {
                Ok(summary) => samples.add(node, &summary),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(node, error, "a node does not say what it uses");
                }
            }
        }
        self.state.lock().sampled = Some(Instant::now());
    }
}

/// Asks a node what it uses.
async fn summary(api: Router) -> Result<Summary, AskError> {
    let user = User::component("system:apiserver");
    let request = Request::get(SUMMARY).extension(user).body(Body::empty());
    let request = request.expect("the path is a constant");
    let Ok(response) = api.oneshot(request).await;
    if !response.status().is_success() {
        return Err(AskError::Refused(response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| AskError::Broken(error.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(AskError::Decode)
}

/// A length of time as Go writes it, in thousandths of a second.
fn go_duration(time: Duration) -> String {
    let millis = time.as_millis();
    let (minutes, seconds) = (millis / 60_000, millis % 60_000);
    let mut text = format!("{}.{:03}", seconds / 1000, seconds % 1000);
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{text}s"),
        (0, minutes) => format!("{minutes}m{text}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{text}s"),
    }
}

/// The time between two points, nothing if they are in the wrong order.
fn between(before: Timestamp, after: Timestamp) -> Duration {
    Duration::try_from(after.duration_since(before)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_go_does() {
        let text = |millis| go_duration(Duration::from_millis(millis));
        let texts = [0, 250, 15_000, 15_069, 60_000, 65_200, 3_600_000].map(text);
        assert_eq!(texts, ["0s", "0.25s", "15s", "15.069s", "1m0s", "1m5.2s", "1h0m0s"]);
    }
}
