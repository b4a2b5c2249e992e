//! `podium up [FILE]`: a cluster in one process, until Ctrl-C.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cluster::{Addresses, Cluster, Config};
use super::data_dir::DataDir;
use super::manifests::Files;
use super::{UsageError, complain, progress, say};
use crate::api::Quantity;
use crate::scheduler;

mod deploy;
mod desired;
mod watch;

use deploy::Deployer;
use desired::Desired;

/// Flags of `podium up`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .wasm file to deploy; its name without `.wasm` becomes the name of the Deployment.
    file: Option<PathBuf>,
    /// Manifests to apply once the cluster is ready; .wasm files beside them are pushed.
    #[command(flatten)]
    manifests: Files,
    /// Go on and redeploy what changes on disk.
    #[arg(short, long)]
    watch: bool,
    /// The directory that holds all state.
    #[arg(long, env = "PODIUM_DATA_DIR", value_name = "DIR")]
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
    /// Which nodes Pods go to: the emptiest (LeastAllocated) or the fullest (MostAllocated).
    #[arg(
        long,
        env = "PODIUM_SCORING_STRATEGY",
        value_name = "STRATEGY",
        default_value = "LeastAllocated"
    )]
    scoring_strategy: String,
    /// Wait until every Deployment that was applied is available.
    #[arg(long)]
    wait: bool,
}

/// The flags that say where a part listens, with where it does so by default.
pub(super) fn default_addresses() -> Vec<(String, SocketAddr)> {
    let command = <Args as clap::Args>::augment_args(clap::Command::new("up"));
    let address = |arg: &clap::Arg| {
        let text = arg.get_default_values().first()?.to_str()?;
        Some((format!("--{}", arg.get_long()?), text.parse().ok()?))
    };
    command.get_arguments().filter_map(address).collect()
}

/// Runs until the process is told to stop.
pub(super) async fn run(args: Args) -> Result<()> {
    let strategy = args.scoring_strategy.parse::<scheduler::Strategy>();
    let strategy = strategy.map_err(|why| UsageError(format!("--scoring-strategy: {why}")))?;
    let config = Config {
        data_dir: args.data_dir.clone().map_or_else(DataDir::default_path, Ok)?,
        api_addr: address("--api-addr", &args.api_addr).await?,
        registry_addr: address("--registry-addr", &args.registry_addr).await?,
        gateway_addr: address("--gateway-addr", &args.gateway_addr).await?,
        gateway_tls_addr: address("--gateway-tls-addr", &args.gateway_tls_addr).await?,
        node_api_addr: address("--node-api-addr", &args.node_api_addr).await?,
        scheduler: scheduler::Config { strategy },
        host_paths: host_paths(&args.allow_host_path)?,
        node_memory: args.node_memory,
    };
    if !config.registry_addr.ip().is_loopback() {
        let why = "the registry speaks plain HTTP and so listens on loopback only";
        return Err(UsageError(format!("--registry-addr {}: {why}", args.registry_addr)).into());
    }
    distinct(&[
        ("--api-addr", config.api_addr),
        ("--registry-addr", config.registry_addr),
        ("--gateway-addr", config.gateway_addr),
        ("--gateway-tls-addr", config.gateway_tls_addr),
        ("--node-api-addr", config.node_api_addr),
    ])?;
    if args.watch && args.file.is_none() && args.manifests.files.is_empty() {
        let why = "--watch looks at files: name a .wasm file, or manifests with -f";
        return Err(UsageError(why.into()).into());
    }
    if args.watch && args.manifests.files.iter().any(|path| path == Path::new("-")) {
        return Err(UsageError("--watch cannot look at stdin: name files with -f".into()).into());
    }
    // What cannot be deployed is told before anything is started.
    let desired = Desired::read(args.file.as_deref(), &args.manifests)?;
    let mut cluster = Cluster::start(config).await?;
    // A signal that comes from now on stops the cluster in order.
    let deployer = Deployer::new(&cluster, args.watch.then(|| sources(&args)));
    let (addresses, kubeconfig) = (cluster.addresses().clone(), cluster.kubeconfig());
    let asked = cluster.asked_to_stop();
    let outcome = tokio::select! {
        served = serve(&args, &addresses, &kubeconfig, deployer, desired) => served,
        stopped = stop_signal() => stopped,
        () = asked.cancelled() => Ok(()),
        ended = cluster.ended() => ended,
    };
    progress("stopping");
    // Held until the process is gone, and with it all that still uses the directory.
    std::mem::forget(cluster.stop().await);
    outcome
}

/// Deploys what is wanted, says where things are, and watches or waits for ever.
async fn serve(
    args: &Args,
    addresses: &Addresses,
    kubeconfig: &Path,
    mut deployer: Deployer,
    desired: Desired,
) -> Result<()> {
    // What was there goes on, whatever is wrong with what came.
    for complaint in deployer.first(&desired, args.wait).await? {
        complain(&complaint);
        progress("the cluster goes on; mend that, and `podium apply -f` it");
    }
    say(&format!(
        "kubeconfig  {}\nAPI server  https://{}\nregistry    {}\n\
         gateway     http://{} https://{}\n\
         for kubectl, `podium kubeconfig merge` or set KUBECONFIG to the first\n",
        kubeconfig.display(),
        addresses.api,
        addresses.registry,
        addresses.gateway,
        addresses.gateway_tls,
    ))?;
    if let Some(name) = desired.function() {
        say(&format!("\nhttp://{name}.localhost:{}/\n", addresses.gateway.port()))?;
    }
    if args.watch {
        return watch::run(args.file.as_deref(), &args.manifests, deployer, desired).await;
    }
    std::future::pending().await
}

/// What tells the objects of these files from those of others.
fn sources(args: &Args) -> Vec<PathBuf> {
    args.file.iter().chain(&args.manifests.files).cloned().collect()
}

async fn address(flag: &str, text: &str) -> Result<SocketAddr> {
    let mistake = |why: String| {
        UsageError(format!("{flag} {text:?}: {why}; say HOST:PORT, such as 127.0.0.1:0"))
    };
    let mut found =
        tokio::net::lookup_host(text).await.map_err(|error| mistake(error.to_string()))?;
    Ok(found.next().ok_or_else(|| mistake("no such host".into()))?)
}

/// Each part needs an address of its own.
fn distinct(addresses: &[(&str, SocketAddr)]) -> Result<()> {
    for (i, (flag, address)) in addresses.iter().enumerate() {
        let same = addresses[..i].iter().find(|(_, other)| other == address && address.port() != 0);
        if let Some((other, _)) = same {
            let why = format!("{other} and {flag} are both {address}; give each one of its own");
            return Err(UsageError(why).into());
        }
    }
    Ok(())
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
        Ok(_) => Err(format!("--allow-host-path {}: it is no folder; name one", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "--allow-host-path {}: there is no such folder; make it first, or name another",
            path.display()
        )),
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
    fn memory_is_written_as_in_kubernetes() {
        assert_eq!(memory("512Mi"), Ok(512 << 20));
        assert!(memory("much").is_err());
        assert!(memory("0").is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_names_its_flag() {
        let error = host_paths(&["no/such/folder".into()]).unwrap_err().to_string();
        assert!(
            error.starts_with("--allow-host-path no/such/folder: there is no such folder"),
            "{error}"
        );
    }

    #[test]
    fn the_addresses_by_default_are_those_of_the_flags() {
        let addresses = default_addresses();
        assert_eq!(addresses.len(), 5, "{addresses:?}");
        assert!(addresses.contains(&("--gateway-addr".into(), "127.0.0.1:8080".parse().unwrap())));
    }

    #[test]
    fn two_parts_at_one_address_name_both_flags() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let free = [("--api-addr", at("127.0.0.1:0")), ("--gateway-addr", at("127.0.0.1:0"))];
        assert!(distinct(&free).is_ok());
        let same = [("--api-addr", at("127.0.0.1:1")), ("--gateway-addr", at("127.0.0.1:1"))];
        let error = distinct(&same).unwrap_err();
        assert!(error.is::<UsageError>(), "{error}");
        assert!(error.to_string().starts_with("--api-addr and --gateway-addr are both"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_names_its_flag() {
        let error = address("--api-addr", "nonsense").await.unwrap_err().to_string();
        assert!(error.starts_with("--api-addr \"nonsense\""), "{error}");
    }
}
