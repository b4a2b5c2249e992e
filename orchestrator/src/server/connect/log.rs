//! `pods/log`: what a container has written, asked of the node it runs on.
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tower::ServiceExt;

use crate::api::{ApiError, User};
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{self, Reply};

/// Options that are the node's to follow.
const OPTIONS: &[&str] = &[
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "stream",
    "tailLines",
    "timestamps",
];

/// The annotation that says which container is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// As much of a node's refusal as is passed on.
const REFUSAL_MAX: usize = 16 * 1024;

/// What has to be escaped in a query string.
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+');

/// Streams the log of a container.
pub async fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    let stored = call
        .server
        .storage()
        .get(call.row, &call.key())
        .await
        .map_err(|error| storage_error(call.row, &call.path.name, error))?;
    let pod: Pod = stored.object()?.decode()?;
    let container = container(&pod, call.query.text("container"))?;
    for option in ["tailLines", "sinceSeconds", "limitBytes"] {
        if call.query.number(option)?.is_some_and(|number| number < 0) {
            return Err(ApiError::Unprocessable(format!(
                "PodLogOptions \"\" is invalid: {option}: Invalid value: must be greater than or equal to 0"
            )));
        }
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    if node.is_empty() {
        // A Pod that runs nowhere yet has written nothing.
        let nothing = output::bytes(StatusCode::OK, "text/plain", bytes::Bytes::new());
        return Ok(Reply::Ready(nothing));
    }
    let service = call.server.nodes().get(node).ok_or_else(|| {
        ApiError::Unavailable(format!("node {node:?} is not connected to the API server"))
    })?;
    let request = request(call, &container)?;
    let Ok(response) = service.oneshot(request).await;
    if response.status().is_success() {
        return Ok(Reply::Ready(response));
    }
    Err(refusal(call, response).await)
}

/// The kubelet's path for a container's log.
fn request(call: &Call<'_>, container: &str) -> Result<Request<Body>, ApiError> {
    let (namespace, pod) = (&call.path.namespace, &call.path.name);
    let mut uri = format!("/containerLogs/{namespace}/{pod}/{container}");
    let mut separator = '?';
    for option in OPTIONS {
        if let Some(value) = call.query.text(option) {
            uri.push(separator);
            uri.push_str(&format!("{option}={}", utf8_percent_encode(value, RESERVED)));
            separator = '&';
        }
    }
    let user = User::component("system:apiserver");
    Request::get(uri)
        .extension(user)
        .body(Body::empty())
        .map_err(|error| ApiError::BadRequest(error.to_string()))
}

async fn refusal(call: &Call<'_>, response: output::Response) -> ApiError {
    let status = response.status();
    let text = match Limited::new(response.into_body(), REFUSAL_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
        Err(error) => error.to_string(),
    };
    match status {
        StatusCode::BAD_REQUEST => ApiError::BadRequest(text),
        StatusCode::NOT_FOUND if text.is_empty() => call.not_found(&call.path.name),
        StatusCode::NOT_FOUND => ApiError::BadRequest(text),
        StatusCode::SERVICE_UNAVAILABLE => ApiError::Unavailable(text),
        _ => ApiError::Internal(text),
    }
}

/// The container that is meant, in the words of Kubernetes if that is not clear.
fn container(pod: &Pod, named: Option<&str>) -> Result<String, ApiError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let main: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init = spec.init_containers.iter().flatten().map(|c| c.name.as_str());
    let init: Vec<&str> = init.collect();
    if let Some(named) = named {
        if main.contains(&named) || init.contains(&named) {
            return Ok(named.to_owned());
        }
        return Err(ApiError::BadRequest(format!("container {named} is not valid for pod {name}")));
    }
    let annotations = pod.metadata.annotations.as_ref();
    let preferred = annotations.and_then(|annotations| annotations.get(DEFAULT_CONTAINER));
    match (main.as_slice(), preferred) {
        ([only], _) => Ok((*only).to_owned()),
        (_, Some(preferred)) if main.contains(&preferred.as_str()) => Ok(preferred.clone()),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(ApiError::BadRequest(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str], annotations: serde_json::Value) -> Pod {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"containers": containers, "initContainers": [{"name": "setup"}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_container_must_be_clear() {
        let one = pod(&["a"], json!({}));
        assert_eq!(container(&one, None).unwrap(), "a");
        assert_eq!(container(&one, Some("setup")).unwrap(), "setup");
        let error = container(&one, Some("b")).unwrap_err();
        assert_eq!(error.to_string(), "container b is not valid for pod web");
        let error = container(&pod(&["a", "b"], json!({})), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [setup]"
        );
        let chosen = pod(&["a", "b"], json!({DEFAULT_CONTAINER: "b"}));
        assert_eq!(container(&chosen, None).unwrap(), "b");
    }
}
