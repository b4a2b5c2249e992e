//! What a container runs, ready to be started: one component, or those of a Spin application.
use std::io::ErrorKind;
use std::sync::Arc;

use super::sandbox::Sandbox;
use super::{Shim, chain};
use crate::cri::{ContainerConfig, ImageRef, OwnFiles, RuntimeError};
use crate::engine::{Artifact, EngineError};
use crate::function::{self, Routes};
use crate::guest::{Environment, EnvironmentError, Root, Staging};
use crate::images::{Lease, Program, StoredComponent, StoredImage};

/// Bytes of a `.wasm` file that compiles so fast that nobody need be told: some 100 ms.
const QUICK: u64 = 256 << 10;

/// A component of a container.
pub(super) struct Component {
    pub(super) artifact: Arc<Artifact>,
    stored: StoredComponent,
    lease: Option<Lease>,
}

/// What runs in a container.
pub(super) enum Guests {
    /// One from its start to its end.
    Program { artifact: Arc<Artifact>, environment: Arc<Environment> },
    /// One or several, per request.
    Function { components: Vec<function::Component>, routes: Routes },
}

impl Shim {
    /// Prepares what a container of this image runs, and says where its requests go.
    pub(super) async fn prepare(
        &self,
        sandbox: &Sandbox,
        config: &ContainerConfig,
        image: StoredImage,
    ) -> Result<(Vec<Component>, Routes), RuntimeError> {
        let routes = routes(&config.image, &image)?;
        // Held from here on, so that no removal of the image takes its files away.
        let leased: Vec<_> = image
            .components
            .into_iter()
            .map(|stored| (self.images.lease(&config.image, &stored), stored))
            .collect();
        let mut components = Vec::with_capacity(leased.len());
        let mut is_told = false;
        for (lease, stored) in leased {
            let program = self.images.program(&config.image, &stored, config).await?;
            let digest = program.digest.clone();
            let is_slow = !self.node.engine.is_compiled(&digest) && program.size() > QUICK;
            if is_slow && !is_told {
                self.node.tell_compiling(sandbox, &config.name);
                is_told = true;
            }
            let read = program.clone().reader();
            let artifact = match self.node.engine.prepare(&digest, read).await {
                Ok(artifact) => artifact,
                Err(error) => return Err(self.refusal(config, &stored, &program, error).await),
            };
            if matches!(routes, Routes::Spin(_)) && artifact.function().is_none() {
                let why = "requests cannot reach it: it exports no wasi:http/incoming-handler";
                return Err(not_runnable(&config.image, &stored.id, why.to_owned()));
            }
            components.push(Component { artifact, stored, lease });
        }
        Ok((components, routes))
    }

    /// Why a component cannot be prepared: its image is blamed only for bytes that are its own.
    async fn refusal(
        &self,
        config: &ContainerConfig,
        component: &StoredComponent,
        program: &Program,
        error: EngineError,
    ) -> RuntimeError {
        let id = &config.image;
        match error {
            EngineError::Read(source) if source.kind() != ErrorKind::FileTooLarge => {
                let doing = format!("cannot read {}", program.path().display());
                let damaged = self.images.forget_damaged(id, program).await;
                damaged.unwrap_or(RuntimeError::Io { doing, source })
            }
            error => not_runnable(id, &component.id, chain(&error)),
        }
    }
}

impl Guests {
    /// Gives each component what its guests find; files of theirs are put below `parts`. Blocks.
    pub(super) fn new(
        components: Vec<Component>,
        routes: Routes,
        config: &ContainerConfig,
        hostname: &str,
        parts: Vec<Staging>,
    ) -> Result<Self, RuntimeError> {
        let mut functions = Vec::with_capacity(components.len());
        for (component, part) in components.into_iter().zip(parts) {
            let environment = component.environment(config, hostname, part);
            let environment = Arc::new(environment.map_err(|error| {
                RuntimeError::InvalidConfig { field: "mounts".to_owned(), why: chain(&error) }
            })?);
            let (artifact, id) = (component.artifact, component.stored.id);
            match function::Component::new(id, &artifact, environment.clone()) {
                Some(function) => functions.push(function),
                // An image has a program alone.
                None => return Ok(Self::Program { artifact, environment }),
            }
        }
        Ok(Self::Function { components: functions, routes })
    }
}

impl Component {
    fn environment(
        &self,
        config: &ContainerConfig,
        hostname: &str,
        staging: Staging,
    ) -> Result<Environment, EnvironmentError> {
        let sees_files = self.artifact.sees_files();
        let environment = Environment::new(
            self.stored.argv(config),
            self.stored.envs(config, hostname),
            &self.stored.working_dir(config),
            self.root(config),
            config.mounts.clone(),
            config.etc.clone().filter(|_| sees_files),
            staging,
        )?;
        Ok(if sees_files { environment } else { environment.without_folders() })
    }

    /// Where its guests write what is not mounted, if they may.
    pub(super) fn own_files(
        &self,
        config: &ContainerConfig,
        staging: &Staging,
    ) -> Option<OwnFiles> {
        self.root(config)?.own_files(staging.folder())
    }

    fn root(&self, config: &ContainerConfig) -> Option<Root> {
        let (image, readonly) = (self.lease.clone(), config.readonly_rootfs);
        // A function's instances are many and short: they get a root from their image alone.
        let is_program = self.artifact.function().is_none() && self.artifact.sees_files();
        (image.is_some() || is_program && !readonly).then_some(Root { image, readonly })
    }
}

/// Where the requests of a container go.
fn routes(id: &ImageRef, image: &StoredImage) -> Result<Routes, RuntimeError> {
    let count = image.components.len();
    if count == 0 || image.routes.iter().any(|route| route.component >= count) {
        let why = "what the image index says of it is damaged; remove the image and pull it again";
        return Err(not_runnable(id, "", why.to_owned()));
    }
    Routes::new(&image.routes).map_err(|error| {
        let component = image.components.get(error.component);
        let component = component.map(|component| component.id.as_str()).unwrap_or_default();
        not_runnable(id, component, error.to_string())
    })
}

/// Why one of an image's components keeps it from running.
fn not_runnable(image: &ImageRef, component: &str, why: String) -> RuntimeError {
    let why = if component.is_empty() { why } else { format!("component {component}: {why}") };
    RuntimeError::NotRunnable { image: image.0.clone(), why }
}
