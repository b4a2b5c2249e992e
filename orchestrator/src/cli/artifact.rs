//! A .wasm file of the user: looked at before anything is started, then pushed.
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use registry::artifact::{Artifact, Interface, Kind};
use registry::client::{Auth, Client, ClientError, Options};
use registry::{Digest, Reference};

use super::UsageError;
use super::cluster::admin;
use crate::api::names;
use crate::auth::{Claims, Pki, SubjectNames};

/// What a function exports, before its version.
const HANDLER: &str = "wasi:http/incoming-handler";

/// What a program exports, before its version.
const RUN: &str = "wasi:cli/run";

/// What a preview 1 program exports.
const START: &str = "_start";

/// How long the token is good that a push shows to the cluster's registry.
const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// Bytes that a .wasm file may have: what the registry takes as one layer.
const MAX_SIZE: u64 = 1 << 30;

/// Exports that are named when none of them can be run.
const MAX_EXPORTS: usize = 5;

/// A file that can be run.
pub(super) struct Guest {
    /// Whether it answers requests.
    pub(super) function: bool,
    artifact: Artifact,
    path: PathBuf,
}

/// The Service that is there from the start.
const API_SERVER: &str = "kubernetes";

impl Guest {
    /// Reads a file and looks at what it is.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let metadata = std::fs::metadata(path).with_context(|| format!("read {shown}"))?;
        if metadata.is_dir() {
            bail!("{shown} is a directory; name the .wasm file in it, or apply manifests with -f");
        }
        if metadata.len() > MAX_SIZE {
            bail!("{shown} has {} bytes, more than {MAX_SIZE}", metadata.len());
        }
        let bytes = std::fs::read(path).with_context(|| format!("read {shown}"))?;
        let artifact = Artifact::build(Bytes::from(bytes)).with_context(|| {
            format!("{shown} cannot be run: name a .wasm file, such as a WASI 0.2 component")
        })?;
        let function =
            is_function(&artifact.interface).with_context(|| format!("{shown} cannot be run"))?;
        Ok(Self { function, artifact, path: path.to_path_buf() })
    }

    /// The file's name as a name of images and objects.
    pub(super) fn name(&self) -> Result<String> {
        image_name(&self.path)
    }

    /// Why no node of ours can run it, if none can, such as the name of an import that none gives.
    pub(super) fn refusal(&self) -> Option<String> {
        let error = shim::engine::check(&self.artifact.layer).err()?;
        Some(format!("{:#}", anyhow::Error::from(error)))
    }

    /// Fails if no node of ours can run it.
    pub(super) fn must_run(&self) -> Result<()> {
        match self.refusal() {
            Some(why) => bail!("{} cannot be run: {why}", self.path.display()),
            None => Ok(()),
        }
    }

    /// Its digest as an artifact, which is that of the same contents everywhere.
    pub(super) fn digest(&self) -> &Digest {
        &self.artifact.digest
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> usize {
        self.artifact.layer.len()
    }

    /// `function`, `program` or `preview 1 program`.
    pub(super) fn what(&self) -> &'static str {
        match (self.function, self.artifact.interface.kind) {
            (true, _) => "function",
            (false, Kind::Component) => "program",
            (false, Kind::Module) => "preview 1 program",
        }
    }

    /// Pushes it; a terminal sees how far it is.
    pub(super) async fn push(&self, reference: &Reference, auth: &Auth) -> Result<()> {
        let client = Client::new(Options::default());
        let total = self.size() as u64;
        let meter = Meter::new(reference.to_string(), total);
        let counted = meter.clone();
        let progress = Arc::new(move |more| counted.advance(more));
        let pushed = client.push(reference, auth, &self.artifact, progress).await;
        meter.clear();
        pushed
            .map_err(|error| advise(error, reference))
            .with_context(|| format!("push {}", self.path.display()))?;
        Ok(())
    }
}

/// Adds the next step to what went wrong between us and a registry.
fn advise(error: ClientError, reference: &Reference) -> anyhow::Error {
    let registry = reference.registry();
    let step = match &error {
        ClientError::Unreachable { .. } | ClientError::Timeout { .. }
            if registry::client::is_loopback(registry) =>
        {
            "start the cluster with `podium up`, or name another registry as HOST/NAME".to_owned()
        }
        ClientError::Unreachable { .. } | ClientError::Timeout { .. } => {
            format!("check the name {registry} and that this machine reaches it")
        }
        ClientError::Unauthorized { .. } => {
            format!(
                "log in first, such as with `docker login {registry}`; the cluster's own registry takes a token of `podium kubeconfig token` as password"
            )
        }
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(step)
}

/// Whether it is a function, or a program; neither cannot be run.
fn is_function(interface: &Interface) -> Result<bool> {
    let exports = |name: &str| interface.exports.iter().any(|export| export.starts_with(name));
    match interface.kind {
        Kind::Component if exports(HANDLER) => return Ok(true),
        Kind::Component if exports(RUN) => return Ok(false),
        Kind::Module if interface.exports.contains(START) => return Ok(false),
        Kind::Component | Kind::Module => {}
    }
    let mut found: Vec<&str> =
        interface.exports.iter().map(String::as_str).take(MAX_EXPORTS).collect();
    if interface.exports.len() > MAX_EXPORTS {
        found.push("…");
    }
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    match interface.kind {
        Kind::Module => bail!(
            "it is a core module without `_start` (it exports {found}); build it as a command, such as for wasm32-wasip1, or as a component for wasm32-wasip2"
        ),
        Kind::Component => bail!(
            "it is a component that exports neither {HANDLER} nor {RUN} (it exports {found}); a function exports the first, a program the second"
        ),
    }
}

/// The name of a file as a name of images and objects: `my_app.wasm` is `my-app`.
pub(super) fn image_name(file: &Path) -> Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = stem.to_lowercase().replace(['_', '.'], "-");
    names::dns_1035_label(&name).map_err(|why| {
        UsageError(format!("{}: {name:?} cannot be a name: {why}", file.display()))
    })?;
    if name == API_SERVER {
        let why = format!("{}: {name} is the Service of the API server", file.display());
        return Err(UsageError(format!("{why}; give the file another name")).into());
    }
    Ok(name)
}

/// Credentials for the cluster's own registry.
pub(super) fn token(pki: &Pki, now: Timestamp) -> Auth {
    let claims = Claims::for_user(&admin(), now, TOKEN_LIFETIME);
    Auth::Basic { username: "podium".into(), password: pki.tokens().issue(&claims) }
}

/// Credentials for a registry: ours, or those that Docker keeps.
pub(super) async fn credentials(
    data_dir: &Path,
    own: Option<&str>,
    registry: &str,
) -> Result<Auth> {
    if !own.is_some_and(|own| same_place(own, registry)) {
        return Ok(Auth::from_docker(registry).await?);
    }
    let now = Timestamp::now();
    let pki = Pki::open(&data_dir.join("pki"), &SubjectNames::default(), now)?;
    Ok(token(&pki, now))
}

/// Whether two names of registries mean the same on this machine, as `localhost:5001` means
/// `127.0.0.1:5001`.
fn same_place(own: &str, named: &str) -> bool {
    let port = |name: &str| name.rsplit_once(':').map(|(_, port)| port.to_owned());
    let both_loopback = [own, named].into_iter().all(registry::client::is_loopback);
    own == named || both_loopback && port(own) == port(named)
}

/// How far a push is, on a terminal.
#[derive(Clone)]
struct Meter(Option<Arc<(String, u64, AtomicU64)>>);

impl Meter {
    fn new(what: String, total: u64) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self(shown.then(|| Arc::new((what, total, AtomicU64::new(0)))))
    }

    fn advance(&self, more: u64) {
        let Some(state) = &self.0 else { return };
        let (what, total, sent) = &**state;
        let sent = sent.fetch_add(more, Ordering::Relaxed) + more;
        let percent = (sent * 100).checked_div(*total).unwrap_or(100).min(100);
        overwrite(&format!(
            "pushing {what}: layer 1 of 1, {} of {} ({percent}%)",
            bytes(sent),
            bytes(*total)
        ));
    }

    fn clear(&self) {
        if self.0.is_some() {
            overwrite("");
        }
    }
}

/// Replaces the line that a terminal shows; a terminal that went away is no failure.
fn overwrite(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let written = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "the terminal is gone");
    }
}

/// Bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(kind: Kind, exports: &[&str]) -> Interface {
        let exports = exports.iter().map(|&name| name.to_owned()).collect();
        Interface { kind, imports: Default::default(), exports }
    }

    #[test]
    fn what_can_be_run_is_told_from_what_cannot() {
        let function = |kind, exports: &[&str]| is_function(&interface(kind, exports));
        assert!(function(Kind::Component, &["wasi:http/incoming-handler@0.2.3"]).unwrap());
        assert!(!function(Kind::Component, &["wasi:cli/run@0.2.0"]).unwrap());
        assert!(!function(Kind::Module, &["memory", "_start"]).unwrap());
        let error = function(Kind::Module, &["add"]).unwrap_err().to_string();
        assert!(error.contains("core module without `_start` (it exports add)"), "{error}");
        let error = function(Kind::Component, &[]).unwrap_err().to_string();
        assert!(error.contains("it exports nothing"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_wasm_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.wasm");
        std::fs::write(&path, "hello").unwrap();
        let error = format!("{:#}", Guest::read(&path).err().unwrap());
        assert!(error.contains("notes.wasm cannot be run"), "{error}");
        let error = format!("{:#}", Guest::read(folder.path()).err().unwrap());
        assert!(error.contains("is a directory"), "{error}");
    }

    #[test]
    fn a_registry_on_this_machine_has_several_names() {
        assert!(same_place("127.0.0.1:5001", "localhost:5001"));
        assert!(!same_place("127.0.0.1:5001", "localhost:5002"));
        assert!(!same_place("127.0.0.1:5001", "example.com:5001"));
    }

    #[test]
    fn names_of_files_become_names_of_objects() {
        assert_eq!(image_name(Path::new("x/My_App.v2.wasm")).unwrap(), "my-app-v2");
        assert!(image_name(Path::new("1st.wasm")).unwrap_err().is::<UsageError>());
    }
}
