//! Every Pod has a service account, which must be there; it brings its token and
//! the credentials of its registries along.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::spec::{name_of, spec_of, text};
use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object, ObjectKey};

/// How often to look for the account: a controller makes it soon after its namespace.
const ATTEMPTS: u32 = 20;

/// How long to wait between.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a container finds its token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the volume of the token is called, before a suffix.
const VOLUME: &str = "kube-api-access-";

/// Seconds that the token lives: an hour and a little, by which Kubernetes knows it was not asked for by name.
const TOKEN_SECONDS: u32 = 3607;

/// Permissions of the files: 0644.
const MODE: u32 = 0o644;

/// Letters and digits of Kubernetes' generated names.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The rule.
pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action == Action::Create && request.is_for("", "pods")
    }

    async fn mutate(
        &self,
        request: &Request<'_>,
        pod: &mut Object,
        others: &Others,
    ) -> Result<(), ApiError> {
        let name = name_of(pod);
        let Some(spec) = spec_of(pod) else { return Ok(()) };
        let account = text(spec, "serviceAccountName").or_else(|| text(spec, "serviceAccount"));
        let account = account.unwrap_or("default").to_owned();
        // The second is the old name of the first; both are shown.
        spec.insert("serviceAccount".into(), json!(account));
        spec.insert("serviceAccountName".into(), json!(account));
        let account = find(request, others, &name, &account).await?;
        if is_token_wanted(spec, &account) {
            mount_token(spec, &suffix(request.namespace, &name));
        }
        if is_empty(spec.get("imagePullSecrets"))
            && let Some(secrets) = account.body.get("imagePullSecrets")
            && !is_empty(Some(secrets))
        {
            spec.insert("imagePullSecrets".into(), secrets.clone());
        }
        Ok(())
    }
}

/// The account, which may be about to be made.
async fn find(
    request: &Request<'_>,
    others: &Others,
    pod: &str,
    account: &str,
) -> Result<Object, ApiError> {
    let key = ObjectKey::new(request.namespace, account);
    for attempt in 1..=ATTEMPTS {
        if let Some(found) = others.get("", "v1", "serviceaccounts", &key).await? {
            return Ok(found);
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let why =
        format!("error looking up service account {key}: serviceaccount {account:?} not found");
    Err(request.forbidden(pod, why))
}

/// Whether the Pod, or else the account, does not forbid it.
fn is_token_wanted(spec: &Map<String, Value>, account: &Object) -> bool {
    let field = "automountServiceAccountToken";
    let said = spec.get(field).or_else(|| account.body.get(field)).and_then(Value::as_bool);
    said.unwrap_or(true)
}

/// Gives every container that has nothing there the token, and the Pod its volume.
fn mount_token(spec: &mut Map<String, Value>, suffix: &str) {
    let known = list(spec.get("volumes")).iter().find_map(|volume| {
        let name = volume.get("name").and_then(Value::as_str)?;
        name.starts_with(VOLUME).then(|| name.to_owned())
    });
    let name = known.clone().unwrap_or_else(|| format!("{VOLUME}{suffix}"));
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            let taken = list(container.get("volumeMounts"))
                .iter()
                .any(|mount| mount.get("mountPath").and_then(Value::as_str) == Some(MOUNT_PATH));
            if taken {
                continue;
            }
            mounted = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            if let Some(container) = container.as_object_mut() {
                push(container, "volumeMounts", mount);
            }
        }
    }
    if mounted && known.is_none() {
        push(spec, "volumes", json!({"name": name, "projected": projection()}));
    }
}

/// Token, authority and namespace, as client libraries look for them.
fn projection() -> Value {
    json!({
        "defaultMode": MODE,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {
                "name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ],
    })
}

fn push(object: &mut Map<String, Value>, field: &str, item: Value) {
    let list = object.entry(field).or_insert(Value::Null);
    match list {
        Value::Array(items) => items.push(item),
        none => *none = json!([item]),
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_empty(value: Option<&Value>) -> bool {
    list(value).is_empty()
}

/// Five letters that follow from the Pod's name: they only have to differ from the
/// names of its other volumes, and the same write makes the same object.
fn suffix(namespace: &str, name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    let mut rest = hasher.finish();
    let mut letter = || {
        let index = rest % ALPHABET.len() as u64;
        rest /= ALPHABET.len() as u64;
        char::from(ALPHABET[index as usize])
    };
    (0..5).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(mut spec: Value) -> Value {
        mount_token(spec.as_object_mut().unwrap(), "abcde");
        spec
    }

    #[test]
    fn every_container_gets_the_token_once() {
        let spec = mounted(json!({
            "initContainers": [{"name": "i"}],
            "containers": [
                {"name": "a", "volumeMounts": [{"name": "x", "mountPath": "/x"}]},
                {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
            ],
        }));
        let mount =
            json!({"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH});
        assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
        assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
        assert_eq!(list(spec["containers"][1].get("volumeMounts")).len(), 1);
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
        assert_eq!(mounted(spec.clone()), spec);
    }

    #[test]
    fn the_pod_decides_before_its_account() {
        let wanted = |pod: Value, account: Value| {
            let object = Object { body: account.as_object().unwrap().clone(), ..Object::default() };
            is_token_wanted(pod.as_object().unwrap(), &object)
        };
        let no = json!({"automountServiceAccountToken": false});
        let yes = json!({"automountServiceAccountToken": true});
        assert!(wanted(json!({}), json!({})));
        assert!(!wanted(json!({}), no.clone()));
        assert!(!wanted(no.clone(), yes.clone()));
        assert!(wanted(yes, no));
    }
}
