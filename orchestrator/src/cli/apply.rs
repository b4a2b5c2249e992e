//! Applies manifests: what is not there is created, what is there is merged.
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::core::Status;
use serde::Deserialize as _;
use serde_json::Value;

use crate::api::{Resource, ResourceTable};

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new.
    Created,
    /// It is as the manifest says now.
    Configured,
}

/// The objects of a YAML or JSON file of one or more documents.
pub(super) fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut objects = Vec::new();
    for (i, document) in serde_yaml::Deserializer::from_str(&text).enumerate() {
        let value = Value::deserialize(document)
            .with_context(|| format!("{}, document {}", path.display(), i + 1))?;
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                let items = list.remove("items").unwrap_or_default();
                objects.extend(items.as_array().cloned().unwrap_or_default());
            }
            object => objects.push(object),
        }
    }
    if objects.is_empty() {
        bail!("{} has no objects", path.display());
    }
    Ok(objects)
}

/// Applies one object.
pub(super) async fn apply(
    client: &Client,
    table: &ResourceTable,
    object: &Value,
) -> Result<Outcome> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let what = format!("{} {name:?}", object["kind"].as_str().unwrap_or("an object without kind"));
    let row = row(table, object).with_context(|| what.clone())?;
    let collection = collection(row, object);
    let body = serde_json::to_vec(object)?;
    let create = Request::builder()
        .method(Method::POST)
        .uri(format!("{collection}?fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(body.clone())?;
    match client.request_text(create).await {
        Ok(_) => return Ok(Outcome::Created),
        Err(kube::Error::Api(refused)) if is_taken(&refused) => {}
        Err(error) => return Err(error).with_context(|| format!("create {what}")),
    }
    let patch = Request::builder()
        .method(Method::PATCH)
        .uri(format!("{collection}/{name}?fieldValidation=Strict"))
        .header("content-type", "application/merge-patch+json")
        .body(body)?;
    client.request_text(patch).await.with_context(|| format!("change {what}"))?;
    Ok(Outcome::Configured)
}

fn is_taken(refused: &Status) -> bool {
    refused.code == StatusCode::CONFLICT.as_u16() && refused.reason == "AlreadyExists"
}

fn row<'a>(table: &'a ResourceTable, object: &Value) -> Result<&'a Resource> {
    let text = |field: &str| object[field].as_str().filter(|text| !text.is_empty());
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        bail!("it has no apiVersion and kind");
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut rows = table.iter().map(|row| &**row);
    rows.find(|row| row.gvk.group == group && row.gvk.version == version && row.gvk.kind == kind)
        .with_context(|| format!("no matches for kind {kind:?} in version {api_version:?}"))
}

fn collection(row: &Resource, object: &Value) -> String {
    let gvk = &row.gvk;
    let root = match &*gvk.group {
        "" => format!("/api/{}", gvk.version),
        group => format!("/apis/{group}/{}", gvk.version),
    };
    if !row.namespaced() {
        return format!("{root}/{}", row.plural);
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    format!("{root}/namespaces/{namespace}/{}", row.plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_several_documents_and_lists() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.yaml");
        std::fs::write(
            &file,
            "---\nkind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n",
        )
        .unwrap();
        let kinds: Vec<_> =
            read(&file).unwrap().into_iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        std::fs::write(&file, "kind: A\n---\na: [\n").unwrap();
        let error = format!("{:#}", read(&file).unwrap_err());
        assert!(error.contains("all.yaml, document 2"), "{error}");
        std::fs::write(&file, "# nothing\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("has no objects"));
    }
}
