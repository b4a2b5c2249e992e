//! What a Pod wishes of other Pods: affinity, anti-affinity and spread.
//!
//! Selectors are read once; `matchLabelKeys` become requirements with the
//! Pod's own values.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt};

type Labels = BTreeMap<String, String>;

/// Labels of Pods that are meant; one that means nothing selects nothing.
#[derive(Debug, Clone, Default)]
pub struct Selects(Option<Selector>);

impl Selects {
    fn new(
        selector: Option<&LabelSelector>,
        labels: &Labels,
        same: Option<&Vec<String>>,
        other: Option<&Vec<String>>,
    ) -> Self {
        // Without a selector no Pod is meant, and keys add nothing to it.
        let Some(selector) = selector else { return Self(None) };
        let mut selector = selector.clone();
        let expressions = selector.match_expressions.get_or_insert_default();
        for (keys, operator) in [(same, "In"), (other, "NotIn")] {
            for key in keys.into_iter().flatten() {
                let Some(value) = labels.get(key) else { continue };
                expressions.push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: operator.into(),
                    values: Some(vec![value.clone()]),
                });
            }
        }
        Self(Selector::try_from(selector).ok())
    }

    /// Whether Pods with these labels are meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// One term of (anti-)affinity.
#[derive(Debug, Clone)]
pub struct Term {
    /// The label of nodes that says which are together.
    pub topology_key: String,
    /// 1 to 100 for a preferred term, negative for one of anti-affinity.
    pub weight: i64,
    selects: Selects,
    namespaces: Vec<String>,
    namespace_selector: Option<Selector>,
}

impl Term {
    fn new(term: &PodAffinityTerm, weight: i64, namespace: &str, labels: &Labels) -> Self {
        let named = term.namespaces.clone().unwrap_or_default();
        let selector = term.namespace_selector.clone();
        let own = named.is_empty() && selector.is_none();
        Self {
            topology_key: term.topology_key.clone(),
            weight,
            selects: Selects::new(
                term.label_selector.as_ref(),
                labels,
                term.match_label_keys.as_ref(),
                term.mismatch_label_keys.as_ref(),
            ),
            namespaces: if own { vec![namespace.to_owned()] } else { named },
            namespace_selector: selector.and_then(|selector| Selector::try_from(selector).ok()),
        }
    }

    /// Whether a Pod of this namespace, which has `of_namespace`, with these labels is meant.
    pub fn matches(&self, namespace: &str, of_namespace: Option<&Labels>, labels: &Labels) -> bool {
        let none = Labels::new();
        let there = self.namespaces.iter().any(|name| name == namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| selector.matches(of_namespace.unwrap_or(&none)));
        there && self.selects.matches(labels)
    }
}

/// What a Pod wishes of others.
#[derive(Debug, Clone, Default)]
pub struct PodTerms {
    /// All must hold.
    pub affinity: Vec<Term>,
    /// None may be broken.
    pub anti_affinity: Vec<Term>,
    /// The more hold the better; those of anti-affinity have negative weights.
    pub preferred: Vec<Term>,
}

impl PodTerms {
    /// Those of a Pod, and their text, which tells them apart from others.
    pub fn of(pod: &Pod) -> (Self, String) {
        let mut terms = Self::default();
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let Some(affinity) = affinity else { return (terms, String::new()) };
        let (pods, anti) = (&affinity.pod_affinity, &affinity.pod_anti_affinity);
        if pods.is_none() && anti.is_none() {
            return (terms, String::new());
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let new = |term: &PodAffinityTerm, weight| Term::new(term, weight, namespace, labels);
        if let Some(pods) = pods {
            let must = pods.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.affinity.extend(must.map(|term| new(term, 0)));
            let may = pods.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(may.map(|t| new(&t.pod_affinity_term, i64::from(t.weight))));
        }
        if let Some(anti) = anti {
            let must = anti.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.anti_affinity.extend(must.map(|term| new(term, 0)));
            let may = anti.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(may.map(|t| new(&t.pod_affinity_term, -i64::from(t.weight))));
        }
        let text = serde_json::to_string(&(pods, anti)).unwrap_or_default();
        (terms, text)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty()
    }

    /// The topology keys of all terms.
    pub fn topology_keys(&self) -> impl Iterator<Item = &str> {
        let all = self.affinity.iter().chain(&self.anti_affinity).chain(&self.preferred);
        all.map(|term| term.topology_key.as_str())
    }
}

/// How evenly Pods are to be spread.
#[derive(Debug, Clone)]
pub struct Constraint {
    /// The label of nodes that says which are together.
    pub topology_key: String,
    /// By how many Pods the fullest may exceed the emptiest.
    pub max_skew: i64,
    /// Whether a node that breaks it is refused, rather than liked less.
    pub required: bool,
    /// As many groups of nodes there have to be, or the emptiest counts as empty.
    pub min_domains: usize,
    /// Whether nodes that the Pod's node affinity refuses do not count.
    pub honors_affinity: bool,
    /// Whether nodes with taints that the Pod does not tolerate do not count.
    pub honors_taints: bool,
    /// Which Pods are counted.
    pub selects: Selects,
}

impl Constraint {
    /// Those of a Pod.
    pub fn of(pod: &Pod) -> Vec<Self> {
        let constraints =
            pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        constraints.into_iter().flatten().map(|one| Self::new(one, labels)).collect()
    }

    fn new(wanted: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let honors = |policy: &Option<String>, default: bool| {
            policy.as_ref().map_or(default, |policy| policy == "Honor")
        };
        let keys = wanted.match_label_keys.as_ref();
        Self {
            topology_key: wanted.topology_key.clone(),
            max_skew: i64::from(wanted.max_skew),
            required: wanted.when_unsatisfiable != "ScheduleAnyway",
            min_domains: usize::try_from(wanted.min_domains.unwrap_or(1)).unwrap_or(1),
            honors_affinity: honors(&wanted.node_affinity_policy, true),
            honors_taints: honors(&wanted.node_taints_policy, false),
            selects: Selects::new(wanted.label_selector.as_ref(), labels, keys, None),
        }
    }
}
