//! A Pod whose image imports what no node gives is refused by the import's name, before anything
//! is scheduled or pulled: as far as the cluster's own registry has the image.
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::Value;

use super::spec::name_of;
use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, Object};

/// What is known of images before they are pulled.
#[async_trait]
pub trait Images: Send + Sync {
    /// Why no node can run an image; none if one can, or nobody knows.
    async fn refusal(&self, image: &str) -> Option<String>;
}

/// The images, once they are known.
pub type KnownImages = Arc<OnceLock<Arc<dyn Images>>>;

/// The rule.
pub struct ImageImports(pub KnownImages);

#[async_trait]
impl Plugin for ImageImports {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action != Action::Delete && request.is_for("", "pods")
    }

    async fn validate(
        &self,
        request: &Request<'_>,
        pod: Option<&Object>,
        _: &Others,
    ) -> Result<(), ApiError> {
        let (Some(images), Some(pod)) = (self.0.get(), pod) else { return Ok(()) };
        let mut errors = FieldErrors::default();
        for field in ["initContainers", "containers"] {
            for (index, image) in images_of(pod, field).into_iter().enumerate() {
                let before = request.old.map(|old| images_of(old, field));
                let known = before.is_some_and(|before| before.get(index) == Some(&image));
                if known || image.is_empty() {
                    continue;
                }
                if let Some(why) = images.refusal(image).await {
                    let path = FieldPath::new("spec").child(field).index(index).child("image");
                    errors.0.push(FieldError::Invalid(path, image.into(), why));
                }
            }
        }
        if errors.0.is_empty() {
            return Ok(());
        }
        let gvk = &request.row.gvk;
        let (group, kind) = (gvk.group.to_string(), gvk.kind.to_string());
        Err(ApiError::Invalid { group, kind, name: name_of(pod), errors })
    }
}

fn images_of<'o>(pod: &'o Object, field: &str) -> Vec<&'o str> {
    let containers =
        pod.body.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_array);
    let image = |container: &'o Value| container["image"].as_str().unwrap_or_default();
    containers.into_iter().flatten().map(image).collect()
}
