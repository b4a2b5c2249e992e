//! Addresses and ports that only one object may hold.
//!
//! Each that is taken is an object of its own, whose creation fails if it is
//! there: the store's own check is what makes an allocation safe, so that any
//! number of servers can allocate over one store. It is made before the object
//! that holds it and removed after it; [`mod@repair`] takes away what a crash in
//! between left behind.

use crate::api::{ApiError, Object, ObjectKey, Resource};
use crate::server::Server;
use crate::server::errors::storage_error;
use crate::storage::StorageError;

mod pool;
mod repair;
mod service;

pub use pool::Pool;
pub use repair::{keep_repaired, repair};

/// One address or port of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// The pool.
    pub pool: Pool,
    /// Which of it, such as `10.43.0.1`.
    pub name: String,
}

/// What one write has reserved.
#[derive(Debug, Default)]
pub struct Reserved(Vec<Reservation>);

impl Reserved {
    /// Gives back all of it, as the write failed.
    pub async fn release(self, server: &Server) {
        for reservation in self.0 {
            free(server, &reservation).await;
        }
    }
}

/// Reserves what `new` asks for and `old` does not hold, filling in what it leaves to the server.
pub async fn allocate(
    server: &Server,
    row: &Resource,
    new: &mut Object,
    old: Option<&Object>,
) -> Result<Reserved, ApiError> {
    let mut reserved = Reserved::default();
    if !is_service(row) {
        return Ok(reserved);
    }
    match service::allocate(server, row, new, old, &mut reserved.0).await {
        Ok(()) => Ok(reserved),
        Err(error) => {
            reserved.release(server).await;
            Err(error)
        }
    }
}

/// Gives back what an object held that is gone.
pub async fn release(server: &Server, row: &Resource, object: &Object) {
    if is_service(row) {
        for reservation in service::held(object) {
            free(server, &reservation).await;
        }
    }
}

/// Gives back what the last version of an object held and this one does not.
pub async fn release_dropped(server: &Server, row: &Resource, old: &Object, new: &Object) {
    if !is_service(row) {
        return;
    }
    let kept = service::held(new);
    for reservation in service::held(old).difference(&kept) {
        free(server, reservation).await;
    }
}

/// Takes one of a pool; false if it is taken.
async fn reserve(server: &Server, reservation: &Reservation) -> Result<bool, ApiError> {
    let row = reservation.pool.row();
    match server.storage().create(row, &reservation.pool.object(&reservation.name)).await {
        Ok(_) => Ok(true),
        Err(StorageError::AlreadyExists(_)) => Ok(false),
        Err(error) => Err(storage_error(row, &reservation.name, error)),
    }
}

async fn free(server: &Server, reservation: &Reservation) {
    let (row, key) = (reservation.pool.row(), ObjectKey::cluster(reservation.name.as_str()));
    let freed = match server.storage().get(row, &key).await {
        Ok(stored) => server.storage().delete(row, &key, stored.revision).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match freed {
        Ok(()) | Err(StorageError::NotFound(_)) => {}
        Err(error) => {
            tracing::warn!(reservation = %key, error = %error, "an allocation was not given back");
        }
    }
}

fn is_service(row: &Resource) -> bool {
    row.gvk.group.is_empty() && row.plural == "services"
}
