//! Who may do what, until roles decide it: the cluster's own parts everything,
//! everyone else next to nothing.
use crate::api::{Attributes, Authorizer, Decision, Rule, User};

/// The group that may do everything, as in Kubernetes.
pub const MASTERS: &str = "system:masters";

/// The group of every caller who showed valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";

/// The parts of the control plane that may do everything.
const COMPONENTS: &[&str] = &[
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-proxy",
    "system:kube-scheduler",
];

/// Paths that say nothing about the cluster's content, open to everyone.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// Reviews that tell callers about themselves, as `(group, resource)`.
const SELF_REVIEWS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Lets the group `system:masters`, the control plane and the nodes do
/// everything, and everyone else ask for health, version and themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComponentAuthorizer;

impl Authorizer for ComponentAuthorizer {
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        if is_master(user) || is_component(user) || is_open(user, attributes) {
            Decision::Allow
        } else {
            Decision::Deny(String::new())
        }
    }

    fn rules(&self, user: &User, _: &str) -> Vec<Rule> {
        let all = || vec!["*".to_owned()];
        let resources =
            |verbs, groups, resources| Rule { verbs, groups, resources, paths: Vec::new() };
        let paths = |verbs, paths| Rule { verbs, paths, ..Rule::default() };
        if is_master(user) || is_component(user) {
            return vec![resources(all(), all(), all()), paths(all(), all())];
        }
        let mut rules = Vec::new();
        if user.groups.iter().any(|group| group == AUTHENTICATED) {
            rules.extend(SELF_REVIEWS.iter().map(|(group, resource)| {
                let one = |text: &str| vec![text.to_owned()];
                resources(one("create"), one(group), one(resource))
            }));
        }
        let open = PUBLIC_PATHS.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/*")]);
        rules.push(paths(all(), open.collect()));
        rules
    }
}

fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

fn is_component(user: &User) -> bool {
    let authenticated = || user.groups.iter().any(|group| group == AUTHENTICATED);
    let node =
        || user.name.starts_with("system:node:") && user.groups.iter().any(|g| g == "system:nodes");
    authenticated() && (COMPONENTS.contains(&user.name.as_str()) || node())
}

fn is_open(user: &User, attributes: &Attributes) -> bool {
    if attributes.resource.is_empty() {
        let path = attributes.path.as_str();
        return PUBLIC_PATHS.iter().any(|public| {
            path.strip_prefix(public).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
    user.groups.iter().any(|group| group == AUTHENTICATED)
        && attributes.verb == "create"
        && SELF_REVIEWS.contains(&(attributes.group.as_str(), attributes.resource.as_str()))
}

/// Why `user` was refused, in Kubernetes' words; `reason` may be empty.
///
/// Such as `User "x" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn refusal(user: &User, attributes: &Attributes, reason: &str) -> String {
    let Attributes { verb, group, resource, subresource, namespace, path, .. } = attributes;
    let name = &user.name;
    let mut text = if resource.is_empty() {
        format!("User {name:?} cannot {verb} path {path:?}")
    } else {
        let slash = if subresource.is_empty() { "" } else { "/" };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        format!(
            "User {name:?} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group {group:?} {place}"
        )
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_pods() -> Attributes {
        Attributes {
            verb: "list".into(),
            version: "v1".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            ..Attributes::default()
        }
    }

    fn get(path: &str) -> Attributes {
        Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() }
    }

    fn allows(user: &User, attributes: &Attributes) -> bool {
        ComponentAuthorizer.authorize(user, attributes) == Decision::Allow
    }

    #[test]
    fn masters_and_components_may_do_everything() {
        let admin = User {
            name: "kubernetes-admin".into(),
            groups: vec![MASTERS.into()],
            ..User::default()
        };
        for user in [admin, User::component("system:kube-scheduler"), User::node("n1")] {
            assert!(allows(&user, &list_pods()), "{user:?}");
        }
    }

    #[test]
    fn a_name_alone_makes_no_component() {
        let pretender = User { name: "system:node:n1".into(), ..User::default() };
        assert!(!allows(&pretender, &list_pods()));
        let unauthenticated = User { name: "system:kube-scheduler".into(), ..User::default() };
        assert!(!allows(&unauthenticated, &list_pods()));
        assert!(!allows(&User::component("eve"), &list_pods()));
    }

    #[test]
    fn strangers_see_health_and_version_alone() {
        let stranger = User::anonymous();
        for path in ["/healthz", "/readyz", "/livez/ping", "/version"] {
            assert!(allows(&stranger, &get(path)), "{path}");
        }
        for path in ["/", "/api", "/healthzz", "/metrics", "/version2"] {
            assert!(!allows(&stranger, &get(path)), "{path}");
        }
    }

    #[test]
    fn only_known_callers_may_ask_about_themselves() {
        let review = Attributes {
            verb: "create".into(),
            group: "authentication.k8s.io".into(),
            resource: "selfsubjectreviews".into(),
            ..Attributes::default()
        };
        assert!(allows(&User::component("alice"), &review));
        assert!(!allows(&User::anonymous(), &review));
    }

    #[test]
    fn refusals_have_the_words_of_kubernetes() {
        let user = User::component("x");
        assert_eq!(
            refusal(&user, &list_pods(), ""),
            r#"User "x" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        let status = Attributes {
            verb: "patch".into(),
            subresource: "status".into(),
            namespace: String::new(),
            ..list_pods()
        };
        assert_eq!(
            refusal(&user, &status, "no"),
            r#"User "x" cannot patch resource "pods/status" in API group "" at the cluster scope: no"#
        );
        assert_eq!(refusal(&user, &get("/api"), ""), r#"User "x" cannot get path "/api""#);
    }
}
