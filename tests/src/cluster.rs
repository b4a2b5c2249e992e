//! A cluster in a process of its own, as `podium up` starts it.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use tempfile::TempDir;

use crate::Tool;

/// As long as a cluster may take to be ready or to stop on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `podium up` prints once everything is ready.
const SUMMARY: &str = "gateway     http";

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program and what stands before `up`.
    pub program: Vec<PathBuf>,
    /// Arguments after `up` and its addresses.
    pub arguments: Vec<String>,
}

/// Where a cluster listens, as `addresses.json` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// The API server, HOST:PORT.
    pub api: String,
    /// The registry.
    pub registry: String,
    /// The ingress gateway.
    pub gateway: String,
    /// The ingress gateway, with TLS.
    pub gateway_tls: String,
    /// The node's API.
    pub node_api: String,
}

/// A running cluster; it is killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    directory: TempDir,
    child: Child,
    /// Where it listens.
    pub addresses: Addresses,
    /// From the start of the process until it was ready.
    pub ready_after: Duration,
}

impl Cluster {
    /// Starts a cluster on an empty directory.
    pub async fn start(options: Options) -> Result<Self> {
        let directory = tempfile::tempdir().context("make a data directory")?;
        let start = Instant::now();
        let mut child = spawn(&options, directory.path())?;
        let addresses = ready(&mut child, directory.path(), 0).await?;
        Ok(Self { options, directory, child, addresses, ready_after: start.elapsed() })
    }

    /// Starts it again on the directory it had, after it ended.
    pub async fn restart(&mut self) -> Result<()> {
        // A killed one leaves its addresses behind.
        match fs::remove_file(self.data_dir().join("addresses.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let printed = self.log().len();
        let start = Instant::now();
        self.child = spawn(&self.options, self.directory.path())?;
        self.addresses = ready(&mut self.child, self.directory.path(), printed).await?;
        self.ready_after = start.elapsed();
        Ok(())
    }

    /// Ends it as Ctrl-C does and waits.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let id = self.child.id().to_string();
        Tool::at("kill").run(&["-INT", &id]).await;
        self.ended().await
    }

    /// Waits until it ends by itself, as when somebody else stops it.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("it does not stop; its log: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a power failure does (SIGKILL) and waits.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// What it printed.
    pub fn log(&self) -> String {
        log_of(self.directory.path())
    }

    /// The administrator's client, over TLS.
    pub async fn client(&self) -> Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// `kubectl` with the administrator's credentials, if this machine has it.
    pub fn kubectl(&self) -> Option<Tool> {
        let home = self.directory.path().display().to_string();
        let kubeconfig = self.kubeconfig().display().to_string();
        Some(Tool::find("kubectl")?.env("KUBECONFIG", &kubeconfig).env("HOME", &home))
    }

    /// Another command of the same program, such as `push`.
    pub fn podium(&self) -> Tool {
        let [program, before @ ..] = self.options.program.as_slice() else {
            panic!("options name a program")
        };
        let tool = Tool::at(program).before(before);
        tool.env("PODIUM_DATA_DIR", &self.data_dir().display().to_string())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that ended already cannot be killed, which is as good.
        if self.child.kill().is_ok() {
            self.child.wait().map_or_else(|error| eprintln!("wait: {error}"), drop);
        }
    }
}

fn spawn(options: &Options, directory: &Path) -> Result<Child> {
    let [program, before @ ..] = options.program.as_slice() else {
        bail!("options name no program")
    };
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    let mut command = Command::new(program);
    command.args(before).arg("up").arg("--data-dir").arg(directory.join("data"));
    let flags = ["api", "registry", "gateway", "gateway-tls", "node-api"];
    for address in flags.map(|part| format!("--{part}-addr")) {
        command.args([address.as_str(), "127.0.0.1:0"]);
    }
    command.args(&options.arguments).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.env_remove("RUST_BACKTRACE").env_remove("KUBECONFIG");
    command.spawn().with_context(|| format!("start {}", program.display()))
}

async fn ready(child: &mut Child, directory: &Path, printed: usize) -> Result<Addresses> {
    let path = directory.join("data/addresses.json");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The summary is printed once all that was asked for is deployed.
        if let Ok(text) = fs::read(&path)
            && log_of(directory)[printed..].contains(SUMMARY)
        {
            return serde_json::from_slice(&text).context("read addresses.json");
        }
        if let Some(status) = child.try_wait()? {
            bail!("podium ended with {status}: {}", log_of(directory));
        }
        if Instant::now() > deadline {
            bail!("podium is not ready: {}", log_of(directory));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_else(|error| error.to_string())
}
