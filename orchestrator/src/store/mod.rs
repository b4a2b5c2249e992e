//! Durable, ordered, watchable bytes.
