//! OpenAPI v3 documents, one per group and version, as `kubectl` asks for them
//! to validate, apply and explain.
//!
//! The schemas are copied as text out of the packed definitions; nothing is parsed.
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{type_name, unpack};
use crate::api::{GroupVersionKind, Resource, ResourceTable, Subresource, Verb};

/// Packed lines of type, the types it refers to, and its schema.
const DEFINITIONS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.deflate"));

/// Where a schema stands in a document.
pub(super) const REFERENCE: &str = "#/components/schemas/";

/// Forms of a patch that a built-in kind takes.
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Names a version of a document: it changes when the document does.
pub fn index_hash(table: &ResourceTable, group: &str, version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(DEFINITIONS);
    for resource in of(table, group, version) {
        let mut parts: Vec<&str> = resource.subresources.iter().map(Subresource::name).collect();
        parts.extend([&*resource.plural, &*resource.gvk.kind]);
        hash.update(parts.join("/"));
    }
    hex::encode_upper(hash.finalize())
}

/// The document of a group and version; `None` if nothing of it is served.
pub fn document(table: &ResourceTable, group: &str, version: &str) -> Option<Bytes> {
    let resources: Vec<&Resource> = of(table, group, version).collect();
    if resources.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    for resource in &resources {
        add_paths(resource, &mut paths);
    }
    let mut text = format!(
        r#"{{"openapi":"3.0.0","info":{{"title":"Kubernetes","version":"{}"}},"paths":{},"components":{{"schemas":{{"#,
        env!("CARGO_PKG_VERSION"),
        Value::Object(paths)
    );
    write_schemas(&mut text, roots(&resources));
    text.push_str("}}}");
    Some(text.into())
}

fn of<'a>(
    table: &'a ResourceTable,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> {
    let rows = table.iter().map(|resource| &**resource);
    rows.filter(move |row| row.gvk.group == group && row.gvk.version == version)
}

/// The types that a document of these resources names.
pub(super) fn roots(resources: &[&Resource]) -> BTreeSet<String> {
    let own = resources.iter().filter_map(|resource| type_name(&resource.gvk));
    let shared = ["DeleteOptions", "Patch", "Status"].map(meta_name);
    let scales = resources.iter().any(|r| r.subresources.iter().any(is_scale));
    let scale = type_name(&GroupVersionKind::SCALE).filter(|_| scales);
    own.map(str::to_owned).chain(shared).chain(scale.map(str::to_owned)).collect()
}

/// Writes the schemas of `wanted` and of all they refer to.
fn write_schemas(text: &mut String, wanted: BTreeSet<String>) {
    let mut comma = "";
    each_schema(&wanted, |name, schema| {
        write!(text, "{comma}\"{name}\":{schema}").expect("a String grows");
        comma = ",";
    });
}

/// Shows the schemas of `wanted` and of all they refer to, in the order of their names.
pub(super) fn each_schema(wanted: &BTreeSet<String>, mut show: impl FnMut(&str, &str)) {
    let unpacked = unpack(DEFINITIONS);
    let definitions: HashMap<&str, (&str, &str)> = unpacked
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once('\t')?;
            Some((name, rest.split_once('\t')?))
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = wanted.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some((name, (references, _))) = definitions.get_key_value(name) else { continue };
        if seen.insert(*name) {
            open.extend(references.split(' ').filter(|reference| !reference.is_empty()));
        }
    }
    for name in seen {
        show(name, definitions[name].1);
    }
}

/// Adds the paths of a resource, each with its operations.
pub(super) fn add_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let gvk = &resource.gvk;
    let root = match &*gvk.group {
        "" => format!("/api/{}", gvk.version),
        group => format!("/apis/{group}/{}", gvk.version),
    };
    let collection = if resource.namespaced() {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let item = format!("{collection}/{{name}}");
    let operations = |on_item: bool| {
        let mut methods = Map::new();
        for verb in resource.verbs {
            if let Some((method, item)) = method(*verb)
                && item == on_item
            {
                methods.insert(method.into(), operation(resource, *verb, gvk, ""));
            }
        }
        with_parameters(methods, resource, on_item)
    };
    let computed = resource.computed.is_some();
    paths.insert(collection, operations(false));
    if computed {
        return;
    }
    paths.insert(item.clone(), operations(true));
    for subresource in &resource.subresources {
        let (gvk, verbs) = match subresource {
            Subresource::Status => (gvk, &[Verb::Get, Verb::Patch, Verb::Update][..]),
            Subresource::Scale { .. } => {
                (&GroupVersionKind::SCALE, &[Verb::Get, Verb::Patch, Verb::Update][..])
            }
            Subresource::Connect { verbs, .. } => (gvk, *verbs),
        };
        let name = subresource.name();
        let methods = verbs.iter().filter_map(|verb| {
            let (method, _) = method(*verb)?;
            Some((method.to_owned(), operation(resource, *verb, gvk, name)))
        });
        let methods = with_parameters(methods.collect(), resource, true);
        paths.insert(format!("{item}/{name}"), methods);
    }
}

/// The HTTP method of a verb, and whether it works on one object.
fn method(verb: Verb) -> Option<(&'static str, bool)> {
    match verb {
        Verb::Create => Some(("post", false)),
        Verb::Delete => Some(("delete", true)),
        Verb::DeleteCollection => Some(("delete", false)),
        Verb::Get => Some(("get", true)),
        Verb::List => Some(("get", false)),
        Verb::Patch => Some(("patch", true)),
        Verb::Update => Some(("put", true)),
        Verb::Watch => None, // a parameter of list
    }
}

fn operation(resource: &Resource, verb: Verb, gvk: &GroupVersionKind, sub: &str) -> Value {
    let schema = match type_name(gvk) {
        Some(name) => json!({"$ref": format!("{REFERENCE}{name}")}),
        None => json!({"type": "object"}),
    };
    let json_of = |schema: &Value| json!({"application/json": {"schema": schema}});
    let mut operation = json!({
        "operationId": format!("{}{}{}{sub}", verb.as_str(), resource.gvk.version, resource.gvk.kind),
        "x-kubernetes-action": verb.as_str(),
        "x-kubernetes-group-version-kind":
            {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        "responses": {"200": {"description": "OK", "content": json_of(&schema)}},
    });
    if matches!(verb, Verb::Create | Verb::Update | Verb::Patch) {
        let names = ["dryRun", "fieldManager", "fieldValidation"];
        operation["parameters"] = names.map(|name| query(name, "string")).into();
        operation["requestBody"] = json!({"required": true, "content": json_of(&schema)});
    }
    if verb == Verb::Patch {
        let patch = json!({"schema": {"$ref": format!("{REFERENCE}{}", meta_name("Patch"))}});
        let content = PATCH_TYPES.iter().map(|form| ((*form).to_owned(), patch.clone()));
        operation["requestBody"]["content"] = Value::Object(content.collect());
    }
    operation
}

fn with_parameters(mut methods: Map<String, Value>, resource: &Resource, on_item: bool) -> Value {
    let path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = Vec::new();
    if on_item {
        parameters.push(path("name"));
    }
    if resource.namespaced() {
        parameters.push(path("namespace"));
    }
    parameters.push(query("pretty", "string"));
    methods.insert("parameters".into(), parameters.into());
    Value::Object(methods)
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn meta_name(kind: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")
}

fn is_scale(subresource: &Subresource) -> bool {
    matches!(subresource, Subresource::Scale { .. })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;
    use crate::api::Strategy;

    struct Deployments;

    impl Strategy for Deployments {
        type Kind = Deployment;
        const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    }

    fn table() -> ResourceTable {
        ResourceTable::new([Resource::of(Deployments)])
    }

    #[test]
    fn every_reference_of_a_document_leads_somewhere() {
        let text = document(&table(), "apps", "v1").unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let references = text.split(REFERENCE).skip(1).filter_map(|rest| rest.split('"').next());
        let missing: Vec<_> = references.filter(|name| !schemas.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_document_has_what_kubectl_looks_for() {
        let text = document(&table(), "apps", "v1").unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
        let patch = &document["paths"][path]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"), "{parameters:?}");
        assert!(
            patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some()
        );
        let schemas = &document["components"]["schemas"];
        let kind = &schemas["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(kind["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
        assert!(
            kind["properties"]["spec"]["allOf"].is_array()
                || kind["properties"]["spec"]["$ref"].is_string(),
            "{kind}"
        );
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert!(containers["description"].as_str().is_some_and(|text| text.contains("containers")));
    }

    #[test]
    fn a_group_that_is_not_served_has_no_document() {
        assert_eq!(document(&table(), "batch", "v1"), None);
    }
}
