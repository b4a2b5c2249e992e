//! What a Pod's containers need before they start: what the Pod refers to, its
//! volumes, its sandbox.
use std::sync::Arc;

use super::checkpoint::log_folder;
use super::sandbox::{self, Sandbox, check_hostname};
use super::worker::{Worker, chain};
use crate::node::references::Objects;
use crate::node::volumes;

impl Worker {
    /// What the Pod refers to, as far as it exists.
    pub(super) async fn objects(&self) -> Result<Objects, kube::Error> {
        if self.names.is_empty() {
            return Ok(Objects::default());
        }
        self.node.references.read(self.namespace(), &self.names).await
    }

    /// Makes every volume hold what it should now; whether all do.
    pub(super) async fn write_volumes(&mut self, objects: &Objects) -> bool {
        let pod = Arc::clone(&self.pod);
        if let Err(error) = self.tokens.keep(&pod, &self.node.client, self.now()).await {
            self.not_mounted(&error.volume, &error);
            return false;
        }
        let mut all = true;
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let context = volumes::Context {
                pod: &pod,
                ip: self.sandbox.as_ref().and_then(|sandbox| sandbox.ip),
                host_ip: self.node.config.host_ip,
                objects,
                allocatable: self.node.config.allocatable().amount(),
                tokens: &self.tokens,
            };
            let written = match volumes::contents(volume, context) {
                Ok(content) => self.volumes.write(volume, content).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                all = false;
                self.not_mounted(&volume.name, &error);
            }
        }
        all
    }

    fn not_mounted(&self, volume: &str, error: &dyn std::error::Error) {
        let why = chain(error);
        let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
        self.node.recorder.warning(self.about(), "FailedMount", message);
    }

    fn not_sandboxed(&self, error: &dyn std::error::Error) {
        let message = format!("Failed to create pod sandbox: {}", chain(error));
        self.node.recorder.warning(self.about(), "FailedCreatePodSandBox", message);
    }

    /// Gives the Pod its address; whether it has one now.
    pub(super) async fn create_sandbox(&mut self) -> bool {
        let config = sandbox::config(
            &self.pod,
            self.saved.sandboxes,
            self.saved.ip,
            log_folder(&self.node.config.data_dir, &self.pod),
            &self.node.config.cluster_domain,
        );
        if let Err(error) = check_hostname(&self.pod, &self.node.config.cluster_domain) {
            self.not_sandboxed(&error);
            return false;
        }
        let made = match self.node.runtime.run_pod_sandbox(config).await {
            Ok(id) => self.node.runtime.pod_sandbox_status(&id),
            Err(error) => Err(error),
        };
        match made {
            Ok(made) => {
                self.saved.sandboxes += 1;
                self.sandbox = Some(Sandbox { id: made.id, ip: made.ip });
                let spec = self.pod.spec.as_ref();
                let inits = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
                self.containers.renew(inits.map(|init| init.name.as_str()));
                true
            }
            Err(error) => {
                self.not_sandboxed(&error);
                false
            }
        }
    }
}
