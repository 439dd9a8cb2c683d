//! Names every managed thing uniquely.
//!
//! An [`Address`] is `kind.name` as plans print it, for example `aws.iam.role.loader` or
//! `kubernetes.namespace.prod/kserve`. A [`Scope`] says where the thing lives, which is also the unit in which
//! live objects are read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a resource kind, such as `aws.iam.role`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindName(Cow<'static, str>);

impl KindName {
    /// A kind's name as its `Kind::NAME` constant gives it.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unique name of one managed thing: its kind and the key by which the spec refers to it.
///
/// A derived thing carries a second part after a slash: `aws.iam.role_policy.loader/access`. Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    kind: KindName,
    name: Arc<str>,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: expected `kind.name`, for example `aws.iam.role.loader`")]
pub struct AddressError(String);

impl Address {
    /// The address of `name` in `kind`.
    #[must_use]
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: KindName::new(kind), name: name.into().into() }
    }

    /// The kind's name.
    #[must_use]
    pub fn kind(&self) -> &KindName {
        &self.kind
    }

    /// The part after the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.name)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// The kind ends at the last dot before the first slash; spec keys hold no dots.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let slash = text.find('/').unwrap_or(text.len());
        let (left, rest) = text.split_at_checked(slash).ok_or_else(wrong)?;
        let (kind, name) = left.rsplit_once('.').ok_or_else(wrong)?;
        let kind_is_sound = kind.contains('.')
            && kind.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            });
        // `kubernetes.loader` has one dot only, so `kind.contains('.')` keeps a bare provider name from passing as a kind.
        if !kind_is_sound || name.is_empty() {
            return Err(wrong());
        }
        Ok(Self { kind: KindName(Cow::Owned(kind.to_owned())), name: format!("{name}{rest}").into() })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A 12-digit AWS account id. It is text: leading zeros count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct AccountId(#[schemars(regex(pattern = r"^[0-9]{12}$"))] pub String);

impl AccountId {
    /// Whether the text has the form of an account id.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.len() == 12 && self.0.bytes().all(|b| b.is_ascii_digit())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An AWS region such as `us-west-2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Region(pub String);

impl Region {
    /// The partition that the region belongs to, which starts every ARN in it.
    ///
    /// Source: AWS General Reference, "Amazon Resource Names (ARNs)".
    #[must_use]
    pub fn partition(&self) -> &'static str {
        if self.0.starts_with("cn-") {
            "aws-cn"
        } else if self.0.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// The DNS suffix of the partition's endpoints.
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        if self.0.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a thing lives: the unit in which live objects are read and clients are built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One region of an AWS account; `account` is the account's key in the spec.
    Account {
        /// The key under `accounts`.
        account: String,
        /// The account's id.
        id: AccountId,
        /// The region that requests go to.
        region: Region,
    },
    /// A Kubernetes cluster by its key in the spec.
    Cluster {
        /// The key under `clusters`.
        cluster: String,
    },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { account, id, region } => write!(f, "account `{account}` ({id}, {region})"),
            Self::Cluster { cluster } => write!(f, "cluster `{cluster}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_prints() {
        for text in [
            "aws.iam.role.loader",
            "kubernetes.service_account.model-loader",
            "aws.iam.role_policy_attachment.loader/My.Policy",
            "kubernetes.namespace.prod/kserve",
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        let attachment: Address = "aws.iam.role_policy_attachment.loader/My.Policy".parse().unwrap();
        assert_eq!(attachment.kind().as_str(), "aws.iam.role_policy_attachment");
        assert_eq!(attachment.name(), "loader/My.Policy");
    }

    #[test]
    fn texts_that_are_no_addresses_are_refused() {
        for text in ["", "loader", "role.loader", ".x", "aws.iam.role.", "AWS.iam.role.x", "aws..role.x", "/a.b.c"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn regions_know_their_partition() {
        let partition = |r: &str| Region(r.into()).partition();
        assert_eq!(
            [partition("us-east-1"), partition("cn-north-1"), partition("us-gov-west-1")],
            ["aws", "aws-cn", "aws-us-gov"]
        );
    }
}
