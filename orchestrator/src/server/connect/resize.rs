//! `pods/resize`: CPU and memory of a Pod's containers, while they run.
use axum::body::Body;
use http::Method;
use k8s_openapi::api::core::v1::Pod;

use crate::api::{ApiError, Object, Operation, Resource};
use crate::apis::core::validate_resize;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::WriteOptions;
use crate::server::verbs::{self, Patch};
use crate::server::write::{self, Oddities, Part};
use crate::server::{body, metadata};

/// Shows a Pod, or gives its containers other resources.
pub async fn call(call: &mut Call<'_>, method: &Method, body: Body) -> Result<Reply, ApiError> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return verbs::get(call).await;
    }
    let media_type = body::media_type(call.headers).to_owned();
    let bytes = body::read(body).await?;
    let (options, change) = if *method == Method::PATCH {
        let patch = Patch::decode(&media_type, &bytes)?;
        (WriteOptions::parse(call.query, "PatchOptions")?, Change::Patch(patch))
    } else {
        let wished = write::object(call, body::decode(&media_type, &bytes)?.value)?;
        (WriteOptions::parse(call.query, "UpdateOptions")?, Change::Put(Box::new(wished)))
    };
    let (row, name) = (call.row.clone(), call.path.name.clone());
    let updated = write::update(call, Part::Unchecked, &options, |old| {
        let mut wished = match &change {
            Change::Put(wished) => (**wished).clone(),
            Change::Patch(patch) => {
                verbs::patched(&row, &name, patch, old, &mut Oddities::default())?
            }
        };
        row.behaviour
            .prepare(&mut wished, Operation::Update(old))
            .map_err(|error| write::undecodable(&row, error))?;
        let version = wished.metadata.resource_version.take();
        let mut new = old.clone();
        if let Some(spec) = wished.body.remove("spec") {
            new.body.insert("spec".into(), spec);
        }
        metadata::updated(&mut new, old, row.has_generation);
        new.metadata.resource_version = version;
        refuse(&row, &new, old)?;
        Ok(new.into())
    });
    Ok(Reply::ok(updated.await?))
}

enum Change {
    Put(Box<Object>),
    Patch(Patch),
}

fn refuse(row: &Resource, new: &Object, old: &Object) -> Result<(), ApiError> {
    let (typed, was): (Pod, Pod) = (new.decode()?, old.decode()?);
    let errors = validate_resize(&typed, &was);
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid {
        group: row.gvk.group.to_string(),
        kind: row.gvk.kind.to_string(),
        name: new.metadata.name.clone().unwrap_or_default(),
        errors,
    })
}
