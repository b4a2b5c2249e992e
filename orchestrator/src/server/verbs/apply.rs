//! Server-side apply: PATCH with the configuration that a manager wants.
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::managed_fields::{self, Author};
use crate::api::{ApiError, Object};
use crate::server::body::{self, Document};
use crate::server::call::Call;
use crate::server::output::{Reply, Served};
use crate::server::ownership;
use crate::server::query::WriteOptions;
use crate::server::write::{self, Changed, Part};

/// How often it is tried again after somebody made or removed the object in between.
const ATTEMPTS: usize = 3;

/// Applies the configuration in a body.
pub async fn apply(
    call: &mut Call<'_>,
    bytes: &[u8],
    part: Part,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    let config = configuration(bytes)?;
    let (status, served) = apply_configuration(call, config, part, options).await?;
    Ok(Reply::Object(status, served))
}

/// The configuration in a body, which is YAML or JSON.
pub fn configuration(bytes: &[u8]) -> Result<Document, ApiError> {
    let document = body::yaml(bytes)
        .map_err(|error| ApiError::BadRequest(format!("error decoding YAML: {error}")))?;
    if !document.value.is_object() {
        return Err(ApiError::BadRequest("error decoding YAML: not an object".into()));
    }
    Ok(document)
}

/// Applies a configuration to the object that the path names, which may be new.
pub async fn apply_configuration(
    call: &mut Call<'_>,
    mut config: Document,
    part: Part,
    options: &WriteOptions,
) -> Result<(StatusCode, Served), ApiError> {
    check(call, &mut config.value)?;
    let author = ownership::author(call, part, options);
    for _ in 0..ATTEMPTS {
        match change(call, &author, &config, part, options).await {
            Err(ApiError::NotFound { .. }) if call.path.subresource.is_empty() => {}
            outcome => return outcome.map(|served| (StatusCode::OK, served)),
        }
        match create(call, &author, &config, options).await {
            Err(ApiError::AlreadyExists { .. }) => {}
            outcome => return outcome.map(|served| (StatusCode::CREATED, served)),
        }
    }
    Err(call.conflict(&call.path.name, "the object comes and goes; please try again"))
}

async fn change(
    call: &mut Call<'_>,
    author: &Author,
    config: &Document,
    part: Part,
    options: &WriteOptions,
) -> Result<Served, ApiError> {
    // What the closure needs of the call, which the update itself changes.
    let asked = Call { warnings: Vec::new(), ..*call };
    let force = options.force.unwrap_or(false);
    let version = config.value.pointer("/metadata/resourceVersion");
    let versioned = version.and_then(Value::as_str).is_some_and(|version| !version.is_empty());
    write::update(call, part, options, |old| {
        let mut changed = applied(&asked, author, Some(old), config, force)?;
        if !versioned {
            changed.object.metadata.resource_version = None;
        }
        Ok(changed)
    })
    .await
}

async fn create(
    call: &mut Call<'_>,
    author: &Author,
    config: &Document,
    options: &WriteOptions,
) -> Result<Served, ApiError> {
    let name = call.path.name.clone();
    let text =
        |field| config.value.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str);
    if let Some(uid) = text("uid").filter(|uid| !uid.is_empty()) {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(call.conflict(&name, why));
    }
    if text("resourceVersion").is_some_and(|version| !matches!(version, "" | "0")) {
        return Err(call.not_found(&name));
    }
    let wanted = applied(call, author, None, config, false)?;
    write::create(call, wanted, options).await
}

fn applied(
    call: &Call<'_>,
    author: &Author,
    live: Option<&Object>,
    config: &Document,
    force: bool,
) -> Result<Changed, ApiError> {
    let outcome = managed_fields::apply(author, live, &config.value, force);
    let applied = outcome.map_err(|error| {
        let named = Object { metadata: named(call), ..Object::default() };
        ownership::refusal(call, &named, error)
    })?;
    let duplicates = config.duplicates.clone();
    let (mut object, oddities) =
        write::decoded(call, Document { value: applied.document, duplicates })?;
    object.metadata.managed_fields = applied.managed_fields;
    Ok(Changed { object, oddities, patch: None, applied: true })
}

fn named(call: &Call<'_>) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: Some(call.path.name.clone()),
        namespace: Some(call.path.namespace.clone()),
        ..Default::default()
    }
}

/// Refuses a configuration of something else; fills in what the path says.
fn check(call: &Call<'_>, config: &mut Value) -> Result<(), ApiError> {
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (version, kind) = (text(config, "apiVersion"), text(config, "kind"));
    let expected = call.row.gvk.api_version();
    if version != expected {
        return Err(ApiError::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {expected}"
        )));
    }
    if kind != call.row.gvk.kind {
        return Err(ApiError::BadRequest(format!(
            "invalid object type: {version}, Kind={kind}, expected: {}",
            call.row.gvk.kind
        )));
    }
    if config.get("metadata").is_none_or(Value::is_null) {
        config["metadata"] = json!({});
    }
    let metadata = &config["metadata"];
    if !metadata.is_object() {
        return Err(ApiError::BadRequest("error decoding YAML: metadata is not an object".into()));
    }
    if metadata.get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let named = text(metadata, "name");
    let name = &call.path.name;
    if !named.is_empty() && named != *name {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    config["metadata"]["name"] = json!(name);
    if let Some(metadata) = config["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if !call.path.namespace.is_empty() {
            metadata.entry("namespace").or_insert_with(|| json!(call.path.namespace));
        }
    }
    Ok(())
}
