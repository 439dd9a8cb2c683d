//! Whether a policy would shut out the very identity that writes it: nobody could mend that afterwards but the root user,
//! and of a key not even that one.

use crate::iam::{Attached, Context, Outcome, Policy, PolicySet, Request, Statement, Version};

/// A resource whose policy is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded<'a> {
    /// A bucket, by its name.
    Bucket(&'a str),
    /// A KMS key, by its alias.
    Key(&'a str),
}

/// Why nobody should write this policy as `caller`, whose account owns the resource: what it could not do any more.
///
/// The caller's own policies are taken to allow everything, and requests to come over TLS. What depends on anything else,
/// such as the address of the caller, is left to the service.
#[must_use]
pub fn lockout(resource: Guarded<'_>, caller: &str, policy: &Policy) -> Option<String> {
    let account = caller.split(':').nth(4)?;
    let partition = caller.split(':').nth(1)?;
    let everything = Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]);
    let (arn, actions): (String, &[&str]) = match resource {
        Guarded::Bucket(name) => (
            format!("arn:{partition}:s3:::{name}"),
            &["s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:GetBucketPolicy"],
        ),
        Guarded::Key(_) => {
            // In a key policy the key is called `*`.
            (format!("arn:{partition}:kms:us-east-1:{account}:key/x"), &["kms:PutKeyPolicy", "kms:GetKeyPolicy"])
        }
    };
    let (kind, name) = match resource {
        Guarded::Bucket(name) => ("bucket", name),
        Guarded::Key(alias) => ("key", alias),
    };
    let title = format!("the policy of {kind} `{name}`");
    actions.iter().find_map(|action| {
        let mut request = Request::new(caller, action, &arn);
        request.resource_account = Some(account.to_owned());
        request.context = Context::open().with("aws:SecureTransport", "true");
        let request = request.with_own_keys();
        let policies = PolicySet {
            identity: vec![Attached { name: "the caller's own policies", policy: &everything }],
            resource: Some(Attached { name: &title, policy }),
            ..PolicySet::default()
        };
        let decision = crate::iam::evaluate(&request, &policies);
        let denied = matches!(decision.outcome, Outcome::ExplicitlyDenied | Outcome::ImplicitlyDenied);
        denied.then(|| {
            format!("with it `{caller}`, who applies it, could not call {action} any more: {}", decision.reason())
        })
    })
}

/// All statements of a shared document as one policy: those of others, and ours.
#[must_use]
pub fn together(foreign: Option<&Policy>, ours: &Policy) -> Policy {
    let version = if ours.is_empty() { foreign.map_or(Version::V2012, Policy::version) } else { ours.version() };
    let statements = foreign.into_iter().chain([ours]).flat_map(Policy::statements);
    Policy::new(version, statements.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::{Principal, Selector};

    const CALLER: &str = "arn:aws:sts::111111111111:assumed-role/bailiwick/ci";

    #[track_caller]
    fn check(resource: Guarded<'_>, statements: &str, expected: Option<&str>) {
        let policy = Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap();
        let told = lockout(resource, CALLER, &policy);
        match (&told, expected) {
            (Some(told), Some(expected)) => assert!(told.contains(expected), "{told}"),
            _ => assert_eq!(told.is_some(), expected.is_some(), "{statements}: {told:?}"),
        }
    }

    #[test]
    fn a_deny_on_the_caller_is_seen_and_one_on_others_is_none_of_its_business() {
        let check = |principal: &str, action: &str, more: &str, expected| {
            let text = format!(
                r#"{{"Sid":"S","Effect":"Deny",{principal},"Action":"{action}","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]{more}}}"#
            );
            check(Guarded::Bucket("b"), &text, expected);
        };
        let all = r#""Principal":"*""#;
        check(all, "s3:*", "", Some("could not call s3:PutBucketPolicy any more: statement 1 `S`"));
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
    fn a_key_must_let_the_caller_or_its_account_change_it() {
        let allow = |principal: &str, action: &str| {
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"{action}","Resource":"*"}}"#)
        };
        let key = Guarded::Key("alias/k");
        check(key, &allow("arn:aws:iam::111111111111:root", "kms:*"), None);
        check(key, &allow("arn:aws:iam::111111111111:role/bailiwick", "kms:*"), None);
        check(key, &allow("arn:aws:iam::111111111111:role/admin", "kms:*"), Some("kms:PutKeyPolicy"));
        check(key, &allow("arn:aws:iam::111111111111:root", "kms:Decrypt"), Some("kms:PutKeyPolicy"));
    }

    #[test]
    fn ours_and_theirs_are_judged_together() {
        let theirs = Policy::new(
            Version::V2012,
            [Statement::deny(["s3:*"], ["arn:aws:s3:::b"]).to(Selector::of([Principal::Everyone]))],
        );
        let ours = Policy::new(Version::V2012, [Statement::allow(["s3:*"], ["arn:aws:s3:::b"])]);
        assert!(lockout(Guarded::Bucket("b"), CALLER, &together(Some(&theirs), &ours)).is_some());
        assert!(lockout(Guarded::Bucket("b"), CALLER, &together(None, &ours)).is_none());
    }
}
