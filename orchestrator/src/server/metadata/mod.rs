//! The rules of `metadata`, which are the same for every kind.

mod prepare;
mod validate;

pub use prepare::{created, generate_name, updated};
pub use validate::{validate, validate_update, warnings};

/// The finalizer of a foreground deletion, which waits for what the object owns.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that leaves what the object owns.
pub const ORPHAN: &str = "orphan";
