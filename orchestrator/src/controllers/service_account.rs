//! Every namespace has a service account `default`, which Pods get that name none.
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, namespace};
use crate::client::{Informer, ObjectKey, status_code};

const NAME: &str = "default";

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account could not be created.
    #[error("cannot create the service account {NAME}")]
    Create(#[source] Box<kube::Error>),
}

struct DefaultAccounts {
    client: Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

/// Starts the control loop, whose keys are namespaces.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let namespaces = context.informers.of::<Namespace>();
    let accounts = context.informers.of::<ServiceAccount>();
    let queue = Queue::new();
    queue.feed_own(&namespaces);
    queue.feed(&accounts, |change, add| {
        if change.new.is_none() && change.key.name == NAME {
            add(ObjectKey::cluster(change.key.namespace.clone()));
        }
    });
    let controller = DefaultAccounts {
        client: context.client.clone(),
        namespaces: namespaces.clone(),
        accounts: accounts.clone(),
    };
    let synced = async move { tokio::join!(namespaces.synced(), accounts.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

/// Whether a namespace lacks its account.
fn lacks(namespace: Option<&Namespace>, account: Option<&Arc<ServiceAccount>>) -> bool {
    account.is_none() && namespace.is_some_and(|namespace| !namespace::is_terminating(namespace))
}

#[async_trait]
impl Controller for DefaultAccounts {
    const NAME: &'static str = "serviceaccount";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let account = self.accounts.get(&ObjectKey::new(&key.name, NAME));
        if !lacks(self.namespaces.get(key).as_deref(), account.as_ref()) {
            return Ok(Requeue::OnChange);
        }
        let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await {
            Ok(created) => written.note(&self.accounts, &created.metadata),
            // It is there, or the namespace went meanwhile.
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => {}
            Err(error) => return Err(Error::Create(Box::new(error))),
        }
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_namespace_that_lives_gets_an_account() {
        let namespace = |json| serde_json::from_value::<Namespace>(json).unwrap();
        let living = namespace(json!({"metadata": {"name": "a"}}));
        let ending = namespace(
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        let account = Arc::new(ServiceAccount::default());
        assert!(lacks(Some(&living), None));
        assert!(!lacks(Some(&living), Some(&account)));
        assert!(!lacks(Some(&ending), None));
        assert!(!lacks(None, None));
    }
}
