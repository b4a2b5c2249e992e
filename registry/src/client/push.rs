//! Sending: what the registry lacks first, the manifest that needs it last.
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use oci_distribution::errors::OciDistributionError;

use super::error::Part;
use super::{Auth, Client, ClientError, foreign};
use crate::artifact::Artifact;
use crate::manifest::{Descriptor, IMAGE_MANIFEST};
use crate::reference::{Digest, Reference};

/// Bytes handed to the connection at once: progress is reported after each.
const PIECE: usize = 256 << 10;

/// Told how many bytes more of the layer are on their way.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

impl Client {
    /// Pushes an artifact under a reference; answers its digest. Blobs that the registry has
    /// are not sent again.
    pub async fn push(
        &self,
        reference: &Reference,
        auth: &Auth,
        artifact: &Artifact,
        progress: Progress,
    ) -> Result<Digest, ClientError> {
        let client = self.session(reference, auth)?;
        let named = foreign(reference);
        client.store_auth_if_needed(named.resolve_registry(), &auth.clone().into()).await;
        let silent: Progress = Arc::new(|_| {});
        let blobs = [
            (&artifact.layer_descriptor, &artifact.layer, progress),
            (&artifact.config_descriptor, &artifact.config, silent),
        ];
        for (descriptor, content, progress) in blobs {
            push_blob(&client, &named, descriptor, content.clone(), progress)
                .await
                .map_err(|e| ClientError::sort(reference, Part::Blob, e))?;
        }
        let content_type = HeaderValue::from_static(IMAGE_MANIFEST);
        client
            .push_manifest_raw(&named, artifact.manifest.clone(), content_type)
            .await
            .map_err(|e| ClientError::sort(reference, Part::Manifest, e))?;
        Ok(artifact.digest.clone())
    }
}

async fn push_blob(
    client: &oci_distribution::Client,
    named: &oci_distribution::Reference,
    descriptor: &Descriptor,
    content: Bytes,
    progress: Progress,
) -> Result<(), OciDistributionError> {
    let digest = descriptor.digest.as_str();
    if client.blob_exists(named, digest).await? {
        progress(descriptor.size);
        return Ok(());
    }
    let pieces = stream::unfold(content, move |mut rest| {
        let piece = rest.split_to(rest.len().min(PIECE));
        progress(piece.len() as u64);
        async move { (!piece.is_empty()).then_some((Ok(piece), rest)) }
    });
    client.push_blob_stream(named, pieces, digest, Some(descriptor.size)).await?;
    Ok(())
}
