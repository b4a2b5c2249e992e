//! The replica sets of a Deployment: which one is new, their revisions, sizes and names.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::core::ObjectMeta;

use crate::client::int_or_string::{Rounding, scaled};
use crate::controllers::owner;

/// Tells the Pods of one revision from those of another.
pub const HASH: &str = "pod-template-hash";
/// The number of a revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers a replica set had before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// `spec.replicas` of the Deployment when the set was scaled last.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with `maxSurge`.
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that a set does not take over from its Deployment.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.daemonset.template.generation",
];
/// As long as the history of one set may grow, as in Kubernetes.
const HISTORY_MAX: usize = 2000;
/// Letters that spell no words, as `pod-template-hash` is written in.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `spec.replicas`, 1 unless given.
pub fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// `spec.replicas` of a set, 1 unless given.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Sets the size of a set.
pub fn resize(set: &mut ReplicaSet, size: i32) {
    set.spec.get_or_insert_default().replicas = Some(size);
}

/// `status.availableReplicas`.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// `status.replicas`.
pub fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// Whether Pods are replaced all at once.
pub fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// How many Pods above `spec.replicas` a rollout may have.
pub fn max_surge(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) { 0 } else { fenceposts(deployment).0 }
}

/// How many Pods below `spec.replicas` may be unavailable.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) {
        return 0;
    }
    fenceposts(deployment).1.min(wanted(deployment))
}

/// `maxSurge` and `maxUnavailable` as numbers, never both zero: nothing could move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let total = wanted(deployment);
    let surge = rolling.and_then(|r| scaled(r.max_surge.as_ref()?, total, Rounding::Up));
    let unavailable =
        rolling.and_then(|r| scaled(r.max_unavailable.as_ref()?, total, Rounding::Down));
    match (surge.unwrap_or(0), unavailable.unwrap_or(0)) {
        (0, 0) => (0, 1),
        posts => posts,
    }
}

/// The revision in an object's annotations; 0 if there is none.
pub fn revision(meta: &ObjectMeta) -> i64 {
    let text = meta.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The position of the set that has the Deployment's template; the oldest, if there are several.
pub fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<usize> {
    let template = &deployment.spec.as_ref()?.template;
    let wanted = without_hash(template);
    let same = |set: &ReplicaSet| {
        let spec = set.spec.as_ref();
        spec.and_then(|s| s.template.as_ref()).is_some_and(|t| without_hash(t) == wanted)
    };
    let same = sets.iter().enumerate().filter(|(_, set)| same(set));
    same.min_by_key(|(_, set)| age_order(set)).map(|(position, _)| position)
}

/// Orders sets from old to new.
pub fn age_order(set: &ReplicaSet) -> impl Ord + use<> {
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, set.metadata.name.clone())
}

/// `desired-replicas` of a set.
pub fn desired(set: &ReplicaSet) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(DESIRED)?.parse().ok()
}

/// `max-replicas` of a set.
pub fn maximum(set: &ReplicaSet) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(MAXIMUM)?.parse().ok()
}

/// Notes in a set the sizes it is scaled for.
pub fn note_sizes(deployment: &Deployment, set: &mut ReplicaSet) {
    let desired = wanted(deployment);
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), desired.to_string());
    annotations.insert(MAXIMUM.into(), (desired + max_surge(deployment)).to_string());
}

/// Gives the new set what it takes over from its Deployment, and its revision.
pub fn note_revision(deployment: &Deployment, set: &mut ReplicaSet, new_revision: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let number = old.as_ref().and_then(|old| old.parse::<i64>().ok()).unwrap_or(0);
    if number >= new_revision {
        return;
    }
    annotations.insert(REVISION.into(), new_revision.to_string());
    if let Some(old) = old {
        let before = annotations.get(HISTORY).filter(|history| !history.is_empty());
        let mut history = before.map_or(old.clone(), |before| format!("{before},{old}"));
        while history.len() > HISTORY_MAX {
            history = history.split_once(',').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        }
        annotations.insert(HISTORY.into(), history);
    }
}

/// The set for the Deployment's template, of size 0.
pub fn new_set(deployment: &Deployment, new_revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    };
    note_revision(deployment, &mut set, new_revision);
    note_sizes(deployment, &mut set);
    Some(set)
}

/// Whether a set has the Deployment's template and belongs to it.
pub fn is_ours(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let owner = owner::controller_of(&set.metadata);
    owner.is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
        && find_new(deployment, &[Arc::new(set.clone())]).is_some()
}

/// A template in the form in which two are compared.
fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
    }
    template.metadata = template.metadata.filter(|meta| *meta != ObjectMeta::default());
    template
}

/// A short name for a template. Only its being stable matters: sets are found
/// by comparing templates.
fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let json = serde_json::to_vec(template).expect("a template has string keys only");
    let collisions = collisions.map(i32::to_le_bytes);
    let bytes = json.into_iter().chain(collisions.into_iter().flatten());
    // FNV-1a, 32 bits.
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let letter = |digit: u8| char::from(LETTERS[usize::from(digit) % LETTERS.len()]);
    hash.to_string().bytes().map(letter).collect()
}
