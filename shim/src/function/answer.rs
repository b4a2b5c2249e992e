//! What the caller gets: the guest's answer as it comes, or why there is none.
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::cri::ExitReason;
use crate::executor::GuestTask;
use crate::network::{Body, BoxError, Response};

/// What the guest sends first.
type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Where it sends it.
pub(super) type Head = oneshot::Sender<Answer>;

/// Why a request ended badly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Its guest trapped or went over a limit.
    #[error("the function failed: {}", .0.as_str())]
    Guest(ExitReason, String),
    /// It took too long.
    #[error("the function did not finish in time")]
    Deadline,
    /// Its container was stopped by force.
    #[error("the function was stopped")]
    Killed,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Guest(..) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Killed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// How the guest ended; empty while it runs and where it ended well. Set before
/// its ends of the channels are dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<OnceLock<Failure>>);

impl Verdict {
    pub(super) fn set(&self, failure: Failure) {
        // The first failure is the one that counts.
        drop(self.0.set(failure));
    }

    fn failure(&self) -> Option<&Failure> {
        self.0.get()
    }
}

/// Makes the caller's response of what the guest sent.
pub(super) fn response(
    answer: Result<Answer, oneshot::error::RecvError>,
    task: GuestTask,
    verdict: Verdict,
    head_only: bool,
) -> Response {
    match answer {
        Ok(Ok(answer)) if task.is_done() && verdict.failure().is_none() => {
            whole(answer, task, verdict)
        }
        Ok(Ok(answer)) => {
            if head_only {
                // Nobody reads its body, and that is no reason to end it.
                task.detach();
                return answer.map(|_| empty());
            }
            let promised = content_length(answer.headers());
            answer.map(|body| Streamed { body, task: Some(task), verdict, promised }.boxed_unsync())
        }
        Ok(Err(code)) => {
            tracing::debug!(?code, "a function answered with an error");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the function answered with an error")
        }
        Err(_) => match verdict.failure() {
            Some(failure) => plain(failure.status(), &failure.to_string()),
            None => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the function ended without an answer")
            }
        },
    }
}

/// The guest has ended: its whole body waits, and goes out with its length.
fn whole(answer: http::Response<HyperOutgoingBody>, task: GuestTask, verdict: Verdict) -> Response {
    let (parts, body) = answer.into_parts();
    // Not to be put off by tokio: all of it is here.
    let body = match tokio::task::unconstrained(body.collect()).now_or_never() {
        Some(Ok(collected)) if collected.trailers().is_none() => {
            Full::new(collected.to_bytes()).map_err(|never| match never {}).boxed_unsync()
        }
        Some(Ok(collected)) => collected.map_err(|never| match never {}).boxed_unsync(),
        // It was not finished by the guest.
        Some(Err(_)) | None => {
            verdict.set(Failure::Guest(ExitReason::Error, "unfinished body".to_owned()));
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the function did not finish its answer",
            );
        }
    };
    drop(task);
    Response::from_parts(parts, body)
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer of our own.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    let body = Full::new(Bytes::from(format!("{text}\n")));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let text = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that its guest is still writing. Dropped before its end, the caller
/// has gone and the guest is ended; at its end the guest may go on, up to its
/// deadline.
struct Streamed {
    body: HyperOutgoingBody,
    task: Option<GuestTask>,
    verdict: Verdict,
    /// Bytes that its `content-length` still promises.
    promised: Option<u64>,
}

impl Streamed {
    fn finish(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let failure = || self.verdict.failure().cloned();
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.promised = self.promised.map(|left| left.saturating_sub(bytes));
                if self.promised == Some(0) {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let error = failure().map_or_else(
                    || BoxError::from(format!("the function broke its answer off: {error:?}")),
                    BoxError::from,
                );
                Poll::Ready(Some(Err(error)))
            }
            // A store that is dropped closes the body: only the verdict tells
            // a whole answer from one that broke off.
            None => match failure() {
                Some(failure) if self.task.take().is_some() => {
                    Poll::Ready(Some(Err(failure.into())))
                }
                _ => {
                    self.finish();
                    Poll::Ready(None)
                }
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.promised.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
