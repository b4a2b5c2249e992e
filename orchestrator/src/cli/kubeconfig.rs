//! `podium kubeconfig`: credentials for a cluster on this machine.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::cluster::admin;
use super::data_dir::DataDir;
use super::{UsageError, say};
use crate::auth::{Claims, Identity, Pki, SubjectNames};
use crate::platform;

/// The name of the cluster, its user and its context.
const NAME: &str = "podium";

/// Flags of `podium kubeconfig`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster's data directory.
    #[arg(long, env = "PODIUM_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print where the administrator's kubeconfig is.
    Path,
    /// Print the administrator's kubeconfig.
    Print,
    /// Add the cluster to a kubeconfig, keeping all else that is in it.
    Merge {
        /// The file; `KUBECONFIG` or `~/.kube/config` if none is named.
        #[arg(long)]
        into: Option<PathBuf>,
        /// Leave the current context as it is.
        #[arg(long)]
        keep_context: bool,
    },
    /// Print a token that tools can send as the password of the cluster's registry, or to the API.
    Token {
        /// How long it is good, such as `1h` or `30m`.
        #[arg(long, default_value = "24h")]
        duration: String,
    },
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let data_dir = match args.data_dir {
        Some(named) => named,
        None => DataDir::default_path()?,
    };
    match args.command {
        Command::Path => {
            read(&data_dir)?;
            say(&format!("{}\n", data_dir.join("kubeconfig").display()))
        }
        Command::Print => say(&read(&data_dir)?),
        Command::Merge { into, keep_context } => {
            let into = into.map_or_else(default_kubeconfig, Ok)?;
            merge(&read(&data_dir)?, &into, keep_context)?;
            say(&format!("added context {NAME:?} to {}\n", into.display()))
        }
        Command::Token { duration } => {
            let lifetime: SignedDuration = duration.parse().map_err(|error| {
                UsageError(format!("--duration {duration:?}: {error}; say for example 1h"))
            })?;
            let pki_dir = data_dir.join("pki");
            if !pki_dir.exists() {
                bail!("no cluster in {}; start one with `podium up`", data_dir.display());
            }
            let now = Timestamp::now();
            let pki = Pki::open(&pki_dir, &SubjectNames::default(), now)?;
            let token = pki.tokens().issue(&Claims::for_user(&admin(), now, lifetime));
            say(&format!("{token}\n"))
        }
    }
}

/// The kubeconfig of an administrator, with everything embedded.
pub fn document(server: &str, authority: &str, admin: &Identity) -> Value {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": NAME, "preferences": {},
        "clusters": [{"name": NAME, "cluster": {
            "server": server, "certificate-authority-data": encode(authority),
        }}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "users": [{"name": NAME, "user": {
            "client-certificate-data": encode(&admin.certificate),
            "client-key-data": encode(&admin.key),
        }}],
    })
}

fn read(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("kubeconfig");
    fs::read_to_string(&path).with_context(|| {
        format!("no cluster has run in {}: start one with `podium up`", data_dir.display())
    })
}

fn default_kubeconfig() -> anyhow::Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".kube/config"));
    listed.or(home).context("there is no home folder; name the file with --into")
}

fn merge(ours: &str, into: &Path, keep_context: bool) -> anyhow::Result<()> {
    let mut theirs: Value = match fs::read_to_string(into) {
        Ok(text) => serde_yaml::from_str(&text)
            .with_context(|| format!("{} is no kubeconfig; nothing was changed", into.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error).with_context(|| format!("read {}", into.display())),
    };
    let ours: Value = serde_yaml::from_str(ours).context("read the cluster's kubeconfig")?;
    if theirs.is_null() {
        theirs = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
    }
    for list in ["clusters", "contexts", "users"] {
        let entries = theirs[list].as_array().cloned().unwrap_or_default();
        let others = entries.into_iter().filter(|entry| entry["name"] != NAME);
        theirs[list] = others.chain(ours[list].as_array().cloned().unwrap_or_default()).collect();
    }
    if !keep_context || theirs["current-context"].as_str().unwrap_or_default().is_empty() {
        theirs["current-context"] = json!(NAME);
    }
    let text = serde_yaml::to_string(&theirs)?;
    // What kubectl could not read is not written.
    Kubeconfig::from_yaml(&text).context("merge the kubeconfigs")?;
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    platform::write_private(into, text.as_bytes())
        .with_context(|| format!("write {}", into.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> String {
        let identity = Identity { certificate: "cert".into(), key: "key".into() };
        document("https://127.0.0.1:6443", "ca", &identity).to_string()
    }

    #[test]
    fn merging_keeps_what_was_there_and_is_idempotent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/config");
        fs::create_dir(folder.path().join("sub")).unwrap();
        let other = "{apiVersion: v1, kind: Config, current-context: work, contexts: [{name: work, context: {cluster: w, user: w}}]}";
        fs::write(&file, other).unwrap();

        merge(&ours(), &file, true).unwrap();
        merge(&ours(), &file, false).unwrap();

        let merged: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let names: Vec<_> =
            merged["contexts"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        assert_eq!(names, ["work", "podium"]);
        assert_eq!(merged["current-context"], "podium");
        assert_eq!(merged["users"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, "a: [").unwrap();
        let error = merge(&ours(), &file, false).unwrap_err();
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "a: [");
    }
}
