//! The group `networking.k8s.io`.

mod ingress;

pub use ingress::Ingresses;
