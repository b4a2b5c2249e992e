//! References: the names of artifacts, `host/repository[:tag][@digest]`.
//!
//! They are parsed once, at the edge. A [`Reference`] always names its registry: a text without
//! a host is completed either as docker does ([`str::parse`]) or from the setting
//! `unqualified-registries` ([`Reference::resolve`]), so that objects and events show it in full.
use std::fmt;
use std::str::FromStr;

mod digest;
mod names;

pub(crate) use digest::Hasher;
pub use digest::{Algorithm, Digest, DigestError};
pub use names::{MAX_NAME_LEN, MAX_TAG_LEN, RepositoryName, Tag};

/// Docker's own registry, meant by a reference without a host.
pub const DOCKER_HUB: &str = "docker.io";

/// Names of [`DOCKER_HUB`] from its early days.
const OLD_DOCKER_HUB: &str = "index.docker.io";

/// Where Docker Hub keeps what has no owner's name before it.
const OFFICIAL: &str = "library";

/// As long as the text of a reference may be: a name, a tag and a sha512 digest.
const MAX_REFERENCE_LEN: usize = MAX_NAME_LEN + MAX_TAG_LEN + 140;

/// Names an artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// A text that names no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the reference is empty")]
    Empty,
    /// It is longer than any valid one.
    #[error("the reference is longer than {MAX_REFERENCE_LEN} characters")]
    TooLong,
    /// The host before the first slash is none.
    #[error("{0:?} is not a registry host with an optional port")]
    Registry(String),
    /// The repository is longer than [`MAX_NAME_LEN`].
    #[error("repository name must not be more than {MAX_NAME_LEN} characters")]
    NameTooLong,
    /// The repository has upper-case letters.
    #[error("repository name ({0}) must be lowercase")]
    NotLowercase(String),
    /// The repository does not follow the grammar.
    #[error(
        "repository name ({0}) must be lower-case words and digits joined by '.', '_', '__' or '-', in parts joined by '/'"
    )]
    Name(String),
    /// The repository looks like an image id.
    #[error("repository name ({0}) cannot be 64 hexadecimal digits")]
    LooksLikeId(String),
    /// The tag does not follow the grammar.
    #[error(
        "tag {0:?} must be at most {MAX_TAG_LEN} letters, digits, '_', '.' or '-', beginning with a letter, digit or '_'"
    )]
    Tag(String),
    /// The digest does not follow the grammar.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It has no host, and none is configured.
    #[error("{0:?} names no registry, and no unqualified-registries are configured")]
    Unqualified(String),
}

/// A reference as it was written, its host still unknown if it had none.
struct Written<'a> {
    registry: Option<&'a str>,
    repository: &'a str,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// A reference to a tag.
    pub fn with_tag(
        registry: &str,
        repository: RepositoryName,
        tag: Tag,
    ) -> Result<Self, ReferenceError> {
        Self::build(registry, repository.as_str(), Some(tag), None)
    }

    /// The first registry of `unqualified` completes a reference without a host; one with a
    /// host is read as docker does.
    pub fn resolve(text: &str, unqualified: &[String]) -> Result<Self, ReferenceError> {
        let mut candidates = Self::candidates(text, unqualified)?;
        Ok(candidates.swap_remove(0))
    }

    /// What a reference may mean, in the order to try: one candidate if it names its host,
    /// else one for each registry of `unqualified`. Never empty.
    pub fn candidates(text: &str, unqualified: &[String]) -> Result<Vec<Self>, ReferenceError> {
        let written = Written::read(text)?;
        let registries: Vec<&str> = match written.registry {
            Some(registry) => vec![registry],
            None => unqualified.iter().map(String::as_str).collect(),
        };
        if registries.is_empty() {
            return Err(ReferenceError::Unqualified(text.to_owned()));
        }
        registries
            .into_iter()
            .map(|registry| {
                let Written { repository, tag, digest, .. } = &written;
                Self::build(registry, repository, tag.clone(), digest.clone())
            })
            .collect()
    }

    fn build(
        registry: &str,
        repository: &str,
        tag: Option<Tag>,
        digest: Option<Digest>,
    ) -> Result<Self, ReferenceError> {
        if !names::is_host(registry) {
            return Err(ReferenceError::Registry(registry.to_owned()));
        }
        let registry = if registry == OLD_DOCKER_HUB { DOCKER_HUB } else { registry };
        let official = registry == DOCKER_HUB && !repository.contains('/');
        let repository: RepositoryName =
            if official { format!("{OFFICIAL}/{repository}").parse() } else { repository.parse() }?;
        if registry.len() + 1 + repository.as_str().len() > MAX_NAME_LEN {
            return Err(ReferenceError::NameTooLong);
        }
        let tag = if digest.is_none() { Some(tag.unwrap_or_else(Tag::latest)) } else { tag };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Host and port of the registry.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within it.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag; present whenever there is no digest.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, which decides where both are given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether it may mean something else tomorrow: the kubelet then pulls `Always` by default
    /// if its tag is `latest`.
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_ref().is_some_and(|tag| tag.as_str() == "latest")
    }

    /// `host/repository@digest`: this repository at a fixed content.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// `host/repository`, without what selects a version.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl<'a> Written<'a> {
    fn read(text: &'a str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > MAX_REFERENCE_LEN {
            return Err(ReferenceError::TooLong);
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (registry, rest) = match named.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (Some(first), rest),
            _ => (None, named),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse::<Tag>()?)),
            None => (rest, None),
        };
        let is_id = repository.len() == 64 && repository.bytes().all(|b| b.is_ascii_hexdigit());
        if registry.is_none() && is_id {
            return Err(ReferenceError::LooksLikeId(repository.to_owned()));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Docker's rule for `first/rest`: a host has a dot, a port or a capital letter, or is `localhost`.
fn looks_like_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':', '['])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads a reference as docker does: Docker Hub where no host is named, its `library/` where
    /// no owner is, `latest` where neither tag nor digest is.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let Written { registry, repository, tag, digest } = Written::read(text)?;
        Self::build(registry.unwrap_or(DOCKER_HUB), repository, tag, digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
