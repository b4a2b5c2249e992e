//! Tokens of a Pod's service account for its projected volumes.
//!
//! Each is bound to the Pod and asked for anew before it expires: when a fifth
//! of its life is left or a day has passed, as the kubelet does.
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::{Api, Client};
use tracing::warn;

/// Seconds a token lives where the Pod does not say, as in Kubernetes.
const DEFAULT_SECONDS: i64 = 3600;
/// A token is replaced after a day at the latest, as the kubelet does.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How soon a token that is still valid is asked for anew after that failed.
const RETRY: Duration = Duration::from_secs(10);

/// Where a token is written: volume and path within it.
type Place = (String, String);

/// The tokens of one Pod.
#[derive(Debug, Default)]
pub(in crate::node) struct Tokens(BTreeMap<Place, Token>);

#[derive(Debug)]
struct Token {
    text: String,
    refresh_at: Timestamp,
    expires: Timestamp,
}

impl Token {
    /// Puts its replacement off, if it is still valid; whether it is.
    fn lasts(&mut self, now: Timestamp) -> bool {
        let lasts = now < self.expires;
        if lasts {
            self.refresh_at = (now + RETRY).min(self.expires);
        }
        lasts
    }
}

/// A token was not issued: for which volume, and why.
#[derive(Debug, thiserror::Error)]
#[error("failed to fetch token")]
pub(in crate::node) struct TokenError {
    /// The volume.
    pub volume: String,
    /// What the API said.
    #[source]
    pub source: kube::Error,
}

impl Tokens {
    /// The token of a volume's file.
    pub fn get(&self, volume: &str, path: &str) -> Option<&str> {
        let place = (volume.to_owned(), path.to_owned());
        self.0.get(&place).map(|token| token.text.as_str())
    }

    /// When the first of them is to be replaced.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.0.values().map(|token| token.refresh_at).min()
    }

    /// Asks for the tokens that are missing or old.
    pub async fn keep(
        &mut self,
        pod: &Pod,
        client: &Client,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        for (volume, wanted) in wanted(pod) {
            let place = (volume.to_owned(), wanted.path.clone());
            if self.0.get(&place).is_some_and(|token| now < token.refresh_at) {
                continue;
            }
            match request(pod, wanted, client).await {
                Ok((text, expires)) => {
                    let refresh_at = refresh_at(now, expires);
                    self.0.insert(place, Token { text, refresh_at, expires });
                }
                Err(source) => {
                    let error = TokenError { volume: volume.to_owned(), source };
                    if !self.0.get_mut(&place).is_some_and(|token| token.lasts(now)) {
                        return Err(error);
                    }
                    warn_of(pod, &error);
                }
            }
        }
        Ok(())
    }
}

fn warn_of(pod: &Pod, error: &TokenError) {
    warn!(
        namespace = pod.metadata.namespace,
        name = pod.metadata.name,
        volume = error.volume,
        error = error as &dyn std::error::Error,
        "token not renewed, the old one is still valid"
    );
}

/// The tokens that a Pod's volumes show.
fn wanted(pod: &Pod) -> impl Iterator<Item = (&str, &ServiceAccountTokenProjection)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.flat_map(|volume| {
        let sources = volume.projected.iter().flat_map(|all| all.sources.iter().flatten());
        let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
        tokens.map(|token| (volume.name.as_str(), token))
    })
}

async fn request(
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
    client: &Client,
) -> Result<(String, Timestamp), kube::Error> {
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
    let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let audience = wanted.audience.clone().filter(|audience| !audience.is_empty());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audience.into_iter().collect()),
            expiration_seconds: Some(wanted.expiration_seconds.unwrap_or(DEFAULT_SECONDS)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let answer = api.create_token_request(account, &Default::default(), &request).await?;
    let status = answer.status.unwrap_or_default();
    match (status.token, status.expiration_timestamp) {
        (Some(token), Some(expires)) => Ok((token, expires.0)),
        _ => Err(kube::Error::Service("the answer has no token".into())),
    }
}

/// When a token that was issued `now` is replaced.
fn refresh_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    now + (life * 4 / 5).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A client of an API that issues nothing.
    fn silent() -> Client {
        let refuse = |_: http::Request<Body>| async {
            let answer = http::Response::builder().status(503).body(Body::empty());
            Ok::<_, Infallible>(answer.expect("it has a valid status"))
        };
        Client::new(tower::service_fn(refuse), "default")
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_serves_until_it_expires() {
        let sources = json!([{"serviceAccountToken": {"path": "token"}}]);
        let volumes = json!([{"name": "api", "projected": {"sources": sources}}]);
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": volumes, "containers": []}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let place = ("api".to_owned(), "token".to_owned());
        let token = Token { text: "old".into(), refresh_at: at(800), expires: at(1000) };
        let mut tokens = Tokens(BTreeMap::from([(place, token)]));
        let client = silent();

        tokens.keep(&pod, &client, at(900)).await.unwrap();
        assert_eq!(tokens.get("api", "token"), Some("old"));
        assert_eq!(tokens.refresh_at(), Some(at(910)));
        tokens.keep(&pod, &client, at(995)).await.unwrap();
        assert_eq!(tokens.refresh_at(), Some(at(1000)));
        for late in [1000, 1001] {
            let error = tokens.keep(&pod, &client, at(late)).await.unwrap_err();
            assert_eq!(error.volume, "api");
        }
        Tokens::default().keep(&pod, &client, at(0)).await.unwrap_err();
    }

    #[test]
    fn a_token_is_replaced_in_time() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(refresh_at(at(0), at(1000)), at(800));
        assert_eq!(refresh_at(at(0), at(1_000_000)), at(86_400));
        assert_eq!(refresh_at(at(10), at(0)), at(10));
    }
}
