//! Checks of resource policies: buckets, keys, queues.

use super::{Check, Findings, conditions, is_allow, is_limited, is_open_arn, takes};
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::condition::{Condition, Test};
use crate::iam::evaluate::{self, Attached, DecisionOutcome, PolicySet};
use crate::iam::policy::{Effect, Policy, Principal, Statement};
use crate::iam::request::{Request, RequestContext};
use crate::iam::validate::PolicyKind;
use crate::iam::{arn, pattern, rules};

pub(super) fn check(statement: &Statement, findings: &mut Findings) {
    check_principals(statement, findings);
    if statement.principal.is_none() && findings.subject.kind == PolicyKind::Resource {
        // For a known kind of resource, its own rules report this.
        findings.add(Check::SyntaxError, "", "the statement has no `Principal`");
    }
    other_resource(statement, findings);
    incomplete_exception(statement, findings);
    if !is_allow(statement) {
        return;
    }
    let Some(principals) = &statement.principal else {
        return;
    };
    if principals.inverted {
        findings.add(Check::ResourceAllowNotprincipal, "NotPrincipal", "");
    }
    if names_everybody(statement) && !is_limited(statement) {
        let element = if principals.inverted { "NotPrincipal" } else { "Principal" };
        findings.add(Check::ResourcePublic, element, "");
        if let Some(action) = first_write(statement) {
            findings.add(Check::ResourcePublicWrite, "Action", format!("`{action}`"));
        }
        if is_about_keys(statement, findings.subject.kind) {
            findings.add(Check::KmsWildcardPrincipal, element, "");
        }
    }
    if let Some(own) = findings.subject.account
        && !principals.inverted
    {
        for principal in &principals.values {
            if let Some(account) = principal.account().filter(|account| *account != own) {
                findings.add(Check::ResourceCrossAccount, "Principal", format!("`{account}`"));
            }
        }
    }
    for named in foreign_accounts(statement, findings.subject.account) {
        findings.add(Check::ResourceCrossAccount, named.element, format!("`{}`", named.account));
    }
}

/// A foreign account that a condition names.
pub(super) struct ForeignAccount<'s> {
    pub account: &'s str,
    pub element: String,
    /// Whether every principal of the account meets the condition.
    pub is_whole: bool,
}

/// The accounts other than the owner's that only conditions name: those of the callers, if the statement names everyone,
/// and those on whose behalf a service or everyone acts. Without an owner there are none.
///
/// Source: IAM User Guide, "AWS global condition context keys".
pub(super) fn foreign_accounts<'s>(statement: &'s Statement, own: Option<&str>) -> Vec<ForeignAccount<'s>> {
    const CALLERS: [&str; 3] = ["aws:PrincipalArn", "aws:PrincipalAccount", "kms:CallerAccount"];
    const SOURCES: [&str; 3] = ["aws:SourceArn", "aws:SourceAccount", "aws:SourceOwner"];
    const POINTS: [&str; 2] = ["s3:DataAccessPointArn", "s3:DataAccessPointAccount"];
    let (Some(own), Some(principals)) = (own, &statement.principal) else {
        return Vec::new();
    };
    let everybody = names_everybody(statement);
    let service = principals.values.iter().any(|principal| matches!(principal, Principal::Service(_)));
    let mut found: Vec<ForeignAccount> = Vec::new();
    for condition in &statement.condition {
        let key = condition.key.as_str();
        let is_in = |keys: &[&str]| keys.iter().any(|known| known.eq_ignore_ascii_case(key));
        let is_caller = everybody && is_in(&CALLERS);
        let is_source = (everybody || service) && is_in(&SOURCES);
        let is_point = everybody && is_in(&POINTS);
        let excludes = condition.operator.test.is_negated() || condition.operator.test == Test::Null;
        if excludes || !(is_caller || is_source || is_point) {
            continue;
        }
        for value in &condition.values {
            let account = if arn::is_account_id(value) { Some(value.as_ref()) } else { arn::account_of(value) };
            let Some(account) = account.filter(|account| *account != own) else { continue };
            let named = principals.values.iter().any(|principal| principal.account() == Some(account));
            if !named && !found.iter().any(|other| other.account == account) {
                let is_whole = is_caller && (arn::is_account_id(value) || is_open_arn(value));
                let element = format!("Condition/{}/{key}", condition.operator);
                found.push(ForeignAccount { account, element, is_whole });
            }
        }
    }
    found
}

/// Reports roles and sessions in the `NotPrincipal` of a Deny that the Deny may reach nevertheless: AWS compares the
/// session, its role and its account each with the list.
///
/// Source: IAM User Guide, "AWS JSON policy elements: `NotPrincipal`".
pub(super) fn incomplete_exception(statement: &Statement, findings: &mut Findings) {
    let Some(principals) = statement.principal.as_ref().filter(|principals| principals.inverted) else {
        return;
    };
    if statement.effect != Effect::Deny {
        return;
    }
    for principal in &principals.values {
        let Principal::Aws(text) = principal else { continue };
        let Some(account) = principal.account() else { continue };
        let mut missing = Vec::new();
        if !principals.values.iter().any(|other| matches!(other, Principal::Account(id) if id.as_ref() == account)) {
            missing.push("its account");
        }
        let any = |test: &dyn Fn(&Principal) -> bool| principals.values.iter().any(test);
        let is_session_of = |role: (&str, &str)| {
            any(&|other| matches!(other, Principal::Aws(text) if role_of_session(text) == Some(role)))
        };
        if let Some(role) = role_of_session(text) {
            missing.extend((!any(&|other| is_role_named(other, role))).then_some("its role"));
        } else if let Some(role) = role_named(text) {
            missing.extend((!is_session_of(role)).then_some("its sessions"));
        }
        if !missing.is_empty() {
            let detail = format!("`{text}` is listed without {}", missing.join(" and "));
            findings.add(Check::ResourceDenyNotprincipal, "NotPrincipal/AWS", detail);
        }
    }
}

/// The account and name of the role with this ARN.
fn role_named(text: &str) -> Option<(&str, &str)> {
    let [_, service, _, account, resource] = arn::split(text)?;
    let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
    (service == "iam").then_some((account, name))
}

/// The account and name of the role of the session with this ARN.
pub(super) fn role_of_session(text: &str) -> Option<(&str, &str)> {
    let [_, service, _, account, resource] = arn::split(text)?;
    let (role, _) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
    (service == "sts").then_some((account, role))
}

/// Whether a principal is the role with this account and name.
pub(super) fn is_role_named(principal: &Principal, role: (&str, &str)) -> bool {
    matches!(principal, Principal::Aws(text) if role_named(text) == Some(role))
}

/// The account of an ARN, or the whole text if it is not an ARN.
pub(super) fn account_part(text: &str) -> &str {
    arn::split(text).map_or(text, |[_, _, _, account, _]| account)
}

/// Checks that apply to principals in any kind of policy.
pub(super) fn check_principals(statement: &Statement, findings: &mut Findings) {
    let Some(principals) = &statement.principal else {
        return;
    };
    for principal in &principals.values {
        if principal.is_orphan_id() {
            let (_, text) = principal.entry();
            findings.add(Check::PrincipalOrphanId, "Principal/AWS", format!("`{text}`"));
        }
        if let Principal::Service(service) = principal
            && is_allow(statement)
            && !principals.inverted
            && !has_source(statement)
        {
            findings.add(Check::ServicePrincipalNoSource, "Principal/Service", format!("`{service}`"));
        }
    }
}

fn has_source(statement: &Statement) -> bool {
    let keys = ["aws:SourceArn", "aws:SourceAccount", "aws:SourceOrgID", "aws:SourceOrgPaths", "aws:SourceOwner"];
    statement.condition.iter().any(|condition| {
        (keys.iter().any(|key| condition.key.as_str().eq_ignore_ascii_case(key)) || names_source(condition))
            && !condition.operator.test.is_negated()
            && condition.operator.test != Test::Null
    })
}

/// Whether a condition on the encryption context names the source by an ARN with an account, as the key policy for
/// `CloudWatch` Logs does.
///
/// Source: `CloudWatch` Logs User Guide, "Encrypt log data in `CloudWatch` Logs using AWS KMS".
fn names_source(condition: &Condition) -> bool {
    let context = "kms:EncryptionContext:";
    let key = condition.key.as_str().get(..context.len());
    key.is_some_and(|key| key.eq_ignore_ascii_case(context))
        && conditions::requires_key(condition)
        && condition.values().len() > 0
        && condition.values().all(|value| arn::account_of(value).is_some())
}

/// Whether the statement applies to everyone, by name or by excluding only a few.
fn names_everybody(statement: &Statement) -> bool {
    statement.principal.as_ref().is_some_and(|principals| {
        principals.inverted
            || principals.values.iter().any(|principal| match principal {
                Principal::Everyone | Principal::AnyAws => true,
                Principal::Aws(text) => account_part(text).contains(['*', '?']),
                Principal::Federated(provider) => !is_fixed_provider(statement, provider),
                _ => false,
            })
    })
}

/// Whether a federated principal limits the callers: it is a provider of one account, or conditions choose among the
/// users of a provider that all accounts share, such as `accounts.google.com`.
fn is_fixed_provider(statement: &Statement, provider: &str) -> bool {
    if provider.contains(['*', '?']) || provider.starts_with("arn:") {
        return !provider.contains(['*', '?']);
    }
    statement.condition.iter().any(|condition| {
        let name = condition.key.as_str().rsplit_once(':').map(|(name, _)| name);
        name.is_some_and(|name| name.eq_ignore_ascii_case(provider))
            && conditions::requires_key(condition)
            && !condition.operator.test.is_negated()
            && condition.operator.test != Test::Null
            && condition.values().all(|value| !value.contains(['*', '?']))
    })
}

/// The first action of the statement that changes something.
fn first_write(statement: &Statement) -> Option<String> {
    if statement.action.inverted {
        return Some("everything but the actions listed".to_owned());
    }
    statement.action.values.iter().find_map(|pattern| {
        let text = pattern.as_str();
        let Some((prefix, name)) = text.split_once(':') else {
            return Some(text.to_owned());
        };
        let service = ServiceEntry::of(prefix)?;
        let write = service.matching(name).find(|action| action.level > AccessLevel::Read)?;
        Some(format!("{}:{}", service.prefix, write.name))
    })
}

fn is_about_keys(statement: &Statement, kind: PolicyKind) -> bool {
    kind == PolicyKind::Key
        || statement
            .action
            .values
            .iter()
            .any(|pattern| pattern.service().is_some_and(|s| s.eq_ignore_ascii_case("kms")))
}

/// Reports a resource that is neither the policy's bucket nor an object in it.
fn other_resource(statement: &Statement, findings: &mut Findings) {
    let (Some(bucket), Some(resource)) = (findings.subject.bucket, &statement.resource) else {
        return;
    };
    for text in &resource.values {
        let about = match arn::split(text) {
            Some([_, service, _, _, name]) => {
                let name = name.split('/').next().unwrap_or_default();
                pattern::glob(service, "s3", false) && pattern::glob(name, bucket, false)
            }
            None => pattern::glob(text, &format!("arn:aws:s3:::{bucket}"), false),
        };
        let element = if resource.inverted { "NotResource" } else { "Resource" };
        if !about && !text.contains("${") {
            findings.add(Check::ResourceOtherArn, element, format!("`{text}` is not in `{bucket}`"));
        }
    }
}

/// Checks of the policy as a whole.
pub(super) fn check_policy(policy: &Policy, findings: &mut Findings) {
    if findings.subject.bucket.is_some() || findings.subject.kind == PolicyKind::Bucket {
        let denies = policy.statements().iter().any(|s| denies_plain_http(s, findings.subject.bucket));
        if !denies {
            findings.add(Check::S3NoTlsDeny, "", "");
        }
    }
    for statement in policy.statements() {
        if let Some(action) = locks_out(statement) {
            findings.at(statement);
            findings.add(Check::ResourceLockout, "Principal", format!("`{action}` is denied to everyone"));
            findings.statement = None;
        }
    }
    unmanageable_key(policy, findings);
    applying_role(policy, findings);
}

/// The usual Deny: everyone, all of S3, all objects, if `aws:SecureTransport` is false, and no other condition.
fn denies_plain_http(statement: &Statement, bucket: Option<&str>) -> bool {
    let everybody = statement
        .principal
        .as_ref()
        .is_some_and(|p| !p.inverted && p.values.iter().any(|p| matches!(p, Principal::Everyone | Principal::AnyAws)));
    let object = format!("arn:aws:s3:::{}/key", bucket.unwrap_or("bucket"));
    let objects = statement.resource.as_ref().is_some_and(|resource| {
        !resource.inverted
            && resource
                .values
                .iter()
                .any(|text| pattern::glob(text, &object, false) || (bucket.is_none() && text.ends_with("/*")))
    });
    let [condition] = statement.condition.as_slice() else {
        return false;
    };
    let insecure = condition.operator.test == Test::Bool
        && condition.key.as_str().eq_ignore_ascii_case("aws:SecureTransport")
        && condition.values().eq(["false"]);
    let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];
    statement.effect == Effect::Deny
        && everybody
        && objects
        && insecure
        && actions.iter().all(|action| takes(statement, action))
}

/// The actions that change a policy, with the form of their resource.
const POLICY_CHANGES: &[(&str, &str)] = &[
    ("s3:PutBucketPolicy", "arn:aws:s3:::bucket"),
    ("kms:PutKeyPolicy", "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
    ("sqs:SetQueueAttributes", "arn:aws:sqs:eu-west-1:111122223333:queue"),
    ("sns:SetTopicAttributes", "arn:aws:sns:eu-west-1:111122223333:topic"),
    ("secretsmanager:PutResourcePolicy", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:name"),
    ("dynamodb:PutResourcePolicy", "arn:aws:dynamodb:eu-west-1:111122223333:table/name"),
    ("ecr:SetRepositoryPolicy", "arn:aws:ecr:eu-west-1:111122223333:repository/name"),
];

/// The policy-changing action that a statement denies to everyone unconditionally.
fn locks_out(statement: &Statement) -> Option<&'static str> {
    let everybody = statement
        .principal
        .as_ref()
        .is_some_and(|p| !p.inverted && p.values.iter().any(|p| matches!(p, Principal::Everyone | Principal::AnyAws)));
    if statement.effect != Effect::Deny || !everybody || !statement.condition.is_empty() {
        return None;
    }
    // An object's ARN has a slash in its name; the policy belongs to the bucket.
    let about_itself = |service: &str| {
        statement.resource.as_ref().is_none_or(|resource| {
            resource.inverted
                || resource.values.iter().any(|text| match arn::split(text) {
                    Some([_, of, _, _, name]) => {
                        pattern::glob(of, service, false) && (service != "s3" || !name.contains('/'))
                    }
                    None => true,
                })
        })
    };
    POLICY_CHANGES
        .iter()
        .find(|(action, _)| {
            let service = action.split(':').next().unwrap_or_default();
            let named = statement.action.inverted
                || statement
                    .action
                    .values
                    .iter()
                    .any(|pattern| pattern.service().is_none_or(|own| own.eq_ignore_ascii_case(service)));
            named && takes(statement, action) && about_itself(service)
        })
        .map(|(action, _)| *action)
}

/// Reports a key policy that allows no principal to change it. Principals of other accounts than the key's never can.
///
/// Source: KMS Developer Guide, "Key policies": "the key becomes unmanageable".
fn unmanageable_key(policy: &Policy, findings: &mut Findings) {
    let all_kms = policy
        .statements()
        .iter()
        .flat_map(|s| &*s.action.values)
        .all(|pattern| pattern.service().is_some_and(|s| s.eq_ignore_ascii_case("kms")));
    let is_key = findings.subject.kind == PolicyKind::Key || (all_kms && !policy.is_empty());
    if !is_key {
        return;
    }
    let change = "kms:PutKeyPolicy";
    let own = findings.subject.account.filter(|_| rules::is_never_across_accounts(change));
    let is_able = |principal: &Principal| {
        let is_foreign = own.is_some_and(|own| principal.account().is_some_and(|account| account != own));
        !matches!(principal, Principal::Service(_)) && !principal.is_orphan_id() && !is_foreign
    };
    let can_change = policy.statements().iter().any(|statement| {
        is_allow(statement)
            && takes(statement, change)
            && statement.principal.as_ref().is_some_and(|p| p.inverted || p.values.iter().any(is_able))
    });
    if !can_change {
        findings.add(Check::ResourceLockout, "", "no principal can call `kms:PutKeyPolicy`");
    }
}

/// Reports a policy that its managing role could no longer change.
fn applying_role(policy: &Policy, findings: &mut Findings) {
    let Some(role) = findings.subject.applying else {
        return;
    };
    for (action, example) in POLICY_CHANGES {
        let resource = match (findings.subject.bucket, *action) {
            (Some(bucket), "s3:PutBucketPolicy") => format!("arn:aws:s3:::{bucket}"),
            _ => (*example).to_owned(),
        };
        let mut request = Request::new(role, action, &resource);
        request.context = RequestContext::open();
        let request = request.with_own_keys();
        let set = PolicySet { resource: Some(Attached { name: "resource", policy }), ..PolicySet::default() };
        let decision = evaluate::evaluate(&request, &set);
        if decision.outcome == DecisionOutcome::ExplicitlyDenied {
            for denial in decision.deciding() {
                if locks_out(denial.statement).is_some() {
                    continue;
                }
                findings.at(denial.statement);
                findings.add(Check::ResourceLockout, "Principal", format!("`{action}` is denied to `{role}`"));
                findings.statement = None;
            }
        }
    }
}
