//! The listener: TLS, certificates and tokens.
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use podium::api::User;
use podium::auth::{Claims, Identity, Pki, SubjectNames};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::harness::Cluster;

/// A cluster behind a socket.
struct Secure {
    address: String,
    pki: Pki,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn start() -> Secure {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), &SubjectNames::default(), Timestamp::now()).unwrap();
    let tls = Arc::new(pki.server_config().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = cluster.server.clone();
    let stopped = stop.clone();
    let serving = tokio::spawn(async move { server.serve(listener, tls, stopped).await });
    Secure { address, pki, stop, serving, _dir: dir }
}

impl Secure {
    async fn client(&self, user: Value) -> Client {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(self.pki.authority());
        let kubeconfig: Kubeconfig = serde_json::from_value(json!({
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": self.address, "certificate-authority-data": authority,
            }}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }))
        .unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }
}

fn certificate(identity: &Identity) -> Value {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    json!({
        "client-certificate-data": encode(&identity.certificate),
        "client-key-data": encode(&identity.key),
    })
}

async fn list(client: Client) -> Result<usize, u16> {
    match Api::<ConfigMap>::all(client).list(&Default::default()).await {
        Ok(list) => Ok(list.items.len()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_the_cluster_names_the_caller() {
    let cluster = start().await;
    let admin = cluster.client(certificate(cluster.pki.admin())).await;
    assert!(list(admin).await.is_ok());
    let alice = cluster.pki.issue_client(&User::component("alice"), Timestamp::now()).unwrap();
    assert_eq!(list(cluster.client(certificate(&alice)).await).await, Err(403));
    assert_eq!(list(cluster.client(json!({})).await).await, Err(403));
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_no_connection() {
    let cluster = start().await;
    let dir = tempfile::tempdir().unwrap();
    let other = Pki::open(dir.path(), &SubjectNames::default(), Timestamp::now()).unwrap();
    let client = cluster.client(certificate(other.admin())).await;
    let refused = Api::<ConfigMap>::all(client).list(&Default::default()).await;
    assert!(!matches!(refused, Ok(_) | Err(kube::Error::Api(_))), "{refused:?}");
}

#[tokio::test]
async fn a_token_that_this_cluster_did_not_sign_is_refused() {
    let cluster = start().await;
    let claims = Claims::for_user(
        &User { name: "x".into(), groups: vec!["system:masters".into()], ..User::default() },
        Timestamp::now(),
        SignedDuration::from_hours(1),
    );
    // The server's tokens are signed by another key than this folder's.
    let token = cluster.pki.tokens().issue(&claims);
    assert_eq!(list(cluster.client(json!({"token": token})).await).await, Err(401));
}

/// A connection of HTTP/1.1 as the administrator.
async fn connect(cluster: &Secure) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(cluster.pki.authority().as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let admin = cluster.pki.admin();
    let certificate = CertificateDer::from_pem_slice(admin.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(admin.key.as_bytes()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let address = cluster.address.strip_prefix("https://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

const TOO_MUCH: usize = 20 * 1024 * 1024;

fn head(more: &str) -> String {
    format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\r\n\r\n"
    )
}

/// Reads an answer until its body is there; returns status line and `Status`.
async fn answer(stream: &mut TlsStream<TcpStream>) -> (String, Value) {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.unwrap();
        assert!(read > 0, "the answer is cut off: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(status) = serde_json::from_str(body)
        {
            return (head.lines().next().unwrap().to_owned(), status);
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_reads_why_it_was_refused() {
    let cluster = start().await;
    let body = vec![b' '; TOO_MUCH];
    let chunk = format!("{TOO_MUCH:x}\r\n");
    for (more, before, after) in [
        (format!("content-length: {TOO_MUCH}"), "", ""),
        ("transfer-encoding: chunked".to_owned(), chunk.as_str(), "\r\n0\r\n\r\n"),
    ] {
        let mut stream = connect(&cluster).await;
        for part in [head(&more).as_bytes(), before.as_bytes(), &body, after.as_bytes()] {
            stream.write_all(part).await.unwrap();
        }
        stream.flush().await.unwrap();
        let (line, status) = answer(&mut stream).await;
        assert_eq!(line, "HTTP/1.1 413 Payload Too Large");
        assert_eq!(status["reason"], "RequestEntityTooLarge");
        // What was refused has been read: the connection is good for the next.
        stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let cluster = start().await;
    let mut stream = connect(&cluster).await;
    let asking = head(&format!("content-length: {TOO_MUCH}\r\nexpect: 100-continue"));
    stream.write_all(asking.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 413 Payload Too Large");
}

#[tokio::test]
async fn the_server_stops_although_somebody_watches() {
    let cluster = start().await;
    let client = cluster.client(certificate(cluster.pki.admin())).await;
    let api: Api<ConfigMap> = Api::all(client);
    let (began, begins) = tokio::sync::oneshot::channel();
    let watch = tokio::spawn(async move {
        use futures::StreamExt;
        let mut events = api.watch(&Default::default(), "0").await.unwrap().boxed();
        events.next().await.unwrap().unwrap();
        began.send(()).unwrap();
        while events.next().await.is_some() {}
    });
    begins.await.unwrap();
    cluster.stop.cancel();
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, cluster.serving).await.expect("it stops").unwrap();
    tokio::time::timeout(patience, watch).await.expect("the watch ends").unwrap();
}
