//! `serviceaccounts`
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::json;

use crate::api::{Column, Strategy, Subresource, Verb};

/// The `serviceaccounts` resource.
#[derive(Debug)]
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    type Kind = ServiceAccount;

    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const SUBRESOURCES: &'static [Subresource] =
        &[Subresource::Connect { name: "token", kind: "TokenRequest", verbs: &[Verb::Create] }];
    const COLUMNS: &'static [Column<ServiceAccount>] = &[Column::new(
        "Secrets",
        "The number of Secrets its Pods may use",
        |account: &ServiceAccount, _| json!(account.secrets.as_ref().map_or(0, Vec::len)),
    )
    .integer()];
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, object};

    #[test]
    fn its_secrets_are_counted() {
        let account = object("v1", "ServiceAccount", json!({"secrets": [{"name": "a"}]}));
        assert_eq!(cells(&create(&account).unwrap()), ["1"]);
    }
}
