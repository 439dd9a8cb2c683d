//! The registry of codes: every problem that Bailiwick can report, with its severity, title, meaning and fix.
//!
//! A code exists only here. `accept`, `--allow`, docs/findings.md and the SARIF rules read this table.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Severity, did_you_mean};
use crate::iam::{self, Check};

/// Part of docs/findings.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodeGroup {
    /// Files and YAML.
    Files,
    /// Keys, types and values of the spec.
    Spec,
    /// Names that AWS or Kubernetes would reject.
    Names,
    /// `accept` entries.
    Accept,
    /// Values that Bailiwick reads from AWS before it can plan.
    Facts,
    /// The compiled spec as a whole.
    Plan,
    /// A reason why no plan can be created.
    Unplannable,
    /// A refusal of the guard.
    Guard,
    /// Trust policies.
    Trust,
    /// Bucket and key policies.
    Resource,
    /// Policies of roles.
    Identity,
    /// Conditions in any policy.
    Condition,
    /// Any policy document.
    Document,
}

impl CodeGroup {
    /// All areas in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::Files,
        Self::Spec,
        Self::Names,
        Self::Accept,
        Self::Facts,
        Self::Plan,
        Self::Unplannable,
        Self::Guard,
        Self::Trust,
        Self::Resource,
        Self::Identity,
        Self::Condition,
        Self::Document,
    ];

    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Files => "Files and YAML",
            Self::Spec => "Keys, types and values",
            Self::Names => "Names",
            Self::Accept => "Accepted findings",
            Self::Facts => "Values read from AWS",
            Self::Plan => "Grants and plans",
            Self::Unplannable => "Plans that cannot be created",
            Self::Guard => "Plans that the guard refuses",
            Self::Trust => "Trust policies",
            Self::Resource => "Bucket and key policies",
            Self::Identity => "Policies of roles",
            Self::Condition => "Conditions",
            Self::Document => "Policy documents",
        }
    }
}

/// Whether `accept` or `--allow` can name a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CodeClass {
    /// The spec is wrong and must be fixed.
    Problem,
    /// A plan is impossible or refused: only its own fix or flag helps.
    Refusal,
    /// The spec works, but something about it deserves a decision.
    Finding,
    /// A finding that is checked even if the spec has other problems, so that one run shows both.
    Quota,
}

/// Defines each code once: a code without a severity, title, meaning or fix does not compile.
macro_rules! codes {
    ($($group:ident { $(
        $name:ident = $code:literal, $class:ident, $severity:ident {
            title: $title:literal,
            meaning: $meaning:literal,
            fix: $fix:literal,
        }
    )* })*) => {
        /// A stable code such as `unknown-key`, by which users accept, search for and look up a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $title] $name,)*)*
            /// A check of a single policy document.
            Policy(Check),
        }

        /// The codes that are not checks of a policy document.
        const OWN: &[Code] = &[$($(Code::$name,)*)*];

        impl Code {
            /// The code as text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$name => $code,)*)*
                    Self::Policy(check) => check.code(),
                }
            }

            /// The default severity, which the circumstances of a finding may change.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $($(Self::$name => Severity::$severity,)*)*
                    Self::Policy(check) => check.severity().into(),
                }
            }

            /// A short title for the problem.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $($(Self::$name => $title,)*)*
                    Self::Policy(check) => check.title(),
                }
            }

            /// The meaning of the problem.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $($(Self::$name => $meaning,)*)*
                    Self::Policy(check) => check.meaning(),
                }
            }

            /// How to fix it.
            #[must_use]
            pub fn fix(self) -> &'static str {
                match self {
                    $($(Self::$name => $fix,)*)*
                    Self::Policy(check) => check.hint(),
                }
            }

            /// The part of the documentation that describes the code.
            #[must_use]
            pub fn group(self) -> CodeGroup {
                match self {
                    $($(Self::$name => CodeGroup::$group,)*)*
                    Self::Policy(check) => group_of(check),
                }
            }

            fn class(self) -> CodeClass {
                match self {
                    $($(Self::$name => CodeClass::$class,)*)*
                    // A plan reports the same condition as `policy-over-quota`.
                    Self::Policy(Check::SizeQuota) => CodeClass::Problem,
                    Self::Policy(_) => CodeClass::Finding,
                }
            }
        }
    };
}

codes! {
    Files {
        UnreadableFile = "unreadable-file", Problem, Error {
            title: "File cannot be read",
            meaning: "A spec file, folder or policy file does not exist, is not a file with text, or Bailiwick may not read it.",
            fix: "Pass the right path, with `-f` for a spec, or create a spec with `bailiwick init`.",
        }
        FileTooLarge = "file-too-large", Problem, Error {
            title: "File is too large",
            meaning: "A spec file is larger than 16 MiB. Bailiwick does not parse it.",
            fix: "Split the spec into several files.",
        }
        YamlSyntax = "yaml-syntax", Problem, Error {
            title: "Invalid YAML",
            meaning: "The file is not valid YAML, is not UTF-8 text, or its aliases expand to too many values.",
            fix: "Correct the YAML at the place shown. Bailiwick checks the rest of the file once it parses.",
        }
        DuplicateKey = "duplicate-key", Problem, Error {
            title: "Duplicate key",
            meaning: "A map has the same key twice. One of the two values would be lost.",
            fix: "Remove or rename one of the two.",
        }
    }
    Spec {
        UnknownKey = "unknown-key", Problem, Error {
            title: "Unknown key",
            meaning: "The spec format has no such key at this place.",
            fix: "Correct the spelling, or remove the key. `bailiwick schema spec` prints the format.",
        }
        MissingKey = "missing-key", Problem, Error {
            title: "Required key is missing",
            meaning: "The entry does not work without this key.",
            fix: "Add the key.",
        }
        WrongType = "wrong-type", Problem, Error {
            title: "Wrong type of value",
            meaning: "The value has another type than the key takes: text instead of a list, for example.",
            fix: "Write a value of the type that the message names.",
        }
        WrongValue = "wrong-value", Problem, Error {
            title: "Invalid value",
            meaning: "The value has the right type, but it is not one that the key takes, or it has no effect here.",
            fix: "Follow the help of the message, which lists the valid values or says what to change.",
        }
        InvalidAccountId = "invalid-account-id", Problem, Error {
            title: "Invalid AWS account ID",
            meaning: "An AWS account ID has exactly 12 digits. Without quotes YAML reads it as a number and drops leading zeros.",
            fix: "Write the 12 digits in quotes: `id: \"111111111111\"`.",
        }
        DanglingReference = "dangling-reference", Problem, Error {
            title: "Reference to a missing entry",
            meaning: "The spec refers to an entry that is not in it.",
            fix: "Correct the name, or add the entry to its section.",
        }
        DuplicateEntry = "duplicate-entry", Problem, Error {
            title: "Entry listed twice",
            meaning: "A list names the same entry more than once.",
            fix: "Keep one of the two.",
        }
        SameObject = "same-object", Problem, Error {
            title: "Two entries for one object",
            meaning: "Two entries describe the same real object. Each would overwrite the other.",
            fix: "Merge the two entries into one.",
        }
        SameAddress = "same-address", Problem, Error {
            title: "Conflicting settings for one resource",
            meaning: "Several entries lead to the same resource, such as a namespace, with different settings.",
            fix: "Make the entries agree.",
        }
        Cycle = "cycle", Problem, Error {
            title: "Dependency cycle",
            meaning: "Entries depend on each other, so that Bailiwick cannot create any of them first.",
            fix: "Remove one of the references on the path that the message shows.",
        }
        MissingPrefix = "missing-prefix", Problem, Error {
            title: "Grant without a prefix",
            meaning: "A grant must say which part of the bucket it covers. Bailiwick never assumes the whole bucket.",
            fix: "Add `prefix: models/`, or `prefix: \"\"` for the whole bucket.",
        }
        LeadingSlash = "leading-slash", Problem, Error {
            title: "Prefix starts with a slash",
            meaning: "S3 keys do not start with a slash, so the grant would cover nothing.",
            fix: "Remove the slash.",
        }
        TwoIdentities = "two-identities", Problem, Error {
            title: "Grants need two target roles for one pod",
            meaning: "A Pod Identity association has one target role, but the grants of the service account need roles in more than one account.",
            fix: "Use the same `mode` for all grants of the service account, or split it into two service accounts.",
        }
        AmbiguousRole = "ambiguous-role", Problem, Error {
            title: "Derived role has the name of an entry",
            meaning: "The service account has no `role`, and the role that Bailiwick would derive for it is also an entry under `roles`.",
            fix: "Set `role` in the service account, or rename one of the two.",
        }
        WrongAccount = "wrong-account", Problem, Error {
            title: "Entry is in another account",
            meaning: "The role, policy or cluster must be in the same account as the entry that uses it.",
            fix: "Refer to an entry of the same account. Grants with `mode: assume_role` reach another account.",
        }
        KeyInOtherRegion = "key-in-other-region", Problem, Error {
            title: "Bucket and key are in different regions",
            meaning: "S3 encrypts a bucket only with a KMS key of the bucket's own region.",
            fix: "Use a key of the bucket's region.",
        }
        AwsManagedKey = "aws-managed-key", Problem, Error {
            title: "Key is managed by AWS",
            meaning: "The key policy of an AWS managed key such as `aws/s3` cannot be changed, so its data cannot be \
                shared across accounts.",
            fix: "Use a customer managed key.",
        }
        StateInDoomedBucket = "state-in-doomed-bucket", Problem, Error {
            title: "State is in a bucket that destroy deletes",
            meaning: "The `backend` keeps the state in a bucket for which the spec says `on_destroy: delete`.",
            fix: "Set `on_destroy: keep` for the bucket, or keep the state in another bucket.",
        }
        BodyNotSerializable = "body-not-serializable", Problem, Error {
            title: "Resource cannot be written as a document",
            meaning: "Bailiwick could not turn the resource into the document that it compares and stores. This is a bug in Bailiwick.",
            fix: "Report the message together with the entry.",
        }
    }
    Names {
        InvalidName = "invalid-name", Problem, Error {
            title: "Invalid name in the spec",
            meaning: "The name of the project, or the key of an entry, has characters that addresses and tags cannot hold.",
            fix: "Use letters, digits, hyphens and underscores, and start with a letter or digit.",
        }
        InvalidTag = "invalid-tag", Problem, Error {
            title: "Invalid tag",
            meaning: "AWS would reject the tag, or its prefix is reserved.",
            fix: "Use letters, digits, spaces and `_.:/=+-@`. Do not start a key with `aws:` or `bailiwick:`.",
        }
        InvalidRegion = "invalid-region", Problem, Error {
            title: "Invalid region",
            meaning: "The text does not have the form of an AWS region.",
            fix: "Write a region such as `us-west-2`.",
        }
        InvalidBucketName = "invalid-bucket-name", Problem, Error {
            title: "Invalid bucket name",
            meaning: "S3 would reject the bucket name.",
            fix: "Use 3 to 63 lowercase letters, digits, hyphens and dots, and start and end with a letter or digit.",
        }
        InvalidAlias = "invalid-alias", Problem, Error {
            title: "Invalid KMS alias",
            meaning: "KMS would reject the alias.",
            fix: "Use letters, digits, slashes, underscores and hyphens.",
        }
        InvalidClusterName = "invalid-cluster-name", Problem, Error {
            title: "Invalid cluster name",
            meaning: "EKS would reject the cluster name.",
            fix: "Use 1 to 100 letters, digits, hyphens and underscores, and start with a letter or digit.",
        }
        InvalidIamName = "invalid-iam-name", Problem, Error {
            title: "Invalid IAM name",
            meaning: "IAM would reject the name of the role or policy.",
            fix: "Use letters, digits and `_+=,.@-`, at most 64 for a role and 128 for a policy.",
        }
        InvalidIamPath = "invalid-iam-path", Problem, Error {
            title: "Invalid IAM path",
            meaning: "IAM would reject the path.",
            fix: "Start and end the path with a slash: `/team/`.",
        }
        InvalidNamespace = "invalid-namespace", Problem, Error {
            title: "Invalid namespace",
            meaning: "Kubernetes would reject the namespace.",
            fix: "Use 1 to 63 lowercase letters, digits and hyphens.",
        }
        InvalidServiceAccountName = "invalid-service-account-name", Problem, Error {
            title: "Invalid service account name",
            meaning: "Kubernetes would reject the name of the service account.",
            fix: "Use lowercase letters, digits, hyphens and dots.",
        }
    }
    Accept {
        UnknownCode = "unknown-code", Problem, Error {
            title: "Unknown code",
            meaning: "An `accept` entry names a code that no finding has, so that it accepts nothing.",
            fix: "Write a code as messages show it in brackets. docs/findings.md lists all codes.",
        }
        UnacceptableCode = "unacceptable-code", Problem, Error {
            title: "Code cannot be accepted",
            meaning: "An `accept` entry names an error of the spec. Only findings can be accepted; an error must be fixed.",
            fix: "Remove the entry and fix the error.",
        }
        RetiredCode = "retired-code", Problem, Warning {
            title: "Retired code",
            meaning: "An `accept` entry names a finding by an earlier code. Bailiwick still understands it.",
            fix: "Write the new code.",
        }
        UnknownPlace = "unknown-place", Problem, Error {
            title: "Accepted place does not exist",
            meaning: "The `at` of an `accept` entry is neither an entry of the spec nor the address of a resource, so that it accepts nothing.",
            fix: "Write the path of an entry, such as `roles.loader`, or an address, such as `aws.iam.role.loader`. Remove the acceptance if the entry is gone.",
        }
    }
    Facts {
        ClusterUnreadable = "cluster-unreadable", Problem, Error {
            title: "Cluster cannot be read",
            meaning: "Bailiwick needs the OIDC issuer of the cluster and could not read it.",
            fix: "Check that the cluster exists in the account and region of the spec, and allow `eks:DescribeCluster`.",
        }
        UnknownIssuer = "unknown-issuer", Problem, Error {
            title: "OIDC issuer is unknown",
            meaning: "The OIDC provider of a cluster is named after its issuer, which Bailiwick does not know.",
            fix: "Check that the cluster exists, and allow `eks:DescribeCluster` on it.",
        }
        KeyUnreadable = "key-unreadable", Problem, Error {
            title: "KMS key cannot be read",
            meaning: "Bailiwick needs the ARN of the key and could not read it.",
            fix: "Allow `kms:DescribeKey` on the key.",
        }
        KeyNotFound = "key-not-found", Problem, Error {
            title: "KMS key does not exist",
            meaning: "The account has no key with the alias that the spec names.",
            fix: "Correct the alias, create the key and its alias first, or add `managed: true` so that Bailiwick creates it.",
        }
    }
    Plan {
        NobodyTrusted = "nobody-trusted", Problem, Error {
            title: "Role that nothing can assume",
            meaning: "The trust policy of the role would be empty.",
            fix: "Name the role in a service account, add an entry under `trust`, or remove the role.",
        }
        InvalidPolicy = "invalid-policy", Problem, Error {
            title: "Invalid policy document",
            meaning: "AWS would reject a policy document of the spec.",
            fix: "Correct the element that the message names.",
        }
        PolicyOverQuota = "policy-over-quota", Quota, Error {
            title: "Policy is over the size quota",
            meaning: "A policy, or the inline policies of a role together, would be larger than AWS accepts.",
            fix: "Grant fewer or shorter prefixes, let pods share a role, split the grants over several roles, or use `mode: assume_role`.",
        }
        TooManyAttachments = "too-many-attachments", Quota, Error {
            title: "Too many managed policies on a role",
            meaning: "IAM attaches at most 10 managed policies to a role.",
            fix: "Attach fewer policies, or split the grants over several roles.",
        }
        Lockout = "lockout", Finding, Error {
            title: "Policy would lock out the caller",
            meaning: "After the change, the identity that applies it could no longer change the bucket or key policy, or would lose access to the cluster.",
            fix: "Exclude that identity from the Deny statement, or allow it to change the policy. Change its access to a cluster with another identity.",
        }
        UnmanagedBucketPolicy = "unmanaged-bucket-policy", Finding, Warning {
            title: "Bucket policy must be changed by its owner",
            meaning: "A grant needs statements in the policy of a bucket with `managed: false`. It gives no access until the owner adds them.",
            fix: "Give the statements in the message to the owner, or set `managed: true`.",
        }
        UnmanagedRole = "unmanaged-role", Finding, Warning {
            title: "Role policy must be changed by its owner",
            meaning: "A grant needs statements in a policy of a role with `managed: false`. It gives no access until the owner adds them.",
            fix: "Give the statements in the message to the owner, or set `managed: true`.",
        }
        UnmanagedRoleTrust = "unmanaged-role-trust", Finding, Warning {
            title: "Trust policy must be changed by its owner",
            meaning: "Pods use a role with `managed: false`. They cannot assume it until the owner adds the statements to its trust policy.",
            fix: "Give the statements in the message to the owner, or set `managed: true`.",
        }
        AnnotateServiceAccount = "annotate-service-account", Finding, Warning {
            title: "Service account must be annotated by its owner",
            meaning: "The service account has `manage: none`. Its pods do not get the role until its owner annotates \
                it.",
            fix: "Run the commands in the message, or set `manage: annotation`.",
        }
        PrefixWithoutSlash = "prefix-without-slash", Finding, Warning {
            title: "Prefix does not end with a slash",
            meaning: "A prefix is compared as text: `models` also covers `models-private/`.",
            fix: "End the prefix with a slash. Accept the finding if the prefix is meant to match part of a name.",
        }
        RoleChainingInClient = "role-chaining-in-client", Finding, Warning {
            title: "Pods must assume the second role themselves",
            meaning: "IRSA gives pods their first role only. With `mode: assume_role` the program in the pod must assume the target role, which KServe's storage initializer cannot.",
            fix: "Use `mode: direct`, or `identity: pod_identity`, which assumes the target role for the pod.",
        }
    }
    Unplannable {
        UnreadableResource = "unreadable-resource", Refusal, Error {
            title: "Resource cannot be read",
            meaning: "A resource of the spec or the state could not be read, so Bailiwick does not know what to change.",
            fix: "Fix the read error, such as a missing permission, then run the command again.",
        }
        OwnedByAnother = "owned-by-another", Refusal, Error {
            title: "Resource belongs to another project",
            meaning: "The resource carries the ownership tag of another project. Bailiwick never takes it over.",
            fix: "Choose another name in the spec, or release the resource in the other project first.",
        }
        UnclearOwner = "unclear-owner", Refusal, Error {
            title: "Resource of an interrupted run has no ownership tag",
            meaning: "Only the journal of an interrupted run names the resource, so that it may belong to others.",
            fix: "Delete the resource yourself if it is yours, or run `bailiwick state rm ADDRESS` if it is not.",
        }
        MovedAlias = "moved-alias", Refusal, Error {
            title: "Alias points to another KMS key",
            meaning: "The alias of a managed key now points to a key that Bailiwick does not manage.",
            fix: "Point the alias back, or release the managed key with `bailiwick state rm ADDRESS`.",
        }
        Irreplaceable = "irreplaceable", Refusal, Error {
            title: "Resource cannot be replaced",
            meaning: "The change needs a new resource in place of the old one, whose data would be lost.",
            fix: "Change the fields that the message names back in the spec.",
        }
        CannotAdopt = "cannot-adopt", Refusal, Error {
            title: "Existing resource cannot be adopted",
            meaning: "A resource that this project does not manage has the name, and differs in fields that cannot be changed.",
            fix: "Change the spec to match it, or choose another name.",
        }
    }
    Guard {
        Protected = "protected", Refusal, Error {
            title: "Protected resource would be deleted",
            meaning: "The plan would delete or replace a resource with `protect: true`. No flag allows it.",
            fix: "Keep the resource, or first apply a spec that has it without `protect`.",
        }
        DataLoss = "data-loss", Refusal, Error {
            title: "Deletion would destroy data",
            meaning: "The plan would delete a resource, such as a KMS key, without which data is lost for good.",
            fix: "Pass `--allow-delete ADDRESS` if the data may be lost.",
        }
        StateBucket = "state-bucket", Refusal, Error {
            title: "Bucket of the state would be deleted",
            meaning: "The plan would delete the bucket that stores the state of the project.",
            fix: "Move the state to another backend first, or keep the bucket.",
        }
        TooManyDeletes = "too-many-deletes", Refusal, Error {
            title: "Too many deletions",
            meaning: "The plan would delete or replace more than 3 resources and more than 30% of the managed resources.",
            fix: "Pass `--allow-deletes N` if the deletions are intended.",
        }
    }
}

/// Codes of earlier versions with their replacements.
const RETIRED: &[(&str, Code)] = &[("policy-too-large", Code::PolicyOverQuota)];

/// The meaning of a code's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedCode {
    /// A finding that can be accepted or allowed.
    Finding(Code),
    /// An earlier code of a finding.
    Retired(Code),
    /// An error of the spec, which can only be fixed.
    Problem(Code),
    /// Why a plan is impossible or refused, which only its own fix or flag changes.
    Refusal(Code),
    /// No code has this name. This one may be meant.
    Unknown(Option<Code>),
}

impl Code {
    /// All codes in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        OWN.iter().copied().chain(Check::all().map(Self::Policy))
    }

    /// The codes of earlier versions, each with its replacement.
    pub fn retired() -> impl Iterator<Item = (&'static str, Self)> {
        RETIRED.iter().copied()
    }

    /// Looks up the text of a code.
    #[must_use]
    pub fn named(text: &str) -> NamedCode {
        if let Some(code) = Self::all().find(|code| code.as_str() == text) {
            return match code {
                // A plan reports the same condition with its own words and place.
                Self::Policy(Check::SizeQuota) => NamedCode::Unknown(Some(Self::PolicyOverQuota)),
                code => match code.class() {
                    CodeClass::Finding | CodeClass::Quota => NamedCode::Finding(code),
                    CodeClass::Refusal => NamedCode::Refusal(code),
                    CodeClass::Problem => NamedCode::Problem(code),
                },
            };
        }
        if let Some((_, code)) = RETIRED.iter().find(|(retired, _)| *retired == text) {
            return NamedCode::Retired(*code);
        }
        let near = did_you_mean(text, Self::all().filter(|code| code.is_finding()).map(Self::as_str));
        NamedCode::Unknown(near.and_then(|near| Self::all().find(|code| code.as_str() == near)))
    }

    /// Whether `accept` and `--allow` can name it.
    #[must_use]
    pub fn is_finding(self) -> bool {
        matches!(self.class(), CodeClass::Finding | CodeClass::Quota)
    }

    /// Whether it is a reason why a plan is impossible or refused.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        self.class() == CodeClass::Refusal
    }

    /// Whether it is checked even if the spec has other problems.
    #[must_use]
    pub fn is_judged_early(self) -> bool {
        self.class() == CodeClass::Quota
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl From<Check> for Code {
    fn from(check: Check) -> Self {
        Self::Policy(check)
    }
}

/// The checks of single documents have more levels of severity.
impl From<iam::LintSeverity> for Severity {
    fn from(severity: iam::LintSeverity) -> Self {
        match severity {
            iam::LintSeverity::Error | iam::LintSeverity::Critical => Self::Error,
            iam::LintSeverity::High | iam::LintSeverity::Medium | iam::LintSeverity::Warning => Self::Warning,
            iam::LintSeverity::Low | iam::LintSeverity::Info => Self::Info,
        }
    }
}

fn group_of(check: Check) -> CodeGroup {
    match check {
        Check::TrustOidcNoSub
        | Check::TrustOidcNoAud
        | Check::TrustOidcSubWildcard
        | Check::TrustOidcSubForm
        | Check::TrustNeverMatches
        | Check::TrustOidcWeakOperator
        | Check::TrustGithubNoSub
        | Check::TrustGithubForgeableSub
        | Check::TrustWildcardPrincipal
        | Check::TrustCrossAccountRoot
        | Check::TrustMismatchedAction
        | Check::TrustForbiddenElement
        | Check::ServicePrincipalNoSource
        | Check::PrincipalOrphanId => CodeGroup::Trust,
        Check::ResourcePublic
        | Check::ResourcePublicWrite
        | Check::ResourceAllowNotprincipal
        | Check::ResourceDenyNotprincipal
        | Check::ResourceCrossAccount
        | Check::S3NoTlsDeny
        | Check::ResourceLockout
        | Check::KmsWildcardPrincipal
        | Check::ResourceOtherArn => CodeGroup::Resource,
        Check::IdentityAdmin
        | Check::IdentityServiceWildcard
        | Check::IdentityPrivilegeEscalation
        | Check::IdentityPassroleWildcard
        | Check::IdentityAssumeRoleWildcard
        | Check::IdentityAllowNotElement
        | Check::IdentityDataExfiltration
        | Check::IdentityCredentialsExposure
        | Check::IdentityPermissionsManagement => CodeGroup::Identity,
        Check::ConditionForallvalues
        | Check::ConditionWildcardWithoutLike
        | Check::ConditionPrivateSourceIp
        | Check::ConditionTypeMismatch
        | Check::ConditionUnknownKey
        | Check::ConditionBadMfa => CodeGroup::Condition,
        Check::SyntaxError
        | Check::ActionUnknown
        | Check::ResourceMismatch
        | Check::VariableWithoutVersion
        | Check::SizeQuota
        | Check::Redundant => CodeGroup::Document,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_unique_and_described() {
        let mut seen = BTreeSet::new();
        for code in Code::all() {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} is defined twice");
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{text}");
            let first_is_capital = |t: &str| t.chars().next().is_some_and(|c| c.is_ascii_uppercase());
            assert!(first_is_capital(code.title()) && !code.title().ends_with('.'), "{text}: {}", code.title());
            for sentence in [code.meaning(), code.fix()] {
                assert!(sentence.len() > 5, "{text}: {sentence}");
            }
        }
        for (retired, code) in Code::retired() {
            assert!(!seen.contains(retired) && code.is_finding(), "{retired}");
        }
    }

    #[test]
    fn a_code_is_found_by_its_text_and_a_near_one_is_suggested() {
        assert_eq!(Code::named("trust-oidc-no-sub"), NamedCode::Finding(Code::Policy(Check::TrustOidcNoSub)));
        assert_eq!(Code::named("policy-too-large"), NamedCode::Retired(Code::PolicyOverQuota));
        assert_eq!(Code::named("yaml-syntax"), NamedCode::Problem(Code::YamlSyntax));
        assert_eq!(Code::named("data-loss"), NamedCode::Refusal(Code::DataLoss));
        assert_eq!(Code::named("trust-oidc-no-sup"), NamedCode::Unknown(Some(Code::Policy(Check::TrustOidcNoSub))));
        let wildcard = Code::Policy(Check::TrustWildcardPrincipal);
        assert_eq!(Code::named("trust-wildcard"), NamedCode::Unknown(Some(wildcard)));
        assert_eq!(Code::named("size-quota"), NamedCode::Unknown(Some(Code::PolicyOverQuota)));
        assert_eq!(Code::named("no-such-code"), NamedCode::Unknown(None));
    }

    #[test]
    fn only_size_findings_are_judged_early() {
        let early: Vec<_> = Code::all().filter(|code| code.is_judged_early()).map(Code::as_str).collect();
        assert_eq!(early, ["policy-over-quota", "too-many-attachments"]);
    }
}
