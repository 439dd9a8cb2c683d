//! The size of a policy in the place where it will be attached, counted as AWS counts it there.
//!
//! Sources: IAM User Guide, "IAM and AWS STS quotas"; AWS Organizations User Guide, "Quotas" and the syntax pages of
//! SCPs and RCPs; S3 User Guide, "Bucket policies"; KMS Developer Guide, "Quotas"; SQS Developer Guide, "Policies"
//! quotas; `DynamoDB` Developer Guide, "Resource-based policy considerations"; WEKA documentation, "S3 bucket
//! policies".

use super::policy::Policy;

/// A place for a policy, with its own quota and way of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyPlace {
    /// A customer managed policy, including one that is used as a permissions boundary.
    ManagedPolicy,
    /// All inline policies of a user together.
    UserInlineTotal,
    /// All inline policies of a group together.
    GroupInlineTotal,
    /// All inline policies of a role together.
    RoleInlineTotal,
    /// The trust policy of a role, at its default quota.
    RoleTrust,
    /// A session policy for `AssumeRole` and similar calls. AWS also limits a packed size that only AWS can compute.
    SessionPolicy,
    /// A service control policy.
    Scp,
    /// A resource control policy.
    Rcp,
    /// The policy of an S3 bucket.
    BucketPolicy,
    /// The policy of a KMS key.
    KeyPolicy,
    /// The policy of a VPC endpoint.
    EndpointPolicy,
    /// The policy of an SQS queue.
    QueuePolicy,
    /// The resource policy of a `DynamoDB` table.
    TablePolicy,
    /// A bucket or IAM policy of WEKA's S3.
    WekaPolicy,
}

/// The size of a policy and the quota of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    /// Characters or bytes, depending on the place.
    pub used: usize,
    pub quota: usize,
}

impl Size {
    /// The remaining room; 0 if the policy exceeds its quota.
    #[must_use]
    pub fn headroom(self) -> usize {
        self.quota.saturating_sub(self.used)
    }

    /// Whether AWS would reject the policy because of its size.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.used > self.quota
    }
}

impl PolicyPlace {
    /// All places with the names that the CLI accepts.
    const NAMES: &'static [(&'static str, PolicyPlace)] = &[
        ("managed", PolicyPlace::ManagedPolicy),
        ("managed-policy", PolicyPlace::ManagedPolicy),
        ("boundary", PolicyPlace::ManagedPolicy),
        ("inline-user", PolicyPlace::UserInlineTotal),
        ("user", PolicyPlace::UserInlineTotal),
        ("inline-group", PolicyPlace::GroupInlineTotal),
        ("group", PolicyPlace::GroupInlineTotal),
        ("inline-role", PolicyPlace::RoleInlineTotal),
        ("role", PolicyPlace::RoleInlineTotal),
        ("trust", PolicyPlace::RoleTrust),
        ("session", PolicyPlace::SessionPolicy),
        ("scp", PolicyPlace::Scp),
        ("rcp", PolicyPlace::Rcp),
        ("bucket", PolicyPlace::BucketPolicy),
        ("key", PolicyPlace::KeyPolicy),
        ("kms", PolicyPlace::KeyPolicy),
        ("endpoint", PolicyPlace::EndpointPolicy),
        ("queue", PolicyPlace::QueuePolicy),
        ("sqs", PolicyPlace::QueuePolicy),
        ("table", PolicyPlace::TablePolicy),
        ("dynamodb", PolicyPlace::TablePolicy),
        ("weka", PolicyPlace::WekaPolicy),
    ];

    /// The place for a name such as `managed`, `role`, `trust`, `bucket` or `scp`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    /// The quota: characters for IAM and Organizations, bytes elsewhere.
    #[must_use]
    pub fn quota(self) -> usize {
        match self {
            PolicyPlace::UserInlineTotal
            | PolicyPlace::RoleTrust
            | PolicyPlace::SessionPolicy
            | PolicyPlace::WekaPolicy => 2_048,
            PolicyPlace::GroupInlineTotal | PolicyPlace::Scp | PolicyPlace::Rcp => 5_120,
            PolicyPlace::ManagedPolicy => 6_144,
            PolicyPlace::QueuePolicy => 8_192,
            PolicyPlace::RoleInlineTotal => 10_240,
            PolicyPlace::BucketPolicy | PolicyPlace::EndpointPolicy | PolicyPlace::TablePolicy => 20_480,
            PolicyPlace::KeyPolicy => 32_768,
        }
    }

    /// Whether white space between elements does not count toward the quota.
    fn ignores_space(self) -> bool {
        matches!(
            self,
            PolicyPlace::ManagedPolicy
                | PolicyPlace::UserInlineTotal
                | PolicyPlace::GroupInlineTotal
                | PolicyPlace::RoleInlineTotal
                | PolicyPlace::RoleTrust
        )
    }

    fn counts_bytes(self) -> bool {
        matches!(
            self,
            PolicyPlace::BucketPolicy
                | PolicyPlace::KeyPolicy
                | PolicyPlace::EndpointPolicy
                | PolicyPlace::QueuePolicy
                | PolicyPlace::TablePolicy
                | PolicyPlace::WekaPolicy
        )
    }
}

/// Measures a document as it would be sent.
#[must_use]
pub fn measure_text(place: PolicyPlace, text: &str) -> Size {
    let used = if place.ignores_space() {
        without_space(text)
    } else if place.counts_bytes() {
        text.len()
    } else {
        text.chars().count()
    };
    Size { used, quota: place.quota() }
}

/// Measures the canonical, compact JSON of a policy.
#[must_use]
pub fn measure(place: PolicyPlace, policy: &Policy) -> Size {
    let text = policy.to_string();
    // Compact JSON has no white space outside strings.
    let used = if place.counts_bytes() { text.len() } else { text.chars().count() };
    Size { used, quota: place.quota() }
}

/// The number of characters, without white space outside strings.
fn without_space(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let mut count = 0;
    for char in text.chars() {
        if !quoted && matches!(char, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        count += 1;
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iam_counts_no_white_space_between_elements() {
        let text = "{ \"Sid\":\t\"a b\\\" c\" ,\n\"é\": 1 }";
        let compact = "{\"Sid\":\"a b\\\" c\",\"é\":1}";
        let used = |place, text| measure_text(place, text).used;
        assert_eq!(used(PolicyPlace::RoleTrust, text), compact.chars().count());
        assert_eq!(used(PolicyPlace::Scp, text), text.chars().count());
        assert_eq!(used(PolicyPlace::BucketPolicy, text), text.len());
    }

    #[test]
    fn a_policy_is_measured_as_its_text() {
        let policy = Policy::from_value(&serde_json::json!({
            "Version": "2012-10-17",
            "Statement": {"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/a é \" 名 *"},
        }))
        .unwrap();
        for (_, place) in PolicyPlace::NAMES {
            assert_eq!(measure(*place, &policy), measure_text(*place, &policy.to_string()), "{place:?}");
        }
    }

    #[test]
    fn headroom_ends_at_the_quota() {
        let size = measure_text(PolicyPlace::WekaPolicy, &"x".repeat(2_000));
        assert_eq!((size.headroom(), size.is_over()), (48, false));
        let size = measure_text(PolicyPlace::WekaPolicy, &"x".repeat(2_049));
        assert_eq!((size.headroom(), size.is_over()), (0, true));
    }
}
