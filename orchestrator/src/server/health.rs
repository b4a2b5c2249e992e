//! `/healthz`, `/livez`, `/readyz` and `/version`.
use http::{Method, StatusCode};
use serde_json::json;

use super::Server;
use super::output::{self, Response};
use super::query::Query;
use crate::api::Version;

/// The answer to a GET of `path`, if it is about the server itself.
pub fn get(server: &Server, path: &str, query: &Query, method: &Method) -> Option<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if path == "/version" || path == "/version/" {
        return Some(version());
    }
    let (endpoint, only) = match path.strip_prefix('/')?.split_once('/') {
        Some((endpoint, only)) => (endpoint, Some(only)),
        None => (path.strip_prefix('/')?, None),
    };
    if !matches!(endpoint, "healthz" | "livez" | "readyz") {
        return None;
    }
    let mut checks = vec![("ping", true)];
    if endpoint == "readyz" {
        checks.push(("bootstrap", server.is_ready()));
        checks.push(("shutdown", !server.is_stopping()));
    }
    if let Some(only) = only.filter(|only| !only.is_empty()) {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return None;
        }
    }
    Some(report(endpoint, &checks, query.flag("verbose")))
}

fn report(endpoint: &str, checks: &[(&str, bool)], verbose: bool) -> Response {
    let failed = checks.iter().any(|(_, passed)| !passed);
    if !failed && !verbose {
        return output::bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok".into());
    }
    let lines = checks.iter().map(|(name, passed)| {
        if *passed { format!("[+]{name} ok\n") } else { format!("[-]{name} failed: not yet\n") }
    });
    let (status, end) = if failed {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{endpoint} check failed\n"))
    } else {
        (StatusCode::OK, format!("{endpoint} check passed\n"))
    };
    let text: String = lines.chain([end]).collect();
    output::bytes(status, "text/plain; charset=utf-8", text.into())
}

fn version() -> Response {
    let Version { major, minor, git } = Version::served();
    let version = json!({
        "major": major, "minor": minor,
        "gitVersion": git,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "emulationMajor": major, "emulationMinor": minor,
        "minCompatibilityMajor": major, "minCompatibilityMinor": minor,
    });
    output::bytes(StatusCode::OK, "application/json", version.to_string().into())
}
