//! Bearer tokens: compact JWTs signed by the cluster's key.
//!
//! They carry all that is needed to check them, so nothing about them is
//! stored; those seen lately are remembered, as a client sends the same one
//! with each request and a signature takes longer to check than most requests
//! take to answer. The claims are those of Kubernetes' service account tokens, with
//! the groups of other callers beside them.
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use crate::api::User;

/// Who issues the tokens and is their audience, as in Kubernetes.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A longer token is not looked at: ours are below 2 KiB.
const TOKEN_MAX: usize = 8 * 1024;

/// `{"alg":"ES256","typ":"JWT"}`; a token with another head is not ours.
const HEADER: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9";

/// As many tokens as are remembered: far more than clients of a cluster have at a time.
const REMEMBERED_MAX: usize = 1024;

/// How much earlier a token is valid than it was issued, for clocks that differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(10);

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The caller's name.
    pub sub: String,
    /// Who it is meant for.
    pub aud: Vec<String>,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it begins to be valid, in seconds since 1970.
    pub nbf: i64,
    /// When it ends to be valid, in seconds since 1970.
    pub exp: i64,
    /// The caller's groups, unless the name implies them.
    #[serde(rename = "podium.dev/groups", default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The objects without which the token is void.
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
}

/// The objects that a service account's token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where they are.
    pub namespace: String,
    /// The account.
    pub serviceaccount: BoundObject,
    /// The Pod that mounts the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The Secret whose removal ends the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The node whose removal ends the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
}

impl Bound {
    /// The objects of a token for an account of `namespace` that is bound to nothing else.
    pub fn to_account(namespace: String, serviceaccount: BoundObject) -> Self {
        Self { namespace, serviceaccount, pod: None, secret: None, node: None }
    }
}

/// One object, which must still be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Claims {
    /// The claims of a token for `user`.
    pub fn for_user(user: &User, now: Timestamp, lifetime: SignedDuration) -> Self {
        let groups = user.groups.iter().filter(|group| *group != "system:authenticated");
        Self::new(user.name.clone(), groups.cloned().collect(), None, now, lifetime)
    }

    /// The claims of a token for the service account that `bound` names.
    pub fn for_service_account(bound: Bound, now: Timestamp, lifetime: SignedDuration) -> Self {
        let name = format!("{SERVICE_ACCOUNT}{}:{}", bound.namespace, bound.serviceaccount.name);
        Self::new(name, Vec::new(), Some(bound), now, lifetime)
    }

    /// Those of `audiences` that it is meant for.
    pub fn meant_for(&self, audiences: &[&str]) -> Vec<String> {
        let meant = self.aud.iter().filter(|audience| audiences.contains(&audience.as_str()));
        meant.cloned().collect()
    }

    /// The caller.
    pub fn user(&self) -> User {
        let mut groups = self.groups.clone();
        let mut uid = String::new();
        if let Some(bound) = &self.bound {
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{}", bound.namespace));
            uid.clone_from(&bound.serviceaccount.uid);
        }
        groups.push("system:authenticated".into());
        User { name: self.sub.clone(), uid, groups }
    }

    fn new(
        sub: String,
        groups: Vec<String>,
        bound: Option<Bound>,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Self {
        let issued = now.as_second();
        Self {
            iss: ISSUER.into(),
            sub,
            aud: vec![ISSUER.into()],
            iat: issued,
            nbf: issued.saturating_sub(LEEWAY.as_secs()),
            exp: issued.saturating_add(lifetime.as_secs()),
            groups,
            bound,
        }
    }
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not one of this cluster's tokens.
    #[error("token is malformed")]
    Malformed,
    /// Its signature is not this cluster's.
    #[error("token is not signed by this cluster")]
    Signature,
    /// It is meant for others than those it was shown to.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Words, Words),
    /// It is not valid now.
    #[error("token is expired or not yet valid")]
    Expired,
}

/// Words as Go prints a list of them.
pub struct Words(Vec<String>);

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted: Vec<String> = self.0.iter().map(|word| format!("{word:?}")).collect();
        write!(f, "[{}]", quoted.join(" "))
    }
}

/// The signing key was not accepted.
#[derive(Debug, thiserror::Error)]
#[error("token key is not a P-256 key in PKCS #8: {0}")]
pub struct KeyError(ring::error::KeyRejected);

/// Issues and checks the tokens of one cluster.
pub struct Tokens {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// What tokens say that were signed with the key; whom they are for and when is not checked yet.
    signed: Mutex<HashMap<String, Arc<Claims>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens signed with this P-256 key in PKCS #8.
    pub fn new(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(KeyError)?;
        Ok(Self { key, random, signed: Mutex::default() })
    }

    /// A token that says `claims`.
    pub fn issue(&self, claims: &Claims) -> String {
        let json = serde_json::to_vec(claims).expect("claims are plain strings and numbers");
        let mut token = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(json));
        let signature = self
            .key
            .sign(&self.random, token.as_bytes())
            .expect("signing fails only without the operating system's randomness");
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        token
    }

    /// What `token` says, if this cluster issued it for itself and it is valid now.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        self.verify_for(&[ISSUER], token, now)
    }

    /// What `token` says, if this cluster issued it for one of `audiences` and it is valid now.
    pub fn verify_for(
        &self,
        audiences: &[&str],
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Claims>, TokenError> {
        let claims = self.signed(token)?;
        if claims.meant_for(audiences).is_empty() {
            let wanted = audiences.iter().map(|&audience| audience.to_owned()).collect();
            return Err(TokenError::Audience(Words(claims.aud.clone()), Words(wanted)));
        }
        let now = now.as_second();
        if now < claims.nbf || now >= claims.exp {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// What `token` says, if this cluster issued it.
    fn signed(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if let Some(known) = self.signed.lock().get(token) {
            return Ok(Arc::clone(known));
        }
        let claims = Arc::new(self.read(token)?);
        let mut signed = self.signed.lock();
        if signed.len() >= REMEMBERED_MAX {
            // Those in use are back after one check each.
            signed.clear();
        }
        signed.insert(token.to_owned(), Arc::clone(&claims));
        Ok(claims)
    }

    fn read(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let claims = signed
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Signature)?;
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if claims.iss == ISSUER { Ok(claims) } else { Err(TokenError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn tokens() -> Tokens {
        Tokens::new(rcgen::KeyPair::generate().unwrap().serialized_der()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_names_the_caller_it_was_issued_to() {
        let tokens = tokens();
        let user = User::node("n1");
        let token = tokens.issue(&Claims::for_user(&user, at(1_000), HOUR));
        assert_eq!(tokens.verify(&token, at(1_500)).unwrap().user(), user);
    }

    #[test]
    fn a_service_account_is_in_the_groups_of_its_namespace() {
        let account = BoundObject { name: "cart".into(), uid: "1-2".into() };
        let bound = Bound::to_account("shop".into(), account);
        let user = Claims::for_service_account(bound, at(0), HOUR).user();
        assert_eq!(user.name, "system:serviceaccount:shop:cart");
        assert_eq!(user.uid, "1-2");
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
        );
    }

    #[test]
    fn a_token_is_good_for_its_audiences_alone() {
        let tokens = tokens();
        let mut claims = Claims::for_user(&User::node("n1"), at(0), HOUR);
        claims.aud = vec!["vault".into(), "mail".into()];
        let token = tokens.issue(&claims);
        let known = tokens.verify_for(&["mail", "other"], &token, at(1)).unwrap();
        assert_eq!(known.meant_for(&["mail", "other"]), ["mail"]);
        let refused = tokens.verify(&token, at(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "token audiences [\"vault\" \"mail\"] is invalid for the target audiences [{ISSUER:?}]"
            )
        );
    }

    #[test]
    fn a_token_ends_also_one_that_is_remembered() {
        let tokens = tokens();
        let token = tokens.issue(&Claims::for_user(&User::node("n1"), at(1_000), HOUR));
        let known = tokens.verify(&token, at(1_001)).unwrap();
        assert!(Arc::ptr_eq(&known, &tokens.verify(&token, at(1_002)).unwrap()));
        for second in [0, 1_000 + 3_600] {
            let refused = tokens.verify(&token, at(second));
            assert!(matches!(refused, Err(TokenError::Expired)), "{refused:?}");
        }
    }

    #[test]
    fn a_token_of_another_cluster_or_a_changed_one_is_refused() {
        let ours = tokens();
        let token = tokens().issue(&Claims::for_user(&User::node("n1"), at(0), HOUR));
        assert!(matches!(ours.verify(&token, at(1)), Err(TokenError::Signature)));
        let mut claims = Claims::for_user(&User::node("n1"), at(0), HOUR);
        let token = ours.issue(&claims);
        ours.verify(&token, at(1)).unwrap();
        claims.sub = "system:node:n2".into();
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
        let (_, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{HEADER}.{forged}.{signature}");
        assert!(matches!(ours.verify(&forged, at(1)), Err(TokenError::Signature)));
        assert_eq!(ours.signed.lock().len(), 1, "what is refused is not remembered");
        for nonsense in ["", "a", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
            assert!(matches!(ours.verify(nonsense, at(1)), Err(TokenError::Malformed)));
        }
    }

    #[test]
    fn no_more_tokens_are_remembered_than_there_is_room_for() {
        let tokens = tokens();
        for number in 0..=REMEMBERED_MAX {
            let user = User::node(&number.to_string());
            let token = tokens.issue(&Claims::for_user(&user, at(0), HOUR));
            assert_eq!(tokens.verify(&token, at(1)).unwrap().user(), user);
        }
        assert_eq!(tokens.signed.lock().len(), 1);
    }
}
