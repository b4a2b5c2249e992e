//! Pods that are alike to every selector.
//!
//! Thousands of Pods of one Deployment have the same namespace, labels and
//! terms: a selector is asked once for all of them, and their nodes are counted.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::scheduler::pod::PodInfo;
use crate::scheduler::terms::PodTerms;

/// What makes Pods alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub terms: String,
    pub terminating: bool,
}

impl ClassKey {
    pub(super) fn of(pod: &PodInfo) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone(),
            terms: pod.terms_text.clone(),
            terminating: pod.terminating,
        }
    }
}

/// Pods that are alike.
#[derive(Debug)]
pub struct Class {
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// What they wish of other Pods.
    pub terms: Arc<PodTerms>,
    /// Whether they are on their way out.
    pub terminating: bool,
    /// How many of them each node has, by its slot.
    pub nodes: HashMap<usize, u32>,
}

/// All classes.
#[derive(Debug, Default)]
pub(super) struct Classes {
    numbers: HashMap<ClassKey, usize>,
    all: Vec<Option<(ClassKey, Class)>>,
    free: Vec<usize>,
    /// Those with terms, which every decision looks at.
    with_terms: Vec<usize>,
}

impl Classes {
    /// Counts a Pod on a node; the number of its class.
    pub(super) fn add(&mut self, pod: &PodInfo, slot: usize) -> usize {
        let key = ClassKey::of(pod);
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => self.new_class(key, pod),
        };
        if let Some((_, class)) = &mut self.all[number] {
            *class.nodes.entry(slot).or_default() += 1;
        }
        number
    }

    fn new_class(&mut self, key: ClassKey, pod: &PodInfo) -> usize {
        let class = Class {
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone(),
            terms: Arc::clone(&pod.terms),
            terminating: pod.terminating,
            nodes: HashMap::new(),
        };
        let number = self.free.pop().unwrap_or(self.all.len());
        if !pod.terms.is_empty() {
            self.with_terms.push(number);
        }
        self.numbers.insert(key.clone(), number);
        let entry = Some((key, class));
        if number == self.all.len() {
            self.all.push(entry);
        } else {
            self.all[number] = entry;
        }
        number
    }

    /// Counts a Pod no longer.
    pub(super) fn remove(&mut self, number: usize, slot: usize) {
        self.lift(number, slot);
        let Some((key, class)) = &self.all[number] else { return };
        if class.nodes.is_empty() {
            self.numbers.remove(key);
            self.with_terms.retain(|other| *other != number);
            self.all[number] = None;
            self.free.push(number);
        }
    }

    /// Counts one Pod less for now; the class stays.
    pub(super) fn lift(&mut self, number: usize, slot: usize) {
        let Some((_, class)) = &mut self.all[number] else { return };
        if let Some(count) = class.nodes.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                class.nodes.remove(&slot);
            }
        }
    }

    /// Counts it again.
    pub(super) fn put_back(&mut self, number: usize, slot: usize) {
        if let Some((_, class)) = &mut self.all[number] {
            *class.nodes.entry(slot).or_default() += 1;
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Class> {
        self.all.get(number)?.as_ref().map(|(_, class)| class)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.all.iter().flatten().map(|(_, class)| class)
    }

    pub(super) fn with_terms(&self) -> impl Iterator<Item = &Class> {
        self.with_terms.iter().filter_map(|number| self.get(*number))
    }
}
