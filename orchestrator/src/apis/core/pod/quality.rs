//! Quality of service: who is hurt first when a node runs out.
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::api::Quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`, as `status.qosClass` says.
pub fn class(spec: &PodSpec) -> &'static str {
    let containers =
        || spec.init_containers.iter().flatten().chain(&spec.containers).map(Amounts::of);
    if containers().all(|c| c.requests == [None; 2] && c.limits == [None; 2]) {
        return "BestEffort";
    }
    // Every container limits both, and requests all of it.
    let guaranteed = |c: Amounts| c.limits.iter().all(Option::is_some) && c.requests == c.limits;
    if containers().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

/// CPU and memory; none where it is not set or zero.
struct Amounts {
    requests: [Option<Quantity>; 2],
    limits: [Option<Quantity>; 2],
}

impl Amounts {
    fn of(container: &Container) -> Self {
        type List = std::collections::BTreeMap<String, resource::Quantity>;
        let resources = container.resources.as_ref();
        let amount = |list: Option<&List>, name: &str| {
            let amount = Quantity::try_from(list?.get(name)?).ok()?;
            Some(amount).filter(|amount| !amount.is_zero())
        };
        let both = |list: Option<&List>| ["cpu", "memory"].map(|name| amount(list, name));
        Self {
            requests: both(resources.and_then(|r| r.requests.as_ref())),
            limits: both(resources.and_then(|r| r.limits.as_ref())),
        }
    }
}
