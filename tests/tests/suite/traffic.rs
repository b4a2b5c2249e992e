//! The gateway with TLS, and what Services promise.
use std::sync::Arc;

use crate::support::{
    cluster, create, events, get, patch_deployment, pods, push, rolled_out, served, web,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::Kubeconfig;
use podium_tests::{Cluster, Connection, eventually, file};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// The authority that the cluster's kubeconfig names.
fn authority(cluster: &Cluster) -> CertificateDer<'static> {
    use base64::Engine as _;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let data = kubeconfig.clusters[0].cluster.as_ref().unwrap().certificate_authority_data.clone();
    let pem = base64::engine::general_purpose::STANDARD.decode(data.unwrap()).unwrap();
    CertificateDer::from_pem_slice(&pem).unwrap()
}

/// A certificate that signs itself, and its key.
fn certificate(host: &str) -> (CertificateDer<'static>, Value) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let data = json!({"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()});
    (certificate.der().clone(), data)
}

fn roots(trusted: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    Arc::new(roots)
}

/// Asks over TLS, trusting this certificate alone.
async fn ask(
    cluster: &Cluster,
    host: &str,
    trusted: &CertificateDer<'static>,
) -> Result<(u16, String), String> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let address = &cluster.addresses.gateway_tls;
    let mut connection = Connection::open_tls(address, host, roots(trusted)).await.map_err(said)?;
    let (status, body) = connection.get("/x").await.map_err(said)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_shows_the_secret_of_an_ingress_and_its_own_certificate_to_others() {
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let cluster = cluster(&[&hello]).await;
    let client = cluster.client().await.unwrap();
    let answer = (200, "Hello from Podium! You asked for /x.\n".to_owned());
    let own = authority(&cluster);
    assert_eq!(ask(&cluster, "hello.localhost", &own).await, Ok(answer.clone()));
    assert_eq!(ask(&cluster, "localhost", &own).await.unwrap().0, 404);

    let (first, data) = certificate("shop.example");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "shop"}, "stringData": data,
    });
    create::<Secret>(&client, &secret).await;
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"},
        "spec": {
            "tls": [{"hosts": ["shop.example"], "secretName": "shop"}],
            "rules": [{"host": "shop.example", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "hello", "port": {"number": 80}}},
            }]}}],
        },
    });
    create::<Ingress>(&client, &ingress).await;
    let shown = async |trusted: &CertificateDer<'static>| {
        eventually("the Secret's certificate is shown", async || {
            match ask(&cluster, "shop.example", trusted).await {
                Ok(seen) if seen == answer => Ok(()),
                other => Err(other),
            }
        })
        .await;
    };
    shown(&first).await;

    let (second, data) = certificate("shop.example");
    let patch = Patch::Merge(json!({"stringData": data}));
    let secrets = Api::<Secret>::default_namespaced(client);
    secrets.patch("shop", &PatchParams::default(), &patch).await.unwrap();
    shown(&second).await;
    assert!(ask(&cluster, "shop.example", &first).await.is_err(), "the old one is shown");
    assert_eq!(ask(&cluster, "hello.localhost", &own).await, Ok(answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_kubernetes_names_the_api_server_as_its_endpoint() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    let slices = Api::<EndpointSlice>::default_namespaced(client.clone());
    let slice = slices.get("kubernetes").await.unwrap();
    let endpoint = slice.endpoints.iter().flatten().next().unwrap();
    let port = slice.ports.iter().flatten().next().and_then(|port| port.port).unwrap();
    // The node's own address on the pod network: no Pod reaches the host's loopback.
    assert_eq!(endpoint.addresses, ["10.64.0.1"]);
    assert!(cluster.addresses.api.ends_with(&format!(":{port}")), "port {port}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_keeps_its_instances_where_its_pod_says_so() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "tests/guests/prober.wasm", "prober:v1").await;
    let (deployment, service) = web("prober", "prober:v1", 1);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    rolled_out(&client, "prober").await;
    let count = async || {
        let body = served(&cluster, "prober.localhost", "/count").await;
        body.trim().parse::<u64>().unwrap()
    };
    for _ in 0..20 {
        assert_eq!(count().await, 1, "an instance serves one request");
    }

    let reuse = async |value: &str| {
        let annotations = json!({"podium.dev/reuse.web": value});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        patch_deployment(&client, "prober", &patch).await;
    };
    reuse("10").await;
    rolled_out(&client, "prober").await;
    eventually("an instance counts on", async || {
        let seen = count().await;
        assert!(seen <= 10, "request {seen} of an instance that serves ten");
        if seen >= 3 { Ok(()) } else { Err(seen) }
    })
    .await;

    reuse("often").await;
    eventually("the Pod says what is wrong", async || {
        let pods = pods(&client, "prober").await;
        let statuses = pods.iter().flat_map(|pod| pod.status.iter());
        let text = format!("{:?}", statuses.collect::<Vec<_>>());
        if text.contains("podium.dev/reuse.web must be true") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_selector_leads_to_endpoints_made_by_hand() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "examples/hello/hello.wasm", "hello:v1").await;
    create::<Deployment>(&client, &web("hello", "hello:v1", 1).0).await;
    rolled_out(&client, "hello").await;
    let pod = crate::support::pods(&client, "hello").await.remove(0);
    let bare = json!({
        "metadata": {"name": "bare"}, "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
    });
    create::<Service>(&client, &bare).await;
    let subset = json!({
        "addresses": [{"ip": pod.status.unwrap().pod_ip}], "ports": [{"port": 8080}],
    });
    let made = json!({"metadata": {"name": "bare"}, "subsets": [subset]});
    create::<Endpoints>(&client, &made).await;
    let backend = json!({"service": {"name": "bare", "port": {"number": 80}}});
    let ingress = json!({
        "metadata": {"name": "bare"}, "spec": {"rules": [{"host": "bare.example", "http": {
            "paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]},
    });
    create::<Ingress>(&client, &ingress).await;
    eventually("the Service answers", async || {
        let answer = get(&cluster, "bare.example", "/x").await;
        match answer {
            Ok((200, body)) if body.contains("/x") => Ok(()),
            other => Err(other),
        }
    })
    .await;

    let endpoints = Api::<Endpoints>::default_namespaced(client.clone());
    endpoints.delete("bare", &Default::default()).await.unwrap();
    let slices = Api::<EndpointSlice>::default_namespaced(client);
    let of_bare = kube::api::ListParams::default().labels("kubernetes.io/service-name=bare");
    eventually("its slices are gone", async || {
        let left = slices.list(&of_bare).await.map_err(|error| error.to_string())?.items;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

/// A port of the host that a Service may have, held until it is dropped.
fn held_node_port() -> (std::net::TcpListener, u16) {
    let first = std::process::id() as u16 % 2768;
    (0..2768)
        .map(|offset| 30_000 + (first + offset) % 2768)
        .find_map(|port| Some((std::net::TcpListener::bind(("127.0.0.1", port)).ok()?, port)))
        .expect("no node port is free")
}

/// Asks over one connection until it is told to stop; answers how often.
async fn keep_asking(address: String, stop: tokio_util::sync::CancellationToken) -> u64 {
    let mut connection = Connection::open(&address, "prober").await.unwrap();
    let mut answers = 0;
    while !stop.is_cancelled() {
        let (status, _) = connection.get("/sleep?5").await.unwrap();
        assert_eq!(status, 200, "after {answers} answers");
        answers += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_port_keeps_its_connections_while_its_pods_are_replaced_and_says_if_it_is_taken() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "tests/guests/prober.wasm", "prober:v1").await;
    let (deployment, mut service) = web("prober", "prober:v1", 4);
    let (held, port) = held_node_port();
    service["spec"]["type"] = json!("NodePort");
    service["spec"]["ports"][0]["nodePort"] = json!(port);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    let taken = format!("spec.ports[0].nodePort: port {port} of 127.0.0.1");
    events(&client, "prober", "NodePortNotOpened", &taken).await;
    drop(held);
    events(&client, "prober", "NodePortOpened", &format!("port {port}")).await;
    rolled_out(&client, "prober").await;

    let address = format!("127.0.0.1:{port}");
    eventually("the port leads to a Pod", async || {
        let answer = podium_tests::http_get(&address, "prober", "/").await;
        answer.map(|_| ()).map_err(|error| format!("{error:#}"))
    })
    .await;
    let stop = tokio_util::sync::CancellationToken::new();
    let ask = || tokio::spawn(keep_asking(address.clone(), stop.clone()));
    let asking = [(); 4].map(|()| ask());
    for round in ["1", "2"] {
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": round});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        patch_deployment(&client, "prober", &patch).await;
        rolled_out(&client, "prober").await;
    }
    patch_deployment(&client, "prober", &json!({"spec": {"replicas": 1}})).await;
    rolled_out(&client, "prober").await;
    eventually("the others are gone", async || {
        let left = pods(&client, "prober").await.len();
        if left == 1 { Ok(()) } else { Err(left) }
    })
    .await;
    stop.cancel();
    for asked in asking {
        assert!(asked.await.unwrap() > 0);
    }
}
