//! The managers of an object, as they stand in `metadata.managedFields`.
use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use serde_json::json;

use super::Author;
use super::set::{FieldSet, FieldsError};
use crate::api::{FieldError, FieldErrors, FieldPath};

/// As many managers that update as an object keeps, as in Kubernetes: the oldest are joined.
const UPDATERS_MAX: usize = 10;

/// The manager that the oldest are joined into.
const ANCIENT: &str = "ancient-changes";

/// As long as the name of a manager may be, in characters, as in Kubernetes.
const NAME_MAX: usize = 128;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// It applies its configuration.
    Apply,
    /// It writes otherwise.
    Update,
}

/// One manager and what it owns.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<Timestamp>,
    pub(super) fields: FieldSet,
}

/// All managers of an object.
#[derive(Debug, Clone, Default)]
pub(super) struct Managers(pub(super) Vec<Manager>);

/// Whether a client wants the managers cleared.
pub(super) fn is_reset(entries: &[ManagedFieldsEntry]) -> bool {
    entries.first() == Some(&ManagedFieldsEntry::default())
}

impl Manager {
    /// A manager of an object that writes as `author` does.
    pub(super) fn new(author: &Author, operation: Operation, fields: FieldSet) -> Self {
        Self {
            name: author.manager.clone(),
            operation,
            api_version: author.gvk.api_version(),
            subresource: author.subresource.clone(),
            time: Some(author.now),
            fields,
        }
    }

    /// Whether this is how `author` is known; who applies is so in every version.
    pub(super) fn is(&self, author: &Author, operation: Operation) -> bool {
        self.name == author.manager
            && self.operation == operation
            && self.subresource == author.subresource
            && (operation == Operation::Apply || self.api_version == author.gvk.api_version())
    }

    fn of(entry: &ManagedFieldsEntry) -> Result<Self, FieldsError> {
        let operation = match entry.operation.as_deref() {
            Some("Apply") => Operation::Apply,
            _ => Operation::Update,
        };
        let fields = match &entry.fields_v1 {
            Some(fields) => FieldSet::of_fields(&fields.0)?,
            None => FieldSet::default(),
        };
        Ok(Self {
            name: entry.manager.clone().unwrap_or_default(),
            operation,
            api_version: entry.api_version.clone().unwrap_or_default(),
            subresource: entry.subresource.clone().unwrap_or_default(),
            time: entry.time.as_ref().map(|time| time.0),
            fields,
        })
    }

    fn to_entry(&self) -> ManagedFieldsEntry {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        ManagedFieldsEntry {
            api_version: Some(self.api_version.clone()).filter(|version| !version.is_empty()),
            fields_type: Some("FieldsV1".into()),
            fields_v1: Some(FieldsV1(self.fields.to_fields())),
            manager: Some(self.name.clone()).filter(|name| !name.is_empty()),
            operation: Some(operation.into()),
            subresource: Some(self.subresource.clone()).filter(|name| !name.is_empty()),
            time: self.time.map(Time),
        }
    }
}

impl Managers {
    /// The managers in `metadata.managedFields`.
    pub(super) fn of(entries: &[ManagedFieldsEntry]) -> Result<Self, FieldsError> {
        entries.iter().map(Manager::of).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `metadata.managedFields`: those who apply first, then by time; who owns nothing is none.
    pub(super) fn to_entries(&self) -> Option<Vec<ManagedFieldsEntry>> {
        let mut managers: Vec<&Manager> =
            self.0.iter().filter(|manager| !manager.fields.is_empty()).collect();
        managers.sort_by_key(|manager| {
            let seconds = manager.time.map_or(0, Timestamp::as_second);
            let Manager { name, operation, api_version, subresource, .. } = manager;
            (*operation, seconds, name.as_str(), api_version.as_str(), subresource.as_str())
        });
        let entries: Vec<_> = managers.into_iter().map(Manager::to_entry).collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// Takes from every manager what somebody else has changed and what is no more.
    pub(super) fn lose(&mut self, changed: &FieldSet, removed: &FieldSet) {
        for manager in &mut self.0 {
            let fields = std::mem::take(&mut manager.fields);
            manager.fields = fields.minus(changed).minus(removed);
        }
    }

    /// Gives fields to the manager that `author` is.
    pub(super) fn gain(&mut self, author: &Author, operation: Operation, fields: FieldSet) {
        if fields.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|manager| manager.is(author, operation)) {
            Some(manager) => {
                manager.fields = std::mem::take(&mut manager.fields).union(&fields);
                manager.time = Some(author.now);
            }
            None => self.0.push(Manager::new(author, operation, fields)),
        }
    }

    /// Joins the oldest of those who update until they are few enough; those of one version only.
    pub(super) fn cap(&mut self) {
        self.0.retain(|manager| !manager.fields.is_empty());
        let mut updaters: Vec<Manager> = Vec::new();
        let mut kept: Vec<Manager> = Vec::new();
        for manager in std::mem::take(&mut self.0) {
            if manager.operation == Operation::Update { &mut updaters } else { &mut kept }
                .push(manager);
        }
        let mut surplus = updaters.len().saturating_sub(UPDATERS_MAX);
        updaters.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
        let mut buckets: HashMap<String, usize> = HashMap::new();
        for manager in updaters {
            match buckets.get(&manager.api_version).copied() {
                Some(at) if surplus > 0 => {
                    let bucket: &mut Manager = &mut kept[at];
                    bucket.name = ANCIENT.into();
                    bucket.subresource = String::new();
                    bucket.fields = std::mem::take(&mut bucket.fields).union(&manager.fields);
                    bucket.time = manager.time;
                    surplus -= 1;
                }
                _ => {
                    buckets.entry(manager.api_version.clone()).or_insert(kept.len());
                    kept.push(manager);
                }
            }
        }
        self.0 = kept;
    }
}

/// What is wrong with the managers that a client sends.
pub fn validate(entries: &[ManagedFieldsEntry], path: &FieldPath) -> FieldErrors {
    let mut errors = FieldErrors::default();
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let operation = entry.operation.as_deref().unwrap_or_default();
        errors.check(matches!(operation, "Apply" | "Update"), || {
            let why = "must be `Apply` or `Update`".to_owned();
            FieldError::Invalid(path.child("operation"), operation.into(), why)
        });
        let form = entry.fields_type.as_deref().unwrap_or_default();
        errors.check(form.is_empty() || form == "FieldsV1", || {
            let why = "must be `FieldsV1`".to_owned();
            FieldError::Invalid(path.child("fieldsType"), form.into(), why)
        });
        errors.extend(validate_name(
            entry.manager.as_deref().unwrap_or_default(),
            &path.child("manager"),
        ));
    }
    errors
}

/// What is wrong with `name` as that of a manager.
pub fn validate_name(name: &str, path: &FieldPath) -> FieldErrors {
    let mut errors = FieldErrors::default();
    errors.check(name.len() <= NAME_MAX, || FieldError::TooLong(path.clone(), NAME_MAX));
    errors.check(!name.chars().any(char::is_control), || {
        let why = "should only contain printable characters".to_owned();
        FieldError::Invalid(path.clone(), json!(name), why)
    });
    errors
}

/// The manager that a client's `User-Agent` names: the word before the first slash.
pub fn of_user_agent(agent: &str) -> String {
    let word = agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in word.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > NAME_MAX {
            break;
        }
        name.push(letter);
    }
    name
}
