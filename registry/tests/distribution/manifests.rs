//! Manifests, lists and referrers over raw HTTP.
use http::Method;
use registry::Digest;
use registry::manifest::{IMAGE_INDEX, IMAGE_MANIFEST, MAX_MANIFEST_SIZE};
use serde_json::{Value, json};

use crate::support::{Registry, descriptor, manifest, refused};

/// A registry whose repository `a/b` has the blobs of `manifest(layer)`.
async fn with_blobs(layer: &[u8]) -> Registry {
    let registry = Registry::new();
    registry.push_blob("a/b", b"{}").await;
    registry.push_blob("a/b", layer).await;
    registry
}

#[tokio::test]
async fn a_manifest_is_read_byte_for_byte_by_tag_and_digest() {
    let registry = with_blobs(b"layer").await;
    let value = manifest(b"layer");
    let digest = Digest::of(value.to_string().as_bytes());
    let answer = registry.push_manifest("a/b", "v1", &value).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(answer.header("location"), format!("/v2/a/b/manifests/{digest}"));
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let read = registry.get(&path).await;
        assert_eq!(read.body, value.to_string());
        assert_eq!(read.header("content-type"), IMAGE_MANIFEST);
        assert_eq!(read.header("docker-content-digest"), digest.as_str());
        let head = registry.call(Method::HEAD, &path, &[], "").await;
        assert_eq!(head.header("content-length"), value.to_string().len().to_string());
        assert!(head.body.is_empty());
    }
    let other =
        registry.call(Method::GET, "/v2/a/b/manifests/v1", &[("Accept", IMAGE_INDEX)], "").await;
    assert_eq!(other.refusal(), refused(404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn a_tag_moves_and_the_old_manifest_stays() {
    let registry = with_blobs(b"one").await;
    registry.push_blob("a/b", b"two").await;
    registry.push_manifest("a/b", "v1", &manifest(b"one")).await;
    registry.push_manifest("a/b", "v1", &manifest(b"two")).await;
    let read = registry.get("/v2/a/b/manifests/v1").await;
    assert_eq!(read.body, manifest(b"two").to_string());
    let old = Digest::of(manifest(b"one").to_string().as_bytes());
    assert_eq!(registry.get(&format!("/v2/a/b/manifests/{old}")).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_unknown() {
    let registry = with_blobs(b"layer").await;
    let unknown = refused(404, "MANIFEST_UNKNOWN");
    for reference in ["v1", ".INVALID", Digest::of(b"no").as_str()] {
        let path = format!("/v2/a/b/manifests/{reference}");
        assert_eq!(registry.get(&path).await.refusal(), unknown);
        assert_eq!(registry.call(Method::DELETE, &path, &[], "").await.refusal(), unknown);
    }
    assert_eq!(registry.get("/v2/x/tags/list").await.refusal(), refused(404, "NAME_UNKNOWN"));
}

#[tokio::test]
async fn a_manifest_needs_its_parts() {
    let registry = with_blobs(b"layer").await;
    let answer = registry.push_manifest("a/b", "v1", &manifest(b"missing")).await;
    assert_eq!(answer.refusal(), refused(404, "MANIFEST_BLOB_UNKNOWN"));
    let named = &answer.json()["errors"][0]["detail"][0]["digest"];
    assert_eq!(*named, Digest::of(b"missing").as_str());
    let index = json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX,
        "manifests": [descriptor(IMAGE_MANIFEST, b"missing")]});
    let answer = registry.push_manifest("a/b", "v1", &index).await;
    assert_eq!(answer.refusal(), refused(404, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn an_index_is_kept_with_its_manifests() {
    let registry = with_blobs(b"layer").await;
    let value = manifest(b"layer");
    let digest = Digest::of(value.to_string().as_bytes());
    assert_eq!(registry.push_manifest("a/b", digest.as_str(), &value).await.status, 201);
    let mut entry = descriptor(IMAGE_MANIFEST, value.to_string().as_bytes());
    entry["platform"] = json!({"architecture": "wasm", "os": "wasip2"});
    let index = json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]});
    assert_eq!(registry.push_manifest("a/b", "v1", &index).await.status, 201);
    let read = registry.get("/v2/a/b/manifests/v1").await;
    assert_eq!(read.header("content-type"), IMAGE_INDEX);
    assert_eq!(read.json(), index);
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let registry = with_blobs(b"layer").await;
    let put = |reference: String, content_type: &'static str, body: Vec<u8>| {
        let registry = &registry;
        async move {
            let path = format!("/v2/a/b/manifests/{reference}");
            let headers = [("Content-Type", content_type)];
            registry.call(Method::PUT, &path, &headers, body).await.refusal()
        }
    };
    let good = manifest(b"layer").to_string().into_bytes();
    let invalid = refused(400, "MANIFEST_INVALID");
    assert_eq!(put("v1".into(), IMAGE_MANIFEST, b"{".to_vec()).await, invalid);
    assert_eq!(put("v1".into(), "text/plain", good.clone()).await, invalid);
    assert_eq!(put("v1".into(), IMAGE_INDEX, good.clone()).await, invalid);
    assert_eq!(put(".bad".into(), IMAGE_MANIFEST, good.clone()).await, invalid);
    let other = Digest::of(b"other").to_string();
    assert_eq!(put(other, IMAGE_MANIFEST, good).await, refused(400, "DIGEST_INVALID"));
    let huge = vec![b' '; MAX_MANIFEST_SIZE as usize + 1];
    assert_eq!(put("v1".into(), IMAGE_MANIFEST, huge).await, refused(413, "MANIFEST_INVALID"));
}

#[tokio::test]
async fn tags_and_repositories_come_in_pages() {
    let registry = with_blobs(b"layer").await;
    for tag in ["v3", "v1", "v2"] {
        registry.push_manifest("a/b", tag, &manifest(b"layer")).await;
    }
    let all = registry.get("/v2/a/b/tags/list").await;
    assert_eq!(all.json(), json!({"name": "a/b", "tags": ["v1", "v2", "v3"]}));
    assert_eq!(all.headers.get("link"), None);

    let first = registry.get("/v2/a/b/tags/list?n=2").await;
    assert_eq!(first.json()["tags"], json!(["v1", "v2"]));
    let link = first.header("link");
    assert_eq!(link, "</v2/a/b/tags/list?n=2&last=v2>; rel=\"next\"");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let second = registry.get(next).await;
    assert_eq!(second.json()["tags"], json!(["v3"]));
    assert_eq!(second.headers.get("link"), None);
    assert_eq!(registry.get("/v2/a/b/tags/list?n=0").await.json()["tags"], json!([]));
    assert_eq!(registry.get("/v2/a/b/tags/list?n=x").await.status, 400);

    registry.push_blob("c", b"{}").await;
    registry.push_blob("c", b"layer").await;
    registry.push_manifest("c", "v1", &manifest(b"layer")).await;
    let catalog = registry.get("/v2/_catalog?n=1").await;
    assert_eq!(catalog.json(), json!({"repositories": ["a/b"]}));
    assert_eq!(catalog.header("link"), "</v2/_catalog?n=1&last=a%2Fb>; rel=\"next\"");
    let rest = registry.get("/v2/_catalog?n=1&last=a%2Fb").await;
    assert_eq!(rest.json(), json!({"repositories": ["c"]}));
}

fn about(subject: &Value, kind: &str) -> Value {
    let mut signature = manifest(b"layer");
    signature["subject"] = subject.clone();
    signature["artifactType"] = json!(kind);
    signature["annotations"] = json!({"by": "someone"});
    signature
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed_and_filtered() {
    let registry = with_blobs(b"layer").await;
    let subject = descriptor(IMAGE_MANIFEST, manifest(b"layer").to_string().as_bytes());
    let digest = subject["digest"].as_str().unwrap();
    let path = format!("/v2/a/b/referrers/{digest}");
    assert_eq!(registry.get(&path).await.json()["manifests"], json!([]));
    for kind in ["application/sbom", "application/signature+json"] {
        let value = about(&subject, kind);
        let own = Digest::of(value.to_string().as_bytes());
        let answer = registry.push_manifest("a/b", own.as_str(), &value).await;
        assert_eq!(answer.header("oci-subject"), digest);
    }
    let all = registry.get(&path).await;
    assert_eq!(all.header("content-type"), IMAGE_INDEX);
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(all.json()["manifests"][0]["annotations"], json!({"by": "someone"}));
    assert_eq!(all.headers.get("oci-filters-applied"), None);

    let filter = format!("{path}?artifactType=application/signature%2Bjson");
    let filtered = registry.get(&filter).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let found = filtered.json()["manifests"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["artifactType"], "application/signature+json");

    let signature = found[0]["digest"].as_str().unwrap();
    let delete = format!("/v2/a/b/manifests/{signature}");
    assert_eq!(registry.call(Method::DELETE, &delete, &[], "").await.status, 202);
    assert_eq!(registry.get(&filter).await.json()["manifests"], json!([]));
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_that_leaves_nothing() {
    let registry = with_blobs(b"layer").await;
    let value = manifest(b"layer");
    let digest = Digest::of(value.to_string().as_bytes());
    for tag in ["v1", "v2"] {
        registry.push_manifest("a/b", tag, &value).await;
    }
    let by_tag = "/v2/a/b/manifests/v1";
    assert_eq!(registry.call(Method::DELETE, by_tag, &[], "").await.status, 202);
    assert_eq!(registry.get(by_tag).await.refusal(), refused(404, "MANIFEST_UNKNOWN"));
    let by_digest = format!("/v2/a/b/manifests/{digest}");
    assert_eq!(registry.get(&by_digest).await.status, 200);
    assert_eq!(registry.call(Method::DELETE, &by_digest, &[], "").await.status, 202);
    assert_eq!(registry.get("/v2/a/b/manifests/v2").await.status, 404);
    assert_eq!(registry.get("/v2/a/b/tags/list").await.json()["tags"], json!([]));
}

#[tokio::test]
async fn a_manifest_over_damaged_content_is_refused_with_what_must_be_pushed() {
    let registry = with_blobs(b"layer").await;
    let digest = Digest::of(b"layer");
    registry.damage(&digest);
    let answer = registry.push_manifest("a/b", "v1", &manifest(b"layer")).await;
    assert_eq!(answer.refusal(), refused(404, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(answer.json()["errors"][0]["detail"][0]["digest"], digest.as_str());
    registry.push_blob("a/b", b"layer").await;
    assert_eq!(registry.push_manifest("a/b", "v1", &manifest(b"layer")).await.status, 201);
}

#[tokio::test]
async fn a_damaged_manifest_is_unknown_until_it_is_pushed_again() {
    let registry = with_blobs(b"layer").await;
    let value = manifest(b"layer");
    let digest = Digest::of(value.to_string().as_bytes());
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(registry.push_manifest("a/b", "v1", &value).await.status, 201);
        registry.damage(&digest);
        let answer = registry.call(method, "/v2/a/b/manifests/v1", &[], "").await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    registry.push_manifest("a/b", "v1", &value).await;
    assert_eq!(registry.get("/v2/a/b/manifests/v1").await.body, value.to_string());
}
