//! Discovery: which groups, versions and resources the server serves.
//!
//! Every document is read off the resource table once, when the server starts.
use std::collections::HashMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::output::{self, Response};
use crate::api::{Resource, ResourceTable, Subresource, Verb};

/// The form of aggregated discovery; a client finds out by this very text whether it got it.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Documents by path.
#[derive(Debug)]
pub struct Discovery {
    plain: HashMap<String, Document>,
    aggregated: HashMap<&'static str, Document>,
}

#[derive(Debug)]
struct Document {
    json: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    /// The documents of a table.
    pub fn of(table: &ResourceTable) -> Self {
        let groups = groups(table);
        let mut plain = HashMap::from([
            ("/api".to_owned(), document(&core_versions())),
            ("/apis".to_owned(), document(&group_list(&groups))),
        ]);
        for (group, versions) in &groups {
            if !group.is_empty() {
                plain.insert(format!("/apis/{group}"), document(&group_document(group, versions)));
            }
            for (version, rows) in versions {
                let (path, group_version) = match group.as_str() {
                    "" => (format!("/api/{version}"), version.clone()),
                    _ => (format!("/apis/{group}/{version}"), format!("{group}/{version}")),
                };
                plain.insert(path, document(&resource_list(&group_version, rows)));
            }
        }
        let (core, named): (Vec<_>, Vec<_>) =
            groups.iter().partition(|(group, _)| group.is_empty());
        let aggregated = HashMap::from([
            ("/api", document(&aggregated(&core))),
            ("/apis", document(&aggregated(&named))),
        ]);
        Self { plain, aggregated }
    }

    /// The paths that have a document.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.plain.keys().map(String::as_str)
    }

    /// The answer to a GET of `path`, if it is one of discovery's.
    pub fn get(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let path = match path.strip_suffix('/') {
            Some("") | None => path,
            Some(path) => path,
        };
        let accept = headers.get("accept").and_then(|value| value.to_str().ok());
        let (document, content_type) = match self.aggregated.get(path) {
            Some(document) if accept.is_some_and(wants_aggregated) => (document, AGGREGATED),
            _ => (self.plain.get(path)?, "application/json"),
        };
        let mut response = if headers.get(IF_NONE_MATCH) == Some(&document.etag) {
            output::empty(StatusCode::NOT_MODIFIED)
        } else {
            output::bytes(StatusCode::OK, content_type, document.json.clone())
        };
        let answer = response.headers_mut();
        answer.insert(ETAG, document.etag.clone());
        answer.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Some(response)
    }
}

/// Whether the first form of discovery that the client names and we know is the aggregated one.
fn wants_aggregated(accept: &str) -> bool {
    let known = accept.split(',').find_map(|clause| {
        let mut parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        parts.retain(|part| !part.starts_with("q="));
        if parts.first() != Some(&"application/json") {
            return None;
        }
        let has = |part: &str| parts.contains(&part);
        let v2 = has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io") && has("v=v2");
        let plain = parts.len() == 1;
        (v2 || plain).then_some(v2)
    });
    known.unwrap_or(false)
}

/// Groups in the order of the table, each with its versions and their rows.
type Groups<'a> = Vec<Group<'a>>;

/// A group and its versions.
type Group<'a> = (String, Vec<(String, Vec<&'a Resource>)>);

fn groups(table: &ResourceTable) -> Groups<'_> {
    let mut groups = Groups::new();
    for row in table.iter() {
        let versions = position(&mut groups, &row.gvk.group);
        position(versions, &row.gvk.version).push(row);
    }
    groups
}

fn position<'a, T: Default>(list: &'a mut Vec<(String, T)>, name: &str) -> &'a mut T {
    let at = list.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    });
    &mut list[at].1
}

fn document(value: &Value) -> Document {
    let json = Bytes::from(value.to_string());
    let etag = format!("\"{}\"", hex::encode_upper(Sha256::digest(&json)));
    Document { json, etag: HeaderValue::try_from(etag).expect("hexadecimal digits are ASCII") }
}

fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_list(groups: &Groups<'_>) -> Value {
    let named = groups.iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named.map(|(group, versions)| group_value(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_document(group: &str, versions: &[(String, Vec<&Resource>)]) -> Value {
    let mut value = group_value(group, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    value
}

fn group_value(group: &str, versions: &[(String, Vec<&Resource>)]) -> Value {
    let of = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(|(version, _)| of(version)).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_list(group_version: &str, rows: &[&Resource]) -> Value {
    let mut resources = Vec::new();
    for row in rows {
        resources.push(resource_value(row));
        for subresource in &row.subresources {
            let (name, kind, verbs) = subresource_facts(row, subresource);
            let mut value = json!({
                "name": format!("{}/{name}", row.plural), "singularName": "",
                "namespaced": row.namespaced(), "kind": kind.2, "verbs": verbs,
            });
            if (kind.0, kind.1) != (&row.gvk.group, &row.gvk.version) {
                value["group"] = json!(kind.0);
                value["version"] = json!(kind.1);
            }
            resources.push(value);
        }
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version, "resources": resources,
    })
}

fn resource_value(row: &Resource) -> Value {
    let mut value = json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced(),
        "kind": row.gvk.kind, "verbs": words(row.verbs),
    });
    if !row.short_names.is_empty() {
        value["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    value
}

fn aggregated(groups: &[&Group<'_>]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, rows)| {
                    let resources: Vec<Value> =
                        rows.iter().map(|row| aggregated_resource(row)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    })
}

fn aggregated_resource(row: &Resource) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": row.plural,
        "responseKind": kind((&row.gvk.group, &row.gvk.version, &row.gvk.kind)),
        "scope": if row.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": words(row.verbs),
    });
    if !row.short_names.is_empty() {
        value["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    let subresources = row.subresources.iter().map(|subresource| {
        let (name, response, verbs) = subresource_facts(row, subresource);
        json!({"subresource": name, "responseKind": kind(response), "verbs": verbs})
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        value["subresources"] = json!(subresources);
    }
    value
}

/// Name, kind (group, version, kind) and verbs.
fn subresource_facts<'a>(
    row: &'a Resource,
    subresource: &'a Subresource,
) -> (&'a str, (&'a str, &'a str, &'a str), Vec<&'static str>) {
    const READ_AND_CHANGE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
    let own = (row.gvk.group.as_ref(), row.gvk.version.as_ref());
    let name = subresource.name();
    match subresource {
        Subresource::Status => {
            (name, (own.0, own.1, row.gvk.kind.as_ref()), words(READ_AND_CHANGE))
        }
        Subresource::Scale { .. } => (name, ("autoscaling", "v1", "Scale"), words(READ_AND_CHANGE)),
        Subresource::Connect { kind, verbs, .. } => {
            let place = match *kind {
                "TokenRequest" => ("authentication.k8s.io", "v1"),
                "Eviction" => ("policy", "v1"),
                _ => own,
            };
            (name, (place.0, place.1, kind), words(verbs))
        }
    }
}

fn words(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_discovery_is_for_those_who_ask_for_it_first() {
        assert!(wants_aggregated(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        ));
        assert!(wants_aggregated(
            "application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io,application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"
        ));
        assert!(!wants_aggregated("application/json, */*"));
        assert!(!wants_aggregated("*/*"));
    }
}
