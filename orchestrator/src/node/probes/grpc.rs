//! The gRPC health check, as `grpc.health.v1.Health/Check` has it.
//!
//! One call over HTTP/2 with two small messages: they are written and read by
//! hand, as a gRPC library would be many times as large as what it does here.
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of an answer: a health check has two.
const MAX_ANSWER: usize = 4 << 10;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The status of a call that went well.
const OK: &str = "0";
/// The status of a call that the server does not know.
const UNIMPLEMENTED: &str = "12";
/// What a service may answer, by number.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks over `stream`, which leads to `to`, whether a service is well; why not, in the kubelet's words.
pub(super) async fn check<S>(stream: S, to: SocketAddr, service: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: &dyn std::fmt::Display| format!("error: health rpc probe failed: {error}");
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| failed(&error))?;
    let request = Request::post(format!("http://{to}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "kube-probe/1.36")
        .body(Full::new(question(service)))
        .map_err(|error| failed(&error))?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(failed(&format_args!("the server answered {}", head.status)));
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| failed(&error))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        judge(&head.headers, &trailers, &body.to_bytes())
    };
    tokio::select! {
        biased;
        answer = ask => answer,
        ended = connection => match ended {
            Ok(()) => Err(failed(&"the connection was closed")),
            Err(error) => Err(failed(&error)),
        },
    }
}

/// `HealthCheckRequest{service}`, framed.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        // As protobuf writes lengths: seven bits at a time.
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.unsplit(message);
    framed.freeze()
}

fn judge(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let field = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    match field("grpc-status") {
        OK => {}
        UNIMPLEMENTED => {
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                field("grpc-message")
            ));
        }
        "" => return Err("error: health rpc probe failed: the server speaks no gRPC".to_owned()),
        code => {
            let why = field("grpc-message");
            return Err(format!("error: health rpc probe failed: status {code}: {why}"));
        }
    }
    let state = match body.get(PREFIX..) {
        Some([0x08, state, ..]) => usize::from(*state),
        // A field that is zero is not written.
        _ => 0,
    };
    match STATES.get(state).copied().unwrap_or(STATES[0]) {
        "SERVING" => Ok(()),
        other => Err(format!("service unhealthy (responded with {other:?})")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderValue;
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};

    use super::*;

    const TO: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 5)), 9000);

    /// Checks a service of an HTTP/2 server that answers with `body` and `status`.
    async fn checked(
        service: &str,
        body: &'static [u8],
        status: &'static str,
    ) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(4096);
        let asked = question(service);
        let answer = move |request: Request<Incoming>| {
            let asked = asked.clone();
            async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), asked);
                let trailers = HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static(status),
                )]);
                let frames = [Frame::data(Bytes::from_static(body)), Frame::trailers(trailers)];
                let frames = frames.map(Ok::<_, Infallible>);
                Ok::<_, Infallible>(http::Response::new(StreamBody::new(futures::stream::iter(
                    frames,
                ))))
            }
        };
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(far), hyper::service::service_fn(answer));
        let server = tokio::spawn(server);
        let verdict = check(near, TO, service).await;
        server.abort();
        verdict
    }

    #[tokio::test]
    async fn a_service_is_well_only_if_it_says_so() {
        assert_eq!(checked("", b"\0\0\0\0\x02\x08\x01", "0").await, Ok(()));
        let long = "a".repeat(200);
        assert_eq!(checked(&long, b"\0\0\0\0\x02\x08\x01", "0").await, Ok(()));
        assert_eq!(
            checked("db", b"\0\0\0\0\x02\x08\x02", "0").await.unwrap_err(),
            "service unhealthy (responded with \"NOT_SERVING\")"
        );
        assert_eq!(
            checked("", b"\0\0\0\0\0", "0").await.unwrap_err(),
            "service unhealthy (responded with \"UNKNOWN\")"
        );
    }

    #[tokio::test]
    async fn a_server_without_health_checks_is_told_apart() {
        let refused = checked("", b"", "12").await.unwrap_err();
        assert!(refused.starts_with("error: this server does not implement"), "{refused}");
        let refused = checked("", b"", "14").await.unwrap_err();
        assert!(refused.starts_with("error: health rpc probe failed: status 14"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_is_an_error() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let refused = check(near, TO, "").await.unwrap_err();
        assert!(refused.starts_with("error: health rpc probe failed"), "{refused}");
    }
}
