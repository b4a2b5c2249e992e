//! The group `authentication.k8s.io`.

mod self_subject_review;

pub use self_subject_review::SelfSubjectReviews;
