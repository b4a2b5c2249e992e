//! The group `autoscaling`.

mod horizontal_pod_autoscaler;
mod scale;

pub use horizontal_pod_autoscaler::{HorizontalPodAutoscalers, HorizontalPodAutoscalersV1};
pub use scale::Scales;
