//! Ends a namespace: deletes all that is in it, then takes away the finalizer that holds it.
//!
//! What there is to delete is asked of the server's discovery, so that kinds
//! that come later are deleted too. Pods go first: while they end they may
//! still need their Secrets and ConfigMaps (KEP-5080).
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tracing::info;

use super::Context;
use super::runtime::{Controller, Queue, Requeue, Written};
use crate::client::{Index, Informer, ObjectKey, refusal, status_code};
use crate::clock::Clock;

/// Holds a namespace until it is empty.
const FINALIZER: &str = "kubernetes";
/// Other finalizers and grace periods are not told to this loop: it looks again.
const AGAIN: Duration = Duration::from_secs(1);
/// Remaining objects are counted up to this number, as nobody needs it exactly.
const COUNTED: u32 = 500;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What can be deleted is not known.
    #[error("cannot discover resources")]
    Discover(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
    /// The finalizer could not be taken away.
    #[error("cannot finalize")]
    Finalize(#[source] Box<kube::Error>),
}

struct Namespaces {
    client: Client,
    namespaces: Informer<Namespace>,
    clock: Arc<dyn Clock>,
}

/// What is left in a namespace after everything was told to go.
#[derive(Debug, Default, PartialEq)]
struct Remains {
    /// Resources such as `pods.` with the number of objects, in discovery order.
    resources: Vec<(String, usize)>,
    /// Finalizers with the number of objects they hold.
    finalizers: Vec<(String, usize)>,
    /// Deletions that were refused.
    failures: Vec<String>,
}

/// Whether a namespace is on its way out.
pub fn is_terminating(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let namespaces = context.informers.of::<Namespace>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    queue.feed_own(&namespaces);
    let (known, left) = (namespaces.clone(), pods.clone());
    queue.feed(&pods, move |change, add| {
        let namespace = ObjectKey::cluster(change.key.namespace.clone());
        if change.new.is_none()
            && known.get(&namespace).is_some_and(|namespace| is_terminating(&namespace))
            && left.by(&Index::NAMESPACE, &namespace.name).is_empty()
        {
            add(namespace);
        }
    });
    let controller = Namespaces {
        client: context.client.clone(),
        namespaces: namespaces.clone(),
        clock: Arc::clone(&context.config.clock),
    };
    let synced = async move { tokio::join!(namespaces.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for Namespaces {
    const NAME: &'static str = "namespace";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(namespace) = self.namespaces.get(key).filter(|n| is_terminating(n)) else {
            return Ok(Requeue::OnChange);
        };
        let spec = namespace.spec.clone().unwrap_or_default();
        let mut finalizers = spec.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Requeue::OnChange);
        }
        let resources = self.resources().await?;
        let remains = self.empty(&key.name, &resources).await;
        let namespace = self.write_status(&namespace, &remains, written).await?;
        let Some(mut namespace) = namespace else { return Ok(Requeue::OnChange) };
        if remains != Remains::default() {
            return Ok(Requeue::After(AGAIN));
        }
        info!(namespace = key.name, "namespace is empty");
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        namespace.spec.get_or_insert_default().finalizers = Some(finalizers);
        self.finalize(&namespace).await?;
        Ok(Requeue::OnChange)
    }
}

impl Namespaces {
    /// Resources of namespaced objects that can be listed and deleted, Pods first.
    async fn resources(&self) -> Result<Vec<ApiResource>, Error> {
        let discovery = Discovery::new(self.client.clone()).run().await;
        let discovery = discovery.map_err(|error| Error::Discover(Box::new(error)))?;
        let all = discovery.groups().flat_map(|group| group.recommended_resources());
        let deletable = all.filter(|(_, can)| {
            can.scope == Scope::Namespaced
                && can.supports_operation(verbs::LIST)
                && can.supports_operation(verbs::DELETE_COLLECTION)
        });
        let mut resources: Vec<_> = deletable.map(|(resource, _)| resource).collect();
        resources.sort_by_key(|resource| !is_pods(resource));
        Ok(resources)
    }

    /// Deletes everything; while there are Pods, only them.
    async fn empty(&self, namespace: &str, resources: &[ApiResource]) -> Remains {
        let mut remains = Remains::default();
        for resource in resources {
            if let Err(error) = self.delete_all(namespace, resource, &mut remains).await {
                let gone = matches!(status_code(&error), Some(404 | 405));
                if !gone {
                    let why = format!("{}: {}", group_resource(resource), refusal(&error));
                    remains.failures.push(why);
                }
            }
            if is_pods(resource) && remains != Remains::default() {
                break;
            }
        }
        remains
    }

    async fn delete_all(
        &self,
        namespace: &str,
        resource: &ApiResource,
        remains: &mut Remains,
    ) -> Result<(), kube::Error> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let counted = ListParams::default().limit(COUNTED);
        if api.list_metadata(&counted).await?.items.is_empty() {
            return Ok(());
        }
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        let left = api.list_metadata(&counted).await?.items;
        if !left.is_empty() {
            remains.resources.push((group_resource(resource), left.len()));
        }
        for finalizer in left.iter().flat_map(|o| o.metadata.finalizers.iter().flatten()) {
            match remains.finalizers.iter_mut().find(|(name, _)| name == finalizer) {
                Some((_, count)) => *count += 1,
                None => remains.finalizers.push((finalizer.clone(), 1)),
            }
        }
        Ok(())
    }

    /// Writes the conditions; answers the namespace as it is then, unless it is gone.
    async fn write_status(
        &self,
        namespace: &Arc<Namespace>,
        remains: &Remains,
        written: &Written,
    ) -> Result<Option<Namespace>, Error> {
        let status = namespace.status.clone().unwrap_or_default();
        let before = status.conditions.clone().unwrap_or_default();
        let after = conditions(&before, remains, self.clock.now());
        if after == before {
            return Ok(Some(Namespace::clone(namespace)));
        }
        let mut updated = Namespace::clone(namespace);
        updated.status.get_or_insert_default().conditions = Some(after);
        let api = Api::<Namespace>::all(self.client.clone());
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(updated) => {
                written.note(&self.namespaces, &updated.metadata);
                Ok(Some(updated))
            }
            Err(error) if status_code(&error) == Some(404) => Ok(None),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }

    async fn finalize(&self, namespace: &Namespace) -> Result<(), Error> {
        let api = Api::<Namespace>::all(self.client.clone());
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let answer: Result<Namespace, _> =
            api.replace_subresource("finalize", name, &PostParams::default(), namespace).await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Finalize(Box::new(error))),
        }
    }
}

fn is_pods(resource: &ApiResource) -> bool {
    resource.group.is_empty() && resource.plural == "pods"
}

fn group_resource(resource: &ApiResource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}

/// The conditions of a namespace that is being emptied, in Kubernetes' words.
fn conditions(
    before: &[NamespaceCondition],
    remains: &Remains,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let counted = |list: &[(String, usize)], what: &str| {
        let each =
            list.iter().map(|(name, count)| format!("{name} {what} {count} resource instances"));
        each.collect::<Vec<_>>().join(", ")
    };
    let content = (!remains.resources.is_empty())
        .then(|| format!("Some resources are remaining: {}", counted(&remains.resources, "has")));
    let held = (!remains.finalizers.is_empty()).then(|| {
        format!(
            "Some content in the namespace has finalizers remaining: {}",
            counted(&remains.finalizers, "in")
        )
    });
    let failed = (!remains.failures.is_empty())
        .then(|| format!("Failed to delete all resource types: {}", remains.failures.join(", ")));
    let good = "All content successfully deleted, may be waiting on finalization";
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            None,
            "",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            failed,
            "ContentDeletionFailed",
            "ContentDeleted",
            good,
        ),
        (
            "NamespaceContentRemaining",
            content,
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            held,
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
    .into_iter()
    .map(|(type_, trouble, bad_reason, good_reason, good_message)| {
        let status = if trouble.is_some() { "True" } else { "False" };
        let reason = if trouble.is_some() { bad_reason } else { good_reason };
        let message = trouble.unwrap_or_else(|| good_message.to_owned());
        let known = before.iter().find(|c| c.type_ == type_ && c.status == status);
        let since = known.and_then(|condition| condition.last_transition_time.clone());
        // As the API writes it: a status that is read back must be equal.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_keep_their_times() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let remains = Remains {
            resources: vec![("pods.".into(), 2)],
            finalizers: vec![("example.com/hold".into(), 1)],
            failures: vec![],
        };
        let first = conditions(&[], &remains, at(100));
        let told: Vec<_> = first
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.message.as_deref().unwrap()))
            .collect();
        assert_eq!(
            told[2..],
            [
                (
                    "NamespaceDeletionContentFailure",
                    "False",
                    "All content successfully deleted, may be waiting on finalization"
                ),
                (
                    "NamespaceContentRemaining",
                    "True",
                    "Some resources are remaining: pods. has 2 resource instances"
                ),
                (
                    "NamespaceFinalizersRemaining",
                    "True",
                    "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
                ),
            ]
        );
        assert_eq!(conditions(&first, &remains, at(200)), first);
        let done = conditions(&first, &Remains::default(), at(300));
        assert_eq!(done[3].status, "False");
        assert_eq!(done[3].last_transition_time, Some(Time(at(300))));
        assert_eq!(done[2].last_transition_time, Some(Time(at(100))));
    }
}
