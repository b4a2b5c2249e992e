//! Server-side apply.
use serde_json::{Map, Value};

use super::managers::{Manager, Managers, Operation};
use super::set::FieldSet;
use super::typed::{self, TypedError, check, compare, fields_of, merge, remove, with_parents};
use super::{Author, document, strip};
use crate::api::{DecodeError, Object};

/// The manager of what was set before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager that goes over from client-side to server-side apply.
const KUBECTL: &str = "kubectl";

/// A field that the configuration would change and somebody else set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who set it, in Kubernetes' words, such as `"kubectl" using apps/v1`.
    pub manager: String,
    /// The field.
    pub path: String,
}

/// Why a configuration is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Others set what it would change.
    #[error("{}", message(.0))]
    Conflicts(Vec<Conflict>),
    /// Its lists make no sense.
    #[error(transparent)]
    Typed(#[from] TypedError),
    /// The managers of the object make no sense.
    #[error("failed to decode managed fields: {0}")]
    Managers(#[from] super::FieldsError),
    /// What comes out is no object.
    #[error(transparent)]
    Object(#[from] DecodeError),
}

/// What a configuration made of an object.
#[derive(Debug)]
pub struct Applied {
    /// The document, without managers.
    pub document: Value,
    /// The managers it gets.
    pub managed_fields:
        Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry>>,
}

/// Applies `config`, which says all that `author` wants of the object, to `live`.
pub fn apply(
    author: &Author,
    live: Option<&Object>,
    config: &Value,
    force: bool,
) -> Result<Applied, ApplyError> {
    let root = author.root();
    let mut config = config.clone();
    if let Some(config) = config.as_object_mut() {
        config.retain(|name, _| !author.ignored.is(name));
    }
    check(root, &config, "")?;
    let mut managers = match live {
        Some(live) => managers_of(author, live)?,
        None => Managers::default(),
    };
    let base = match live {
        Some(live) => without_managers(live.to_value()?),
        None => Value::Object(Map::new()),
    };
    let wanted = fields_of(root, &config);
    let last = managers.0.iter().position(|manager| manager.is(author, Operation::Apply));
    let last = last.map(|at| managers.0.remove(at));

    let mut merged = merge(root, &base, &config);
    if let Some(last) = &last {
        let kept = managers.0.iter().fold(wanted.clone(), |all, other| all.union(&other.fields));
        let gone = with_parents(root, &last.fields).minus(&with_parents(root, &kept));
        remove(root, &mut merged, &gone);
    }
    let mut found = compare(root, &base, &merged);
    author.drop_ignored(&mut found.changed);
    author.drop_ignored(&mut found.removed);
    strip(&mut found.changed);
    let allowed = match live {
        Some(live) if author.manager == KUBECTL => last_applied(root, live),
        _ => FieldSet::default(),
    };
    let mut conflicts = conflicts(&managers, &found.changed);
    if !force {
        let refused = |(_, set): &(String, FieldSet)| !set.clone().minus(&allowed).is_empty();
        if conflicts.iter().any(refused) {
            for (_, set) in &mut conflicts {
                *set = std::mem::take(set).minus(&allowed);
            }
            return Err(ApplyError::Conflicts(listed(&conflicts)));
        }
    }
    managers.lose(&found.changed, &found.removed);
    let mut own = wanted;
    strip(&mut own);
    let unchanged = found.changed.is_empty() && found.removed.is_empty();
    let mut manager = Manager::new(author, Operation::Apply, own);
    if let Some(last) = last.filter(|last| unchanged && last.fields == manager.fields) {
        // Nothing is new, so nothing is written.
        manager.time = last.time;
    }
    managers.0.push(manager);
    if author.manager == KUBECTL && live.is_some() {
        refresh_last_applied(&mut merged, &config);
    }
    Ok(Applied { document: merged, managed_fields: managers.to_entries() })
}

/// The managers of an object that is applied to; all that an untracked one has is from before.
fn managers_of(author: &Author, live: &Object) -> Result<Managers, ApplyError> {
    let entries = live.metadata.managed_fields.as_deref().unwrap_or_default();
    let mut managers = Managers::of(entries)?;
    if managers.is_empty() {
        let before = Author {
            manager: BEFORE_FIRST_APPLY.into(),
            subresource: String::new(),
            ..author.clone()
        };
        let mut fields = compare(author.root(), &super::empty(), &document(live)).changed;
        author.drop_ignored(&mut fields);
        strip(&mut fields);
        managers.gain(&before, Operation::Update, fields);
    }
    Ok(managers)
}

fn without_managers(mut document: Value) -> Value {
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    document
}

/// What each manager set of what changes.
fn conflicts(managers: &Managers, changed: &FieldSet) -> Vec<(String, FieldSet)> {
    let mut found: Vec<(String, FieldSet)> = managers
        .0
        .iter()
        .map(|manager| (described(manager), manager.fields.intersection(changed)))
        .filter(|(_, set)| !set.is_empty())
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn listed(conflicts: &[(String, FieldSet)]) -> Vec<Conflict> {
    let each = conflicts.iter().flat_map(|(manager, set)| {
        set.paths().into_iter().map(|path| Conflict { manager: manager.clone(), path })
    });
    each.collect()
}

fn described(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == Operation::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

fn message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.path
        );
    }
    let mut lines = Vec::new();
    let mut manager = None;
    for conflict in conflicts {
        if manager != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            manager = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// What client-side apply set and nobody changed since: kubectl may take it over from itself.
fn last_applied(root: typed::Node, live: &Object) -> FieldSet {
    let annotations = live.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(LAST_APPLIED)) else {
        return FieldSet::default();
    };
    let Ok(last) = serde_json::from_str::<Value>(text) else { return FieldSet::default() };
    let Ok(live) = live.to_value() else { return FieldSet::default() };
    let differs = compare(root, &last, &live);
    fields_of(root, &last).minus(&differs.changed).minus(&differs.removed)
}

/// Keeps the annotation of client-side apply true where it is there.
fn refresh_last_applied(merged: &mut Value, config: &Value) {
    let annotations =
        merged.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else { return };
    let Some(last) = annotations.get_mut(LAST_APPLIED) else { return };
    let mut config = config.clone();
    let own = config.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(own) = own.and_then(Value::as_object_mut) {
        own.remove(LAST_APPLIED);
    }
    *last = Value::String(format!("{config}\n"));
}
