//! `podium push FILE [REFERENCE]`: a .wasm file as an OCI artifact in a registry.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use registry::Reference;
use registry::artifact::Artifact;
use registry::client::{Auth, Client, Options};
use serde::Deserialize;

use super::cluster::admin;
use super::data_dir::DataDir;
use super::{UsageError, progress, say};
use crate::api::names;
use crate::auth::{Claims, Pki, SubjectNames};

/// What a function exports, before its version.
const HANDLER: &str = "wasi:http/incoming-handler";

/// How long the token is good that a push shows to the cluster's registry.
const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// Flags of `podium push`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The .wasm file: a component or a preview 1 module.
    file: PathBuf,
    /// Where to push it; the cluster's registry under the file's name if left out.
    reference: Option<String>,
    /// The data directory of the cluster whose registry a reference without a host means.
    #[arg(long, env = "PODIUM_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// What a file became in a registry.
pub(super) struct Pushed {
    /// Its digest.
    pub(super) digest: registry::Digest,
    /// Whether it answers requests.
    pub(super) function: bool,
    /// Why no node of ours can run it, if none can.
    pub(super) refusal: Option<String>,
}

/// Where the running cluster listens.
#[derive(Deserialize)]
struct Addresses {
    registry: String,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let data_dir = args.data_dir.map_or_else(DataDir::default_path, Ok)?;
    let text = match &args.reference {
        Some(text) => text.clone(),
        None => image_name(&args.file)?,
    };
    let own = cluster_registry(&data_dir)?;
    let unqualified: Vec<String> = own.iter().cloned().collect();
    let reference = Reference::resolve(&text, &unqualified).map_err(|error| {
        let hint = if own.is_none() {
            "; no cluster runs here that a name without a host could mean"
        } else {
            ""
        };
        UsageError(format!("{text:?}: {error}{hint}"))
    })?;
    let auth = if own.as_deref() == Some(reference.registry()) {
        let now = Timestamp::now();
        let pki = Pki::open(&data_dir.join("pki"), &SubjectNames::default(), now)?;
        token(&pki, now)
    } else {
        Auth::from_docker(reference.registry()).await?
    };
    let pushed = push(&args.file, &reference, &auth).await?;
    if let Some(why) = pushed.refusal {
        progress(&format!("warning: {} cannot run here: {why}", args.file.display()));
    }
    say(&format!("{reference}\n{}\n", pushed.digest))
}

/// Pushes a file.
pub(super) async fn push(file: &Path, reference: &Reference, auth: &Auth) -> Result<Pushed> {
    let path = file.display();
    let bytes = tokio::fs::read(file).await.with_context(|| format!("read {path}"))?;
    let artifact =
        Artifact::build(bytes.into()).with_context(|| format!("{path} cannot be run"))?;
    let refusal = shim::engine::check(&artifact.layer).err();
    let refusal = refusal.map(|error| format!("{:#}", anyhow::Error::from(error)));
    let function = artifact.interface.exports.iter().any(|name| name.starts_with(HANDLER));
    let client = Client::new(Options::default());
    let digest = client.push(reference, auth, &artifact, Arc::new(|_| {})).await;
    let digest = digest.with_context(|| format!("push {path}"))?;
    progress(&format!("pushed {reference}"));
    Ok(Pushed { digest, function, refusal })
}

/// Credentials for the cluster's own registry.
pub(super) fn token(pki: &Pki, now: Timestamp) -> Auth {
    let claims = Claims::for_user(&admin(), now, TOKEN_LIFETIME);
    Auth::Basic { username: "podium".into(), password: pki.tokens().issue(&claims) }
}

/// The name of a file as a name of images and objects: `my_app.wasm` is `my-app`.
pub(super) fn image_name(file: &Path) -> Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = stem.to_lowercase().replace(['_', '.'], "-");
    names::dns_1035_label(&name).map_err(|why| {
        UsageError(format!("{}: {name:?} cannot be a name: {why}", file.display()))
    })?;
    Ok(name)
}

/// The registry of the cluster that has run in `data_dir`; none if none has.
fn cluster_registry(data_dir: &Path) -> Result<Option<String>> {
    let path = data_dir.join("addresses.json");
    match std::fs::read(&path) {
        Ok(text) => {
            let addresses: Addresses = serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged", path.display()))?;
            Ok(Some(addresses.registry))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
