//! The lock file of a Spin application, as far as it matters here.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The whole of it.
#[derive(Debug, Deserialize)]
pub(super) struct LockedApp {
    #[serde(default)]
    pub(super) host_requirements: Requirements,
    #[serde(default)]
    pub(super) triggers: Vec<Trigger>,
    #[serde(default)]
    pub(super) components: Vec<Component>,
}

/// What the host must be able to do: `required`, a value of the feature's own, or `optional`.
pub(super) type Requirements = BTreeMap<String, Value>;

#[derive(Debug, Deserialize)]
pub(super) struct Trigger {
    pub(super) id: String,
    pub(super) trigger_type: String,
    /// By its type.
    #[serde(default)]
    pub(super) trigger_config: Value,
    /// What stands before its component, and may refuse a request.
    #[serde(default, rename = "trigger_dependencies")]
    pub(super) dependencies: BTreeMap<String, IgnoredAny>,
}

/// The configuration of a trigger of the type `http`.
#[derive(Debug, Deserialize)]
pub(super) struct HttpTrigger {
    pub(super) component: Option<String>,
    pub(super) route: HttpRoute,
    pub(super) executor: Option<Executor>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum HttpRoute {
    Path(String),
    Private { private: bool },
}

#[derive(Debug, Deserialize)]
pub(super) struct Executor {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Component {
    pub(super) id: String,
    pub(super) source: ContentRef,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<ContentPath>,
    #[serde(default)]
    pub(super) host_requirements: Requirements,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentRef {
    pub(super) inline: Option<String>,
    pub(super) digest: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentPath {
    #[serde(flatten)]
    pub(super) content: ContentRef,
    pub(super) path: String,
}
