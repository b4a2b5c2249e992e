//! `podium doctor`: what is wrong with an installation, and what to do about it.
//!
//! Each check only looks, changes nothing, and says what it found even if all is
//! well. The exit code is 1 if something is broken.
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::data_dir::{DataDir, Holder, Running, holder};
use super::output::{DOCUMENT_FORMS, Format, Tone, one_of, paint};
use super::say;
use super::session::Cluster;
use super::up;

mod certificates;
mod cluster;
mod files;
mod machine;

/// Flags of `podium doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// json, yaml or jsonpath=…
    #[arg(short, long, value_name = "FORM", value_parser = one_of(DOCUMENT_FORMS))]
    output: Option<Format>,
    /// Only what is wrong.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not for long or not for everything.
    Warning,
    /// It does not work.
    Error,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    /// How bad it is.
    level: Level,
    /// What was found.
    message: String,
    /// What to do; none if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), fix: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    fn error(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Error, message: message.into(), fix: Some(fix.into()) }
    }
}

pub(super) async fn run(args: Args) -> Result<ExitCode> {
    let data_dir = args.cluster.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
    let mut findings = files::check(&data_dir);
    let running = match Running::read(&data_dir) {
        Ok(running) => running,
        Err(error) => {
            let fix = "start the cluster again: it writes the file anew";
            findings.push(Finding::error("addresses", error.to_string(), fix));
            None
        }
    };
    let runs = matches!(holder(&data_dir), Ok(Holder::Process(_)));
    findings.extend(certificates::check(&data_dir));
    findings.extend(machine::check(&data_dir));
    let defaults = up::default_addresses();
    let by_default = || defaults.iter().find(|(flag, _)| flag == "--gateway-addr");
    let gateway = running.as_ref().map(|running| running.gateway.clone());
    let gateway = gateway.or_else(|| by_default().map(|(_, address)| address.to_string()));
    match running.filter(|_| runs) {
        Some(running) => findings.extend(cluster::check(&data_dir, &running, &args.cluster).await),
        None => findings.extend(machine::ports(&defaults)),
    }
    findings.extend(machine::names(&gateway.unwrap_or_default()).await);
    findings.extend(cluster::context(&data_dir));
    print(&args, &findings)?;
    let broken = findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(args: &Args, findings: &[Finding]) -> Result<()> {
    let shown: Vec<&Finding> =
        findings.iter().filter(|finding| !args.quiet || finding.level > Level::Ok).collect();
    if let Some(format) = &args.output {
        let value = serde_json::json!({"findings": shown, "healthy": healthy(findings)});
        return say(&format.document(&value)?);
    }
    let paint = paint();
    let mut text = String::new();
    for finding in shown {
        let (mark, tone) = match finding.level {
            Level::Ok => ("ok     ", Tone::Good),
            Level::Warning => ("warning", Tone::Warn),
            Level::Error => ("error  ", Tone::Bad),
        };
        let (mark, check) = (paint.text(tone, mark), finding.check);
        text.push_str(&format!("{mark}  {check}: {}\n", finding.message));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("         {} {fix}\n", paint.text(Tone::Strong, "fix:")));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    text.push_str(&format!("\n{} checks, {errors} errors, {warnings} warnings\n", findings.len()));
    say(&text)
}

fn healthy(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Error)
}
