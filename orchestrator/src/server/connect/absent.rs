//! Subresources of a Pod that need a process to enter: a sandbox has none, and says so.
use crate::api::ApiError;
use crate::server::call::Call;
use crate::server::errors::storage_error;

/// The refusal of a subresource that the row does not list: with a reason where people
/// coming from containers would expect it, else that there is no such path.
pub async fn refuse(call: &Call<'_>) -> ApiError {
    let pods = call.row.gvk.group.is_empty() && call.row.plural == "pods";
    let (namespace, name) = (call.path.namespace.as_str(), call.path.name.as_str());
    let why = why(namespace, name, &call.path.subresource).filter(|_| pods);
    let Some(why) = why else { return ApiError::NoSuchPath };
    match call.server.storage().get(call.row, &call.key()).await {
        Ok(_) => ApiError::BadRequest(why),
        Err(error) => storage_error(call.row, name, error),
    }
}

fn why(namespace: &str, pod: &str, subresource: &str) -> Option<String> {
    Some(match subresource {
        "exec" => format!(
            "cannot run a command in pod {pod:?}: a Wasm sandbox runs its one program and has no shell; read what it writes with `kubectl logs {pod} -n {namespace}`"
        ),
        "attach" => format!(
            "cannot attach to pod {pod:?}: a Wasm sandbox has no terminal; follow what it writes with `kubectl logs -f {pod} -n {namespace}`"
        ),
        "portforward" => format!(
            "cannot forward a port of pod {pod:?}: run `kubectl proxy` and ask for /api/v1/namespaces/{namespace}/pods/{pod}:PORT/proxy/ of it, or make a Service of type NodePort or an Ingress"
        ),
        "ephemeralcontainers" => format!(
            "cannot add a container to pod {pod:?}: a Wasm sandbox has no processes to look at; see `kubectl logs {pod} -n {namespace}` and `kubectl describe pod {pod} -n {namespace}`"
        ),
        _ => return None,
    })
}
