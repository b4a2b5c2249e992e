//! `proxy` of Pods, Services and nodes: a request passed on to what they serve.
//!
//! The name says where to, as `[SCHEME:]NAME[:PORT]`. The credentials of the
//! caller are for us and go no further. A redirect is rewritten so that the
//! client stays below this path.
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tower::ServiceExt;

use crate::api::{ApiError, LabelSelector, ObjectKey, User};
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{self, Response};
use crate::storage::ListQuery;

/// How long the other side may take until its headers come; kube-apiserver waits for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a node serves its API, as the kubelet does.
const NODE_API_PORT: i32 = 10_250;

/// The label that says which Service an EndpointSlice is of.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// Headers that are about one connection (RFC 9110, 7.6.1), and our caller's credentials.
const OURS: [HeaderName; 11] = [
    AUTHORIZATION,
    CONNECTION,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a name in the path says.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    name: &'a str,
    port: &'a str,
}

/// Passes a request on.
pub async fn call(call: &Call<'_>, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let tail = call.path.tail.as_str();
    if tail.is_empty() && matches!(parts.method, Method::GET | Method::HEAD) {
        return redirect(parts);
    }
    let kind = call.row.singular.as_ref();
    let target = target(kind, &call.path.name).ok_or_else(|| {
        ApiError::BadRequest(format!("invalid {kind} request {:?}", call.path.name))
    })?;
    let request = outgoing(parts, tail, body)?;
    let answer = match call.row.plural.as_ref() {
        "nodes" => tokio::time::timeout(PATIENCE, node(call, &target, request)).await,
        "pods" => {
            let to = pod(call, &target).await?;
            tokio::time::timeout(PATIENCE, dial(call, to, request)).await
        }
        _ => {
            let to = service(call, &target).await?;
            tokio::time::timeout(PATIENCE, dial(call, to, request)).await
        }
    };
    let late = |_| ApiError::Timeout("what is proxied to did not answer in time".into());
    let mut response = answer.map_err(late)??;
    let prefix = parts.uri.path().strip_suffix(tail).unwrap_or_default().to_owned();
    tidy(response.headers_mut(), &prefix);
    Ok(response)
}

/// Relative links need the slash.
fn redirect(parts: &Parts) -> Result<Response, ApiError> {
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/{query}", parts.uri.path());
    let mut response = output::empty(StatusCode::MOVED_PERMANENTLY);
    let location =
        HeaderValue::try_from(location).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// The request as the other side shall see it.
fn outgoing(parts: &Parts, tail: &str, body: Body) -> Result<Request<Body>, ApiError> {
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if tail.is_empty() { "/" } else { tail };
    let uri: Uri = format!("{path}{query}")
        .parse()
        .map_err(|error| ApiError::BadRequest(format!("invalid path: {error}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers.clone();
    let headers = request.headers_mut();
    drop_ours(headers);
    if let Ok(original) = HeaderValue::try_from(parts.uri.path()) {
        headers.insert("x-forwarded-uri", original);
    }
    if let Some(host) = parts.headers.get(HOST) {
        headers.insert("x-forwarded-host", host.clone());
    }
    Ok(request)
}

fn drop_ours(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(CONNECTION).and_then(|value| value.to_str().ok()) {
        let named: Vec<HeaderName> =
            named.split(',').filter_map(|name| HeaderName::try_from(name.trim()).ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &OURS {
        headers.remove(name);
    }
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
}

/// Keeps the client below `prefix`; what is allowed to other origins is ours to say.
fn tidy(headers: &mut HeaderMap, prefix: &str) {
    drop_ours(headers);
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(path) = location.and_then(|location| below(location, prefix))
        && let Ok(path) = HeaderValue::try_from(path)
    {
        headers.insert(LOCATION, path);
    }
}

/// Where a redirect to an absolute path leads through us.
fn below(location: &str, prefix: &str) -> Option<String> {
    let other_host = location.starts_with("//");
    if !location.starts_with('/') || other_host || location.starts_with(prefix) {
        return None;
    }
    Some(format!("{prefix}{location}"))
}

/// `[SCHEME:]NAME[:PORT]`; a node's API has TLS, but guests serve none, so https is no use to them.
fn target<'a>(kind: &str, text: &'a str) -> Option<Target<'a>> {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, port) = match parts.as_slice() {
        [name] => (*name, ""),
        [name, port] => (*name, *port),
        ["http" | "", name, port] => (*name, *port),
        ["https", name, port] if kind == "node" => (*name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some(Target { name, port })
}

async fn node(
    call: &Call<'_>,
    target: &Target<'_>,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let key = ObjectKey::cluster(target.name);
    let found = call.server.storage().get(call.row, &key).await;
    let found = found.map_err(|error| storage_error(call.row, target.name, error))?;
    check_port(&found.object()?.decode()?, target)?;
    let service = call.server.nodes().get(target.name).ok_or_else(|| {
        ApiError::Unavailable(format!("node {:?} is not connected to the API server", target.name))
    })?;
    request.extensions_mut().insert(User::component("system:apiserver"));
    let Ok(response) = service.oneshot(request).await;
    Ok(response)
}

/// Refuses a port at which the node does not serve its API: no other can be reached.
fn check_port(node: &Node, target: &Target<'_>) -> Result<(), ApiError> {
    let endpoints = node.status.as_ref().and_then(|status| status.daemon_endpoints.as_ref());
    let served = endpoints.and_then(|endpoints| endpoints.kubelet_endpoint.as_ref());
    // None is said as 0.
    let served = served.map(|endpoint| endpoint.port).filter(|port| *port != 0);
    let served = served.unwrap_or(NODE_API_PORT);
    // Clients ask for the usual port without looking which it is.
    if target.port.is_empty()
        || target.port.parse().is_ok_and(|port: i32| port == served || port == NODE_API_PORT)
    {
        return Ok(());
    }
    Err(ApiError::Unavailable(format!(
        "error trying to reach service: of node {:?} only port {served} is reached, its API",
        target.name
    )))
}

async fn dial(
    call: &Call<'_>,
    to: SocketAddr,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let dialer = call.server.dialer().ok_or_else(|| {
        ApiError::Unavailable("the API server is not connected to the pod network".into())
    })?;
    if let Ok(host) = HeaderValue::try_from(to.to_string()) {
        request.headers_mut().insert(HOST, host);
    }
    dialer
        .request(to, request)
        .await
        .map_err(|why| ApiError::Unavailable(format!("error trying to reach service: {why}")))
}

/// The address of a Pod; its first container port if none is named.
async fn pod(call: &Call<'_>, target: &Target<'_>) -> Result<SocketAddr, ApiError> {
    let key = ObjectKey::new(call.path.namespace.as_str(), target.name);
    let stored = call.server.storage().get(call.row, &key).await;
    let stored = stored.map_err(|error| storage_error(call.row, target.name, error))?;
    let pod: Pod = stored.object()?.decode()?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let ip: IpAddr = ip.parse().map_err(|_| ApiError::BadRequest("address not allowed".into()))?;
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = match target.port {
        "" => ports.next().map_or(Some(80), |port| u16::try_from(port.container_port).ok()),
        named => named.parse().ok().or_else(|| {
            let found = ports.find(|port| port.name.as_deref() == Some(named))?;
            u16::try_from(found.container_port).ok()
        }),
    };
    let port = port.filter(|port| *port > 0).ok_or_else(|| {
        ApiError::BadRequest(format!("pod {:?} has no port {:?}", target.name, target.port))
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// The address of a Service, or of one of its endpoints where it has none of its own.
async fn service(call: &Call<'_>, target: &Target<'_>) -> Result<SocketAddr, ApiError> {
    let key = ObjectKey::new(call.path.namespace.as_str(), target.name);
    let stored = call.server.storage().get(call.row, &key).await;
    let stored = stored.map_err(|error| storage_error(call.row, target.name, error))?;
    let service: Service = stored.object()?.decode()?;
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let number = target.port.parse::<i32>().ok();
    let port = ports.iter().find(|port| match (target.port, number) {
        ("", _) => ports.len() == 1 || port.name.as_deref().unwrap_or_default().is_empty(),
        (_, Some(number)) => port.port == number,
        (name, None) => port.name.as_deref() == Some(name),
    });
    let no_endpoints = || {
        ApiError::Unavailable(format!("no endpoints available for service {:?}", call.path.name))
    };
    let port = port.ok_or_else(|| match number {
        Some(number) => ApiError::Unavailable(format!(
            "no service port {number} found for service {:?}",
            target.name
        )),
        None => no_endpoints(),
    })?;
    let address = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    match (address, u16::try_from(port.port)) {
        (Some(ip), Ok(port)) => Ok(SocketAddr::new(ip, port)),
        _ => endpoint(call, target.name, port.name.as_deref()).await?.ok_or_else(no_endpoints),
    }
}

/// A ready endpoint of a Service that has no address of its own.
async fn endpoint(
    call: &Call<'_>,
    service: &str,
    port: Option<&str>,
) -> Result<Option<SocketAddr>, ApiError> {
    let Some(row) = call.server.table().get("discovery.k8s.io", "v1", "endpointslices") else {
        return Ok(None);
    };
    let labels = LabelSelector::parse(&format!("{OF_SERVICE}={service}"));
    let query = ListQuery {
        namespace: Some(call.path.namespace.clone()),
        labels: labels.map_err(|error| ApiError::BadRequest(error.to_string()))?,
        ..ListQuery::default()
    };
    let page = call.server.storage().list(row, &query).await?;
    let mut found = Vec::new();
    for item in page.items {
        let slice: EndpointSlice = item.object()?.decode()?;
        let named = |name: &Option<String>| name.as_deref().unwrap_or_default().to_owned();
        let wanted = port.unwrap_or_default();
        let ports = slice.ports.iter().flatten().filter(|port| named(&port.name) == wanted);
        let number = ports.filter_map(|port| u16::try_from(port.port?).ok()).next();
        let Some(number) = number else { continue };
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
            endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
        });
        let addresses = ready.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
        found.extend(addresses.map(|ip: IpAddr| SocketAddr::new(ip, number)));
    }
    // Any of them, as kube-apiserver picks one by chance.
    let at = (call.server.entropy().fraction() * found.len() as f64) as usize;
    Ok(found.get(at).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_scheme_and_port() {
        let found = |text| target("pod", text).map(|target| (target.name, target.port));
        assert_eq!(found("web"), Some(("web", "")));
        assert_eq!(found("web:80"), Some(("web", "80")));
        assert_eq!(found("http:web:main"), Some(("web", "main")));
        for wrong in ["", ":80", "https:web:443", "a:b:c:d"] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
        let node = target("node", "https:n:10250").unwrap();
        assert_eq!((node.name, node.port), ("n", "10250"));
    }

    #[test]
    fn redirects_stay_below_the_proxy() {
        let prefix = "/api/v1/namespaces/x/services/web/proxy";
        assert_eq!(
            below("/login", prefix).as_deref(),
            Some("/api/v1/namespaces/x/services/web/proxy/login")
        );
        for kept in [
            "login",
            "https://example.com/",
            "//example.com/",
            "/api/v1/namespaces/x/services/web/proxy/a",
        ] {
            assert_eq!(below(kept, prefix), None, "{kept}");
        }
    }

    #[test]
    fn credentials_go_no_further() {
        let request = Request::post("/api/v1/nodes/n/proxy/a?b=c")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "x")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .header("accept", "text/plain");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let sent = outgoing(&parts, "/a", Body::empty()).unwrap();
        assert_eq!(sent.uri(), "/a?b=c");
        assert_eq!(sent.headers()["accept"], "text/plain");
        assert_eq!(sent.headers()["x-forwarded-uri"], "/api/v1/nodes/n/proxy/a");
        for gone in ["authorization", "impersonate-user", "connection", "x-mine"] {
            assert!(!sent.headers().contains_key(gone), "{gone}");
        }
    }
}
