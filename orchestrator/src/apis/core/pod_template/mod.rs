//! What a Pod and the template of one share: defaults, validation, warnings.
//!
//! Deployments and ReplicaSets carry a template; a Pod carries the same spec.

mod affinity;
mod containers;
mod defaults;
mod env;
mod probes;
mod resources;
#[cfg(test)]
mod tests;
mod tolerations;
mod topology;
mod validate;
mod volumes;
mod warnings;

pub use defaults::{requests_from_limits, spec_defaults};
pub use probes::sleeps as validate_sleeps;
pub use resources::amounts as validate_amounts;
pub use tolerations::validate as validate_tolerations;
pub use validate::{validate_spec, validate_template};
pub use warnings::{spec_warnings, template_warnings};
