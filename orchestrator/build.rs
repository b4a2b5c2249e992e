//! Makes the schemas of the built-in kinds out of k8s-openapi's types, so that
//! neither schemars nor a parsed document is in the server.
//!
//! Writes, compressed: `definitions` (lines of type, the types it refers to,
//! its OpenAPI schema), `kinds` and `shapes` (the lines `api::schema` names),
//! `omitted` (lines of type and the lists and maps it has only with content).
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Where a definition stands in an OpenAPI document.
const REFERENCE: &str = "#/components/schemas/";

/// The extensions of a line of `merge-keys.txt`, in its order.
const EXTENSIONS: &[&str] =
    &["list-type", "list-map-keys", "map-type", "patch-merge-key", "patch-strategy"];

/// Group, version, kind and the name of its type.
type Row = (String, String, String, String);

/// Lists that a client need not send, but that Go writes though they are empty: type, field. Its
/// types have no `omitempty` for these.
const KEPT: &[(&str, &str)] = &[
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "currentMetrics"),
    ("io.k8s.api.core.v1.ProjectedVolumeSource", "sources"),
    ("io.k8s.api.discovery.v1.EndpointSlice", "endpoints"),
    ("io.k8s.api.discovery.v1.EndpointSlice", "ports"),
];

/// Kinds whose schema the server offers, beside those without a kind (`Status`, …).
struct Kinds {
    generator: SchemaGenerator,
    rows: Vec<Row>,
}

impl Kinds {
    fn add<K: k8s_openapi::Resource + JsonSchema>(&mut self) {
        self.generator.subschema_for::<K>();
        let row = (K::GROUP, K::VERSION, K::KIND, K::schema_name());
        self.rows.push((row.0.into(), row.1.into(), row.2.into(), row.3.into()));
    }

    fn list(&mut self) {
        use k8s_openapi::api::{
            apps::v1 as apps, authentication::v1 as authentication,
            authorization::v1 as authorization, autoscaling::v1 as autoscaling, batch::v1 as batch,
            coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
            events::v1 as events, networking::v1 as networking, node::v1 as node,
            policy::v1 as policy, scheduling::v1 as scheduling,
        };
        self.add::<core::Namespace>();
        self.add::<core::Node>();
        self.add::<core::Pod>();
        self.add::<core::Binding>();
        self.add::<core::ConfigMap>();
        self.add::<core::Secret>();
        self.add::<core::Service>();
        self.add::<core::ServiceAccount>();
        self.add::<core::Event>();
        self.add::<core::Endpoints>();
        self.add::<apps::ControllerRevision>();
        self.add::<apps::Deployment>();
        self.add::<apps::ReplicaSet>();
        self.add::<autoscaling::Scale>();
        self.add::<autoscaling::HorizontalPodAutoscaler>();
        self.add::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>();
        self.add::<batch::CronJob>();
        self.add::<batch::Job>();
        self.add::<coordination::Lease>();
        self.add::<discovery::EndpointSlice>();
        self.add::<events::Event>();
        self.add::<networking::Ingress>();
        self.add::<networking::IngressClass>();
        self.add::<node::RuntimeClass>();
        self.add::<policy::Eviction>();
        self.add::<policy::PodDisruptionBudget>();
        self.add::<scheduling::PriorityClass>();
        self.add::<authentication::SelfSubjectReview>();
        self.add::<authentication::TokenRequest>();
        self.add::<authentication::TokenReview>();
        self.add::<authorization::LocalSubjectAccessReview>();
        self.add::<authorization::SelfSubjectAccessReview>();
        self.add::<authorization::SelfSubjectRulesReview>();
        self.add::<authorization::SubjectAccessReview>();
        use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
        self.generator.subschema_for::<meta::Status>();
        self.generator.subschema_for::<meta::DeleteOptions>();
        self.generator.subschema_for::<meta::Patch>();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let merge_keys = "src/api/schema/merge-keys.txt";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={merge_keys}");
    let generator = SchemaSettings::openapi3().into_generator();
    let mut kinds = Kinds { generator, rows: Vec::new() };
    kinds.list();
    let mut rows = std::mem::take(&mut kinds.rows);
    let merge_keys = fs::read_to_string(merge_keys)?;
    let merge_keys = read_merge_keys(&merge_keys);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let (mut definitions, mut shapes, mut omitted) = (String::new(), String::new(), String::new());
    let mut found: BTreeMap<String, Value> =
        kinds.generator.take_definitions(true).into_iter().collect();
    found.extend(measured(&mut rows)?);
    for (name, schema) in found {
        let mut schema = tidy(schema);
        relax(&mut schema);
        for (group, version, kind, _) in rows.iter().filter(|row| row.3 == name) {
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": group, "version": version, "kind": kind}]);
        }
        extend(&name, &mut schema, &merge_keys);
        shapes_of(&name, &schema, &merge_keys, &mut shapes)?;
        omitted_of(&name, &schema, &mut omitted)?;
        let mut references = BTreeSet::new();
        referred(&schema, &mut references);
        let references: Vec<_> = references.into_iter().collect();
        writeln!(definitions, "{name}\t{}\t{schema}", references.join(" "))?;
    }
    let mut lines = String::new();
    for (group, version, kind, name) in rows {
        writeln!(lines, "{group}\t{version}\t{kind}\t{name}")?;
    }
    pack(&out.join("definitions.deflate"), &definitions)?;
    pack(&out.join("shapes.deflate"), &shapes)?;
    pack(&out.join("omitted.deflate"), &omitted)?;
    pack(&out.join("kinds.deflate"), &lines)
}

/// The kinds of `metrics.k8s.io`, which are not among k8s-openapi's types.
fn measured(rows: &mut Vec<Row>) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
    let path = "src/api/schema/metrics.json";
    println!("cargo::rerun-if-changed={path}");
    for kind in ["NodeMetrics", "PodMetrics"] {
        let name = format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}");
        rows.push(("metrics.k8s.io".into(), "v1beta1".into(), kind.into(), name));
    }
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

type MergeKeys<'a> = HashMap<(&'a str, &'a str), Vec<&'a str>>;

fn read_merge_keys(text: &str) -> MergeKeys<'_> {
    let lines = text.lines().map(|line| {
        let mut columns = line.split(' ');
        let mut column = || columns.next().unwrap_or_default();
        ((column(), column()), columns.collect())
    });
    lines.collect()
}

/// What kubectl does not expect in an OpenAPI document of Kubernetes goes.
fn tidy(schema: Value) -> Value {
    match schema {
        Value::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                if name != "nullable" && name != "title" {
                    kept.insert(name, tidy(value));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        other => other,
    }
}

/// Metadata may be left out, as that of a review is, though k8s-openapi always has the field.
fn relax(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) else { return };
    required.retain(|name| name != "metadata");
    if required.is_empty() {
        schema.remove("required");
    }
}

/// Adds the extensions; a `$ref` that carries any is wrapped in `allOf`.
fn extend(name: &str, schema: &mut Value, merge_keys: &MergeKeys<'_>) {
    let add = |field: &str, schema: &mut Value| {
        let Some(columns) = merge_keys.get(&(name, field)) else { return };
        if let Some(reference) = schema.as_object_mut().and_then(|schema| schema.remove("$ref")) {
            schema["allOf"] = json!([{"$ref": reference}]);
        }
        for (extension, value) in EXTENSIONS.iter().zip(columns).filter(|(_, value)| **value != "-")
        {
            let value = match *extension {
                "list-map-keys" => json!(value.split(',').collect::<Vec<_>>()),
                _ => json!(value),
            };
            schema[format!("x-kubernetes-{extension}")] = value;
        }
    };
    add(".", schema);
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (field, schema) in properties.into_iter().flatten() {
        add(field, schema);
    }
}

/// Writes a line for each field of a type that is more than a plain value: type, field, the
/// type it refers to, patch-merge-key, patch-strategy, list-type, list-map-keys, its form
/// (`list`, `map` or `-`) and whether it is, or its items are, one value (`atomic` or `-`).
fn shapes_of(
    name: &str,
    schema: &Value,
    merge_keys: &MergeKeys<'_>,
    shapes: &mut String,
) -> Result<(), std::fmt::Error> {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (field, schema) in properties.into_iter().flatten() {
        let mut references = BTreeSet::new();
        referred(schema, &mut references);
        let of = references.into_iter().next().unwrap_or_default();
        let columns = merge_keys.get(&(name, field.as_str()));
        let says = |at: usize| columns.and_then(|columns| columns.get(at)).unwrap_or(&"-");
        let form = form_of(schema);
        let type_is_atomic =
            merge_keys.get(&(of.as_str(), ".")).is_some_and(|of| of[2] == "atomic");
        let atomic = match form {
            "map" => *says(2) == "atomic",
            "list" => type_is_atomic,
            _ => type_is_atomic || *says(2) == "atomic",
        };
        let atomic = if atomic { "atomic" } else { "-" };
        let (key, strategy, list, keys) = (says(3), says(4), says(0), says(1));
        if !of.is_empty() || columns.is_some() {
            writeln!(
                shapes,
                "{name}\t{field}\t{of}\t{key}\t{strategy}\t{list}\t{keys}\t{form}\t{atomic}"
            )?;
        }
    }
    Ok(())
}

/// Whether a field is a list, a map or one thing.
fn form_of(schema: &Value) -> &'static str {
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => "list",
        _ if schema.get("additionalProperties").is_some() => "map",
        _ => "-",
    }
}

/// Writes a line for a type: its name and those lists and maps that are not there without content.
fn omitted_of(name: &str, schema: &Value, omitted: &mut String) -> Result<(), std::fmt::Error> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut fields = Vec::new();
    for (field, schema) in properties.into_iter().flatten() {
        let field = field.as_str();
        if form_of(schema) != "-" && !required.contains(&field) && !KEPT.contains(&(name, field)) {
            fields.push(field);
        }
    }
    if fields.is_empty() { Ok(()) } else { writeln!(omitted, "{name}\t{}", fields.join(" ")) }
}

fn referred(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str().and_then(|text| text.strip_prefix(REFERENCE)) {
                    Some(target) if name == "$ref" => {
                        found.insert(target.to_owned());
                    }
                    _ => referred(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| referred(item, found)),
        _ => {}
    }
}

fn pack(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let mut encoder = DeflateEncoder::new(File::create(path)?, Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()?;
    Ok(())
}
