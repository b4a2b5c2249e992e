//! `TaintToleration`: a node's taints keep Pods away that do not tolerate them.
use k8s_openapi::api::core::v1::Toleration;

use crate::scheduler::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Vec<String>> {
    let keeps_away = node
        .taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            !tolerates(&pod.tolerations, &taint.key, value, &taint.effect)
        });
    match keeps_away {
        None => Ok(()),
        Some(taint) => {
            let value = taint.value.as_deref().unwrap_or_default();
            Err(vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)])
        }
    }
}

/// Whether one of the tolerations fits a taint.
pub(super) fn tolerates(tolerations: &[Toleration], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|toleration| {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let (own_key, own_effect) = (of(&toleration.key), of(&toleration.effect));
        let fits_effect = own_effect.is_empty() || own_effect == effect;
        let fits_key = own_key.is_empty() || own_key == key;
        let fits_value = match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => !own_key.is_empty() && of(&toleration.value) == value,
            "Exists" => true,
            _ => false,
        };
        fits_effect && fits_key && fits_value
    })
}
