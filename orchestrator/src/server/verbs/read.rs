//! get and list.
use super::options::list_query;
use crate::api::ApiError;
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{Reply, Served};
use crate::server::usage;

/// Reads one object.
pub async fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    if call.row.measured {
        return usage::get(call).await;
    }
    let stored = call
        .server
        .storage()
        .get(call.row, &call.key())
        .await
        .map_err(|error| storage_error(call.row, &call.path.name, error))?;
    Ok(Reply::ok(Served::Stored(stored)))
}

/// Reads a page of the objects that match.
pub async fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    if call.row.measured {
        return usage::list(call).await;
    }
    let query = list_query(call)?;
    Ok(Reply::List(call.server.storage().list(call.row, &query).await?))
}
