//! HTTP/1.1, by hyper, plain or over TLS, by rustls.
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection that many requests can go over, one after another.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to HOST:PORT; requests carry `host` in their header.
    pub async fn open(address: &str, host: &str) -> Result<Self> {
        Self::over(connect(address).await?, host).await
    }

    /// The same over TLS to a server whose certificate `roots` vouch for.
    pub async fn open_tls(address: &str, host: &str, roots: Arc<RootCertStore>) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, connect(address).await?).await.context("handshake")?;
        Self::over(stream, host).await
    }

    async fn over<T>(stream: T, host: &str) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; what ends it early fails the next request.
        tokio::spawn(connection);
        Ok(Self { sender, host: host.to_owned() })
    }

    /// Sends a GET; answers status and body.
    pub async fn get(&mut self, path: &str) -> Result<(u16, Bytes)> {
        self.sender.ready().await.context("the connection is closed")?;
        let request = hyper::Request::get(path).header("host", &self.host).body(Empty::new())?;
        let response = self.sender.send_request(request).await.context("send the request")?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.context("read the answer")?;
        Ok((status, body.to_bytes()))
    }

    /// Whether another request can go over it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

async fn connect(address: &str) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One GET over a connection of its own.
pub async fn http_get(address: &str, host: &str, path: &str) -> Result<(u16, String)> {
    let (status, body) = Connection::open(address, host).await?.get(path).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
