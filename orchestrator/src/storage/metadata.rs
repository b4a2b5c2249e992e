//! Metadata as it is stored: without its resourceVersion, which only the
//! sequencer knows.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Encodes metadata without the resourceVersion, and without a copy of it.
pub(super) struct Unversioned<'a>(pub(super) &'a ObjectMeta);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Every field by name, so that one that is new does not compile rather than get lost.
        let ObjectMeta {
            annotations,
            creation_timestamp,
            deletion_grace_period_seconds,
            deletion_timestamp,
            finalizers,
            generate_name,
            generation,
            labels,
            managed_fields,
            name,
            namespace,
            owner_references,
            resource_version: _,
            self_link,
            uid,
        } = self.0;
        let mut map = serializer.serialize_map(None)?;
        field(&mut map, "annotations", annotations)?;
        field(&mut map, "creationTimestamp", creation_timestamp)?;
        field(&mut map, "deletionGracePeriodSeconds", deletion_grace_period_seconds)?;
        field(&mut map, "deletionTimestamp", deletion_timestamp)?;
        field(&mut map, "finalizers", finalizers)?;
        field(&mut map, "generateName", generate_name)?;
        field(&mut map, "generation", generation)?;
        field(&mut map, "labels", labels)?;
        field(&mut map, "managedFields", managed_fields)?;
        field(&mut map, "name", name)?;
        field(&mut map, "namespace", namespace)?;
        field(&mut map, "ownerReferences", owner_references)?;
        field(&mut map, "selfLink", self_link)?;
        field(&mut map, "uid", uid)?;
        map.end()
    }
}

fn field<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: &Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.as_ref().map_or(Ok(()), |value| map.serialize_entry(name, value))
}
