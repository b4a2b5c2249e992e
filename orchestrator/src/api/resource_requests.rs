//! What a Pod asks for of its node, as whoever places, takes or shows it has to count it.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::{Quantity, is_sidecar};

/// So much of something. A quantity fits into 64 bits, but not always the sum of
/// two, and a sum must be exact, as Pods are taken away from it again.
pub type Amount = i128;

/// Amounts of what every node has and Pods ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths.
    pub milli_cpu: Amount,
    /// Memory in bytes.
    pub memory: Amount,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: Amount,
    /// Pods.
    pub pods: Amount,
}

impl Resources {
    /// Adds `other`, or takes it away if `sign` is -1.
    pub fn add(&mut self, other: &Self, sign: Amount) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        self.pods += sign * other.pods;
    }
}

/// What a container that asks for no CPU counts as when nodes are compared, in
/// thousandths, so that such Pods spread too (upstream's DefaultMilliCPURequest).
const CPU_IF_NONE: Amount = 100;
/// The same for memory, in bytes (DefaultMemoryRequest).
const MEMORY_IF_NONE: Amount = 200 << 20;

/// What a Pod asks for, itself counting as one Pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requests {
    /// Of what every node has.
    pub resources: Resources,
    /// Of what only some nodes have, by name.
    pub extended: BTreeMap<String, Amount>,
    /// CPU and memory as nodes are compared by: containers that ask for none count too.
    pub scored: (Amount, Amount),
}

impl Requests {
    /// The sum over containers, or the largest init container where that is more:
    /// init containers run one after another, before the others. Those that go on
    /// running beside them (restartPolicy Always) count from then on. The
    /// overhead of the runtime class comes on top. A Pod whose status says that
    /// it is being resized counts as what it has or what it wants, whichever is more.
    pub fn of(spec: &PodSpec, status: Option<&PodStatus>) -> Self {
        let mut sum = Self::default();
        let mut peak = Self::default();
        for container in spec.init_containers.iter().flatten() {
            if is_sidecar(container) {
                sum.raise(&asked_or_held(container, status));
                peak.largest(&sum);
            } else {
                let mut while_it_runs = sum.clone();
                while_it_runs.raise(&asked(container));
                peak.largest(&while_it_runs);
            }
        }
        for container in &spec.containers {
            sum.raise(&asked_or_held(container, status));
        }
        sum.largest(&peak);
        sum.at_least(spec);
        if let Some(overhead) = &spec.overhead {
            sum.raise(&amounts(Some(overhead), false));
        }
        sum.resources.pods = 1;
        sum
    }

    fn raise(&mut self, by: &Self) {
        let (sum, more) = (&mut self.resources, &by.resources);
        sum.milli_cpu += more.milli_cpu;
        sum.memory += more.memory;
        sum.ephemeral_storage += more.ephemeral_storage;
        self.scored.0 += by.scored.0;
        self.scored.1 += by.scored.1;
        for (name, amount) in &by.extended {
            *self.extended.entry(name.clone()).or_default() += amount;
        }
    }

    /// Whether this is more than `other` of anything.
    pub fn exceed(&self, other: &Self) -> bool {
        let (own, others) = (&self.resources, &other.resources);
        let of = |name: &String| other.extended.get(name).copied().unwrap_or_default();
        own.milli_cpu > others.milli_cpu
            || own.memory > others.memory
            || own.ephemeral_storage > others.ephemeral_storage
            || self.extended.iter().any(|(name, amount)| *amount > of(name))
    }

    fn largest(&mut self, other: &Self) {
        let (sum, other_sum) = (&mut self.resources, &other.resources);
        sum.milli_cpu = sum.milli_cpu.max(other_sum.milli_cpu);
        sum.memory = sum.memory.max(other_sum.memory);
        sum.ephemeral_storage = sum.ephemeral_storage.max(other_sum.ephemeral_storage);
        self.scored.0 = self.scored.0.max(other.scored.0);
        self.scored.1 = self.scored.1.max(other.scored.1);
        for (name, amount) in &other.extended {
            let own = self.extended.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    /// What the Pod asks for as a whole replaces the sum, where it says so.
    fn at_least(&mut self, spec: &PodSpec) {
        let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let Some(whole) = whole else { return };
        let asked = amounts(Some(whole), false);
        if whole.contains_key("cpu") {
            self.resources.milli_cpu = asked.resources.milli_cpu;
            self.scored.0 = asked.scored.0;
        }
        if whole.contains_key("memory") {
            self.resources.memory = asked.resources.memory;
            self.scored.1 = asked.scored.1;
        }
    }
}

type Quantities = BTreeMap<String, resource::Quantity>;

fn asked(container: &Container) -> Requests {
    amounts(container.resources.as_ref().and_then(|r| r.requests.as_ref()), true)
}

/// What a container asks for, or what its node holds for it where that is more;
/// the latter alone if the node can never give what it asks for.
fn asked_or_held(container: &Container, status: Option<&PodStatus>) -> Requests {
    let mut statuses = status.into_iter().flat_map(|status| {
        let (all, init) = (&status.container_statuses, &status.init_container_statuses);
        all.iter().chain(init).flatten()
    });
    let held = statuses.find(|status| status.name == container.name);
    let Some(ContainerStatus { resources: Some(given), allocated_resources, .. }) = held else {
        return asked(container);
    };
    let wanted = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let wanted = wanted.filter(|_| !is_infeasible(status));
    let all = wanted.into_iter().chain(&given.requests).chain(allocated_resources);
    let mut most = Quantities::new();
    for (name, amount) in all.flatten() {
        if most.get(name).is_none_or(|known| is_more(amount, known)) {
            most.insert(name.clone(), amount.clone());
        }
    }
    amounts(Some(&most), true)
}

/// Whether the node has said that it can never do what a resize asks for.
fn is_infeasible(status: Option<&PodStatus>) -> bool {
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let pending = conditions.find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|pending| pending.reason.as_deref() == Some("Infeasible"))
}

fn is_more(one: &resource::Quantity, other: &resource::Quantity) -> bool {
    match (Quantity::try_from(one), Quantity::try_from(other)) {
        (Ok(one), Ok(other)) => one > other,
        (one, _) => one.is_ok(),
    }
}

fn amounts(requests: Option<&Quantities>, of_container: bool) -> Requests {
    let mut asked = Requests::default();
    let (mut cpu, mut memory) = (None, None);
    for (name, amount) in requests.into_iter().flatten() {
        let Ok(amount) = Quantity::try_from(amount) else { continue };
        match name.as_str() {
            "cpu" => cpu = Some(amount.milli_value().into()),
            "memory" => memory = Some(amount.value().into()),
            "ephemeral-storage" => asked.resources.ephemeral_storage = amount.value().into(),
            other => {
                asked.extended.insert(other.to_owned(), amount.value().into());
            }
        }
    }
    let if_none = |amount: Amount| if of_container { amount } else { 0 };
    asked.scored = (cpu.unwrap_or(if_none(CPU_IF_NONE)), memory.unwrap_or(if_none(MEMORY_IF_NONE)));
    asked.resources.milli_cpu = cpu.unwrap_or_default();
    asked.resources.memory = memory.unwrap_or_default();
    asked
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(cpu: &str, restart: Option<&str>) -> Value {
        let requests = json!({"cpu": cpu, "memory": "1Mi", "example.com/gpu": "1"});
        json!({"name": "c", "resources": {"requests": requests}, "restartPolicy": restart})
    }

    fn requests(spec: Value) -> Requests {
        Requests::of(&serde_json::from_value(spec).unwrap(), None)
    }

    #[test]
    fn init_containers_count_by_their_largest_and_sidecars_always() {
        let cpu = |init: Vec<Value>| {
            let containers = json!([container("100m", None), container("200m", None)]);
            let spec = json!({"containers": containers, "initContainers": init});
            requests(spec).resources.milli_cpu
        };
        assert_eq!(cpu(vec![]), 300);
        assert_eq!(cpu(vec![container("1", None)]), 1000);
        assert_eq!(cpu(vec![container("50m", Some("Always"))]), 350);
        assert_eq!(cpu(vec![container("50m", Some("Always")), container("1", None)]), 1050);
    }

    #[test]
    fn a_resize_counts_in_full_unless_the_node_can_never_do_it() {
        let pod = |wanted: &str, held: &str, reason: &str| {
            let resources = json!({"requests": {"cpu": held}});
            let wanted = json!({"requests": {"cpu": wanted}});
            let spec = json!({"containers": [{"name": "c", "resources": wanted}]});
            let status = json!({
                "containerStatuses": [{"name": "c", "image": "a", "imageID": "", "ready": true,
                    "restartCount": 0, "resources": resources, "allocatedResources": {"cpu": held}}],
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
            });
            let (spec, status) = (serde_json::from_value(spec), serde_json::from_value(status));
            Requests::of(&spec.unwrap(), Some(&status.unwrap())).resources.milli_cpu
        };
        assert_eq!(pod("2", "1", "Deferred"), 2000);
        assert_eq!(pod("500m", "1", "Deferred"), 1000);
        assert_eq!(pod("64", "1", "Infeasible"), 1000);
    }

    #[test]
    fn overhead_and_extended_resources_count() {
        let asked = requests(json!({
            "containers": [container("100m", None), container("1", None)],
            "overhead": {"cpu": "10m", "memory": "5Mi"},
        }));
        assert_eq!((asked.resources.milli_cpu, asked.resources.memory), (1110, 7 << 20));
        assert_eq!(asked.extended["example.com/gpu"], 2);
        assert_eq!(asked.resources.pods, 1);
    }

    #[test]
    fn a_container_that_asks_for_nothing_counts_when_nodes_are_compared() {
        let asked = requests(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(asked.resources.milli_cpu, 0);
        assert_eq!(asked.scored, (200, 400 << 20));
    }
}
