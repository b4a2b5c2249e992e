//! The credentials with which an image is pulled: a pure function of the Secrets
//! that a Pod names.
//!
//! A Secret holds what `docker login` keeps, in its present or its old form. A
//! key is a registry with a path before which images may stand, as
//! `registry.example:5000/team`, or with `*` for parts of the host's name.
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde::Deserialize;
use shim::cri::AuthConfig;

use super::references::Objects;

/// Where a Secret has what `docker login` keeps, and where it had it once.
const DOCKER_CONFIG: &str = ".dockerconfigjson";
const OLD_DOCKER_CONFIG: &str = ".dockercfg";

/// The names that Docker gives its own registry.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a Secret of type `kubernetes.io/dockerconfigjson` holds.
#[derive(Deserialize)]
struct Config {
    auths: Entries,
}

type Entries = BTreeMap<String, Entry>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    /// `user:password` in base64, instead of both.
    auth: String,
}

/// What the Secrets that a Pod names come to for one image.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// Users and passwords, the best match first.
    pub found: Vec<AuthConfig>,
    /// Secrets that are not there.
    pub missing: Vec<String>,
    /// Secrets that hold no credentials, and why.
    pub broken: Vec<(String, String)>,
}

/// The credentials for an image.
pub(super) fn of(pod: &Pod, image: &str, objects: &Objects) -> Credentials {
    let named = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let mut credentials = Credentials::default();
    let mut found = Vec::new();
    for reference in named {
        let name = &reference.name;
        match objects.secrets.get(name).map(|secret| entries(secret)) {
            Some(Ok(entries)) => found.extend(entries),
            Some(Err(why)) => credentials.broken.push((name.clone(), why)),
            None => credentials.missing.push(name.clone()),
        }
    }
    found.retain(|(key, _)| matches(key, image));
    // A longer key says more; Secrets that come first win among equals.
    found.sort_by_key(|(key, _)| std::cmp::Reverse(place(key).len()));
    credentials.found = found.into_iter().filter_map(|(_, entry)| auth(entry)).collect();
    credentials
}

/// What a Secret holds, or what is wrong with it; its content is not told.
fn entries(secret: &Secret) -> Result<Entries, String> {
    let data = |key| secret.data.as_ref().and_then(|data| data.get(key));
    let place =
        |error: serde_json::Error| format!("line {} column {}", error.line(), error.column());
    if let Some(config) = data(DOCKER_CONFIG) {
        let config = serde_json::from_slice::<Config>(&config.0);
        return config.map(|config| config.auths).map_err(|error| {
            format!("{DOCKER_CONFIG} is no JSON with \"auths\", see {}", place(error))
        });
    }
    let Some(old) = data(OLD_DOCKER_CONFIG) else {
        return Err(format!("it has neither {DOCKER_CONFIG} nor {OLD_DOCKER_CONFIG}"));
    };
    serde_json::from_slice(&old.0).map_err(|error| {
        format!("{OLD_DOCKER_CONFIG} is no JSON of registries, see {}", place(error))
    })
}

fn auth(entry: Entry) -> Option<AuthConfig> {
    if !entry.username.is_empty() {
        return Some(AuthConfig { username: entry.username, password: entry.password });
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(entry.auth).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    let password = password.trim_end_matches('\0').to_owned();
    Some(AuthConfig { username: username.to_owned(), password })
}

/// A key without what Docker puts around it: scheme, API version, slashes.
fn place(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

fn matches(key: &str, image: &str) -> bool {
    let (wanted, path) = place(key).split_once('/').unwrap_or((place(key), ""));
    let (host, rest) = match image.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        // It comes from the cluster's own registry, which nobody else's password is shown to.
        _ => return false,
    };
    let same = DOCKER_HUB.contains(&wanted) && DOCKER_HUB.contains(&host);
    (same || is_host(wanted, host)) && rest.starts_with(path)
}

/// Whether each part of a host's name is what the pattern's says.
fn is_host(pattern: &str, host: &str) -> bool {
    let (pattern, port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, actual) = host.split_once(':').unwrap_or((host, ""));
    let same = |(pattern, part): (&str, &str)| match pattern.split_once('*') {
        None => pattern == part,
        Some((before, after)) => {
            let both = before.len() + after.len();
            part.len() >= both && part.starts_with(before) && part.ends_with(after)
        }
    };
    port == actual
        && pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(same)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn secret(key: &str, content: &Value) -> Arc<Secret> {
        let data = BASE64_STANDARD.encode(content.to_string());
        Arc::new(serde_json::from_value(json!({"data": {key: data}})).unwrap())
    }

    #[test]
    fn the_longest_key_that_fits_comes_first_and_missing_and_broken_secrets_are_named() {
        let new = json!({"auths": {
            "reg.example:5000": {"auth": BASE64_STANDARD.encode("all:1")},
            "https://reg.example:5000/team": {"username": "team", "password": "2"},
            "other.example": {"username": "other", "password": "3"},
        }});
        let old = json!({"*.example:5000": {"username": "old", "password": "4"}});
        let objects = Objects {
            secrets: BTreeMap::from([
                ("new".to_owned(), secret(".dockerconfigjson", &new)),
                ("old".to_owned(), secret(".dockercfg", &old)),
                ("opaque".to_owned(), secret("x", &new)),
                ("torn".to_owned(), secret(".dockerconfigjson", &json!({"auth": "x"}))),
            ]),
            ..Objects::default()
        };
        let names = ["new", "old", "opaque", "torn", "none"].map(|name| json!({"name": name}));
        let pod = json!({"spec": {"containers": [], "imagePullSecrets": names}});
        let pod = serde_json::from_value(pod).unwrap();

        let Credentials { found, missing, broken } =
            of(&pod, "reg.example:5000/team/web:v1", &objects);

        let users: Vec<_> = found.iter().map(|auth| auth.username.as_str()).collect();
        assert_eq!(users, ["team", "all", "old"]);
        assert_eq!(found[1].password, "1");
        assert_eq!(missing, ["none"]);
        let told: Vec<_> = broken.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        assert_eq!(
            told,
            [
                "opaque: it has neither .dockerconfigjson nor .dockercfg",
                "torn: .dockerconfigjson is no JSON with \"auths\", see line 1 column 12",
            ]
        );
        assert!(of(&pod, "reg.example/web", &objects).found.is_empty());
    }

    #[test]
    fn docker_hub_has_several_names_and_is_no_default() {
        assert!(matches("https://index.docker.io/v1/", "docker.io/library/web"));
        assert!(!matches("docker.io", "web:latest"));
        assert!(!matches("docker.io", "localhost:5001/web"));
        assert!(matches("localhost:5001", "localhost:5001/web"));
    }
}
