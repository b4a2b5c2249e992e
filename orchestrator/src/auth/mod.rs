//! Who asks, and whether they may: authentication and authorization.
//!
//! A caller is known by a client certificate ([`certificate`]) or a bearer
//! token ([`token`]), both signed by the cluster's own keys ([`pki`]), so that
//! nothing about callers has to be stored. [`authorizer`] says what they may do.

pub mod authorizer;
pub mod certificate;
pub mod pki;
pub mod token;

pub use authorizer::ComponentAuthorizer;
pub use pki::{Identity, Pki, PkiError, SubjectNames};
pub use token::{Claims, TokenError, Tokens};
