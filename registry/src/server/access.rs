//! Who may do what, and how a client learns to say who it is.
//!
//! Everybody may read; writing needs a token of the cluster. That is what `distribution` calls
//! token authentication: `/v2/` answers 401 with the address of the token endpoint, which gives
//! one token to who shows the cluster's token as a password, and another, good for reading alone,
//! to who shows nothing. A Basic challenge would not do: clients that have no password take it
//! as final and could not even pull. The cluster's token is taken directly too, as basic
//! authentication or as bearer, and who reads need not ask for a token at all.
use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::endpoint::Endpoint;
use super::{Error, Server, header_text, json};

/// Where tokens are given out.
const TOKEN_PATH: &str = "/token";

/// Names this registry to its token endpoint.
const SERVICE: &str = "podium";

/// The token of those who may only read. It is no secret.
const ANONYMOUS: &str = "anonymous";

/// Seconds a client may keep a token before it asks again: what the specification assumes for at
/// least, times five. A writer's token ends when the cluster's token does.
const TOKEN_LIFETIME: u32 = 300;

/// What a request says of who sends it.
enum Credentials {
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
    /// Of a kind we do not know.
    Unknown,
}

impl Credentials {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Self::None };
        let split = value.to_str().ok().and_then(|value| value.split_once(' '));
        match split {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Self::Bearer(token.trim().to_owned())
            }
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
                basic(encoded).unwrap_or(Self::Unknown)
            }
            _ => Self::Unknown,
        }
    }
}

fn basic(encoded: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

/// Whether a request is for the token endpoint.
pub(super) fn asks_for_token(parts: &Parts) -> bool {
    parts.uri.path() == TOKEN_PATH && parts.method == Method::GET
}

impl Server {
    /// Refuses who may not write.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), Error> {
        let (user, secret) = match Credentials::of(headers) {
            Credentials::Basic { user, password } => (user, password),
            Credentials::Bearer(token) if token != ANONYMOUS => (String::new(), token),
            _ => return Err(Error::Unauthorized),
        };
        if self.authenticator.may_write(&user, &secret) {
            Ok(())
        } else {
            tracing::warn!(user, "registry denied a write");
            Err(Error::Unauthorized)
        }
    }

    /// `/v2/`: says that this is a registry and whether credentials are good, which is how
    /// clients log in. Who shows none is told where to get them.
    pub(super) fn base(&self, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        match Credentials::of(headers) {
            Credentials::Bearer(token) if token == ANONYMOUS => {}
            _ => self.authorize(headers)?,
        }
        Ok(json(&serde_json::json!({})))
    }

    /// Gives out a token. A writer's is the cluster's own, so that nothing need be remembered.
    pub(super) fn token(&self, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        let token = match Credentials::of(headers) {
            Credentials::None => ANONYMOUS.to_owned(),
            Credentials::Basic { user, password } => {
                if !self.authenticator.may_write(&user, &password) {
                    tracing::warn!(user, "registry denied a token");
                    return Err(Error::Credentials);
                }
                password
            }
            _ => return Err(Error::Credentials),
        };
        let mut response = json(&serde_json::json!({
            "token": token, "access_token": token, "expires_in": TOKEN_LIFETIME,
        }));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// The challenge that answers a request without the credentials it needs.
pub(super) fn challenge(parts: &Parts, scheme: &Scheme) -> HeaderValue {
    let host = header_text(&parts.headers, header::HOST).and_then(|host| host.parse().ok());
    let host: Authority = host
        .or_else(|| parts.uri.authority().cloned())
        .unwrap_or_else(|| Authority::from_static("localhost"));
    let mut text = format!("Bearer realm=\"{scheme}://{host}{TOKEN_PATH}\",service=\"{SERVICE}\"");
    let action = match parts.method {
        Method::GET | Method::HEAD => "pull",
        Method::DELETE => "delete",
        _ => "pull,push",
    };
    match Endpoint::parse(parts.uri.path()) {
        Ok(Endpoint::Catalog) => text.push_str(",scope=\"registry:catalog:*\""),
        Ok(endpoint) => {
            if let Some(name) = endpoint.repository() {
                text.push_str(&format!(",scope=\"repository:{name}:{action}\""));
            }
        }
        Err(_) => {}
    }
    super::text(&text)
}
