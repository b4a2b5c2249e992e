//! Kubernetes' kinds that Podium has not, and what does their work here.
use std::fmt;

use crate::client::discovery::UnknownResource;
use crate::client::{Catalog, Served};

/// A kind that the server does not serve.
#[derive(Debug)]
struct Lacking {
    kind: &'static str,
    /// Its name in the plural, and the short ones.
    names: &'static [&'static str],
    instead: &'static str,
}

const LACKING: &[Lacking] = &[
    lacking("PersistentVolumeClaim", &["persistentvolumeclaims", "pvc"], VOLUMES),
    lacking("PersistentVolume", &["persistentvolumes", "pv"], VOLUMES),
    lacking("StorageClass", &["storageclasses", "sc"], VOLUMES),
    lacking(
        "StatefulSet",
        &["statefulsets", "sts"],
        "use a Deployment, with a hostPath volume if its files are to stay",
    ),
    lacking("DaemonSet", &["daemonsets", "ds"], "use a Deployment: there is one node"),
    lacking("ReplicationController", &["replicationcontrollers", "rc"], "use a Deployment"),
    lacking("NetworkPolicy", &["networkpolicies", "netpol"], "every Pod reaches every other"),
    lacking("ResourceQuota", &["resourcequotas", "quota"], "set limits on the containers"),
    lacking("LimitRange", &["limitranges", "limits"], "set limits on the containers"),
    lacking(
        "CustomResourceDefinition",
        &["customresourcedefinitions", "crd", "crds"],
        "the kinds it has are those of `podium get` with Tab",
    ),
    lacking("Role", &["roles"], RULES),
    lacking("RoleBinding", &["rolebindings"], RULES),
    lacking("ClusterRole", &["clusterroles"], RULES),
    lacking("ClusterRoleBinding", &["clusterrolebindings"], RULES),
];

const fn lacking(
    kind: &'static str,
    names: &'static [&'static str],
    instead: &'static str,
) -> Lacking {
    Lacking { kind, names, instead }
}

const VOLUMES: &str = "use an emptyDir for files that go with the Pod, or a hostPath below a folder of `podium up --allow-host-path DIR` for those that stay";

const RULES: &str = "administrators and the cluster's own parts may do everything, others nothing";

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Podium has no {}: {}", self.kind, self.instead)
    }
}

/// What to say of a kind that is not served; none if Kubernetes has no such kind either.
pub(super) fn of_kind(kind: &str) -> Option<String> {
    LACKING.iter().find(|lacking| lacking.kind == kind).map(Lacking::to_string)
}

/// The resource of a name, or what to use in its place.
pub(super) fn find<'c>(catalog: &'c Catalog, word: &str) -> anyhow::Result<&'c Served> {
    catalog.find(word).map_err(|unknown| match of_word(&unknown) {
        Some(lacking) => {
            anyhow::anyhow!("the server doesn't have a resource type {:?}; {lacking}", unknown.word)
        }
        None => unknown.into(),
    })
}

fn of_word(unknown: &UnknownResource) -> Option<&'static Lacking> {
    let word = unknown.word.to_lowercase();
    let name = word.split('.').next().unwrap_or_default();
    LACKING
        .iter()
        .find(|lacking| lacking.names.contains(&name) || lacking.kind.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_lacking_names_what_to_use_and_no_other_kind() {
        let pod = Served { plural: "pods".into(), ..Served::default() };
        let catalog = Catalog::of([pod.clone()]);
        let error = |word: &str| find(&catalog, word).unwrap_err().to_string();
        for word in ["pvc", "PersistentVolumeClaim", "persistentvolumeclaims.v1"] {
            let error = error(word);
            assert!(
                error.contains("Podium has no PersistentVolumeClaim: use an emptyDir"),
                "{error}"
            );
            assert!(!error.contains("did you mean"), "{error}");
        }
        assert!(error("podz").contains("did you mean \"pods\""));
        let served = Served { plural: "statefulsets".into(), ..Served::default() };
        let catalog = Catalog::of([pod, served]);
        assert_eq!(find(&catalog, "statefulsets").unwrap().plural, "statefulsets");
    }
}
