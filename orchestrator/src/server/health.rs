//! `/healthz`, `/livez`, `/readyz` and `/version`.
use http::{Method, StatusCode};
use serde_json::json;

use super::Server;
use super::output::{self, Response};
use super::query::Query;
use crate::api::Version;
use crate::storage::StorageError;

/// A check's name, and why it fails if it does.
type Check = (&'static str, Option<&'static str>);

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
    let mut checks: Vec<Check> = vec![("ping", None)];
    if endpoint == "readyz" {
        checks.push(("bootstrap", (!server.is_ready()).then_some("not yet")));
        checks.push(("shutdown", server.is_stopping().then_some("the server is stopping")));
        checks.push(("store", server.storage().trouble().map(|error| trouble(&error))));
    }
    if let Some(only) = only.filter(|only| !only.is_empty()) {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return None;
        }
    }
    Some(report(endpoint, &checks, query.flag("verbose")))
}

/// Without names of files: anybody may ask.
fn trouble(error: &StorageError) -> &'static str {
    match error {
        StorageError::OutOfSpace(_) => "its disk is full; free some space there",
        _ => "the last write failed; the log says why",
    }
}

fn report(endpoint: &str, checks: &[Check], verbose: bool) -> Response {
    let failed = checks.iter().any(|(_, failure)| failure.is_some());
    if !failed && !verbose {
        return output::bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok".into());
    }
    let lines = checks.iter().map(|(name, failure)| match failure {
        None => format!("[+]{name} ok\n"),
        Some(why) => format!("[-]{name} failed: {why}\n"),
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_check_that_fails_says_why() {
        let full = StorageError::OutOfSpace("the disk of /var/podium is full".into());
        let checks = [("ping", None), ("store", Some(trouble(&full)))];
        let response = report("readyz", &checks, false);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let expected = "[+]ping ok\n[-]store failed: its disk is full; free some space there\nreadyz check failed\n";
        assert_eq!(text, expected);
        assert_eq!(report("readyz", &checks[..1], false).status(), StatusCode::OK);
    }
}
