//! What Pods use, asked of `metrics.k8s.io` as any client asks.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource;
use kube::Client;
use kube::core::ObjectMeta;
use serde::Deserialize;

use crate::client::{Quantity, refusal};

/// What one Pod used during a window.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PodUsage {
    metadata: ObjectMeta,
    timestamp: Timestamp,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerUsage>,
}

#[derive(Debug, Clone, Deserialize)]
struct ContainerUsage {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, resource::Quantity>,
}

/// What one Pod used of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// In thousandths.
    pub value: i64,
    /// The end of the window.
    pub at: Timestamp,
    /// Its length.
    pub window: Duration,
}

/// Samples by the name of the Pod.
pub(super) type Samples = HashMap<String, Sample>;

/// Asks what the Pods of a namespace use that a selector selects.
pub(super) async fn of_pods(
    client: &Client,
    namespace: &str,
    selector: &str,
) -> Result<Vec<PodUsage>, String> {
    #[derive(Debug, Clone, Deserialize)]
    struct List {
        items: Vec<PodUsage>,
    }
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("labelSelector", selector)
        .finish();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?{query}");
    let failed = |error: kube::Error| {
        format!("unable to fetch metrics from resource metrics API: {}", refusal(&error))
    };
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| failed(kube::Error::HttpError(error)))?;
    client.request::<List>(request).await.map(|list| list.items).map_err(failed)
}

/// What each Pod used of a resource, in all its containers or in one.
pub(super) fn samples(
    used: &[PodUsage],
    resource: &str,
    container: Option<&str>,
) -> Result<Samples, String> {
    if used.is_empty() {
        return Err("no metrics returned from resource metrics API".into());
    }
    let mut samples = Samples::new();
    for pod in used {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let wanted = |c: &&ContainerUsage| container.is_none_or(|container| c.name == container);
        let containers: Vec<_> = pod.containers.iter().filter(wanted).collect();
        if let (Some(container), true) = (container, containers.is_empty()) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            return Err(format!(
                "container {container} not present in metrics for pod {namespace}/{name}"
            ));
        }
        let values = containers.iter().map(|container| {
            Some(Quantity::try_from(container.usage.get(resource)?).ok()?.milli_value())
        });
        // Half of what a Pod uses would be worse than nothing.
        if let Some(values) = values.collect::<Option<Vec<i64>>>() {
            let value = values.into_iter().fold(0, i64::saturating_add);
            let sample = Sample { value, at: pod.timestamp, window: window(&pod.window) };
            samples.insert(name, sample);
        }
    }
    Ok(samples)
}

/// A length of time as Go writes it; nothing where it is none.
fn window(text: &str) -> Duration {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used() -> Vec<PodUsage> {
        let pod = json!({
            "metadata": {"name": "web-1", "namespace": "default"},
            "timestamp": "2026-01-01T00:00:00Z", "window": "1m0.5s",
            "containers": [
                {"name": "a", "usage": {"cpu": "100000001n", "memory": "1Mi"}},
                {"name": "b", "usage": {"cpu": "50m"}},
            ],
        });
        vec![serde_json::from_value(pod).unwrap()]
    }

    #[test]
    fn a_pod_uses_what_all_its_containers_use() {
        let samples = samples(&used(), "cpu", None).unwrap();
        let sample = samples["web-1"];
        assert_eq!((sample.value, sample.window), (151, Duration::from_millis(60_500)));
    }

    #[test]
    fn one_container_is_looked_at_alone() {
        let of = |container| samples(&used(), "cpu", Some(container));
        assert_eq!(of("b").unwrap()["web-1"].value, 50);
        let why = of("c").unwrap_err();
        assert_eq!(why, "container c not present in metrics for pod default/web-1");
    }

    #[test]
    fn a_pod_that_is_not_measured_whole_is_not_measured() {
        assert!(samples(&used(), "memory", None).unwrap().is_empty());
        let why = samples(&[], "memory", None).unwrap_err();
        assert_eq!(why, "no metrics returned from resource metrics API");
    }
}
