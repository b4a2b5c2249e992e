//! Binds Pods to nodes: a snapshot, a pure cycle, plugins.
