//! The objects that run an artifact: what `up FILE` and `run` make.
use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The port of a function that names none.
pub(super) const FUNCTION_PORT: u16 = 8080;

/// The port of the Service before a function.
const SERVICE_PORT: u16 = 80;

/// What is to run, and how.
#[derive(Debug, Clone, Default)]
pub(super) struct Workload {
    /// Name of the objects and of the container.
    pub(super) name: String,
    /// The artifact.
    pub(super) image: String,
    /// Where it listens; without a port there is no Service.
    pub(super) port: Option<u16>,
    /// How many, if not one.
    pub(super) replicas: Option<u32>,
    /// Environment.
    pub(super) env: Vec<(String, String)>,
    /// Labels beside `app`.
    pub(super) labels: BTreeMap<String, String>,
    /// Arguments.
    pub(super) args: Vec<String>,
    /// `limits.cpu`, `limits.memory`.
    pub(super) limits: BTreeMap<String, String>,
}

impl Workload {
    /// A Deployment and, if it listens, the Service before it.
    pub(super) fn deployment(&self) -> Vec<Value> {
        let labels = self.labels();
        let mut deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [self.container()]},
                },
            },
        });
        if let Some(replicas) = self.replicas {
            deployment["spec"]["replicas"] = json!(replicas);
        }
        [deployment].into_iter().chain(self.service()).collect()
    }

    /// The Service before it, if it listens.
    pub(super) fn service(&self) -> Option<Value> {
        let port = self.port?;
        Some(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "labels": self.labels()},
            "spec": {
                "selector": {"app": self.name},
                "ports": [{"port": SERVICE_PORT, "targetPort": port}],
            },
        }))
    }

    /// A Job that runs it until it succeeds.
    pub(super) fn job(&self) -> Value {
        let labels = self.labels();
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"template": {
                "metadata": {"labels": labels},
                "spec": {"restartPolicy": "OnFailure", "containers": [self.container()]},
            }},
        })
    }

    /// A Pod that runs it once.
    pub(super) fn pod(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "labels": self.labels()},
            "spec": {"restartPolicy": "Never", "containers": [self.container()]},
        })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert("app".into(), self.name.clone());
        labels
    }

    fn container(&self) -> Value {
        let mut container = json!({"name": self.name, "image": self.image});
        // A digest names the same contents for ever.
        if self.image.contains('@') {
            container["imagePullPolicy"] = json!("IfNotPresent");
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !self.env.is_empty() {
            let variable = |(name, value): &(String, String)| json!({"name": name, "value": value});
            container["env"] = self.env.iter().map(variable).collect();
        }
        if !self.args.is_empty() {
            container["args"] = json!(self.args);
        }
        if !self.limits.is_empty() {
            container["resources"] = json!({"limits": self.limits});
        }
        container
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        Workload { name: "a".into(), image: "a@sha256:1".into(), ..Default::default() }
    }

    #[test]
    fn a_program_gets_no_service() {
        let kinds = |port| {
            let made = Workload { port, ..workload() }.deployment();
            made.iter().map(|object| object["kind"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(Some(8080)), ["Deployment", "Service"]);
        assert_eq!(kinds(None), ["Deployment"]);
    }

    #[test]
    fn what_was_asked_for_is_in_the_container() {
        let made = Workload {
            env: vec![("A".into(), "b=c".into())],
            args: vec!["x".into()],
            limits: BTreeMap::from([("cpu".into(), "100m".into())]),
            ..workload()
        };
        let container = made.pod()["spec"]["containers"][0].clone();
        let expected = json!({"name": "a", "image": "a@sha256:1", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "b=c"}], "args": ["x"],
            "resources": {"limits": {"cpu": "100m"}}});
        assert_eq!(container, expected);
        assert_eq!(made.job()["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
    }
}
