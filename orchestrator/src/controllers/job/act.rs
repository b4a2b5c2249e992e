//! Does what is planned for a Job.
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec,
};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;
use tracing::info;

use super::manage::New;
use super::member::{FAILURES, FINALIZER, IGNORED, INDEX};
use super::plan::Plan;
use super::seen::{count, is_indexed};
use super::{Jobs, member};
use crate::client::status_code;
use crate::controllers::owner;
use crate::controllers::pods::{self, SIDE_BY_SIDE};
use crate::controllers::runtime::{Requeue, Written};

/// The variable by which a program knows its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// As long as what a Pod's name is generated of may be: a label has room for five letters more.
const PREFIX_MAX: usize = 58;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its Pods are not known.
    #[error("cannot claim Pods")]
    Claim(#[from] owner::Error),
    /// Whether a Job still exists cannot be said.
    #[error("cannot look for the Job of a Pod")]
    Look(#[source] Box<kube::Error>),
    /// A Pod could not be written down.
    #[error("cannot encode a Pod")]
    Encode(#[from] serde_json::Error),
    /// Its Pods are not as it wants them.
    #[error(transparent)]
    Pods(#[from] pods::Error),
    /// A finalizer could not be set or removed.
    #[error("cannot change the finalizers of Pod {name}")]
    Finalizer {
        /// The Pod.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
}

impl Jobs {
    /// Does what is planned; if a Pod cannot be deleted the rest waits, as all else builds on that.
    pub(super) async fn act(
        &self,
        job: &Job,
        mut plan: Plan,
        written: &Written,
    ) -> Result<Requeue, Error> {
        let (create, delete) = (plan.create.len(), plan.delete.len());
        if create + delete > 0 {
            info!(
                namespace = job.metadata.namespace,
                name = job.metadata.name,
                create,
                delete,
                "job"
            );
        }
        let add = json!({"metadata": {"finalizers": [FINALIZER]}});
        self.each_finalizer(&plan.track, &add, written).await?;
        if plan.forget_deleted {
            self.untrack(&plan.delete, written).await?;
        }
        let Self { client, pods, events, .. } = self;
        let owned = pods::Owned { owner: job, client, pods, events, written };
        owned.delete(&plan.delete).await?;
        let (created, failed) = Self::create(&owned, &plan.create).await;
        // Only what was created is active.
        let active = plan.status.active.unwrap_or(0) - count(plan.create.len() - created);
        plan.status.active = Some(active).filter(|active| *active > 0);
        self.write_status(job, &plan, written).await?;
        self.untrack(&plan.untrack, written).await?;
        failed?;
        Ok(plan.recheck.into())
    }

    /// Creates Pods; answers how many, and why no more.
    async fn create(owned: &pods::Owned<'_, Job>, all: &[New]) -> (usize, Result<(), Error>) {
        let bodies: Result<Vec<_>, _> = all.iter().map(|new| encode(owned.owner, new)).collect();
        match bodies {
            Ok(bodies) => {
                let (created, result) = owned.create(bodies.into_iter()).await;
                (created, result.map_err(Error::from))
            }
            Err(error) => (0, Err(error.into())),
        }
    }

    /// Removes the finalizer of Pods.
    pub(super) async fn untrack(&self, pods: &[Arc<Pod>], written: &Written) -> Result<(), Error> {
        let remove = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        let tracked: Vec<_> = pods.iter().filter(|pod| member::is_tracked(pod)).cloned().collect();
        self.each_finalizer(&tracked, &remove, written).await
    }

    async fn each_finalizer(
        &self,
        all: &[Arc<Pod>],
        patch: &serde_json::Value,
        written: &Written,
    ) -> Result<(), Error> {
        let requests = all.iter().cloned().map(|pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
            let mut patch = patch.clone();
            patch["metadata"]["uid"] = json!(pod.metadata.uid);
            async move {
                let name = pod.metadata.name.clone().unwrap_or_default();
                let patch = Patch::Strategic(patch);
                let answer = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
                (name, answer)
            }
        });
        let answers: Vec<_> = stream::iter(requests).buffer_unordered(SIDE_BY_SIDE).collect().await;
        let mut result = Ok(());
        for (name, answer) in answers {
            match answer {
                Ok(pod) => written.note(&self.pods, &pod.metadata),
                Err(error) if status_code(&error) == Some(404) => {}
                Err(error) => {
                    result = Err(Error::Finalizer { name, source: Box::new(error) });
                }
            }
        }
        result
    }

    async fn write_status(&self, job: &Job, plan: &Plan, written: &Written) -> Result<(), Error> {
        if job.status.as_ref() == Some(&plan.status) {
            return Ok(());
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Job>::namespaced(self.client.clone(), namespace);
        let status: Option<JobStatus> = Some(plan.status.clone());
        let updated = Job { status, ..job.clone() };
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(job) => {
                written.note(&self.jobs, &job.metadata);
                self.tell(&job, plan);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }

    fn tell(&self, job: &Job, plan: &Plan) {
        for (trouble, reason, message) in &plan.told {
            let about = job.object_ref(&());
            info!(namespace = about.namespace, name = about.name, reason, message, "job changes");
            if *trouble {
                self.events.warning(about, *reason, message.clone());
            } else {
                self.events.normal(about, reason, message.clone());
            }
        }
    }
}

/// The Pod of a Job, written down.
fn encode(job: &Job, new: &New) -> Result<Vec<u8>, serde_json::Error> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let spec = job.spec.as_ref();
    let mut template = spec.map(|spec| spec.template.clone()).unwrap_or_default();
    let finalizers = template.metadata.get_or_insert_default().finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let suffix = match new.index {
        Some(index) if spec.is_some_and(is_indexed) => {
            give_index(&mut template, name, index, new.failures);
            format!("-{index}-")
        }
        _ => "-".into(),
    };
    let end = name.len().min(PREFIX_MAX - suffix.len());
    // Names are ASCII: they are DNS names.
    pods::encode_new(job, Some(&template), format!("{}{suffix}", &name[..end]))
}

/// Tells a Pod its index: annotation, label, host name and variable.
fn give_index(template: &mut PodTemplateSpec, job: &str, index: i32, failures: Option<(i32, i32)>) {
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if let Some((counted, ignored)) = failures {
        annotations.insert(FAILURES.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED.into(), ignored.to_string());
        }
    }
    let Some(spec) = &mut template.spec else { return };
    spec.hostname = Some(format!("{job}-{index}"));
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        give_variable(container);
    }
}

fn give_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field_ref = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']"),
        ..ObjectFieldSelector::default()
    };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() }),
        ..EnvVar::default()
    });
}
