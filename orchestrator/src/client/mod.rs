//! How every part but the API server talks to it: `kube::Client` in process or over TLS, shared informers, events.
