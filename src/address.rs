//! Addresses and scopes: the unique name of each managed resource, and its place.
//!
//! An [`Address`] is `kind.name`, such as `aws.iam.role.loader` or `kubernetes.namespace.prod/kserve`. A [`Scope`] is
//! the place of a resource, and the unit in which live objects are read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a resource kind, such as `aws.iam.role`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindName(Cow<'static, str>);

impl KindName {
    /// The name of a kind, as in its `Kind::NAME` constant.
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

/// The unique name of one managed resource: its kind and its key in the spec.
///
/// A derived resource has a second part after a slash: `aws.iam.role_policy.loader/access`. Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    kind: KindName,
    name: Arc<str>,
}

/// The reason why a text is not an address.
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

    /// The kind ends at the last dot before the first slash; spec keys contain no dots.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let slash = text.find('/').unwrap_or(text.len());
        let (left, rest) = text.split_at_checked(slash).ok_or_else(wrong)?;
        let (kind, name) = left.rsplit_once('.').ok_or_else(wrong)?;
        let kind_is_sound = kind.contains('.')
            && kind.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            });
        // `kubernetes.loader` has only one dot: requiring a dot in the kind keeps a bare provider name from passing as
        // one.
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

/// A 12-digit AWS account id. It is text, because leading zeros matter.
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
        partition(&self.0)
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

/// The system that contains the objects of a scope: AWS, Kubernetes, or any other store. The set is open, so that a
/// provider can bring its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Family(Cow<'static, str>);

impl Family {
    /// AWS accounts.
    pub const AWS: Self = Self(Cow::Borrowed("aws"));
    /// Kubernetes clusters.
    pub const KUBERNETES: Self = Self(Cow::Borrowed("kubernetes"));

    /// A family by its name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The family's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The place of an object: the unit in which live objects are read and clients are built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "WrittenScope")]
pub struct Scope {
    /// The system that contains it.
    pub family: Family,
    /// The key in the spec of the account, cluster or store.
    pub key: String,
    /// The owner's id in the family, such as an AWS account id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The location to which requests go, such as an AWS region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// The written forms of a scope: the current one, and the one in states and journals of format 1.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenScope {
    Now { family: Family, key: String, owner: Option<String>, location: Option<String> },
    Account { account: WrittenAccount },
    Cluster { cluster: WrittenCluster },
}

#[derive(Deserialize)]
struct WrittenAccount {
    account: String,
    id: AccountId,
    region: Region,
}

#[derive(Deserialize)]
struct WrittenCluster {
    cluster: String,
}

impl From<WrittenScope> for Scope {
    fn from(written: WrittenScope) -> Self {
        match written {
            WrittenScope::Now { family, key, owner, location } => Self { family, key, owner, location },
            WrittenScope::Account { account: WrittenAccount { account, id, region } } => {
                Self::account(account, id, region)
            }
            WrittenScope::Cluster { cluster: WrittenCluster { cluster } } => Self::cluster(cluster),
        }
    }
}

/// One region of an AWS account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwsScope<'s> {
    /// The account's key in the spec.
    pub account: &'s str,
    /// The account's id.
    pub id: &'s str,
    /// The region to which requests go.
    pub region: &'s str,
}

impl AwsScope<'_> {
    /// The partition that starts every ARN in the region.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        partition(self.region)
    }
}

impl Scope {
    /// One region of an AWS account; `account` is the account's key in the spec.
    #[must_use]
    pub fn account(account: impl Into<String>, id: AccountId, region: Region) -> Self {
        Self { family: Family::AWS, key: account.into(), owner: Some(id.0), location: Some(region.0) }
    }

    /// A Kubernetes cluster by its key in the spec.
    #[must_use]
    pub fn cluster(cluster: impl Into<String>) -> Self {
        Self { family: Family::KUBERNETES, key: cluster.into(), owner: None, location: None }
    }

    /// The account and region of an AWS scope.
    #[must_use]
    pub fn as_aws(&self) -> Option<AwsScope<'_>> {
        let (id, region) = (self.owner.as_deref()?, self.location.as_deref()?);
        (self.family == Family::AWS).then_some(AwsScope { account: &self.key, id, region })
    }

    /// The key of a Kubernetes cluster.
    #[must_use]
    pub fn as_cluster(&self) -> Option<&str> {
        (self.family == Family::KUBERNETES).then_some(self.key.as_str())
    }

    /// The same owner without a location.
    #[must_use]
    pub fn everywhere(&self) -> Self {
        Self { location: None, ..self.clone() }
    }

    /// The scope in words: the word for its family, and its key.
    #[must_use]
    pub fn place(&self) -> String {
        let word = match &self.family {
            family if *family == Family::AWS => "account",
            family if *family == Family::KUBERNETES => "cluster",
            family => family.as_str(),
        };
        format!("{word} `{}`", self.key)
    }

    /// Identifies the owner: its id, or its key if the family has no ids.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(&self.key)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        let more: Vec<&str> = [&self.owner, &self.location].into_iter().flatten().map(String::as_str).collect();
        if more.is_empty() { Ok(()) } else { write!(f, " ({})", more.join(", ")) }
    }
}

/// The partition of a region, which starts every ARN in it.
///
/// Source: AWS General Reference, "Amazon Resource Names (ARNs)".
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_round_trips_through_its_text() {
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
    fn invalid_addresses_are_refused() {
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

    #[test]
    fn scope_round_trips_and_reads_format_1() {
        let account = Scope::account("a", AccountId("1".repeat(12)), Region("eu-west-1".into()));
        let store = Scope { family: Family::new("store"), key: "s".into(), owner: None, location: None };
        let written = |scope: &Scope| serde_json::to_string(scope).unwrap();
        assert_eq!(written(&account), r#"{"family":"aws","key":"a","owner":"111111111111","location":"eu-west-1"}"#);
        assert_eq!(written(&store), r#"{"family":"store","key":"s"}"#);
        for scope in [&account, &store, &Scope::cluster("c")] {
            assert_eq!(serde_json::from_str::<Scope>(&written(scope)).unwrap(), *scope);
        }
        let before = r#"{"account":{"account":"a","id":"111111111111","region":"eu-west-1"}}"#;
        assert_eq!(serde_json::from_str::<Scope>(before).unwrap(), account);
        assert_eq!(serde_json::from_str::<Scope>(r#"{"cluster":{"cluster":"c"}}"#).unwrap(), Scope::cluster("c"));
    }

    #[test]
    fn a_scope_is_shown_by_its_key_and_owner() {
        let account = Scope::account("a", AccountId("1".repeat(12)), Region("eu-west-1".into()));
        let store =
            Scope { family: Family::new("store"), key: "s".into(), owner: Some("tenant-7".into()), location: None };
        assert_eq!(account.to_string(), "account `a` (111111111111, eu-west-1)");
        assert_eq!(Scope::cluster("c").to_string(), "cluster `c`");
        assert_eq!(store.to_string(), "store `s` (tenant-7)");
        assert_eq!(account.everywhere().to_string(), "account `a` (111111111111)");
        assert_eq!(account.place(), "account `a`");
    }
}
