//! Plugins that must look at other objects before a write is accepted.
