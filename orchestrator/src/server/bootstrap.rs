//! Objects that every client expects to find, made when the server starts.
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};

use super::allocate;
use super::call::Call;
use super::errors::storage_error;
use super::path::ResourcePath;
use super::query::{FieldValidation, Query, WriteOptions};
use super::{Server, write};
use crate::api::{self, ApiError, User};
use crate::apis;
use crate::auth::pki::KUBERNETES_SERVICE_IP;
use crate::storage::StorageError;

/// What the objects say about this server.
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    /// Where clients reach the API, such as `https://127.0.0.1:6443`.
    pub api: String,
    /// The address and port that the Service `kubernetes` leads to.
    pub endpoint: Option<(IpAddr, u16)>,
    /// The authority's certificate in PEM.
    pub authority: String,
    /// HOST:PORT of the cluster's registry.
    pub registry: Option<String>,
}

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// How often what is missing is made again, as kube-apiserver does.
const INTERVAL: Duration = Duration::from_secs(10);

/// Makes what is missing, repairs allocations, and says that the server is ready.
pub async fn run(server: &Server, facts: &Bootstrap) -> Result<(), ApiError> {
    for namespace in NAMESPACES {
        let object = json!({"metadata": {"name": namespace}});
        ensure(server, "", "v1", "namespaces", "", object).await?;
    }
    allocate::repair(server).await?;
    // Another Service may have taken the address: only a server that is there can be told to give it back.
    if let Err(error) = ensure(server, "", "v1", "services", "default", service()).await {
        tracing::error!(%error, "no service kubernetes; delete the one that has its address");
    }
    made(server, facts).await?;
    ensure(server, "", "v1", "configmaps", "kube-public", cluster_info(facts)).await?;
    if let Some(registry) = &facts.registry {
        let object = registry_hosting(registry);
        ensure(server, "", "v1", "configmaps", "kube-public", object).await?;
    }
    server.set_ready();
    Ok(())
}

/// Makes again and again what people deleted and the cluster needs; never returns.
pub async fn keep(server: &Server) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(facts) = server.facts() else { continue };
        let service = ensure(server, "", "v1", "services", "default", service()).await;
        if let Err(error) = service.and(made(server, facts).await) {
            tracing::warn!(%error, "objects of the cluster are not made, trying again");
        }
    }
}

/// Makes what leads to the server, and the classes that are always there.
async fn made(server: &Server, facts: &Bootstrap) -> Result<(), ApiError> {
    if let Some((address, port)) = facts.endpoint {
        let slice = endpoint_slice(address, port);
        ensure(server, "discovery.k8s.io", "v1", "endpointslices", "default", slice).await?;
        ensure(server, "", "v1", "endpoints", "default", endpoints(address, port)).await?;
    }
    for (name, value, description) in apis::scheduling::SYSTEM_CLASSES {
        let class = json!({
            "metadata": {"name": name}, "value": value, "description": description,
        });
        ensure(server, "scheduling.k8s.io", "v1", "priorityclasses", "", class).await?;
    }
    let class = json!({
        "metadata": {"name": api::GATEWAY_CLASS},
        "spec": {"controller": api::GATEWAY_CONTROLLER},
    });
    ensure(server, "networking.k8s.io", "v1", "ingressclasses", "", class).await?;
    for name in apis::node::WASM_CLASSES {
        let class = json!({"metadata": {"name": name}, "handler": name});
        ensure(server, "node.k8s.io", "v1", "runtimeclasses", "", class).await?;
    }
    Ok(())
}

/// Creates an object, or gives it the content it should have.
async fn ensure(
    server: &Server,
    group: &str,
    version: &str,
    plural: &str,
    namespace: &str,
    object: Value,
) -> Result<(), ApiError> {
    let Some(row) = server.table().get(group, version, plural).cloned() else { return Ok(()) };
    let user = User::component("system:apiserver");
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let path = ResourcePath {
        group: group.into(),
        version: version.into(),
        namespace: namespace.into(),
        resource: plural.into(),
        name,
        ..ResourcePath::default()
    };
    let (query, headers) = (Query::default(), HeaderMap::new());
    let mut call = Call {
        server,
        row: &row,
        user: &user,
        path: &path,
        query: &query,
        headers: &headers,
        warnings: Vec::new(),
    };
    let options =
        WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() };
    let wished = write::object(&call, object)?;
    // Looked up first: a create would find the Service's address allocated, to itself.
    match server.storage().get(&row, &call.key()).await {
        Ok(_) => {}
        Err(StorageError::NotFound { .. }) => {
            let created = write::create(&mut call, wished.into(), &options);
            return created.await.map(|_| ());
        }
        Err(error) => return Err(storage_error(&row, &call.path.name, error)),
    }
    // What the server says of itself is kept true; what people added stays.
    let keep_true = |old: &crate::api::Object| {
        let mut new = old.clone();
        new.metadata.resource_version = None;
        for (name, value) in &wished.body {
            if matches!(name.as_str(), "data" | "endpoints" | "ports" | "subsets") {
                new.body.insert(name.clone(), value.clone());
            }
        }
        Ok(new.into())
    };
    write::update(&mut call, write::Part::Object, &options, keep_true).await.map(|_| ())
}

fn service() -> Value {
    json!({
        "metadata": {
            "name": "kubernetes",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": KUBERNETES_SERVICE_IP, "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    })
}

fn endpoint_slice(address: IpAddr, port: u16) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

fn endpoints(address: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {
            "name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

/// What a client needs to trust the cluster, as kubeadm publishes it.
fn cluster_info(facts: &Bootstrap) -> Value {
    use base64::Engine;
    let authority = base64::engine::general_purpose::STANDARD.encode(&facts.authority);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "users": null,
        "contexts": null, "current-context": "",
        "clusters": [{
            "name": "",
            "cluster": {"certificate-authority-data": authority, "server": facts.api},
        }],
    });
    json!({
        "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": kubeconfig.to_string()},
    })
}

/// KEP-1755: where the cluster's registry is.
fn registry_hosting(registry: &str) -> Value {
    json!({
        "metadata": {"name": "local-registry-hosting"},
        "data": {"localRegistryHosting.v1": format!("host: {registry:?}\n")},
    })
}
