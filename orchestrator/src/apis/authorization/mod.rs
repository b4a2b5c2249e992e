//! The group `authorization.k8s.io`.

mod self_subject_access_review;

pub use self_subject_access_review::SelfSubjectAccessReviews;
