//! The status of one container.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ResourceRequirements,
};

use super::{View, time};
use crate::node::pods::{Attempt, State};

/// Stands before the runtime's ids in the API.
const SCHEME: &str = "podium://";

/// What a container is like; `unstarted` is why one waits that nobody tried to start.
pub(super) fn of(view: View<'_>, container: &Container, unstarted: &str) -> ContainerStatus {
    let current = view.containers.current(&container.name);
    let previous = view.containers.previous(&container.name);
    let waiting = view.waiting.get(&container.name);
    let (state, last) = match (current, waiting) {
        (None, Some((reason, message))) => (wait(reason, message), None),
        (None, None) => (wait(unstarted, ""), None),
        (Some(attempt), Some((reason, message))) if attempt.running_since().is_none() => {
            let last = if attempt.ending().is_some() { Some(attempt) } else { previous };
            (wait(reason, message), last)
        }
        (Some(attempt), _) => (seen(attempt, unstarted), previous),
    };
    let started = current.is_some_and(|attempt| view.verdicts.started(container, attempt));
    let ended_well = current.and_then(Attempt::ending).is_some_and(|ending| ending.code == 0);
    let is_init = view.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let is_plain_init =
        is_init.clone().any(|init| init.name == container.name && init.restart_policy.is_none());
    let of = |all: &BTreeMap<String, ResourceRequirements>| {
        all.get(&container.name).or(container.resources.as_ref()).cloned()
    };
    ContainerStatus {
        name: container.name.clone(),
        image: image(container, current),
        image_id: current.map(|attempt| attempt.image.clone()).unwrap_or_default(),
        container_id: current.map(|attempt| format!("{SCHEME}{}", attempt.id)),
        ready: if is_plain_init {
            ended_well
        } else {
            current.is_some_and(|attempt| view.verdicts.ready(container, attempt))
        },
        started: Some(started),
        restart_count: current.map_or_else(
            || view.containers.next_attempt(&container.name),
            |attempt| attempt.attempt,
        ) as i32,
        state: Some(state),
        last_state: last.and_then(terminated).map(|terminated| ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        }),
        allocated_resources: of(&view.resizing.allocated).and_then(|given| given.requests),
        resources: of(&view.resizing.applied),
        ..ContainerStatus::default()
    }
}

/// The image that runs or ran, else the one that shall.
fn image(container: &Container, current: Option<&Attempt>) -> String {
    let ran = current.map(|attempt| &attempt.asked).filter(|asked| !asked.is_empty());
    ran.or(container.image.as_ref()).cloned().unwrap_or_default()
}

fn seen(attempt: &Attempt, unstarted: &str) -> ContainerState {
    match &attempt.state {
        State::Created => wait(unstarted, ""),
        State::Running { started_at } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(*started_at)) }),
            ..ContainerState::default()
        },
        State::Exited(_) => {
            ContainerState { terminated: terminated(attempt), ..ContainerState::default() }
        }
    }
}

fn wait(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(attempt: &Attempt) -> Option<ContainerStateTerminated> {
    let ending = attempt.ending()?;
    let words = attempt.last_words.as_ref().filter(|words| !words.is_empty());
    let message = words.unwrap_or(&ending.message);
    Some(ContainerStateTerminated {
        container_id: Some(format!("{SCHEME}{}", attempt.id)),
        exit_code: ending.code,
        reason: Some(ending.reason.clone()),
        message: (!message.is_empty()).then(|| message.clone()),
        started_at: Some(time(ending.started_at.unwrap_or(ending.finished_at))),
        finished_at: Some(time(ending.finished_at)),
        signal: None,
    })
}
