//! Checks of resource policies: buckets, keys, queues.

use super::{Check, Findings, is_allow, is_limited, takes};
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::condition::Test;
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
        keys.iter().any(|key| condition.key.as_str().eq_ignore_ascii_case(key))
            && !condition.operator.test.is_negated()
            && condition.operator.test != Test::Null
    })
}

/// Whether the statement applies to everyone, by name or by excluding only a few.
fn names_everybody(statement: &Statement) -> bool {
    statement.principal.as_ref().is_some_and(|principals| {
        principals.inverted
            || principals.values.iter().any(|principal| match principal {
                Principal::Everyone | Principal::AnyAws => true,
                Principal::Aws(text) => arn::split(text).is_some_and(|[_, _, _, account, _]| account.contains('*')),
                _ => false,
            })
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
