//! Every Pod has a service account, which must be there.
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object, ObjectKey};

/// How often to look for the account: a controller makes it soon after its namespace.
const ATTEMPTS: u32 = 20;

/// How long to wait between.
const PAUSE: Duration = Duration::from_millis(50);

/// The rule.
pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action == Action::Create && request.is_for("", "pods")
    }

    async fn mutate(&self, _: &Request<'_>, pod: &mut Object, _: &Others) -> Result<(), ApiError> {
        let Some(spec) = pod.body.get_mut("spec").and_then(Value::as_object_mut) else {
            return Ok(());
        };
        let named = |name: &str| match spec.get(name).and_then(Value::as_str) {
            None | Some("") => None,
            Some(name) => Some(name.to_owned()),
        };
        let account = named("serviceAccountName").or_else(|| named("serviceAccount"));
        let account = account.unwrap_or_else(|| "default".to_owned());
        // The second is the old name of the first; both are shown.
        spec.insert("serviceAccount".into(), json!(account));
        spec.insert("serviceAccountName".into(), json!(account));
        Ok(())
    }

    async fn validate(
        &self,
        request: &Request<'_>,
        pod: Option<&Object>,
        others: &Others,
    ) -> Result<(), ApiError> {
        let Some(pod) = pod else { return Ok(()) };
        let spec = pod.body.get("spec");
        let account = spec.and_then(|spec| spec.get("serviceAccountName")).and_then(Value::as_str);
        let account = account.unwrap_or("default");
        let key = ObjectKey::new(request.namespace, account);
        for attempt in 1..=ATTEMPTS {
            if others.get("", "v1", "serviceaccounts", &key).await?.is_some() {
                return Ok(());
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let why =
            format!("error looking up service account {key}: serviceaccount {account:?} not found");
        Err(request.forbidden(name, why))
    }
}
