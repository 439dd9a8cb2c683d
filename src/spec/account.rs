//! AWS accounts and how to reach them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Spec;
use super::check::{SectionEntry, SpecProblems};
use crate::address::{AccountId, Region};
use crate::diagnostic::Code;

/// An AWS account. Before writing anything, Bailiwick checks that the caller belongs to this account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// The 12-digit account id, in quotes.
    pub id: AccountId,
    /// The default region for resources in this account.
    pub region: Region,
    /// The role to assume: its name, its ARN, or a chain of roles assumed one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// The external id for the (last) assumed role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session name, `bailiwick` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// A profile in the AWS configuration files that provides the base credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// One endpoint for every service of this account, for private endpoints and emulators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The highest request rates by service, in requests per second. The defaults stay below the account's rate limits,
    /// and Bailiwick slows down when a service throttles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<PaceSpec>,
}

/// Requests per second, by service.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaceSpec {
    /// IAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam: Option<RatesSpec>,
    /// S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<RatesSpec>,
    /// KMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<RatesSpec>,
    /// EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eks: Option<RatesSpec>,
    /// STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts: Option<RatesSpec>,
}

impl PaceSpec {
    /// The rates by API name.
    #[must_use]
    pub fn rates(&self) -> [(&'static str, Option<RatesSpec>); 5] {
        let Self { iam, s3, kms, eks, sts } = self;
        [("iam", *iam), ("s3", *s3), ("kms", *kms), ("eks", *eks), ("sts", *sts)]
    }

    /// The rates for one API, if set.
    #[must_use]
    pub fn of(&self, api: &str) -> Option<RatesSpec> {
        self.rates().into_iter().find(|(name, _)| *name == api).and_then(|(_, rates)| rates)
    }
}

/// The highest request rates of one service, in requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatesSpec {
    /// Read requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub reads: Option<u32>,
    /// Write requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub writes: Option<u32>,
}

/// The role to assume, or the chain of roles.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AssumeRole {
    /// A role name in this account, or a role ARN.
    One(String),
    /// Roles assumed one after the other; the last one belongs to this account.
    Chain(Vec<RoleStep>),
}

/// One step of a chain of assumed roles.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleStep {
    /// The role's ARN, or its name for a role in this account.
    pub role: String,
    /// The external id that the role's trust policy requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session name, `bailiwick` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
}

impl AccountSpec {
    /// The partition of the account's region.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        self.region.partition()
    }

    /// The roles to assume, in order, as ARNs.
    #[must_use]
    pub fn role_chain(&self) -> Vec<RoleStep> {
        let arn = |role: &str| {
            if role.starts_with("arn:") {
                role.to_owned()
            } else {
                format!("arn:{}:iam::{}:role/{role}", self.partition(), self.id)
            }
        };
        let mut steps = match &self.assume_role {
            None => Vec::new(),
            Some(AssumeRole::One(role)) => {
                vec![RoleStep { role: role.clone(), external_id: None, session_name: None }]
            }
            Some(AssumeRole::Chain(steps)) => steps.clone(),
        };
        for step in &mut steps {
            step.role = arn(&step.role);
            step.session_name = step.session_name.take().or_else(|| self.session_name.clone());
        }
        if let Some(last) = steps.last_mut() {
            last.external_id = last.external_id.take().or_else(|| self.external_id.clone());
        }
        steps
    }
}

impl SectionEntry for AccountSpec {
    const SECTION: &'static str = "accounts";
    const NOUN: &'static str = "account";
    const IDENTIFIED_AT: &'static [&'static str] = &["id"];
    const ONE_ENTRY: &'static str = "keep one entry for each account";
    type Identity = AccountId;

    fn identity(&self, _spec: &Spec) -> AccountId {
        self.id.clone()
    }

    fn check(&self, key: &str, _spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { id: _, region, assume_role, external_id, session_name: _, profile: _, endpoint, pace: _ } = self;
        let at = |field: &'static str| ["accounts", key, field];
        let region_is_valid = region.0.split('-').count() >= 3
            && region.0.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !region_is_valid {
            problems.error(
                Code::InvalidRegion,
                &at("region"),
                format!("invalid AWS region `{region}`"),
                "write a region such as us-west-2",
            );
        }
        if matches!(assume_role, Some(AssumeRole::Chain(steps)) if steps.is_empty()) {
            problems.error(
                Code::WrongValue,
                &at("assume_role"),
                "`assume_role` is an empty chain".into(),
                "remove it or name a role",
            );
        }
        if external_id.is_some() && assume_role.is_none() {
            problems.error(
                Code::WrongValue,
                &at("external_id"),
                "`external_id` without `assume_role` has no effect".into(),
                "add `assume_role`",
            );
        }
        if let Some(endpoint) = endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            problems.error(
                Code::WrongValue,
                &at("endpoint"),
                format!("invalid URL `{endpoint}`"),
                "write https://host or http://host:port",
            );
        }
    }
}
