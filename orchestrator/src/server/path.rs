//! What a request's path names: a resource, an object, one of its subresources.
use http::Method;
use percent_encoding::percent_decode_str;

use super::query::Query;
use crate::api::Attributes;

/// A path below `/api/<version>` or `/apis/<group>/<version>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Name of the object; empty for the collection.
    pub name: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// What follows `proxy`, as it was sent: from the slash on, empty if there is none.
    pub tail: String,
}

/// Segments before this one are names, so they must be text; later ones may belong to who is proxied to.
const NAMES: usize = 5;

impl ResourcePath {
    /// What `path` names, unless it is no path of a resource.
    pub fn parse(path: &str) -> Option<Self> {
        let mut segments = Vec::with_capacity(8);
        for (index, segment) in path.strip_prefix('/')?.split('/').enumerate() {
            let decoded = percent_decode_str(segment);
            segments.push(match decoded.clone().decode_utf8() {
                Ok(text) => text,
                Err(_) if index >= NAMES => decoded.decode_utf8_lossy(),
                Err(_) => return None,
            });
        }
        let mut segments = segments.iter().map(AsRef::as_ref);
        let mut found = Self::default();
        match segments.next()? {
            "api" => {}
            "apis" => found.group = segments.next()?.to_owned(),
            _ => return None,
        }
        found.version = segments.next()?.to_owned();
        let rest: Vec<&str> = segments.collect();
        match rest.as_slice() {
            ["namespaces", "", ..] => return None,
            // `namespaces/x/status` is a subresource of the namespace, `namespaces/x/pods` is not.
            ["namespaces", namespace, resource @ ..]
                if !matches!(resource, [] | ["status" | "finalize"]) =>
            {
                found.namespace = (*namespace).to_owned();
                found.object(resource)?;
            }
            resource => found.object(resource)?,
        }
        if found.subresource == "proxy" {
            found.tail = tail(path, &found).to_owned();
        }
        let empty = found.version.is_empty() || found.resource.is_empty();
        (!empty).then_some(found)
    }

    /// What a request with `method` wants to do, for the authorizer.
    pub fn attributes(&self, method: &Method, query: &Query) -> Attributes {
        let mut name = self.name.clone();
        let collection = name.is_empty();
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if collection => "deletecollection",
            Method::DELETE => "delete",
            _ if !collection => "get",
            _ if query.flag("watch") => "watch",
            _ => "list",
        };
        if matches!(verb, "list" | "watch")
            && let Some(exact) = query.get("fieldSelector").and_then(exact_name)
        {
            name = exact.to_owned();
        }
        Attributes {
            verb: verb.into(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name,
            path: String::new(),
        }
    }

    fn object(&mut self, segments: &[&str]) -> Option<()> {
        let (resource, name, subresource) = match *segments {
            [resource] => (resource, "", ""),
            [resource, name] if !name.is_empty() => (resource, name, ""),
            [resource, name, subresource] if !name.is_empty() => (resource, name, subresource),
            [resource, name, "proxy", ..] if !name.is_empty() => (resource, name, "proxy"),
            _ => return None,
        };
        self.resource = resource.to_owned();
        self.name = name.to_owned();
        self.subresource = subresource.to_owned();
        Some(())
    }
}

/// What follows the `proxy` of a path.
fn tail<'a>(path: &'a str, found: &ResourcePath) -> &'a str {
    let mut segments = if found.group.is_empty() { 5 } else { 6 };
    if !found.namespace.is_empty() {
        segments += 2;
    }
    // The slash before the first segment is the first of as many.
    path.match_indices('/').nth(segments).map_or("", |(at, _)| &path[at..])
}

/// The name in `metadata.name=NAME`, if that is the whole selector.
fn exact_name(selector: &str) -> Option<&str> {
    selector.strip_prefix("metadata.name=").filter(|name| !name.contains([',', '=']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Option<[String; 6]> {
        let p = ResourcePath::parse(path)?;
        Some([p.group, p.version, p.namespace, p.resource, p.name, p.subresource])
    }

    #[test]
    fn paths_name_resources_objects_and_subresources() {
        for (path, expected) in [
            ("/api/v1/nodes", ["", "v1", "", "nodes", "", ""]),
            ("/api/v1/nodes/n1", ["", "v1", "", "nodes", "n1", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "", "namespaces", "a", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "", "namespaces", "a", "finalize"]),
            ("/api/v1/namespaces/a/pods", ["", "v1", "a", "pods", "", ""]),
            ("/api/v1/namespaces/a/pods/p/log", ["", "v1", "a", "pods", "p", "log"]),
            (
                "/apis/apps/v1/namespaces/a/deployments/d",
                ["apps", "v1", "a", "deployments", "d", ""],
            ),
            ("/api/v1/nodes/a%3Ab", ["", "v1", "", "nodes", "a:b", ""]),
        ] {
            assert_eq!(parsed(path), Some(expected.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn what_follows_proxy_is_passed_on_as_it_came() {
        let tail = |path: &str| {
            let found = ResourcePath::parse(path).unwrap();
            assert_eq!(found.subresource, "proxy");
            (found.name, found.tail)
        };
        for (path, name, expected) in [
            ("/api/v1/nodes/n/proxy", "n", ""),
            ("/api/v1/nodes/n/proxy/", "n", "/"),
            ("/api/v1/nodes/n/proxy/a%2Fb/%ff/", "n", "/a%2Fb/%ff/"),
            ("/api/v1/namespaces/x/services/http:web:80/proxy/a//b", "http:web:80", "/a//b"),
        ] {
            assert_eq!(tail(path), (name.to_owned(), expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn other_paths_name_no_resource() {
        for path in [
            "",
            "/",
            "/healthz",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/apis/apps/v1",
            "/api/v1/namespaces/a/pods/",
            "/api/v1/namespaces/a/pods/p/log/more",
            "/api/v1/nodes/%ff",
        ] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn verbs_are_those_of_authorization() {
        let verb = |method: Method, path: &str, query: &str| {
            ResourcePath::parse(path).unwrap().attributes(&method, &Query::parse(query)).verb
        };
        let (all, one) = ("/api/v1/pods", "/api/v1/namespaces/a/pods/p");
        assert_eq!(verb(Method::GET, all, ""), "list");
        assert_eq!(verb(Method::GET, all, "watch=1"), "watch");
        assert_eq!(verb(Method::GET, all, "watch=false"), "list");
        assert_eq!(verb(Method::GET, one, ""), "get");
        assert_eq!(verb(Method::DELETE, all, ""), "deletecollection");
        assert_eq!(verb(Method::DELETE, one, ""), "delete");
        assert_eq!(verb(Method::PATCH, one, ""), "patch");
    }
}
