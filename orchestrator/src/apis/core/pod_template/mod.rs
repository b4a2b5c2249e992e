//! What a Pod and the template of one share: defaults, validation, warnings.
//!
//! Deployments and ReplicaSets carry a template; a Pod carries the same spec.

mod defaults;
mod validate;
mod warnings;

pub use defaults::{requests_from_limits, spec_defaults};
pub use validate::{validate_spec, validate_template};
pub use warnings::{spec_warnings, template_warnings};
