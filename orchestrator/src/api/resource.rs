//! The resource table: one row per served resource.
//!
//! Routing, discovery, OpenAPI, authorization, table output and `kubectl`
//! short names are all read from this table. A kind is therefore added by
//! writing its [`Strategy`] and listing it once in `apis`.
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, SubResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Computed, DecodeError, FieldErrors, GroupResource, GroupVersionKind, Object, names, schema,
};

/// Where objects of a resource live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One set per namespace.
    Namespaced,
    /// One set per cluster.
    Cluster,
}

/// Maps the type-level scope of `k8s_openapi` to a value.
pub trait TypedScope {
    /// The value.
    const SCOPE: Scope;
}
impl TypedScope for NamespaceResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}
// A subresource is where its object is; those of ours are in namespaces.
impl TypedScope for SubResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}
impl TypedScope for ClusterResourceScope {
    const SCOPE: Scope = Scope::Cluster;
}

/// What can be done with a resource; the words are discovery's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Write a new object.
    Create,
    /// Remove one.
    Delete,
    /// Remove all that match.
    DeleteCollection,
    /// Read one.
    Get,
    /// Read all that match.
    List,
    /// Change parts of one.
    Patch,
    /// Replace one.
    Update,
    /// Follow changes.
    Watch,
}

impl Verb {
    /// Every verb, for a resource that is stored.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// What can be asked of something that is proxied to.
    pub const PROXY: &'static [Self] =
        &[Self::Create, Self::Delete, Self::Get, Self::Patch, Self::Update];

    /// The word in discovery and authorization.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// Endpoints below an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `status`: the object, of which a write changes `status` alone.
    Status,
    /// `scale`: an `autoscaling/v1` Scale, with the JSON pointers it reads and writes.
    Scale {
        /// Desired replicas.
        spec_replicas: &'static str,
        /// Observed replicas.
        status_replicas: &'static str,
        /// Label selector.
        label_selector: &'static str,
    },
    /// Anything else, such as `log` or `binding`; `server/connect` has one file for each.
    Connect {
        /// Its name in the path.
        name: &'static str,
        /// The kind discovery gives it.
        kind: &'static str,
        /// Its verbs.
        verbs: &'static [Verb],
    },
}

impl Subresource {
    /// Its name in the path.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale { .. } => "scale",
            Self::Connect { name, .. } => name,
        }
    }
}

/// The type of a column, as in `TableColumnDefinition`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A point in time that the client shows as an age; the cell is already an age.
    Date,
}

/// One column of `kubectl get`, beside NAME and AGE.
#[derive(Debug)]
pub struct Column<K> {
    /// Header, capitalized as upstream's (`Ready`, `Up-to-date`).
    pub name: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// Type.
    pub kind: ColumnType,
    /// The cell of one object, as of a point in time.
    pub cell: fn(&K, Timestamp) -> Value,
    /// What it means, for clients that show descriptions.
    pub description: &'static str,
}

impl<K> Column<K> {
    /// A column of text that is always shown.
    pub const fn new(
        name: &'static str,
        description: &'static str,
        cell: fn(&K, Timestamp) -> Value,
    ) -> Self {
        Self { name, priority: 0, kind: ColumnType::String, cell, description }
    }

    /// This column, as one of whole numbers.
    #[must_use]
    pub const fn integer(mut self) -> Self {
        self.kind = ColumnType::Integer;
        self
    }

    /// This column, shown only with `-o wide`.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// A field that `fieldSelector` may name, beside `metadata.name` and `metadata.namespace`.
#[derive(Debug)]
pub struct SelectableField<K> {
    /// Its path, such as `spec.nodeName`.
    pub path: &'static str,
    /// Its value as text; empty where it is not set.
    pub value: fn(&K) -> String,
}

/// The write being admitted.
#[derive(Debug)]
pub enum Operation<'a, K> {
    /// A new object.
    Create,
    /// A replacement of this object.
    Update(&'a K),
    /// A replacement of this object's status.
    UpdateStatus(&'a K),
}

// By hand: a derive would ask that `K` be `Copy`.
impl<K> Clone for Operation<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Operation<'_, K> {}

impl<'a, K> Operation<'a, K> {
    /// The object as it was, unless it is new.
    pub fn old(self) -> Option<&'a K> {
        match self {
            Self::Create => None,
            Self::Update(old) | Self::UpdateStatus(old) => Some(old),
        }
    }
}

/// What one built-in kind adds to the behaviour all kinds share.
///
/// The pipeline does for every kind: names and `generateName`, uid, timestamps,
/// generation, the validation of metadata, that a write to the object leaves
/// `status` as it was and a write to `status` leaves the rest. Hooks are pure:
/// no I/O, no clock, no randomness. Anything that must look at other objects
/// belongs in `admission`.
pub trait Strategy: Send + Sync + 'static {
    /// The typed form.
    type Kind: k8s_openapi::Resource<Scope: TypedScope>
        + Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// Singular name; the kind in lower case if empty.
    const SINGULAR: &'static str = "";
    /// Names `kubectl` accepts for the resource.
    const SHORT_NAMES: &'static [&'static str] = &[];
    /// Groups of resources it belongs to, such as `all`.
    const CATEGORIES: &'static [&'static str] = &[];
    /// Subresources.
    const SUBRESOURCES: &'static [Subresource] = &[];
    /// Columns beside NAME and AGE; a table shows NAME, those of priority 0, AGE, and those of priority 1.
    const COLUMNS: &'static [Column<Self::Kind>] = &[];
    /// Whether a table begins with the NAME column.
    const NAME_COLUMN: bool = true;
    /// Whether a table has the AGE column; without it, `COLUMNS` keep their order.
    const AGE_COLUMN: bool = true;
    /// What `fieldSelector` may name.
    const SELECTABLE_FIELDS: &'static [SelectableField<Self::Kind>] = &[];
    /// Whether a change of anything but metadata and status raises `metadata.generation`.
    const HAS_GENERATION: bool = false;
    /// Whether a PUT without a resourceVersion overwrites.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Whether a PUT to a name that is free creates the object.
    const CREATE_ON_UPDATE: bool = false;
    /// Set where a deletion that names no policy keeps the dependents: what its client is warned of.
    const ORPHANS_BY_DEFAULT: Option<&'static str> = None;
    /// How long after its last write an object expires, if it does.
    const EXPIRES_AFTER: Option<Duration> = None;
    /// The group this resource is stored under if it shares the objects of another, such as both Events.
    const STORED_AS: Option<GroupResource> = None;

    /// Whether its objects are stored in the form of another version, which `to_stored` makes.
    const CONVERTED: bool = false;

    /// Fills in what the client left out; runs on every decode of a write.
    fn default(&self, _: &mut Self::Kind) {}
    /// The status before anybody wrote one: what Go writes though it is empty.
    fn empty_status(&self) -> Value {
        json!({})
    }
    /// What a write may not bring along, or carries over from the old object (such as `clusterIP`).
    fn prepare(&self, _: &mut Self::Kind, _: Operation<'_, Self::Kind>) {}
    /// Lists every reason to reject the write.
    fn validate(&self, _: &Self::Kind, _: Operation<'_, Self::Kind>) -> FieldErrors {
        FieldErrors::default()
    }
    /// What is allowed but probably not meant; each becomes a `Warning` header.
    fn warnings(&self, _: &Self::Kind) -> Vec<String> {
        Vec::new()
    }
    /// What is wrong with `name` as a name of this kind; a DNS subdomain unless overridden.
    fn validate_name(&self, name: &str) -> Result<(), String> {
        names::dns_subdomain(name)
    }
    /// Seconds of grace a deletion gives when the request names none; 0 removes at once.
    fn grace_period(&self, _: &Self::Kind) -> u32 {
        0
    }
    /// Seconds of grace that apply to a deletion that asked for `requested`.
    fn graceful_deletion(&self, object: &Self::Kind, requested: Option<u32>) -> u32 {
        let default = self.grace_period(object);
        if default == 0 { 0 } else { requested.unwrap_or(default) }
    }
    /// The stored form, where several resources share objects.
    fn to_stored(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(object)
    }
    /// The served form, where several resources share objects.
    fn to_served(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(object)
    }
}

/// A [`Strategy`] that no longer says which kind it is for.
///
/// Built-in kinds get it from their `Strategy`; custom resources implement it
/// with the schema their definition carries.
pub trait Behaviour: Send + Sync {
    /// Decodes `new`, prepares and defaults it; returns the paths of unknown fields.
    fn prepare(
        &self,
        new: &mut Object,
        operation: Operation<'_, Object>,
    ) -> Result<Vec<String>, DecodeError>;
    /// Every reason to reject `new`, which is prepared, and what to warn about.
    fn validate(
        &self,
        new: &Object,
        operation: Operation<'_, Object>,
    ) -> Result<(FieldErrors, Vec<String>), DecodeError>;
    /// What is wrong with `name` as a name of this kind.
    fn validate_name(&self, name: &str) -> Result<(), String>;
    /// Columns beside NAME and AGE: name, type, priority, description.
    fn columns(&self) -> Vec<(&str, ColumnType, u8, &str)>;
    /// Cells of one object's row as of `now`, one per column.
    fn cells(&self, object: &Object, now: Timestamp) -> Result<Vec<Value>, DecodeError>;
    /// Paths that `fieldSelector` may name, beside name and namespace.
    fn selectable_fields(&self) -> Vec<&str>;
    /// Their values in `object`, in the same order.
    fn field_values(&self, object: &Object) -> Result<Vec<String>, DecodeError>;
    /// Their values in the object that a JSON text describes.
    fn field_values_of_json(&self, json: &[u8]) -> Result<Vec<String>, DecodeError> {
        self.field_values(&Object::from_slice(json)?)
    }
    /// Seconds of grace of a deletion that asked for `requested`; 0 removes at once.
    fn graceful_deletion(
        &self,
        object: &Object,
        requested: Option<u32>,
    ) -> Result<u32, DecodeError>;
    /// The stored form of a served object.
    fn to_stored(&self, object: Object) -> Result<Object, DecodeError>;
    /// The served form of a stored object.
    fn to_served(&self, object: Object) -> Result<Object, DecodeError>;
}

/// A row of the table: all the server knows of one resource.
#[derive(Clone)]
pub struct Resource {
    /// Group, version and kind.
    pub gvk: GroupVersionKind,
    /// Plural name, as in paths.
    pub plural: Cow<'static, str>,
    /// Singular name.
    pub singular: Cow<'static, str>,
    /// Namespaced or not.
    pub scope: Scope,
    /// Names `kubectl` accepts.
    pub short_names: Vec<Cow<'static, str>>,
    /// Groups of resources it belongs to.
    pub categories: Vec<Cow<'static, str>>,
    /// What can be done with it.
    pub verbs: &'static [Verb],
    /// Endpoints below an object.
    pub subresources: Vec<Subresource>,
    /// Where its objects are stored.
    pub stored_as: GroupResource,
    /// Whether they are stored in another form than they are served in.
    pub converted: bool,
    /// Whether tables begin with NAME.
    pub name_column: bool,
    /// Whether tables have AGE, between the columns of priority 0 and those of priority 1.
    pub age_column: bool,
    /// Whether changes of the spec raise `metadata.generation`.
    pub has_generation: bool,
    /// Whether a PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
    /// Whether a PUT to a free name creates.
    pub create_on_update: bool,
    /// The warning of a deletion that names no policy, if that keeps the dependents.
    pub orphans_by_default: Option<&'static str>,
    /// How long after its last write an object expires.
    pub expires_after: Option<Duration>,
    /// Set for a resource that is answered rather than stored.
    pub computed: Option<Arc<dyn Computed>>,
    /// Whether its objects are measured when they are asked for rather than stored.
    pub measured: bool,
    /// What is particular to the kind.
    pub behaviour: Arc<dyn Behaviour>,
}

impl Resource {
    /// The row of the built-in kind that `strategy` describes.
    pub fn of<S: Strategy>(strategy: S) -> Self {
        type K<S> = <S as Strategy>::Kind;
        use k8s_openapi::Resource as R;
        let singular = match S::SINGULAR {
            "" => K::<S>::KIND.to_lowercase().into(),
            singular => singular.into(),
        };
        let own = GroupResource {
            group: K::<S>::GROUP.into(),
            resource: K::<S>::URL_PATH_SEGMENT.into(),
        };
        Self {
            gvk: gvk_of::<K<S>>(),
            plural: K::<S>::URL_PATH_SEGMENT.into(),
            singular,
            scope: <<K<S> as R>::Scope as TypedScope>::SCOPE,
            short_names: S::SHORT_NAMES.iter().map(|&n| n.into()).collect(),
            categories: S::CATEGORIES.iter().map(|&n| n.into()).collect(),
            verbs: Verb::ALL,
            subresources: S::SUBRESOURCES.to_vec(),
            converted: S::CONVERTED || S::STORED_AS.is_some(),
            stored_as: S::STORED_AS.unwrap_or(own),
            name_column: S::NAME_COLUMN,
            age_column: S::AGE_COLUMN,
            has_generation: S::HAS_GENERATION,
            unconditional_update: S::UNCONDITIONAL_UPDATE,
            create_on_update: S::CREATE_ON_UPDATE,
            orphans_by_default: S::ORPHANS_BY_DEFAULT,
            expires_after: S::EXPIRES_AFTER,
            computed: None,
            measured: false,
            behaviour: Arc::new(strategy),
        }
    }

    /// The row of a kind whose POST is answered by `computed` and stores nothing.
    pub fn computed<S: Strategy + Computed + Clone>(strategy: S) -> Self {
        let computed: Arc<dyn Computed> = Arc::new(strategy.clone());
        Self { verbs: &[Verb::Create], computed: Some(computed), ..Self::of(strategy) }
    }

    /// The row of a kind that the server measures; it can only be read.
    pub fn measured<S: Strategy>(strategy: S) -> Self {
        Self { verbs: &[Verb::Get, Verb::List], measured: true, ..Self::of(strategy) }
    }

    /// Group and plural name.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.gvk.group.clone(), resource: self.plural.clone() }
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// Every resource the server serves, in the order of discovery.
#[derive(Clone, Default)]
pub struct ResourceTable(Vec<Arc<Resource>>);

impl ResourceTable {
    /// A table of these rows.
    pub fn new(rows: impl IntoIterator<Item = Resource>) -> Self {
        Self(rows.into_iter().map(Arc::new).collect())
    }

    /// The row for a path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.0
            .iter()
            .find(|r| r.gvk.group == group && r.gvk.version == version && r.plural == plural)
    }

    /// Every row.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.0.iter()
    }
}

impl<S: Strategy> Behaviour for S {
    fn prepare(
        &self,
        new: &mut Object,
        operation: Operation<'_, Object>,
    ) -> Result<Vec<String>, DecodeError> {
        let mut unknown = Vec::new();
        let mut typed: S::Kind = new.decode_reporting(&mut |path| unknown.push(path))?;
        with_old(operation, |operation| Strategy::prepare(self, &mut typed, operation))?;
        self.default(&mut typed);
        new.encode(&typed)?;
        schema::omit_empty(&gvk_of::<S::Kind>(), &mut new.body);
        if S::SUBRESOURCES.contains(&Subresource::Status) {
            fill_status(&mut new.body, self.empty_status());
        }
        Ok(unknown)
    }

    fn validate(
        &self,
        new: &Object,
        operation: Operation<'_, Object>,
    ) -> Result<(FieldErrors, Vec<String>), DecodeError> {
        let typed: S::Kind = new.decode()?;
        let errors = with_old(operation, |operation| Strategy::validate(self, &typed, operation))?;
        Ok((errors, self.warnings(&typed)))
    }

    fn validate_name(&self, name: &str) -> Result<(), String> {
        Strategy::validate_name(self, name)
    }

    fn columns(&self) -> Vec<(&str, ColumnType, u8, &str)> {
        S::COLUMNS.iter().map(|c| (c.name, c.kind, c.priority, c.description)).collect()
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Result<Vec<Value>, DecodeError> {
        let typed: S::Kind = object.decode()?;
        Ok(S::COLUMNS.iter().map(|c| (c.cell)(&typed, now)).collect())
    }

    fn selectable_fields(&self) -> Vec<&str> {
        S::SELECTABLE_FIELDS.iter().map(|f| f.path).collect()
    }

    fn field_values(&self, object: &Object) -> Result<Vec<String>, DecodeError> {
        if S::SELECTABLE_FIELDS.is_empty() {
            return Ok(Vec::new());
        }
        let typed: S::Kind = object.decode()?;
        Ok(S::SELECTABLE_FIELDS.iter().map(|f| (f.value)(&typed)).collect())
    }

    fn field_values_of_json(&self, json: &[u8]) -> Result<Vec<String>, DecodeError> {
        // Without the detour over `Object`: every version of a Pod comes through here.
        let typed: S::Kind = serde_json::from_slice(json).map_err(|source| DecodeError {
            kind: <S::Kind as k8s_openapi::Resource>::KIND.to_owned(),
            path: ".".to_owned(),
            source,
        })?;
        Ok(S::SELECTABLE_FIELDS.iter().map(|f| (f.value)(&typed)).collect())
    }

    fn graceful_deletion(
        &self,
        object: &Object,
        requested: Option<u32>,
    ) -> Result<u32, DecodeError> {
        Ok(Strategy::graceful_deletion(self, &object.decode()?, requested))
    }

    fn to_stored(&self, object: Object) -> Result<Object, DecodeError> {
        Strategy::to_stored(self, object)
    }

    fn to_served(&self, object: Object) -> Result<Object, DecodeError> {
        Strategy::to_served(self, object)
    }
}

/// Gives an object the status it lacks: clients in other languages than Go look into it.
fn fill_status(body: &mut Map<String, Value>, empty: Value) {
    let status = body.entry("status").or_insert_with(|| json!({}));
    let (Value::Object(status), Value::Object(empty)) = (status, empty) else { return };
    for (field, value) in empty {
        status.entry(field).or_insert(value);
    }
}

fn gvk_of<K: k8s_openapi::Resource>() -> GroupVersionKind {
    GroupVersionKind { group: K::GROUP.into(), version: K::VERSION.into(), kind: K::KIND.into() }
}

fn with_old<K: DeserializeOwned, T>(
    operation: Operation<'_, Object>,
    then: impl FnOnce(Operation<'_, K>) -> T,
) -> Result<T, DecodeError> {
    Ok(match operation {
        Operation::Create => then(Operation::Create),
        Operation::Update(old) => then(Operation::Update(&old.decode()?)),
        Operation::UpdateStatus(old) => then(Operation::UpdateStatus(&old.decode()?)),
    })
}
