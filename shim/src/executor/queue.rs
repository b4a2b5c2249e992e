//! Who runs next: the container with the least weighted CPU time behind it.
//!
//! Two levels, as in CFS's group scheduling: containers are ordered by virtual
//! runtime, the runnable instances of one container take turns, so a container
//! gains nothing by having many. A container out of quota is parked with all
//! its instances until its bucket is refilled.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::account::CpuAccount;

/// The runnable tasks of all containers.
pub(super) struct RunQueue<T> {
    groups: HashMap<u64, Group<T>>,
    /// Containers with quota, by virtual runtime at the time they were put here.
    ready: BTreeSet<(u64, u64)>,
    /// Containers without, by the end of their period.
    parked: BTreeSet<(Instant, u64)>,
    /// Virtual runtime of the container that ran last; never falls.
    floor: u64,
}

/// The runnable tasks of one container; never empty.
struct Group<T> {
    account: Arc<CpuAccount>,
    tasks: VecDeque<T>,
}

/// What a worker does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Runs a slice of this task.
    Run(T),
    /// Everybody runnable is out of quota until then.
    WaitUntil(Instant),
    /// Nobody is runnable.
    Idle,
}

impl<T> RunQueue<T> {
    pub(super) fn new() -> Self {
        Self { groups: HashMap::new(), ready: BTreeSet::new(), parked: BTreeSet::new(), floor: 0 }
    }

    /// Adds a runnable task.
    pub(super) fn push(&mut self, account: &Arc<CpuAccount>, task: T) {
        if let Some(group) = self.groups.get_mut(&account.id()) {
            group.tasks.push_back(task);
            return;
        }
        self.ready.insert((account.catch_up(self.floor), account.id()));
        let group = Group { account: account.clone(), tasks: VecDeque::from([task]) };
        self.groups.insert(account.id(), group);
    }

    /// Takes the task that runs next.
    pub(super) fn pop(&mut self, now: Instant) -> Next<T> {
        self.unpark(now);
        while let Some((key, id)) = self.ready.pop_first() {
            let group = self.groups.get_mut(&id).expect("a ready container has runnable tasks");
            let runtime = group.account.virtual_runtime();
            if runtime > key {
                // It was charged since it was put here.
                self.ready.insert((runtime, id));
                continue;
            }
            if let Some(until) = group.account.throttled_until(now) {
                group.account.count_throttled();
                self.parked.insert((until, id));
                continue;
            }
            self.floor = self.floor.max(key);
            let task = group.tasks.pop_front().expect("a group is never empty");
            if group.tasks.is_empty() {
                self.groups.remove(&id);
            } else {
                self.ready.insert((key, id));
            }
            return Next::Run(task);
        }
        self.parked.first().map_or(Next::Idle, |(until, _)| Next::WaitUntil(*until))
    }

    /// Whether another worker would find something to do.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes every task out.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.ready.clear();
        self.parked.clear();
        self.groups.drain().flat_map(|(_, group)| group.tasks).collect()
    }

    fn unpark(&mut self, now: Instant) {
        while let Some((until, id)) = self.parked.first().copied()
            && until <= now
        {
            self.parked.pop_first();
            let group = self.groups.get(&id).expect("a parked container has runnable tasks");
            self.ready.insert((group.account.catch_up(self.floor), id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::executor::bucket::DEFAULT_PERIOD;

    const MS: Duration = Duration::from_millis(1);

    fn account(shares: u64) -> Arc<CpuAccount> {
        Arc::new(CpuAccount::new(None, Duration::ZERO, shares))
    }

    /// Runs `slices` slices of 1 ms of whoever is next, all staying runnable.
    fn run(queue: &mut RunQueue<Arc<CpuAccount>>, slices: u32) {
        for _ in 0..slices {
            let Next::Run(account) = queue.pop(Instant::now()) else { panic!("nothing to run") };
            account.charge(MS);
            queue.push(&account, account.clone());
        }
    }

    #[test]
    fn cpu_is_shared_by_weight() {
        let (light, heavy) = (account(256), account(768));
        let mut queue = RunQueue::new();
        queue.push(&light, light.clone());
        queue.push(&heavy, heavy.clone());

        run(&mut queue, 400);

        assert_eq!(light.used(), 100 * MS);
        assert_eq!(heavy.used(), 300 * MS);
    }

    #[test]
    fn many_instances_get_no_more_than_one() {
        let (one, many) = (account(1024), account(1024));
        let mut queue = RunQueue::new();
        queue.push(&one, one.clone());
        (0..50).for_each(|_| queue.push(&many, many.clone()));

        run(&mut queue, 200);

        assert_eq!(one.used(), 100 * MS);
    }

    #[test]
    fn who_slept_has_no_claim_on_the_past() {
        let (worker, sleeper) = (account(1024), account(1024));
        let mut queue = RunQueue::new();
        queue.push(&worker, worker.clone());
        run(&mut queue, 1_000);

        queue.push(&sleeper, sleeper.clone());
        run(&mut queue, 100);

        assert!(sleeper.used() <= 51 * MS, "{:?}", sleeper.used());
    }

    #[test]
    fn a_container_out_of_quota_is_parked_and_counted_once_a_period() {
        let start = Instant::now();
        let limited = Arc::new(CpuAccount::new(Some(10 * MS), DEFAULT_PERIOD, 1024));
        let mut queue = RunQueue::new();
        limited.charge(10 * MS);
        queue.push(&limited, 1);
        queue.push(&limited, 2);

        let Next::WaitUntil(until) = queue.pop(start) else { panic!("it ran without quota") };
        assert_eq!(queue.pop(start), Next::WaitUntil(until));

        assert_eq!(limited.throttled_periods(), 1);
        assert_eq!(queue.pop(until), Next::Run(1));
        assert_eq!(queue.pop(until), Next::Run(2));
        assert_eq!(queue.pop(until), Next::Idle);
    }
}
