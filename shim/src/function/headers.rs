//! What a Spin component hears of its route: headers of its request, as Spin's own host sets them.
//!
//! A caller cannot set them.
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Uri};

use super::routes::Route;
use crate::network::{Peer, Request};

const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// Before the names of parameters.
const PATH_MATCH: &str = "spin-path-match-";

/// Tells the component of `route`, which fits the request, how it came to it.
pub(super) fn set(route: &Route, request: &mut Request, peer: &Peer) {
    let mut told = vec![
        (FULL_URL, full_url(request.uri(), request.headers())),
        (PATH_INFO, route.path_info(request.uri().path())),
        (MATCHED_ROUTE, route.based()),
        (COMPONENT_ROUTE, route.prefix().to_owned()),
        (RAW_COMPONENT_ROUTE, route.written.clone()),
        (BASE_PATH, "/".to_owned()),
        (CLIENT_ADDR, peer.source.to_string()),
    ];
    for (name, segment) in route.parameters(request.uri().path()) {
        let name = format!("{PATH_MATCH}{}", name.to_ascii_lowercase().replace('_', "-"));
        // Not every name is that of a header; Spin leaves such parameters out as well.
        if let Ok(name) = HeaderName::try_from(name) {
            told.push((name, segment.to_owned()));
        }
    }
    let headers = request.headers_mut();
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PATH_MATCH)).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    for (name, value) in told {
        match HeaderValue::try_from(value) {
            Ok(value) => drop(headers.insert(name, value)),
            Err(_) => drop(headers.remove(name)),
        }
    }
}

fn full_url(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{}://{}{path}", uri.scheme_str().unwrap_or("http"), host.unwrap_or("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::routes::{Found, Routes};
    use crate::images::StoredRoute;
    use crate::network::Body;

    /// The headers of Spin that a request has when its component gets it.
    fn heard(written: &str, request: http::request::Builder) -> Vec<(String, String)> {
        let stored = StoredRoute { path: written.to_owned(), component: 0 };
        let routes = Routes::new(&[stored]).unwrap();
        let mut request = request.body(Body::default()).unwrap();
        let Found::Route(route) = routes.find(request.uri().path()) else { panic!("{written}") };
        set(route, &mut request, &Peer { source: "10.64.0.9:4711".parse().unwrap() });
        let headers = request.headers().iter().filter(|(name, _)| name.as_str() != "host");
        let mut heard: Vec<_> = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        heard.sort();
        heard
    }

    #[test]
    fn a_component_hears_how_a_request_came_to_it_and_not_what_its_caller_claims() {
        let request = http::Request::get("/users/42/posts/7?x=1")
            .header(HOST, "shop.test:8080")
            .header("spin-full-url", "http://evil.test/")
            .header("spin-path-info", "/one")
            .header("spin-path-info", "/two")
            .header("spin-path-match-admin", "yes")
            .header("accept", "*/*");
        let heard = heard("/users/:User_ID/...", request);
        let heard: Vec<_> = heard.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            heard,
            [
                ("accept", "*/*"),
                ("spin-base-path", "/"),
                ("spin-client-addr", "10.64.0.9:4711"),
                ("spin-component-route", "/users/:User_ID"),
                ("spin-full-url", "http://shop.test:8080/users/42/posts/7?x=1"),
                ("spin-matched-route", "/users/:User_ID/..."),
                ("spin-path-info", "/posts/7"),
                ("spin-path-match-user-id", "42"),
                ("spin-raw-component-route", "/users/:User_ID/..."),
            ]
        );
    }

    #[test]
    fn the_url_names_the_host_wherever_it_stands() {
        let url = |request| {
            let heard = heard("/...", request);
            heard.into_iter().find(|(name, _)| name == "spin-full-url").unwrap().1
        };
        assert_eq!(
            url(http::Request::get("http://web.default:8080/a")),
            "http://web.default:8080/a"
        );
        assert_eq!(url(http::Request::get("/a")), "http://localhost/a");
    }
}
