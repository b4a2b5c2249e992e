//! Credentials for registries: given by the caller, or those that Docker keeps.
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_distribution::secrets::RegistryAuth;

use crate::reference::DOCKER_HUB;
use crate::store::blocking;

/// Under which name Docker keeps what belongs to Docker Hub.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Who asks.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user.
    Basic {
        /// Name.
        username: String,
        /// Password or token.
        password: String,
    },
    /// Who holds this token.
    Bearer(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).finish_non_exhaustive()
            }
            Self::Bearer(_) => f.debug_struct("Bearer").finish_non_exhaustive(),
        }
    }
}

impl From<Auth> for RegistryAuth {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Anonymous => Self::Anonymous,
            Auth::Basic { username, password } => Self::Basic(username, password),
            Auth::Bearer(token) => Self::Bearer(token),
        }
    }
}

/// Docker's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there but cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file or its credential helper gives nothing usable.
    #[error("cannot get the credentials for {registry} from {}", path.display())]
    Get {
        /// The registry.
        registry: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CredentialRetrievalError,
    },
    /// The credential is of a kind that is exchanged in a way we do not know.
    #[error(
        "{} holds an identity token for {registry}, which is not supported; log in with a user name and a token as password", path.display()
    )]
    IdentityToken {
        /// The registry.
        registry: String,
        /// The file.
        path: PathBuf,
    },
}

impl Auth {
    /// What `docker login` kept for a registry: from `config.json` in `DOCKER_CONFIG` or in
    /// `.docker` of the home folder, asking the credential helper named there if there is one.
    /// Anonymous if Docker knows nothing.
    pub async fn from_docker(registry: &str) -> Result<Self, CredentialsError> {
        let Some(path) = docker_config() else { return Ok(Self::Anonymous) };
        Self::from_docker_config(&path, registry).await
    }

    /// [`Auth::from_docker`] with the path of a `config.json`.
    pub async fn from_docker_config(path: &Path, registry: &str) -> Result<Self, CredentialsError> {
        let (path, registry) = (path.to_owned(), registry.to_owned());
        // A credential helper is a process that is waited for.
        blocking(move || read(path, registry)).await
    }
}

fn docker_config() -> Option<PathBuf> {
    let home = || {
        let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"))?;
        Some(Path::new(&home).join(".docker"))
    };
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?;
    Some(dir.join("config.json"))
}

fn read(path: PathBuf, registry: String) -> Result<Auth, CredentialsError> {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Auth::Anonymous),
        Err(source) => return Err(CredentialsError::Open { path, source }),
    };
    let server = if registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { &registry };
    match docker_credential::get_credential_from_reader(BufReader::new(file), server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Auth::Basic { username, password })
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(CredentialsError::IdentityToken { registry, path })
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Auth::Anonymous),
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            // The helper protocol's way to say that it has none.
            Ok(Auth::Anonymous)
        }
        Err(source) => Err(CredentialsError::Get { registry, path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    #[tokio::test]
    async fn what_docker_login_kept_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let auth = BASE64_STANDARD.encode("me:secret");
        let config = serde_json::json!({"auths": {"ghcr.io": {"auth": auth}}});
        std::fs::write(&path, config.to_string()).unwrap();

        let found = Auth::from_docker_config(&path, "ghcr.io").await.unwrap();
        assert_eq!(found, Auth::Basic { username: "me".into(), password: "secret".into() });
        assert!(!format!("{found:?}").contains("secret"));
        assert_eq!(Auth::from_docker_config(&path, "quay.io").await.unwrap(), Auth::Anonymous);
    }

    #[tokio::test]
    async fn without_a_file_nobody_asks_and_a_broken_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(Auth::from_docker_config(&path, "ghcr.io").await.unwrap(), Auth::Anonymous);
        std::fs::write(&path, "{").unwrap();
        let refused = Auth::from_docker_config(&path, "ghcr.io").await;
        assert!(matches!(refused, Err(CredentialsError::Get { .. })), "{refused:?}");
    }
}
