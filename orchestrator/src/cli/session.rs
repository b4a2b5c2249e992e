//! Which cluster a command speaks to, and how it asks.
//!
//! `--kubeconfig`, then `--data-dir`, then `KUBECONFIG`, then the cluster that has run
//! in the default data directory, then `~/.kube/config`: a command that is typed
//! beside a running `podium up` means that cluster, whatever kubectl's context is.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::AsyncBufRead;
use futures::stream::BoxStream;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{Status, WatchEvent};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::data_dir::DataDir;
use super::{UsageError, lacking};
use crate::client::discovery::nearest;
use crate::client::{Catalog, Served};

/// The namespace where nothing names another.
const DEFAULT_NAMESPACE: &str = "default";

/// Which cluster is meant.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// The kubeconfig that says how to reach the cluster.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one if none is named.
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The data directory of a cluster on this machine.
    #[arg(long, env = "PODIUM_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The namespace; the context's if none is named.
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

/// Why the server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// It refused, in its own words.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// It does not listen, or not with the certificate of this cluster.
    #[error(
        "cannot reach the cluster at {server}; if it does not run, start it with `podium up`, and if another is meant name it with --data-dir or --kubeconfig (`podium doctor` looks for more)"
    )]
    Unreachable {
        /// The API server.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// It said something that makes no sense.
    #[error("the answer of the cluster at {server} cannot be understood")]
    Answer {
        /// The API server.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl RequestError {
    /// The status code of a refusal; 0 if there was none.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            _ => 0,
        }
    }

    fn sort(server: &str, error: kube::Error) -> Self {
        let (server, unreachable) =
            (server.to_owned(), !matches!(error, kube::Error::SerdeError(_)));
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            error if unreachable => Self::Unreachable { server, source: Box::new(error) },
            error => Self::Answer { server, source: Box::new(error) },
        }
    }
}

/// What a request sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Nothing,
    /// An object, or a merge patch.
    Json(&'a Value),
    /// A patch of this media type.
    Patch(&'static str, &'a Value),
}

/// A connection to a cluster.
pub(super) struct Session {
    client: Client,
    /// The URL of the API server.
    pub(super) server: String,
    /// The namespace that is meant when an object names none.
    pub(super) namespace: String,
    catalog: OnceCell<Catalog>,
}

impl Cluster {
    /// The session that the flags and the environment describe.
    pub(super) async fn open(&self) -> Result<Session> {
        self.connect(None).await
    }

    /// The same with another server that trusts and shows the same certificates.
    pub(super) async fn open_at(&self, server: &str) -> Result<Session> {
        self.connect(Some(server)).await
    }

    async fn connect(&self, server: Option<&str>) -> Result<Session> {
        let (kubeconfig, from) = self.kubeconfig()?;
        if let Some(context) = &self.context {
            known_context(&kubeconfig, context, &from)?;
        }
        let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| format!("cannot use the kubeconfig {from}"))?;
        if let Some(server) = server {
            config.cluster_url = server.parse().with_context(|| format!("cannot use {server}"))?;
        }
        // Logs and watches are silent for as long as nothing happens.
        config.read_timeout = None;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config)
            .with_context(|| format!("cannot use the kubeconfig {from}"))?;
        Ok(Session { client, server, namespace, catalog: OnceCell::new() })
    }

    /// The kubeconfig, and where it was found.
    pub(super) fn kubeconfig(&self) -> Result<(Kubeconfig, String)> {
        let read = |path: &Path| {
            let config = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot use the kubeconfig {}", path.display()))?;
            Ok((config, path.display().to_string()))
        };
        if let Some(path) = &self.kubeconfig {
            return read(path);
        }
        if let Some(dir) = &self.data_dir {
            let path = dir.join("kubeconfig");
            if !path.exists() {
                anyhow::bail!(
                    "no cluster has run in {}; start one with `podium up --data-dir {}`",
                    dir.display(),
                    dir.display()
                );
            }
            return read(&path);
        }
        if let Some(config) = Kubeconfig::from_env().context("cannot use KUBECONFIG")? {
            return Ok((config, "KUBECONFIG".into()));
        }
        let own = DataDir::default_path().map(|dir| dir.join("kubeconfig"));
        let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".kube/config"));
        // A context is a name in the user's own file.
        let own = own.ok().filter(|path| self.context.is_none() && path.exists());
        let found = own.or_else(|| home.filter(|path| path.exists()));
        let none = "no cluster is known here; start one with `podium up`, or name one with --data-dir, --kubeconfig or KUBECONFIG";
        read(&found.context(none)?)
    }
}

fn known_context(kubeconfig: &Kubeconfig, wanted: &str, from: &str) -> Result<()> {
    let names = || kubeconfig.contexts.iter().map(|context| context.name.clone());
    if names().any(|name| name == wanted) {
        return Ok(());
    }
    let hint = match nearest(wanted, names()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; it has {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(UsageError(format!("--context {wanted:?}: {from} has no such context{hint}")).into())
}

impl Session {
    /// A session over a client that is there already, in the namespace `default`.
    pub(super) fn of(client: Client, server: String) -> Self {
        let namespace = DEFAULT_NAMESPACE.to_owned();
        Self { client, server, namespace, catalog: OnceCell::new() }
    }

    /// What the server serves; asked once.
    pub(super) async fn catalog(&self) -> Result<&Catalog, RequestError> {
        let fetch = async || Catalog::fetch(&self.client).await;
        let catalog = self.catalog.get_or_try_init(fetch).await;
        catalog.map_err(|error| RequestError::sort(&self.server, error))
    }

    /// The resource of an object.
    pub(super) async fn resource_of(&self, object: &Value) -> Result<&Served> {
        let text = |field: &str| object[field].as_str().filter(|text| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            let missing = ["apiVersion", "kind"].into_iter().filter(|field| text(field).is_none());
            anyhow::bail!("it has no {}", missing.collect::<Vec<_>>().join(" and no "));
        };
        let catalog = self.catalog().await?;
        if let Some(served) = catalog.of_kind(api_version, kind) {
            return Ok(served);
        }
        let same_kind = catalog.iter().find(|served| served.kind == kind);
        let hint = match same_kind {
            Some(served) => format!("; that kind is in {:?}", served.api_version()),
            None => {
                let near = || nearest(kind, catalog.iter().map(|served| served.kind.clone()));
                lacking::of_kind(kind)
                    .or_else(|| near().map(|near| format!("did you mean {near:?}?")))
                    .map_or_else(String::new, |hint| format!("; {hint}"))
            }
        };
        anyhow::bail!("no matches for kind {kind:?} in version {api_version:?}{hint}")
    }

    /// Sends a request and answers what came back as text.
    pub(super) async fn text(&self, path: &str, accept: &str) -> Result<String, RequestError> {
        let request = self.request(Method::GET, path, accept, Body::Nothing);
        self.client.request_text(request).await.map_err(|e| RequestError::sort(&self.server, e))
    }

    /// Reads an object, a list or a table.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<T, RequestError> {
        let request = self.request(Method::GET, path, accept, Body::Nothing);
        self.client.request(request).await.map_err(|e| RequestError::sort(&self.server, e))
    }

    /// Reads an object or a list as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RequestError> {
        self.read(path, "application/json").await
    }

    /// Changes something.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<Value, RequestError> {
        let request = self.request(method, path, "application/json", body);
        self.client.request(request).await.map_err(|e| RequestError::sort(&self.server, e))
    }

    /// Reads something that goes on.
    pub(super) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl AsyncBufRead + use<>, RequestError> {
        let request = self.request(Method::GET, path, "*/*", Body::Nothing);
        self.client.request_stream(request).await.map_err(|e| RequestError::sort(&self.server, e))
    }

    /// Watches a collection from a resourceVersion on.
    pub(super) async fn watch<T: DeserializeOwned + Clone + Send + 'static>(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<BoxStream<'static, kube::Result<WatchEvent<T>>>, RequestError> {
        let request = self.request(Method::GET, path, accept, Body::Nothing);
        let events = self.client.request_events(request).await;
        Ok(Box::pin(events.map_err(|error| RequestError::sort(&self.server, error))?))
    }

    /// An error of a stream, in the words of a request's.
    pub(super) fn explain(&self, error: kube::Error) -> RequestError {
        RequestError::sort(&self.server, error)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Body<'_>,
    ) -> Request<Vec<u8>> {
        let (media_type, bytes) = match body {
            Body::Nothing => (None, Vec::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Body::Patch(media_type, value) => (Some(media_type), value.to_string().into_bytes()),
        };
        let mut request = Request::builder().method(method).uri(path).header("accept", accept);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request.body(bytes).expect("paths are escaped and headers constant")
    }
}

/// Query parameters, escaped; without any it is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<&'static str, String>);

impl Query {
    /// With one more parameter, unless it is empty.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(name, value);
        }
        self
    }

    /// The path with these parameters.
    pub(super) fn on(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        format!("{path}?{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_looked_for_where_the_flags_say() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster { data_dir: Some(folder.path().to_path_buf()), ..Default::default() };
        let error = cluster.kubeconfig().unwrap_err().to_string();
        assert!(error.starts_with("no cluster has run in"), "{error}");
        assert!(error.contains("podium up --data-dir"), "{error}");

        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, "{apiVersion: v1, kind: Config, contexts: [{name: podium}]}")
            .unwrap();
        let (config, from) = cluster.kubeconfig().unwrap();
        assert_eq!(from, file.display().to_string());
        let error = known_context(&config, "podum", &from).unwrap_err().to_string();
        assert!(error.ends_with("did you mean \"podium\"?"), "{error}");
    }

    #[test]
    fn query_parameters_are_escaped_and_empty_ones_left_out() {
        let query = Query::default().with("labelSelector", "a in (b,c)").with("fieldSelector", "");
        assert_eq!(query.on("/pods"), "/pods?labelSelector=a+in+%28b%2Cc%29");
        assert_eq!(Query::default().on("/pods"), "/pods");
    }
}
