//! The examples of Kubernetes' documentation and of its design (KEP-853).
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use serde_json::{Value, json};

use super::limit::{Allowed, Bounds};
use super::*;

fn time(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A ready Pod that was started an hour ago.
fn pod(name: &str, rest: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {
            "phase": "Running", "startTime": time(-3600),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time(-3500)}],
        },
    });
    for (pointer, value) in rest.as_object().unwrap() {
        *pod.pointer_mut(pointer).unwrap() = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn used(name: &str, cpu: &str) -> usage::PodUsage {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "timestamp": time(-5), "window": "15s",
        "containers": [{"name": "c", "usage": {"cpu": cpu}}],
    }))
    .unwrap()
}

fn autoscaler(rest: Value) -> HorizontalPodAutoscaler {
    let mut spec = json!({
        "scaleTargetRef": {"kind": "Deployment", "name": "web"},
        "minReplicas": 1, "maxReplicas": 100, "metrics": [utilization(50)],
    });
    for (name, value) in rest.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
}

fn utilization(percent: i32) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn decide(
    autoscaler: &HorizontalPodAutoscaler,
    current: i32,
    pods: &[Arc<Pod>],
    used: Vec<usage::PodUsage>,
) -> Plan {
    let inputs =
        Inputs { autoscaler, current, selector: "app=web", pods: Ok(pods), used: Ok(used) };
    let settings = Settings { downscale_stabilization: Duration::ZERO, ..Settings::default() };
    plan(&inputs, &mut History::default(), &settings, time(0))
}

/// `count` Pods that each use `cpu`.
fn crowd(count: usize, cpu: &str) -> (Vec<Arc<Pod>>, Vec<usage::PodUsage>) {
    let names = (0..count).map(|i| format!("web-{i}"));
    names.map(|name| (pod(&name, json!({})), used(&name, cpu))).unzip()
}

fn told(plan: &Plan) -> Vec<String> {
    let conditions = plan.conditions.iter();
    conditions.map(|c| format!("{}={} {}", c.scope.as_str(), c.holds, c.reason)).collect()
}

#[test]
fn replicas_follow_the_ratio_of_use_to_target() {
    for (cpu, wanted) in [("100m", 4), ("25m", 1), ("52m", 2), ("55m", 2), ("56m", 3), ("46m", 2)] {
        let (pods, used) = crowd(2, cpu);
        let plan = decide(&autoscaler(json!({})), 2, &pods, used);
        assert_eq!(plan.desired, wanted, "{cpu}");
        assert_eq!(plan.rescale.is_some(), wanted != 2, "{cpu}");
    }
}

#[test]
fn what_was_decided_is_told_as_kubernetes_tells_it() {
    let (pods, used) = crowd(2, "100m");
    let plan = decide(&autoscaler(json!({})), 2, &pods, used);
    let why = "cpu resource utilization (percentage of request) above target";
    assert_eq!(plan.rescale.as_deref(), Some(why));
    assert_eq!(
        told(&plan),
        [
            "AbleToScale=true ReadyForNewScale",
            "ScalingActive=true ValidMetricFound",
            "ScalingLimited=false DesiredWithinRange",
        ]
    );
    let metrics = serde_json::to_value(plan.metrics.unwrap()).unwrap();
    let current = json!({"averageUtilization": 100, "averageValue": "100m"});
    assert_eq!(
        metrics,
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}])
    );
}

#[test]
fn an_average_value_needs_no_request() {
    let target = json!({"type": "AverageValue", "averageValue": "40m"});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let (mut pods, used) = crowd(2, "60m");
    pods[0] = pod("web-0", json!({"/spec/containers/0/resources": {}}));
    let plan = decide(&autoscaler(json!({"metrics": [metric]})), 2, &pods, used);
    assert_eq!((plan.desired, plan.rescale.as_deref()), (3, Some("cpu resource above target")));
}

#[test]
fn one_container_is_measured_alone() {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    let source = json!({"name": "cpu", "container": "c", "target": target});
    let metric = json!({"type": "ContainerResource", "containerResource": source});
    let (mut pods, used) = crowd(1, "100m");
    let containers = json!([
        {"name": "c", "resources": {"requests": {"cpu": "100m"}}}, {"name": "without-request"},
    ]);
    pods[0] = pod("web-0", json!({"/spec/containers": containers}));
    let plan = decide(&autoscaler(json!({"metrics": [metric]})), 1, &pods, used);
    assert_eq!(plan.desired, 2);
}

#[test]
fn a_pod_that_is_not_measured_damps_the_change() {
    let (pods, mut used) = crowd(3, "60m");
    used.pop();
    // Two of 60% and one counted as 0%: 40% is below the target, which would turn the direction.
    assert_eq!(decide(&autoscaler(json!({})), 3, &pods, used).desired, 3);
    let (pods, mut used) = crowd(3, "10m");
    used.pop();
    // Two of 10% and one counted as 100%: 40% of 50%.
    assert_eq!(decide(&autoscaler(json!({})), 3, &pods, used).desired, 3);
    let (pods, mut used) = crowd(3, "100m");
    used.pop();
    // Two of 100% and one counted as 0%: 66% where 50% is wished.
    assert_eq!(decide(&autoscaler(json!({})), 3, &pods, used).desired, 4);
}

#[test]
fn a_pod_that_is_not_ready_counts_as_idle_when_pods_are_added() {
    let (mut pods, mut used) = crowd(3, "80m");
    let not_ready =
        json!([{"type": "Ready", "status": "False", "lastTransitionTime": time(-3599)}]);
    pods[2] = pod("web-2", json!({"/status/conditions": not_ready}));
    // Two of 80% and one of 0%: 53% is within the tolerance of 50%.
    assert_eq!(decide(&autoscaler(json!({})), 3, &pods, used.clone()).desired, 3);
    used[0] = self::used("web-0", "10m");
    used[1] = self::used("web-1", "10m");
    // It is left out when Pods are taken away.
    assert_eq!(decide(&autoscaler(json!({})), 3, &pods, used).desired, 1);
}

#[test]
fn the_cpu_that_a_start_takes_is_not_looked_at() {
    let (mut pods, used) = crowd(2, "100m");
    let fresh = json!({
        "/status/startTime": time(-20),
        "/status/conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time(-10)}],
    });
    pods[1] = pod("web-1", fresh);
    // Its window of 15 s began before it was ready: as if it used nothing.
    assert_eq!(decide(&autoscaler(json!({})), 2, &pods, used.clone()).desired, 2);
    pods[1] = pod("web-1", json!({"/status/startTime": time(-200)}));
    assert_eq!(decide(&autoscaler(json!({})), 2, &pods, used).desired, 4);
}

#[test]
fn pods_on_their_way_out_are_not_counted() {
    let (mut pods, used) = crowd(3, "50m");
    pods[2] = pod("web-2", json!({"/status/phase": "Failed"}));
    let plan = decide(&autoscaler(json!({})), 3, &pods, used);
    assert_eq!(plan.desired, 3, "50% is what is wished of those that are left");
}

#[test]
fn a_pod_without_a_request_has_no_utilization() {
    let (mut pods, used) = crowd(1, "50m");
    pods[0] = pod("web-0", json!({"/spec/containers/0/resources": {}}));
    let plan = decide(&autoscaler(json!({})), 1, &pods, used);
    let why = "failed to get cpu utilization: missing request for cpu in container c of Pod web-0";
    assert!(plan.failed && plan.rescale.is_none());
    assert_eq!(plan.events[0], ("FailedGetResourceMetric", why.to_owned()));
    let full = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
    );
    assert_eq!(plan.events[1], ("FailedComputeMetricsReplicas", full));
    assert_eq!(told(&plan)[1], "ScalingActive=false FailedGetResourceMetric");
    assert_eq!(
        plan.conditions[1].message,
        format!("the HPA was unable to compute the replica count: {why}")
    );
}

#[test]
fn a_metric_of_another_type_is_refused_and_the_others_still_add_pods() {
    let pods_metric: MetricSpec = serde_json::from_value(json!({
        "type": "Pods",
        "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1"}},
    }))
    .unwrap();
    let both = autoscaler(json!({"metrics": [pods_metric, utilization(50)]}));
    let (pods, used) = crowd(2, "100m");
    let plan = decide(&both, 2, &pods, used);
    assert_eq!(plan.desired, 4);
    assert_eq!(plan.events[0].0, "FailedGetPodsMetric");
    let (pods, used) = crowd(2, "10m");
    let plan = decide(&both, 2, &pods, used);
    assert!(plan.failed && plan.rescale.is_none(), "Pods must not go while a metric is missing");
    assert_eq!(told(&plan)[1], "ScalingActive=false FailedGetPodsMetric");
}

#[test]
fn the_metric_that_asks_for_most_decides() {
    let metrics = json!([utilization(50), utilization(20)]);
    let (pods, used) = crowd(2, "100m");
    assert_eq!(decide(&autoscaler(json!({"metrics": metrics})), 2, &pods, used).desired, 4);
    let spec = autoscaler(json!({"metrics": metrics, "maxReplicas": 100}));
    let (pods, used) = crowd(3, "100m");
    let plan = decide(&spec, 3, &pods, used);
    assert_eq!(plan.desired, 6, "15 is more than twice as many");
    assert_eq!(told(&plan)[2], "ScalingLimited=true ScaleUpLimit");
}

#[test]
fn the_bounds_hold_whatever_is_measured() {
    let bounded = autoscaler(json!({"minReplicas": 2, "maxReplicas": 4}));
    let plan = decide(&bounded, 1, &[], Vec::new());
    let below = "Current number of replicas below Spec.MinReplicas";
    assert_eq!((plan.desired, plan.rescale.as_deref()), (2, Some(below)));
    let plan = decide(&bounded, 9, &[], Vec::new());
    let above = "Current number of replicas above Spec.MaxReplicas";
    assert_eq!((plan.desired, plan.rescale.as_deref()), (4, Some(above)));
    let plan = decide(&bounded, 0, &[], Vec::new());
    assert_eq!((plan.desired, plan.rescale), (0, None));
    let (pods, used) = crowd(3, "300m");
    let plan = decide(&bounded, 3, &pods, used);
    assert_eq!((plan.desired, told(&plan)[2].as_str()), (4, "ScalingLimited=true TooManyReplicas"));
    let (pods, used) = crowd(3, "1m");
    let plan = decide(&bounded, 3, &pods, used);
    assert_eq!((plan.desired, told(&plan)[2].as_str()), (2, "ScalingLimited=true TooFewReplicas"));
    assert_eq!(plan.rescale.as_deref(), Some("All metrics below target"));
}

#[test]
fn a_behavior_says_the_tolerance() {
    let wide = json!({"scaleUp": {"tolerance": "0.5", "policies": []}});
    let (pods, used) = crowd(2, "70m");
    assert_eq!(decide(&autoscaler(json!({"behavior": wide})), 2, &pods, used.clone()).desired, 2);
    assert_eq!(decide(&autoscaler(json!({})), 2, &pods, used).desired, 3);
}

fn behavior(up: Value, down: Value) -> HorizontalPodAutoscalerBehavior {
    serde_json::from_value(json!({"scaleUp": up, "scaleDown": down})).unwrap()
}

fn rules(window: i32, select: &str, policies: &[(&str, i32, i32)]) -> Value {
    let policy = |(kind, value, period): &(&str, i32, i32)| json!({"type": kind, "value": value, "periodSeconds": period});
    let policies: Vec<Value> = policies.iter().map(policy).collect();
    json!({
        "stabilizationWindowSeconds": window, "selectPolicy": select, "policies": policies,
    })
}

/// What is allowed, and then done, second by second: seconds and replicas asked for.
fn run(behavior: &HorizontalPodAutoscalerBehavior, from: i32, asked: &[(i64, i32)]) -> Vec<i32> {
    let (mut history, mut current) = (History::default(), from);
    let mut sizes = Vec::new();
    for (second, desired) in asked {
        let now = time(*second);
        history.begin(current, now);
        let bounds = Bounds { current, least: 1, most: 10_000 };
        let allowed = history.allow(*desired, bounds, Some(behavior), Duration::ZERO, now);
        history.scaled(Some(behavior), current, allowed.replicas, now);
        current = allowed.replicas;
        sizes.push(current);
    }
    sizes
}

#[test]
fn the_policy_that_changes_most_is_chosen_unless_said_otherwise() {
    let policies = [("Pods", 4, 60), ("Percent", 10, 60)];
    let most = behavior(rules(0, "Max", &[("Percent", 100, 15)]), rules(0, "Max", &policies));
    // 80 → 72 by the second policy, 40 → 36 by the first.
    assert_eq!(run(&most, 80, &[(0, 1), (15, 1), (61, 1)]), [72, 72, 64]);
    assert_eq!(run(&most, 40, &[(0, 1), (61, 1)]), [36, 32]);
    let least = behavior(rules(0, "Max", &[("Percent", 100, 15)]), rules(0, "Min", &policies));
    assert_eq!(run(&least, 80, &[(0, 1)]), [76]);
}

#[test]
fn scaling_up_as_fast_as_possible_multiplies() {
    let fast = behavior(rules(0, "Max", &[("Percent", 900, 60)]), rules(300, "Max", &[]));
    assert_eq!(run(&fast, 1, &[(0, 5000), (30, 5000), (61, 5000)]), [10, 10, 100]);
}

#[test]
fn a_disabled_direction_stays() {
    let up_only = behavior(
        rules(0, "Max", &[("Pods", 1, 600)]),
        rules(0, "Disabled", &[("Percent", 100, 15)]),
    );
    assert_eq!(run(&up_only, 5, &[(0, 1), (15, 9), (30, 9)]), [5, 6, 6]);
}

#[test]
fn the_highest_recommendation_of_the_window_counts() {
    let slow = behavior(
        rules(0, "Max", &[("Percent", 100, 15)]),
        rules(300, "Max", &[("Percent", 100, 15)]),
    );
    let asked = [(0, 10), (60, 4), (200, 6), (301, 3), (361, 3), (501, 3)];
    assert_eq!(run(&slow, 10, &asked), [10, 10, 10, 6, 6, 3]);
}

#[test]
fn scaling_up_can_be_put_off_too() {
    let slow = behavior(
        rules(60, "Max", &[("Percent", 100, 15)]),
        rules(0, "Max", &[("Percent", 100, 15)]),
    );
    assert_eq!(run(&slow, 2, &[(0, 4), (15, 4), (61, 4)]), [2, 2, 4]);
}

#[test]
fn without_a_behavior_pods_go_only_after_the_controllers_window() {
    let mut history = History::default();
    let bounds = Bounds { current: 5, least: 1, most: 10 };
    let mut allow = |second, desired| -> Allowed {
        history.begin(5, time(second));
        history.allow(desired, bounds, None, Duration::from_secs(300), time(second))
    };
    let early = allow(0, 2);
    assert_eq!((early.replicas, early.able.0), (5, "ScaleDownStabilized"));
    assert_eq!(allow(299, 2).replicas, 5);
    let late = allow(301, 2);
    assert_eq!((late.replicas, late.able.0), (2, "ReadyForNewScale"));
    assert_eq!(
        allow(302, 100).limited,
        (
            true,
            "TooManyReplicas",
            "the desired replica count is more than the maximum replica count"
        )
    );
}
