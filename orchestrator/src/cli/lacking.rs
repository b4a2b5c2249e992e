//! Kubernetes' kinds that Podium has not, and what does their work here.
use std::fmt;

use crate::client::discovery::UnknownResource;
use crate::client::{Catalog, Served};

/// A kind that the server does not serve.
#[derive(Debug)]
struct Lacking {
    /// Its name in the plural, and what else it is called.
    names: &'static [&'static str],
    kind: &'static str,
    instead: &'static str,
}

const LACKING: &[Lacking] = &[
    Lacking {
        names: &["persistentvolumeclaims", "persistentvolumeclaim", "pvc"],
        kind: "PersistentVolumeClaim",
        instead: VOLUMES,
    },
    Lacking {
        names: &["persistentvolumes", "persistentvolume", "pv"],
        kind: "PersistentVolume",
        instead: VOLUMES,
    },
    Lacking {
        names: &["storageclasses", "storageclass", "sc"],
        kind: "StorageClass",
        instead: VOLUMES,
    },
    Lacking {
        names: &["statefulsets", "statefulset", "sts"],
        kind: "StatefulSet",
        instead: "use a Deployment, with a hostPath volume if its files are to stay",
    },
    Lacking {
        names: &["daemonsets", "daemonset", "ds"],
        kind: "DaemonSet",
        instead: "use a Deployment: there is one node",
    },
    Lacking {
        names: &["replicationcontrollers", "replicationcontroller", "rc"],
        kind: "ReplicationController",
        instead: "use a Deployment",
    },
    Lacking {
        names: &["networkpolicies", "networkpolicy", "netpol"],
        kind: "NetworkPolicy",
        instead: "every Pod reaches every other",
    },
    Lacking {
        names: &["resourcequotas", "resourcequota", "quota"],
        kind: "ResourceQuota",
        instead: "set limits on the containers",
    },
    Lacking {
        names: &["limitranges", "limitrange", "limits"],
        kind: "LimitRange",
        instead: "set limits on the containers",
    },
    Lacking {
        names: &["customresourcedefinitions", "customresourcedefinition", "crd", "crds"],
        kind: "CustomResourceDefinition",
        instead: "the kinds it has are those of `podium get` with Tab",
    },
    Lacking { names: &["roles", "role"], kind: "Role", instead: RULES },
    Lacking { names: &["rolebindings", "rolebinding"], kind: "RoleBinding", instead: RULES },
    Lacking { names: &["clusterroles", "clusterrole"], kind: "ClusterRole", instead: RULES },
    Lacking {
        names: &["clusterrolebindings", "clusterrolebinding"],
        kind: "ClusterRoleBinding",
        instead: RULES,
    },
];

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
    LACKING.iter().find(|lacking| lacking.names.contains(&name))
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
