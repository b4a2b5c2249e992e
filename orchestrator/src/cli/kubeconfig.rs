//! `podium kubeconfig`: credentials for a cluster on this machine.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use jiff::{SignedDuration, Timestamp};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::cluster::admin;
use super::data_dir::DataDir;
use super::{UsageError, say};
use crate::api::yaml;
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
        /// What the cluster, its user and its context are called there.
        #[arg(long, default_value = NAME, value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Take the place of another cluster that is called so.
        #[arg(long)]
        replace: bool,
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
        Command::Merge { into, keep_context, name, replace } => {
            let into = into.map_or_else(|| default_kubeconfig(&data_dir), Ok)?;
            let ours = yaml::from_str(&read(&data_dir)?);
            let ours = renamed(&ours.context("read the cluster's kubeconfig")?, &name);
            merge(&ours, &into, keep_context, replace)?;
            say(&format!("added context {name:?} to {}\n", into.display()))
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

/// The kubeconfig that kubectl writes into, unless that is the cluster's own.
fn default_kubeconfig(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let own = data_dir.join("kubeconfig").canonicalize().ok();
    let other = |path: &PathBuf| !path.as_os_str().is_empty() && path.canonicalize().ok() != own;
    let listed =
        std::env::var_os("KUBECONFIG").and_then(|list| std::env::split_paths(&list).find(other));
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".kube/config"));
    listed.or(home).context("there is no home folder; name the file with --into")
}

/// The lists of a kubeconfig.
const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// The same cluster, user and context under another name.
fn renamed(ours: &Value, name: &str) -> Value {
    let mut renamed = ours.clone();
    for list in LISTS {
        renamed[list][0]["name"] = json!(name);
    }
    renamed["contexts"][0]["context"] = json!({"cluster": name, "user": name});
    renamed["current-context"] = json!(name);
    renamed
}

fn entry<'v>(config: &'v Value, list: &str, name: &Value) -> Option<&'v Value> {
    config[list].as_array()?.iter().find(|entry| &entry["name"] == name)
}

/// What of the same name in `theirs` belongs to another cluster: the authority tells clusters apart.
fn foreign(theirs: &Value, ours: &Value) -> Option<String> {
    const AUTHORITY: &str = "certificate-authority-data";
    let name = &ours["current-context"];
    if let Some(known) = entry(theirs, "clusters", name) {
        let known = &known["cluster"];
        let same = known[AUTHORITY] == ours["clusters"][0]["cluster"][AUTHORITY];
        let server = known["server"].as_str().unwrap_or("no server");
        return (!same).then(|| format!("a cluster {name}, which is another one ({server})"));
    }
    let of_another = |list| entry(theirs, list, name).is_some();
    let list = ["contexts", "users"].into_iter().find(|list| of_another(list))?;
    Some(format!("a {} {name}, which belongs to another cluster", list.trim_end_matches('s')))
}

fn merge(ours: &Value, into: &Path, keep_context: bool, replace: bool) -> anyhow::Result<()> {
    let mut theirs: Value = match fs::read_to_string(into) {
        Ok(text) => yaml::from_str(&text)
            .with_context(|| format!("{} is no kubeconfig; nothing was changed", into.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error).with_context(|| format!("read {}", into.display())),
    };
    if theirs.is_null() {
        theirs = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
    }
    if let Some(what) = foreign(&theirs, ours).filter(|_| !replace) {
        bail!(
            "{} has {what}; nothing was changed: give this one another name with --name, or take its place with --replace",
            into.display()
        );
    }
    let name = &ours["current-context"];
    for list in LISTS {
        let entries = theirs[list].as_array().cloned().unwrap_or_default();
        let others = entries.into_iter().filter(|entry| &entry["name"] != name);
        theirs[list] = others.chain(ours[list].as_array().cloned().unwrap_or_default()).collect();
    }
    if !keep_context || theirs["current-context"].as_str().unwrap_or_default().is_empty() {
        theirs["current-context"] = name.clone();
    }
    let text = yaml::to_string(&theirs)?;
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

    fn ours() -> Value {
        of("https://127.0.0.1:6443", "ca")
    }

    fn of(server: &str, authority: &str) -> Value {
        let identity = Identity { certificate: "cert".into(), key: "key".into() };
        document(server, authority, &identity)
    }

    #[test]
    fn another_cluster_of_the_same_name_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let read = || -> Value { yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap() };
        merge(&of("https://a:1", "theirs"), &file, false, false).unwrap();

        let error = merge(&ours(), &file, false, false).unwrap_err().to_string();
        assert!(error.contains("(https://a:1)") && error.contains("--replace"), "{error}");
        assert_eq!(read()["clusters"][0]["cluster"]["server"], "https://a:1");

        merge(&renamed(&ours(), "mine"), &file, false, false).unwrap();
        let merged = read();
        assert_eq!(merged["contexts"][1]["context"], json!({"cluster": "mine", "user": "mine"}));
        assert_eq!(merged["current-context"], "mine");
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);

        merge(&ours(), &file, false, true).unwrap();
        assert_eq!(read()["clusters"][1]["cluster"]["server"], "https://127.0.0.1:6443");
        // It listens elsewhere now, and is the same.
        merge(&of("https://127.0.0.1:7443", "ca"), &file, false, false).unwrap();

        fs::write(&file, "{users: [{name: podium, user: {token: x}}]}").unwrap();
        let error = merge(&ours(), &file, false, false).unwrap_err().to_string();
        assert!(error.contains("a user \"podium\""), "{error}");
    }

    #[test]
    fn merging_keeps_what_was_there_and_is_idempotent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/config");
        fs::create_dir(folder.path().join("sub")).unwrap();
        let other = "{apiVersion: v1, kind: Config, current-context: work, contexts: [{name: work, context: {cluster: w, user: w}}]}";
        fs::write(&file, other).unwrap();

        merge(&ours(), &file, true, false).unwrap();
        merge(&ours(), &file, false, false).unwrap();

        let merged: Value = yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
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
        let error = merge(&ours(), &file, false, false).unwrap_err();
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "a: [");
    }
}
