//! The types of policies that the command line accepts.

use crate::iam::{Policy, PolicyKind, PolicyPlace, Principal, Selector};

/// A type of policy: its kind, and the place whose quota applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyType {
    /// The kind, which determines the permitted elements.
    pub kind: PolicyKind,
    /// The place whose quota applies, if it is not the usual one of the kind.
    pub place: Option<PolicyPlace>,
}

const NAMES: [(&str, PolicyKind, Option<PolicyPlace>); 14] = [
    ("identity", PolicyKind::Identity, None),
    ("managed", PolicyKind::Identity, Some(PolicyPlace::ManagedPolicy)),
    ("resource", PolicyKind::Resource, None),
    ("trust", PolicyKind::Trust, None),
    ("scp", PolicyKind::Scp, None),
    ("rcp", PolicyKind::Rcp, None),
    ("boundary", PolicyKind::Boundary, None),
    ("session", PolicyKind::Session, None),
    ("bucket", PolicyKind::Bucket, None),
    ("key", PolicyKind::Key, None),
    ("endpoint", PolicyKind::Endpoint, None),
    ("queue", PolicyKind::Resource, Some(PolicyPlace::QueuePolicy)),
    ("table", PolicyKind::Resource, Some(PolicyPlace::TablePolicy)),
    ("weka", PolicyKind::Resource, Some(PolicyPlace::WekaPolicy)),
];

impl PolicyType {
    /// Returns the type of a kind at its usual place.
    #[must_use]
    pub fn of(kind: PolicyKind) -> Self {
        Self { kind, place: None }
    }

    /// Returns the type with this name. Also accepts `kms` for `key`, and `managed-policy`, `trust-policy` and the like.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase().replace('_', "-");
        let name = name.strip_suffix("-policy").unwrap_or(&name);
        let name = match name {
            "permission-boundary" | "permissions-boundary" => "boundary",
            "kms" | "kms-key" => "key",
            name => name,
        };
        NAMES.iter().find(|(known, ..)| *known == name).map(|(_, kind, place)| Self { kind: *kind, place: *place })
    }

    /// Returns all names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, ..)| *name)
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, kind, place)| *kind == self.kind && *place == self.place)
            .map_or("policy", |(name, ..)| name)
    }

    /// Returns the places where a policy of this type can be attached, each with a name.
    #[must_use]
    pub fn places(self) -> Vec<(PolicyPlace, &'static str)> {
        match (self.kind, self.place) {
            (_, Some(PolicyPlace::ManagedPolicy)) | (PolicyKind::Boundary, _) => {
                vec![(PolicyPlace::ManagedPolicy, "a managed policy")]
            }
            (_, Some(PolicyPlace::QueuePolicy)) => vec![(PolicyPlace::QueuePolicy, "a queue policy")],
            (_, Some(PolicyPlace::TablePolicy)) => vec![(PolicyPlace::TablePolicy, "a table policy")],
            (_, Some(PolicyPlace::WekaPolicy)) => vec![(PolicyPlace::WekaPolicy, "a WEKA policy")],
            (PolicyKind::Identity, _) => vec![
                (PolicyPlace::ManagedPolicy, "a managed policy"),
                (PolicyPlace::RoleInlineTotal, "all inline policies of a role"),
                (PolicyPlace::GroupInlineTotal, "all inline policies of a group"),
                (PolicyPlace::UserInlineTotal, "all inline policies of a user"),
            ],
            (PolicyKind::Session, _) => vec![(PolicyPlace::SessionPolicy, "a session policy")],
            (PolicyKind::Bucket, _) => {
                vec![(PolicyPlace::BucketPolicy, "a bucket policy"), (PolicyPlace::WekaPolicy, "a WEKA bucket policy")]
            }
            (PolicyKind::Key, _) => vec![(PolicyPlace::KeyPolicy, "a key policy")],
            (PolicyKind::Trust, _) => vec![(PolicyPlace::RoleTrust, "a trust policy")],
            (PolicyKind::Endpoint, _) => vec![(PolicyPlace::EndpointPolicy, "an endpoint policy")],
            (PolicyKind::Scp, _) => vec![(PolicyPlace::Scp, "a service control policy")],
            (PolicyKind::Rcp, _) => vec![(PolicyPlace::Rcp, "a resource control policy")],
            (PolicyKind::Resource, _) => Vec::new(),
        }
    }
}

/// Returns the unit of a place's quota.
#[must_use]
pub fn unit(place: PolicyPlace) -> &'static str {
    match place {
        PolicyPlace::BucketPolicy
        | PolicyPlace::KeyPolicy
        | PolicyPlace::EndpointPolicy
        | PolicyPlace::QueuePolicy
        | PolicyPlace::TablePolicy
        | PolicyPlace::WekaPolicy => "bytes",
        _ => "characters",
    }
}

/// Infers the type of a document. Without principals it is an identity policy. With principals it is a trust policy if
/// it is about STS, a bucket or key policy if it is only about S3 or KMS, or else a policy of some other resource.
#[must_use]
pub fn kind_of(text: &str) -> PolicyType {
    let Ok(policy) = Policy::parse(text) else {
        return PolicyType::of(if text.contains("Principal\"") { PolicyKind::Resource } else { PolicyKind::Identity });
    };
    let statements = policy.statements();
    if statements.iter().all(|s| s.principal().is_none()) {
        return PolicyType::of(PolicyKind::Identity);
    }
    let all_of = |service: &str| {
        statements
            .iter()
            .flat_map(|s| s.action().values())
            .all(|a| a.service().is_some_and(|of| of.eq_ignore_ascii_case(service)))
    };
    let federated = statements
        .iter()
        .filter_map(|s| s.principal())
        .flat_map(Selector::values)
        .any(|p| matches!(p, Principal::Federated(_)));
    PolicyType::of(if all_of("sts") || federated {
        PolicyKind::Trust
    } else if all_of("s3") {
        PolicyKind::Bucket
    } else if all_of("kms") {
        PolicyKind::Key
    } else {
        PolicyKind::Resource
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for name in PolicyType::names() {
            assert_eq!(PolicyType::named(name).map(PolicyType::name), Some(name));
        }
        assert_eq!(PolicyType::named("managed-policy"), PolicyType::named("managed"));
        assert_eq!(PolicyType::named("permission_boundary"), PolicyType::named("boundary"));
        for name in ["kms", "KMS", "kms-policy", "kms_key"] {
            assert_eq!(PolicyType::named(name), PolicyType::named("key"), "{name}");
        }
        assert_eq!(PolicyType::named("poem"), None);
    }

    #[test]
    fn kind_of_a_document_is_inferred_from_its_elements() {
        let kind = |principal: &str, action: &str| {
            let principal = if principal.is_empty() { String::new() } else { format!("\"Principal\":{principal},") };
            kind_of(&format!(
                "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",{principal}\"Action\":\"{action}\",\"Resource\":\"*\"}}}}"
            ))
            .name()
        };
        assert_eq!(kind("", "s3:GetObject"), "identity");
        assert_eq!(kind("\"*\"", "s3:GetObject"), "bucket");
        assert_eq!(kind("\"*\"", "kms:Decrypt"), "key");
        assert_eq!(kind("\"*\"", "sts:AssumeRole"), "trust");
        assert_eq!(kind("\"*\"", "sqs:SendMessage"), "resource");
    }
}
