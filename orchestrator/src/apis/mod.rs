//! Every kind the server knows, one file each: names, defaults, validation,
//! columns, subresources.
//!
//! [`builtin`] lists them in the order of discovery.

pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod checks;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod metrics;
pub mod networking;
pub mod node;
pub mod policy;
pub mod scheduling;
#[cfg(test)]
pub mod testing;

use crate::api::{Resource, ResourceTable};

/// The table of the kinds that are built in.
pub fn builtin() -> ResourceTable {
    ResourceTable::new([
        Resource::of(core::ConfigMaps),
        Resource::of(core::EndpointsOfServices),
        Resource::of(events::CoreEvents),
        Resource::of(core::Namespaces),
        Resource::of(core::Nodes),
        Resource::of(core::Pods),
        Resource::of(core::Secrets),
        Resource::of(core::ServiceAccounts),
        Resource::of(core::Services),
        Resource::of(apps::ControllerRevisions),
        Resource::of(apps::Deployments),
        Resource::of(apps::ReplicaSets),
        Resource::computed(authentication::SelfSubjectReviews),
        Resource::computed(authentication::TokenReviews),
        Resource::computed(authorization::LocalSubjectAccessReviews),
        Resource::computed(authorization::SelfSubjectAccessReviews),
        Resource::of(batch::CronJobs),
        Resource::of(batch::Jobs),
        Resource::computed(authorization::SelfSubjectRulesReviews),
        Resource::computed(authorization::SubjectAccessReviews),
        Resource::of(networking::IngressClasses),
        Resource::of(autoscaling::HorizontalPodAutoscalers),
        Resource::of(autoscaling::HorizontalPodAutoscalersV1),
        Resource::of(coordination::Leases),
        Resource::of(discovery::EndpointSlices),
        Resource::of(events::Events),
        Resource::measured(metrics::NodesMetrics),
        Resource::measured(metrics::PodsMetrics),
        Resource::of(networking::Ingresses),
        Resource::of(policy::PodDisruptionBudgets),
        Resource::of(node::RuntimeClasses),
        Resource::of(scheduling::PriorityClasses),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_object_has_a_status_with_what_go_never_leaves_out() {
        let status = |api_version: &str, kind: &str, spec: serde_json::Value| {
            let new = testing::object(api_version, kind, json!({"spec": spec}));
            let mut prepared = new.clone();
            let row = testing::row(&new);
            row.behaviour.prepare(&mut prepared, crate::api::Operation::Create).unwrap();
            prepared.body["status"].clone()
        };
        let template = || json!({"spec": {"containers": [{"name": "web", "image": "web:1"}]}});
        let workload = || json!({"selector": {}, "template": template()});
        let scaled =
            || json!({"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "web"}});
        let cron = json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": template()}}});
        assert_eq!(status("batch/v1", "Job", workload()), json!({}));
        assert_eq!(status("batch/v1", "CronJob", cron), json!({}));
        assert_eq!(status("apps/v1", "Deployment", workload()), json!({}));
        assert_eq!(status("apps/v1", "ReplicaSet", workload()), json!({"replicas": 0}));
        assert_eq!(status("v1", "Service", json!({})), json!({"loadBalancer": {}}));
        let ingress = status("networking.k8s.io/v1", "Ingress", json!({}));
        assert_eq!(ingress, json!({"loadBalancer": {}}));
        let autoscaler = |version| status(version, "HorizontalPodAutoscaler", scaled());
        assert_eq!(autoscaler("autoscaling/v2"), json!({"desiredReplicas": 0}));
        assert_eq!(
            autoscaler("autoscaling/v1"),
            json!({"currentReplicas": 0, "desiredReplicas": 0})
        );
        let node = status("v1", "Node", json!({}));
        assert_eq!(node["daemonEndpoints"], json!({"kubeletEndpoint": {"Port": 0}}));
        assert_eq!(node["nodeInfo"]["machineID"], "");
    }

    #[test]
    fn every_resource_stands_in_the_table_once() {
        let mut seen = HashSet::new();
        for row in builtin().iter() {
            let resource = (row.gvk.group.clone(), row.gvk.version.clone(), row.plural.clone());
            assert!(seen.insert(resource.clone()), "{resource:?} stands in it twice");
        }
    }
}
