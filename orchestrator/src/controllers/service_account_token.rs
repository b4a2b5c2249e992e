//! Fills Secrets of the type `kubernetes.io/service-account-token`, for who needs a token that lasts.
//!
//! The token is bound to its account and its Secret, and void once either is
//! gone; a Secret whose account is not there, or another, is deleted.
use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::Context;
use super::runtime::{Controller, Queue, Requeue, Written};
use crate::client::{Index, Informer, Metadata, ObjectKey, status_code};

/// The type of the Secrets that are filled.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Names the account of a Secret.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Says which account of that name it is.
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// As long as a token may be good, in seconds.
const LIFETIME: i64 = 1 << 32;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Secret or its account could not be read.
    #[error("cannot read the secret or its service account")]
    Read(#[source] Box<kube::Error>),
    /// No token was issued.
    #[error("cannot get a token for the secret")]
    Issue(#[source] Box<kube::Error>),
    /// The Secret could not be written.
    #[error("cannot fill the secret")]
    Write(#[source] Box<kube::Error>),
    /// The Secret could not be deleted.
    #[error("cannot delete the secret, whose service account is gone")]
    Delete(#[source] Box<kube::Error>),
}

struct TokenSecrets {
    client: Client,
    secrets: Informer<Metadata>,
    certificate: String,
}

/// Starts the control loop, whose keys are Secrets.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    // Without their data: what the Secrets of others hold is of no interest.
    let secrets = context.informers.metadata(&ApiResource::erase::<Secret>(&()));
    let accounts = context.informers.of::<ServiceAccount>();
    let queue = Queue::new();
    queue.feed(&secrets, |change, add| {
        if change.new.as_ref().is_some_and(|secret| account_of(secret).is_some()) {
            add(ObjectKey::clone(&change.key));
        }
    });
    let known = secrets.clone();
    queue.feed(&accounts, move |change, add| {
        if change.new.is_some() {
            return;
        }
        for secret in known.by(&Index::NAMESPACE, &change.key.namespace) {
            if account_of(&secret) == Some(&*change.key.name) {
                let name = secret.metadata.name.clone().unwrap_or_default();
                add(ObjectKey::new(change.key.namespace.clone(), name));
            }
        }
    });
    let controller = TokenSecrets {
        client: context.client.clone(),
        secrets: secrets.clone(),
        certificate: context.config.root_ca.clone(),
    };
    let synced = async move { tokio::join!(secrets.synced(), accounts.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

fn account_of(secret: &Metadata) -> Option<&str> {
    annotation(secret.metadata.annotations.as_ref(), ACCOUNT)
}

fn annotation<'a>(all: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    all.and_then(|all| all.get(name)).map(String::as_str)
}

/// What has to be done about a Secret.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Nothing.
    Keep,
    /// Its account is gone.
    Delete,
    /// It becomes this; with a token, if it has none.
    Write { secret: Box<Secret>, needs_token: bool },
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, certificate: &str) -> Plan {
    if secret.metadata.deletion_timestamp.is_some() {
        return Plan::Keep;
    }
    let uid = account.and_then(|account| account.metadata.uid.as_deref());
    let known = annotation(secret.metadata.annotations.as_ref(), ACCOUNT_UID);
    let Some(uid) = uid.filter(|uid| known.is_none_or(|known| known.is_empty() || known == *uid))
    else {
        return Plan::Delete;
    };
    let mut wanted = secret.clone();
    let data = wanted.data.get_or_insert_default();
    data.insert("ca.crt".into(), ByteString(certificate.as_bytes().to_vec()));
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    data.entry("namespace".into()).or_insert_with(|| ByteString(namespace.into_bytes()));
    let needs_token = data.get("token").is_none_or(|token| token.0.is_empty());
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCOUNT_UID.into(), uid.to_owned());
    if !needs_token && wanted == *secret {
        return Plan::Keep;
    }
    Plan::Write { secret: Box::new(wanted), needs_token }
}

#[async_trait]
impl Controller for TokenSecrets {
    const NAME: &'static str = "serviceaccount-token";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        let read = |error| Error::Read(Box::new(error));
        let secret = api.get_opt(&key.name).await.map_err(read)?;
        let Some(secret) = secret.filter(|secret| secret.type_.as_deref() == Some(TYPE)) else {
            return Ok(Requeue::OnChange);
        };
        let name = annotation(secret.metadata.annotations.as_ref(), ACCOUNT).unwrap_or_default();
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
        let account = accounts.get_opt(name).await.map_err(read)?;
        match plan(&secret, account.as_ref(), &self.certificate) {
            Plan::Keep => {}
            Plan::Delete => self.delete(&api, &secret).await?,
            Plan::Write { secret: mut wanted, needs_token } => {
                if needs_token {
                    let token = issue(&accounts, name, &secret).await?;
                    let data = wanted.data.get_or_insert_default();
                    data.insert("token".into(), ByteString(token.into_bytes()));
                }
                self.write(&api, &wanted, written).await?;
            }
        }
        Ok(Requeue::OnChange)
    }
}

impl TokenSecrets {
    async fn write(
        &self,
        api: &Api<Secret>,
        wanted: &Secret,
        written: &Written,
    ) -> Result<(), Error> {
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        match api.replace(name, &PostParams::default(), wanted).await {
            Ok(secret) => written.note(&self.secrets, &secret.metadata),
            Err(error) if status_code(&error) == Some(404) => {}
            Err(error) => return Err(Error::Write(Box::new(error))),
        }
        Ok(())
    }

    async fn delete(&self, api: &Api<Secret>, secret: &Secret) -> Result<(), Error> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let preconditions = Preconditions {
            uid: secret.metadata.uid.clone(),
            resource_version: secret.metadata.resource_version.clone(),
        };
        let parameters =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name, &parameters).await {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Delete(Box::new(error))),
        }
    }
}

/// A token of an account that lasts as long as its Secret.
async fn issue(
    accounts: &Api<ServiceAccount>,
    account: &str,
    secret: &Secret,
) -> Result<String, Error> {
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: None,
            expiration_seconds: Some(LIFETIME),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: secret.metadata.name.clone(),
                uid: secret.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let token = answer.map(|answer| answer.status.and_then(|status| status.token));
    match token {
        Ok(Some(token)) => Ok(token),
        Ok(None) => {
            Err(Error::Issue(Box::new(kube::Error::Service("the answer has no token".into()))))
        }
        Err(error) => Err(Error::Issue(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn secret(annotations: Value) -> Secret {
        let mut secret = json!({
            "type": TYPE,
            "metadata": {"name": "s", "namespace": "shop", "annotations": {ACCOUNT: "cart"}},
        });
        let all = secret["metadata"]["annotations"].as_object_mut().unwrap();
        all.extend(annotations.as_object().unwrap().clone());
        serde_json::from_value(secret).unwrap()
    }

    fn account() -> ServiceAccount {
        let account = json!({"metadata": {"name": "cart", "namespace": "shop", "uid": "1"}});
        serde_json::from_value(account).unwrap()
    }

    #[test]
    fn an_empty_secret_is_filled_once() {
        let Plan::Write { mut secret, needs_token } =
            plan(&secret(json!({})), Some(&account()), "PEM")
        else {
            panic!("it has no token yet")
        };
        assert!(needs_token);
        let data = secret.data.as_mut().unwrap();
        assert_eq!((&*data["ca.crt"].0, &*data["namespace"].0), (&b"PEM"[..], &b"shop"[..]));
        assert_eq!(secret.metadata.annotations.as_ref().unwrap()[ACCOUNT_UID], "1");

        data.insert("token".into(), ByteString(b"t".to_vec()));
        assert_eq!(plan(&secret, Some(&account()), "PEM"), Plan::Keep);
        let Plan::Write { needs_token, .. } = plan(&secret, Some(&account()), "OTHER") else {
            panic!("its certificate is old")
        };
        assert!(!needs_token);
    }

    #[test]
    fn a_secret_without_its_account_goes() {
        assert_eq!(plan(&secret(json!({})), None, "PEM"), Plan::Delete);
        let of_another = secret(json!({ACCOUNT_UID: "2"}));
        assert_eq!(plan(&of_another, Some(&account()), "PEM"), Plan::Delete);
    }
}
