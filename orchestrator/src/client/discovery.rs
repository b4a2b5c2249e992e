//! What the API server serves, by its own word: custom resources are found
//! as built-in ones are.
use kube::Client;
use kube::core::discovery::v2::{APIGroupDiscoveryList, APIResourceDiscovery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a path segment may hold as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// How alike a word must be to be suggested, 1 being the same.
const LIKENESS: f64 = 0.75;

/// A resource that the server serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, the preferred one of its group.
    pub version: String,
    /// Kind of its objects.
    pub kind: String,
    /// Its name in paths.
    pub plural: String,
    /// One of it.
    pub singular: String,
    /// Abbreviations.
    pub short_names: Vec<String>,
    /// Groups of resources it belongs to, such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
    /// Its subresources, such as `scale`.
    pub subresources: Vec<String>,
}

impl Served {
    /// The path of a collection, of an object or of its subresource.
    ///
    /// Without a namespace that of all namespaces; a cluster's resource ignores it.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str(&format!("/namespaces/{}", segment(namespace)));
        }
        path.push_str(&format!("/{}", self.plural));
        if let Some(name) = name {
            path.push_str(&format!("/{}", segment(name)));
        }
        path
    }

    /// `deployments.apps`, or `pods` in the core group.
    pub fn qualified(&self) -> String {
        dotted(&self.plural, &self.group)
    }

    /// `deployment.apps/web`, or `pod/web` in the core group.
    pub fn slashed(&self, name: &str) -> String {
        format!("{}/{name}", dotted(&self.singular(), &self.group))
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether something can be done with it.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    fn singular(&self) -> String {
        if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.clone() }
    }

    /// Everything it may be called.
    fn names(&self) -> impl Iterator<Item = String> {
        let short = self.short_names.iter().cloned();
        [self.plural.clone(), self.singular(), self.kind.to_lowercase()].into_iter().chain(short)
    }
}

/// A word that names no resource.
#[derive(Debug, thiserror::Error)]
#[error("the server doesn't have a resource type {word:?}{}", did_you_mean(.near))]
pub struct UnknownResource {
    /// The word.
    pub word: String,
    /// What was perhaps meant.
    pub near: Option<String>,
}

/// Everything that the server serves, the core group first.
#[derive(Debug, Clone, Default)]
pub struct Catalog(Vec<Served>);

impl Catalog {
    /// Asks the server.
    pub async fn fetch(client: &Client) -> Result<Self, kube::Error> {
        let asked = futures::future::try_join(
            client.list_core_api_versions_aggregated(),
            client.list_api_groups_aggregated(),
        );
        let (core, groups) = asked.await?;
        let mut all = served(core);
        all.extend(served(groups));
        Ok(Self(all))
    }

    /// A catalog of these resources.
    pub fn of(resources: impl IntoIterator<Item = Served>) -> Self {
        Self(resources.into_iter().collect())
    }

    /// The resource of a name (`deploy`, `deployments.apps`, `deployments.v1.apps`, `Deployment`).
    pub fn find(&self, word: &str) -> Result<&Served, UnknownResource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').map_or((&*lower, None), |(n, r)| (n, Some(r)));
        let belongs = |served: &Served| match rest {
            None => true,
            Some(rest) => {
                let versioned = dotted(&served.version, &served.group);
                served.group == rest
                    || versioned == rest
                    || served.group.split('.').next() == Some(rest)
            }
        };
        let found = self.0.iter().find(|s| belongs(s) && s.names().any(|known| known == name));
        found.ok_or_else(|| UnknownResource { word: word.into(), near: self.near(name) })
    }

    /// The resource of an object.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.0.iter().find(|served| served.kind == kind && served.api_version() == api_version)
    }

    /// The resources of a category, such as `all`; none if there is no such category.
    pub fn category(&self, word: &str) -> Vec<&Served> {
        self.0.iter().filter(|served| served.categories.iter().any(|c| c == word)).collect()
    }

    /// All resources.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.0.iter()
    }

    fn near(&self, word: &str) -> Option<String> {
        let names = self.0.iter().flat_map(Served::names);
        nearest(word, names)
    }
}

/// The word among `known` that is most like `word`, if one is like it at all.
pub fn nearest(word: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    let rated = known.into_iter().map(|name| (strsim::jaro_winkler(word, &name), name));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= LIKENESS).map(|(_, name)| name)
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn segment(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, SEGMENT)
}

/// The preferred version of each resource of each group.
fn served(list: APIGroupDiscoveryList) -> Vec<Served> {
    let mut all: Vec<Served> = Vec::new();
    for group in list.items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            let number = version.version.unwrap_or_default();
            for resource in version.resources {
                let one = one(&name, &number, resource);
                if !all.iter().any(|known| known.group == name && known.plural == one.plural) {
                    all.push(one);
                }
            }
        }
    }
    all
}

fn one(group: &str, version: &str, resource: APIResourceDiscovery) -> Served {
    let kind = resource.response_kind.and_then(|kind| kind.kind).unwrap_or_default();
    let subresources = resource.subresources.into_iter().filter_map(|sub| sub.subresource);
    Served {
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        plural: resource.resource.unwrap_or_default(),
        singular: resource.singular_resource.unwrap_or_default(),
        short_names: resource.short_names,
        categories: resource.categories,
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        verbs: resource.verbs,
        subresources: subresources.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let list = serde_json::from_value(serde_json::json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                {"resource": "pods", "singularResource": "pod", "scope": "Namespaced",
                 "responseKind": {"kind": "Pod"}, "shortNames": ["po"], "categories": ["all"]},
                {"resource": "nodes", "singularResource": "node", "scope": "Cluster",
                 "responseKind": {"kind": "Node"}}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "singularResource": "deployment",
                 "scope": "Namespaced", "responseKind": {"kind": "Deployment"},
                 "shortNames": ["deploy"], "categories": ["all"]}]}]},
            {"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "resources": [{"resource": "pods", "scope": "Namespaced",
                 "responseKind": {"kind": "Pod"}}]},
                {"version": "v1", "resources": [{"resource": "pods", "scope": "Namespaced",
                 "responseKind": {"kind": "Pod"}}]}]},
        ]}));
        Catalog(served(list.unwrap()))
    }

    #[test]
    fn a_resource_is_found_by_every_name_it_has() {
        let catalog = catalog();
        for word in ["deployments", "deployment", "deploy", "Deployment", "deploy.apps"] {
            assert_eq!(catalog.find(word).unwrap().qualified(), "deployments.apps", "{word}");
        }
        assert_eq!(catalog.find("deployments.v1.apps").unwrap().api_version(), "apps/v1");
        assert_eq!(catalog.find("pods").unwrap().group, "");
        assert_eq!(catalog.find("pods.example.com").unwrap().version, "v2");
    }

    #[test]
    fn an_unknown_word_brings_the_nearest_one() {
        let error = catalog().find("deploymets").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server doesn't have a resource type \"deploymets\"; did you mean \"deployments\"?"
        );
        assert_eq!(catalog().find("xyzzy").unwrap_err().near, None);
    }

    #[test]
    fn paths_leave_out_the_namespace_of_what_has_none() {
        let catalog = catalog();
        let deployments = catalog.find("deploy").unwrap();
        assert_eq!(
            deployments.path(Some("a"), Some("b/c")),
            "/apis/apps/v1/namespaces/a/deployments/b%2Fc"
        );
        assert_eq!(deployments.path(None, None), "/apis/apps/v1/deployments");
        assert_eq!(catalog.find("no").unwrap_err().word, "no");
        assert_eq!(catalog.find("node").unwrap().path(Some("a"), None), "/api/v1/nodes");
    }

    #[test]
    fn a_category_names_many() {
        let catalog = catalog();
        let names: Vec<_> = catalog.category("all").iter().map(|s| s.slashed("x")).collect();
        assert_eq!(names, ["pod/x", "deployment.apps/x"]);
    }
}
