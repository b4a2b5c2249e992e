//! A sandbox: a Pod's address, and where its containers log.
use std::time::SystemTime;

use super::chain;
use crate::cri::{Id, PodSandboxConfig, PodSandboxState, PodSandboxStatus, RuntimeError};
use crate::network::{AttachConfig, PodNet, Switch};

/// One Pod on the network, or after it.
#[derive(Clone)]
pub(super) struct Sandbox {
    pub(super) id: Id,
    pub(super) config: PodSandboxConfig,
    created_at: SystemTime,
    net: Option<PodNet>,
}

impl Sandbox {
    /// Gives the Pod its address.
    pub(super) fn attach(
        id: Id,
        config: PodSandboxConfig,
        switch: &Switch,
    ) -> Result<Self, RuntimeError> {
        let attach = AttachConfig {
            // What the guest calls itself, which it can look up before anybody else can.
            name: match config.hostname.as_str() {
                "" => config.metadata.name.clone(),
                hostname => hostname.to_owned(),
            },
            namespace: config.metadata.namespace.clone(),
            wanted_ip: config.wanted_ip,
            dns: config.dns.clone(),
        };
        let exhausted = |error| RuntimeError::ResourceExhausted(chain(&error));
        let net = switch.attach(attach).map_err(exhausted)?;
        Ok(Self { id, config, created_at: SystemTime::now(), net: Some(net) })
    }

    pub(super) fn net(&self) -> Option<&PodNet> {
        self.net.as_ref()
    }

    /// Takes the address back.
    pub(super) fn detach(&mut self) {
        if let Some(net) = self.net.take() {
            net.detach();
        }
    }

    pub(super) fn status(&self) -> PodSandboxStatus {
        let ready = self.net.is_some();
        let state = if ready { PodSandboxState::Ready } else { PodSandboxState::NotReady };
        PodSandboxStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state,
            created_at: self.created_at,
            ip: self.net.as_ref().map(PodNet::ip),
            labels: self.config.labels.clone(),
        }
    }
}
