//! The CRI's operations.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::container::Container;
use super::sandbox::Sandbox;
use super::{Shim, new_id, not_found};
use crate::cri::{
    AuthConfig, ContainerAttributes, ContainerConfig, ContainerEvent, ContainerEventKind,
    ContainerStats, ContainerStatus, Id, Image, ImageRef, LinuxContainerResources,
    PodSandboxConfig, PodSandboxStatus, Runtime, RuntimeError,
};
use crate::guest::Staging;

#[async_trait]
impl Runtime for Shim {
    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<Id, RuntimeError> {
        let id = new_id();
        let sandbox = Sandbox::attach(id.clone(), config, &self.node.switch)?;
        self.sandboxes.lock().insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &Id) -> Result<(), RuntimeError> {
        // Detached first: what is created from now on finds no network.
        if let Some(sandbox) = self.sandboxes.lock().get_mut(id) {
            sandbox.detach();
        }
        self.end(&self.containers_of(id)).await;
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &Id) -> Result<(), RuntimeError> {
        self.stop_pod_sandbox(id).await?;
        self.sandboxes.lock().remove(id);
        for container in self.containers_of(id) {
            self.forget(&container).await;
        }
        Ok(())
    }

    fn pod_sandbox_status(&self, id: &Id) -> Result<PodSandboxStatus, RuntimeError> {
        let sandboxes = self.sandboxes.lock();
        sandboxes.get(id).map(Sandbox::status).ok_or_else(|| not_found("sandbox", id))
    }

    fn list_pod_sandboxes(&self) -> Vec<PodSandboxStatus> {
        self.sandboxes.lock().values().map(Sandbox::status).collect()
    }

    async fn create_container(
        &self,
        sandbox: &Id,
        config: ContainerConfig,
    ) -> Result<Id, RuntimeError> {
        let (sandbox, net) = self.ready_sandbox(sandbox)?;
        let image = self.images.get(&config.image)?;
        let (components, routes) = self.prepare(&sandbox, &config, image).await?;
        let id = new_id();
        let staging = Staging::new(self.node.staging.join(&id.0));
        let container =
            Container::create(id.clone(), &sandbox, config, (components, routes), net, &staging)
                .await?;
        let container = Arc::new(container);
        self.containers.lock().insert(id.clone(), container.clone());
        // Looked at after the container can be found: a sandbox that is stopped
        // from here on ends it.
        if let Err(error) = self.ready_sandbox(container.sandbox()) {
            self.forget(&container).await;
            return Err(error);
        }
        self.node.tell(&container, ContainerEventKind::Created);
        Ok(id)
    }

    async fn start_container(&self, id: &Id) -> Result<(), RuntimeError> {
        self.container(id)?.start(&self.node)
    }

    async fn stop_container(&self, id: &Id, grace: Duration) -> Result<(), RuntimeError> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        container.stop(grace);
        container.ended().cancelled().await;
        Ok(())
    }

    async fn remove_container(&self, id: &Id) -> Result<(), RuntimeError> {
        if let Ok(container) = self.container(id) {
            self.forget(&container).await;
        }
        Ok(())
    }

    async fn update_container_resources(
        &self,
        id: &Id,
        resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        self.container(id)?.set_resources(resources);
        Ok(())
    }

    fn container_status(&self, id: &Id) -> Result<ContainerStatus, RuntimeError> {
        Ok(self.container(id)?.status())
    }

    fn list_containers(&self, sandbox: Option<&Id>) -> Vec<ContainerStatus> {
        let containers = self.containers.lock();
        let wanted =
            |container: &&Arc<Container>| sandbox.is_none_or(|id| container.sandbox() == id);
        containers.values().filter(wanted).map(|container| container.status()).collect()
    }

    fn container_stats(&self, id: &Id) -> Result<ContainerStats, RuntimeError> {
        Ok(self.container(id)?.stats())
    }

    fn list_container_stats(&self) -> Vec<(ContainerAttributes, ContainerStats)> {
        // Copied out first: nothing is started or stopped while the lock is held.
        let containers: Vec<_> = self.containers.lock().values().cloned().collect();
        let running =
            |container: Arc<Container>| Some((container.attributes()?, container.stats()));
        containers.into_iter().filter_map(running).collect()
    }

    fn container_events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.node.events.subscribe()
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
    ) -> Result<ImageRef, RuntimeError> {
        self.images.pull(image, auth).await
    }

    fn image_status(&self, image: &str) -> Option<Image> {
        self.images.status(image)
    }

    fn list_images(&self) -> Vec<Image> {
        self.images.list()
    }

    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        for artifact in self.images.remove(image).await? {
            self.node.engine.discard(artifact).await;
        }
        Ok(())
    }
}
