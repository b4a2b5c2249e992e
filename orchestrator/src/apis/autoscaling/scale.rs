//! `scale` of other kinds, as a table shows it.
use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::json;

use crate::api::{Column, Strategy};

/// The kind `Scale`, which is never stored.
#[derive(Debug)]
pub struct Scales;

impl Strategy for Scales {
    type Kind = Scale;

    const COLUMNS: &'static [Column<Scale>] = &[
        Column::new("Desired", "How many replicas are wished", |scale: &Scale, _| {
            let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas);
            json!(replicas.unwrap_or_default())
        })
        .integer(),
        Column::new("Available", "How many replicas there are", |scale: &Scale, _| {
            json!(scale.status.as_ref().map_or(0, |status| status.replicas))
        })
        .integer(),
    ];
}
