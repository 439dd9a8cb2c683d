//! The double of [`aws.iam.oidc_provider`](super).

use bailiwick::address::Scope;
use bailiwick::spec::{Facts, Management, Spec};
use serde_json::{Value, json};

use crate::double::{Double, fill};
use crate::memory::Id;

pub struct OidcProvider;

impl Double for OidcProvider {
    fn kind(&self) -> &'static str {
        "aws.iam.oidc_provider"
    }

    fn relied_on(&self, spec: &Spec, facts: &Facts) -> Vec<(Scope, String, Value)> {
        let existing = spec.clusters.iter().filter(|(_, cluster)| cluster.oidc_provider == Management::Existing);
        let hosts = existing.filter_map(|(name, _)| facts.issuer_host(name));
        let of_account = |account: &str, host: &str| {
            let arn = spec.iam_arn(account, &format!("oidc-provider/{host}"));
            (spec.account_scope(account), arn, json!({ "url": host, "client_ids": { "sts.amazonaws.com": true } }))
        };
        hosts.flat_map(|host| spec.accounts.keys().map(move |account| of_account(account, host))).collect()
    }

    fn complete(&self, _id: &Id, body: &mut Value) {
        fill(body, "client_ids", json!({}));
        fill(body, "tags", json!({}));
    }

    fn shared_fields(&self) -> &'static [&'static str] {
        &["tags", "client_ids"]
    }
}
