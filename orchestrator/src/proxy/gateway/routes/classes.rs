//! Which Ingresses the gateway serves: those of a class whose controller it is, or of none.
use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use crate::client::GATEWAY_CONTROLLER;

/// Where the class stood before it was a field.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The names of the classes that are the gateway's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Classes(HashSet<String>);

impl Classes {
    /// Those of these that name it as their controller.
    pub fn of(classes: &[Arc<IngressClass>]) -> Self {
        let is_ours = |class: &&Arc<IngressClass>| {
            class.spec.as_ref().and_then(|spec| spec.controller.as_deref())
                == Some(GATEWAY_CONTROLLER)
        };
        let name = |class: &Arc<IngressClass>| class.metadata.name.clone();
        Self(classes.iter().filter(is_ours).filter_map(name).collect())
    }

    /// Whether the gateway should serve this Ingress.
    pub fn take(&self, ingress: &Ingress) -> bool {
        let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotations = ingress.metadata.annotations.as_ref();
        let annotation = annotations.and_then(|all| all.get(ANNOTATION)).map(String::as_str);
        class.or(annotation).is_none_or(|class| self.0.contains(class))
    }
}

#[cfg(test)]
impl Classes {
    /// The one that is there from the start.
    pub(in crate::proxy) fn first() -> Self {
        Self([crate::client::GATEWAY_CLASS.to_owned()].into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_is_ours_by_its_controller_whatever_its_name() {
        let class = |name: &str, controller: &str| {
            let class = json!({"metadata": {"name": name}, "spec": {"controller": controller}});
            Arc::new(serde_json::from_value(class).unwrap())
        };
        let classes = Classes::of(&[
            class("web", GATEWAY_CONTROLLER),
            class("nginx", "k8s.io/ingress-nginx"),
        ]);
        let taken = |spec: serde_json::Value| {
            classes.take(&serde_json::from_value(json!({"spec": spec})).unwrap())
        };
        assert!(taken(json!({"ingressClassName": "web"})) && taken(json!({})));
        assert!(!taken(json!({"ingressClassName": "nginx"})));
        assert!(!taken(json!({"ingressClassName": "podium"})), "no such class is there");
    }
}
