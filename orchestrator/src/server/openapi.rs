//! OpenAPI: the schemas by which kubectl validates, applies and explains.
use std::collections::HashMap;

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::Server;
use super::output::{self, Response};
use super::query::Query;
use crate::api::{ResourceTable, schema};

const INDEX: &str = "/openapi/v3";

/// Where clients from before version 3 look.
const V2: &str = "/openapi/v2";

/// What kubectl accepts: the binary form of gnostic, as it is called now and was called before.
const PROTOBUF: &[&str] = &[
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

/// Hashes of the documents by path, such as `apis/apps/v1`.
#[derive(Debug)]
pub struct OpenApi {
    documents: HashMap<String, Source>,
    index: bytes::Bytes,
    /// Names a version of the document of version 2.
    v2: String,
}

#[derive(Debug)]
struct Source {
    group: String,
    version: String,
    hash: String,
}

impl OpenApi {
    /// The documents of a table; they are made when they are asked for.
    pub fn of(table: &ResourceTable) -> Self {
        let mut documents = HashMap::new();
        for row in table.iter() {
            let (group, version) = (row.gvk.group.to_string(), row.gvk.version.to_string());
            let path = match group.as_str() {
                "" => format!("api/{version}"),
                _ => format!("apis/{group}/{version}"),
            };
            documents.entry(path).or_insert_with(|| {
                let hash = schema::index_hash(table, &group, &version);
                Source { group, version, hash }
            });
        }
        let paths: Map<String, Value> = documents
            .iter()
            .map(|(path, source)| {
                let url = format!("{INDEX}/{path}?hash={}", source.hash);
                (path.clone(), json!({"serverRelativeURL": url}))
            })
            .collect();
        let index = json!({"paths": paths}).to_string().into();
        Self { documents, index, v2: schema::hash_v2(table) }
    }
}

/// The answer to a GET of `path`, if it is one of OpenAPI's.
pub fn get(server: &Server, path: &str, query: &Query, headers: &HeaderMap) -> Option<Response> {
    let openapi = server.openapi();
    if path == V2 {
        return Some(version_2(server, openapi, headers));
    }
    let path = path.strip_prefix(INDEX)?.trim_matches('/');
    if path.is_empty() {
        let index = openapi.index.clone();
        return Some(output::bytes(StatusCode::OK, "application/json", index));
    }
    let source = openapi.documents.get(path)?;
    let etag = HeaderValue::try_from(format!("\"{}\"", source.hash)).ok()?;
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&etag) {
        let mut response = output::empty(StatusCode::NOT_MODIFIED);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    } else {
        let document = schema::document(server.table(), &source.group, &source.version)?;
        output::bytes(StatusCode::OK, "application/json", document)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    if query.text("hash") == Some(source.hash.as_str()) {
        // Named by its hash, a document never changes.
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(http::header::CACHE_CONTROL, forever);
    }
    Some(response)
}

/// The one document of version 2; made anew for each who asks, as hardly anybody does.
fn version_2(server: &Server, openapi: &OpenApi, headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = accept.split(',').find_map(|clause| {
        let form = clause.split(';').next().unwrap_or_default().trim();
        let protobuf = PROTOBUF.contains(&form);
        (protobuf || matches!(form, "application/json" | "application/*" | "*/*"))
            .then_some(protobuf)
    });
    let (protobuf, form) = match known {
        Some(true) => (true, PROTOBUF[0]),
        _ => (false, "application/json"),
    };
    let etag = format!("\"{}\"", openapi.v2);
    let etag = HeaderValue::try_from(etag).expect("hexadecimal digits are ASCII");
    let table = server.table();
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&etag) {
        output::empty(StatusCode::NOT_MODIFIED)
    } else if protobuf {
        output::bytes(StatusCode::OK, form, schema::protobuf_v2(table))
    } else {
        output::bytes(StatusCode::OK, form, schema::json_v2(table))
    };
    let answer = response.headers_mut();
    answer.insert(ETAG, etag);
    answer.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
