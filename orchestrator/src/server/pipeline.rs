//! The way of every request: authenticate, authorize, find the row, do the verb.
use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;
use tracing::Instrument;

use super::call::Call;
use super::instruments::{self, Place};
use super::negotiate::negotiate;
use super::output::{self, Reply, Response, Served};
use super::path::ResourcePath;
use super::query::Query;
use super::write::{self, Part};
use super::{Server, authenticate, body, connect, health, none, openapi, verbs};
use crate::api::{ApiError, Attributes, Decision, Presented, Subresource, User, Verb};
use crate::auth::authorizer::refusal;
use crate::auth::token::ISSUER;

/// Answers a request.
pub async fn handle(server: &Server, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let span = tracing::debug_span!("request", method = %parts.method, path = parts.uri.path());
    answer(server, &mut parts, body).instrument(span).await
}

async fn answer(server: &Server, parts: &mut Parts, body: Body) -> Response {
    let path = ResourcePath::parse(parts.uri.path());
    // What waits for a node or a Pod may wait long: the cluster's own requests must not wait for it.
    let long_running = path.as_ref().is_some_and(instruments::is_long_running);
    let permits = if long_running { server.long_running() } else { server.in_flight() };
    // A stream is no longer in flight once its head is answered.
    let permit = permits.acquire().await;
    if permit.is_err() {
        return output::refusal(&ApiError::Unavailable("the server is stopping".into()));
    }
    let began = Instant::now();
    let in_flight = (!long_running).then(|| server.instruments().begin(&parts.method));
    let mut place = None;
    let response = match respond(server, path, parts, body, &mut place).await {
        Ok(response) => response,
        Err(error) => {
            log(&error);
            output::refusal(&error)
        }
    };
    drop(in_flight);
    let (status, took) = (response.status(), began.elapsed());
    response.map(|body| server.instruments().end(place, status, took, body))
}

fn log(error: &ApiError) {
    match fault(error) {
        Fault::Ours => tracing::error!(%error, "request failed"),
        Fault::Others => tracing::warn!(%error, "request could not be answered"),
        Fault::Client => tracing::debug!(%error, "request refused"),
    }
}

/// Whose fault it is that a request was not answered as it was meant.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The server's.
    Ours,
    /// That of a node, a Pod or of load.
    Others,
    /// The client's.
    Client,
}

fn fault(error: &ApiError) -> Fault {
    match error {
        // A configuration that does not fit, whatever its code.
        ApiError::Unsupported(_) => Fault::Client,
        _ if error.code() < 500 => Fault::Client,
        _ if error.code() == 500 => Fault::Ours,
        _ => Fault::Others,
    }
}

/// Answers, and says where the request is counted once that is known.
async fn respond(
    server: &Server,
    path: Option<ResourcePath>,
    parts: &mut Parts,
    body: Body,
    place: &mut Option<Place>,
) -> Result<Response, ApiError> {
    let user = authenticate::user(server, parts).await?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    match path {
        Some(path) => {
            let attributes = path.attributes(&parts.method, &query);
            if let Some(row) = server.table().get(&path.group, &path.version, &path.resource) {
                let dry_run = query.text("dryRun").is_some();
                *place = server.instruments().place(row, &path, &attributes.verb, dry_run);
            }
            authorize(server, &user, &attributes)?;
            resource(server, &user, &path, &attributes.verb, &query, parts, body).await
        }
        None => {
            let verb = parts.method.as_str().to_lowercase();
            let path = parts.uri.path().to_owned();
            authorize(server, &user, &Attributes { verb, path, ..Attributes::default() })?;
            document(server, parts, &query).await
        }
    }
}

fn authorize(server: &Server, user: &User, attributes: &Attributes) -> Result<(), ApiError> {
    let Decision::Deny(reason) = server.authorizer().authorize(user, attributes) else {
        return Ok(());
    };
    let why = refusal(user, attributes, &reason);
    let resource = crate::api::GroupResource {
        group: attributes.group.clone().into(),
        resource: attributes.resource.clone().into(),
    };
    let name = attributes.name.clone();
    let subject = match (attributes.resource.as_str(), name.as_str()) {
        ("", _) => "forbidden".to_owned(),
        (_, "") => format!("{resource} is forbidden"),
        _ => format!("{resource} {name:?} is forbidden"),
    };
    Err(ApiError::Forbidden { resource, name, message: format!("{subject}: {why}") })
}

/// What is no resource: health, version, discovery, OpenAPI.
async fn document(server: &Server, parts: &Parts, query: &Query) -> Result<Response, ApiError> {
    let path = parts.uri.path();
    if parts.method == Method::GET
        && let Some(response) = instruments::get(server, path).await
    {
        return Ok(response);
    }
    if let Some(response) = health::get(server, path, query, &parts.method) {
        return Ok(response);
    }
    let found = server
        .discovery()
        .get(path, &parts.headers)
        .or_else(|| openapi::get(server, path, query, &parts.headers));
    match found {
        Some(_) if !matches!(parts.method, Method::GET | Method::HEAD) => {
            Err(ApiError::MethodNotAllowed)
        }
        Some(response) => Ok(response),
        None if path == "/" => Ok(root(server)),
        None => Err(ApiError::NoSuchPath),
    }
}

fn root(server: &Server) -> Response {
    let mut paths = vec!["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    paths.extend(server.discovery().paths());
    paths.push("/metrics");
    paths.sort_unstable();
    let json = json!({"paths": paths}).to_string();
    output::bytes(StatusCode::OK, "application/json", json.into())
}

async fn resource(
    server: &Server,
    user: &User,
    path: &ResourcePath,
    verb: &str,
    query: &Query,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let Some(row) = server.table().get(&path.group, &path.version, &path.resource) else {
        return none::get(path, verb).ok_or(ApiError::NoSuchPath);
    };
    let known =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if !known.contains(&parts.method) && path.subresource != "proxy" {
        return Err(ApiError::MethodNotAllowed);
    }
    let in_namespace = !path.namespace.is_empty();
    let misplaced = if row.namespaced() {
        // All namespaces at once can be read, but nothing in them written or named.
        !in_namespace && !matches!(verb, "list" | "watch")
    } else {
        in_namespace
    };
    if misplaced && row.computed.is_none() {
        return Err(ApiError::NoSuchPath);
    }
    let headers = &parts.headers;
    let mut call = Call { server, row, user, path, query, headers, warnings: Vec::new() };
    if !path.subresource.is_empty() {
        return subresource(&mut call, parts, verb, body).await;
    }
    let accepted = negotiate(accept(parts))?;
    let allowed = row.verbs.iter().find(|allowed| allowed.as_str() == verb);
    let verb = allowed.filter(|verb| names_object(**verb) != path.name.is_empty());
    let reply = match verb.ok_or(ApiError::MethodNotAllowed)? {
        Verb::Get => verbs::get(&call).await,
        Verb::List => verbs::list(&call).await,
        Verb::Watch => verbs::watch(&call, accepted.shape).await,
        Verb::Create => verbs::create(&mut call, body).await,
        Verb::Update => verbs::update(&mut call, body, Part::Object).await,
        Verb::Patch => verbs::patch(&mut call, body, Part::Object).await,
        Verb::Delete => verbs::delete(&mut call, body).await,
        Verb::DeleteCollection => verbs::delete_collection(&mut call, body).await,
    }?;
    output::render(&call, accepted, reply)
}

/// Whether a verb is about one object rather than the collection.
fn names_object(verb: Verb) -> bool {
    matches!(verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Delete)
}

async fn subresource(
    call: &mut Call<'_>,
    parts: &Parts,
    verb: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let row = call.row.clone();
    let name = call.path.subresource.as_str();
    let found = row.subresources.iter().find(|subresource| subresource.name() == name);
    let Some(found) = found else { return Err(connect::absent::refuse(call).await) };
    if let Subresource::Connect { verbs, .. } = found {
        if !verbs.iter().any(|allowed| allowed.as_str() == verb) {
            return Err(ApiError::MethodNotAllowed);
        }
        if name == "proxy" {
            return connect::proxy::call(call, parts, body).await;
        }
        let reply = connect::call(call, &parts.method, body).await?;
        return output::render(call, Default::default(), reply);
    }
    let accepted = negotiate(call.headers.get("accept").and_then(|value| value.to_str().ok()))?;
    let reply = match (found, &parts.method) {
        (Subresource::Scale { .. }, _) => connect::scale::call(call, found, verb, body).await,
        (_, &Method::GET | &Method::HEAD) => verbs::get(call).await,
        (_, &Method::PUT) => verbs::update(call, body, Part::Status).await,
        (_, &Method::PATCH) => verbs::patch(call, body, Part::Status).await,
        _ => Err(ApiError::MethodNotAllowed),
    }?;
    output::render(call, accepted, reply)
}

/// Answers a POST of a resource that is computed, not stored.
pub async fn compute(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let computed = call.row.computed.clone().ok_or(ApiError::MethodNotAllowed)?;
    let media_type = body::media_type(call.headers);
    let document = body::decode(media_type, &body::read(body).await?)?;
    let object = write::object(call, document.value)?;
    let answer = match computed.token(&object)? {
        Some(Presented { token, audiences }) => {
            let mut shown_to: Vec<&str> = audiences.iter().map(String::as_str).collect();
            if shown_to.is_empty() {
                shown_to.push(ISSUER);
            }
            let owner = authenticate::bearer(call.server, &token, &shown_to).await;
            computed.about_token(object, owner)?
        }
        None => computed.create(object, call.user, call.server.authorizer())?,
    };
    Ok(Reply::Object(StatusCode::CREATED, Served::from(answer)))
}

fn accept(parts: &Parts) -> Option<&str> {
    parts.headers.get("accept").and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_got_wrong_is_its_fault() {
        let why = || "why".to_owned();
        assert_eq!(fault(&ApiError::Internal(why())), Fault::Ours);
        assert_eq!(fault(&ApiError::Unavailable(why())), Fault::Others);
        assert_eq!(fault(&ApiError::Timeout(why())), Fault::Others);
        for error in
            [ApiError::BadRequest(why()), ApiError::Unsupported(why()), ApiError::TooLarge(1)]
        {
            assert_eq!(fault(&error), Fault::Client, "{error}");
        }
    }
}
