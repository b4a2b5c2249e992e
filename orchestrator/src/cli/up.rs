//! `podium up [FILE]`: a cluster in one process, until Ctrl-C.
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use registry::Reference;
use serde_json::{Value, json};

use super::cluster::{Cluster, Config};
use super::data_dir::DataDir;
use super::{UsageError, apply, progress, push, say};
use crate::api::{Quantity, ResourceTable};
use crate::apis;

/// The port of a function that names none.
const FUNCTION_PORT: u16 = 8080;

/// How long what was deployed may take to be available.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Flags of `podium up`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .wasm file to deploy; its name without `.wasm` becomes the name of the Deployment.
    file: Option<PathBuf>,
    /// Manifests to apply once the cluster is ready.
    #[arg(short = 'f', long = "filename", value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// The directory that holds all state.
    #[arg(long, env = "PODIUM_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where the API server listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6443")]
    api_addr: String,
    /// Where the registry listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5001")]
    registry_addr: String,
    /// Where the gateway listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    gateway_addr: String,
    /// Where the gateway listens with TLS.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8443")]
    gateway_tls_addr: String,
    /// Where the node's API listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10250")]
    node_api_addr: String,
    /// A folder of this machine that Pods may mount with hostPath, with all below it; may be repeated.
    #[arg(long, value_name = "DIR")]
    allow_host_path: Vec<PathBuf>,
    /// Memory that the node offers to Pods, such as 4Gi; all of the machine's by default.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    node_memory: Option<u64>,
    /// Wait until every Deployment that was applied is available.
    #[arg(long)]
    wait: bool,
}

/// Runs until the process is told to stop.
pub(super) async fn run(args: Args) -> Result<()> {
    let config = Config {
        data_dir: args.data_dir.clone().map_or_else(DataDir::default_path, Ok)?,
        api_addr: address("--api-addr", &args.api_addr).await?,
        registry_addr: address("--registry-addr", &args.registry_addr).await?,
        gateway_addr: address("--gateway-addr", &args.gateway_addr).await?,
        gateway_tls_addr: address("--gateway-tls-addr", &args.gateway_tls_addr).await?,
        node_api_addr: address("--node-api-addr", &args.node_api_addr).await?,
        host_paths: host_paths(&args.allow_host_path)?,
        node_memory: args.node_memory,
    };
    if !config.registry_addr.ip().is_loopback() {
        let why = "the registry speaks plain HTTP and so listens on loopback only";
        return Err(UsageError(format!("--registry-addr {}: {why}", args.registry_addr)).into());
    }
    // What cannot be deployed is told before anything is started.
    let wanted = args.file.as_deref().map(Wanted::read).transpose()?;
    let mut objects = Vec::new();
    for manifest in &args.manifests {
        objects.extend(apply::read(manifest)?);
    }
    let mut cluster = Cluster::start(config).await?;
    // A signal that comes from now on stops the cluster in order.
    let outcome = tokio::select! {
        deployed = deploy(&cluster, wanted, objects, args.wait) => match deployed {
            Ok(()) => tokio::select! {
                stopped = stop_signal() => stopped,
                ended = cluster.ended() => ended,
            },
            Err(error) => Err(error),
        },
        stopped = stop_signal() => stopped,
    };
    progress("stopping");
    cluster.stop().await;
    outcome
}

/// A file that is to be deployed.
struct Wanted {
    path: PathBuf,
    name: String,
}

impl Wanted {
    fn read(path: &Path) -> Result<Self> {
        let name = push::image_name(path)?;
        fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), name })
    }
}

async fn deploy(
    cluster: &Cluster,
    wanted: Option<Wanted>,
    mut objects: Vec<Value>,
    wait: bool,
) -> Result<()> {
    let (client, table) = (cluster.client(), apis::builtin());
    let mut watched = Vec::new();
    let mut url = None;
    if let Some(wanted) = wanted {
        let registry = cluster.addresses().registry.to_string();
        let reference = Reference::resolve(&wanted.name, &[registry])?;
        let auth = push::token(cluster.pki(), Timestamp::now());
        let pushed = push::push(&wanted.path, &reference, &auth).await?;
        // By digest: other contents under the same name roll out.
        let image = format!("{}@{}", wanted.name, pushed.digest);
        let made = manifests(&wanted.name, &image, pushed.function);
        apply_all(client, &table, &made).await?;
        watched.push(("default".to_owned(), wanted.name.clone()));
        if pushed.function {
            let port = cluster.addresses().gateway.port();
            url = Some(format!("http://{}.localhost:{port}/", wanted.name));
        }
    }
    apply_all(client, &table, &objects).await?;
    if wait {
        objects.retain(|object| object["kind"] == "Deployment");
        for object in &objects {
            let text = |field: &str| object["metadata"][field].as_str();
            let namespace = text("namespace").unwrap_or("default").to_owned();
            watched.push((namespace, text("name").unwrap_or_default().to_owned()));
        }
    }
    for (namespace, name) in &watched {
        available(client, namespace, name).await?;
        progress(&format!("deployment {name} is available"));
    }
    let addresses = cluster.addresses();
    say(&format!(
        "kubeconfig  {}\nAPI server  https://{}\nregistry    {}\n\
         gateway     http://{} https://{}\n",
        cluster.kubeconfig().display(),
        addresses.api,
        addresses.registry,
        addresses.gateway,
        addresses.gateway_tls,
    ))?;
    match url {
        Some(url) => say(&format!("\n{url}\n")),
        None => Ok(()),
    }
}

async fn apply_all(client: &Client, table: &ResourceTable, objects: &[Value]) -> Result<()> {
    for object in objects {
        let outcome = apply::apply(client, table, object).await?;
        let word = if outcome == apply::Outcome::Created { "created" } else { "configured" };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        progress(&format!("{}/{name} {word}", text(&object["kind"])));
    }
    Ok(())
}

/// A Deployment of the artifact and, for a function, the Service before it.
fn manifests(name: &str, image: &str, function: bool) -> Vec<Value> {
    let mut container = json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent"});
    if function {
        container["ports"] = json!([{"containerPort": FUNCTION_PORT}]);
    }
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": FUNCTION_PORT}]},
    });
    if function { vec![deployment, service] } else { vec![deployment] }
}

/// Waits until a Deployment has all its replicas; says why it does not.
async fn available(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let deployment = api.get(name).await.with_context(|| format!("read deployment {name}"))?;
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.unwrap_or_default();
        let observed = status.observed_generation >= deployment.metadata.generation;
        if observed
            && status.available_replicas.unwrap_or(0) >= wanted
            && status.updated_replicas.unwrap_or(0) >= wanted
        {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!(
                "deployment {name} is not available after {PATIENCE:?}; \
                 `kubectl -n {namespace} describe pods` says why"
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn address(flag: &str, text: &str) -> Result<SocketAddr> {
    let mistake = |why: String| {
        UsageError(format!("{flag} {text:?}: {why}; say HOST:PORT, such as 127.0.0.1:0"))
    };
    let mut found =
        tokio::net::lookup_host(text).await.map_err(|error| mistake(error.to_string()))?;
    Ok(found.next().ok_or_else(|| mistake("no such host".into()))?)
}

/// Bytes, written as Kubernetes writes them.
fn memory(text: &str) -> Result<u64, String> {
    let amount = Quantity::parse(text).map_err(|error| error.to_string())?;
    let bytes = u64::try_from(amount.value()).ok().filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "it must be more than nothing, such as 512Mi or 4Gi".to_owned())
}

/// Folders that are there, as a link's target, so that a typing error is seen at once.
fn host_paths(wanted: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let found = |path: &PathBuf| match path.canonicalize() {
        Ok(real) if real.is_dir() => Ok(real),
        Ok(_) => Err(format!("--allow-host-path {}: it is no folder", path.display())),
        Err(error) => Err(format!("--allow-host-path {}: {error}", path.display())),
    };
    wanted.iter().map(|path| found(path).map_err(|why| UsageError(why).into())).collect()
}

/// Ctrl-C, or the signal with which services are stopped.
async fn stop_signal() -> Result<()> {
    crate::platform::stop_signal().await.context("listen for signals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_no_service() {
        let kinds = |function| {
            let made = manifests("a", "registry/a:latest", function);
            made.iter().map(|object| object["kind"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(true), ["Deployment", "Service"]);
        assert_eq!(kinds(false), ["Deployment"]);
    }

    #[test]
    fn memory_is_written_as_in_kubernetes() {
        assert_eq!(memory("512Mi"), Ok(512 << 20));
        assert!(memory("much").is_err());
        assert!(memory("0").is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_names_its_flag() {
        let error = host_paths(&["no/such/folder".into()]).unwrap_err().to_string();
        assert!(error.starts_with("--allow-host-path no/such/folder"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_names_its_flag() {
        let error = address("--api-addr", "nonsense").await.unwrap_err().to_string();
        assert!(error.starts_with("--api-addr \"nonsense\""), "{error}");
    }
}
