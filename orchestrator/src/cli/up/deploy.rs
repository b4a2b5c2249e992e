//! Makes a running cluster what files ask for.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use registry::client::Auth;
use registry::{Digest, Reference};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::desired::Desired;
use crate::cli::apply::{Applied, Outcome, apply};
use crate::cli::artifact::{bytes, token};
use crate::cli::cluster::Cluster;
use crate::cli::manifests::Document;
use crate::cli::output::table::pairs;
use crate::cli::rollout::{Progress, progress_of};
use crate::cli::session::{Query, RequestError, Session};
use crate::cli::targets::{path_of, text};
use crate::cli::{chain, delete, progress, trouble};

/// The label of objects that come from files: of which files.
///
/// An object that is in the files no more is deleted only if it carries it.
const SET: &str = "podium.dev/up";

/// How long what was deployed may take to be available.
const PATIENCE: Duration = Duration::from_secs(120);

/// A rollout that takes longer than this is told why.
pub(super) const SLOW: Duration = Duration::from_secs(5);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// An object, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

impl Key {
    fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self {
            api_version: text(&object["apiVersion"]).to_owned(),
            kind: text(&object["kind"]).to_owned(),
            namespace: metadata["namespace"].as_str().unwrap_or("default").to_owned(),
            name: text(&metadata["name"]).to_owned(),
        }
    }
}

/// What has to be done so that the cluster is what is wanted.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Objects that are new or other than when they were applied last.
    apply: Vec<Document>,
    /// Objects that were ours and are wanted no more.
    delete: Vec<Key>,
}

/// Pure: what differs between what was applied and what is wanted.
fn plan(applied: &BTreeMap<Key, Value>, wanted: &[Document]) -> Plan {
    let mut plan = Plan::default();
    let keys: BTreeSet<Key> = wanted.iter().map(|document| Key::of(&document.object)).collect();
    for document in wanted {
        if applied.get(&Key::of(&document.object)) != Some(&document.object) {
            plan.apply.push(document.clone());
        }
    }
    plan.delete = applied.keys().filter(|key| !keys.contains(key)).cloned().collect();
    plan
}

/// What became of a change.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Deployments that roll out now, by namespace and name.
    pub(super) rolling: Vec<(String, String)>,
    /// Whether anything was changed at all.
    pub(super) changed: bool,
}

/// Brings files into a running cluster.
pub(super) struct Deployer {
    session: Session,
    registry: String,
    auth: Auth,
    /// The value of the label, if objects that leave the files are to be deleted.
    set: Option<String>,
    applied: BTreeMap<Key, Value>,
    pushed: BTreeMap<String, Digest>,
}

impl Deployer {
    /// For a cluster; with `sources`, what leaves these files is deleted.
    pub(super) fn new(cluster: &Cluster, sources: Option<Vec<PathBuf>>) -> Self {
        let addresses = cluster.addresses();
        let server = format!("https://{}", addresses.api);
        Self {
            session: Session::of(cluster.client().clone(), server),
            registry: addresses.registry.to_string(),
            auth: token(cluster.pki(), Timestamp::now()),
            set: sources.map(|sources| name_of(&sources)),
            applied: BTreeMap::new(),
            pushed: BTreeMap::new(),
        }
    }

    /// Deploys for the first time; answers what failed.
    pub(super) async fn first(
        &mut self,
        desired: &Desired,
        wait: bool,
    ) -> Result<Vec<anyhow::Error>> {
        if self.set.is_some() {
            self.applied = self.ours().await?;
        }
        let mut complaints = Vec::new();
        let done = self.deploy(desired, &mut complaints).await;
        for name in desired.idle() {
            progress(&format!("no manifest runs {name}; `podium run {name}` does"));
        }
        for (namespace, name) in &done.rolling {
            if wait || desired.alone() == Some(name.as_str()) {
                match self.available(namespace, name).await {
                    Ok(()) => progress(&format!("deployment {name} is available")),
                    Err(error) => complaints.push(error),
                }
            }
        }
        Ok(complaints)
    }

    /// Pushes and applies what differs; what fails is complained about and tried again next time.
    pub(super) async fn deploy(
        &mut self,
        desired: &Desired,
        complaints: &mut Vec<anyhow::Error>,
    ) -> Done {
        let mut done = Done::default();
        if let Err(error) = self.push(desired, &mut done).await {
            // What cannot be pushed cannot be pulled: the old version goes on.
            complaints.push(error);
            return done;
        }
        let mut wanted = desired.objects();
        for document in &mut wanted {
            if let Some(set) = &self.set {
                document.object["metadata"]["labels"][SET] = json!(set);
            }
        }
        let plan = plan(&self.applied, &wanted);
        for document in plan.apply {
            match self.apply(&document, &mut done).await {
                Ok(()) => {
                    self.applied.insert(Key::of(&document.object), document.object);
                }
                Err(error) => complaints.push(error),
            }
        }
        for key in plan.delete {
            match self.delete(&key).await {
                Ok(()) => {
                    self.applied.remove(&key);
                    done.changed = true;
                }
                Err(error) => complaints.push(error),
            }
        }
        done
    }

    async fn push(&mut self, desired: &Desired, done: &mut Done) -> Result<()> {
        for (name, image) in desired.guests() {
            let digest = image.guest.digest();
            if self.pushed.get(name) == Some(digest) {
                continue;
            }
            image.guest.must_run()?;
            let reference = Reference::resolve(name, std::slice::from_ref(&self.registry))?;
            image.guest.push(&reference, &self.auth).await?;
            let size = bytes(image.guest.size() as u64);
            progress(&format!(
                "{} pushed as {reference} ({}, {size})",
                image.path.display(),
                image.guest.what()
            ));
            self.pushed.insert(name.clone(), digest.clone());
            done.changed = true;
        }
        Ok(())
    }

    async fn apply(&self, document: &Document, done: &mut Done) -> Result<()> {
        let applied = match apply(&self.session, document, false).await {
            Err(error) if is_job(document) && is_immutable(&error) => {
                self.run_again(document).await?
            }
            applied => applied?,
        };
        if applied.outcome != Outcome::Unchanged {
            progress(&format!("{} {}", applied.name, applied.outcome.word()));
            done.changed = true;
        }
        if document.object["kind"] == "Deployment" {
            let key = Key::of(&document.object);
            done.rolling.push((key.namespace, key.name));
        }
        Ok(())
    }

    /// A Job whose template changed is another one: it takes the place of the old.
    async fn run_again(&self, document: &Document) -> Result<Applied> {
        let served = self.session.resource_of(&document.object).await?;
        let key = Key::of(&document.object);
        let path = served.path(Some(&key.namespace), Some(&key.name));
        delete::and_wait(&self.session, &path).await?;
        progress(&format!("{} deleted: its template has changed", served.slashed(&key.name)));
        apply(&self.session, document, false).await
    }

    /// Deletes what left the files, if it is still ours.
    async fn delete(&self, key: &Key) -> Result<()> {
        let catalog = self.session.catalog().await?;
        let Some(served) = catalog.of_kind(&key.api_version, &key.kind) else { return Ok(()) };
        let slashed = served.slashed(&key.name);
        let path = served.path(Some(&key.namespace), Some(&key.name));
        let object = match self.session.get(&path).await {
            Ok(object) => object,
            Err(error) if error.code() == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if object["metadata"]["labels"][SET].as_str() != self.set.as_deref() {
            progress(&format!("{slashed} is in the files no more, but it is not theirs: it stays"));
            return Ok(());
        }
        delete::quietly(&self.session, &path).await.with_context(|| format!("delete {slashed}"))?;
        progress(&format!("{slashed} deleted: it is in the files no more"));
        Ok(())
    }

    /// The objects of an earlier run over the same files.
    async fn ours(&self) -> Result<BTreeMap<Key, Value>> {
        let set = self.set.as_deref().unwrap_or_default();
        let query = Query::default().with("labelSelector", format!("{SET}={set}"));
        let mut found = BTreeMap::new();
        for served in self.session.catalog().await?.iter() {
            if !served.can("list") || !served.can("delete") {
                continue;
            }
            let list = self.session.get(&query.on(&served.path(None, None))).await?;
            for item in list["items"].as_array().into_iter().flatten() {
                // What a controller made goes with what it was made for.
                if item["metadata"]["ownerReferences"].is_array() {
                    continue;
                }
                let mut object = item.clone();
                object["apiVersion"] = json!(served.api_version());
                object["kind"] = json!(served.kind);
                tracing::debug!(path = path_of(served, &object), "known from an earlier run");
                found.insert(Key::of(&object), Value::Null);
            }
        }
        Ok(found)
    }

    /// Waits until a Deployment has all its replicas; says why it does not.
    async fn available(&self, namespace: &str, name: &str) -> Result<()> {
        let began = Instant::now();
        let mut told = false;
        while !self.is_available(namespace, name).await? {
            if began.elapsed() > PATIENCE {
                let why = self.why(namespace, name).await?;
                bail!("deployment {name} is not available after {PATIENCE:?}: {why}");
            }
            if began.elapsed() > SLOW && !told {
                told = true;
                self.tell_why(namespace, name).await;
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Tells what keeps a Deployment from being available.
    pub(super) async fn tell_why(&self, namespace: &str, name: &str) {
        let why = self.why(namespace, name).await;
        let why = why.unwrap_or_else(|error| chain(&error));
        progress(&format!("deployment {name} is not available yet: {why}"));
    }

    /// Whether a Deployment has all its replicas, or is not going to for a reason of its own.
    pub(super) async fn is_available(&self, namespace: &str, name: &str) -> Result<bool> {
        let served = self.session.catalog().await?.find("deployments.apps")?;
        let deployment = self.session.get(&served.path(Some(namespace), Some(name))).await?;
        match progress_of(name, &deployment) {
            Progress::Done => Ok(true),
            Progress::Going(_) => Ok(deployment["spec"]["paused"] == true),
            Progress::Failed => bail!("deployment {name}: {}", self.why(namespace, name).await?),
        }
    }

    /// What keeps a Deployment from being available.
    pub(super) async fn why(&self, namespace: &str, name: &str) -> Result<String> {
        let served = self.session.catalog().await?.find("deployments.apps")?;
        let deployment = self.session.get(&served.path(Some(namespace), Some(name))).await?;
        let labels = pairs(&deployment["spec"]["selector"]["matchLabels"], ",");
        let found = trouble::among(&self.session, namespace, &labels).await?;
        Ok(match found {
            Some((pod, trouble)) => format!("pod {pod}: {trouble}"),
            None => format!("`podium describe pods -n {namespace}` says how its Pods are"),
        })
    }
}

fn is_job(document: &Document) -> bool {
    document.object["kind"] == "Job"
}

/// Whether the server refused to change what cannot be changed.
fn is_immutable(error: &anyhow::Error) -> bool {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<RequestError>());
    refused.is_some_and(|error| error.code() == 422 && error.to_string().contains("immutable"))
}

/// A label's value for a set of files: the same files have the same one.
fn name_of(sources: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    for path in sources {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, data: &str) -> Document {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"a": data}});
        Document { object, source: "x.yaml".into() }
    }

    #[test]
    fn only_what_differs_is_applied_and_what_left_is_deleted() {
        let (same, changed, gone) = (document("a", "1"), document("b", "1"), document("c", "1"));
        let applied =
            [&same, &changed, &gone].map(|d| (Key::of(&d.object), d.object.clone())).into();
        let wanted = [same.clone(), document("b", "2"), document("d", "1")];
        let plan = plan(&applied, &wanted);
        assert_eq!(plan.apply, [document("b", "2"), document("d", "1")]);
        assert_eq!(plan.delete, [Key::of(&gone.object)]);
    }

    #[test]
    fn what_is_known_from_an_earlier_run_is_applied_again() {
        let one = document("a", "1");
        let applied = BTreeMap::from([(Key::of(&one.object), Value::Null)]);
        let plan = plan(&applied, std::slice::from_ref(&one));
        assert_eq!(plan.apply, [one]);
        assert!(plan.delete.is_empty());
    }

    #[test]
    fn the_same_files_make_the_same_set() {
        let folder = tempfile::tempdir().unwrap();
        let direct = vec![folder.path().to_path_buf()];
        let around = vec![folder.path().join(".")];
        assert_eq!(name_of(&direct), name_of(&around));
        assert_ne!(name_of(&direct), name_of(&[]));
    }
}
