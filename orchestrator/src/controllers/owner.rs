//! Which objects an owner controls: adopting those that nobody controls and
//! releasing those that its selector no longer selects.
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::{ObjectMeta, Selector, SelectorExt};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::info;

use super::runtime::Written;
use crate::client::{Index, Informer, ObjectKey, status_code};

/// An owner's selector that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the selector")]
pub struct SelectorError(#[source] kube::core::ParseExpressionError);

/// Why the objects of an owner are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its selector means nothing.
    #[error("cannot select objects")]
    Selector(#[from] SelectorError),
    /// Whether it still lives cannot be said.
    #[error("cannot look at the owner before it adopts")]
    Owner(#[source] Box<kube::Error>),
    /// An object could not be adopted or released.
    #[error("cannot change the owner of {name}")]
    Change {
        /// The object.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What an owner does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It controls it.
    Keep,
    /// It takes control.
    Adopt,
    /// It gives up control.
    Release,
    /// It has nothing to do with it.
    Ignore,
}

/// A `LabelSelector` that can be asked; the empty one selects nothing here,
/// as a controller that selects everything is a mistake.
pub struct Selects(Option<Selector>);

impl Selects {
    /// Reads a selector.
    pub fn new(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
        if empty {
            return Ok(Self(None));
        }
        Selector::try_from(selector.clone()).map(|s| Self(Some(s))).map_err(SelectorError)
    }

    /// Whether it selects these labels.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let none = BTreeMap::new();
        self.0.as_ref().is_some_and(|selector| selector.matches(labels.unwrap_or(&none)))
    }
}

/// The owner that controls an object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The key of the owner that controls an object, if it is of this kind.
pub fn controller_key(meta: &ObjectMeta, kind: &str) -> Option<ObjectKey> {
    let owner = controller_of(meta).filter(|owner| owner.kind == kind)?;
    Some(ObjectKey::new(meta.namespace.clone()?, owner.name.clone()))
}

/// The reference by which `owner` controls an object.
pub fn controller_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into(),
        kind: O::kind(&()).into(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A list in a merge patch: an empty one takes the field away, as Kubernetes
/// stores no empty lists in metadata.
pub fn list_or_absent<T: Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Names the owners that would adopt an object that nobody controls; `selector` is where they say so.
pub fn would_adopt<O: Resource<DynamicType = ()>>(
    owners: &Informer<O>,
    selector: fn(&O) -> Option<&LabelSelector>,
    object: &ObjectMeta,
    add: &mut dyn FnMut(ObjectKey),
) {
    let Some(namespace) = object.namespace.as_deref() else { return };
    for owner in owners.by(&Index::NAMESPACE, namespace) {
        let selects = selector(&owner).map(Selects::new);
        if selects.is_some_and(|s| s.is_ok_and(|s| s.matches(object.labels.as_ref()))) {
            add(ObjectKey::new(namespace, owner.meta().name.clone().unwrap_or_default()));
        }
    }
}

/// What `owner` does with an object that it may control.
pub fn claim(owner: &ObjectMeta, selects: &Selects, object: &ObjectMeta) -> Claim {
    let selected = selects.matches(object.labels.as_ref());
    let dying = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if selected => Claim::Keep,
        Some(_) if dying => Claim::Ignore,
        Some(_) => Claim::Release,
        None if selected && !dying && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// The objects that `owner` controls, after adopting and releasing.
///
/// `may_adopt` says which of those that nobody controls are worth adopting.
pub async fn claim_all<O, K>(
    client: &Client,
    owner: &O,
    selects: &Selects,
    informer: &Informer<K>,
    may_adopt: impl Fn(&K) -> bool,
    written: &Written,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let mut owned = Vec::new();
    let mut alive = None;
    let mut candidates = informer.by(&Index::CONTROLLER, uid);
    let orphans = informer.by(&Index::ORPHAN, namespace);
    candidates.extend(orphans.into_iter().filter(|orphan| may_adopt(orphan)));
    for object in candidates {
        let claim = claim(owner.meta(), selects, object.meta());
        if claim == Claim::Adopt {
            if alive.is_none() {
                alive = Some(is_alive(client, owner).await?);
            }
            if alive == Some(false) {
                continue;
            }
        }
        match claim {
            Claim::Ignore => {}
            Claim::Keep => owned.push(object),
            Claim::Adopt | Claim::Release => {
                let changed = change_owner(client, owner, &*object, claim).await?;
                let Some(changed) = changed else { continue };
                written.note(informer, changed.meta());
                if claim == Claim::Adopt {
                    owned.push(Arc::new(changed));
                }
            }
        }
    }
    Ok(owned)
}

/// Whether the owner still lives, asked of the server: the informer may be behind.
async fn is_alive<O>(client: &Client, owner: &O) -> Result<bool, Error>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let meta = owner.meta();
    let api = Api::<O>::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let live = api.get_metadata_opt(meta.name.as_deref().unwrap_or_default()).await;
    let live = live.map_err(|source| Error::Owner(Box::new(source)))?;
    Ok(live.is_some_and(|live| {
        live.metadata.uid == meta.uid && live.metadata.deletion_timestamp.is_none()
    }))
}

/// Adopts or releases an object; answers it as it is now, unless it is gone.
async fn change_owner<O, K>(
    client: &Client,
    owner: &O,
    object: &K,
    claim: Claim,
) -> Result<Option<K>, Error>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let meta = object.meta();
    let name = meta.name.clone().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let ours = owner.meta().uid.as_deref().unwrap_or_default();
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|other| other.uid != ours);
    if claim == Claim::Adopt {
        owners.push(controller_reference(owner));
    }
    info!(namespace, name, owner = owner.meta().name, ?claim, "controller of object changes");
    let patch = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": list_or_absent(&owners),
    }});
    let api = Api::<K>::namespaced(client.clone(), namespace);
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(changed) => Ok(Some(changed)),
        Err(error) if status_code(&error) == Some(404) => Ok(None),
        Err(source) => Err(Error::Change { name, source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_owner_claims_what_it_selects_and_nobody_else_controls() {
        let selects = Selects::new(
            &serde_json::from_value(json!({
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}],
            }))
            .unwrap(),
        )
        .unwrap();
        let owner = meta(json!({"name": "web", "uid": "1"}));
        let dying =
            meta(json!({"name": "web", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let by = |uid: &str| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true}]);
        let web = json!({"app": "web"});
        let db = json!({"app": "web", "tier": "db"});
        let cases = [
            (&owner, json!({"labels": web, "ownerReferences": by("1")}), Claim::Keep),
            (&owner, json!({"labels": db, "ownerReferences": by("1")}), Claim::Release),
            (&owner, json!({"labels": web, "ownerReferences": by("2")}), Claim::Ignore),
            (&owner, json!({"labels": web}), Claim::Adopt),
            (&owner, json!({"labels": db}), Claim::Ignore),
            (&owner, json!({}), Claim::Ignore),
            (
                &owner,
                json!({"labels": web, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                Claim::Ignore,
            ),
            (&dying, json!({"labels": web}), Claim::Ignore),
            (&dying, json!({"labels": db, "ownerReferences": by("1")}), Claim::Ignore),
            (&dying, json!({"labels": web, "ownerReferences": by("1")}), Claim::Keep),
        ];
        for (owner, object, wanted) in cases {
            assert_eq!(claim(owner, &selects, &meta(object.clone())), wanted, "{object}");
        }
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let selects = Selects::new(&LabelSelector::default()).unwrap();
        assert!(!selects.matches(Some(&BTreeMap::from([("app".into(), "web".into())]))));
    }
}
