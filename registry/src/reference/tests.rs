//! What texts mean as references.
use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(text: &str) -> String {
    text.parse::<Reference>().unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

#[test]
fn references_are_completed_as_docker_does() {
    assert_eq!(full("nginx"), "docker.io/library/nginx:latest");
    assert_eq!(full("nginx:1.27"), "docker.io/library/nginx:1.27");
    assert_eq!(full("me/app"), "docker.io/me/app:latest");
    assert_eq!(full("index.docker.io/nginx"), "docker.io/library/nginx:latest");
    assert_eq!(full("localhost/app"), "localhost/app:latest");
    assert_eq!(full("localhost:5001/a/b/c:v1"), "localhost:5001/a/b/c:v1");
    assert_eq!(full("[::1]:5001/app"), "[::1]:5001/app:latest");
    assert_eq!(full("ghcr.io/o/app"), "ghcr.io/o/app:latest");
    let digest = format!("ghcr.io/o/app@sha256:{HEX}");
    assert_eq!(full(&digest), digest);
    let both = format!("ghcr.io/o/app:v1@sha256:{HEX}");
    assert_eq!(full(&both), both);
}

#[test]
fn a_reference_without_host_goes_to_the_configured_registries() {
    let own = vec!["127.0.0.1:5001".to_owned(), "docker.io".to_owned()];
    let resolve = |text: &str| Reference::resolve(text, &own).unwrap().to_string();
    assert_eq!(resolve("hello"), "127.0.0.1:5001/hello:latest");
    assert_eq!(resolve("team/hello:v2"), "127.0.0.1:5001/team/hello:v2");
    assert_eq!(resolve("ghcr.io/a/b"), "ghcr.io/a/b:latest");
    let all = Reference::candidates("hello", &own).unwrap();
    assert_eq!(all[1].to_string(), "docker.io/library/hello:latest");
    assert!(matches!(Reference::resolve("hello", &[]), Err(ReferenceError::Unqualified(_))));
}

#[test]
fn a_bad_reference_says_which_part_is_bad() {
    let refused = |text: &str| text.parse::<Reference>().unwrap_err();
    assert_eq!(refused(""), ReferenceError::Empty);
    assert!(matches!(refused("ghcr.io/Foo"), ReferenceError::NotLowercase(_)));
    assert!(matches!(refused("a/../b"), ReferenceError::Name(_)));
    assert!(matches!(refused("a:b:c"), ReferenceError::Name(_)));
    assert!(matches!(refused("a:"), ReferenceError::Tag(_)));
    assert!(matches!(refused("a@sha256:zz"), ReferenceError::Digest(_)));
    assert!(matches!(refused("host:port/a"), ReferenceError::Registry(_)));
    assert!(matches!(refused("https://ghcr.io/a"), ReferenceError::Registry(_)));
    assert!(matches!(refused(HEX), ReferenceError::LooksLikeId(_)));
    assert_eq!(refused(&"a/".repeat(2000)), ReferenceError::TooLong);
    assert_eq!(refused(&format!("ghcr.io/{}", "a".repeat(250))), ReferenceError::NameTooLong);
}

#[test]
fn what_is_shown_is_read_back_as_the_same() {
    let hosts = ["", "localhost/", "h.io/", "a-b.c:1/", "[::1]:80/", "10.0.0.1:5001/", "Host/"];
    let repositories = ["a", "a/b", "a.b-c/d__e", "0/1/2"];
    let digest = format!("@sha256:{HEX}");
    for host in hosts {
        for repository in repositories {
            for tag in ["", ":v1", ":_X.y-z"] {
                for digest in ["", &digest] {
                    let text = format!("{host}{repository}{tag}{digest}");
                    let read: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
                    assert_eq!(read.to_string().parse(), Ok(read), "{text}");
                }
            }
        }
    }
}

#[test]
fn latest_is_what_may_change() {
    assert!("a".parse::<Reference>().unwrap().is_latest());
    assert!(!"a:v1".parse::<Reference>().unwrap().is_latest());
    assert!(!format!("a:latest@sha256:{HEX}").parse::<Reference>().unwrap().is_latest());
}
