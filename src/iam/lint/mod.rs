//! Findings about single policies: what is dangerous, what does not work, what is superfluous.
//!
//! Every check names its sources in `CHECKS`. AA is the IAM User Guide's "IAM Access Analyzer policy check reference".

mod conditions;
mod identity;
mod resource;
#[cfg(test)]
mod tests;
mod trust;
mod words;

use std::fmt;

use super::condition::Condition;
use super::equivalence;
use super::measure::{self, PolicyPlace};
use super::parse::{self, ParsedDocument};
use super::policy::{Effect, Policy, Selector, Statement, Version};
use super::validate::{self, PolicyKind};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LintSeverity {
    /// Worth knowing.
    Info,
    Low,
    /// It does not do what it seems to do.
    Warning,
    Medium,
    High,
    Critical,
    /// AWS refuses it, or it cannot work.
    Error,
}

impl LintSeverity {
    /// The name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Warning => "warning",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Error => "error",
        }
    }
}

/// What is looked for. The order is that of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    TrustOidcNoSub,
    TrustOidcNoAud,
    TrustOidcSubWildcard,
    TrustOidcSubForm,
    TrustOidcWeakOperator,
    TrustGithubNoSub,
    TrustWildcardPrincipal,
    TrustCrossAccountRoot,
    TrustMismatchedAction,
    TrustForbiddenElement,
    ServicePrincipalNoSource,
    PrincipalOrphanId,
    ResourcePublic,
    ResourcePublicWrite,
    ResourceAllowNotprincipal,
    ResourceCrossAccount,
    S3NoTlsDeny,
    ResourceLockout,
    KmsWildcardPrincipal,
    ResourceOtherArn,
    IdentityAdmin,
    IdentityServiceWildcard,
    IdentityPrivilegeEscalation,
    IdentityPassroleWildcard,
    IdentityAssumeRoleWildcard,
    IdentityAllowNotElement,
    IdentityDataExfiltration,
    IdentityCredentialsExposure,
    IdentityPermissionsManagement,
    ConditionForallvalues,
    ConditionWildcardWithoutLike,
    ConditionPrivateSourceIp,
    ConditionTypeMismatch,
    ConditionUnknownKey,
    ConditionBadMfa,
    SyntaxError,
    ActionUnknown,
    ResourceMismatch,
    VariableWithoutVersion,
    SizeQuota,
    Redundant,
}

/// What is fixed about a check.
struct CheckDefinition {
    check: Check,
    code: &'static str,
    severity: LintSeverity,
    title: &'static str,
    meaning: &'static str,
    hint: &'static str,
}

const fn about(
    check: Check,
    code: &'static str,
    severity: LintSeverity,
    title: &'static str,
    meaning: &'static str,
    hint: &'static str,
) -> CheckDefinition {
    CheckDefinition { check, code, severity, title, meaning, hint }
}

/// All checks, in the order of [`Check`].
const CHECKS: &[CheckDefinition] = &[
    // AA "Missing condition key for oidc principal"; EKS User Guide, "IAM roles for service accounts".
    about(
        Check::TrustOidcNoSub,
        "trust-oidc-no-sub",
        LintSeverity::Critical,
        "OIDC trust without a subject",
        "every identity of the provider may assume the role",
        "require the provider's `:sub` with StringEquals",
    ),
    // AA "Confirm audience claim type".
    about(
        Check::TrustOidcNoAud,
        "trust-oidc-no-aud",
        LintSeverity::Medium,
        "OIDC trust without an audience",
        "tokens that the provider issued for others are taken too",
        "require the provider's `:aud` with StringEquals, usually `sts.amazonaws.com`",
    ),
    // AA "Specific github repo and branch recommended".
    about(
        Check::TrustOidcSubWildcard,
        "trust-oidc-sub-wildcard",
        LintSeverity::High,
        "OIDC subject is too wide",
        "the `:sub` leaves namespace, service account, organisation or repository open",
        "name the namespace and service account, or the organisation and repository",
    ),
    // EKS User Guide, "IAM roles for service accounts"; GitHub documentation, "About security hardening with OpenID Connect".
    about(
        Check::TrustOidcSubForm,
        "trust-oidc-sub-form",
        LintSeverity::Warning,
        "OIDC subject that never matches",
        "the provider issues no `:sub` of this form",
        "write `system:serviceaccount:NAMESPACE:NAME` for EKS, `repo:ORGANISATION/REPOSITORY:...` for GitHub",
    ),
    // AA "ForAllValues with single valued key".
    about(
        Check::TrustOidcWeakOperator,
        "trust-oidc-weak-operator",
        LintSeverity::High,
        "Weak operator for the OIDC subject",
        "the `:sub` is tested by an operator that also holds without it or for others",
        "use StringEquals or StringLike without ForAllValues, IfExists or negation",
    ),
    // AA "Missing github repo condition key".
    about(
        Check::TrustGithubNoSub,
        "trust-github-no-sub",
        LintSeverity::Critical,
        "GitHub trust without a repository",
        "every repository on GitHub may assume the role",
        "require `token.actions.githubusercontent.com:sub`, for example `repo:acme/app:ref:refs/heads/main`",
    ),
    // AA "Role trust policy unsupported wildcard in principal".
    about(
        Check::TrustWildcardPrincipal,
        "trust-wildcard-principal",
        LintSeverity::Critical,
        "Role is open to everybody",
        "anybody may assume the role",
        "name the principals, or require `aws:PrincipalOrgID`",
    ),
    // IAM User Guide, "Access to AWS accounts owned by third parties" (the confused deputy).
    about(
        Check::TrustCrossAccountRoot,
        "trust-cross-account-root",
        LintSeverity::Medium,
        "Trust in a whole foreign account",
        "every principal that a foreign account chooses may assume the role",
        "name the foreign role, or require sts:ExternalId, MFA or the organisation",
    ),
    // AA "Mismatched action for principal".
    about(
        Check::TrustMismatchedAction,
        "trust-mismatched-action",
        LintSeverity::Error,
        "Action does not fit the principal",
        "the principal cannot use any of the actions",
        "use AssumeRoleWithWebIdentity for OIDC, AssumeRoleWithSAML for SAML, AssumeRole for the others",
    ),
    // AA "Role trust policy syntax error resource" and "... notprincipal".
    about(
        Check::TrustForbiddenElement,
        "trust-forbidden-element",
        LintSeverity::Error,
        "Element not allowed in a trust policy",
        "a trust policy has no such element",
        "remove Resource and NotResource; turn NotPrincipal into Principal",
    ),
    // AA "Restrict access to service principal"; IAM User Guide, "The confused deputy problem".
    about(
        Check::ServicePrincipalNoSource,
        "service-principal-no-source",
        LintSeverity::Medium,
        "Service is trusted for every source",
        "the service may act for anybody's resources",
        "require aws:SourceArn or aws:SourceAccount",
    ),
    // AA "Invalid role reference", "Invalid user reference"; IAM User Guide, "AWS JSON policy elements: Principal".
    about(
        Check::PrincipalOrphanId,
        "principal-orphan-id",
        LintSeverity::Warning,
        "Principal was deleted",
        "the principal was deleted: only its unique ID is left",
        "remove it, or write the ARN of the new principal",
    ),
    // S3 User Guide, "The meaning of public".
    about(
        Check::ResourcePublic,
        "resource-public",
        LintSeverity::Critical,
        "Resource is public",
        "everybody has access",
        "name the principals, or add a condition with fixed values such as aws:PrincipalOrgID",
    ),
    about(
        Check::ResourcePublicWrite,
        "resource-public-write",
        LintSeverity::Critical,
        "Resource can be changed by everybody",
        "everybody may change the resource",
        "name the principals, or add a condition with fixed values such as aws:PrincipalOrgID",
    ),
    // AA "Allow with NotPrincipal".
    about(
        Check::ResourceAllowNotprincipal,
        "resource-allow-notprincipal",
        LintSeverity::High,
        "Allow with NotPrincipal",
        "everybody but the ones listed has access, anonymous callers too",
        "name the principals that are to have access",
    ),
    about(
        Check::ResourceCrossAccount,
        "resource-cross-account",
        LintSeverity::Low,
        "Access for another account",
        "another account has access",
        "confirm that it is meant to",
    ),
    // S3 User Guide, "Security best practices for Amazon S3", encryption of data in transit.
    about(
        Check::S3NoTlsDeny,
        "s3-no-tls-deny",
        LintSeverity::Medium,
        "Bucket accepts requests without TLS",
        "requests without TLS are not denied",
        "deny s3:* to everybody where aws:SecureTransport is false",
    ),
    // KMS Developer Guide, "Key policies": the key can become unmanageable; S3 User Guide, bucket policies.
    about(
        Check::ResourceLockout,
        "resource-lockout",
        LintSeverity::High,
        "Policy locks out its administrators",
        "nobody but the root user can change the policy any more",
        "leave the administrators out of the Deny, or let the account change the policy",
    ),
    // KMS Developer Guide, "Key policies in AWS KMS".
    about(
        Check::KmsWildcardPrincipal,
        "kms-wildcard-principal",
        LintSeverity::Critical,
        "Key is open to everybody",
        "the key is open to everybody",
        "name the principals, or require kms:CallerAccount",
    ),
    // AA "Unsupported resource ARN in policy".
    about(
        Check::ResourceOtherArn,
        "resource-other-arn",
        LintSeverity::Error,
        "Statement is about another resource",
        "the statement is about another resource than the one it is attached to",
        "write the ARN of this resource",
    ),
    // IAM User Guide, "Security best practices in IAM", least privilege.
    about(
        Check::IdentityAdmin,
        "identity-admin",
        LintSeverity::Critical,
        "Administrator access",
        "everything is allowed on everything",
        "name the actions and the resources",
    ),
    about(
        Check::IdentityServiceWildcard,
        "identity-service-wildcard",
        LintSeverity::High,
        "All actions of a service on everything",
        "all actions of a service are allowed on everything",
        "name the actions or the resources",
    ),
    // Known paths of privilege escalation in IAM.
    about(
        Check::IdentityPrivilegeEscalation,
        "identity-privilege-escalation",
        LintSeverity::High,
        "Privilege escalation",
        "these actions together lead to more rights",
        "remove one of them, or allow it on single resources",
    ),
    // AA "Pass role with star in resource".
    about(
        Check::IdentityPassroleWildcard,
        "identity-passrole-wildcard",
        LintSeverity::High,
        "Any role can be passed",
        "every role can be passed to a service",
        "name the role, and require iam:PassedToService",
    ),
    about(
        Check::IdentityAssumeRoleWildcard,
        "identity-assume-role-wildcard",
        LintSeverity::High,
        "Any role can be assumed",
        "every role that trusts the account can be assumed",
        "name the roles",
    ),
    // IAM User Guide, "IAM JSON policy elements: NotAction" and "NotResource".
    about(
        Check::IdentityAllowNotElement,
        "identity-allow-not-element",
        LintSeverity::Medium,
        "Allow with NotAction or NotResource",
        "everything but what is listed is allowed, future services too",
        "list what is allowed",
    ),
    about(
        Check::IdentityDataExfiltration,
        "identity-data-exfiltration",
        LintSeverity::Medium,
        "Data can be read anywhere",
        "secrets, parameters or objects can be read anywhere",
        "name the resources",
    ),
    about(
        Check::IdentityCredentialsExposure,
        "identity-credentials-exposure",
        LintSeverity::High,
        "Action returns credentials",
        "the action returns credentials",
        "name the resources, or remove the action",
    ),
    about(
        Check::IdentityPermissionsManagement,
        "identity-permissions-management",
        LintSeverity::Medium,
        "Permissions can be changed anywhere",
        "permissions can be changed anywhere",
        "name the resources",
    ),
    // AA "ForAllValues with single valued key"; IAM User Guide, "Multivalued context keys".
    about(
        Check::ConditionForallvalues,
        "condition-forallvalues",
        LintSeverity::High,
        "ForAllValues without a check that the key is present",
        "ForAllValues also holds when the key is absent",
        "add Null with `false` for the key, or use the plain operator for a key with one value",
    ),
    // AA "Wildcard without like operator".
    about(
        Check::ConditionWildcardWithoutLike,
        "condition-wildcard-without-like",
        LintSeverity::Medium,
        "Wildcard without a Like operator",
        "wildcards mean nothing under this operator",
        "use StringLike, or write the value in full",
    ),
    // AA "Private IP address".
    about(
        Check::ConditionPrivateSourceIp,
        "condition-private-source-ip",
        LintSeverity::Medium,
        "Private address in aws:SourceIp",
        "aws:SourceIp is a public address, never a private one",
        "use aws:VpcSourceIp or aws:SourceVpc",
    ),
    // AA "Type mismatch ...".
    about(
        Check::ConditionTypeMismatch,
        "condition-type-mismatch",
        LintSeverity::Medium,
        "Operator does not fit the key",
        "the operator or the value does not fit the type of the key",
        "use the operator of the key's type",
    ),
    // AA "Invalid global condition key", "Invalid service condition key".
    about(
        Check::ConditionUnknownKey,
        "condition-unknown-key",
        LintSeverity::Medium,
        "Unknown condition key",
        "no request for these actions carries the key",
        "look up the keys of the action in the Service Authorization Reference",
    ),
    // IAM User Guide, "AWS global condition context keys", aws:MultiFactorAuthPresent.
    about(
        Check::ConditionBadMfa,
        "condition-bad-mfa",
        LintSeverity::Medium,
        "MFA condition that access keys pass",
        "long-term access keys pass: their requests carry no MFA key",
        "deny with BoolIfExists and `false`, allow with Bool and `true`",
    ),
    about(
        Check::SyntaxError,
        "syntax-error",
        LintSeverity::Error,
        "Syntax error",
        "AWS refuses the document",
        "correct the element",
    ),
    // AA "Invalid action".
    about(
        Check::ActionUnknown,
        "action-unknown",
        LintSeverity::Warning,
        "Unknown action",
        "there is no such action",
        "look for a slip of the pen in the name",
    ),
    // Service Authorization Reference, resource types of the action.
    about(
        Check::ResourceMismatch,
        "resource-mismatch",
        LintSeverity::Warning,
        "Resource does not fit the action",
        "no resource of the statement is of the type that the action works on",
        "write the ARN of the type that the action takes, or `*`",
    ),
    // AA "Variable unsupported in version".
    about(
        Check::VariableWithoutVersion,
        "variable-without-version",
        LintSeverity::Error,
        "Policy variable in an old version",
        "policy variables are plain text in this version",
        "write `\"Version\": \"2012-10-17\"`",
    ),
    // AA "Policy size exceeds ... quota".
    about(
        Check::SizeQuota,
        "size-quota",
        LintSeverity::Error,
        "Document is over the size quota",
        "the policy is larger than its place takes",
        "use wildcards, join statements, or divide the policy",
    ),
    // AA "Redundant action", "Redundant resource", "Redundant statement".
    about(
        Check::Redundant,
        "redundant",
        LintSeverity::Info,
        "Redundant element",
        "it is covered by another one",
        "remove it",
    ),
];

impl Check {
    /// All checks.
    pub fn all() -> impl Iterator<Item = Self> {
        CHECKS.iter().map(|about| about.check)
    }

    fn about(self) -> Option<&'static CheckDefinition> {
        CHECKS.get(self as usize)
    }

    /// The stable code, for example `trust-oidc-no-sub`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.about().map_or("", |about| about.code)
    }

    #[must_use]
    pub fn severity(self) -> LintSeverity {
        self.about().map_or(LintSeverity::Info, |about| about.severity)
    }

    /// A short name.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.about().map_or("", |about| about.title)
    }

    /// What it means, in one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.about().map_or("", |about| about.meaning)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        self.about().map_or("", |about| about.hint)
    }
}

/// One finding in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub check: Check,
    /// The statement, counted from 1; `None` for the whole document.
    pub statement: Option<usize>,
    pub sid: Option<String>,
    /// The element: `Action`, `Condition/StringEquals/aws:SourceIp`. Empty for the whole statement.
    pub element: String,
    /// What exactly was found, where there is more to say than the check's meaning.
    pub detail: String,
    /// Which of the documents that were looked at together, counted from 0.
    pub document: usize,
    /// Line and column from 1.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.check.severity().as_str(), self.check.code())?;
        if let Some(statement) = self.statement {
            write!(f, "statement {statement}")?;
            if let Some(sid) = &self.sid {
                write!(f, " `{sid}`")?;
            }
            if !self.element.is_empty() {
                write!(f, ", {}", self.element)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(self.check.meaning())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// What is known about the policy that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub kind: PolicyKind,
    /// The account that the policy belongs to; without it nothing is said about other accounts.
    pub account: Option<&'a str>,
    /// The name of the bucket that the policy is attached to.
    pub bucket: Option<&'a str>,
    /// Where the policy is to be attached, for its quota; by default the largest place of its kind.
    pub place: Option<PolicyPlace>,
    /// The ARN of the role that manages the policy and must not lock itself out.
    pub applying: Option<&'a str>,
}

impl Subject<'_> {
    /// A policy of this kind of which nothing else is known.
    #[must_use]
    pub fn of(kind: PolicyKind) -> Self {
        Self { kind, account: None, bucket: None, place: None, applying: None }
    }

    fn place(&self) -> Option<PolicyPlace> {
        self.place.or(match self.kind {
            PolicyKind::Identity => Some(PolicyPlace::RoleInlineTotal),
            PolicyKind::Boundary => Some(PolicyPlace::ManagedPolicy),
            PolicyKind::Session => Some(PolicyPlace::SessionPolicy),
            PolicyKind::Bucket => Some(PolicyPlace::BucketPolicy),
            PolicyKind::Key => Some(PolicyPlace::KeyPolicy),
            PolicyKind::Trust => Some(PolicyPlace::RoleTrust),
            PolicyKind::Endpoint => Some(PolicyPlace::EndpointPolicy),
            PolicyKind::Scp => Some(PolicyPlace::Scp),
            PolicyKind::Rcp => Some(PolicyPlace::Rcp),
            PolicyKind::Resource => None,
        })
    }
}

/// A document that is larger is not looked into: AWS takes it nowhere, and that is the finding.
const MOST_BYTES: usize = 128 << 10;

/// Looks at one policy document and reports all findings, in the order of statements and checks.
#[must_use]
pub fn lint(text: &str, subject: &Subject) -> Vec<Finding> {
    lint_together(&[text], subject)
}

/// Looks at documents that are in force together, such as all policies of a role. A Deny in one counts against an Allow in
/// another; each finding about a statement is about the document that its Sid and place come from.
#[must_use]
pub fn lint_together(texts: &[&str], subject: &Subject) -> Vec<Finding> {
    let mut findings = Findings { subject, document: 0, statement: None, found: Vec::new() };
    let mut documents = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        findings.document = at;
        findings.syntax(text);
        findings.size(text);
        for (number, element, value) in parse::repetitions(text) {
            findings.statement = Some((number, None));
            findings.add(Check::Redundant, element, format!("`{value}` is there twice"));
            findings.statement = None;
        }
        if text.len() <= MOST_BYTES {
            documents.extend(parse::policy_text(text).map(|document| (at, document)));
        }
    }
    for (at, document) in &documents {
        let version = document.version.unwrap_or(Version::V2008);
        findings.document = *at;
        findings.document(document, version);
        findings.redundant(document, version);
    }
    if matches!(subject.kind, PolicyKind::Identity | PolicyKind::Boundary | PolicyKind::Session) {
        let all = |(at, document): &'_ (usize, ParsedDocument)| {
            let at = *at;
            document.statements.iter().cloned().map(move |statement| (at, statement)).collect::<Vec<_>>()
        };
        let all: Vec<(usize, Statement)> = documents.iter().flat_map(all).collect();
        identity::escalation(&all, &mut findings);
    }
    let mut found = findings.found;
    for (at, text) in texts.iter().enumerate() {
        let mut open: Vec<&mut Finding> = found.iter_mut().filter(|f| f.document == at && f.place.is_none()).collect();
        let wanted: Vec<(Option<usize>, &str)> = open.iter().map(|f| (f.statement, f.element.as_str())).collect();
        let places = if wanted.is_empty() { Vec::new() } else { parse::places(text, &wanted) };
        for (finding, place) in open.iter_mut().zip(places) {
            finding.place = place;
        }
    }
    found.sort_by(|a, b| {
        (a.document, a.statement, a.check, &a.element, &a.detail).cmp(&(
            b.document,
            b.statement,
            b.check,
            &b.element,
            &b.detail,
        ))
    });
    found.dedup();
    found
}

/// Collects findings about the statement that is being looked at.
struct Findings<'s> {
    subject: &'s Subject<'s>,
    document: usize,
    statement: Option<(usize, Option<String>)>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, check: Check, element: impl Into<String>, detail: impl Into<String>) {
        let (statement, sid) = self.statement.clone().unzip();
        self.found.push(Finding {
            check,
            statement,
            sid: sid.flatten(),
            element: element.into(),
            detail: detail.into(),
            document: self.document,
            place: None,
        });
    }

    fn at(&mut self, statement: &Statement) {
        self.statement = Some((statement.position(), statement.sid().map(str::to_owned)));
    }

    fn syntax(&mut self, text: &str) {
        let Err(errors) = validate::document(self.subject.kind, text) else {
            return;
        };
        for error in errors {
            let mut parts = error.pointer.split('/').skip(1);
            let (statement, element) = match (parts.next(), parts.next()) {
                (Some("Statement"), Some(index)) => match index.parse::<usize>() {
                    Ok(index) => (Some(index + 1), parts.collect::<Vec<_>>().join("/")),
                    Err(_) => (Some(1), index.to_owned()),
                },
                (first, _) => (None, first.unwrap_or_default().to_owned()),
            };
            let forbidden = self.subject.kind == PolicyKind::Trust
                && matches!(element.as_str(), "Resource" | "NotResource" | "NotPrincipal");
            let check = if forbidden { Check::TrustForbiddenElement } else { Check::SyntaxError };
            self.found.push(Finding {
                check,
                statement,
                sid: None,
                element,
                detail: error.message,
                document: self.document,
                place: error.place,
            });
        }
    }

    fn size(&mut self, text: &str) {
        if text.len() > MOST_BYTES {
            self.add(Check::SizeQuota, "", format!("{} bytes, and no place takes {MOST_BYTES}", text.len()));
            return;
        }
        let Some(place) = self.subject.place() else {
            return;
        };
        let size = measure::measure_text(place, text);
        if size.is_over() {
            let over = size.used - size.quota;
            self.add(Check::SizeQuota, "", format!("{} of {}, {over} too many", size.used, size.quota));
        }
    }

    fn document(&mut self, document: &ParsedDocument, version: Version) {
        for statement in &document.statements {
            self.at(statement);
            conditions::check(statement, self);
            words::check(statement, version, self);
            match self.subject.kind {
                PolicyKind::Trust => trust::check(statement, self),
                PolicyKind::Resource | PolicyKind::Bucket | PolicyKind::Key => {
                    resource::check(statement, self);
                }
                PolicyKind::Identity | PolicyKind::Boundary | PolicyKind::Session => {
                    identity::check(statement, &document.statements, self);
                }
                PolicyKind::Endpoint | PolicyKind::Scp | PolicyKind::Rcp => {}
            }
            self.statement = None;
        }
        if self.subject.kind.is_of_resource() {
            let policy = Policy::from_parts(version, None, document.statements.clone());
            resource::check_policy(&policy, self);
        }
    }

    fn redundant(&mut self, document: &ParsedDocument, version: Version) {
        let statements = &document.statements;
        for (statement, by) in statements.iter().zip(equivalence::redundant_statements(statements, version)) {
            self.at(statement);
            if let Some(by) = by {
                self.add(Check::Redundant, "", format!("statement {by} covers it"));
            }
            for (element, narrow, wide) in equivalence::redundant_values(statement, version) {
                self.add(Check::Redundant, element, format!("`{wide}` covers `{narrow}`"));
            }
        }
        self.statement = None;
    }
}

/// Whether one of the action patterns, or everything but them, takes in the action.
fn takes(statement: &Statement, action: &str) -> bool {
    statement.action.selects(|pattern| pattern.matches(action))
}

fn is_allow(statement: &Statement) -> bool {
    statement.effect == Effect::Allow
}

/// Whether the statement is about all resources of some type or service.
fn is_open(resource: Option<&Selector<Box<str>>>) -> bool {
    resource.is_some_and(|resource| resource.inverted || resource.values.iter().any(|text| is_open_arn(text)))
}

/// `*`, or an ARN with a name of wildcards only: `arn:aws:s3:::*`, `arn:aws:iam::111122223333:role/*`.
fn is_open_arn(text: &str) -> bool {
    let Some([_, service, _, _, resource]) = super::arn::split(text) else {
        return !text.is_empty() && text.bytes().all(|byte| byte == b'*');
    };
    let mut names = resource.split(['/', ':']);
    let first = names.next().unwrap_or_default();
    let is_star = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte == b'*');
    let rest: Vec<&str> = names.collect();
    let typed = service != "s3" && !rest.is_empty();
    (typed || is_star(first)) && rest.iter().all(|name| is_star(name))
}

/// Whether a condition limits the request to fixed values of what a caller cannot choose.
///
/// Source: S3 User Guide, "The meaning of public".
fn is_fixed(condition: &Condition) -> bool {
    use super::condition::{Operator, Qualifier, Test};
    let Operator { test, qualifier, if_exists } = condition.operator;
    let key = condition.key.as_str().to_ascii_lowercase();
    if if_exists || qualifier == Some(Qualifier::ForAllValues) || condition.values.is_empty() {
        return false;
    }
    let no_variable = condition.values().all(|value| !value.contains("${"));
    if test == Test::IpAddress {
        return key == "aws:sourceip"
            && condition.values().all(|value| {
                super::matching::range_of(value)
                    .is_some_and(|(network, length)| length >= if network.is_ipv4() { 8 } else { 32 })
            });
    }
    let like = matches!(test, Test::StringLike | Test::ArnLike | Test::ArnEquals);
    let equal = matches!(test, Test::StringEquals | Test::StringEqualsIgnoreCase);
    if !(like || equal) || !no_variable {
        return false;
    }
    let wild = |value: &str| like && value.contains(['*', '?']);
    match key.as_str() {
        "aws:sourcearn"
        | "aws:sourcevpc"
        | "aws:sourcevpce"
        | "aws:sourceowner"
        | "aws:sourceaccount"
        | "aws:sourceorgid"
        | "aws:principalorgid"
        | "aws:principalaccount"
        | "aws:vpceaccount"
        | "aws:vpceorgid"
        | "s3:x-amz-server-side-encryption-aws-kms-key-id"
        | "s3:dataaccesspointaccount"
        | "kms:calleraccount" => condition.values().all(|value| !wild(value)),
        // Everybody in a part of the organisation: the organisation is fixed.
        "aws:principalorgpaths" | "aws:sourceorgpaths" => {
            condition.values().all(|value| value.starts_with("o-") && !value.starts_with("o-*"))
        }
        // The session name after the colon is the caller's choice, the role's ID is not.
        "aws:userid" => condition.values().all(|value| {
            let id = value.split(':').next().unwrap_or_default();
            !wild(value) || (!id.contains(['*', '?']) && value.strip_prefix(id) != Some(":*"))
        }),
        "aws:principalarn" => condition.values().all(|value| {
            super::arn::split(value).is_some_and(|[_, _, _, account, _]| super::arn::is_account_id(account))
        }),
        // A wildcard in the name is taken when the account is fixed.
        "s3:dataaccesspointarn" => condition.values().all(|value| {
            super::arn::split(value).is_some_and(|[partition, service, region, account, _]| {
                ![partition, service, region, account].iter().any(|part| wild(part))
            })
        }),
        _ => false,
    }
}

/// Whether anybody at all is limited by one of the statement's conditions.
fn is_limited(statement: &Statement) -> bool {
    statement.condition.iter().any(is_fixed)
}
