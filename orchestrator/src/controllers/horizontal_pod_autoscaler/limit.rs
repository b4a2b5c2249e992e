//! How fast the number of replicas may change, given what was decided lately.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// As long as anything counts: the longest stabilization window and period.
const MEMORY: Duration = Duration::from_secs(3600);

/// Without a behavior, as many times the replicas may be had at once …
const UP_FACTOR: i32 = 2;
/// … and so many in any case.
const UP_LEAST: i32 = 4;

/// What was decided lately about one autoscaler; no older than [`MEMORY`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Replicas that the metrics asked for.
    recommendations: Vec<(Timestamp, i32)>,
    /// Replicas that were added.
    added: Vec<(Timestamp, i32)>,
    /// Replicas that were taken away.
    removed: Vec<(Timestamp, i32)>,
}

/// What the number of replicas is limited by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub current: i32,
    pub least: i32,
    pub most: i32,
}

/// The number of replicas that is allowed, and why it is no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    pub replicas: i32,
    /// Reason and message of `AbleToScale`.
    pub able: (&'static str, &'static str),
    /// Whether it is limited, with reason and message.
    pub limited: (bool, &'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const IN_RANGE: (&str, &str) =
    ("DesiredWithinRange", "the desired count is within the acceptable range");

impl History {
    /// After a start the present size is what was recommended last.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Notes that the target was scaled; only what a behavior may ask for is kept.
    pub(super) fn scaled(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        before: i32,
        after: i32,
        now: Timestamp,
    ) {
        if behavior.is_none() {
            return;
        }
        let change = after.saturating_sub(before);
        let events = if change > 0 { &mut self.added } else { &mut self.removed };
        events.retain(|(at, _)| *at > ago(now, MEMORY));
        events.push((now, change.abs()));
    }

    /// What of the replicas that the metrics ask for is allowed now.
    pub(super) fn allow(
        &mut self,
        desired: i32,
        bounds: Bounds,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        downscale_stabilization: Duration,
        now: Timestamp,
    ) -> Allowed {
        let default = HPAScalingRules::default();
        let rules = |rules: Option<&HPAScalingRules>| rules.unwrap_or(&default).clone();
        let up = rules(behavior.and_then(|behavior| behavior.scale_up.as_ref()));
        let down = rules(behavior.and_then(|behavior| behavior.scale_down.as_ref()));
        let windows = (window(&up, Duration::ZERO), window(&down, downscale_stabilization));
        let (lowest, highest) = self.recent(desired, windows, now);
        // Without a behavior the highest counts, even if it is more than there are.
        let stable =
            if behavior.is_some() { bounds.current.max(lowest).min(highest) } else { highest };
        self.recommendations.retain(|(at, _)| *at > ago(now, MEMORY));
        self.recommendations.push((now, desired));
        let able = if stable == desired {
            READY
        } else if behavior.is_some() && desired >= bounds.current {
            UP_STABILIZED
        } else {
            // Without a behavior, scaling up is never put off.
            DOWN_STABILIZED
        };
        let (replicas, why) = match behavior {
            None => plain(stable, bounds),
            Some(_) => self.at_rate(stable, bounds, &up, &down, now),
        };
        Allowed { replicas, able, limited: (replicas != stable, why.0, why.1) }
    }

    /// The lowest recommendation of the window of scaling up, and the highest of that of
    /// scaling down.
    fn recent(&self, desired: i32, (up, down): (Duration, Duration), now: Timestamp) -> (i32, i32) {
        let within = |window| {
            let recent = self.recommendations.iter().filter(move |(at, _)| *at > ago(now, window));
            recent.map(|(_, replicas)| *replicas)
        };
        (within(up).fold(desired, i32::min), within(down).fold(desired, i32::max))
    }

    fn at_rate(
        &self,
        desired: i32,
        bounds: Bounds,
        up: &HPAScalingRules,
        down: &HPAScalingRules,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let Bounds { current, least, most } = bounds;
        if desired > current {
            let limit = self.limit(up, current, now, true).max(current);
            let (allowed, why) = if most > limit { (limit, UP_LIMIT) } else { (most, TOO_MANY) };
            if desired > allowed {
                return (allowed, why);
            }
        } else if desired < current {
            let limit = self.limit(down, current, now, false).min(current);
            let (allowed, why) = if least < limit { (limit, DOWN_LIMIT) } else { (least, TOO_FEW) };
            if desired < allowed {
                return (allowed, why);
            }
        }
        (desired, IN_RANGE)
    }

    /// As far as the policies of a direction let the replicas go.
    fn limit(&self, rules: &HPAScalingRules, current: i32, now: Timestamp, up: bool) -> i32 {
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let limits = rules.policies.iter().flatten().map(|policy| {
            let since = ago(now, seconds(policy.period_seconds));
            let changed = |events: &[(Timestamp, i32)]| -> i32 {
                let recent = events.iter().filter(|(at, _)| *at > since);
                recent.fold(0, |sum, (_, change)| sum.saturating_add(*change))
            };
            let began =
                current.saturating_sub(changed(&self.added)).saturating_add(changed(&self.removed));
            let percent = f64::from(policy.value) / 100.0;
            match (policy.type_.as_str(), up) {
                ("Pods", true) => began.saturating_add(policy.value),
                ("Pods", false) => began.saturating_sub(policy.value),
                // Rounded up, or a small number of replicas would never grow.
                (_, true) => (f64::from(began) * (1.0 + percent)).ceil() as i32,
                (_, false) => (f64::from(began) * (1.0 - percent)) as i32,
            }
        });
        // The largest change is the highest number upwards and the lowest downwards.
        let chosen = if (select == "Min") == up { limits.min() } else { limits.max() };
        chosen.unwrap_or(current)
    }
}

/// The limits of an autoscaler without a behavior.
fn plain(desired: i32, bounds: Bounds) -> (i32, (&'static str, &'static str)) {
    let limit = bounds.current.saturating_mul(UP_FACTOR).max(UP_LEAST);
    let (allowed, why) =
        if bounds.most > limit { (limit, UP_LIMIT) } else { (bounds.most, TOO_MANY) };
    if desired < bounds.least {
        (bounds.least, TOO_FEW)
    } else if desired > allowed {
        (allowed, why)
    } else {
        (desired, IN_RANGE)
    }
}

fn window(rules: &HPAScalingRules, default: Duration) -> Duration {
    rules.stabilization_window_seconds.map_or(default, seconds)
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

fn ago(now: Timestamp, time: Duration) -> Timestamp {
    now.checked_sub(time).unwrap_or(Timestamp::MIN)
}
