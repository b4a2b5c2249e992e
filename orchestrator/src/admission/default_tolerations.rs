//! A Pod stays for five minutes on a node that is not ready or not reachable.
use async_trait::async_trait;
use serde_json::{Value, json};

use super::spec::spec_of;
use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object};

/// How long, in seconds, as in Kubernetes.
const SECONDS: u32 = 300;

/// The taints of such nodes.
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The rule.
pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action == Action::Create && request.is_for("", "pods")
    }

    async fn mutate(&self, _: &Request<'_>, pod: &mut Object, _: &Others) -> Result<(), ApiError> {
        let Some(spec) = spec_of(pod) else { return Ok(()) };
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        let Some(tolerations) = tolerations.as_array_mut() else { return Ok(()) };
        for taint in TAINTS {
            if !tolerations.iter().any(|toleration| covers(toleration, taint)) {
                tolerations.push(json!({
                    "key": taint, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": SECONDS,
                }));
            }
        }
        Ok(())
    }
}

/// Whether a toleration says already how long a Pod stays.
fn covers(toleration: &Value, taint: &str) -> bool {
    let is = |field: &str, wanted: &str| {
        let value = toleration.get(field).and_then(Value::as_str).unwrap_or_default();
        value.is_empty() || value == wanted
    };
    is("key", taint) && is("effect", "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_of_everything_covers_the_taints() {
        assert!(covers(&json!({"operator": "Exists"}), TAINTS[0]));
        assert!(covers(&json!({"key": TAINTS[0], "effect": "NoExecute"}), TAINTS[0]));
        assert!(!covers(&json!({"key": TAINTS[0], "effect": "NoExecute"}), TAINTS[1]));
        assert!(!covers(&json!({"key": TAINTS[0], "effect": "NoSchedule"}), TAINTS[0]));
    }
}
