//! What the server counts of its requests, under kube-apiserver's names.
//!
//! A request costs two clock readings and a few atomic operations: the cell of
//! its resource, verb and scope is found by position, not by hashing labels.
//! There are as many cells as rows of the resource table allow, however many
//! strangers ask for whatever they like.

mod page;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use parking_lot::RwLock;

use super::path::ResourcePath;
use crate::api::Resource;
use crate::metrics::{Counter, Gauge, Histogram};

pub use page::get;

/// kube-apiserver's bounds of `apiserver_request_duration_seconds`.
const BOUNDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// Verbs as kube-apiserver writes them, with those of authorization beside.
const VERBS: [(&str, &str); 9] = [
    ("get", "GET"),
    ("list", "LIST"),
    ("watch", "WATCH"),
    ("create", "POST"),
    ("update", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("deletecollection", "DELETECOLLECTION"),
    ("connect", "CONNECT"),
];
const WATCH: usize = 2;
const CONNECT: usize = 8;

/// What a request is about: all there is, a namespace, or one object.
const SCOPES: [&str; 3] = ["cluster", "namespace", "resource"];

/// Status codes that the server answers; every other is counted as the last.
const CODES: [u16; 22] = [
    200, 201, 101, 202, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 502,
    503, 504, 0,
];

/// Subresources whose requests last: they follow something, or wait for somebody else.
const LONG_RUNNING: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// Whether a request lasts as long as others like, so that it is no measure of our work.
pub fn is_long_running(path: &ResourcePath) -> bool {
    LONG_RUNNING.contains(&path.subresource.as_str())
}

/// The counters of one server.
#[derive(Default)]
pub struct Instruments {
    /// By the address of the row, which each entry keeps alive.
    rows: RwLock<HashMap<usize, Arc<Row>>>,
    /// Requests about no resource: health, discovery, and what is refused early.
    others: Cell,
    reading: Gauge,
    changing: Gauge,
}

struct Row {
    resource: Arc<Resource>,
    /// By subresource (0: the object itself), verb, scope and dry run.
    cells: Box<[OnceLock<Box<Cell>>]>,
}

/// The counters of requests that have all labels in common but the code.
struct Cell {
    codes: [Counter; CODES.len()],
    took: Histogram<23>,
    long_running: Arc<AtomicI64>,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            codes: [const { Counter::new() }; CODES.len()],
            took: Histogram::new(&BOUNDS),
            long_running: Arc::default(),
        }
    }
}

/// Where a request is counted.
#[derive(Clone)]
pub struct Place {
    row: Arc<Row>,
    index: usize,
}

/// A request that is worked on.
pub struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Instruments {
    /// Counts a request as long as it is worked on.
    pub fn begin(&self, method: &http::Method) -> InFlight<'_> {
        let reads = matches!(*method, http::Method::GET | http::Method::HEAD);
        let gauge = if reads { &self.reading } else { &self.changing };
        gauge.add(1);
        InFlight(gauge)
    }

    /// Where a request about a resource is counted; none if it has no such verb.
    pub fn place(
        &self,
        resource: &Arc<Resource>,
        path: &ResourcePath,
        verb: &str,
        dry_run: bool,
    ) -> Option<Place> {
        let row = self.row(resource);
        let subresource = match path.subresource.as_str() {
            "" => 0,
            name => 1 + resource.subresources.iter().position(|s| s.name() == name)?,
        };
        let verb = if is_long_running(path) {
            CONNECT
        } else {
            VERBS.iter().position(|(word, _)| *word == verb)?
        };
        let scope = match (path.name.is_empty(), path.namespace.is_empty()) {
            (false, _) => 2,
            (true, false) => 1,
            (true, true) => 0,
        };
        let index = ((subresource * VERBS.len() + verb) * SCOPES.len() + scope) * 2;
        Some(Place { row, index: index + usize::from(dry_run) })
    }

    /// Counts a request that was answered after so long; a stream that goes on is counted as
    /// such until its body ends.
    pub fn end(
        &self,
        place: Option<Place>,
        status: StatusCode,
        took: Duration,
        body: Body,
    ) -> Body {
        let Some(place) = place else {
            self.others.count(status, Some(took));
            return body;
        };
        let verb = place.index / 2 / SCOPES.len() % VERBS.len();
        let follows = matches!(verb, WATCH | CONNECT);
        let cell = place.cell();
        // How long somebody watches says nothing about the server.
        cell.count(status, (!follows).then_some(took));
        if !follows || !status.is_success() {
            return body;
        }
        let held = Held(cell.long_running.clone());
        held.0.fetch_add(1, Ordering::Relaxed);
        Body::new(Following { body, _held: held })
    }

    fn row(&self, resource: &Arc<Resource>) -> Arc<Row> {
        let key = Arc::as_ptr(resource) as usize;
        if let Some(row) = self.rows.read().get(&key) {
            return row.clone();
        }
        let make = || {
            let cells = (1 + resource.subresources.len()) * VERBS.len() * SCOPES.len() * 2;
            let cells = (0..cells).map(|_| OnceLock::new()).collect();
            Arc::new(Row { resource: resource.clone(), cells })
        };
        self.rows.write().entry(key).or_insert_with(make).clone()
    }
}

impl Place {
    fn cell(&self) -> &Cell {
        self.row.cells[self.index].get_or_init(Box::default)
    }
}

impl Cell {
    fn count(&self, status: StatusCode, took: Option<Duration>) {
        let code = CODES.iter().position(|code| *code == status.as_u16());
        self.codes[code.unwrap_or(CODES.len() - 1)].inc();
        if let Some(took) = took {
            self.took.observe(took);
        }
    }
}

/// One that follows; no more when dropped.
struct Held(Arc<AtomicI64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a stream that is counted while it goes on.
struct Following {
    body: Body,
    _held: Held,
}

impl http_body::Body for Following {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
