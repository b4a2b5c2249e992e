//! What is there from the start.
use serde_json::json;

use crate::harness::Cluster;

#[tokio::test]
async fn a_new_cluster_has_what_clients_expect() {
    let cluster = Cluster::start().await;
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let object = cluster.get(&format!("/api/v1/namespaces/{namespace}")).await.json;
        assert_eq!(object["status"]["phase"], "Active", "{namespace}");
    }
    let public = "/api/v1/namespaces/kube-public/configmaps";
    let hosting = cluster.get(&format!("{public}/local-registry-hosting")).await.json;
    assert_eq!(hosting["data"]["localRegistryHosting.v1"], "host: \"127.0.0.1:5001\"\n");
    let info = cluster.get(&format!("{public}/cluster-info")).await.json;
    let kubeconfig = info["data"]["kubeconfig"].as_str().unwrap();
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_str(kubeconfig).unwrap();
    let server = kubeconfig.clusters[0].cluster.as_ref().unwrap().server.as_deref();
    assert_eq!(server, Some("https://192.0.2.1:6443"));
}

#[tokio::test]
async fn the_api_is_reached_through_its_service() {
    let cluster = Cluster::start().await;
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = cluster.get(path).await.json;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(slice["ports"][0]["port"], 6443);
}
