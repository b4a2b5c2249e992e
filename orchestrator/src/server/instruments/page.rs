//! `/metrics`: what the server counts, and what the other parts of its process do.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;

use super::{CODES, Cell, Row, SCOPES, VERBS};
use crate::api::{Subresource, Version};
use crate::metrics::{self, Kind, Text};
use crate::server::Server;
use crate::server::output::{self, Response};
use crate::storage::ListQuery;

/// Label values of requests that have all of them in common but the code.
struct Labels<'a>([(&'static str, &'a str); 8]);

/// The answer to a GET of `path`, if it is this page.
pub async fn get(server: &Server, path: &str) -> Option<Response> {
    if path != "/metrics" {
        return None;
    }
    let mut text = Text::new();
    build_info(&mut text);
    requests(&mut text, server);
    objects(&mut text, server).await;
    metrics::components(&mut text);
    Some(output::bytes(StatusCode::OK, metrics::CONTENT_TYPE, text.finish().into()))
}

fn build_info(text: &mut Text) {
    let help = "What this binary is; always 1.";
    let Version { major, minor, git: version } = Version::served();
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    text.family("kubernetes_build_info", Kind::Gauge, help).sample(
        &[("git_version", &version), ("major", major), ("minor", minor), ("platform", &platform)],
        1,
    );
}

fn requests(text: &mut Text, server: &Server) {
    let instruments = server.instruments();
    let mut rows: Vec<Arc<Row>> = instruments.rows.read().values().cloned().collect();
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.resource.gvk.clone(), row.resource.plural.clone());
        key(a).cmp(&key(b))
    });
    let each = |visit: &mut dyn FnMut(&Labels<'_>, &Cell)| {
        for row in &rows {
            for (index, cell) in row.cells.iter().enumerate() {
                if let Some(cell) = cell.get() {
                    visit(&labels(row, index), cell);
                }
            }
        }
        let nothing = ["dry_run", "group", "resource", "scope", "subresource", "verb", "version"];
        let mut labels = [("component", "apiserver"); 8];
        for (label, name) in labels[1..].iter_mut().zip(nothing) {
            *label = (name, "");
        }
        visit(&Labels(labels), &instruments.others);
    };
    let help = "Requests, by what they are about and how they were answered.";
    let mut family = text.family("apiserver_request_total", Kind::Counter, help);
    each(&mut |labels, cell| {
        for (code, count) in CODES.iter().zip(&cell.codes) {
            if count.get() > 0 {
                let code = code.to_string();
                let all = [labels.0.as_slice(), &[("code", code.as_str())]].concat();
                family.sample(&all, count.get());
            }
        }
    });
    let help = "How long answers take, in seconds; of those that follow nothing.";
    let name = "apiserver_request_duration_seconds";
    let mut family = text.family(name, Kind::Histogram, help);
    each(&mut |labels, cell| family.histogram(&labels.0, &cell.took));
    let help = "Requests that follow something now.";
    let mut family = text.family("apiserver_longrunning_requests", Kind::Gauge, help);
    each(&mut |labels, cell| {
        let now = cell.long_running.load(Ordering::Relaxed);
        if labels.0.contains(&("verb", "WATCH")) || labels.0.contains(&("verb", "CONNECT")) {
            let labels = labels.0.iter().filter(|(name, _)| *name != "dry_run");
            family.sample(&labels.copied().collect::<Vec<_>>(), now);
        }
    });
    let help = "Requests that are worked on now.";
    let mut family = text.family("apiserver_current_inflight_requests", Kind::Gauge, help);
    family.sample(&[("request_kind", "mutating")], instruments.changing.get());
    family.sample(&[("request_kind", "readOnly")], instruments.reading.get());
}

fn labels(row: &Row, index: usize) -> Labels<'_> {
    let (rest, dry_run) = (index / 2, index % 2 == 1);
    let (rest, scope) = (rest / SCOPES.len(), SCOPES[rest % SCOPES.len()]);
    let (subresource, verb) = (rest / VERBS.len(), VERBS[rest % VERBS.len()].1);
    let subresource = subresource.checked_sub(1).and_then(|at| row.resource.subresources.get(at));
    let gvk = &row.resource.gvk;
    Labels([
        ("component", "apiserver"),
        ("dry_run", if dry_run { "All" } else { "" }),
        ("group", &gvk.group),
        ("resource", &row.resource.plural),
        ("scope", scope),
        ("subresource", subresource.map_or("", Subresource::name)),
        ("verb", verb),
        ("version", &gvk.version),
    ])
}

/// How many objects there are of each kind that is stored.
async fn objects(text: &mut Text, server: &Server) {
    let mut counts = Vec::new();
    for row in server.table().iter() {
        let stored = row.computed.is_none() && !row.measured && !row.converted;
        if !stored {
            continue;
        }
        // A page of one says how many more there are.
        let one = ListQuery { limit: Some(1), ..ListQuery::default() };
        match server.storage().list(row, &one).await {
            Ok(page) => {
                let count = page.items.len() as u64 + page.remaining.unwrap_or_default();
                counts.push((row.group_resource().to_string(), count));
            }
            Err(error) => tracing::warn!(error = %error, "objects are not counted"),
        }
    }
    let help = "Objects that are stored, by their resource.";
    let mut family = text.family("apiserver_storage_objects", Kind::Gauge, help);
    for (resource, count) in counts {
        family.sample(&[("resource", &resource)], count);
    }
}
