//! The group `networking.k8s.io`.

mod ingress;
mod ingress_class;

pub use ingress::Ingresses;
pub use ingress_class::IngressClasses;
