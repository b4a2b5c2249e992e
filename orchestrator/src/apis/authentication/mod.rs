//! The group `authentication.k8s.io`.

mod self_subject_review;
mod token_review;

pub use self_subject_review::SelfSubjectReviews;
pub use token_review::TokenReviews;
