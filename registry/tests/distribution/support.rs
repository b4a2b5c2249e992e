//! A registry for one test, in process or on a listener, and requests to it.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use registry::Digest;
use registry::client::Auth;
use registry::manifest::IMAGE_MANIFEST;
use registry::server::{Authenticator, router};
use registry::store::Repositories;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// The password of whoever may write.
pub const TOKEN: &str = "a-token-of-the-cluster";

struct Token;

impl Authenticator for Token {
    fn may_write(&self, _user: &str, password: &str) -> bool {
        password == TOKEN
    }
}

/// Credentials that may write.
pub fn writer() -> Auth {
    Auth::Basic { username: "anyone".to_owned(), password: TOKEN.to_owned() }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust us breaks off.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A registry over a fresh directory.
pub struct Registry {
    pub store: Repositories,
    router: Router,
    _dir: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status and error code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        let code = self.json()["errors"][0]["code"].as_str().unwrap().to_owned();
        (self.status.as_u16(), code)
    }
}

/// What [`Answer::refusal`] is compared with.
pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

impl Registry {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Repositories::open(dir.path()).unwrap();
        let router = router(store.clone(), Arc::new(Token), Scheme::HTTP);
        Self { store, router, _dir: dir }
    }

    /// Serves it on a free port of the loopback; ends with the test's runtime.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Serves it on another free port, but sends `content` as a blob.
    pub async fn listen_but_send(&self, name: &str, blob: &Digest, content: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let path = format!("/v2/{name}/blobs/{blob}");
        let lying = axum::routing::get(move || async move { content });
        let router = Router::new().route(&path, lying).fallback_service(self.router.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Serves it over TLS; also answers the CA certificate in PEM.
    pub async fn listen_tls(&self) -> (SocketAddr, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let pem = made.cert.pem().into_bytes();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let router = router(self.store.clone(), Arc::new(Token), Scheme::HTTPS);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, pem)
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request with credentials that may write.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("anyone:{TOKEN}")));
        let mut request =
            Request::builder().method(method).uri(path).header("Authorization", basic);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Reads without credentials.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Pushes a blob at once.
    pub async fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.call(Method::POST, &path, &[], content.to_vec()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Changes a byte of content on disk.
    pub fn damage(&self, digest: &Digest) {
        let path = self.store.content().blob_path(digest);
        let mut content = std::fs::read(&path).unwrap();
        content[0] ^= 1;
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        // The clock of a file system may tick more slowly than we push.
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    }

    /// Pushes a manifest under a tag or digest.
    pub async fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        let media_type = manifest["mediaType"].as_str().unwrap_or(IMAGE_MANIFEST);
        let headers = [("Content-Type", media_type)];
        self.call(Method::PUT, &path, &headers, manifest.to_string()).await
    }
}

/// A descriptor of `content`.
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
}

/// A manifest of any artifact, with the configuration `{}` and one layer.
pub fn manifest(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/octet-stream", layer)],
    })
}
