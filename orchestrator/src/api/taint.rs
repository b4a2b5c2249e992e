//! Taints of nodes, and which Pods put up with them.
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether a toleration fits a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    let fits =
        (key.is_empty() || key == taint.key) && (effect.is_empty() || effect == taint.effect);
    match text(&toleration.operator) {
        "" | "Equal" => fits && !key.is_empty() && text(&toleration.value) == text(&taint.value),
        "Exists" => fits,
        _ => false,
    }
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_toleration_fits_by_key_effect_and_value() {
        let taint = json!({"key": "gpu", "value": "x", "effect": "NoExecute"});
        let taint: Taint = serde_json::from_value(taint).unwrap();
        let fits =
            |toleration: Value| tolerates(&serde_json::from_value(toleration).unwrap(), &taint);
        assert!(fits(json!({"operator": "Exists"})));
        assert!(fits(json!({"key": "gpu", "value": "x"})));
        assert!(fits(
            json!({"key": "gpu", "operator": "Equal", "value": "x", "effect": "NoExecute"})
        ));
        assert!(!fits(json!({"key": "gpu", "value": "y"})));
        assert!(!fits(json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"})));
        assert!(!fits(json!({"key": "cpu", "operator": "Exists"})));
        assert!(!fits(json!({})));
    }
}
