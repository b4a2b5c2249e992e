//! The node's own HTTP API, with the kubelet's paths.
//!
//! The API server asks it for what only the node knows, foremost logs.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Deserialize;
use serde_json::json;
use shim::cri::{ContainerState, Id};
use shim::logs;
use tokio_util::sync::CancellationToken;

use super::pods::{Pods, log_folder, log_path};
use super::{Node, stats};
use crate::client::ObjectKey;

/// Prefix of container ids in the API.
const SCHEME: &str = "podium://";
/// How often a follower asks whether the container has ended, beside the events.
const ENDED: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    pods: Arc<Pods>,
}

/// The routes.
pub(super) fn router(node: Arc<Node>, pods: Arc<Pods>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(list_pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .with_state(Shared { node: Arc::clone(&node), pods })
        .merge(stats::router(node))
}

/// The options of a log request, in the words of `PodLogOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogQuery {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    since_seconds: Option<u64>,
    since_time: Option<jiff::Timestamp>,
    limit_bytes: Option<u64>,
}

async fn list_pods(State(shared): State<Shared>) -> Response {
    let pods = shared.pods.list();
    Json(json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods}))
        .into_response()
}

async fn container_logs(
    State(Shared { node, pods }): State<Shared>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    let pod = node.pods.get(&ObjectKey::new(&namespace, &name));
    let Some(pod) = pod.filter(|pod| pods.holds(pod)) else {
        return refusal(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist"));
    };
    let (attempt, id) = match attempt(&pod, &container, query.previous) {
        Ok(found) => found,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    let path = log_folder(&node.config.data_dir, &pod).join(log_path(&container, attempt));
    let ended = CancellationToken::new();
    let since = query.since_time.map(SystemTime::from).or_else(|| {
        let now = SystemTime::from(node.clock.now());
        now.checked_sub(Duration::from_secs(query.since_seconds?))
    });
    let options = logs::Options {
        follow: query.follow,
        ended: ended.clone(),
        tail_lines: query.tail_lines,
        since,
        limit_bytes: query.limit_bytes,
        timestamps: query.timestamps,
        stream: None,
    };
    let text = match logs::read(&path, options).await {
        Ok(text) => text,
        Err(error) => return refusal(StatusCode::NOT_FOUND, error.to_string()),
    };
    if !query.follow {
        return body(text);
    }
    body(followed(text, ended, async move { until_ended(&node, &id).await }))
}

/// The text of a follower, which is told when the container has ended. It may be over
/// before, where it was given a limit.
fn followed<T>(
    text: impl Stream<Item = T>,
    ended: CancellationToken,
    end: impl Future<Output = ()>,
) -> impl Stream<Item = T> {
    text.take_until(async move {
        end.await;
        ended.cancel();
        std::future::pending::<()>().await
    })
}

fn body(text: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Response {
    let headers = [(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (headers, axum::body::Body::from_stream(text)).into_response()
}

fn refusal(status: StatusCode, why: String) -> Response {
    (status, why).into_response()
}

/// Which attempt of a container is asked for: its number and the runtime's id.
fn attempt(pod: &Pod, container: &str, previous: bool) -> Result<(u32, Id), String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        let inits = status.init_container_statuses.iter().flatten();
        inits.chain(status.container_statuses.iter().flatten())
    });
    let Some(status) = all.into_iter().find(|status| status.name == container) else {
        return Err(format!("container {container:?} in pod {name:?} is not available"));
    };
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let count = u32::try_from(status.restart_count).unwrap_or_default();
    if previous {
        let last = last.ok_or_else(|| {
            format!("previous terminated container {container:?} in pod {name:?} not found")
        })?;
        // While one waits to be started again, the count is still that of the last.
        let number = if waiting.is_some() { count } else { count.saturating_sub(1) };
        return Ok((number, id(last.container_id.as_deref())));
    }
    if let Some(waiting) = waiting
        && status.container_id.is_none()
    {
        let reason = match waiting.reason.as_deref() {
            Some("ErrImagePull" | "ImagePullBackOff") => "trying and failing to pull image",
            Some("InvalidImageName") => "image can't be pulled",
            Some(reason) => reason,
            None => "ContainerCreating",
        };
        return Err(format!(
            "container {container:?} in pod {name:?} is waiting to start: {reason}"
        ));
    }
    Ok((count, current_id(status)))
}

fn current_id(status: &ContainerStatus) -> Id {
    id(status.container_id.as_deref())
}

fn id(text: Option<&str>) -> Id {
    let text = text.unwrap_or_default();
    Id(text.strip_prefix(SCHEME).unwrap_or(text).to_owned())
}

/// Waits until a container does not run any more.
async fn until_ended(node: &Node, id: &Id) {
    let mut events = node.runtime.container_events();
    loop {
        let status = node.runtime.container_status(id);
        if !status.is_ok_and(|status| !matches!(status.state, ContainerState::Exited { .. })) {
            return;
        }
        tokio::select! {
            event = events.recv() => if event.is_err() { tokio::time::sleep(ENDED).await },
            () = tokio::time::sleep(ENDED) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;

    #[test]
    fn a_follower_ends_with_its_text_whether_or_not_the_container_has() {
        let text = stream::iter(["ten", "bytes"]);
        let pieces = followed(text, CancellationToken::new(), std::future::pending());
        assert_eq!(pieces.collect::<Vec<_>>().now_or_never().unwrap(), ["ten", "bytes"]);
    }

    #[test]
    fn a_follower_reads_on_after_the_container_has_ended() {
        let ended = CancellationToken::new();
        let text = stream::once(ended.clone().cancelled_owned()).map(|()| "last words");
        let pieces = followed(text, ended, std::future::ready(()));
        assert_eq!(pieces.collect::<Vec<_>>().now_or_never().unwrap(), ["last words"]);
    }
}
