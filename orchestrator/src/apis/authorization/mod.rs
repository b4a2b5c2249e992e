//! The group `authorization.k8s.io`.

mod local_subject_access_review;
mod question;
mod self_subject_access_review;
mod self_subject_rules_review;
mod subject_access_review;

pub use local_subject_access_review::LocalSubjectAccessReviews;
pub use self_subject_access_review::SelfSubjectAccessReviews;
pub use self_subject_rules_review::SelfSubjectRulesReviews;
pub use subject_access_review::SubjectAccessReviews;
