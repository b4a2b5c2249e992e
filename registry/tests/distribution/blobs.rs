//! Blobs over raw HTTP: pushing in every way, reading in part, refusals.
use axum::body::Body;
use http::{Method, Request};
use registry::Digest;

use crate::support::{Registry, refused};

const CONTENT: &[u8] = b"0123456789abcdef";

async fn begin(registry: &Registry, name: &str) -> String {
    let path = format!("/v2/{name}/blobs/uploads/");
    let answer = registry.call(Method::POST, &path, &[("Content-Length", "0")], "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("range"), "0-0");
    answer.header("location").to_owned()
}

const CHALLENGE: &str = "Bearer realm=\"http://localhost/token\",service=\"podium\"";

#[tokio::test]
async fn the_base_challenges_who_shows_nothing_and_checks_credentials() {
    let registry = Registry::new();
    let answer = registry.get("/v2/").await;
    assert_eq!(answer.refusal(), refused(401, "UNAUTHORIZED"));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(answer.header("www-authenticate"), CHALLENGE);
    assert_eq!(registry.call(Method::GET, "/v2/", &[], "").await.status, 200);
    let wrong = Request::get("/v2/").header("Authorization", "Basic eDp5");
    let answer = registry.send(wrong.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.refusal(), refused(401, "UNAUTHORIZED"));
}

#[tokio::test]
async fn tokens_are_given_for_reading_to_everybody_and_for_writing_to_who_may() {
    let registry = Registry::new();
    let query = "/token?service=podium&scope=repository:a:pull,push";
    let anonymous = registry.get(query).await.json()["token"].as_str().unwrap().to_owned();
    let writer = registry.call(Method::GET, query, &[], "").await;
    let writer = writer.json()["token"].as_str().unwrap().to_owned();
    let wrong = Request::get(query).header("Authorization", "Basic eDp5");
    let refusal = registry.send(wrong.body(Body::empty()).unwrap()).await;
    assert_eq!(refusal.refusal(), refused(401, "UNAUTHORIZED"));
    assert!(refusal.header("www-authenticate").starts_with("Basic realm="));

    let with = async |method: Method, path: &str, token: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Authorization", format!("Bearer {token}"));
        registry.send(request.body(Body::empty()).unwrap()).await
    };
    for token in [&anonymous, &writer] {
        assert_eq!(with(Method::GET, "/v2/", token).await.status, 200);
    }
    let uploads = "/v2/a/blobs/uploads/";
    let denied = with(Method::POST, uploads, &anonymous).await;
    assert_eq!(denied.refusal(), refused(401, "UNAUTHORIZED"));
    let scope = format!("{CHALLENGE},scope=\"repository:a:pull,push\"");
    assert_eq!(denied.header("www-authenticate"), scope);
    assert_eq!(with(Method::POST, uploads, &writer).await.status, 202);
}

#[tokio::test]
async fn writing_needs_credentials_and_reading_does_not() {
    let registry = Registry::new();
    let digest = registry.push_blob("a/b", CONTENT).await;
    let blob = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(registry.get(&blob).await.body, CONTENT);
    let manifest = "/v2/a/b/manifests/v1";
    for (method, path) in [
        (Method::POST, "/v2/a/b/blobs/uploads/"),
        (Method::PUT, manifest),
        (Method::DELETE, manifest),
        (Method::DELETE, blob.as_str()),
    ] {
        for credentials in [None, Some("Basic eDp5"), Some("Bearer x"), Some("Basic %%%")] {
            let mut request = Request::builder().method(&method).uri(path);
            if let Some(value) = credentials {
                request = request.header("Authorization", value);
            }
            let answer = registry.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.refusal(), refused(401, "UNAUTHORIZED"), "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with(CHALLENGE));
        }
    }
    assert_eq!(registry.get(&blob).await.status, 200);
}

#[tokio::test]
async fn a_blob_is_pushed_by_post_then_put() {
    let registry = Registry::new();
    let location = begin(&registry, "a").await;
    let digest = Digest::of(CONTENT);
    let put = format!("{location}?digest={digest}");
    let answer = registry.call(Method::PUT, &put, &[], CONTENT).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    let blob = registry.get(answer.header("location")).await;
    assert_eq!(blob.body, CONTENT);
    assert_eq!(blob.header("docker-content-digest"), digest.as_str());
    let head = registry.call(Method::HEAD, &format!("/v2/a/blobs/{digest}"), &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "16"));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn chunks_go_on_where_the_last_one_ended() {
    let registry = Registry::new();
    let location = begin(&registry, "a").await;
    let patch = |range: &'static str, body: &'static [u8]| {
        let location = location.clone();
        let registry = &registry;
        async move { registry.call(Method::PATCH, &location, &[("Content-Range", range)], body).await }
    };
    let first = patch("0-3", &CONTENT[..4]).await;
    assert_eq!((first.status.as_u16(), first.header("range")), (202, "0-3"));

    let gap = patch("6-9", &CONTENT[6..10]).await;
    assert_eq!(gap.refusal(), refused(416, "BLOB_UPLOAD_INVALID"));
    assert_eq!((gap.header("range"), gap.header("location")), ("0-3", location.as_str()));
    assert_eq!(patch("nonsense", b"").await.status, 400);

    let status = registry.call(Method::GET, &location, &[], "").await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-3"));
    assert_eq!(patch("4-9", &CONTENT[4..10]).await.status, 202);

    let digest = Digest::of(CONTENT);
    let put = format!("{location}?digest={digest}");
    let range = [("Content-Range", "10-15")];
    let done = registry.call(Method::PUT, &put, &range, &CONTENT[10..]).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(registry.get(done.header("location")).await.body, CONTENT);
    let gone = registry.call(Method::GET, &location, &[], "").await;
    assert_eq!(gone.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn a_chunk_shorter_than_its_range_is_refused() {
    let registry = Registry::new();
    let location = begin(&registry, "a").await;
    let headers = [("Content-Range", "0-9")];
    let answer = registry.call(Method::PATCH, &location, &headers, &CONTENT[..4]).await;
    assert_eq!(answer.refusal(), refused(400, "SIZE_INVALID"));
    let headers = [("Content-Range", "0-9"), ("Content-Length", "4")];
    let answer = registry.call(Method::PATCH, &location, &headers, &CONTENT[..4]).await;
    assert_eq!(answer.status, 416, "the four bytes that came count");
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused_and_leaves_nothing() {
    let registry = Registry::new();
    let wrong = Digest::of(b"something else");
    let location = begin(&registry, "a").await;
    let put = format!("{location}?digest={wrong}");
    let answer = registry.call(Method::PUT, &put, &[], CONTENT).await;
    assert_eq!(answer.refusal(), refused(400, "DIGEST_INVALID"));
    assert_eq!(answer.json()["errors"][0]["detail"]["actual"], Digest::of(CONTENT).as_str());
    let post = format!("/v2/a/blobs/uploads/?digest={wrong}");
    let answer = registry.call(Method::POST, &post, &[], CONTENT).await;
    assert_eq!(answer.refusal(), refused(400, "DIGEST_INVALID"));
    let blob = registry.get(&format!("/v2/a/blobs/{wrong}")).await;
    assert_eq!(blob.refusal(), refused(404, "BLOB_UNKNOWN"));
    assert_eq!(registry.store.content().blobs().unwrap(), []);
    let location = begin(&registry, "a").await;
    let without = registry.call(Method::PUT, &location, &[], CONTENT).await;
    assert_eq!(without.refusal(), refused(400, "DIGEST_INVALID"));
    let bad = registry.get("/v2/a/blobs/sha256:xyz").await;
    assert_eq!(bad.refusal(), refused(400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn an_upload_can_be_cancelled_and_belongs_to_its_repository() {
    let registry = Registry::new();
    let location = begin(&registry, "a").await;
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    let answer = registry.call(Method::PATCH, &elsewhere, &[], CONTENT).await;
    assert_eq!(answer.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(registry.call(Method::DELETE, &location, &[], "").await.status, 204);
    let answer = registry.call(Method::PATCH, &location, &[], CONTENT).await;
    assert_eq!(answer.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn what_one_repository_has_is_mounted_in_another() {
    let registry = Registry::new();
    let digest = registry.push_blob("a", CONTENT).await;
    let hidden = registry.get(&format!("/v2/b/blobs/{digest}")).await;
    assert_eq!(hidden.refusal(), refused(404, "BLOB_UNKNOWN"));
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let answer = registry.call(Method::POST, &mount, &[], "").await;
    assert_eq!(answer.status, 201);
    assert_eq!(registry.get(answer.header("location")).await.body, CONTENT);
    let unknown = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::of(b"no"));
    let answer = registry.call(Method::POST, &unknown, &[], "").await;
    assert_eq!(answer.status, 202, "what cannot be mounted is uploaded");
}

#[tokio::test]
async fn a_part_of_a_blob_can_be_read() {
    let registry = Registry::new();
    let digest = registry.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{digest}");
    let read = |range: &'static str| {
        let (registry, path) = (&registry, path.as_str());
        async move { registry.call(Method::GET, path, &[("Range", range)], "").await }
    };
    let middle = read("bytes=4-7").await;
    assert_eq!((middle.status.as_u16(), middle.body.as_ref()), (206, &CONTENT[4..8]));
    assert_eq!(middle.header("content-range"), "bytes 4-7/16");
    assert_eq!(read("bytes=10-").await.body, CONTENT[10..]);
    assert_eq!(read("bytes=-3").await.body, CONTENT[13..]);
    let outside = read("bytes=16-").await;
    assert_eq!(outside.refusal(), refused(416, "SIZE_INVALID"));
    assert_eq!(outside.header("content-range"), "bytes */16");
}

#[tokio::test]
async fn many_may_push_the_same_blob_at_once() {
    let registry = std::sync::Arc::new(Registry::new());
    let content = vec![7; 3 << 20];
    let mut pushes = tokio::task::JoinSet::new();
    for i in 0..16 {
        let (registry, content) = (registry.clone(), content.clone());
        pushes.spawn(async move { registry.push_blob(&format!("r{}", i % 4), &content).await });
    }
    let digest = pushes.join_all().await.pop().unwrap();
    for i in 0..4 {
        assert_eq!(registry.get(&format!("/v2/r{i}/blobs/{digest}")).await.body, content);
    }
    assert_eq!(registry.store.content().blobs().unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_alone() {
    let registry = Registry::new();
    let digest = registry.push_blob("a", CONTENT).await;
    registry.push_blob("b", CONTENT).await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.call(Method::DELETE, &path, &[], "").await.status, 202);
    assert_eq!(registry.get(&path).await.refusal(), refused(404, "BLOB_UNKNOWN"));
    let again = registry.call(Method::DELETE, &path, &[], "").await;
    assert_eq!(again.refusal(), refused(404, "BLOB_UNKNOWN"));
    assert_eq!(registry.get(&format!("/v2/b/blobs/{digest}")).await.body, CONTENT);
}

#[tokio::test]
async fn bad_names_and_unknown_paths_are_refused() {
    let registry = Registry::new();
    for path in ["/v2/A/tags/list", "/v2/a/../b/tags/list", "/v2/a%2f..%2fb/tags/list"] {
        assert_eq!(registry.get(path).await.refusal(), refused(400, "NAME_INVALID"), "{path}");
    }
    assert_eq!(registry.get("/v2/a/b").await.refusal(), refused(404, "UNSUPPORTED"));
    assert_eq!(registry.get("/").await.refusal(), refused(404, "UNSUPPORTED"));
    let answer = registry.call(Method::PATCH, "/v2/a/manifests/v1", &[], "").await;
    assert_eq!(answer.refusal(), refused(405, "UNSUPPORTED"));
}

#[tokio::test]
async fn a_damaged_blob_is_unknown_however_it_is_asked_for_until_it_is_pushed_again() {
    let registry = Registry::new();
    let digest = registry.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{digest}");
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    for (method, path, missing) in [
        (Method::HEAD, path.as_str(), 404),
        (Method::GET, path.as_str(), 404),
        (Method::POST, mount.as_str(), 202),
    ] {
        registry.damage(&digest);
        let answer = registry.call(method.clone(), path, &[], "").await;
        assert_eq!(answer.status.as_u16(), missing, "{method} {answer:?}");
        assert!(!registry.store.content().contains(&digest));
        registry.push_blob("a", CONTENT).await;
        let answer = registry.call(method.clone(), path, &[], "").await;
        assert!(answer.status.is_success(), "{method} {answer:?}");
    }
    assert_eq!(registry.get(&path).await.body, CONTENT);
}
