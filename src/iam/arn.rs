//! Amazon Resource Names.
//!
//! Source: IAM User Guide, "Identify AWS resources with Amazon Resource Names (ARNs)".

use std::fmt;
use std::str::FromStr;

/// A parsed ARN: `arn:partition:service:region:account:resource`. Any part except the service may be empty, and in a
/// policy each part may contain wildcards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    pub partition: String,
    pub service: String,
    pub region: String,
    pub account: String,
    /// Everything after the fifth colon, colons and slashes included.
    pub resource: String,
}

/// Text that is not an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an ARN: {reason}; write `arn:partition:service:region:account:resource`")]
pub struct ArnError {
    pub text: String,
    pub reason: &'static str,
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let fail = |reason| ArnError { text: text.to_owned(), reason };
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next();
        if part() != Some("arn") {
            return Err(fail("it does not begin with `arn:`"));
        }
        let (Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
            (part(), part(), part(), part(), part())
        else {
            return Err(fail("it has fewer than six parts"));
        };
        if partition.is_empty() {
            return Err(fail("the partition is empty"));
        }
        if service.is_empty() {
            return Err(fail("the service is empty"));
        }
        if resource.is_empty() {
            return Err(fail("the resource is empty"));
        }
        Ok(Self {
            partition: partition.to_owned(),
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

impl Arn {
    /// The type and the rest of the resource part, split at the first `/` or `:`: `role/eks/node` gives `role` and
    /// `eks/node`. `None` without such a separator, as in a bucket's ARN.
    #[must_use]
    pub fn resource_type(&self) -> Option<(&str, &str)> {
        let at = self.resource.find(['/', ':'])?;
        Some((self.resource.get(..at)?, self.resource.get(at + 1..)?))
    }
}

/// Whether a text is an account ID: twelve digits.
#[must_use]
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The account ID of `arn:PARTITION:iam::ACCOUNT:root`.
///
/// Source: IAM User Guide, "AWS JSON policy elements: Principal", account principals.
#[must_use]
pub fn root_account(text: &str) -> Option<&str> {
    let (partition, account) = text.strip_prefix("arn:")?.strip_suffix(":root")?.split_once(":iam::")?;
    (is_account_id(account) && !partition.is_empty() && !partition.contains(':')).then_some(account)
}

/// The partitions of AWS.
///
/// Source: AWS General Reference, "Amazon Resource Names (ARNs)"; the isolated partitions are from botocore.
pub const PARTITIONS: &[&str] =
    &["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"];

/// The five parts after `arn` of an ARN or ARN pattern; `None` if it has fewer than six components.
pub(super) fn split(text: &str) -> Option<[&str; 5]> {
    let mut parts = text.splitn(6, ':');
    if parts.next() != Some("arn") {
        return None;
    }
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

/// The account in an ARN, if the text is an ARN with an account.
pub(super) fn account_of(text: &str) -> Option<&str> {
    let [_, _, _, account, _] = split(text)?;
    is_account_id(account).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_round_trips_and_splits_into_parts() {
        for text in [
            "arn:aws:s3:::bucket/key:with:colons",
            "arn:aws-cn:iam::111122223333:role/eks/node",
            "arn:aws:eks:eu-west-1:111122223333:cluster/prod",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
        let role: Arn = "arn:aws:iam::111122223333:role/eks/node".parse().unwrap();
        assert_eq!(role.resource_type(), Some(("role", "eks/node")));
        assert_eq!(role.account, "111122223333");
    }

    #[test]
    fn invalid_arn_gives_its_reason() {
        let reason = |text: &str| text.parse::<Arn>().unwrap_err().reason;
        assert_eq!(reason("arm:aws:s3:::b"), "it does not begin with `arn:`");
        assert_eq!(reason("arn:aws:s3::b"), "it has fewer than six parts");
        assert_eq!(reason("arn:aws::::b"), "the service is empty");
    }

    #[test]
    fn root_arns_are_accounts() {
        assert_eq!(root_account("arn:aws:iam::111122223333:root"), Some("111122223333"));
        assert_eq!(root_account("arn:aws-cn:iam::111122223333:root"), Some("111122223333"));
        assert_eq!(root_account("arn:aws:iam::tenant:root"), None);
        assert_eq!(root_account("arn:aws:iam::111122223333:user/root"), None);
    }
}
