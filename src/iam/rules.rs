//! Rules of AWS beyond the policy language, in one table, each with its documentation page.
//!
//! [`evaluate`](super::evaluate()) applies the table, and with it `policy eval`, `can`, the worlds of plans and the lints
//! that evaluate. A decision names the rules that took part in it.

use std::fmt;
use std::sync::LazyLock;

use super::arn;
use super::matching::Truth;
use super::name::compare;
use super::policy::{Policy, Principal, Selector, Statement, Version};
use super::request::{Caller, ContextValue, Request, has_service_linked_name};

/// A rule of AWS beyond the policy language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AwsRule {
    /// Service-linked roles are exempt from SCPs and RCPs.
    ServiceLinkedRole,
    /// The owner's root user can always read, write and delete its bucket policy.
    BucketPolicyOfRoot,
    /// A bucket policy is read, written and deleted only from the bucket owner's account.
    BucketPolicyAcrossAccounts,
    /// KMS operations without cross-account use.
    KeyAcrossAccounts,
    /// SQS actions to which cross-account permissions do not apply.
    QueueAcrossAccounts,
    /// RCPs do not apply to `kms:RetireGrant`.
    RetireGrant,
    /// Only the caller's own policies decide about `sts:AssumeRoot`.
    AssumeRoot,
    /// A root user cannot call `sts:AssumeRoot`.
    AssumeRootByRoot,
    /// STS calls that need no permission.
    NoPermission,
    /// Amazon Cognito operations for which IAM policies are not evaluated.
    PublicOperation,
    /// A request through an access point needs the bucket's permission too.
    AccessPoint,
    /// A KMS operation on an alias is authorized on the key behind it.
    KeyBehindAlias,
    /// Operations on aliases are authorized on the alias and on its key.
    AliasAndKey,
    /// AWS's pages disagree about a `*` at the end of an ARN segment.
    WildcardBeyondColon,
    /// AWS's pages disagree about `_` in a Sid.
    UnderscoreInSid,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct AwsRuleEntry {
    /// The rule.
    pub rule: AwsRule,
    /// The stable name in JSON.
    pub name: &'static str,
    /// The rule in words.
    pub statement: &'static str,
    /// The documentation page, or pages.
    pub page: &'static str,
    /// The actions to which the rule applies, sorted ignoring case; empty if it does not depend on the action.
    pub actions: &'static [&'static str],
}

/// The table, in the order of [`AwsRule`].
pub static AWS_RULES: [AwsRuleEntry; 15] = [
    AwsRuleEntry {
        rule: AwsRule::ServiceLinkedRole,
        name: "service-linked-role",
        statement: "service control policies and resource control policies do not restrict service-linked roles",
        page: "AWS Organizations User Guide, \"Service control policies (SCPs)\" and \"Resource control policies (RCPs)\"",
        actions: &[],
    },
    AwsRuleEntry {
        rule: AwsRule::BucketPolicyOfRoot,
        name: "bucket-policy-of-root",
        statement: "the bucket policy cannot keep the owner's root user from reading, writing and deleting it",
        page: "Amazon S3 API Reference, \"PutBucketPolicy\"",
        actions: BUCKET_POLICY,
    },
    AwsRuleEntry {
        rule: AwsRule::BucketPolicyAcrossAccounts,
        name: "bucket-policy-across-accounts",
        statement: "only identities of the bucket owner's account can read, write and delete a bucket policy",
        page: "Amazon S3 API Reference, \"PutBucketPolicy\"",
        actions: BUCKET_POLICY,
    },
    AwsRuleEntry {
        rule: AwsRule::KeyAcrossAccounts,
        name: "key-across-accounts",
        statement: "AWS KMS does not allow this operation across accounts",
        page: "AWS KMS Developer Guide, \"AWS KMS permissions\"",
        actions: KEY_ACROSS_ACCOUNTS,
    },
    AwsRuleEntry {
        rule: AwsRule::QueueAcrossAccounts,
        name: "queue-across-accounts",
        statement: "cross-account permissions do not apply to this action of Amazon SQS",
        page: "Amazon SQS Developer Guide, \"Limitations of Amazon SQS custom policies\"",
        actions: QUEUE_ACROSS_ACCOUNTS,
    },
    AwsRuleEntry {
        rule: AwsRule::RetireGrant,
        name: "retire-grant",
        statement: "resource control policies do not apply to `kms:RetireGrant`",
        page: "AWS KMS Developer Guide, \"Retiring and revoking grants\"",
        actions: &["RetireGrant"],
    },
    AwsRuleEntry {
        rule: AwsRule::AssumeRoot,
        name: "assume-root",
        statement: "the member account has no policy for `sts:AssumeRoot`: only the caller's own policies decide",
        page: "IAM User Guide, \"Perform a privileged task on an AWS Organizations member account\"",
        actions: &["AssumeRoot"],
    },
    AwsRuleEntry {
        rule: AwsRule::AssumeRootByRoot,
        name: "assume-root-by-root",
        statement: "root user credentials cannot call `sts:AssumeRoot`",
        page: "AWS STS API Reference, \"AssumeRoot\"",
        actions: &["AssumeRoot"],
    },
    AwsRuleEntry {
        rule: AwsRule::NoPermission,
        name: "no-permission",
        statement: "the operation needs no permission, and policies cannot deny it",
        page: "AWS STS API Reference, \"GetCallerIdentity\", and IAM User Guide, \"Permissions for GetSessionToken\"",
        actions: &["GetCallerIdentity", "GetSessionToken"],
    },
    AwsRuleEntry {
        rule: AwsRule::PublicOperation,
        name: "public-operation",
        statement: "Amazon Cognito does not evaluate IAM policies for this operation",
        page: "Amazon Cognito API References, the pages of the operations",
        actions: COGNITO,
    },
    AwsRuleEntry {
        rule: AwsRule::AccessPoint,
        name: "access-point",
        statement: "both the access point and the bucket behind it must permit the request",
        page: "Amazon S3 User Guide, \"Configuring IAM policies for using access points\"",
        actions: &[],
    },
    AwsRuleEntry {
        rule: AwsRule::KeyBehindAlias,
        name: "key-behind-alias",
        statement: "policies are evaluated for the key behind the alias, and an alias in `Resource` does not identify that key",
        page: "AWS KMS Developer Guide, \"Specifying KMS keys in IAM policy statements\"",
        actions: &[],
    },
    AwsRuleEntry {
        rule: AwsRule::AliasAndKey,
        name: "alias-and-key",
        statement: "the caller needs the permission on the alias and also on the key",
        page: "AWS KMS Developer Guide, \"Controlling access to aliases\"",
        actions: ALIAS,
    },
    AwsRuleEntry {
        rule: AwsRule::WildcardBeyondColon,
        name: "wildcard-beyond-colon",
        statement: "AWS's pages disagree whether a `*` at the end of an ARN segment also matches beyond the colon",
        page: "IAM User Guide, \"IAM JSON policy elements: Resource\" (it can) and \"Amazon Resource Name (ARN) condition \
               operators\" (each segment is compared separately)",
        actions: &[],
    },
    AwsRuleEntry {
        rule: AwsRule::UnderscoreInSid,
        name: "underscore-in-sid",
        statement: "AWS's pages disagree whether a Sid in IAM may contain `_`",
        page: "IAM User Guide, \"IAM JSON policy elements: Sid\" (letters and digits only), and example policies of AWS \
               such as `Allow_CloudWatch_for_CMK` (with `_`)",
        actions: &[],
    },
];

const BUCKET_POLICY: &[&str] = &["DeleteBucketPolicy", "GetBucketPolicy", "PutBucketPolicy"];

/// "Cross-account use: No" in the KMS API Reference.
const KEY_ACROSS_ACCOUNTS: &[&str] = &[
    "CancelKeyDeletion",
    "ConnectCustomKeyStore",
    "CreateAlias",
    "CreateCustomKeyStore",
    "CreateKey",
    "DeleteAlias",
    "DeleteCustomKeyStore",
    "DeleteImportedKeyMaterial",
    "DescribeCustomKeyStores",
    "DisableKey",
    "DisableKeyRotation",
    "DisconnectCustomKeyStore",
    "EnableKey",
    "EnableKeyRotation",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetParametersForImport",
    "ImportKeyMaterial",
    "ListAliases",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "PutKeyPolicy",
    "ReplicateKey",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateCustomKeyStore",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
];

const QUEUE_ACROSS_ACCOUNTS: &[&str] = &[
    "AddPermission",
    "CancelMessageMoveTask",
    "CreateQueue",
    "DeleteQueue",
    "ListMessageMoveTasks",
    "ListQueues",
    "ListQueueTags",
    "RemovePermission",
    "SetQueueAttributes",
    "StartMessageMoveTask",
    "TagQueue",
    "UntagQueue",
];

const ALIAS: &[&str] = &["CreateAlias", "DeleteAlias", "UpdateAlias"];

/// "Public API" (identity pools), and "Amazon Cognito doesn't evaluate IAM policies in requests for this API operation"
/// (user pools).
const COGNITO: &[&str] = &[
    "AssociateSoftwareToken",
    "ChangePassword",
    "ConfirmDevice",
    "ConfirmForgotPassword",
    "ConfirmSignUp",
    "DeleteUser",
    "DeleteUserAttributes",
    "DeleteWebAuthnCredential",
    "ForgetDevice",
    "ForgotPassword",
    "GetCredentialsForIdentity",
    "GetDevice",
    "GetId",
    "GetOpenIdToken",
    "GetUser",
    "GetUserAttributeVerificationCode",
    "GetUserAuthFactors",
    "GlobalSignOut",
    "InitiateAuth",
    "ListDevices",
    "ListWebAuthnCredentials",
    "ResendConfirmationCode",
    "RespondToAuthChallenge",
    "RevokeToken",
    "SetUserMFAPreference",
    "SetUserSettings",
    "SignUp",
    "UnlinkIdentity",
    "UpdateAuthEventFeedback",
    "UpdateDeviceStatus",
    "UpdateUserAttributes",
    "VerifySoftwareToken",
    "VerifyUserAttribute",
];

/// The STS actions for which the trust policy of the role decides.
const TRUST: &[&str] =
    &["AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "SetSourceIdentity", "TagSession"];

impl AwsRule {
    fn entry(self) -> Option<&'static AwsRuleEntry> {
        AWS_RULES.get(self as usize)
    }

    /// The stable name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().map_or("", |entry| entry.name)
    }

    /// The rule in words.
    #[must_use]
    pub fn statement(self) -> &'static str {
        self.entry().map_or("", |entry| entry.statement)
    }

    /// The documentation page, or pages.
    #[must_use]
    pub fn page(self) -> &'static str {
        self.entry().map_or("", |entry| entry.page)
    }

    pub(super) fn applies_to(self, action: &str) -> bool {
        self.entry().is_some_and(|entry| is_listed(entry.actions, action))
    }
}

impl fmt::Display for AwsRule {
    /// The rule in words, with its page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(entry) = self.entry() else { return Ok(()) };
        write!(f, "{} ({})", entry.statement, entry.page)
    }
}

fn is_listed(actions: &[&str], action: &str) -> bool {
    actions.binary_search_by(|known| compare(known, action)).is_ok()
}

/// The rules for one request, found once per request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether the resource policy alone decides, and identity-based policies matter only if it delegates to the
    /// account. This is true of KMS keys and of trust policies of roles.
    pub policy_rules: bool,
    /// The rule that allows the request whatever policies contain.
    pub allows: Option<AwsRule>,
    /// The rule that denies the request whatever policies allow.
    pub denies: Option<AwsRule>,
    /// The rule that exempts the request from some policies: `BucketPolicyOfRoot`, `RetireGrant` or `AssumeRoot`.
    pub exempts: Option<AwsRule>,
    /// The rule about a resource that leads to another one: `AccessPoint`, `KeyBehindAlias` or `AliasAndKey`.
    pub leads: Option<AwsRule>,
}

impl Rules {
    /// The rules for a request.
    pub fn of(request: &Request) -> Self {
        Self::for_caller(request, &Caller::of(&request.principal))
    }

    /// The rules for a request of a caller that was already recognized.
    pub fn for_caller(request: &Request, caller: &Caller) -> Self {
        let Some((service, action)) = request.action.split_once(':') else {
            return Self::default();
        };
        let is = |prefix: &str| service.eq_ignore_ascii_case(prefix);
        match service.len() {
            2 if is("s3") => Self::of_bucket(request, caller, action),
            3 if is("sts") => Self::of_sts(request, caller, action),
            3 if is("kms") => Self::of_key(request, caller, action),
            3 if is("sqs") => {
                let denies = across(AwsRule::QueueAcrossAccounts, request, caller, action);
                Self { denies, ..Self::default() }
            }
            9 if is("s3express") => {
                let denies = across(AwsRule::BucketPolicyAcrossAccounts, request, caller, action);
                Self { denies, leads: through_access_point(&request.resource, action), ..Self::default() }
            }
            11 | 16 if is("cognito-idp") || is("cognito-identity") => {
                let rule = AwsRule::PublicOperation;
                Self { allows: rule.applies_to(action).then_some(rule), ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    fn of_bucket(request: &Request, caller: &Caller, action: &str) -> Self {
        if !AwsRule::BucketPolicyOfRoot.applies_to(action) {
            return Self { leads: through_access_point(&request.resource, action), ..Self::default() };
        }
        let denies = across(AwsRule::BucketPolicyAcrossAccounts, request, caller, action);
        let is_spared = denies.is_none() && matches!(caller, Caller::Root { .. });
        Self { denies, exempts: is_spared.then_some(AwsRule::BucketPolicyOfRoot), ..Self::default() }
    }

    fn of_sts(request: &Request, caller: &Caller, action: &str) -> Self {
        let mut rules = Self::default();
        if AwsRule::NoPermission.applies_to(action) {
            // Sessions cannot get another session token, and an unsigned request has no identity.
            let can_call = match caller {
                Caller::User { .. } | Caller::Root { .. } => true,
                Caller::Role { .. } | Caller::Session { .. } | Caller::FederatedUser { .. } => {
                    action.eq_ignore_ascii_case("GetCallerIdentity")
                }
                Caller::Anonymous | Caller::Service(_) | Caller::Provider(_) => false,
            };
            rules.allows = can_call.then_some(AwsRule::NoPermission);
        } else if AwsRule::AssumeRoot.applies_to(action) {
            rules.exempts = caller.account().map(|_| AwsRule::AssumeRoot);
            rules.denies = matches!(caller, Caller::Root { .. }).then_some(AwsRule::AssumeRootByRoot);
        } else if is_listed(TRUST, action) {
            rules.policy_rules = arn::split(&request.resource)
                .is_some_and(|[_, service, _, _, resource]| service == "iam" && resource.starts_with("role/"));
        }
        rules
    }

    fn of_key(request: &Request, caller: &Caller, action: &str) -> Self {
        let denies = across(AwsRule::KeyAcrossAccounts, request, caller, action);
        let resource = match arn::split(&request.resource) {
            Some([_, "kms", _, _, resource]) => resource,
            _ => "",
        };
        let is_about_alias = AwsRule::AliasAndKey.applies_to(action);
        let leads = match (resource.starts_with("alias/"), is_about_alias) {
            (true, true) => Some(AwsRule::AliasAndKey),
            (true, false) => Some(AwsRule::KeyBehindAlias),
            (false, _) => None,
        };
        let policy_rules = leads == Some(AwsRule::KeyBehindAlias) || resource.starts_with("key/");
        let exempts = AwsRule::RetireGrant.applies_to(action).then_some(AwsRule::RetireGrant);
        Self { policy_rules, denies, exempts, leads, ..Self::default() }
    }

    /// Whether a rule exempts the request from some policies.
    pub fn is_exempt_by(self, rule: AwsRule) -> bool {
        self.exempts == Some(rule)
    }

    /// Whether a rule leads from the resource to another one.
    pub fn is_led_by(self, rule: AwsRule) -> bool {
        self.leads == Some(rule)
    }
}

/// The rule that denies an action across accounts, if the caller does not belong to the owner's account.
fn across(rule: AwsRule, request: &Request, caller: &Caller, action: &str) -> Option<AwsRule> {
    (is_foreign(request, caller) && rule.applies_to(action)).then_some(rule)
}

/// Whether the caller is known not to belong to the account that owns the resource.
fn is_foreign(request: &Request, caller: &Caller) -> bool {
    match caller {
        // AWS documents no such limits for its own services.
        Caller::Service(_) => false,
        caller => request.owner().is_some_and(|owner| caller.account() != Some(owner)),
    }
}

/// The actions that never work across accounts, as a policy of the resource that denies them to a foreign caller. It
/// gives areas of requests the same limits as single requests.
pub(super) fn denied_across_accounts(request: &Request, caller: &Caller) -> Option<&'static Policy> {
    static BUCKET: LazyLock<Policy> = LazyLock::new(|| denying("s3", AwsRule::BucketPolicyAcrossAccounts));
    static KEY: LazyLock<Policy> = LazyLock::new(|| denying("kms", AwsRule::KeyAcrossAccounts));
    static QUEUE: LazyLock<Policy> = LazyLock::new(|| denying("sqs", AwsRule::QueueAcrossAccounts));
    if !is_foreign(request, caller) {
        return None;
    }
    match arn::split(&request.resource) {
        Some([_, "s3", ..]) => Some(&BUCKET),
        Some([_, "kms", ..]) => Some(&KEY),
        Some([_, "sqs", ..]) => Some(&QUEUE),
        _ => None,
    }
}

fn denying(service: &str, rule: AwsRule) -> Policy {
    let actions = rule.entry().map_or(&[][..], |entry| entry.actions);
    let actions: Vec<String> = actions.iter().map(|action| format!("{service}:{action}")).collect();
    let statement = Statement::deny(actions.iter().map(String::as_str), ["*"]);
    Policy::new(Version::V2012, [statement.to(Selector::of([Principal::Everyone]))])
}

/// The rule for a request that reaches a bucket through an access point. Actions on the access point itself, such as
/// `s3:PutAccessPointPolicy`, do not.
fn through_access_point(resource: &str, action: &str) -> Option<AwsRule> {
    if !resource.contains(":accesspoint/") {
        return None;
    }
    let is_point = matches!(
        arn::split(resource),
        Some([_, "s3" | "s3express", _, _, resource]) if resource.starts_with("accesspoint/")
    );
    (is_point && !action.to_ascii_lowercase().contains("accesspoint")).then_some(AwsRule::AccessPoint)
}

/// Whether the caller is a service-linked role. The ARN of a session lacks the path of its role, which
/// `aws:PrincipalArn` has; without that key, the name of the role is the only hint.
///
/// Source: IAM User Guide, "Create a service-linked role": the path `aws-service-role` and the name of the role.
pub(super) fn is_service_linked(request: &Request, caller: &Caller) -> Truth {
    const PATH: &str = ":role/aws-service-role/";
    match caller {
        Caller::Role { .. } => Truth::of(request.principal.contains(PATH)),
        Caller::Session { role, .. } => match request.context.get("aws:PrincipalArn") {
            Some(ContextValue::One(arn)) => Truth::of(arn.contains(PATH)),
            _ if has_service_linked_name(role) => Truth::Maybe,
            _ => Truth::No,
        },
        _ => Truth::No,
    }
}

/// Whether an action never works across accounts.
pub(super) fn is_never_across_accounts(action: &str) -> bool {
    let (service, name) = action.split_once(':').unwrap_or_default();
    let rule = match service {
        "s3" => AwsRule::BucketPolicyAcrossAccounts,
        "kms" => AwsRule::KeyAcrossAccounts,
        "sqs" => AwsRule::QueueAcrossAccounts,
        _ => return false,
    };
    rule.applies_to(name)
}

/// Whether no resource has a policy for an action, because only the caller's own policies, or no policies at all, decide.
#[must_use]
pub fn is_without_resource_policy(action: &str) -> bool {
    let (service, name) = action.split_once(':').unwrap_or_default();
    let sts = [AwsRule::AssumeRoot, AwsRule::NoPermission];
    service.eq_ignore_ascii_case("sts") && sts.iter().any(|rule| rule.applies_to(name))
}

/// The ARN of the bucket or object that a request on an access point reaches.
#[must_use]
pub fn behind_access_point(request: &Request, bucket: &str) -> String {
    let partition = arn::split(&request.resource).map_or("aws", |[partition, ..]| partition);
    let key = request.resource.split_once(":accesspoint/").and_then(|(_, rest)| rest.split_once("/object/"));
    match key {
        Some((_, key)) => format!("arn:{partition}:s3:::{bucket}/{key}"),
        None => format!("arn:{partition}:s3:::{bucket}"),
    }
}

/// The bucket that a bucket policy belongs to, by the first ARN in it that names one.
///
/// Source: S3 User Guide, "Policies and permissions in Amazon S3": the resources of a bucket policy are its bucket and
/// objects in it.
#[must_use]
pub fn bucket_of(policy: &Policy) -> Option<&str> {
    let values = policy.statements.iter().filter_map(|statement| statement.resource.as_ref());
    let mut arns = values.flat_map(|resource| &resource.values);
    arns.find_map(|arn| match arn::split(arn)? {
        [_, "s3", "", "", resource] => {
            let bucket = resource.split('/').next()?;
            (!bucket.contains(['*', '?', '$']) && !bucket.is_empty()).then_some(bucket)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::evaluate::{AccessPointBucket, Attached, Decision, DecisionReason, DependsOn, PolicySet, evaluate};
    use crate::iam::request::RequestContext;
    use crate::iam::{Check, PolicyKind, Subject, lint};
    use serde_json::{Value, json};

    const OWNER: &str = "111122223333";
    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/p/object/a/b";

    /// The policies of a case. `Deny` and `Allow` are of everything, for everyone.
    #[derive(Default)]
    struct Given {
        identity: Option<Policy>,
        resource: Option<Policy>,
        bucket: Option<Policy>,
        endpoint: Option<Policy>,
        scp: Option<Policy>,
        rcp: Option<Policy>,
    }

    #[expect(clippy::unnecessary_wraps, reason = "a given policy, as against none")]
    fn policy(statements: &Value) -> Option<Policy> {
        Some(Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap())
    }

    #[expect(clippy::unnecessary_wraps, reason = "a given policy, as against none")]
    fn empty() -> Option<Policy> {
        Some(Policy::new(Version::V2012, []))
    }

    fn own(effect: &str) -> Option<Policy> {
        policy(&json!({"Effect": effect, "Action": "*", "Resource": "*"}))
    }

    fn everyone(effect: &str) -> Option<Policy> {
        policy(&json!({"Sid": "All", "Effect": effect, "Principal": "*", "Action": "*", "Resource": "*"}))
    }

    impl Given {
        fn decide<T>(&self, request: &Request, read: impl Fn(&Decision) -> T) -> T {
            fn one(policy: Option<&Policy>) -> Option<Attached<'_>> {
                policy.map(|policy| Attached { name: "p", policy })
            }
            let limits = |policy| one(policy).map(|attached| vec![attached]).into_iter().collect();
            let resource = behind_access_point(request, "b");
            let set = PolicySet {
                identity: one(self.identity.as_ref()).into_iter().collect(),
                resource: one(self.resource.as_ref()),
                bucket: one(self.bucket.as_ref()).map(|policy| AccessPointBucket { resource, policy }),
                endpoint: one(self.endpoint.as_ref()).into_iter().collect(),
                scps: limits(self.scp.as_ref()),
                rcps: limits(self.rcp.as_ref()),
                ..PolicySet::default()
            };
            read(&evaluate(request, &set))
        }

        fn reason(&self, request: &Request) -> String {
            self.decide(request, |decision| format!("{decision}"))
        }

        /// The outcome, and the rules that took part.
        fn outcome(&self, request: &Request) -> String {
            self.decide(request, |decision| {
                let deciding = match decision.why {
                    DecisionReason::Rule(rule) => format!(" by {}", rule.name()),
                    _ => String::new(),
                };
                let notes: String = decision.rules.iter().map(|rule| format!(" with {}", rule.name())).collect();
                format!("{}{deciding}{notes}", decision.outcome.as_str())
            })
        }
    }

    fn user(account: &str, action: &str, resource: &str) -> Request {
        let mut request = Request::new(&format!("arn:aws:iam::{account}:user/ana"), action, resource);
        request.resource_account = Some(OWNER.to_owned());
        request
    }

    fn root(account: &str, action: &str) -> Request {
        let principal = format!("arn:aws:iam::{account}:root");
        Request { principal, ..user(account, action, "arn:aws:s3:::b") }
    }

    #[test]
    fn service_linked_roles_are_exempt_from_scps_and_rcps() {
        let session = "arn:aws:sts::111122223333:assumed-role/AWSServiceRoleForX/s";
        let with = |arn: Option<&str>| {
            let mut request = Request { principal: session.into(), ..user(OWNER, "s3:GetObject", "arn:aws:s3:::b/k") };
            if let Some(arn) = arn {
                request.context = RequestContext::new().with("aws:PrincipalArn", arn);
            }
            request
        };
        let linked = "arn:aws:iam::111122223333:role/aws-service-role/x.amazonaws.com/AWSServiceRoleForX";
        let other = "arn:aws:iam::111122223333:role/AWSServiceRoleForX";
        let scp = Given { identity: own("Allow"), scp: own("Deny"), ..Given::default() };
        assert_eq!(scp.outcome(&with(Some(linked))), "Allowed with service-linked-role");
        assert_eq!(scp.outcome(&with(Some(other))), "ExplicitlyDenied");
        let rcp = Given { identity: own("Allow"), rcp: everyone("Deny"), ..Given::default() };
        assert_eq!(rcp.outcome(&with(Some(linked))), "Allowed with service-linked-role");
        assert_eq!(rcp.outcome(&with(Some(other))), "ExplicitlyDenied");
        // Without the role's path, the name alone does not decide.
        for given in [scp, rcp, Given { identity: own("Allow"), scp: empty(), ..Given::default() }] {
            assert_eq!(given.outcome(&with(None)), "Conditional");
            let on = given.decide(&with(None), |decision| {
                decision.conditions.iter().map(|c| c.on == DependsOn::ServiceLinked).collect::<Vec<_>>()
            });
            assert!(on.contains(&true));
            assert_eq!(given.outcome(&with(None).with_own_keys()), "Conditional", "the path is unknown");
        }
        let allowed = Given { identity: own("Allow"), scp: own("Allow"), ..Given::default() };
        assert_eq!(allowed.outcome(&with(None)), "Allowed");
        // Other policies do limit service-linked roles.
        let denied = Given { identity: own("Deny"), ..Given::default() };
        assert_eq!(denied.outcome(&with(Some(linked))), "ExplicitlyDenied");
    }

    #[test]
    fn bucket_policy_cannot_keep_out_the_root_user_of_its_owner() {
        let given = Given { resource: everyone("Deny"), ..Given::default() };
        for action in ["s3:PutBucketPolicy", "s3:getbucketpolicy", "s3:DeleteBucketPolicy"] {
            assert_eq!(given.outcome(&root(OWNER, action)), "Allowed with bucket-policy-of-root", "{action}");
        }
        assert_eq!(given.outcome(&root(OWNER, "s3:GetObject")), "ExplicitlyDenied");
        assert_eq!(given.outcome(&root("444455556666", "s3:GetBucketPolicy")), "ExplicitlyDenied");
        assert_eq!(given.outcome(&user(OWNER, "s3:GetBucketPolicy", "arn:aws:s3:::b")), "ExplicitlyDenied");
        // Only endpoint policies, SCPs and RCPs can.
        let get = policy(&json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}));
        let endpoint = Given { endpoint: get, resource: everyone("Deny"), ..Given::default() };
        assert!(endpoint.outcome(&root(OWNER, "s3:GetBucketPolicy")).starts_with("ImplicitlyDenied"));
        let scp = Given { scp: own("Deny"), resource: everyone("Deny"), ..Given::default() };
        assert!(scp.outcome(&root(OWNER, "s3:GetBucketPolicy")).starts_with("ExplicitlyDenied"));
        let rcp = Given { rcp: everyone("Deny"), ..Given::default() };
        assert_eq!(rcp.outcome(&root(OWNER, "s3:GetBucketPolicy")), "ExplicitlyDenied");
    }

    #[test]
    fn some_actions_never_work_across_accounts() {
        let given = Given { identity: own("Allow"), resource: everyone("Allow"), ..Given::default() };
        let (queue, bucket) = ("arn:aws:sqs:eu-west-1:111122223333:q", "arn:aws:s3:::b");
        let mut counts = Vec::new();
        for (rule, service, resource) in [
            (AwsRule::KeyAcrossAccounts, "kms", KEY),
            (AwsRule::QueueAcrossAccounts, "sqs", queue),
            (AwsRule::BucketPolicyAcrossAccounts, "s3", bucket),
        ] {
            let actions = AWS_RULES[rule as usize].actions;
            counts.push(actions.len());
            for action in actions {
                let action = format!("{service}:{action}");
                let denied = format!("ImplicitlyDenied by {}", rule.name());
                assert_eq!(given.outcome(&user("444455556666", &action, resource)), denied, "{action}");
                assert_eq!(given.outcome(&user(OWNER, &action, resource)), "Allowed", "{action}");
            }
        }
        assert_eq!(counts, [33, 12, 3]);
        for action in ["kms:Decrypt", "kms:CreateGrant", "kms:GetKeyRotationStatus", "kms:DescribeKey"] {
            assert_eq!(given.outcome(&user("444455556666", action, KEY)), "Allowed", "{action}");
        }
        assert_eq!(given.outcome(&user("444455556666", "sqs:SendMessage", queue)), "Allowed");
        assert_eq!(given.outcome(&user("444455556666", "sqs:PurgeQueue", queue)), "Allowed");
        assert_eq!(given.outcome(&user("444455556666", "s3:PutBucketTagging", bucket)), "Allowed");
        // A Deny is still the reason where there is one.
        let denied = Given { identity: own("Deny"), resource: everyone("Allow"), ..Given::default() };
        assert_eq!(denied.outcome(&user("444455556666", "kms:EnableKey", KEY)), "ExplicitlyDenied");
        let reason = given.reason(&user("444455556666", "kms:EnableKey", KEY));
        assert_eq!(
            reason,
            "AWS KMS does not allow this operation across accounts (AWS KMS Developer Guide, \"AWS KMS permissions\")"
        );
    }

    #[test]
    fn another_account_cannot_keep_a_key_manageable() {
        let locked = |principal: &str, account: Option<&str>| {
            let text = format!(
                r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"kms:*","Resource":"*"}}}}"#
            );
            let subject = Subject { account, ..Subject::of(PolicyKind::Key) };
            lint(&text, &subject).iter().any(|finding| finding.check == Check::ResourceLockout)
        };
        assert!(locked("444455556666", Some(OWNER)));
        assert!(locked("arn:aws:iam::444455556666:role/admin", Some(OWNER)));
        assert!(!locked(OWNER, Some(OWNER)) && !locked("*", Some(OWNER)));
        assert!(!locked("444455556666", None), "the key may belong to it");
    }

    #[test]
    fn lint_knows_that_the_root_user_can_fix_its_bucket_policy() {
        let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"s3:PutBucketPolicy","Resource":"*"}}"#;
        let denied = |role: &str| {
            let subject = Subject { applying: Some(role), ..Subject::of(PolicyKind::Bucket) };
            lint(text, &subject).iter().any(|finding| finding.check == Check::ResourceLockout)
        };
        assert!(denied("arn:aws:iam::111122223333:role/r"));
        assert!(!denied("arn:aws:iam::111122223333:root"));
    }

    #[test]
    fn rcps_do_not_apply_to_retire_grant() {
        let key = policy(&json!({"Effect": "Allow", "Principal": {"AWS": OWNER}, "Action": "kms:*", "Resource": "*"}));
        let given = Given { identity: own("Allow"), resource: key, rcp: everyone("Deny"), ..Given::default() };
        assert_eq!(given.outcome(&user(OWNER, "kms:RetireGrant", KEY)), "Allowed with retire-grant");
        assert_eq!(given.outcome(&user(OWNER, "kms:RevokeGrant", KEY)), "ExplicitlyDenied");
    }

    #[test]
    fn own_policies_decide_about_assume_root() {
        let member = "arn:aws:iam::444455556666:root";
        let mut request = user(OWNER, "sts:AssumeRoot", member);
        request.resource_account = None;
        let outcome = |given: Given| given.outcome(&request);
        assert_eq!(outcome(Given { identity: own("Allow"), ..Given::default() }), "Allowed with assume-root");
        assert_eq!(outcome(Given::default()), "ImplicitlyDenied with assume-root");
        let scp = Given { identity: own("Allow"), scp: own("Deny"), ..Given::default() };
        assert_eq!(outcome(scp), "ExplicitlyDenied with assume-root");
        let by_root = Request { principal: "arn:aws:iam::111122223333:root".into(), ..request.clone() };
        let allowed = Given { identity: own("Allow"), ..Given::default() };
        assert_eq!(allowed.outcome(&by_root), "ImplicitlyDenied by assume-root-by-root");
        // Assuming a role still needs its trust policy.
        let role =
            Request { action: "sts:AssumeRole".into(), resource: "arn:aws:iam::444455556666:role/r".into(), ..request };
        assert_eq!(allowed.outcome(&role), "Conditional");
    }

    #[test]
    fn some_calls_need_no_permission() {
        let (none, denied) = (Given::default(), Given { identity: own("Deny"), scp: own("Deny"), ..Given::default() });
        let ask = |principal: &str, action: &str| Request::new(principal, action, "*");
        let (user, session) = ("arn:aws:iam::111122223333:user/ana", "arn:aws:sts::111122223333:assumed-role/r/s");
        for (principal, action) in [
            (user, "sts:GetCallerIdentity"),
            (session, "sts:GetCallerIdentity"),
            (user, "sts:GetSessionToken"),
            ("arn:aws:iam::111122223333:root", "sts:GetSessionToken"),
        ] {
            for given in [&none, &denied] {
                let outcome = given.outcome(&ask(principal, action));
                assert!(outcome.starts_with("Allowed"), "{principal} {action} {outcome}");
            }
        }
        assert_eq!(denied.outcome(&ask(user, "sts:GetCallerIdentity")), "Allowed by no-permission");
        assert_eq!(none.outcome(&ask(session, "sts:GetSessionToken")), "ImplicitlyDenied");
        assert_eq!(none.outcome(&ask(user, "sts:GetFederationToken")), "ImplicitlyDenied");
        assert_eq!(none.outcome(&ask("*", "cognito-idp:SignUp")), "Allowed by public-operation");
        assert_eq!(none.outcome(&ask("*", "cognito-idp:AdminGetUser")), "ImplicitlyDenied");
    }

    #[test]
    fn access_point_and_bucket_must_both_permit() {
        let jane = "arn:aws:iam::444455556666:user/jane";
        let grant = |resource: &str| {
            policy(
                &json!({"Effect": "Allow", "Principal": {"AWS": jane}, "Action": "s3:GetObject", "Resource": resource}),
            )
        };
        let mut request = Request::new(jane, "s3:GetObject", POINT);
        let given = |point: Option<Policy>, bucket: Option<Policy>| Given {
            identity: own("Allow"),
            resource: point,
            bucket,
            ..Given::default()
        };
        let both = given(grant(POINT), grant("arn:aws:s3:::b/a/*"));
        assert_eq!(both.outcome(&request), "Allowed with access-point");
        assert_eq!(given(grant(POINT), None).outcome(&request), "Conditional by access-point");
        let reason = given(grant(POINT), None).reason(&request);
        assert!(reason.starts_with("the policy of the bucket behind the access point is not known; both"), "{reason}");
        assert_eq!(given(None, grant("*")).outcome(&request), "ImplicitlyDenied with access-point");
        assert_eq!(given(grant(POINT), empty()).outcome(&request), "ImplicitlyDenied with access-point");
        // The bucket's policy is about the object in the bucket, not about the access point.
        assert_eq!(given(grant(POINT), grant(POINT)).outcome(&request), "ImplicitlyDenied with access-point");
        assert_eq!(given(grant(POINT), everyone("Deny")).outcome(&request), "ExplicitlyDenied with access-point");
        request.principal = "arn:aws:iam::111122223333:user/ana".to_owned();
        assert_eq!(given(None, empty()).outcome(&request), "Allowed with access-point");
        assert_eq!(given(None, None).outcome(&request), "Conditional by access-point");
        request.action = "s3:GetAccessPointPolicy".to_owned();
        assert_eq!(given(None, None).outcome(&request), "Allowed");
    }

    #[test]
    fn an_alias_stands_in_for_its_key() {
        let alias = "arn:aws:kms:eu-west-1:111122223333:alias/k";
        let request = user(OWNER, "kms:Decrypt", alias);
        let key = policy(&json!({"Effect": "Allow", "Principal": {"AWS": OWNER}, "Action": "kms:*", "Resource": "*"}));
        let given = |resource: &str, key: &Option<Policy>| {
            let identity = policy(&json!({"Effect": "Allow", "Action": "kms:*", "Resource": resource}));
            Given { identity, resource: key.clone(), ..Given::default() }
        };
        let outcome = |resource: &str| given(resource, &key).outcome(&request);
        assert_eq!(outcome("*"), "Allowed with key-behind-alias");
        assert_eq!(outcome("arn:aws:kms:*:111122223333:key/*"), "Allowed with key-behind-alias");
        assert_eq!(outcome(KEY), "Conditional with key-behind-alias");
        assert_eq!(outcome(alias), "ImplicitlyDenied with key-behind-alias", "an alias does not identify a key");
        assert_eq!(outcome("arn:aws:kms:us-east-1:111122223333:key/*"), "ImplicitlyDenied with key-behind-alias");
        assert_eq!(given("*", &None).outcome(&request), "Conditional with key-behind-alias");
        let reason = given(KEY, &key).reason(&request);
        assert!(
            reason.starts_with(&format!("it depends on whether the key behind the alias matches `{KEY}`; ")),
            "{reason}"
        );
        let create = user(OWNER, "kms:CreateAlias", alias);
        assert_eq!(given(alias, &None).outcome(&create), "Allowed with alias-and-key");
    }

    #[test]
    fn wildcard_before_a_colon_is_reported_where_it_decides() {
        let topic = "arn:aws:sns:eu-west-1:999999999999:111122223333:t";
        let request = Request::new("arn:aws:iam::999999999999:user/ana", "sns:Publish", topic);
        let given = |effect: &str, resource: &str| {
            let one = json!({"Effect": effect, "Action": "sns:*", "Resource": resource});
            let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
            let statements = if effect == "Deny" { json!([all, one]) } else { json!([one]) };
            Given { identity: policy(&statements), ..Given::default() }
        };
        let crossing = "arn:aws:sns:*:111122223333:t";
        assert_eq!(given("Allow", crossing).outcome(&request), "Conditional");
        assert_eq!(given("Deny", crossing).outcome(&request), "Conditional");
        let reason = given("Deny", crossing).reason(&request);
        assert!(reason.contains("AWS's pages disagree whether a `*` at the end of an ARN segment"), "{reason}");
        let negated = given("Deny", crossing).decide(&request, |decision| decision.conditions[0].is_negated());
        assert!(negated);
        // A `*` within a segment does not cross, and a `*` that need not cross is not disputed.
        assert_eq!(given("Allow", "arn:aws:sns:eu-w*t-1:111122223333:t").outcome(&request), "ImplicitlyDenied");
        assert_eq!(given("Allow", "arn:aws:sns:*:999999999999:*").outcome(&request), "Allowed");
        assert_eq!(given("Allow", "arn:aws:sns:*:999999999999:u").outcome(&request), "ImplicitlyDenied");
    }

    #[test]
    fn table_is_in_order_and_its_actions_are_sorted() {
        for (at, entry) in AWS_RULES.iter().enumerate() {
            assert_eq!(entry.rule as usize, at, "{}", entry.name);
            assert!(!entry.page.is_empty() && !entry.statement.is_empty());
            let sorted = entry.actions.windows(2).all(|pair| compare(pair[0], pair[1]).is_lt());
            assert!(sorted, "{}", entry.name);
        }
        assert!(TRUST.windows(2).all(|pair| compare(pair[0], pair[1]).is_lt()));
    }

    #[test]
    fn documentation_has_the_table() {
        let page = include_str!("../../docs/iam.md");
        for AwsRuleEntry { name, statement, page: source, .. } in &AWS_RULES {
            let row = format!("| `{name}` | {statement} | {source} |\n");
            assert!(page.contains(&row), "docs/iam.md lacks {row}");
        }
    }

    #[test]
    fn every_listed_action_exists() {
        let services = |rule| match rule {
            AwsRule::KeyAcrossAccounts | AwsRule::AliasAndKey | AwsRule::RetireGrant => &["kms"][..],
            AwsRule::QueueAcrossAccounts => &["sqs"],
            AwsRule::BucketPolicyOfRoot | AwsRule::BucketPolicyAcrossAccounts => &["s3"],
            AwsRule::PublicOperation => &[],
            _ => &["sts"],
        };
        for entry in &AWS_RULES {
            for prefix in services(entry.rule) {
                let service = crate::iam::catalogue::ServiceEntry::of(prefix).unwrap();
                for action in entry.actions {
                    // The guide lists actions that need the permission of another one.
                    let is_known = service.action(action).is_some();
                    assert!(is_known || *action == "GetKeyLastUsage", "{prefix}:{action}");
                }
            }
        }
    }

    #[test]
    fn access_points_lead_to_buckets_and_objects() {
        let behind = |resource: &str| behind_access_point(&Request::new("*", "s3:GetObject", resource), "b");
        let point = "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/p";
        assert_eq!(behind(&format!("{point}/object/a/b")), "arn:aws-cn:s3:::b/a/b");
        assert_eq!(behind(point), "arn:aws-cn:s3:::b");
        assert_eq!(through_access_point(point, "ListBucket"), Some(AwsRule::AccessPoint));
        assert_eq!(through_access_point(point, "PutAccessPointPolicy"), None);
        assert_eq!(through_access_point("arn:aws:s3:::b/x:accesspoint/p", "GetObject"), None);
    }
}
