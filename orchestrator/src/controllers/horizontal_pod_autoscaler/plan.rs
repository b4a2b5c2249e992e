//! What to do about one autoscaler, decided without looking anything up.
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;

use super::Settings;
use super::calculate::{self, Proposal, Question, Target, Tolerances};
use super::limit::{Bounds, History};
use super::usage::{self, PodUsage};
use crate::client::Quantity;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Whether the scale can be read and written.
    AbleToScale,
    /// Whether the metrics say how many replicas there should be.
    ScalingActive,
    /// Whether there are fewer or more than they say.
    ScalingLimited,
}

impl Scope {
    /// The type of the condition.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AbleToScale => "AbleToScale",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
        }
    }
}

/// A condition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub scope: Scope,
    pub holds: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Condition {
    pub(super) fn new(
        scope: Scope,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { scope, holds, reason, message: message.into() }
    }
}

/// What is known.
pub(super) struct Inputs<'a> {
    pub autoscaler: &'a HorizontalPodAutoscaler,
    /// Replicas that the target wishes.
    pub current: i32,
    /// The target's selector.
    pub selector: &'a str,
    /// The Pods it selects, or what is wrong with it.
    pub pods: Result<&'a [Arc<Pod>], String>,
    /// What they use, or why that is not known.
    pub used: Result<Vec<PodUsage>, String>,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Replicas that there should be.
    pub desired: i32,
    /// Why the target is to be scaled, if it is.
    pub rescale: Option<String>,
    /// Whether it was.
    pub rescaled: bool,
    /// Whether nothing could be decided or done: the status keeps what was desired before.
    pub failed: bool,
    /// Conditions to set.
    pub conditions: Vec<Condition>,
    /// The metrics as they are; the status keeps those it has if there are none.
    pub metrics: Option<Vec<MetricStatus>>,
    /// Reasons and messages of warnings.
    pub events: Vec<(&'static str, String)>,
}

impl Plan {
    /// Sets a condition over one of the same scope.
    pub(super) fn set(&mut self, condition: Condition) {
        self.conditions.retain(|known| known.scope != condition.scope);
        self.conditions.push(condition);
    }

    /// Replicas that are desired; none if that is not known.
    pub(super) fn settled(&self) -> Option<i32> {
        (!self.failed).then_some(self.desired)
    }
}

/// What the metrics ask for.
struct Asked {
    replicas: i32,
    /// The metric that asks for most.
    metric: String,
}

/// Decides.
pub(super) fn plan(
    inputs: &Inputs<'_>,
    history: &mut History,
    settings: &Settings,
    now: Timestamp,
) -> Plan {
    let spec = &inputs.autoscaler.spec;
    let (current, least, most) =
        (inputs.current, spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let mut plan = Plan { desired: current, ..Plan::default() };
    let message = "the HPA controller was able to get the target's current scale";
    plan.set(Condition::new(Scope::AbleToScale, true, "SucceededGetScale", message));
    history.begin(current, now);
    if current == 0 && least != 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        plan.set(Condition::new(Scope::ScalingActive, false, "ScalingDisabled", message));
        plan.metrics = Some(Vec::new());
    } else if current > most {
        plan.desired = most;
        plan.rescale = Some("Current number of replicas above Spec.MaxReplicas".into());
        plan.metrics = Some(Vec::new());
    } else if current < least {
        plan.desired = least;
        plan.rescale = Some("Current number of replicas below Spec.MinReplicas".into());
        plan.metrics = Some(Vec::new());
    } else if let Some(asked) = ask(inputs, settings, now, &mut plan) {
        let bounds = Bounds { current, least, most };
        let behavior = spec.behavior.as_ref();
        let stabilization = settings.downscale_stabilization;
        let allowed = history.allow(asked.replicas, bounds, behavior, stabilization, now);
        let (reason, message) = allowed.able;
        plan.set(Condition::new(Scope::AbleToScale, true, reason, message));
        let (limited, reason, message) = allowed.limited;
        plan.set(Condition::new(Scope::ScalingLimited, limited, reason, message));
        plan.desired = allowed.replicas;
        if allowed.replicas != current {
            plan.rescale = Some(if asked.replicas > current {
                format!("{} above target", asked.metric)
            } else {
                "All metrics below target".into()
            });
        }
    }
    plan.conditions.sort_by_key(|condition| condition.scope as u8);
    plan
}

/// How many replicas the metrics ask for; none if they do not say.
fn ask(inputs: &Inputs<'_>, settings: &Settings, now: Timestamp, plan: &mut Plan) -> Option<Asked> {
    let mut refuse = |reason, event, message: &str, told: &str| {
        plan.events.push((event, told.to_owned()));
        plan.set(Condition::new(Scope::ScalingActive, false, reason, message));
        plan.events.push(("FailedComputeMetricsReplicas", told.to_owned()));
        plan.failed = true;
    };
    let pods = match &inputs.pods {
        _ if inputs.selector.is_empty() => {
            let message = "the HPA target's scale is missing a selector";
            refuse("InvalidSelector", "SelectorRequired", message, "selector is required");
            return None;
        }
        Err(error) => {
            let message = format!(
                "couldn't convert selector into a corresponding internal selector object: {error}"
            );
            refuse("InvalidSelector", "InvalidSelector", &message, &message);
            return None;
        }
        Ok(pods) => *pods,
    };
    let specs = inputs.autoscaler.spec.metrics.as_deref().unwrap_or_default();
    let mut asked: Option<Asked> = None;
    let mut statuses = Vec::with_capacity(specs.len());
    let (mut invalid, mut first) = (0, None);
    for spec in specs {
        match metric(inputs, spec, pods, settings, now) {
            Ok((proposal, name, status)) => {
                statuses.push(status);
                if asked.as_ref().is_none_or(|asked| proposal.replicas > asked.replicas) {
                    asked = Some(Asked { replicas: proposal.replicas, metric: name });
                }
            }
            Err(failure) => {
                statuses.push(MetricStatus::default());
                invalid += 1;
                plan.events.push((failure.reason, failure.why.clone()));
                first.get_or_insert(failure);
            }
        }
    }
    plan.metrics = Some(statuses);
    let asked = asked.filter(|asked| {
        // With some metrics missing Pods are added but not taken away.
        invalid == 0 || asked.replicas >= inputs.current
    });
    match (&asked, first) {
        (None, Some(failure)) => {
            let message =
                format!("the HPA was unable to compute the replica count: {}", failure.why);
            plan.set(Condition::new(Scope::ScalingActive, false, failure.reason, message));
            let told = format!(
                "invalid metrics ({invalid} invalid out of {}), first error is: {}",
                specs.len(),
                failure.in_full
            );
            plan.events.push(("FailedComputeMetricsReplicas", told));
            plan.failed = true;
        }
        (None, None) => {
            let message = "the HPA names no metric";
            plan.set(Condition::new(
                Scope::ScalingActive,
                false,
                "InvalidMetricSourceType",
                message,
            ));
            plan.failed = true;
        }
        (Some(asked), _) => {
            let message = format!(
                "the HPA was able to successfully calculate a replica count from {}",
                asked.metric
            );
            plan.set(Condition::new(Scope::ScalingActive, true, "ValidMetricFound", message));
        }
    }
    asked
}

/// Why a metric says nothing.
struct Failure {
    reason: &'static str,
    why: String,
    /// With what was being done around it.
    in_full: String,
}

/// What one metric asks for, its name and its status.
fn metric(
    inputs: &Inputs<'_>,
    spec: &MetricSpec,
    pods: &[Arc<Pod>],
    settings: &Settings,
    now: Timestamp,
) -> Result<(Proposal, String, MetricStatus), Failure> {
    let fail = |reason, why: String, around: String| Failure {
        reason,
        in_full: format!("{around}: {why}"),
        why,
    };
    let custom = |name: &str| {
        format!(
            "unable to get metric {name}: no custom metrics API (custom.metrics.k8s.io) registered"
        )
    };
    let (resource, container, target, reason) = match spec.type_.as_str() {
        "Resource" => {
            let Some(source) = &spec.resource else { return Err(unknown(spec)) };
            (source.name.as_str(), None, &source.target, "FailedGetResourceMetric")
        }
        "ContainerResource" => {
            let Some(source) = &spec.container_resource else { return Err(unknown(spec)) };
            let container = Some(source.container.as_str());
            (source.name.as_str(), container, &source.target, "FailedGetContainerResourceMetric")
        }
        "Pods" => {
            let name = spec.pods.as_ref().map_or("", |source| &source.metric.name);
            let around = "failed to get pods metric value".into();
            return Err(fail("FailedGetPodsMetric", custom(name), around));
        }
        "Object" => {
            let name = spec.object.as_ref().map_or("", |source| &source.metric.name);
            let around = "failed to get object metric value".into();
            return Err(fail("FailedGetObjectMetric", custom(name), around));
        }
        "External" => {
            let name = spec.external.as_ref().map_or("", |source| &source.metric.name);
            let why = format!(
                "unable to get external metric {name}: no external metrics API (external.metrics.k8s.io) registered"
            );
            let around = "failed to get external metric value".into();
            return Err(fail("FailedGetExternalMetric", why, around));
        }
        _ => return Err(unknown(spec)),
    };
    let question = |target| Question {
        current: inputs.current,
        target,
        resource,
        container,
        pods,
        tolerances: tolerances(inputs.autoscaler, settings),
        settings,
        now,
    };
    let what = if container.is_some() { "container" } else { "resource" };
    let around = || format!("failed to get {resource} {what} metric value");
    let proposal = wished(target)
        .ok_or_else(|| {
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned()
        })
        .and_then(|wished| {
            let measured = match wished {
                Target::Utilization(_) => "utilization",
                Target::AverageValue(_) => "usage",
            };
            let used = inputs.used.as_deref().map_err(Clone::clone);
            used.and_then(|used| usage::samples(used, resource, container))
                .map_err(|why| format!("unable to get metrics for resource {resource}: {why}"))
                .and_then(|samples| calculate::replicas(&question(wished), &samples))
                .map_err(|why| format!("failed to get {resource} {measured}: {why}"))
        })
        .map_err(|why| fail(reason, why, around()))?;
    let suffix = if proposal.utilization.is_some() {
        "resource utilization (percentage of request)"
    } else {
        "resource"
    };
    let whose = container.map_or(String::new(), |name| format!(" of container {name}"));
    let name = format!("{resource} {suffix}{whose}");
    Ok((proposal, name, status(spec, resource, container, proposal)))
}

fn unknown(spec: &MetricSpec) -> Failure {
    let why = format!("unknown metric source type {:?}", spec.type_);
    Failure { reason: "InvalidMetricSourceType", in_full: why.clone(), why }
}

fn wished(target: &MetricTarget) -> Option<Target> {
    let value = target.average_value.as_ref().and_then(|value| Quantity::try_from(value).ok());
    if let Some(value) = value {
        return Some(Target::AverageValue(value.milli_value()));
    }
    target.average_utilization.map(Target::Utilization)
}

fn tolerances(autoscaler: &HorizontalPodAutoscaler, settings: &Settings) -> Tolerances {
    let behavior = autoscaler.spec.behavior.as_ref();
    let of = |rules: Option<&HPAScalingRules>| {
        let own = rules.and_then(|rules| rules.tolerance.as_ref());
        let own = own.and_then(|own| Quantity::try_from(own).ok());
        own.map_or(settings.tolerance, |own| own.milli_value() as f64 / 1000.0)
    };
    Tolerances {
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
    }
}

fn status(
    spec: &MetricSpec,
    resource: &str,
    container: Option<&str>,
    proposal: Proposal,
) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(Quantity::from_milli(proposal.average).into()),
        value: None,
    };
    let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    let name = resource.to_owned();
    match container {
        None => status.resource = Some(ResourceMetricStatus { name, current }),
        Some(container) => {
            let container = container.to_owned();
            status.container_resource =
                Some(ContainerResourceMetricStatus { container, name, current });
        }
    }
    status
}
