//! Who asks, and for what.
//!
//! The types stand here, below both the server, which fills them in, and
//! the client, whose in-process handle carries a [`User`] as a typed request
//! extension. Only a TLS connection or that handle can set it, never a header.
use serde::{Deserialize, Serialize};

/// An authenticated caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name, such as `system:kube-scheduler`.
    pub name: String,
    /// Identifier that outlives a reuse of the name; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups, such as `system:masters`.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Whose a bearer token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The owner.
    pub user: User,
    /// Those of the audiences asked about that it is meant for.
    pub audiences: Vec<String>,
}

impl User {
    /// The caller who showed no credentials.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// A part of the control plane, such as `system:kube-scheduler`.
    pub fn component(name: impl Into<String>) -> Self {
        Self { name: name.into(), uid: String::new(), groups: vec!["system:authenticated".into()] }
    }

    /// The agent of a node.
    pub fn node(name: &str) -> Self {
        Self {
            name: format!("system:node:{name}"),
            uid: String::new(),
            groups: vec!["system:nodes".into(), "system:authenticated".into()],
        }
    }
}

/// What a request wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, …; the HTTP method in lower case for a path that is no resource.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name; empty for a path that is no resource.
    pub resource: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Name; empty for a collection.
    pub name: String,
    /// The path, for one that is no resource.
    pub path: String,
}

/// The answer of an [`Authorizer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refused, with the reason for the caller; may be empty.
    Deny(String),
}

/// Something that somebody may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs; `*` is all.
    pub verbs: Vec<String>,
    /// API groups of resources; `*` is all.
    pub groups: Vec<String>,
    /// Plural names of resources; `*` is all.
    pub resources: Vec<String>,
    /// Paths, for a rule that is about no resource.
    pub paths: Vec<String>,
}

/// Decides who may do what.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether `user` may do what `attributes` say.
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
    /// All that `user` may do in `namespace`, as far as it can be listed.
    fn rules(&self, _user: &User, _namespace: &str) -> Vec<Rule> {
        Vec::new()
    }
}
