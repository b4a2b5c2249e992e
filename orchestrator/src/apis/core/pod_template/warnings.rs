//! What of a Pod's spec is allowed but probably not meant.
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};

use crate::api::FieldPath;

/// Warns about a template.
pub fn template_warnings(template: &PodTemplateSpec) -> Vec<String> {
    let path = FieldPath::new("spec").child("template").child("spec");
    template.spec.as_ref().map(|spec| spec_warnings(&path, spec)).unwrap_or_default()
}

/// Warns about a spec that stands at `path`.
pub fn spec_warnings(path: &FieldPath, spec: &PodSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let init = spec.init_containers.iter().flatten();
    let lists = [
        ("initContainers", init.collect::<Vec<_>>()),
        ("containers", spec.containers.iter().collect()),
    ];
    for (field, containers) in lists {
        for (i, container) in containers.into_iter().enumerate() {
            let path = path.child(field).index(i);
            let env = container.env.as_deref().unwrap_or_default();
            for (j, variable) in env.iter().enumerate() {
                if let Some(first) = env[..j].iter().position(|other| other.name == variable.name) {
                    let at = path.child("env");
                    warnings.push(format!(
                        "{}: hides previous definition of {:?}, which may be dropped when using apply",
                        at.index(j), env[first].name
                    ));
                }
            }
        }
    }
    warnings
}
