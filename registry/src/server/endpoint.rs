//! Paths of the distribution specification, parsed into what they name.
//!
//! A repository's name may hold slashes and words like `blobs`, so a path is read from its end.
//! What leaves this file is valid by its grammar: no `..` and no empty part reaches the store.
use uuid::Uuid;

use super::error::Error;
use crate::reference::{Digest, RepositoryName};
use crate::store::ManifestName;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`; a reference that is neither tag nor digest is an error
    /// only where it is written.
    Manifest(RepositoryName, Result<ManifestName, crate::reference::ReferenceError>),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<session>`
    Upload(RepositoryName, Uuid),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

impl Endpoint {
    /// The repository that it is in.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// Reads a path as it stands in the request.
    pub(super) fn parse(path: &str) -> Result<Self, Error> {
        let decoded = percent_decode(path).ok_or(Error::NoEndpoint)?;
        let rest = match decoded.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(Error::NoEndpoint)?,
            None => return Err(Error::NoEndpoint),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let digest = |text: &str| text.parse().map_err(|_| Error::Digest(shown(text)));
        match parts.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", session] => {
                let session = session.parse().map_err(|_| Error::UploadUnknown)?;
                Ok(Self::Upload(repository(name)?, session))
            }
            [name @ .., "blobs", text] => Ok(Self::Blob(repository(name)?, digest(text)?)),
            [name @ .., "referrers", text] => Ok(Self::Referrers(repository(name)?, digest(text)?)),
            [name @ .., "manifests", text] => {
                let named = if text.contains(':') {
                    Ok(ManifestName::Digest(digest(text)?))
                } else {
                    text.parse().map(ManifestName::Tag)
                };
                Ok(Self::Manifest(repository(name)?, named))
            }
            _ => Err(Error::NoEndpoint),
        }
    }
}

fn repository(parts: &[&str]) -> Result<RepositoryName, Error> {
    parts.join("/").parse().map_err(Error::Name)
}

/// A stranger's text, cut to what helps.
fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Decodes `%XX`; `None` where that is not text.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let mut value = [0];
        hex::decode_to_slice(digits, &mut value).ok()?;
        decoded.push(value[0]);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn names_may_hold_slashes_and_the_words_of_the_protocol() {
        let parse = |path: &str| Endpoint::parse(path).unwrap();
        assert_eq!(parse("/v2/"), Endpoint::Base);
        assert_eq!(parse("/v2"), Endpoint::Base);
        assert_eq!(parse("/v2/_catalog"), Endpoint::Catalog);
        assert_eq!(parse("/v2/a/b/tags/list"), Endpoint::Tags(name("a/b")));
        assert_eq!(parse("/v2/tags/list/tags/list"), Endpoint::Tags(name("tags/list")));
        assert_eq!(parse("/v2/a/blobs/uploads/"), Endpoint::Uploads(name("a")));
        let digest: Digest = DIGEST.parse().unwrap();
        let encoded = format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A"));
        assert_eq!(parse(&encoded), Endpoint::Blob(name("a"), digest.clone()));
        let manifest = Ok(ManifestName::Digest(digest));
        let path = format!("/v2/blobs/uploads/manifests/{DIGEST}");
        assert_eq!(parse(&path), Endpoint::Manifest(name("blobs/uploads"), manifest));
    }

    #[test]
    fn nothing_climbs_out() {
        for path in [
            "/v2/../../etc/passwd/tags/list",
            "/v2/a/%2e%2e/b/tags/list",
            "/v2/a/..%2f..%2fb/tags/list",
            "/v2//tags/list",
            "/v2/A/tags/list",
            "/v2/a/b%00/tags/list",
        ] {
            assert!(matches!(Endpoint::parse(path), Err(Error::Name(_))), "{path}");
        }
        assert!(matches!(
            Endpoint::parse("/v2/a/blobs/..%2f..%2fx"),
            Err(Error::Name(_) | Error::NoEndpoint)
        ));
        assert!(matches!(Endpoint::parse("/v2/a/blobs/sha256:.."), Err(Error::Digest(_))));
        assert!(matches!(Endpoint::parse("/v2/a/blobs/uploads/.."), Err(Error::UploadUnknown)));
        assert!(matches!(Endpoint::parse("/v2/%zz"), Err(Error::NoEndpoint)));
        assert!(matches!(Endpoint::parse("/v2x"), Err(Error::NoEndpoint)));
    }
}
