//! Ways to reach the API server.
use std::path::{Path, PathBuf};

use axum::Router;
use http::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceExt;

use crate::api::User;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or does not say how to connect.
    #[error("cannot use the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// Its certificates or keys cannot be used.
    #[error("cannot make a client from the kubeconfig {path}")]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client that calls `router` directly, without a socket, as `user`.
///
/// The user travels as a typed request extension, which no header can forge.
/// Must be called inside a Tokio runtime.
pub fn in_process(router: Router, user: User) -> Client {
    let service = router.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(user.clone());
        request
    });
    Client::new(service, "default")
}

/// A client over TLS, as the current context of a kubeconfig says.
pub async fn from_kubeconfig(path: &Path) -> Result<Client, ConnectError> {
    let unusable =
        |source| ConnectError::Kubeconfig { path: path.into(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
    Client::try_from(config)
        .map_err(|source| ConnectError::Client { path: path.into(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Extension, Json};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use serde_json::{Value, json};

    use super::*;

    async fn whoami(Extension(user): Extension<User>) -> Json<Value> {
        Json(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "me"}, "data": {"user": user.name},
        }))
    }

    #[tokio::test]
    async fn requests_in_process_carry_the_identity_of_the_client() {
        let router = Router::new().route("/api/v1/namespaces/default/configmaps/me", get(whoami));
        let client = in_process(router, User::component("system:kube-scheduler"));

        let me = Api::<ConfigMap>::default_namespaced(client).get("me").await.unwrap();

        assert_eq!(me.data.unwrap()["user"], "system:kube-scheduler");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let Err(error) = from_kubeconfig(Path::new("/nowhere/kubeconfig")).await else {
            panic!("there is no such file");
        };
        assert_eq!(error.to_string(), "cannot use the kubeconfig /nowhere/kubeconfig");
    }
}
