//! Generates the two tables that tell the API server what k8s-openapi's types
//! do not: `tables DEFINITIONS K8S_PB OUT` reads the Kubernetes JSON schemas
//! (`_definitions.json` of the Python package kubernetes-validate) and the
//! sources of the crate k8s-pb, and writes into `OUT`
//!
//! - `schema/merge-keys.txt`: how lists and maps merge,
//! - `protobuf/messages.txt`: the fields of every message a client may send.
//!
//! The formats stand in the modules that read them, `api::schema` and
//! `api::protobuf`.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Versions whose messages clients send; alpha and beta ones are not served.
const VERSIONS: &[&str] = &["v1", "v2"];

/// Numbers and booleans that Go marshals although nobody set them, because they are no pointers.
/// A zero in them means "not set"; everywhere else it is what the client said.
const UNSET_IF_ZERO: &[&str] = &[
    "generation",
    "observedGeneration",
    "minReadySeconds",
    "hostPort",
    "nodePort",
    "healthCheckNodePort",
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "paused",
    "unschedulable",
    "publishNotReadyAddresses",
    "count",
    "port",
    "weight",
    "revision",
    "limit",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "fullyLabeledReplicas",
    "active",
    "succeeded",
    "failed",
    "currentReplicas",
    "ignoreStoreReadWithClusterTrust",
    "recursiveReadOnlyAllowed",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [definitions, k8s_pb, out] = arguments.as_slice() else {
        bail!("usage: tables DEFINITIONS K8S_PB OUT");
    };
    let text = fs::read(definitions).with_context(|| format!("read {definitions}"))?;
    let mut document: Map<String, Value> = serde_json::from_slice(&text)?;
    let Some(Value::Object(definitions)) = document.remove("$defs") else {
        bail!("the definitions have no $defs");
    };
    let out = Path::new(out);
    fs::write(out.join("schema/merge-keys.txt"), merge_keys(&definitions)?)?;
    fs::write(out.join("protobuf/messages.txt"), messages(Path::new(k8s_pb), &definitions)?)?;
    Ok(())
}

/// One line per field that says how it merges.
fn merge_keys(definitions: &Map<String, Value>) -> Result<String> {
    let mut table = String::new();
    for (name, definition) in definitions {
        let fields = definition.get("properties").and_then(Value::as_object).into_iter().flatten();
        let own = std::iter::once((".", definition));
        for (field, schema) in own.chain(fields.map(|(field, schema)| (field.as_str(), schema))) {
            let says = |extension: &str| match schema.get(format!("x-kubernetes-{extension}")) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Array(list)) => {
                    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
                }
                _ => "-".to_owned(),
            };
            let extensions =
                ["list-type", "list-map-keys", "map-type", "patch-merge-key", "patch-strategy"];
            let columns = extensions.map(says);
            if columns.iter().any(|column| column != "-") {
                writeln!(table, "{name} {field} {}", columns.join(" "))?;
            }
        }
    }
    Ok(table)
}

/// One block per message: its name, then a line per field.
fn messages(source: &Path, definitions: &Map<String, Value>) -> Result<String> {
    let mut all = BTreeMap::new();
    for file in rust_files(&source.join("src"))? {
        let module = file.strip_prefix(source.join("src"))?.parent().context("a module")?;
        let module: Vec<String> = module
            .components()
            .map(|part| part.as_os_str().to_string_lossy().replace('_', "-"))
            .collect();
        read_module(&fs::read_to_string(&file)?, &module, &mut all);
    }
    let mut wanted: BTreeSet<String> = all.keys().filter(|name| is_served(name)).cloned().collect();
    // What they refer to, whatever its version.
    loop {
        let more: Vec<String> = wanted
            .iter()
            .flat_map(|name| &all[name])
            .filter(|field| !field.message.is_empty() && !wanted.contains(&field.message))
            .map(|field| field.message.clone())
            .filter(|message| all.contains_key(message))
            .collect();
        if more.is_empty() {
            break;
        }
        wanted.extend(more);
    }
    // prost writes HttpGetAction where Kubernetes writes HTTPGetAction.
    let by_letters: BTreeMap<String, &Value> =
        definitions.iter().map(|(name, schema)| (name.to_lowercase(), schema)).collect();
    let mut table = String::new();
    for name in wanted {
        writeln!(table, "{name}")?;
        let schema = by_letters.get(&format!("io.k8s.{name}").to_lowercase()).copied();
        for field in &all[&name] {
            let json = json_name(field, schema);
            // A message that is neither a property nor inlined is gone from this version.
            let inlined = |field: &&Field| {
                schema.is_some_and(|s| s["properties"].get(json_name(field, Some(s))).is_some())
            };
            if json == "-"
                && !all.get(&field.message).into_iter().flatten().any(|inner| inlined(&inner))
            {
                continue;
            }
            let zero = if matches!(field.kind.as_str(), "i" | "b")
                && UNSET_IF_ZERO.contains(&json.as_str())
            {
                "0"
            } else {
                ""
            };
            let line = format!(" {} {json} {}{zero} {}", field.number, field.kind, field.message);
            writeln!(table, "{}", line.trim_end())?;
        }
    }
    Ok(table)
}

struct Field {
    number: u32,
    name: String,
    /// `s`tring, b`y`tes, `b`ool, `i`nteger, `d`ouble, `m`essage; `*` after it: repeated; `M` before the value's: a map.
    kind: String,
    /// The message it holds; empty for a scalar.
    message: String,
}

fn read_module(text: &str, module: &[String], all: &mut BTreeMap<String, Vec<Field>>) {
    let mut message = String::new();
    let mut attribute = None;
    // An attribute or a field's type may go over several lines.
    let mut statement = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        statement.push_str(line);
        let open = statement.matches('<').count() > statement.matches('>').count();
        if open || (statement.starts_with("pub ") && statement.ends_with(':')) {
            continue;
        }
        let statement = std::mem::take(&mut statement);
        if let Some(name) = statement.strip_prefix("pub struct ") {
            message = format!("{}.{}", module.join("."), name.trim_end_matches([' ', '{', '}']));
            all.entry(message.clone()).or_default();
        } else if let Some(rest) = statement.strip_prefix("#[prost(") {
            attribute = Some(rest.trim_end_matches(")]").to_owned());
        } else if let Some(rest) = statement.strip_prefix("pub ")
            && let Some(attribute) = attribute.take()
            && let Some((name, kind)) = rest.split_once(':')
        {
            let fields = all.entry(message.clone()).or_default();
            fields.push(field(&attribute, name.trim_start_matches("r#"), kind, module));
        }
    }
}

fn field(attribute: &str, name: &str, rust_type: &str, module: &[String]) -> Field {
    let tag = attribute.split("tag = \"").nth(1).and_then(|rest| rest.split('"').next());
    let number = tag.and_then(|tag| tag.parse().ok()).unwrap_or_default();
    let letter = |kind: &str| match kind.trim() {
        "string" => "s",
        "bytes" => "y",
        "bool" => "b",
        "double" | "float" => "d",
        "message" => "m",
        _ => "i",
    };
    let kind = if let Some(map) = attribute.strip_prefix("btree_map = \"") {
        let value = map.split('"').next().and_then(|pair| pair.split(',').nth(1));
        format!("M{}", letter(value.unwrap_or_default()))
    } else {
        let word = attribute.split([',', '=']).next().unwrap_or_default();
        let repeated = if attribute.contains("repeated") { "*" } else { "" };
        format!("{}{repeated}", letter(word))
    };
    let message = if kind.contains('m') { resolve(rust_type, module) } else { String::new() };
    Field { number, name: name.to_owned(), kind, message }
}

/// The message that the innermost type of `rust_type` names.
fn resolve(rust_type: &str, module: &[String]) -> String {
    let inner = rust_type.trim().trim_end_matches([',', '>', ' ']);
    let inner = inner.rsplit(['<', ',']).next().unwrap_or_default().trim();
    let supers = inner.matches("super::").count();
    let mut path: Vec<String> = module[..module.len() - supers.min(module.len())].to_vec();
    let rest = inner.replace("super::", "");
    path.extend(rest.split("::").map(|part| part.replace('_', "-")));
    path.join(".")
}

/// The name in JSON, found in the schema by its letters; `-` for a message that is inlined.
fn json_name(field: &Field, schema: Option<&Value>) -> String {
    let letters = |name: &str| name.replace('_', "").to_lowercase();
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let known = properties.and_then(|properties| {
        properties
            .keys()
            .find(|property| letters(&property.replace('$', "")) == letters(&field.name))
    });
    match known {
        Some(known) => known.clone(),
        None if properties.is_some() && field.kind == "m" => "-".to_owned(),
        None => {
            let mut words = field.name.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            words.fold(first, |name, word| {
                let mut letters = word.chars();
                let head = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
                name + &head.collect::<String>() + letters.as_str()
            })
        }
    }
}

fn is_served(name: &str) -> bool {
    let version = name.rsplit('.').nth(1).unwrap_or_default();
    VERSIONS.contains(&version) && (name.starts_with("api.") || name.contains("meta.v1"))
        || name.starts_with("apimachinery.pkg.runtime.")
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.file_name().is_some_and(|name| name == "mod.rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
