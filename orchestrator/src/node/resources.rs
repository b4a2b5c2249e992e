//! Requests and limits of a container, in the runtime's terms.
//!
//! The arithmetic is the kubelet's: a limit is a quota per period of 100 ms,
//! a request a weight of which one CPU has 1024. What Podium adds is said by
//! annotations, as the Kubernetes API has no field for it.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource;
use shim::cri::LinuxContainerResources;

use super::extended::Extended;
use crate::client::resource_requests::{self, Requests};
use crate::client::{Quantity, QuantityError};

/// Length of a CPU period, as the kubelet sets it.
const PERIOD: Duration = Duration::from_millis(100);
/// The smallest quota that Linux' scheduler takes, which users of Kubernetes know.
const LEAST_QUOTA: Duration = Duration::from_millis(1);
/// The weight of one CPU.
const SHARES_PER_CPU: u64 = 1024;
/// The smallest weight.
const LEAST_SHARES: u64 = 2;
/// Annotation of the fuel of one container; its name follows a dot.
const FUEL: &str = "podium.dev/fuel";
/// Annotation of the requests a function handles at once.
const CONCURRENCY: &str = "podium.dev/concurrency";
/// Annotation of the requests one instance of a container's function may serve.
const REUSE: &str = "podium.dev/reuse";
/// Annotation of the time one request may take.
const REQUEST_TIMEOUT: &str = "podium.dev/request-timeout";

/// The most of [`CONCURRENCY`]: as many as a host has ports, far more than a node runs.
const MAX_CONCURRENCY: usize = 65_536;
/// The most of [`REQUEST_TIMEOUT`]: a day; what takes longer is a Job.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A limit or annotation that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResourceError {
    /// A quantity does not parse.
    #[error("{field} is no quantity: {text:?}")]
    Quantity {
        /// Which.
        field: String,
        /// Its value.
        text: String,
        /// Why.
        #[source]
        source: QuantityError,
    },
    /// An annotation does not parse.
    #[error("annotation {name} must be {wanted}, not {text:?}")]
    Annotation {
        /// Which.
        name: String,
        /// What it has to be.
        wanted: &'static str,
        /// Its value.
        text: String,
    },
}

/// What annotations say about a function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Serving {
    /// Requests at once.
    pub concurrency: Option<usize>,
    /// Time of one.
    pub request_timeout: Option<Duration>,
}

/// CPU and memory, as thousandths of a CPU and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Amount {
    /// Both together; what is too much to be counted is as much as can be.
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    /// What is left without `other`.
    pub fn without(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
        }
    }
}

/// The limits of a container for the runtime.
pub(super) fn of(
    container: &Container,
    annotations: &BTreeMap<String, String>,
) -> Result<LinuxContainerResources, ResourceError> {
    let wanted = container.resources.as_ref();
    let limit = |name| read(wanted.and_then(|r| r.limits.as_ref()), "limits", name);
    let request = |name| read(wanted.and_then(|r| r.requests.as_ref()), "requests", name);
    let cpu_limit = limit("cpu")?.map(Quantity::milli_value).filter(|milli| *milli > 0);
    let cpu_request = request("cpu")?.map(Quantity::milli_value).or(cpu_limit).unwrap_or(0);
    let memory = limit("memory")?.map(Quantity::value).filter(|bytes| *bytes > 0);
    Ok(LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: cpu_limit.map(|milli| {
            let quota = Duration::from_micros(milli.unsigned_abs().saturating_mul(100));
            quota.max(LEAST_QUOTA)
        }),
        cpu_shares: (cpu_request.max(0).unsigned_abs().saturating_mul(SHARES_PER_CPU) / 1000)
            .max(LEAST_SHARES),
        memory_limit: memory.map(i64::unsigned_abs),
        fuel: annotation(
            annotations,
            &format!("{FUEL}.{}", container.name),
            "a whole number",
            |t| t.parse().ok().filter(|fuel| *fuel > 0),
        )?,
    })
}

/// What annotations say about the functions of a Pod.
pub(super) fn serving(annotations: &BTreeMap<String, String>) -> Result<Serving, ResourceError> {
    Ok(Serving {
        concurrency: annotation(
            annotations,
            CONCURRENCY,
            "a whole number above 0 and at most 65536",
            |text| text.parse::<usize>().ok().filter(|n| (1..=MAX_CONCURRENCY).contains(n)),
        )?,
        request_timeout: annotation(
            annotations,
            REQUEST_TIMEOUT,
            "a duration such as 500ms, 30s or 2m, at most a day",
            |text| duration(text).filter(|time| *time <= MAX_REQUEST_TIMEOUT),
        )?,
    })
}

/// How many requests an instance of this container serves, if more than one.
pub(super) fn reuse(
    container: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<Option<NonZeroU64>, ResourceError> {
    let wanted = "true, false or the number of requests that one instance serves";
    let said =
        annotation(annotations, &format!("{REUSE}.{container}"), wanted, |text| match text {
            "true" => Some(NonZeroU64::MAX),
            "false" => Some(NonZeroU64::MIN),
            number => number.parse().ok(),
        })?;
    Ok(said.filter(|most| *most > NonZeroU64::MIN))
}

/// Annotations of one container that name none of the Pod's; their limits would hold for nobody.
pub(super) fn strays<'a>(
    spec: &PodSpec,
    annotations: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    let known: BTreeSet<String> = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .flat_map(|container| [FUEL, REUSE].map(|of| format!("{of}.{}", container.name)))
        .collect();
    let of_one = |name: &&str| {
        [FUEL, REUSE].iter().any(|of| name.strip_prefix(of).is_some_and(|n| n.starts_with('.')))
    };
    annotations.keys().map(String::as_str).filter(of_one).filter(move |name| !known.contains(*name))
}

/// What a Pod asks of its node, as the scheduler counts it; beside CPU and memory by name.
pub(super) fn requested(spec: &PodSpec) -> Result<(Amount, Extended), ResourceError> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    for resources in containers.filter_map(|container| container.resources.as_ref()) {
        for name in ["cpu", "memory"] {
            read(resources.requests.as_ref(), "requests", name)?;
        }
    }
    let Requests { resources, extended, .. } = Requests::of(spec, None);
    let amount = Amount { cpu: counted(resources.milli_cpu), memory: counted(resources.memory) };
    Ok((amount, extended))
}

/// An amount that the scheduler counts, as far as it can be counted here.
fn counted(amount: resource_requests::Amount) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Bytes of memory that a container may have; none without limit.
pub(super) fn memory_limit(resources: &ResourceRequirements) -> Option<u64> {
    // One that does not parse is refused where it is applied.
    let limit = read(resources.limits.as_ref(), "limits", "memory").ok().flatten()?;
    Some(limit.value().max(0).unsigned_abs()).filter(|bytes| *bytes > 0)
}

/// One quantity of a list of resources.
pub(super) fn read(
    list: Option<&BTreeMap<String, resource::Quantity>>,
    field: &str,
    name: &str,
) -> Result<Option<Quantity>, ResourceError> {
    let Some(text) = list.and_then(|list| list.get(name)) else { return Ok(None) };
    Quantity::parse(&text.0).map(Some).map_err(|source| ResourceError::Quantity {
        field: format!("resources.{field}.{name}"),
        text: text.0.clone(),
        source,
    })
}

fn annotation<T>(
    annotations: &BTreeMap<String, String>,
    name: &str,
    wanted: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ResourceError> {
    let Some(text) = annotations.get(name) else { return Ok(None) };
    let wrong = || ResourceError::Annotation { name: name.to_owned(), wanted, text: text.clone() };
    parse(text).map(Some).ok_or_else(wrong)
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok().filter(|n| *n > 0)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(resources: serde_json::Value) -> Container {
        serde_json::from_value(json!({"name": "web", "resources": resources})).unwrap()
    }

    fn limits(resources: serde_json::Value) -> LinuxContainerResources {
        of(&container(resources), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn annotations_of_containers_that_are_not_there_are_found() {
        let spec = json!({"containers": [{"name": "web"}], "initContainers": [{"name": "init"}]});
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let names = [
            "podium.dev/concurrency",
            "podium.dev/fuel.init",
            "podium.dev/fuel.wep",
            "podium.dev/request-timeout",
            "podium.dev/reuse.web",
            "podium.dev/reuse.",
        ];
        let annotations = names.map(|name| (name.to_owned(), "1".to_owned())).into();
        let found: Vec<_> = strays(&spec, &annotations).collect();
        assert_eq!(found, ["podium.dev/fuel.wep", "podium.dev/reuse."]);
    }

    #[test]
    fn a_cpu_limit_is_a_quota_per_100_ms() {
        let quota = |cpu: &str| limits(json!({"limits": {"cpu": cpu}})).cpu_quota;
        assert_eq!(quota("250m"), Some(Duration::from_millis(25)));
        assert_eq!(quota("2"), Some(Duration::from_millis(200)));
        assert_eq!(quota("1m"), Some(Duration::from_millis(1)));
        assert_eq!(limits(json!({})).cpu_quota, None);
    }

    #[test]
    fn shares_follow_the_request_then_the_limit() {
        let shares = |resources| limits(resources).cpu_shares;
        assert_eq!(shares(json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}})), 512);
        assert_eq!(shares(json!({"limits": {"cpu": "2"}})), 2048);
        assert_eq!(shares(json!({})), 2);
    }

    #[test]
    fn memory_and_fuel_are_limited_as_written() {
        let annotations = BTreeMap::from([("podium.dev/fuel.web".to_owned(), "1000".to_owned())]);
        let limits = of(&container(json!({"limits": {"memory": "64Mi"}})), &annotations).unwrap();
        assert_eq!((limits.memory_limit, limits.fuel), (Some(64 << 20), Some(1000)));
    }

    #[test]
    fn an_instance_is_reused_where_its_container_says_so() {
        let reuse = |text: &str| {
            let annotations =
                BTreeMap::from([("podium.dev/reuse.web".to_owned(), text.to_owned())]);
            assert_eq!(reuse("other", &annotations).unwrap(), None);
            reuse("web", &annotations).map(|most| most.map(NonZeroU64::get))
        };
        assert_eq!(reuse("true").unwrap(), Some(u64::MAX));
        assert_eq!(reuse("100").unwrap(), Some(100));
        assert_eq!(reuse("1").unwrap(), None);
        assert_eq!(reuse("false").unwrap(), None);
        for wrong in ["0", "yes", "-1"] {
            let error = reuse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("annotation podium.dev/reuse.web must be true"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |name: &str, text: &str| {
            let annotations = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            let error = of(&container(json!({})), &annotations).err();
            error.or_else(|| serving(&annotations).err()).unwrap().to_string()
        };
        assert_eq!(
            wrong("podium.dev/fuel.web", "much"),
            "annotation podium.dev/fuel.web must be a whole number, not \"much\""
        );
        for text in ["0", "65537", "3000000000000000000"] {
            assert!(wrong("podium.dev/concurrency", text).contains("at most 65536"), "{text}");
        }
        for text in ["86401s", "1441m", "9999999999999999999s"] {
            assert!(wrong("podium.dev/request-timeout", text).contains("at most a day"), "{text}");
        }
        assert!(wrong("podium.dev/request-timeout", "soon").contains("30s"));
        let error = of(&container(json!({"limits": {"cpu": "lots"}})), &BTreeMap::new());
        assert_eq!(error.unwrap_err().to_string(), "resources.limits.cpu is no quantity: \"lots\"");
    }

    #[test]
    fn a_pod_requests_what_it_needs_at_its_peak() {
        let cpu =
            |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = cpu("side", "200m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "initContainers": [sidecar, cpu("init", "500m")],
            "containers": [cpu("web", "100m")],
            "overhead": {"cpu": "10m"},
        });
        let milli = |spec: &serde_json::Value| {
            requested(&serde_json::from_value(spec.clone()).unwrap()).map(|(amount, _)| amount.cpu)
        };
        assert_eq!(milli(&spec).unwrap(), 710, "the sidecar runs beside the init container");
        let mut whole = spec.clone();
        whole["resources"] = json!({"requests": {"cpu": "2"}});
        assert_eq!(milli(&whole).unwrap(), 2010);
        let broken = json!({"containers": [cpu("web", "lots")]});
        let error = milli(&broken).unwrap_err().to_string();
        assert_eq!(error, "resources.requests.cpu is no quantity: \"lots\"");
    }

    #[test]
    fn a_pod_requests_its_containers_or_its_largest_init_container() {
        let spec = serde_json::from_value(json!({
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "300m"}}}],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
            ],
        }));
        assert_eq!(requested(&spec.unwrap()).unwrap().0, Amount { cpu: 300, memory: 2 << 20 });
    }

    #[test]
    fn requests_beyond_all_bounds_do_not_become_small_ones() {
        let huge = json!({"name": "c", "resources": {"requests": {"memory": "7Ei"}}});
        let spec = serde_json::from_value(json!({"containers": [huge, huge]})).unwrap();
        assert_eq!(requested(&spec).unwrap().0.memory, i64::MAX);
    }
}
