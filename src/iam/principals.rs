//! The form of principals: what AWS rejects in a `Principal` or `NotPrincipal` element of any kind of policy.
//!
//! Sources: IAM User Guide, "AWS JSON policy elements: Principal" and "IAM Access Analyzer policy check reference"
//! ("Unsupported wildcard in principal", "Invalid principal format", "Invalid federated principal syntax in role trust
//! policy", "Variable unsupported in element").

use super::arn::{self, PARTITIONS};
use super::policy::Principal;

/// The part of an ARN in which an origin access identity of `CloudFront` has its account.
///
/// Source: `CloudFront` Developer Guide, "Restrict access to an Amazon S3 origin".
const CLOUDFRONT: &str = "cloudfront";

/// The problem of one value in an entry of the element, such as `AWS`. Services other than AWS name accounts in their
/// own way: `foreign_accounts` accepts such names.
pub(super) fn problem(entry: &str, text: &str, foreign_accounts: bool) -> Option<String> {
    if text.is_empty() || (text == "*" && entry != "Service") {
        // The parser reports an empty text. A single `*` means everyone.
        return None;
    }
    if text.contains("${") {
        return Some(format!("`{text}` contains a variable, and a principal cannot have one"));
    }
    if text.contains(['*', '?']) {
        return Some(wildcard(entry, text));
    }
    match entry {
        "AWS" => aws(text, foreign_accounts),
        "Federated" => federated(text, foreign_accounts),
        "Service" => service(text),
        _ => None,
    }
}

fn wildcard(entry: &str, text: &str) -> String {
    match entry {
        "AWS" => format!(
            "a wildcard cannot match part of a principal, as in `{text}`; write the principal in full, or `*` with a \
             condition on `aws:PrincipalArn`"
        ),
        _ => {
            format!("a wildcard cannot match a principal under `{entry}`, as in `{text}`; write the principal in full")
        }
    }
}

fn aws(text: &str, foreign_accounts: bool) -> Option<String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return account(text, text, foreign_accounts);
    }
    let Some([partition, service, region, owner, resource]) = arn::split(text) else {
        let unknown = !foreign_accounts && !is_id(text);
        return unknown.then(|| format!("`{text}` is not an account ID, an ARN or a unique ID of a principal"));
    };
    if let Some(problem) = partition_and_region(text, partition, region) {
        return Some(problem);
    }
    if service != "iam" && service != "sts" {
        return Some(format!(
            "`{text}` is an ARN of `{service}`, and only accounts, users, roles and sessions are principals"
        ));
    }
    let is_origin = service == "iam" && owner == CLOUDFRONT && resource.starts_with("user/");
    if !is_origin && let Some(problem) = account(owner, text, foreign_accounts) {
        return Some(problem);
    }
    let mut parts = resource.split('/');
    let kind = parts.next().unwrap_or_default();
    let names = parts.clone().count();
    let named = parts.all(|part| !part.is_empty()) && names > 0;
    match (service, kind) {
        ("iam", "root") if names == 0 => None,
        ("iam", "user" | "role") | ("sts", "federated-user") if named => None,
        ("sts", "assumed-role") if named && names > 1 => None,
        ("sts", "assumed-role") => {
            Some(format!("`{text}` names no session; write `assumed-role/ROLE/SESSION`, or the ARN of the role"))
        }
        ("iam", "group") => Some(format!("`{text}` is a group, and a group cannot be a principal; name its users")),
        _ => Some(format!(
            "`{text}` is not a principal; an ARN ends in `root`, `user/NAME`, `role/NAME`, `assumed-role/ROLE/SESSION` \
             or `federated-user/NAME`"
        )),
    }
}

/// Whether a text may be the unique ID of a principal, or the canonical user ID of an account, which S3 accepts here.
fn is_id(text: &str) -> bool {
    Principal::aws(text).is_orphan_id() || (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn partition_and_region(text: &str, partition: &str, region: &str) -> Option<String> {
    if !PARTITIONS.contains(&partition) {
        return Some(format!("`{partition}` in `{text}` is not a partition; they are `{}`", PARTITIONS.join("`, `")));
    }
    (!region.is_empty()).then(|| format!("`{text}` has a region, and principals have none"))
}

fn account(owner: &str, text: &str, foreign_accounts: bool) -> Option<String> {
    if arn::is_account_id(owner) {
        return None;
    }
    if owner.is_empty() {
        return Some(format!("`{text}` names no account"));
    }
    let digits = owner.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        return Some(format!("`{owner}` has {} digits, and an account ID has 12", owner.len()));
    }
    (!foreign_accounts).then(|| format!("`{owner}` in `{text}` is not an account ID, which has 12 digits"))
}

fn federated(text: &str, foreign_accounts: bool) -> Option<String> {
    if !text.starts_with("arn:") {
        let is_domain =
            text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        return (!is_domain).then(|| {
            format!("`{text}` is not an identity provider; write its ARN, or a domain such as `accounts.google.com`")
        });
    }
    let Some([partition, service, region, owner, resource]) = arn::split(text) else {
        return Some(format!("`{text}` has fewer than six parts"));
    };
    let provider = ["oidc-provider/", "saml-provider/"].iter().any(|kind| {
        service == "iam" && resource.strip_prefix(kind).is_some_and(|name| !name.is_empty() && !name.contains("://"))
    });
    if !provider {
        return Some(format!(
            "`{text}` is not an identity provider; its ARN ends in `oidc-provider/HOST/PATH`, without `https://`, or in \
             `saml-provider/NAME`"
        ));
    }
    partition_and_region(text, partition, region).or_else(|| account(owner, text, foreign_accounts))
}

fn service(text: &str) -> Option<String> {
    let is_name = text.contains('.')
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
    (!is_name).then(|| format!("`{text}` is not a service principal; write its name, such as `ec2.amazonaws.com`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejects(entry: &str, text: &str) -> bool {
        problem(entry, text, false).is_some()
    }

    #[test]
    fn principals_that_aws_accepts() {
        for text in [
            "*",
            "111122223333",
            "arn:aws:iam::111122223333:root",
            "arn:aws-cn:iam::111122223333:user/team/jane",
            "arn:aws:iam::111122223333:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
            "arn:aws:sts::111122223333:assumed-role/loader/session=1@x",
            "arn:aws:sts::111122223333:federated-user/jane",
            "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E15MNIMTCFKK4C",
            "AROAEXAMPLEID12345678",
            "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be",
        ] {
            assert_eq!(problem("AWS", text, false), None);
        }
        for text in [
            "*",
            "accounts.google.com",
            "cognito-identity.amazonaws.com",
            "arn:aws:iam::111122223333:saml-provider/x",
            "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC",
        ] {
            assert_eq!(problem("Federated", text, false), None);
        }
        for text in ["ec2.amazonaws.com", "logs.eu-west-1.amazonaws.com", "ec2.amazonaws.com.cn"] {
            assert_eq!(problem("Service", text, false), None);
        }
        assert_eq!(problem("AWS", "arn:aws:iam::tenant:user/jane", true), None);
    }

    #[test]
    fn principals_that_aws_rejects() {
        for text in [
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:iam::111122223333:user/a*",
            "arn:aws:iam::111122223333:role/a?b",
            "arn:aws:iam::*:root",
            "arn:aws:iam::*:role/admin",
            "arn:*:iam::111122223333:root",
            "arn:aws:sts::111122223333:assumed-role/r/*",
            "arn:aws:sts::111122223333:assumed-role/r",
            "arn:aws:iam::111122223333:group/admins",
            "arn:aws:iam::111122223333:user/${aws:username}",
            "arn:aws:iam::111122223333:policy/p",
            "arn:aws:iam::111122223333:instance-profile/p",
            "arn:aws:iam::111122223333:saml-provider/x",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:roles/x",
            "arn:aws:iam::11112222333:root",
            "arn:aws:iam::1111222233334:role/x",
            "arn:aws:iam::tenant:root",
            "arn:aws:iam:::role/x",
            "arn:aws:iam:eu-west-1:111122223333:role/x",
            "arn:wrong:iam::111122223333:role/x",
            "arn:aws:iam::111122223333",
            "arn:aws:s3:::bucket",
            "arn:aws:ec2:eu-west-1:111122223333:instance/i-1",
            "11112222333",
            "1111222233334",
            "1111*",
            "jane",
            "ec2.amazonaws.com",
        ] {
            assert!(rejects("AWS", text), "{text}");
        }
        for text in [
            "arn:aws:iam::*:oidc-provider/x.example.com",
            "arn:aws:iam::111122223333:oidc-provider/*",
            "arn:aws:iam::111122223333:oidc-provider/https://x.example.com",
            "arn:aws:iam::111122223333:role/x",
            "arn:aws:iam::1111:saml-provider/x",
            "oidc.eks.eu-west-1.amazonaws.com/id/ABC",
            "google",
        ] {
            assert!(rejects("Federated", text), "{text}");
        }
        for text in ["*", "*.amazonaws.com", "ec2", "arn:aws:iam::111122223333:role/x", "111122223333", "ec2..com"] {
            assert!(rejects("Service", text), "{text}");
        }
        assert!(rejects("CanonicalUser", "79a5*"));
    }
}
