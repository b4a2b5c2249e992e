//! The list of the definitions of custom resources, of which there are none.
//!
//! kubectl reads it before it validates a kind that cannot be patched, such as a
//! review. Discovery does not name it, as nothing can be defined.
use http::StatusCode;
use serde_json::json;

use super::output::{self, Response};
use super::path::ResourcePath;

/// The answer to a request for the list.
pub fn get(path: &ResourcePath, verb: &str) -> Option<Response> {
    let asked = (path.group.as_str(), path.version.as_str(), path.resource.as_str(), verb);
    let list = ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "list");
    if asked != list || !path.namespace.is_empty() {
        return None;
    }
    let none = json!({
        "kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {}, "items": [],
    });
    Some(output::bytes(StatusCode::OK, "application/json", none.to_string().into()))
}
