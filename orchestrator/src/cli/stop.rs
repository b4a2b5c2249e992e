//! `podium stop`: ends the cluster of a data directory, as Ctrl-C in its terminal does.
//!
//! It asks the process, over the listener of the node's API: every system has sockets, not
//! every one has signals.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::cluster::url;
use super::data_dir::{DataDir, Holder, Running, holder};
use super::session::{Body, Cluster};
use super::{duration, listeners, say};

/// How often it is looked whether the process has ended.
const POLL: Duration = Duration::from_millis(20);

/// Flags of `podium stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory that holds the cluster's state.
    #[arg(long, env = "PODIUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How long it may take, such as `60s`.
    #[arg(long, value_parser = duration::parse, default_value = "60s")]
    timeout: Duration,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let data_dir = args.data_dir.map_or_else(DataDir::default_path, Ok)?;
    let shown = data_dir.display();
    let Holder::Process(process) = holder(&data_dir)? else {
        return say(&format!("no cluster runs in {shown}\n"));
    };
    let process = process.map_or_else(|| "its process".into(), |id| format!("process {id}"));
    if let Err(error) = ask(&data_dir).await {
        // It may have been on its way already.
        if holder(&data_dir)? != Holder::Nobody {
            return Err(error.context(format!(
                "the cluster in {shown} cannot be asked to stop; if it starts just now try again, otherwise end {process}"
            )));
        }
    }
    let deadline = Instant::now() + args.timeout;
    while holder(&data_dir)? != Holder::Nobody {
        if Instant::now() > deadline {
            bail!("the cluster in {shown} does not stop within {:?}; end {process}", args.timeout);
        }
        sleep(POLL).await;
    }
    say(&format!("stopped the cluster in {shown}\n"))
}

async fn ask(data_dir: &Path) -> Result<()> {
    let Some(running) = Running::read(data_dir)? else { bail!("it has not said where it listens") };
    let cluster = Cluster { data_dir: Some(data_dir.to_path_buf()), ..Cluster::default() };
    let address = running.node_api.parse().context("read addresses.json")?;
    let session = cluster.open_at(&url(address)).await?;
    let _: Value = session.send(Method::POST, listeners::STOP, Body::Nothing).await?;
    Ok(())
}
