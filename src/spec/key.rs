//! KMS keys, named by alias.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OnDestroy, Problems, Spec};
use crate::address::Region;

/// A KMS key. It exists already unless `managed` is true; its policy is owned by statement in both cases.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// The owner: a key under `accounts`.
    pub account: String,
    /// The key's region, the account's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The alias, with or without `alias/`.
    pub alias: String,
    /// Whether the key itself is made and kept by this spec.
    #[serde(default)]
    pub managed: bool,
    /// Yearly rotation of the key material, for a managed key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<bool>,
    /// What the key is for, for a managed key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags of a managed key, besides those that mark ownership.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What `destroy` does with a managed key: `keep`, or `delete` (schedules deletion in 30 days, and only if the key's
    /// address is given with `--allow-delete`).
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Refuse every plan that would delete the key.
    #[serde(default)]
    pub protect: bool,
}

impl KeySpec {
    /// The alias with its prefix.
    #[must_use]
    pub fn alias_name(&self) -> String {
        if self.alias.starts_with("alias/") { self.alias.clone() } else { format!("alias/{}", self.alias) }
    }

    /// The key's region.
    #[must_use]
    pub fn region(&self, spec: &Spec) -> Region {
        self.region
            .clone()
            .or_else(|| spec.accounts.get(&self.account).map(|a| a.region.clone()))
            .unwrap_or_else(|| Region("us-east-1".into()))
    }

    pub(super) fn check(&self, key: &str, spec: &Spec, problems: &mut Problems<'_>) {
        problems.reference(&["keys", key, "account"], "account", &self.account, &spec.accounts);
        let bare = self.alias.strip_prefix("alias/").unwrap_or(&self.alias);
        let sound = (1..=250).contains(&bare.len())
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-'));
        if !sound {
            problems.error(
                "invalid-alias",
                &["keys", key, "alias"],
                format!("`{}` is no KMS alias", self.alias),
                "letters, digits, slashes, underscores and hyphens",
            );
        } else if bare.starts_with("aws/") {
            problems.error(
                "aws-managed-key",
                &["keys", key, "alias"],
                format!(
                    "`{}` is a key that AWS manages: its policy cannot be changed, so it cannot be shared",
                    self.alias
                ),
                "use a customer managed key",
            );
        }
        if !self.managed {
            let unused = [
                ("rotation", self.rotation.is_some()),
                ("description", self.description.is_some()),
                ("tags", !self.tags.is_empty()),
                ("on_destroy", self.on_destroy == OnDestroy::Delete),
            ];
            for (field, _) in unused.iter().filter(|(_, set)| *set) {
                problems.error(
                    "wrong-value",
                    &["keys", key, field],
                    format!("`{field}` has no effect on a key that exists already"),
                    "add `managed: true`, or remove it",
                );
            }
        }
        problems.tags(&["keys", key, "tags"], &self.tags);
    }
}
