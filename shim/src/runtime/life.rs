//! A container's life: one future that owns the guest, from start to exit.
//!
//! A stop sets the time until which the guest may end by itself; an earlier
//! time replaces a later one, so that force can follow patience.
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::cri::Exit;
use crate::function::Function;
use crate::guest::ending;
use crate::network::HttpListener;
use crate::program::Program;

/// How long a stopping function goes on serving because a Service leads to it.
/// Rules follow within milliseconds; one that has not by then means that the
/// container alone is stopped, and callers are better sent elsewhere.
const RULES_SETTLE: Duration = Duration::from_secs(5);

/// When a guest that was asked to stop is ended by force.
pub(super) type StopBy = watch::Receiver<Option<Instant>>;

/// A program's life: to its own end, or to the time it was given.
pub(super) async fn run(
    program: Program,
    mut end: oneshot::Receiver<Exit>,
    mut stop_by: StopBy,
) -> Exit {
    loop {
        let by = *stop_by.borrow_and_update();
        if by.is_some() {
            program.stdin().close();
        }
        tokio::select! {
            exit = &mut end => return exit.unwrap_or_else(|_| late()),
            () = reached(by) => {
                program.interrupt();
                // It may have come to its own end in the meantime.
                return end.await.unwrap_or_else(|_| late());
            }
            _ = stop_by.changed() => {}
        }
    }
}

/// A function's life: until it is stopped and its last request is answered.
pub(super) async fn serve(
    function: Function,
    listeners: Vec<HttpListener>,
    mut stop_by: StopBy,
) -> Exit {
    loop {
        let by = *stop_by.borrow_and_update();
        let drained = async {
            if by.is_none() {
                std::future::pending::<()>().await;
            }
            leave(&listeners).await;
            for listener in &listeners {
                listener.drained().await;
            }
            function.idle().await;
        };
        tokio::select! {
            () = drained => return ending::returned(true),
            () = reached(by) => {
                function.kill();
                function.idle().await;
                return late();
            }
            _ = stop_by.changed() => {}
            () = function.expire() => {}
        }
    }
}

/// Closes the ports as soon as no Service sends requests to them.
async fn leave(listeners: &[HttpListener]) {
    let unrouted = async {
        for listener in listeners {
            listener.unrouted().await;
        }
    };
    if tokio::time::timeout(RULES_SETTLE, unrouted).await.is_err() {
        tracing::debug!("ports closed although a service leads to them");
    }
    listeners.iter().for_each(HttpListener::close);
}

async fn reached(by: Option<Instant>) {
    match by {
        Some(by) => tokio::time::sleep_until(by).await,
        None => std::future::pending().await,
    }
}

fn late() -> Exit {
    ending::interrupted("interrupted: it did not end within its grace period")
}
