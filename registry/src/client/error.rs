//! Why an artifact could not be pulled or pushed, told apart so that a person knows what to do.
use std::error::Error as _;

use oci_distribution::errors::{DigestError as OciDigestError, OciDistributionError, OciErrorCode};

use crate::artifact::ArtifactError;
use crate::manifest::ManifestError;
use crate::reference::Reference;
use crate::store::StoreError;

/// What can go wrong between us and a registry.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An extra CA certificate is none.
    #[error("an extra CA certificate cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// No HTTP client could be made.
    #[error("cannot set up the client for registries")]
    Setup(#[source] Box<OciDistributionError>),
    /// The registry has no such artifact.
    #[error("{reference} not found in the registry")]
    ManifestUnknown {
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// The registry lacks a part of the artifact.
    #[error("a part of {reference} is missing in the registry; push the image again")]
    BlobUnknown {
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// The registry wants other credentials, or hides what one may not see.
    #[error(
        "registry {registry} denies access to {reference}; check that it exists and that you are logged in"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// There is no connection: refused, no such host, TLS.
    #[error("cannot reach registry {registry}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The registry takes too long.
    #[error("registry {registry} does not answer in time")]
    Timeout {
        /// The registry.
        registry: String,
    },
    /// The connection broke while content came.
    #[error("the connection to registry {registry} broke")]
    Interrupted {
        /// The registry.
        registry: String,
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// The registry asks to slow down.
    #[error("registry {registry} limits requests; try again later")]
    TooManyRequests {
        /// The registry.
        registry: String,
    },
    /// What came is not what was named.
    #[error("{reference}: what the registry sent does not match its digest: {detail}")]
    DigestMismatch {
        /// What was asked for.
        reference: Box<Reference>,
        /// Which digest was wanted and which came.
        detail: String,
    },
    /// A part is larger than we take.
    #[error("{reference}: {what} has {size} bytes, more than {limit}")]
    TooLarge {
        /// What was asked for.
        reference: Box<Reference>,
        /// `layer`, `configuration`, …
        what: &'static str,
        /// Its bytes.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// Its manifest cannot be understood.
    #[error("{reference}: cannot read its manifest")]
    Manifest {
        /// What was asked for.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// It is nothing that runs here.
    #[error("{reference} cannot be run")]
    Artifact {
        /// What was asked for.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: ArtifactError,
    },
    /// It could not be kept.
    #[error("cannot store {reference}")]
    Store {
        /// What was asked for.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The registry answered something else.
    #[error("registry {registry} failed")]
    Registry {
        /// The registry.
        registry: String,
        /// What it answered.
        #[source]
        source: Box<OciDistributionError>,
    },
}

/// What was being fetched or sent, as it decides what "not found" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Manifest,
    Blob,
}

impl ClientError {
    /// Sorts what the OCI client reports.
    pub(super) fn sort(reference: &Reference, part: Part, source: OciDistributionError) -> Self {
        let registry = reference.registry().to_owned();
        let reference = Box::new(reference.clone());
        let unknown = |reference| match part {
            Part::Manifest => Self::ManifestUnknown { reference },
            Part::Blob => Self::BlobUnknown { reference },
        };
        match source {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                Self::Unauthorized { registry, reference }
            }
            OciDistributionError::ImageManifestNotFoundError(_) => unknown(reference),
            OciDistributionError::DigestError(mismatch) => {
                Self::DigestMismatch { reference, detail: mismatch.to_string() }
            }
            OciDistributionError::RequestError(error) => match error.status().map(|s| s.as_u16()) {
                Some(404) => unknown(reference),
                Some(401 | 403) => Self::Unauthorized { registry, reference },
                Some(429) => Self::TooManyRequests { registry },
                _ if error.is_connect() => {
                    Self::Unreachable { registry, source: Box::new(error.into()) }
                }
                _ if error.is_timeout() => Self::Timeout { registry },
                _ => Self::Registry { registry, source: Box::new(error.into()) },
            },
            OciDistributionError::ServerError { code: 401 | 403, .. } => {
                Self::Unauthorized { registry, reference }
            }
            OciDistributionError::ServerError { code: 404, .. } => unknown(reference),
            OciDistributionError::ServerError { code: 429, .. } => {
                Self::TooManyRequests { registry }
            }
            OciDistributionError::RegistryError { ref envelope, .. } => {
                match envelope.errors.first().map(|e| &e.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound,
                    ) => unknown(reference),
                    Some(OciErrorCode::BlobUnknown) => Self::BlobUnknown { reference },
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        Self::Unauthorized { registry, reference }
                    }
                    Some(OciErrorCode::Toomanyrequests) => Self::TooManyRequests { registry },
                    _ => Self::Registry { registry, source: Box::new(source) },
                }
            }
            source => Self::Registry { registry, source: Box::new(source) },
        }
    }

    /// Sorts an error of a body that was coming: the OCI client verifies it too, and reports a
    /// mismatch as an error of the stream.
    pub(super) fn broken(reference: &Reference, source: std::io::Error) -> Self {
        let mismatch = source.get_ref().and_then(|inner| inner.downcast_ref::<OciDigestError>());
        if let Some(mismatch) = mismatch {
            let detail = mismatch.to_string();
            return Self::DigestMismatch { reference: Box::new(reference.clone()), detail };
        }
        Self::Interrupted { registry: reference.registry().to_owned(), source }
    }

    /// Sorts an error of the store that content was written to.
    pub(super) fn unstored(reference: &Reference, source: StoreError) -> Self {
        let reference = Box::new(reference.clone());
        match source {
            StoreError::DigestMismatch { .. } => {
                Self::DigestMismatch { reference, detail: source.to_string() }
            }
            source => Self::Store { reference, source },
        }
    }

    /// The error and all its sources in one line, for an event or a container's status.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let said = error.to_string();
            // Some libraries print their source in their own text too.
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            source = error.source();
        }
        text
    }
}
