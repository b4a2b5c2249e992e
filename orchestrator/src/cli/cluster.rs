//! A whole cluster in one process: every part, wired.
//!
//! The parts talk to the API server as ordinary clients, each with its own
//! identity. They are stopped in the order in which they need each other.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use registry::store::Repositories;
use serde::Serialize;
use shim::cri::Runtime;
use shim::network::{Switch, SwitchConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::data_dir::{DataDir, write_atomic};
use super::own_images::OwnImages;
use super::pod_network::PodNetwork;
use super::{kubeconfig, listeners};
use crate::api::User;
use crate::api::yaml;
use crate::auth::authorizer::{AUTHENTICATED, MASTERS};
use crate::auth::{ComponentAuthorizer, Pki, SubjectNames};
use crate::client::{Informers, in_process};
use crate::clock::{Clock, Entropy, SystemClock};
use crate::node::{Capacity, NodeAgent, node_name};
use crate::proxy::{self, Proxy};
use crate::server::{self, Bootstrap, Parts, Server};
use crate::storage::Storage;
use crate::store::redb;
use crate::{apis, controllers, node, platform, scheduler};

/// What the names of the cluster end in.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Where a cluster keeps its state and listens; port 0 picks a free one.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that holds all state.
    pub data_dir: PathBuf,
    /// The API server.
    pub api_addr: SocketAddr,
    /// The registry.
    pub registry_addr: SocketAddr,
    /// The ingress gateway.
    pub gateway_addr: SocketAddr,
    /// The ingress gateway, with TLS.
    pub gateway_tls_addr: SocketAddr,
    /// The node's API.
    pub node_api_addr: SocketAddr,
    /// How Pods are placed.
    pub scheduler: scheduler::Config,
    /// Folders of the machine that Pods may mount.
    pub host_paths: Vec<PathBuf>,
    /// Bytes of memory that the node offers, if not all that the machine has.
    pub node_memory: Option<u64>,
}

/// Where a running cluster listens.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// The API server.
    pub api: SocketAddr,
    /// The registry.
    pub registry: SocketAddr,
    /// The ingress gateway.
    pub gateway: SocketAddr,
    /// The ingress gateway, with TLS.
    pub gateway_tls: SocketAddr,
    /// The node's API.
    pub node_api: SocketAddr,
}

/// A running cluster.
pub struct Cluster {
    data_dir: DataDir,
    addresses: Addresses,
    pki: Arc<Pki>,
    client: Client,
    informers: Informers,
    runtime: Arc<shim::runtime::Shim>,
    switch: Switch,
    asked_to_stop: CancellationToken,
    /// In the order in which they are stopped.
    layers: Vec<Layer>,
}

/// Parts that are stopped together.
struct Layer {
    stop: CancellationToken,
    tasks: JoinSet<&'static str>,
}

impl Layer {
    fn new() -> Self {
        Self { stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the cluster ended badly");
            }
        }
    }
}

/// The sockets of a cluster, open before anything is served.
struct Sockets {
    api: TcpListener,
    registry: TcpListener,
    node_api: TcpListener,
    proxy: Proxy,
}

impl Sockets {
    async fn open(config: &Config) -> Result<Self> {
        let api = bind("the API server", "--api-addr", config.api_addr).await?;
        let registry = bind("the registry", "--registry-addr", config.registry_addr).await?;
        let plain = bind("the gateway", "--gateway-addr", config.gateway_addr).await?;
        let tls = bind("the gateway", "--gateway-tls-addr", config.gateway_tls_addr).await?;
        let node_api = bind("the node's API", "--node-api-addr", config.node_api_addr).await?;
        let proxy = proxy::Config {
            node_port_ip: config.gateway_addr.ip(),
            advertised_ip: Ipv4Addr::LOCALHOST.into(),
            cluster_domain: CLUSTER_DOMAIN.into(),
        };
        let proxy = Proxy::new(proxy, plain, tls).context("open the gateway")?;
        Ok(Self { api, registry, node_api, proxy })
    }

    fn addresses(&self) -> Result<Addresses> {
        Ok(Addresses {
            api: self.api.local_addr()?,
            registry: self.registry.local_addr()?,
            gateway: self.proxy.gateway_addr(),
            gateway_tls: self.proxy.gateway_tls_addr(),
            node_api: self.node_api.local_addr()?,
        })
    }
}

impl Cluster {
    /// Starts every part; returns once the API server is ready and the node registers.
    pub async fn start(config: Config) -> Result<Self> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let sockets = Sockets::open(&config).await?;
        let addresses = sockets.addresses()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let names = SubjectNames {
            dns: vec![node_name()],
            addresses: vec![config.api_addr.ip(), config.node_api_addr.ip()],
        };
        let pki = Arc::new(Pki::open(&data_dir.pki(), &names, clock.now())?);

        // Begun anew beside what a cluster left, the store would have its Pods swept away.
        let open = if data_dir.has_run() { redb::open_existing } else { redb::open };
        let store = open(&data_dir.store(), clock.clone())?;
        let store_ended = store.ended();
        let parts = Parts {
            storage: Storage::new(Arc::new(store)),
            table: apis::builtin(),
            authorizer: Arc::new(ComponentAuthorizer),
            tokens: pki.tokens().clone(),
            clock: clock.clone(),
            entropy: Entropy::from_os(),
        };
        let server = Server::new(server::Config::default(), parts);
        let switch = Switch::new(SwitchConfig {
            cluster_domain: CLUSTER_DOMAIN.into(),
            cluster_ca: Some(pki.authority_der()),
            ..SwitchConfig::default()
        });
        let (ip, port) = reachable(addresses.api);
        let exposed = switch.expose(port, SocketAddr::new(ip, port));
        let facts = Bootstrap {
            api: url(addresses.api),
            endpoint: Some((exposed.ip(), exposed.port())),
            authority: pki.authority().to_owned(),
            registry: Some(addresses.registry.to_string()),
        };
        server.bootstrap(&facts).await.context("make the first objects")?;

        let router = server.router();
        let as_user = |user: User| in_process(router.clone(), user);
        let component = |name: &str| as_user(User::component(name));
        let informers = Informers::new(component("system:kube-controller-manager"));
        server.connect(Arc::new(PodNetwork(switch.clone())));
        let repositories = Repositories::open(data_dir.registry()).context("open the registry")?;
        let own = addresses.registry.to_string();
        server.know_images(Arc::new(OwnImages::new(repositories.clone(), own)));
        let runtime = shim::runtime::Config {
            data_dir: data_dir.node(),
            switch: switch.clone(),
            images: shim::images::Config {
                unqualified_registries: vec![addresses.registry.to_string()],
                ..Default::default()
            },
        };
        let runtime = Arc::new(shim::runtime::Shim::new(runtime).context("start the runtime")?);

        let mut control = Layer::new();
        let controllers_config = controllers::Config {
            clock: clock.clone(),
            entropy: Entropy::from_os(),
            root_ca: pki.authority().to_owned(),
            autoscaling: Default::default(),
        };
        control.spawn(
            "controllers",
            controllers::run(
                component("system:kube-controller-manager"),
                informers.clone(),
                controllers_config,
                control.stop.clone(),
            ),
        );
        control.spawn(
            "scheduler",
            scheduler::run(
                component("system:kube-scheduler"),
                informers.clone(),
                clock.clone(),
                config.scheduler,
                control.stop.clone(),
            ),
        );

        let mut traffic = Layer::new();
        traffic.spawn(
            "proxy",
            sockets.proxy.run(
                component("system:kube-proxy"),
                informers.clone(),
                switch.clone(),
                issuer(pki.clone(), clock.clone(), config.gateway_tls_addr.ip()),
                clock.clone(),
                traffic.stop.clone(),
            ),
        );

        let mut node = Layer::new();
        let node_config = node_config(&data_dir, addresses.node_api.port(), &config);
        let name = node_config.node_name.clone();
        let agent = NodeAgent::new(
            node_config,
            as_user(User::node(&name)),
            &informers,
            runtime.clone() as Arc<dyn Runtime>,
            Arc::new(switch.clone()),
            clock.clone(),
        );
        let node_api = agent.router();
        server.nodes().insert(name, node_api.clone());
        node.spawn("node agent", agent.run(node.stop.clone()));

        let mut servers = Layer::new();
        let tls = Arc::new(pki.server_config()?);
        let stop = servers.stop.clone();
        let asked_to_stop = CancellationToken::new();
        let node_api = listeners::with_stop(node_api, asked_to_stop.clone());
        let node_api = listeners::node_api(sockets.node_api, tls.clone(), node_api, stop.clone());
        servers.spawn("node API", node_api);
        let registry =
            listeners::registry(sockets.registry, repositories, pki.clone(), stop.clone());
        servers.spawn("registry", registry);
        let until = stop.clone();
        servers.spawn("store", async move {
            tokio::select! {
                () = store_ended.cancelled() => {}
                () = until.cancelled() => {}
            }
        });
        let (measured, until) = (server.clone(), stop.clone());
        servers.spawn("usage sampler", async move { measured.measure(until).await });
        servers.spawn("API server", async move { server.serve(sockets.api, tls, stop).await });

        let client = as_user(admin());
        let layers = vec![control, traffic, node, servers];
        let cluster = Self {
            data_dir,
            addresses,
            pki,
            client,
            informers,
            runtime,
            switch,
            asked_to_stop,
            layers,
        };
        cluster.write_files()?;
        Ok(cluster)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The administrator's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.kubeconfig()
    }

    /// The cluster's certificates and keys.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Is cancelled when `podium stop` asks for it.
    pub fn asked_to_stop(&self) -> CancellationToken {
        self.asked_to_stop.clone()
    }

    /// Waits until a part ends that should not; says which.
    pub async fn ended(&mut self) -> Result<()> {
        let parts = self.layers.iter_mut().map(|layer| Box::pin(layer.tasks.join_next()));
        match futures::future::select_all(parts).await.0 {
            Some(Ok(name)) => bail!("the {name} ended"),
            Some(Err(error)) => Err(error).context("a part of the cluster ended badly"),
            None => bail!("a part of the cluster ended"),
        }
    }

    /// Stops every part, the ones that need others first; the directory stays locked.
    pub async fn stop(self) -> DataDir {
        let mut layers = self.layers.into_iter();
        let servers = layers.next_back();
        for layer in layers {
            layer.stop().await;
        }
        self.runtime.shutdown().await;
        self.switch.shutdown().await;
        self.informers.shutdown().await;
        if let Some(servers) = servers {
            servers.stop().await;
        }
        self.data_dir
    }

    fn write_files(&self) -> Result<()> {
        let api = url(self.addresses.api);
        let document = kubeconfig::document(&api, self.pki.authority(), self.pki.admin());
        let text = yaml::to_string(&document)?;
        write(&self.data_dir.kubeconfig(), |path| platform::write_private(path, text.as_bytes()))?;
        let mut text = serde_json::to_string_pretty(&self.addresses)?;
        text.push('\n');
        write(&self.data_dir.addresses(), |path| write_atomic(path, text.as_bytes()))
    }
}

/// The administrator of every cluster.
pub(super) fn admin() -> User {
    User {
        name: crate::auth::pki::ADMIN.into(),
        groups: vec![MASTERS.into(), AUTHENTICATED.into()],
        ..User::default()
    }
}

fn write(path: &Path, how: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    how(path).with_context(|| format!("write {}", path.display()))
}

fn node_config(data_dir: &DataDir, api_port: u16, config: &Config) -> node::Config {
    let machine = Capacity::of_machine(&data_dir.node());
    let memory = config.node_memory.map_or(machine.memory, |wanted| wanted.min(machine.memory));
    node::Config {
        node_name: node_name(),
        capacity: Capacity { memory, ..machine },
        data_dir: data_dir.node(),
        host_ip: Ipv4Addr::LOCALHOST.into(),
        api_port,
        labels: BTreeMap::new(),
        cluster_domain: CLUSTER_DOMAIN.into(),
        host_paths: config.host_paths.clone(),
        eviction_memory: node::EVICTION_MEMORY,
    }
}

/// Makes the certificates of hosts that no Secret covers.
fn issuer(pki: Arc<Pki>, clock: Arc<dyn Clock>, gateway: IpAddr) -> proxy::Issue {
    Arc::new(move |host: &str| {
        let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if !gateway.is_unspecified() && !gateway.is_loopback() {
            addresses.push(gateway);
        }
        let names = SubjectNames { dns: vec![host.to_owned()], addresses };
        let issued = pki.issue_server("podium gateway", &names, clock.now())?;
        Ok((issued.certificate, issued.key))
    })
}

/// How a client on this machine reaches an address that was listened on.
pub(super) fn url(listening: SocketAddr) -> String {
    let (ip, port) = reachable(listening);
    format!("https://{}", SocketAddr::new(ip, port))
}

fn reachable(listening: SocketAddr) -> (IpAddr, u16) {
    let ip = match listening.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    (ip, listening.port())
}

async fn bind(what: &str, flag: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| in_use(what, flag, address))
}

/// What to do about an address that cannot be listened on.
fn in_use(what: &str, flag: &str, address: SocketAddr) -> String {
    let holder = platform::listener(address.port()).map_or_else(
        || "stop what uses it".to_owned(),
        |holder| format!("it is used by {holder}: stop that"),
    );
    format!("{what} cannot listen on {address}; {holder} or choose another with {flag}")
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::TokioIo;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use shim::network::{AttachConfig, PodNet};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// What a Pod's in-cluster client does: name, ClusterIP, TLS by the cluster's authority.
    async fn version(
        pod: &PodNet,
        authority: rustls::pki_types::CertificateDer<'static>,
    ) -> String {
        const HOST: &str = "kubernetes.default.svc";
        let mut addresses = pod.resolve(HOST).await;
        while addresses.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            addresses = pod.resolve(HOST).await;
        }
        let stream = pod.connect((addresses[0], 443).into()).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(HOST).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("/version").header("host", HOST);
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pod_reaches_the_api_server_by_its_service() {
        let directory = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let cluster = Cluster::start(Config {
            data_dir: directory.path().join("data"),
            api_addr: any,
            registry_addr: any,
            gateway_addr: any,
            gateway_tls_addr: any,
            node_api_addr: any,
            scheduler: scheduler::Config::default(),
            host_paths: Vec::new(),
            node_memory: None,
        })
        .await
        .unwrap();
        let config = AttachConfig { namespace: "shop".into(), ..AttachConfig::default() };
        let pod = cluster.switch.attach(config).unwrap();
        let answer = version(&pod, cluster.pki.authority_der()).await;
        assert!(answer.contains("gitVersion"), "{answer}");
        drop(pod);
        cluster.stop().await;
    }
}
