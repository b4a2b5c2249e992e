//! Whether the node takes a Pod that was bound to it.
//!
//! The scheduler has looked already; but bindings can be made by anyone, and a
//! node must not take what it cannot carry.
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use tokio::sync::Notify;

use super::extended::Extended;
use super::resources::{self, Amount};

/// Why the node does not take a Pod: reason and message of its status.
pub(super) type Rejection = (Cow<'static, str>, String);

/// Why the node does not give a Pod what it asks for now.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Reason of the condition: `Infeasible` for ever, `Deferred` until others go.
    pub reason: &'static str,
    /// What its Event calls it.
    pub word: &'static str,
    /// What is lacking.
    pub message: String,
}

/// What the Pods of the node hold, by uid.
pub(super) struct Reservations {
    capacity: Amount,
    pods: usize,
    held: HashMap<String, Amount>,
    sum: Amount,
    /// What the node has of extended resources.
    extended: Extended,
    extended_held: HashMap<String, Extended>,
    /// Pods that wait for room.
    deferred: HashMap<String, Arc<Notify>>,
}

impl Reservations {
    /// None yet, of a node with room for so much and so many Pods.
    pub fn new(capacity: Amount, pods: usize) -> Self {
        Self {
            capacity,
            pods,
            held: HashMap::new(),
            sum: Amount::default(),
            extended: Extended::new(),
            extended_held: HashMap::new(),
            deferred: HashMap::new(),
        }
    }

    /// Notes what the node has of extended resources now.
    pub fn offer(&mut self, extended: Extended) {
        self.extended = extended;
    }

    /// Holds what a Pod asks for, or says why it cannot.
    pub fn reserve(&mut self, uid: &str, spec: &PodSpec) -> Result<(), Rejection> {
        if self.held.contains_key(uid) {
            return Ok(());
        }
        if spec.host_network == Some(true) {
            let message = "hostNetwork is not possible: Pods have their own network in user space";
            return Err(("HostNetworkUnsupported".into(), message.to_owned()));
        }
        let (wanted, extended) = resources::requested(spec)
            .map_err(|error| (Cow::Borrowed("UnexpectedAdmissionError"), error.to_string()))?;
        let (used, all) = (self.sum, self.capacity);
        self.check("pods", 1, self.held.len() as i64, self.pods as i64, "OutOfpods")?;
        self.check("cpu", wanted.cpu, used.cpu, all.cpu, "OutOfcpu")?;
        self.check("memory", wanted.memory, used.memory, all.memory, "OutOfmemory")?;
        self.check_extended(&extended)?;
        self.extended_held.insert(uid.to_owned(), extended);
        self.sum = used.and(wanted);
        self.held.insert(uid.to_owned(), wanted);
        Ok(())
    }

    /// Holds what a Pod asks for instead of what it held, or says why it cannot;
    /// who is deferred is woken when others give something back.
    pub fn resize(&mut self, uid: &str, spec: &PodSpec, wake: &Arc<Notify>) -> Result<(), Refusal> {
        let infeasible = |message| Refusal { reason: "Infeasible", word: "Infeasible", message };
        let (wanted, _) =
            resources::requested(spec).map_err(|error| infeasible(error.to_string()))?;
        let held = self.held.get(uid).copied().unwrap_or_default();
        let used = self.sum.without(held);
        let all = self.capacity;
        for (what, word, wanted, used, all) in [
            ("cpu", "OutOfcpu", wanted.cpu, used.cpu, all.cpu),
            ("memory", "OutOfmemory", wanted.memory, used.memory, all.memory),
        ] {
            if wanted > all {
                return Err(infeasible(format!(
                    "Node didn't have enough capacity: {what}, requested: {wanted}, capacity: {all}"
                )));
            }
            if let Err((_, message)) = self.check(what, wanted, used, all, word) {
                self.deferred.insert(uid.to_owned(), Arc::clone(wake));
                return Err(Refusal { reason: "Deferred", word, message });
            }
        }
        self.sum = used.and(wanted);
        self.held.insert(uid.to_owned(), wanted);
        self.deferred.remove(uid);
        if wanted.cpu < held.cpu || wanted.memory < held.memory {
            self.wake_deferred();
        }
        Ok(())
    }

    /// Gives back what a Pod held.
    pub fn release(&mut self, uid: &str) {
        self.deferred.remove(uid);
        self.extended_held.remove(uid);
        if let Some(amount) = self.held.remove(uid) {
            self.sum = self.sum.without(amount);
            self.wake_deferred();
        }
    }

    /// Those who still find no room wait again.
    fn wake_deferred(&mut self) {
        self.deferred.drain().for_each(|(_, wake)| wake.notify_one());
    }

    /// What the node has none of is not the node's to count, as in the kubelet.
    fn check_extended(&self, wanted: &Extended) -> Result<(), Rejection> {
        for (name, wanted) in wanted {
            let Some(all) = self.extended.get(name) else { continue };
            let used: i128 = self.extended_held.values().filter_map(|held| held.get(name)).sum();
            self.check(name, *wanted, used, *all, format!("OutOf{name}"))?;
        }
        Ok(())
    }

    fn check<T: Into<i128>>(
        &self,
        what: &str,
        wanted: T,
        used: T,
        all: T,
        reason: impl Into<Cow<'static, str>>,
    ) -> Result<(), Rejection> {
        let (wanted, used, all) = (wanted.into(), used.into(), all.into());
        if wanted == 0 || used + wanted <= all {
            return Ok(());
        }
        let message = format!(
            "Node didn't have enough resource: {what}, requested: {wanted}, used: {used}, capacity: {all}"
        );
        Err((reason.into(), message))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::*;

    fn spec(cpu: &str) -> PodSpec {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        serde_json::from_value(json!({"containers": [container]})).unwrap()
    }

    fn node() -> Reservations {
        Reservations::new(Amount { cpu: 1000, memory: 1 << 30 }, 3)
    }

    #[test]
    fn a_pod_that_does_not_fit_is_told_why() {
        let mut node = node();
        node.reserve("a", &spec("900m")).unwrap();
        let (reason, message) = node.reserve("b", &spec("200m")).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(
            message,
            "Node didn't have enough resource: cpu, requested: 200, used: 900, capacity: 1000"
        );
        node.release("a");
        node.reserve("b", &spec("200m")).unwrap();
    }

    #[test]
    fn extended_resources_of_the_node_are_counted_and_others_are_not() {
        let asks = |name: &str| -> PodSpec {
            let container = json!({"name": "c", "resources": {"requests": {name: "1"}}});
            serde_json::from_value(json!({"containers": [container]})).unwrap()
        };
        let mut node = node();
        node.offer(Extended::from([("example.com/dongle".to_owned(), 1)]));
        node.reserve("a", &asks("example.com/dongle")).unwrap();
        let (reason, message) = node.reserve("b", &asks("example.com/dongle")).unwrap_err();
        assert_eq!(reason, "OutOfexample.com/dongle");
        assert_eq!(
            message,
            "Node didn't have enough resource: example.com/dongle, requested: 1, used: 1, capacity: 1"
        );
        node.release("a");
        node.reserve("b", &asks("example.com/dongle")).unwrap();
        node.reserve("c", &asks("example.com/elsewhere")).unwrap();
    }

    #[test]
    fn a_pod_holds_once_and_only_so_many_fit() {
        let mut node = node();
        for uid in ["a", "a", "b", "c"] {
            node.reserve(uid, &spec("0")).unwrap();
        }
        assert_eq!(node.reserve("d", &spec("0")).unwrap_err().0, "OutOfpods");
    }

    #[test]
    fn a_pod_that_is_resized_holds_its_new_size_or_keeps_the_old() {
        let (mut node, wake) = (node(), Arc::default());
        node.reserve("a", &spec("500m")).unwrap();
        node.reserve("b", &spec("300m")).unwrap();
        let deferred = node.resize("a", &spec("800m"), &wake).unwrap_err();
        assert_eq!((deferred.reason, deferred.word), ("Deferred", "OutOfcpu"));
        let infeasible = node.resize("a", &spec("2"), &wake).unwrap_err();
        assert_eq!(infeasible.reason, "Infeasible");
        assert_eq!(
            infeasible.message,
            "Node didn't have enough capacity: cpu, requested: 2000, capacity: 1000"
        );
        node.resize("a", &spec("700m"), &wake).unwrap();
        assert_eq!(node.resize("b", &spec("400m"), &wake).unwrap_err().reason, "Deferred");
        node.resize("a", &spec("100m"), &wake).unwrap();
        node.resize("b", &spec("900m"), &wake).unwrap();
    }

    #[test]
    fn who_waits_for_room_is_woken_when_there_is_some() {
        let (mut node, wake) = (node(), Arc::<Notify>::default());
        let is_woken = || wake.notified().now_or_never().is_some();
        node.reserve("a", &spec("500m")).unwrap();
        node.reserve("b", &spec("300m")).unwrap();
        node.resize("b", &spec("600m"), &wake).unwrap_err();
        assert!(!is_woken());
        node.resize("a", &spec("450m"), &Arc::default()).unwrap();
        assert!(is_woken());
        node.resize("b", &spec("600m"), &wake).unwrap_err();
        node.release("a");
        assert!(is_woken());
        node.resize("b", &spec("600m"), &wake).unwrap();
        node.reserve("c", &spec("100m")).unwrap();
        node.release("c");
        assert!(!is_woken(), "it waits no more");
    }

    #[test]
    fn the_network_of_the_host_is_refused() {
        let mut spec = spec("0");
        spec.host_network = Some(true);
        assert_eq!(node().reserve("a", &spec).unwrap_err().0, "HostNetworkUnsupported");
    }
}
