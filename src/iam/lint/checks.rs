//! The checks: what each one detects, how severe that is, and how to fix it.
//!
//! Every check names its sources in `CHECKS`. AA is the IAM User Guide's "IAM Access Analyzer policy check reference".

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LintSeverity {
    /// For information.
    Info,
    Low,
    /// The policy does something other than it seems to.
    Warning,
    Medium,
    High,
    Critical,
    /// AWS rejects the policy, or it cannot work.
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

/// A check. The order is that of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    TrustOidcNoSub,
    TrustOidcNoAud,
    TrustOidcSubWildcard,
    TrustOidcSubForm,
    TrustNeverMatches,
    TrustOidcWeakOperator,
    TrustGithubNoSub,
    TrustGithubForgeableSub,
    TrustWildcardPrincipal,
    TrustCrossAccountRoot,
    TrustMismatchedAction,
    TrustForbiddenElement,
    ServicePrincipalNoSource,
    PrincipalOrphanId,
    ResourcePublic,
    ResourcePublicWrite,
    ResourceAllowNotprincipal,
    ResourceDenyNotprincipal,
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

/// The fixed properties of a check.
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
        "every identity of the provider can assume the role",
        "require the provider's `:sub` with StringEquals",
    ),
    // AA "Confirm audience claim type".
    about(
        Check::TrustOidcNoAud,
        "trust-oidc-no-aud",
        LintSeverity::Medium,
        "OIDC trust without an audience",
        "tokens that the provider issued for other audiences are accepted too",
        "require the provider's `:aud` with StringEquals, usually `sts.amazonaws.com`",
    ),
    // AA "Specific github repo and branch recommended".
    about(
        Check::TrustOidcSubWildcard,
        "trust-oidc-sub-wildcard",
        LintSeverity::High,
        "OIDC subject is too wide",
        "the `:sub` leaves namespace, service account, organization or repository open",
        "name the namespace and service account, or the organization and repository",
    ),
    // EKS User Guide, "IAM roles for service accounts"; GitHub documentation, "About security hardening with OpenID
    // Connect".
    about(
        Check::TrustOidcSubForm,
        "trust-oidc-sub-form",
        LintSeverity::Warning,
        "OIDC subject that never matches",
        "the provider issues no `:sub` of this form",
        "write `system:serviceaccount:NAMESPACE:NAME` for EKS, `repo:ORGANIZATION/REPOSITORY:...` for GitHub",
    ),
    // IAM User Guide, "Conditions with multiple context keys or values" and "Available keys for AWS OIDC federation".
    about(
        Check::TrustNeverMatches,
        "trust-never-matches",
        LintSeverity::Warning,
        "Trust that never matches",
        "no token of the provider meets the conditions, so the statement never applies",
        "write one statement for each provider, with conditions on its own keys",
    ),
    // AA "ForAllValues with single valued key".
    about(
        Check::TrustOidcWeakOperator,
        "trust-oidc-weak-operator",
        LintSeverity::High,
        "Weak operator for the OIDC subject",
        "the operator on `:sub` also matches if the key is absent, or matches other subjects",
        "use StringEquals or StringLike without ForAllValues, IfExists or negation",
    ),
    // AA "Missing github repo condition key".
    about(
        Check::TrustGithubNoSub,
        "trust-github-no-sub",
        LintSeverity::Critical,
        "GitHub trust without a repository",
        "every repository on GitHub can assume the role",
        "require `token.actions.githubusercontent.com:sub`, for example `repo:acme/app:ref:refs/heads/main`",
    ),
    // GitHub documentation, "OpenID Connect reference", customizing the subject claims.
    about(
        Check::TrustGithubForgeableSub,
        "trust-github-forgeable-sub",
        LintSeverity::High,
        "GitHub subject that outsiders can forge",
        "the subject begins with a claim that every repository chooses, so outsiders can obtain such a token",
        "begin the subject with `repo:ORGANIZATION/REPOSITORY`, or also require the `repository_id` claim",
    ),
    // AA "Role trust policy unsupported wildcard in principal".
    about(
        Check::TrustWildcardPrincipal,
        "trust-wildcard-principal",
        LintSeverity::Critical,
        "Role is open to everyone",
        "anyone can assume the role",
        "name the principals, or require `aws:PrincipalOrgID`",
    ),
    // IAM User Guide, "Access to AWS accounts owned by third parties" (the confused deputy).
    about(
        Check::TrustCrossAccountRoot,
        "trust-cross-account-root",
        LintSeverity::Medium,
        "Trust in a whole foreign account",
        "every principal that a foreign account chooses can assume the role",
        "name the foreign role, or require sts:ExternalId, MFA or the organization",
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
        "remove Resource and NotResource; replace NotPrincipal with Principal",
    ),
    // AA "Restrict access to service principal"; IAM User Guide, "The confused deputy problem".
    about(
        Check::ServicePrincipalNoSource,
        "service-principal-no-source",
        LintSeverity::Medium,
        "Service is trusted for every source",
        "the service can act on behalf of anyone's resources",
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
        "everyone has access",
        "name the principals, or add a condition with fixed values such as aws:PrincipalOrgID",
    ),
    about(
        Check::ResourcePublicWrite,
        "resource-public-write",
        LintSeverity::Critical,
        "Resource can be changed by everyone",
        "everyone can change the resource",
        "name the principals, or add a condition with fixed values such as aws:PrincipalOrgID",
    ),
    // AA "Allow with NotPrincipal".
    about(
        Check::ResourceAllowNotprincipal,
        "resource-allow-notprincipal",
        LintSeverity::High,
        "Allow with NotPrincipal",
        "everyone except the listed principals has access, including anonymous callers",
        "name the principals that need access",
    ),
    // IAM User Guide, "AWS JSON policy elements: NotPrincipal".
    about(
        Check::ResourceDenyNotprincipal,
        "resource-deny-notprincipal",
        LintSeverity::Medium,
        "Deny with an incomplete NotPrincipal",
        "the Deny may also apply to principals that NotPrincipal lists",
        "deny everyone with a condition on aws:PrincipalArn, or also list the account and each session of the role",
    ),
    about(
        Check::ResourceCrossAccount,
        "resource-cross-account",
        LintSeverity::Low,
        "Access for another account",
        "another account has access",
        "check that this is intended",
    ),
    // S3 User Guide, "Security best practices for Amazon S3", encryption of data in transit.
    about(
        Check::S3NoTlsDeny,
        "s3-no-tls-deny",
        LintSeverity::Medium,
        "Bucket accepts requests without TLS",
        "requests without TLS are not denied",
        "deny s3:* to everyone where aws:SecureTransport is false",
    ),
    // KMS Developer Guide, "Key policies": the key can become unmanageable; S3 User Guide, bucket policies.
    about(
        Check::ResourceLockout,
        "resource-lockout",
        LintSeverity::High,
        "Policy locks out its administrators",
        "only the root user can still change the policy",
        "exclude the administrators from the Deny, or let the account change the policy",
    ),
    // KMS Developer Guide, "Key policies in AWS KMS".
    about(
        Check::KmsWildcardPrincipal,
        "kms-wildcard-principal",
        LintSeverity::Critical,
        "Key is open to everyone",
        "the key is open to everyone",
        "name the principals, or require kms:CallerAccount",
    ),
    // AA "Unsupported resource ARN in policy".
    about(
        Check::ResourceOtherArn,
        "resource-other-arn",
        LintSeverity::Error,
        "Statement is about another resource",
        "the statement names a resource other than the one that it is attached to",
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
        "together, these actions let a principal extend its own permissions",
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
        "everything that is not listed is allowed, including future services",
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
        "this operator compares wildcards as plain text",
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
        "MFA condition that requests without MFA meet",
        "requests without MFA meet the condition",
        "deny with BoolIfExists and `false`, allow with Bool and `true`",
    ),
    about(
        Check::SyntaxError,
        "syntax-error",
        LintSeverity::Error,
        "Syntax error",
        "AWS rejects the document",
        "correct the element",
    ),
    // AA "Invalid action".
    about(
        Check::ActionUnknown,
        "action-unknown",
        LintSeverity::Warning,
        "Unknown action",
        "the action does not exist",
        "check the spelling of the action",
    ),
    // Service Authorization Reference, resource types of the action.
    about(
        Check::ResourceMismatch,
        "resource-mismatch",
        LintSeverity::Warning,
        "Resource does not fit the action",
        "no resource of the statement has a type that the action supports",
        "write an ARN of a type that the action supports, or `*`",
    ),
    // AA "Variable unsupported in version".
    about(
        Check::VariableWithoutVersion,
        "variable-without-version",
        LintSeverity::Error,
        "Policy variable in an old version",
        "this policy version treats variables as plain text",
        "write `\"Version\": \"2012-10-17\"`",
    ),
    // AA "Policy size exceeds ... quota".
    about(
        Check::SizeQuota,
        "size-quota",
        LintSeverity::Error,
        "Document is over the size quota",
        "the policy is larger than AWS allows",
        "use wildcards, merge statements, or split the policy",
    ),
    // AA "Redundant action", "Redundant resource", "Redundant statement".
    about(
        Check::Redundant,
        "redundant",
        LintSeverity::Info,
        "Redundant element",
        "another element already covers it",
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

    /// The title.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.about().map_or("", |about| about.title)
    }

    /// The meaning of a finding, in one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.about().map_or("", |about| about.meaning)
    }

    /// How to fix a finding.
    #[must_use]
    pub fn hint(self) -> &'static str {
        self.about().map_or("", |about| about.hint)
    }
}
