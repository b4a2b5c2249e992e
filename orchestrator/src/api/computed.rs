//! Resources that are answered rather than stored.
use super::{ApiError, Authorizer, Object, Owner, User};

/// A resource that is answered rather than stored, such as a review.
pub trait Computed: Send + Sync {
    /// The answer to a POST of `object`.
    fn create(
        &self,
        object: Object,
        user: &User,
        authorizer: &dyn Authorizer,
    ) -> Result<Object, ApiError>;
    /// The bearer token that is asked about; none for an answer about the caller.
    fn token(&self, _object: &Object) -> Result<Option<Presented>, ApiError> {
        Ok(None)
    }
    /// The answer about the token of `object`: whose it is, or why it is not good.
    fn about_token(
        &self,
        object: Object,
        _owner: Result<Owner, String>,
    ) -> Result<Object, ApiError> {
        Ok(object)
    }
}

/// A bearer token, and who wants to know whether it is meant for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The token.
    pub token: String,
    /// Who it was shown to; the API server if empty.
    pub audiences: Vec<String>,
}
