//! `podium version`: what this binary is.
use crate::api::yaml;
use serde_json::json;

/// Flags of `podium version`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `json` or `yaml` for programs.
    #[arg(short, long, value_parser = ["json", "yaml"])]
    output: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let version = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kubernetes": crate::api::KUBERNETES_VERSION,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    });
    super::say(&match args.output.as_deref() {
        Some("json") => format!("{version:#}\n"),
        Some(_) => yaml::to_string(&version)?,
        None => format!(
            "podium {} ({}/{}), speaks the API of Kubernetes {}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            crate::api::KUBERNETES_VERSION,
        ),
    })
}
