//! `podium push FILE [REFERENCE]`: a .wasm file as an OCI artifact in a registry.
use std::path::{Path, PathBuf};

use anyhow::Result;
use registry::Reference;
use serde_json::json;

use super::artifact::{Guest, bytes, credentials};
use super::data_dir::{DataDir, Running};
use super::output::{Format, OBJECT_FORMS, one_of};
use super::{UsageError, progress, say};

/// Flags of `podium push`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The .wasm file: a component or a preview 1 module.
    file: PathBuf,
    /// Where to push it; the cluster's registry under the file's name if left out.
    reference: Option<String>,
    /// The data directory of the cluster whose registry a reference without a host means.
    #[arg(long, env = "PODIUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// json, yaml, name or jsonpath=…
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let guest = Guest::read(&args.file)?;
    let data_dir = args.data_dir.map_or_else(DataDir::default_path, Ok)?;
    let text = args.reference.map_or_else(|| guest.name(), Ok)?;
    let reference = to_registry(&data_dir, &guest, &text).await?;
    let digest = guest.digest();
    progress(&format!(
        "pushed {} ({}, {} in 1 layer)",
        args.file.display(),
        guest.what(),
        bytes(guest.size() as u64)
    ));
    if let Some(why) = guest.refusal() {
        progress(&format!("warning: {} cannot run here: {why}", args.file.display()));
    }
    let facts = json!({"reference": reference.to_string(), "digest": digest.to_string(),
        "size": guest.size(), "what": guest.what()});
    say(&match args.output {
        None => format!("{reference}\n{digest}\n"),
        Some(Format::Name) => format!("{reference}\n"),
        Some(format) => format.document(&facts)?,
    })
}

/// Pushes a guest under a reference as a person writes it; answers it in full.
pub(super) async fn to_registry(data_dir: &Path, guest: &Guest, text: &str) -> Result<Reference> {
    let own = Running::read(data_dir)?.map(|running| running.registry);
    let unqualified: Vec<String> = own.iter().cloned().collect();
    let reference = Reference::resolve(text, &unqualified).map_err(|error| {
        // With a host in front it would be a reference.
        if own.is_none() && Reference::resolve(text, &["localhost".to_owned()]).is_ok() {
            return anyhow::anyhow!(
                "{text:?} names no registry, and no cluster runs in {} whose registry it could mean; start one with `podium up`, or write HOST/{text}",
                data_dir.display()
            );
        }
        UsageError(format!("{text:?}: {error}; write NAME[:TAG] or HOST/NAME[:TAG]")).into()
    })?;
    let auth = credentials(data_dir, own.as_deref(), reference.registry()).await?;
    guest.push(&reference, &auth).await?;
    Ok(reference)
}
