//! Detects policies that lock out the identity that writes them. Only the root user could correct such a policy
//! afterwards, and not even the root user that of a KMS key.

use super::facet::ResourcePolicy;
use crate::iam::{Attached, Policy, PolicySet, Request, RequestContext, Statement, Version};

/// Returns the reason why `caller` would lock itself out by writing this policy of a resource: an action in `must_keep`
/// that the policy denies to it.
///
/// The check assumes that the caller's own policies allow everything and that requests use TLS. Anything else that a
/// decision depends on, such as the caller's address, is left to the service.
#[must_use]
pub fn lockout(resource: &ResourcePolicy<'_>, caller: &str, policy: &Policy) -> Option<String> {
    let everything = Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]);
    resource.must_keep.iter().find_map(|action| {
        let mut request = Request::new(caller, action, &resource.arn);
        request.resource_account = Some(resource.account.clone());
        request.context = RequestContext::open().with("aws:SecureTransport", "true");
        let request = request.with_own_keys();
        let policies = PolicySet {
            identity: vec![Attached { name: "the caller's own policies", policy: &everything }],
            resource: Some(Attached { name: &resource.arn, policy }),
            ..PolicySet::default()
        };
        let decision = crate::iam::evaluate(&request, &policies);
        decision.is_denied().then(|| format!("it would deny {action} to `{caller}`: {}", decision.reason()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Carrier;
    use crate::iam::{PolicyKind, PolicyPlace};

    const CALLER: &str = "arn:aws:sts::111111111111:assumed-role/bailiwick/ci";

    fn guarded(on: Carrier<'static>, arn: &str, must_keep: &'static [&'static str]) -> ResourcePolicy<'static> {
        ResourcePolicy {
            on,
            arn: arn.into(),
            account: "1".repeat(12),
            ours: None,
            others: None,
            exclusive: false,
            place: PolicyPlace::BucketPolicy,
            kind: PolicyKind::Resource,
            must_keep,
        }
    }

    #[track_caller]
    fn check(resource: &ResourcePolicy<'_>, statements: &str, expected: Option<&str>) {
        let policy = Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap();
        let told = lockout(resource, CALLER, &policy);
        match (&told, expected) {
            (Some(told), Some(expected)) => assert!(told.contains(expected), "{told}"),
            _ => assert_eq!(told.is_some(), expected.is_some(), "{statements}: {told:?}"),
        }
    }

    #[test]
    fn deny_locks_out_only_the_principals_it_matches() {
        let kept = &["s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:GetBucketPolicy"];
        let bucket = guarded(Carrier::Bucket("b"), "arn:aws:s3:::b", kept);
        let check = |principal: &str, action: &str, more: &str, expected| {
            let text = format!(
                r#"{{"Sid":"S","Effect":"Deny",{principal},"Action":"{action}","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]{more}}}"#
            );
            check(&bucket, &text, expected);
        };
        let all = r#""Principal":"*""#;
        check(all, "s3:*", "", Some("it would deny s3:PutBucketPolicy to "));
        check(all, "s3:DeleteBucketPolicy", "", Some("s3:DeleteBucketPolicy"));
        check(all, "s3:GetBucketPolicy", "", Some("s3:GetBucketPolicy"));
        check(all, "s3:GetObject", "", None);
        check(r#""Principal":{"AWS":"111111111111"}"#, "s3:*", "", Some("s3:PutBucketPolicy"));
        check(
            r#""Principal":{"AWS":"arn:aws:iam::111111111111:role/bailiwick"}"#,
            "s3:*",
            "",
            Some("s3:PutBucketPolicy"),
        );
        check(r#""Principal":{"AWS":"arn:aws:iam::111111111111:role/other"}"#, "s3:*", "", None);
        let unless = |role: &str| {
            format!(r#","Condition":{{"ArnNotEquals":{{"aws:PrincipalArn":"arn:aws:iam::111111111111:role/{role}"}}}}"#)
        };
        check(all, "s3:*", &unless("admin"), Some("s3:PutBucketPolicy"));
        check(all, "s3:*", &unless("bailiwick"), None);
        check(all, "s3:*", r#","Condition":{"Bool":{"aws:SecureTransport":"false"}}"#, None);
        check(all, "s3:*", r#","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, None);
    }

    #[test]
    fn key_policy_must_let_the_caller_or_its_account_change_it() {
        let allow = |principal: &str, action: &str| {
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"{action}","Resource":"*"}}"#)
        };
        let kept = &["kms:PutKeyPolicy", "kms:GetKeyPolicy"];
        let key = &guarded(Carrier::Key("alias/k"), "arn:aws:kms:us-east-1:111111111111:key/x", kept);
        check(key, &allow("arn:aws:iam::111111111111:root", "kms:*"), None);
        check(key, &allow("arn:aws:iam::111111111111:role/bailiwick", "kms:*"), None);
        check(key, &allow("arn:aws:iam::111111111111:role/admin", "kms:*"), Some("kms:PutKeyPolicy"));
        check(key, &allow("arn:aws:iam::111111111111:root", "kms:Decrypt"), Some("kms:PutKeyPolicy"));
    }
}
