//! Objects over the store: the value envelope, the watch cache, guaranteed updates.
