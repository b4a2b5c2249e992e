//! Plain HTTP/1.1, by hyper.
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection that many requests can go over, one after another.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to HOST:PORT; requests carry `host` in their header.
    pub async fn open(address: &str, host: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
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

/// One GET over a connection of its own.
pub async fn http_get(address: &str, host: &str, path: &str) -> Result<(u16, String)> {
    let (status, body) = Connection::open(address, host).await?.get(path).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
