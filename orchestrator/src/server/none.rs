//! Lists of kinds of which there are none, for clients that read them unasked.
//!
//! kubectl reads the definitions of custom resources before it validates a kind that cannot be
//! patched, such as a review; its `cluster-info dump` reads the others and would end without them.
//! Discovery does not name them, as none can be made.
use http::StatusCode;
use serde_json::json;

use super::output::{self, Response};
use super::path::ResourcePath;

/// Group, version, resource and kind, and whether there are namespaces to look into.
const NONE: [(&str, &str, &str, &str, bool); 3] = [
    ("", "v1", "replicationcontrollers", "ReplicationController", true),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false),
    ("apps", "v1", "daemonsets", "DaemonSet", true),
];

/// The answer to a request for such a list.
pub fn get(path: &ResourcePath, verb: &str) -> Option<Response> {
    let asked = (path.group.as_str(), path.version.as_str(), path.resource.as_str());
    let (group, version, _, kind, namespaced) = NONE
        .into_iter()
        .find(|(group, version, resource, ..)| asked == (*group, *version, *resource))?;
    if verb != "list" || !path.subresource.is_empty() || !(namespaced || path.namespace.is_empty())
    {
        return None;
    }
    let api_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let none = json!({
        "kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {}, "items": [],
    });
    Some(output::bytes(StatusCode::OK, "application/json", none.to_string().into()))
}
