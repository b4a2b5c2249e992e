//! What a Pod's containers are and were.
//!
//! The runtime knows what runs; only the agent knows what ran before the node
//! was restarted, and how often a container was started. Of each container the
//! newest two attempts are kept: the current one, and the one that `logs -p` and
//! `lastState` speak of.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use serde::{Deserialize, Serialize};
use shim::cri::{self, ContainerStatus};

/// Attempts kept of each container.
const KEPT: usize = 2;
/// Label of the image that a container asked for.
pub const IMAGE_LABEL: &str = "podium.dev/image";
/// Exit code of what was ended by force, or vanished.
pub const KILLED: i32 = 137;

/// The reason of what ended without a witness.
const VANISHED: &str = "ContainerStatusUnknown";

/// One attempt at running a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How often the container was started before.
    pub attempt: u32,
    /// The runtime's id.
    pub id: String,
    /// Digest of its image.
    pub image: String,
    /// The image that its container asked for; empty if that is not known.
    #[serde(default)]
    pub asked: String,
    /// Whether it was stopped because its container asks for another image.
    #[serde(default)]
    pub outdated: bool,
    /// Where it is in its life.
    pub state: State,
    /// What its guest said of its end, once that was asked; empty if nothing.
    #[serde(default)]
    pub last_words: Option<String>,
}

/// Where an attempt is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Made, not started.
    Created,
    /// Started.
    Running {
        /// When.
        started_at: Timestamp,
    },
    /// Ended.
    Exited(Ending),
}

/// How and when an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When it was started, if it ever was.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The exit code.
    pub code: i32,
    /// The word in a container status.
    pub reason: String,
    /// Text for people.
    pub message: String,
}

impl Attempt {
    /// How it ended, if it did.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Exited(ending) => Some(ending),
            State::Created | State::Running { .. } => None,
        }
    }

    /// Whether a container asks for another image than this one runs.
    pub fn differs(&self, container: &Container) -> bool {
        !self.asked.is_empty() && container.image.as_ref().is_some_and(|image| *image != self.asked)
    }

    /// When it was started, if it runs.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Running { started_at } => Some(started_at),
            State::Created | State::Exited(_) => None,
        }
    }
}

/// All containers of one Pod by name; attempts newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    attempts: BTreeMap<String, Vec<Attempt>>,
    /// The number of the next attempt, which outlives what it counts.
    next: BTreeMap<String, u32>,
    /// Those that were made in the sandbox there is.
    #[serde(skip)]
    here: BTreeSet<String>,
}

impl Containers {
    /// The newest attempt.
    pub fn current(&self, name: &str) -> Option<&Attempt> {
        self.attempts.get(name)?.first()
    }

    /// The attempt before it.
    pub fn previous(&self, name: &str) -> Option<&Attempt> {
        self.attempts.get(name)?.get(1)
    }

    /// The number of the next attempt.
    pub fn next_attempt(&self, name: &str) -> u32 {
        self.next.get(name).copied().unwrap_or(0)
    }

    /// The name of the container with this id, and its attempt.
    pub fn find(&self, id: &str) -> Option<(&str, &Attempt)> {
        let mut all = self.attempts.iter();
        all.find_map(|(name, list)| Some((name.as_str(), list.iter().find(|a| a.id == id)?)))
    }

    /// How the newest attempt ended, if that was without a witness.
    pub fn vanished(&self, name: &str) -> Option<&Ending> {
        let ending = self.current(name).and_then(Attempt::ending);
        ending.filter(|ending| ending.reason == VANISHED)
    }

    /// Names and attempts of all that run.
    pub fn running(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        self.attempts.iter().filter_map(|(name, list)| {
            let current = list.first()?;
            current.running_since().map(|_| (name.as_str(), current))
        })
    }

    /// Whether the container was made in the sandbox there is.
    pub fn is_here(&self, name: &str) -> bool {
        self.here.contains(name)
    }

    /// Takes in what the runtime knows; answers the ids that it may forget.
    ///
    /// What should be there and is not has ended without a witness.
    pub fn observe(&mut self, actual: Vec<ContainerStatus>, now: Timestamp) -> Vec<cri::Id> {
        let there: HashSet<String> = actual.iter().map(|status| status.id.0.clone()).collect();
        for attempt in self.attempts.values_mut().flatten() {
            if attempt.ending().is_none() && !there.contains(&attempt.id) {
                attempt.state = State::Exited(vanished(attempt, now));
            }
        }
        for status in actual {
            self.take(status);
        }
        let mut surplus = Vec::new();
        for list in self.attempts.values_mut() {
            list.sort_by_key(|attempt| std::cmp::Reverse(attempt.attempt));
            let old = list.split_off(list.len().min(KEPT));
            surplus.extend(
                old.into_iter()
                    .filter(|a| there.contains(&a.id))
                    .map(|attempt| cri::Id(attempt.id)),
            );
        }
        surplus
    }

    /// Names and attempts of all that ended and were not asked for their last words.
    pub fn unheard(&self) -> Vec<(String, Attempt)> {
        let all = self.attempts.iter().flat_map(|(name, list)| list.iter().map(move |a| (name, a)));
        all.filter(|(_, attempt)| attempt.ending().is_some() && attempt.last_words.is_none())
            .map(|(name, attempt)| (name.clone(), attempt.clone()))
            .collect()
    }

    /// Notes the last words of an attempt.
    pub fn heard(&mut self, name: &str, attempt: u32, words: String) {
        let list = self.attempts.get_mut(name).into_iter().flatten();
        for known in list.filter(|known| known.attempt == attempt) {
            known.last_words = Some(words.clone());
        }
    }

    /// Notes that an attempt is stopped because its container asks for another image.
    pub fn outdate(&mut self, id: &str) {
        let all = self.attempts.values_mut().flatten();
        for known in all.filter(|known| known.id == id) {
            known.outdated = true;
        }
    }

    /// Notes that there is a new sandbox, in which `inits` run anew; their number goes on.
    pub fn renew(&mut self, inits: impl IntoIterator<Item = impl AsRef<str>>) {
        self.here.clear();
        for name in inits {
            self.attempts.remove(name.as_ref());
        }
    }

    fn take(&mut self, status: ContainerStatus) {
        let next = self.next.entry(status.name.clone()).or_default();
        *next = (*next).max(status.attempt + 1);
        if !self.here.contains(&status.name) {
            self.here.insert(status.name.clone());
        }
        let list = self.attempts.entry(status.name).or_default();
        let attempt = Attempt {
            attempt: status.attempt,
            id: status.id.0,
            image: status.image.0,
            asked: status.labels.get(IMAGE_LABEL).cloned().unwrap_or_default(),
            outdated: false,
            state: state(status.state),
            last_words: None,
        };
        match list.iter_mut().find(|known| known.id == attempt.id) {
            Some(known) => {
                let (last_words, outdated) = (known.last_words.take(), known.outdated);
                *known = Attempt { last_words, outdated, ..attempt };
            }
            None => list.push(attempt),
        }
    }
}

fn vanished(attempt: &Attempt, now: Timestamp) -> Ending {
    Ending {
        started_at: attempt.running_since(),
        finished_at: now,
        code: KILLED,
        reason: VANISHED.to_owned(),
        message: "The container could not be located when the node agent was restarted".to_owned(),
    }
}

fn state(state: cri::ContainerState) -> State {
    match state {
        cri::ContainerState::Created => State::Created,
        cri::ContainerState::Running { started_at } => {
            State::Running { started_at: timestamp(started_at) }
        }
        cri::ContainerState::Exited { started_at, finished_at, exit } => State::Exited(Ending {
            started_at: started_at.map(timestamp),
            finished_at: timestamp(finished_at),
            code: exit.code,
            reason: exit.reason.as_str().to_owned(),
            message: exit.message,
        }),
    }
}

/// A time of the system's clock; one beyond the calendar is the beginning of time.
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn actual(id: &str, attempt: u32, state: cri::ContainerState) -> ContainerStatus {
        ContainerStatus {
            id: cri::Id(id.into()),
            sandbox: cri::Id("s".into()),
            name: "web".into(),
            attempt,
            image: cri::ImageRef("sha256:a".into()),
            created_at: SystemTime::UNIX_EPOCH,
            state,
            own_files: Vec::new(),
            log_path: "/log".into(),
            function: false,
            labels: BTreeMap::new(),
        }
    }

    fn running() -> cri::ContainerState {
        cri::ContainerState::Running { started_at: SystemTime::UNIX_EPOCH + Duration::from_secs(5) }
    }

    fn exited() -> cri::ContainerState {
        let exit =
            cri::Exit { code: 0, reason: cri::ExitReason::Completed, message: String::new() };
        cri::ContainerState::Exited { started_at: None, finished_at: SystemTime::UNIX_EPOCH, exit }
    }

    #[test]
    fn two_attempts_are_kept_and_older_ones_given_up() {
        let mut containers = Containers::default();
        let all =
            vec![actual("a", 0, exited()), actual("b", 1, exited()), actual("c", 2, running())];
        assert_eq!(containers.observe(all, Timestamp::UNIX_EPOCH), [cri::Id("a".into())]);
        assert_eq!(containers.current("web").unwrap().id, "c");
        assert_eq!(containers.previous("web").unwrap().id, "b");
        assert_eq!(containers.next_attempt("web"), 3);
    }

    #[test]
    fn what_ran_before_a_restart_of_the_node_is_of_unknown_end() {
        let mut containers = Containers::default();
        containers.observe(vec![actual("a", 4, running())], Timestamp::UNIX_EPOCH);
        let saved = serde_json::to_string(&containers).unwrap();

        let mut restored: Containers = serde_json::from_str(&saved).unwrap();
        assert!(!restored.is_here("web"));
        restored.observe(Vec::new(), Timestamp::UNIX_EPOCH);

        let ending = restored.current("web").unwrap().ending().unwrap();
        assert_eq!((ending.code, ending.reason.as_str()), (137, "ContainerStatusUnknown"));
        assert_eq!(restored.next_attempt("web"), 5);
    }

    #[test]
    fn init_containers_run_anew_in_a_new_sandbox_and_keep_their_number() {
        let mut containers = Containers::default();
        containers.observe(vec![actual("a", 0, exited())], Timestamp::UNIX_EPOCH);
        assert!(containers.is_here("web"));
        containers.renew(["web"]);
        assert!(!containers.is_here("web"));
        assert_eq!(containers.current("web"), None);
        assert_eq!(containers.next_attempt("web"), 1);
    }
}
