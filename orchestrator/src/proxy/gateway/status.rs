//! Writes the gateway's address into the status of the Ingresses it serves.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::routes::Classes;
use crate::client::Informers;

/// How long until an Ingress whose status could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps every status right until it is dropped.
pub(in crate::proxy) async fn run(client: &Client, informers: &Informers, address: IpAddr) {
    let (ingresses, classes) = (informers.of::<Ingress>(), informers.of::<IngressClass>());
    classes.synced().await;
    let mut changes = ingresses.subscribe();
    let mut failed = Vec::new();
    loop {
        let key = match failed.pop() {
            Some(key) => match timeout(RETRY, changes.next()).await {
                Ok(other) => {
                    failed.push(key);
                    other
                }
                Err(_) => key,
            },
            None => changes.next().await,
        };
        let ours = |ingress: &Arc<Ingress>| Classes::of(&classes.list()).take(ingress);
        let ingress = ingresses.get(&key).filter(ours);
        let Some(patch) = ingress.and_then(|ingress| plan(&ingress, address)) else { continue };
        let api = Api::<Ingress>::namespaced(client.clone(), &key.namespace);
        let written =
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        if let Err(error) = written {
            tracing::warn!(namespace = key.namespace, name = key.name, %error, "ingress status not written");
            if !failed.contains(&key) {
                failed.push(key);
            }
        }
    }
}

/// The change to an Ingress that does not have the address.
fn plan(ingress: &Ingress, address: IpAddr) -> Option<Value> {
    let wanted = address.to_string();
    let actual: Vec<Option<&str>> = ingress
        .status
        .iter()
        .filter_map(|status| status.load_balancer.as_ref()?.ingress.as_ref())
        .flatten()
        .map(|point| point.ip.as_deref())
        .collect();
    if actual == [Some(wanted.as_str())] {
        return None;
    }
    Some(json!({"status": {"loadBalancer": {"ingress": [{"ip": wanted}]}}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(status: Value) -> Ingress {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_status_is_written_once() {
        let address = "127.0.0.1".parse().unwrap();
        let patch = plan(&ingress(json!({})), address).unwrap();
        assert_eq!(patch["status"]["loadBalancer"]["ingress"][0]["ip"], "127.0.0.1");
        assert_eq!(plan(&ingress(patch["status"].clone()), address), None);
        let elsewhere = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert!(plan(&ingress(elsewhere), address).is_some());
    }
}
