//! The API server: TLS, the request pipeline, verbs, discovery, OpenAPI, watch.
