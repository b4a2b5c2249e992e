//! get and list of what is measured.
//!
//! Which objects there are, and their labels, is read from the Nodes and Pods
//! themselves; what has not been measured yet is not there.
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;
use serde_json::Value;

use super::go_duration;
use super::samples::{Samples, Used};
use crate::api::{ApiError, Object, Quantity, Resource};
use crate::apis::metrics::{ContainerMetrics, NodeMetrics, PodMetrics, Usage};
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{Reply, Served};
use crate::server::verbs::list_query;
use crate::storage::ListQuery;

/// Answers what one node or Pod uses.
pub async fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    let subject = subject(call)?;
    let stored = call.server.storage().get(subject, &call.key()).await;
    let stored = stored.map_err(|error| storage_error(call.row, &call.path.name, error))?;
    call.server.usage().ask(call.server.nodes()).await;
    let object = stored.object()?;
    let found = measured(call, &call.server.usage().samples.lock(), &object)?;
    let found = found.ok_or_else(|| call.not_found(&call.path.name))?;
    Ok(Reply::ok(Served::from(found)))
}

/// Answers what the nodes or Pods that are selected use.
pub async fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    // As metrics-server has it: all at once, as what is measured has no pages to go on with.
    let query = ListQuery { limit: None, continue_token: None, ..list_query(call)? };
    let page = call.server.storage().list(subject(call)?, &query).await?;
    call.server.usage().ask(call.server.nodes()).await;
    let mut found = Vec::with_capacity(page.items.len());
    let samples = call.server.usage().samples.lock();
    for stored in &page.items {
        found.extend(measured(call, &samples, &stored.object()?)?);
    }
    drop(samples);
    Ok(Reply::Objects(found))
}

/// The resource whose objects are measured.
fn subject<'a>(call: &'a Call<'_>) -> Result<&'a Resource, ApiError> {
    call.server
        .table()
        .get("", "v1", &call.row.plural)
        .map(|row| &**row)
        .ok_or(ApiError::NoSuchPath)
}

/// What an object uses, if that is known.
fn measured(call: &Call<'_>, samples: &Samples, of: &Object) -> Result<Option<Object>, ApiError> {
    let metadata = ObjectMeta {
        name: of.metadata.name.clone(),
        namespace: of.metadata.namespace.clone(),
        labels: of.metadata.labels.clone(),
        creation_timestamp: Some(Time(call.server.now())),
        ..ObjectMeta::default()
    };
    if !call.row.namespaced() {
        let Some(used) = samples.node(&of.key().name) else { return Ok(None) };
        let node = NodeMetrics {
            metadata,
            timestamp: Some(Time(used.at)),
            window: go_duration(used.window),
            usage: usage(&used),
        };
        return encoded(call, &node).map(Some);
    }
    let node = of.body.get("spec").and_then(|spec| spec.get("nodeName")).and_then(Value::as_str);
    let Some(containers) = samples.pod(node.unwrap_or_default(), &of.key()) else {
        return Ok(None);
    };
    let longest = containers.iter().map(|(_, used)| used.window).max();
    let pod = PodMetrics {
        metadata,
        timestamp: containers.iter().map(|(_, used)| used.at).min().map(Time),
        window: go_duration(longest.unwrap_or(Duration::ZERO)),
        containers: containers
            .iter()
            .map(|(name, used)| ContainerMetrics { name: (*name).to_owned(), usage: usage(used) })
            .collect(),
    };
    encoded(call, &pod).map(Some)
}

fn usage(used: &Used) -> Usage {
    let amount =
        |name: &str, quantity: Quantity| (name.to_owned(), resource::Quantity::from(quantity));
    Usage::from([
        amount("cpu", Quantity::from_nanos(used.cpu_nanos)),
        amount("memory", Quantity::from_bytes(used.memory)),
    ])
}

fn encoded<K: Serialize>(call: &Call<'_>, typed: &K) -> Result<Object, ApiError> {
    let mut object = Object::default();
    object.encode(typed)?;
    object.api_version = call.row.gvk.api_version();
    object.kind = call.row.gvk.kind.to_string();
    Ok(object)
}
