//! `NodeResourcesFit`: what the Pod asks for is free.
use crate::scheduler::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Vec<String>> {
    let (asked, all, used) = (&pod.requests, &node.allocatable, &node.requested);
    let mut missing = Vec::new();
    if used.pods + asked.pods > all.pods {
        missing.push("Too many pods".to_owned());
    }
    for (name, asked, free) in [
        ("cpu", asked.milli_cpu, all.milli_cpu - used.milli_cpu),
        ("memory", asked.memory, all.memory - used.memory),
        (
            "ephemeral-storage",
            asked.ephemeral_storage,
            all.ephemeral_storage - used.ephemeral_storage,
        ),
    ] {
        if asked > 0 && asked > free {
            missing.push(format!("Insufficient {name}"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}
