//! `podium run --rm`: a Pod that is gone when the command ends.
//!
//! A program's exit code is the command's. A function never ends: it serves until Ctrl-C,
//! behind a Service that goes with it.
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::create;
use crate::cli::generate::Workload;
use crate::cli::session::Session;
use crate::cli::targets::text;
use crate::cli::{delete, events, progress, say_bytes, trouble};

/// How often a Pod is looked at.
const POLL: Duration = Duration::from_millis(20);

/// As much of a log as is copied at once.
const PIECE: usize = 16 << 10;

/// A Pod that writes nothing for so long may have to be explained.
const SILENT: Duration = Duration::from_secs(3);

/// What a shell answers for a command that Ctrl-C ended: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// One run.
pub(super) struct Once<'a> {
    /// The cluster.
    pub(super) session: &'a Session,
    /// What is run; a function listens.
    pub(super) workload: &'a Workload,
    /// How long it may take to start.
    pub(super) timeout: Duration,
    /// Whether it was looked at, so that a program is told from a function.
    pub(super) known: bool,
    /// Where the gateway serves it, if it listens and the cluster is on this machine.
    pub(super) url: Option<String>,
}

/// How a run ended.
enum Ending {
    Code(u8),
    Interrupted,
}

impl Once<'_> {
    /// Runs the Pod until it ends or Ctrl-C comes, and deletes what was made.
    pub(super) async fn run(self) -> Result<ExitCode> {
        let mut made = Vec::new();
        let ending = self.attend(&mut made).await;
        let mut cleaned = Ok(());
        for path in &made {
            cleaned = cleaned.and(delete::and_wait(self.session, path).await);
        }
        let ending = ending?;
        cleaned?;
        Ok(ExitCode::from(match ending {
            Ending::Code(code) => code,
            Ending::Interrupted => {
                progress(&format!("interrupted: pod/{} deleted", self.workload.name));
                INTERRUPTED
            }
        }))
    }

    async fn attend(&self, made: &mut Vec<String>) -> Result<Ending> {
        let mut stopped = Box::pin(crate::platform::stop_signal());
        // From the first look on a signal is noted, and nothing that is made is left behind.
        if let Poll::Ready(stopped) = futures::poll!(stopped.as_mut()) {
            stopped.context("listen for signals")?;
            return Ok(Ending::Interrupted);
        }
        let (_, pod, _) = create(self.session, &self.workload.pod(), "").await?;
        made.push(pod.clone());
        if let Some(service) = self.workload.service() {
            made.push(create(self.session, &service, "").await?.1);
        }
        tokio::select! {
            code = self.watch_over(&pod) => Ok(Ending::Code(code?)),
            stopped = stopped => {
                stopped.context("listen for signals")?;
                Ok(Ending::Interrupted)
            }
        }
    }

    /// Prints the log of the Pod until it ends; answers its exit code.
    async fn watch_over(&self, path: &str) -> Result<u8> {
        self.start(path).await?;
        let name = &self.workload.name;
        if self.workload.port.is_some() {
            let place = self.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
            progress(&format!("{name} is a function: it serves until Ctrl-C{place}"));
        }
        let mut log = Box::pin(self.session.stream(&format!("{path}/log?follow=true")).await?);
        let mut piece = vec![0; PIECE];
        let mut explained = self.known;
        loop {
            let patience = if explained { Duration::MAX } else { SILENT };
            match timeout(patience, log.read(&mut piece)).await {
                Ok(read) => match read.context("read the log")? {
                    0 => break,
                    n => {
                        explained = true;
                        say_bytes(&piece[..n])?;
                    }
                },
                Err(_) => {
                    explained = true;
                    progress(&format!(
                        "{name} runs and has written nothing yet; if it is a function, Ctrl-C ends it, and `podium run IMAGE --port 8080` gives it a URL"
                    ));
                }
            }
        }
        self.code(path).await
    }

    /// Waits until the Pod runs or has run.
    async fn start(&self, path: &str) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let pod = self.session.get(path).await?;
            let state = &pod["status"]["containerStatuses"][0]["state"];
            if state["running"].is_object() || state["terminated"].is_object() {
                return Ok(());
            }
            if let Some(trouble) = trouble::of_pod(&pod).filter(|trouble| !trouble.may_pass()) {
                bail!("it does not start: {trouble}");
            }
            if Instant::now() > deadline {
                let last = events::about(self.session, &pod).await?.pop();
                let why = last.map(|event| events::message(&event)).unwrap_or_default();
                bail!("it does not start within {:?}: {why}", self.timeout);
            }
            sleep(POLL).await;
        }
    }

    /// The exit code of a Pod whose log has ended.
    async fn code(&self, path: &str) -> Result<u8> {
        loop {
            let pod = self.session.get(path).await?;
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            if ended.is_object() {
                let code = ended["exitCode"].as_i64().unwrap_or(1);
                let reason = text(&ended["reason"]);
                if code != 0 && reason != "Error" {
                    progress(&format!("{reason}: {}", text(&ended["message"])));
                }
                return Ok(u8::try_from(code).unwrap_or(1));
            }
            sleep(POLL).await;
        }
    }
}
