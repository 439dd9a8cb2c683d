//! KMS keys, named by alias.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{SectionEntry, SpecProblems};
use super::{OnDestroy, Spec};
use crate::address::Region;
use crate::diagnostic::Code;

/// A KMS key. It already exists unless `managed` is true. In both cases Bailiwick manages only its own statements in
/// the key policy.
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
    /// Whether this spec creates and manages the key itself.
    #[serde(default)]
    pub managed: bool,
    /// Yearly rotation of the key material, for a managed key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<bool>,
    /// The description of a managed key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags of a managed key, in addition to the ownership tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What `destroy` does with a managed key: `keep`, or `delete` (schedules deletion in 30 days, and only if
    /// `--allow-delete` names the key's address).
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Refuse every plan that would delete the key.
    #[serde(default)]
    pub protect: bool,
}

impl KeySpec {
    /// The alias with the `alias/` prefix.
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

    fn check_alias(&self, key: &str, problems: &mut SpecProblems<'_>) {
        let bare = self.alias.strip_prefix("alias/").unwrap_or(&self.alias);
        let is_valid = (1..=250).contains(&bare.len())
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-'));
        if !is_valid {
            problems.error(
                Code::InvalidAlias,
                &["keys", key, "alias"],
                format!("invalid KMS alias `{}`", self.alias),
                "use 1 to 250 letters, digits, slashes, underscores and hyphens",
            );
        } else if bare.starts_with("aws/") {
            problems.error(
                Code::AwsManagedKey,
                &["keys", key, "alias"],
                format!("`{}` is an AWS managed key: its policy cannot be changed, so it cannot be shared", self.alias),
                "use a customer managed key",
            );
        }
    }
}

impl SectionEntry for KeySpec {
    const SECTION: &'static str = "keys";
    const NOUN: &'static str = "key";
    const IDENTIFIED_AT: &'static [&'static str] = &[];
    const ONE_ENTRY: &'static str = "keep one entry for each alias";
    /// Account, region and alias.
    type Identity = (String, Region, String);

    fn identity(&self, spec: &Spec) -> Self::Identity {
        (self.account.clone(), self.region(spec), self.alias_name())
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { account, region: _, alias: _, managed, rotation, description, tags, on_destroy, protect: _ } = self;
        problems.reference(&["keys", key, "account"], account, &spec.accounts);
        self.check_alias(key, problems);
        if !managed {
            let unused = [
                ("rotation", rotation.is_some()),
                ("description", description.is_some()),
                ("tags", !tags.is_empty()),
                ("on_destroy", *on_destroy == OnDestroy::Delete),
            ];
            for (field, _) in unused.iter().filter(|(_, set)| *set) {
                problems.error(
                    Code::WrongValue,
                    &["keys", key, field],
                    format!("`{field}` has no effect on a key without `managed: true`"),
                    "add `managed: true`, or remove it",
                );
            }
        }
        problems.tags(&["keys", key, "tags"], tags);
    }
}
