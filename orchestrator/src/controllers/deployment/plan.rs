//! The next step of a rollout: which replica set to create, resize or delete.
//!
//! Every step leaves at most `maxSurge` Pods too many and `maxUnavailable`
//! too few; the sets' own progress leads to the next one.
use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::sets::{self, available, existing, size, wanted};
use super::status;

/// What one pass does.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The set of a new revision.
    pub create: Option<ReplicaSet>,
    /// Sets as they shall be, each with its size before.
    pub write: Vec<(ReplicaSet, i32)>,
    /// Sets that history no longer needs.
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The revision to note in the Deployment.
    pub revision: Option<String>,
    /// Whether this pass rolls out, so that progress is judged; otherwise it
    /// only scales.
    pub rolls_out: bool,
}

/// Plans the next step.
///
/// `old_pods` says whether Pods of older revisions are still there, which
/// only `Recreate` asks.
pub fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], old_pods: bool) -> Plan {
    let Some(spec) = &deployment.spec else { return Plan::default() };
    if deployment.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let mut draft = Draft::new(deployment, sets);
    let paused = spec.paused == Some(true);
    let scales = paused || draft.is_scaling_event();
    let mut plan = Plan { rolls_out: !scales, ..Plan::default() };
    if scales {
        draft.scale();
        if paused {
            plan.delete = draft.outdated();
        }
    } else {
        let moved = if sets::is_recreate(deployment) {
            draft.recreate(old_pods, &mut plan.create)
        } else {
            draft.roll(&mut plan.create)
        };
        let status = deployment.status.clone().unwrap_or_default();
        if !moved && plan.create.is_none() && status::is_complete(deployment, &status) {
            plan.delete = draft.outdated();
        }
    }
    let current = plan.create.as_ref().or_else(|| draft.new.map(|new| &draft.after[new]));
    let revision = current.map(|set| sets::revision(&set.metadata)).filter(|r| *r > 0);
    plan.revision =
        revision.filter(|r| *r != sets::revision(&deployment.metadata)).map(|r| r.to_string());
    plan.write = draft.into_writes();
    plan
}

/// The sets as they are, and as they shall be.
struct Draft<'a> {
    deployment: &'a Deployment,
    before: &'a [Arc<ReplicaSet>],
    after: Vec<ReplicaSet>,
    /// The position of the new set.
    new: Option<usize>,
    /// The positions of the others, from old to new.
    old: Vec<usize>,
    /// The revision that the new set has, or would get.
    next_revision: i64,
}

impl<'a> Draft<'a> {
    fn new(deployment: &'a Deployment, before: &'a [Arc<ReplicaSet>]) -> Self {
        let new = sets::find_new(deployment, before);
        let mut old: Vec<_> = (0..before.len()).filter(|at| Some(*at) != new).collect();
        old.sort_by_cached_key(|at| sets::age_order(&before[*at]));
        let newest = old.iter().map(|at| sets::revision(&before[*at].metadata)).max();
        let next_revision = newest.unwrap_or(0) + 1;
        let mut after: Vec<_> = before.iter().map(|set| ReplicaSet::clone(set)).collect();
        if let Some(new) = new {
            let set = &mut after[new];
            sets::note_revision(deployment, set, next_revision);
            let seconds = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
            let spec = set.spec.get_or_insert_default();
            if spec.min_ready_seconds.unwrap_or(0) != seconds.unwrap_or(0) {
                spec.min_ready_seconds = seconds;
            }
        }
        Self { deployment, before, after, new, old, next_revision }
    }

    fn into_writes(self) -> Vec<(ReplicaSet, i32)> {
        let pairs = self.after.into_iter().zip(self.before);
        pairs.filter(|(set, was)| *set != ***was).map(|(set, was)| (set, size(was))).collect()
    }

    /// Whether the Deployment was scaled since a set that has Pods was.
    fn is_scaling_event(&self) -> bool {
        let wanted = wanted(self.deployment);
        let mut active = self.before.iter().filter(|set| size(set) > 0);
        active.any(|set| sets::desired(set).is_some_and(|desired| desired != wanted))
    }

    /// Resizes a set; answers whether its size changed.
    fn resize(&mut self, at: usize, to: i32) -> bool {
        let set = &mut self.after[at];
        let changed = size(set) != to;
        sets::resize(set, to);
        sets::note_sizes(self.deployment, set);
        changed
    }

    fn total(&self) -> i32 {
        self.after.iter().map(size).sum()
    }

    fn create(&self, to: i32) -> Option<ReplicaSet> {
        let mut set = sets::new_set(self.deployment, self.next_revision)?;
        sets::resize(&mut set, to);
        Some(set)
    }

    /// One step of `RollingUpdate`; answers whether a size changed.
    fn roll(&mut self, create: &mut Option<ReplicaSet>) -> bool {
        let Some(new) = self.new else {
            *create = self.create(self.grown(0));
            return false;
        };
        let (now, wanted) = (size(&self.after[new]), wanted(self.deployment));
        let to = if now > wanted { wanted } else { self.grown(now) };
        if to != now {
            return self.resize(new, to);
        }
        self.shrink_old(new)
    }

    /// The size that the new set may grow to.
    fn grown(&self, now: i32) -> i32 {
        let wanted = wanted(self.deployment);
        let room = wanted + sets::max_surge(self.deployment) - self.total();
        now + room.min(wanted - now).max(0)
    }

    /// Takes Pods from old sets: first those that do not work anyway, then as
    /// many as stay above the minimum that must be available.
    fn shrink_old(&mut self, new: usize) -> bool {
        let minimum = wanted(self.deployment) - sets::max_unavailable(self.deployment);
        let unready = size(&self.after[new]) - available(&self.after[new]);
        let mut spare = self.total() - minimum - unready;
        let mut changed = false;
        for at in self.old.clone() {
            let now = size(&self.after[at]);
            let broken = (now - available(&self.after[at])).min(spare).max(0);
            if broken > 0 {
                changed |= self.resize(at, now - broken);
                spare -= broken;
            }
        }
        let ready: i32 = self.after.iter().map(available).sum();
        let limit = self.total() - minimum - unready;
        let mut spare = (ready - minimum).min(limit);
        for at in self.old.clone() {
            let now = size(&self.after[at]);
            let fewer = now.min(spare).max(0);
            if fewer > 0 {
                changed |= self.resize(at, now - fewer);
                spare -= fewer;
            }
        }
        changed
    }

    /// One step of `Recreate`; answers whether a size changed.
    fn recreate(&mut self, old_pods: bool, create: &mut Option<ReplicaSet>) -> bool {
        let mut changed = false;
        for at in self.old.clone() {
            if size(&self.after[at]) > 0 {
                changed |= self.resize(at, 0);
            }
        }
        let remaining: i32 = self.old.iter().map(|at| existing(&self.before[*at])).sum();
        if changed || old_pods || remaining > 0 {
            return changed;
        }
        let wanted = wanted(self.deployment);
        match self.new {
            None => *create = self.create(wanted),
            Some(new) if size(&self.after[new]) != wanted => changed = self.resize(new, wanted),
            Some(_) => {}
        }
        changed
    }

    /// Scales without rolling out: the only active set in full, else all in proportion.
    fn scale(&mut self) {
        let wanted = wanted(self.deployment);
        if let Some(only) = self.active_or_latest() {
            if size(&self.after[only]) != wanted || sets::desired(&self.after[only]) != Some(wanted)
            {
                self.resize(only, wanted);
            }
            return;
        }
        if let Some(new) = self.new.filter(|new| self.is_saturated(*new)) {
            for at in self.old.clone() {
                if at != new && size(&self.after[at]) > 0 {
                    self.resize(at, 0);
                }
            }
            return;
        }
        if !sets::is_recreate(self.deployment) {
            self.scale_in_proportion();
        }
    }

    /// The one set that has Pods, or the latest if none has; none if several have.
    fn active_or_latest(&self) -> Option<usize> {
        let all = || self.old.iter().copied().chain(self.new);
        let mut active = all().filter(|at| size(&self.after[*at]) > 0);
        match (active.next(), active.next()) {
            (None, _) => self.new.or_else(|| self.old.last().copied()),
            (only, None) => only,
            _ => None,
        }
    }

    fn is_saturated(&self, new: usize) -> bool {
        let (set, wanted) = (&self.before[new], wanted(self.deployment));
        size(set) == wanted && sets::desired(set) == Some(wanted) && available(set) == wanted
    }

    fn scale_in_proportion(&mut self) {
        let wanted = wanted(self.deployment);
        let maximum = if wanted > 0 { wanted + sets::max_surge(self.deployment) } else { 0 };
        let add = maximum - self.total();
        let all = self.old.iter().copied().chain(self.new);
        let mut active: Vec<_> = all.filter(|at| size(&self.after[*at]) > 0).collect();
        // Larger ones first; of two alike the newer grows, the older shrinks.
        active.reverse();
        if add < 0 {
            active.reverse();
        }
        active.sort_by_key(|at| Reverse(size(&self.after[*at])));
        let mut added = 0;
        let mut sizes: Vec<(usize, i32)> = Vec::new();
        for at in active {
            let share = self.share(&self.after[at], maximum);
            let left = add - added;
            let share = if add > 0 { share.min(left) } else { share.max(left) };
            let share = if add == 0 { 0 } else { share };
            added += share;
            sizes.push((at, size(&self.after[at]) + share));
        }
        // What rounding left over goes to the largest.
        if let Some((_, largest)) = sizes.first_mut() {
            *largest = (*largest + add - added).max(0);
        }
        for (at, to) in sizes {
            self.resize(at, to);
        }
    }

    /// How much a set changes if the Deployment's maximum becomes `maximum`.
    fn share(&self, set: &ReplicaSet, maximum: i32) -> i32 {
        let now = size(set);
        if wanted(self.deployment) == 0 {
            return -now;
        }
        let status = self.deployment.status.as_ref();
        let before = sets::maximum(set).or_else(|| status.and_then(|s| s.replicas)).unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let scaled = f64::from(now) * f64::from(maximum) / f64::from(before);
        #[expect(clippy::cast_possible_truncation, reason = "sizes are far below 2^31")]
        let scaled = scaled.round() as i32;
        scaled - now
    }

    /// Old sets without Pods beyond `revisionHistoryLimit`, lowest revisions first.
    fn outdated(&self) -> Vec<Arc<ReplicaSet>> {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Vec::new() };
        let mut old: Vec<_> = self
            .old
            .iter()
            .map(|at| &self.before[*at])
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| (sets::revision(&set.metadata), sets::age_order(set)));
        let seen = |set: &ReplicaSet| {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation);
            set.metadata.generation.unwrap_or(0) <= observed.unwrap_or(0)
        };
        let empty = |set: &&&Arc<ReplicaSet>| existing(set) == 0 && size(set) == 0 && seen(set);
        old.iter().take(surplus).filter(empty).map(|set| Arc::clone(set)).collect()
    }
}
