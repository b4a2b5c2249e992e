//! The OpenAPI v2 document, for clients from before version 3 and for kubectl
//! where it finds that one wanting.
//!
//! It is the paths and schemas of version 3, written as version 2 has them. It is
//! made when somebody asks and not kept: that takes milliseconds and happens
//! hardly ever, and the document would weigh megabytes.
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::openapi::{REFERENCE, add_paths, each_schema, index_hash, roots};
use crate::api::{Resource, ResourceTable};

mod wire;

/// Where a schema stands in the document.
const DEFINITION: &str = "#/definitions/";

/// Names a version of the document.
pub fn hash(table: &ResourceTable) -> String {
    let mut hash = Sha256::new();
    for resource in table.iter() {
        hash.update(index_hash(table, &resource.gvk.group, &resource.gvk.version));
    }
    hex::encode_upper(hash.finalize())
}

/// The document as JSON.
pub fn json(table: &ResourceTable) -> Bytes {
    document(table).to_string().into()
}

/// The document as gnostic's protobuf message `openapi.v2.Document`.
pub fn protobuf(table: &ResourceTable) -> Bytes {
    wire::document(&document(table)).into()
}

fn document(table: &ResourceTable) -> Value {
    let resources: Vec<&Resource> = table.iter().map(|resource| &**resource).collect();
    let mut paths = Map::new();
    for resource in &resources {
        add_paths(resource, &mut paths);
    }
    for item in paths.values_mut().filter_map(Value::as_object_mut) {
        for (name, part) in item {
            match (name.as_str(), part) {
                ("parameters", Value::Array(all)) => all.iter_mut().for_each(parameter),
                (_, Value::Object(part)) => operation(part),
                _ => {}
            }
        }
    }
    let mut definitions = Map::new();
    each_schema(&roots(&resources), |name, text| {
        let mut definition = serde_json::from_str(text).expect("the build script wrote it");
        schema(&mut definition);
        definitions.insert(name.to_owned(), definition);
    });
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": crate::api::KUBERNETES_VERSION},
        "paths": paths, "definitions": definitions,
    })
}

/// The type of a parameter stands in it, not in a schema.
fn parameter(parameter: &mut Value) {
    let Some(parameter) = parameter.as_object_mut() else { return };
    if let Some(Value::Object(schema)) = parameter.remove("schema") {
        parameter.extend(schema);
    }
}

/// The body is a parameter, and what it may be written in stands beside it.
fn operation(operation: &mut Map<String, Value>) {
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(mut parameters)) => {
            parameters.iter_mut().for_each(parameter);
            parameters
        }
        _ => Vec::new(),
    };
    if let Some(body) = operation.remove("requestBody") {
        let content = body.get("content").and_then(Value::as_object).cloned().unwrap_or_default();
        let forms: Vec<&String> = content.keys().collect();
        operation.insert("consumes".into(), json!(forms));
        if let Some(mut of) = content.values().next().and_then(|form| form.get("schema")).cloned() {
            schema(&mut of);
            parameters.push(json!({"in": "body", "name": "body", "required": true, "schema": of}));
        }
    }
    operation.insert("parameters".into(), parameters.into());
    operation.insert("produces".into(), json!(["application/json", "application/yaml"]));
    for response in
        operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let Some(response) = response.1.as_object_mut() else { continue };
        let content = response.remove("content");
        let form = content.as_ref().and_then(|content| content.get("application/json"));
        if let Some(mut of) = form.and_then(|form| form.get("schema")).cloned() {
            schema(&mut of);
            response.insert("schema".into(), of);
        }
    }
}

/// A reference may carry extensions here, and what may be a number or a text is a format.
fn schema(of: &mut Value) {
    let Some(object) = of.as_object_mut() else { return };
    if let Some(Value::Array(all)) = object.remove("allOf")
        && let Some(Value::Object(first)) = all.into_iter().next()
    {
        object.extend(first);
    }
    if let Some(target) = object.get("$ref").and_then(Value::as_str) {
        let target = target.replacen(REFERENCE, DEFINITION, 1);
        object.insert("$ref".into(), target.into());
    }
    if object.remove("x-kubernetes-int-or-string").is_some() {
        object.insert("type".into(), json!("string"));
        object.insert("format".into(), json!("int-or-string"));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            schema(inner);
        }
    }
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        schema(property);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;
    use crate::api::{Strategy, Subresource};

    struct Deployments;

    impl Strategy for Deployments {
        type Kind = Deployment;
        const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    }

    #[test]
    fn schemas_and_operations_are_those_of_version_2() {
        let table = ResourceTable::new([Resource::of(Deployments)]);
        let document: Value = serde_json::from_slice(&json(&table)).unwrap();
        let definitions = document["definitions"].as_object().unwrap();
        let kind = &definitions["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(
            kind["properties"]["spec"]["$ref"],
            "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"
        );
        let either = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!(either["format"], "int-or-string");
        let patch =
            &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let named = |name: &str| {
            let parameters = patch["parameters"].as_array().unwrap();
            parameters.iter().find(|parameter| parameter["name"] == name).unwrap().clone()
        };
        assert_eq!(named("fieldValidation")["type"], "string");
        assert_eq!(
            named("body")["schema"]["$ref"],
            "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
        );
        assert!(
            patch["consumes"].as_array().unwrap().contains(&json!("application/apply-patch+yaml"))
        );
        let text = document.to_string();
        assert!(!text.contains("components/schemas") && !text.contains("allOf"));
        let targets = text.split(DEFINITION).skip(1).filter_map(|rest| rest.split('"').next());
        let missing: Vec<_> = targets.filter(|name| !definitions.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
