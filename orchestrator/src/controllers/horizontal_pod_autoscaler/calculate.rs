//! How many replicas would use as much as is wished.
//!
//! The arithmetic is Kubernetes': the ratio of what is used to what should be,
//! times the Pods that were measured. Pods that cannot be measured, or whose
//! measure means nothing yet, are counted so that they damp the change.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Settings;
use super::usage::{Sample, Samples};
use crate::client::{Quantity, sidecars};
use crate::controllers::pods;

/// What a resource should be used like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// So many percent of what is requested.
    Utilization(i32),
    /// So many thousandths by each Pod.
    AverageValue(i64),
}

/// As far above and below 1 as the ratio may be before anything is changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerances {
    pub up: f64,
    pub down: f64,
}

impl Tolerances {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a calculation looks at.
pub(super) struct Question<'a> {
    pub current: i32,
    pub target: Target,
    pub resource: &'a str,
    /// The one container that is measured, instead of the whole Pod.
    pub container: Option<&'a str>,
    pub pods: &'a [Arc<Pod>],
    pub tolerances: Tolerances,
    pub settings: &'a Settings,
    pub now: Timestamp,
}

/// What a calculation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Percent of what is requested.
    pub utilization: Option<i32>,
    /// Thousandths by each Pod.
    pub average: i64,
}

/// What is used, of what should be.
struct Ratio {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

/// Pods by what their samples are worth.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups<'a> {
    ready: usize,
    /// Not ready, so that their samples mean nothing.
    unready: HashSet<&'a str>,
    /// Without samples.
    missing: HashSet<&'a str>,
    /// On their way out.
    ignored: HashSet<&'a str>,
}

/// How many replicas there should be.
pub(super) fn replicas(question: &Question<'_>, samples: &Samples) -> Result<Proposal, String> {
    let &Question { current, target, tolerances, pods, .. } = question;
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let groups = groups(question, samples);
    let counted = |name: &str| !groups.ignored.contains(name) && !groups.unready.contains(name);
    let mut used: HashMap<&str, i64> = samples
        .iter()
        .filter(|(name, _)| counted(name))
        .map(|(name, sample)| (name.as_str(), sample.value))
        .collect();
    let requests = match target {
        Target::Utilization(_) => requests(question)?,
        Target::AverageValue(_) => BTreeMap::new(),
    };
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let Ratio { ratio, utilization, average } = ratio(target, &used, &requests)?;
    let answer = |replicas| Ok(Proposal { replicas, utilization, average });
    let rebalance = !groups.unready.is_empty() && ratio > 1.0;
    if !rebalance && groups.missing.is_empty() {
        if tolerances.covers(ratio) {
            return answer(current);
        }
        return answer(ceiling(ratio * groups.ready as f64));
    }
    for &name in &groups.missing {
        if ratio < 1.0 {
            // Might use all it may: it must not make us take Pods away.
            let most = match target {
                Target::Utilization(percent) => {
                    let request = requests.get(name).copied().unwrap_or_default();
                    request.saturating_mul(i64::from(percent.max(100))) / 100
                }
                Target::AverageValue(value) => value,
            };
            used.insert(name, most);
        } else if ratio > 1.0 || matches!(target, Target::AverageValue(_)) {
            // Might use nothing: it must not make us add Pods.
            used.insert(name, 0);
        }
    }
    if rebalance {
        used.extend(groups.unready.iter().map(|name| (*name, 0)));
    }
    let damped = self::ratio(target, &used, &requests)?.ratio;
    let turned = (ratio < 1.0 && damped > 1.0) || (ratio > 1.0 && damped < 1.0);
    if tolerances.covers(damped) || turned {
        return answer(current);
    }
    let wanted = ceiling(damped * used.len() as f64);
    let against = (damped < 1.0 && wanted > current) || (damped > 1.0 && wanted < current);
    answer(if against { current } else { wanted })
}

fn ratio(
    target: Target,
    used: &HashMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
) -> Result<Ratio, String> {
    match target {
        Target::AverageValue(wanted) => {
            let total: i64 = used.values().fold(0, |sum, value| sum.saturating_add(*value));
            let average = total / used.len().max(1) as i64;
            Ok(Ratio { ratio: average as f64 / wanted as f64, utilization: None, average })
        }
        Target::Utilization(wanted) => {
            // Those that are measured but not among the Pods have come or gone meanwhile.
            let known =
                used.iter().filter_map(|(name, value)| Some((*value, *requests.get(name)?)));
            let (mut total, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
            for (value, request) in known {
                total = total.saturating_add(value);
                requested = requested.saturating_add(request);
                count += 1;
            }
            if requested == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let utilization = i128::from(total) * 100 / i128::from(requested);
            let utilization = i32::try_from(utilization).unwrap_or(i32::MAX);
            let ratio = f64::from(utilization) / f64::from(wanted);
            Ok(Ratio { ratio, utilization: Some(utilization), average: total / count })
        }
    }
}

fn groups<'a>(question: &Question<'a>, samples: &Samples) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in question.pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let phase = pods::phase(pod);
        if pod.metadata.deletion_timestamp.is_some() || phase == Some("Failed") {
            groups.ignored.insert(name);
        } else if phase == Some("Pending") {
            groups.unready.insert(name);
        } else if let Some(sample) = samples.get(name) {
            if question.resource == "cpu" && is_unready(question, pod, sample) {
                groups.unready.insert(name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name);
        }
    }
    groups
}

/// Whether what a Pod uses of the CPU is that of its start, or of nothing.
fn is_unready(question: &Question<'_>, pod: &Pod, sample: &Sample) -> bool {
    let Some(status) = &pod.status else { return true };
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let (Some(ready), Some(started)) = (ready, &status.start_time) else { return true };
    let after =
        |time: Timestamp, delay: Duration| time.checked_add(delay).unwrap_or(Timestamp::MAX);
    let turned = ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let is_not = ready.status == "False";
    if after(started.0, question.settings.cpu_initialization) > question.now {
        // Measured before it was ready, at least in part.
        return is_not || sample.at < after(turned, sample.window);
    }
    is_not && after(started.0, question.settings.initial_readiness_delay) > turned
}

/// What each Pod requests, in thousandths.
fn requests<'a>(question: &Question<'a>) -> Result<BTreeMap<&'a str, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in question.pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(spec) = &pod.spec else { continue };
        let mut sum = 0_i64;
        for container in spec.containers.iter().chain(sidecars(spec)) {
            if question.container.is_some_and(|wanted| wanted != container.name) {
                continue;
            }
            let amounts = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            let amount = amounts.and_then(|amounts| amounts.get(question.resource));
            let amount = amount.and_then(|amount| Quantity::try_from(amount).ok());
            let amount = amount.ok_or_else(|| {
                let (resource, container) = (question.resource, &container.name);
                format!("missing request for {resource} in container {container} of Pod {name}")
            })?;
            sum = sum.saturating_add(amount.milli_value());
        }
        requests.insert(name, sum);
    }
    Ok(requests)
}

/// The next whole number, as many as an `i32` holds.
fn ceiling(replicas: f64) -> i32 {
    replicas.ceil().clamp(0.0, f64::from(i32::MAX)) as i32
}
