//! The gateway as Ingresses name it.

/// The IngressClass that is there from the start.
pub const GATEWAY_CLASS: &str = "podium";

/// What an IngressClass says whose Ingresses the gateway serves.
pub const GATEWAY_CONTROLLER: &str = "podium.dev/gateway";
