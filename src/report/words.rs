//! The English texts of types. Nothing else depends on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{
    AccessVerdict, AccountRef, AllowedBy, AppliedRule, Break, ChainCaller, ChainStep, ClusterRight, DataPlace, Denial,
    DeniedBy, Direction, ExampleRequest, ExampleValue, Exception, Fix, Grant, Grantee, Missing, PlaceKind, PolicyOf,
    PolicyRef, Requirement, StatementRef, Trusted, Unread,
};
use crate::address::Address;
use crate::diff::{DriftClass, Drifted};
use crate::document::FieldPath;
use crate::iam::AwsRule;
use crate::plan::{ChangedSince, LeftOut, Reason, Refusal, StepId};

/// The reason why a plan cannot be applied.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    let code = refusal.code();
    let message = match refusal {
        Refusal::Protected { address, action } => {
            format!("{address} is protected, and this plan would {action} it")
        }
        Refusal::Unnamed { address, loss } => format!("this plan would delete {address}; afterwards {loss}"),
        Refusal::State { address } => format!("this plan would delete {address}, the bucket that holds the state"),
        Refusal::TooMany { going, managed, most } => {
            format!("the plan deletes or replaces {going} of {managed} resources, more than {most}")
        }
    };
    format!("{message} [{code}]")
}

/// What to do about the refusals of one plan: what to change, then the flags that allow the rest.
#[must_use]
pub fn refusals_help(refusals: &[Refusal]) -> Vec<String> {
    let mut help = Vec::new();
    let mut flags = Vec::new();
    for refusal in refusals {
        match refusal {
            Refusal::Protected { address, action } => {
                help.push(format!("to {action} {address}, first apply a spec that has it without `protect`"));
            }
            Refusal::State { address } => help.push(format!("move the state elsewhere first, or keep {address}")),
            Refusal::Unnamed { address, .. } => flags.push(format!("--allow-delete {address}")),
            Refusal::TooMany { going, .. } => flags.push(format!("--allow-deletes {going}")),
        }
    }
    if !flags.is_empty() {
        help.push(format!("pass {}", flags.join(" ")));
    }
    help
}

/// A warning about ownership tags without a state, if there are any.
#[must_use]
pub fn lost(project: &str, addresses: &[String]) -> Option<String> {
    let (what, carry) = match addresses {
        [] => return None,
        [one] => (one.clone(), "carries"),
        [first, rest @ ..] => (format!("{first} and {} more", rest.len()), "carry"),
    };
    Some(format!(
        "there is no state, but {what} {carry} the ownership tag of project `{project}`: the state was lost, or is stored \
         elsewhere; nothing is written until it is back"
    ))
}

/// The error after a report that shows which ownership tags were found without a state.
pub const LOST_SHORT: &str = "this plan cannot be applied without the state; nothing was written";

/// The next action if a state was lost.
pub const LOST_HELP: &str = "restore the state, or rebuild it with `bailiwick state rebuild`";

/// Advice below a message.
#[must_use]
pub fn help(advice: &str) -> String {
    format!("help: {advice}")
}

/// A change to the resource of a step since the plan was saved.
#[must_use]
pub fn changed(step: &StepId, how: &ChangedSince) -> String {
    format!("{step}: {how}")
}

/// The reason why a step was skipped.
#[must_use]
pub fn skipped(because: &Address) -> String {
    format!("depends on {because}, which was not applied")
}

/// An unread document, as the reason for an unknown answer.
#[must_use]
pub fn unread(unread: &Unread) -> String {
    match unread {
        Unread::BucketPolicy { bucket } => format!("the policy of bucket {bucket} was not read"),
        Unread::KeyPolicy { alias } => format!("only part of the policy of key {alias} was read"),
        Unread::ResourcePolicy { arn } => format!("the policy of {arn} was not read"),
        Unread::TrustPolicy { role } => format!("the trust policy of role {role} was not read"),
        Unread::RolePolicies { role } => {
            format!("the policies of role {role}, which is managed elsewhere, were not read")
        }
        Unread::ManagedPolicy { arn } => format!("the contents of policy {arn} were not read"),
        Unread::Boundary { arn } => format!("the contents of permissions boundary {arn} were not read"),
        Unread::CallerPolicies { principal } => format!("the policies of {principal} were not read"),
        Unread::AccountPolicies { account } => {
            format!("the policies of the principals of account {account} were not read")
        }
        Unread::Issuer { cluster } => format!("the OIDC issuer of cluster {cluster} was not read"),
        Unread::Annotations { cluster, namespace, name } => {
            format!("the annotations of service account {namespace}/{name} in cluster {cluster} were not read")
        }
    }
}

/// A verdict, to begin a headline.
#[must_use]
pub fn verdict(verdict: AccessVerdict) -> &'static str {
    match verdict {
        AccessVerdict::Allowed => "allowed",
        AccessVerdict::Depends => "depends on conditions",
        AccessVerdict::Unknown => "unknown",
        AccessVerdict::Denied => "denied",
    }
}

/// `gains` or `loses`.
#[must_use]
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Gain => "gains",
        Direction::Loss => "loses",
        Direction::Unknown => "may gain or lose",
    }
}

/// A request: who does what, and the condition keys that it has.
#[must_use]
pub fn request(request: &ExampleRequest) -> String {
    let ExampleRequest { principal, action, resource, resource_account, context } = request;
    let follows = |key: &str, value: &ExampleValue| {
        let is_owner = matches!(value, ExampleValue::One(value) if Some(value) == resource_account.as_ref());
        follows_from_caller(key) || (is_owner && key.eq_ignore_ascii_case("aws:ResourceAccount"))
    };
    let mut text = format!("{action} on {resource} by {principal}");
    for (at, (key, value)) in context.iter().filter(|(key, value)| !follows(key, value)).enumerate() {
        let value = match value {
            ExampleValue::One(value) => format!("`{value}`"),
            ExampleValue::Many(values) => values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" and "),
        };
        text = format!("{text}{} {key} {value}", if at == 0 { " with" } else { "," });
    }
    text
}

/// Whether the caller of a request decides the value of a key, so that it need not be shown.
fn follows_from_caller(key: &str) -> bool {
    ["aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalType", "aws:PrincipalIsAWSService", "aws:username"]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(key))
}

/// The smallest change that would let a denied request through.
#[must_use]
pub fn fix(fix: &Fix) -> String {
    match fix {
        Fix::GiveRole => {
            "give it a role: an association (`identity: pod_identity`) or the annotation (`identity: irsa`)".to_owned()
        }
        Fix::CreateRole { role_arn } => format!("create role {role_arn}, or use another one"),
        Fix::CreateProvider { issuer, account } => {
            format!("create the provider for {issuer} in account {account} (`oidc_provider: managed`)")
        }
        Fix::TrustSubject { provider, issuer, subject } => format!(
            "trust {provider} with StringEquals `{issuer}:sub` = `{subject}` and `{issuer}:aud` = `sts.amazonaws.com`"
        ),
        Fix::TrustPodIdentity { role_arn } => {
            format!("let {role_arn} trust the service pods.eks.amazonaws.com with sts:AssumeRole and sts:TagSession")
        }
        Fix::AllowTarget { role_arn, target } => {
            format!("allow sts:AssumeRole and sts:TagSession on {target} to {role_arn}, and trust {role_arn} there")
        }
        Fix::NamePrincipals { bucket } => {
            format!("name the principals in the policy of bucket {bucket} instead of everyone")
        }
        Fix::UseIdentity { account: Some(account) } => format!("call it as an identity of account {account}"),
        Fix::UseIdentity { account: None } => "call it as a role or user".to_owned(),
        Fix::Narrow { statement: Some(statement) } => {
            format!("narrow {} so that it excludes the request", self::statement(statement))
        }
        Fix::Narrow { statement: None } => "narrow the statement that denies it".to_owned(),
        Fix::Allow { action, resource, missing, grant } => {
            let places: Vec<String> = missing.iter().map(missing_in).collect();
            let directly = format!("allow {action} on {resource} {}", places.join(", and "));
            match grant {
                Some(grant) => format!("add under `grants`: {}; or {directly}", self::grant(grant)),
                None => directly,
            }
        }
    }
}

fn missing_in(missing: &Missing) -> String {
    match missing {
        Missing::Resource { of, principal } => format!("to {principal} in {}", policy(of)),
        Missing::Identity { caller } => format!("in the policies of {}", self::caller(caller)),
        Missing::Boundary { caller } => format!("in the permissions boundary of {}", self::caller(caller)),
    }
}

/// A grant in the YAML of a spec.
fn grant(grant: &Grant) -> String {
    let Grant { to, bucket, prefix, action } = grant;
    let access = match action.as_str() {
        "s3:GetObject" => "read".to_owned(),
        "s3:PutObject" => "write".to_owned(),
        "s3:DeleteObject" => "delete".to_owned(),
        "s3:ListBucket" => "list".to_owned(),
        other => format!("{{ actions: [\"{other}\"] }}"),
    };
    let prefix = serde_json::Value::from(prefix.as_str());
    format!("{{ to: {to}, bucket: {bucket}, prefix: {prefix}, access: {access} }}")
}

/// An account: its key in the spec and its id.
fn account(account: &AccountRef) -> String {
    match account {
        AccountRef { account: Some(key), account_id: Some(id), .. } => format!("{key} ({id})"),
        AccountRef { account: Some(key), account_id: None, .. } => key.clone(),
        AccountRef { account: None, account_id: Some(id), foreign: true } => format!("{id} (not in the spec)"),
        AccountRef { account: None, account_id: Some(id), foreign: false } => id.clone(),
        AccountRef { account: None, account_id: None, .. } => "unknown".to_owned(),
    }
}

/// A principal that has access.
#[must_use]
pub fn grantee(who: &Grantee) -> String {
    let foreign = |foreign: bool| if foreign { " (not in the spec)" } else { "" };
    match who {
        Grantee::ServiceAccount { cluster, issuer, namespace, name, foreign: is_foreign } => {
            let of = match (cluster, issuer) {
                (Some(cluster), _) => format!(" in cluster {cluster}"),
                (None, Some(issuer)) => format!(" of issuer {issuer}"),
                (None, None) => String::new(),
            };
            format!("service account {namespace}/{name}{of}{}", foreign(*is_foreign))
        }
        Grantee::Role { name, account, .. } => format!("role {name} in account {}", self::account(account)),
        Grantee::Account { account } => format!("account {}", self::account(account)),
        Grantee::Principal { arn, foreign: is_foreign } => format!("{arn}{}", foreign(*is_foreign)),
        Grantee::Service { name } => format!("service {name}"),
        Grantee::CanonicalUser { id } => format!("canonical user {id}"),
        Grantee::WebIdentity { provider, cluster, subject } => {
            let issuer = provider.split_once(":oidc-provider/").map_or(provider.as_str(), |(_, host)| host);
            let of = match cluster {
                Some(cluster) => format!("cluster {cluster}"),
                None => format!("issuer {issuer}"),
            };
            match subject {
                Some(subject) => format!("{subject} of {of}"),
                None => format!("every identity of {of}"),
            }
        }
        Grantee::Anyone => "anyone".to_owned(),
        Grantee::Attached => "every principal that it is attached to".to_owned(),
        Grantee::Words { text } => text.clone(),
    }
}

/// A place to which access is given.
#[must_use]
pub fn place(place: &DataPlace) -> String {
    match &place.on {
        PlaceKind::Bucket { bucket, .. } => bucket.clone(),
        PlaceKind::Listing { bucket, pattern: Some(pattern), .. } | PlaceKind::Objects { bucket, pattern, .. } => {
            format!("{bucket}/{pattern}")
        }
        PlaceKind::Listing { bucket, pattern: None, .. } => {
            format!("{bucket} (HeadBucket, and lists without a prefix)")
        }
        PlaceKind::Key { alias, .. } => format!("key {alias}"),
        PlaceKind::Role { name, account, .. } => format!("role {name} in account {}", self::account(account)),
        PlaceKind::Cluster { cluster, right } => cluster_right(cluster, right),
        PlaceKind::Resource { arn } => arn.clone(),
        PlaceKind::Unread { unread } => unread_access(unread),
        PlaceKind::Words { text } => text.clone(),
    }
}

fn cluster_right(cluster: &str, right: &ClusterRight) -> String {
    match right {
        ClusterRight::Username { username } => format!("Kubernetes username `{username}` in cluster {cluster}"),
        ClusterRight::Group { group } => format!("Kubernetes group `{group}` in cluster {cluster}"),
        ClusterRight::Policy { policy, namespace } => {
            let policy = policy.rsplit('/').next().unwrap_or(policy);
            match namespace {
                None => format!("{policy} in the whole cluster {cluster}"),
                Some(namespace) => format!("{policy} in namespace {namespace} of cluster {cluster}"),
            }
        }
    }
}

/// The access that a principal gains or loses through an unread policy.
fn unread_access(unread: &Unread) -> String {
    match unread {
        Unread::RolePolicies { role } => format!("what the policies of role {role} allow, which is managed elsewhere"),
        Unread::Boundary { arn } => {
            format!("only what permissions boundary {arn} also allows; its contents were not read")
        }
        Unread::ManagedPolicy { arn } | Unread::ResourcePolicy { arn } => {
            format!("what policy {arn} allows; its contents were not read")
        }
        Unread::BucketPolicy { bucket } => format!("what the policy of bucket {bucket} allows"),
        Unread::KeyPolicy { alias } => format!("what the policy of key {alias} allows"),
        Unread::TrustPolicy { role } => format!("what the trust policy of role {role} allows"),
        Unread::CallerPolicies { principal } => format!("what the policies of {principal} allow"),
        Unread::AccountPolicies { account } => format!("what the policies of account {account} allow"),
        Unread::Issuer { cluster } => format!("the roles of service accounts of cluster {cluster}"),
        Unread::Annotations { cluster, namespace, name } => {
            format!("the roles that service account {namespace}/{name} in cluster {cluster} is annotated with")
        }
    }
}

fn places(places: &[DataPlace]) -> String {
    places.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// An exception to an access change.
#[must_use]
pub fn exception(exception: &Exception) -> String {
    let Exception { places, actions, but, but_actions, conditions } = exception;
    let without = if but_actions.is_empty() { String::new() } else { format!(" (but not {})", but_actions.join(", ")) };
    let actions = actions.join(", ") + &without;
    let what = match (actions.is_empty(), places.is_empty()) {
        (true, _) => self::places(places),
        (false, true) => actions,
        (false, false) => format!("{actions} on {}", self::places(places)),
    };
    let but = if but.is_empty() { String::new() } else { format!(" (but not {})", self::places(but)) };
    let conditions: Vec<String> = conditions.iter().map(requirement).collect();
    let when = if conditions.is_empty() { String::new() } else { format!(" if {}", conditions.join(" and ")) };
    format!("{what}{but}{when}")
}

/// A requirement of access.
#[must_use]
pub fn requirement(requirement: &Requirement) -> String {
    let (text, negated) = unknown(requirement);
    if negated { format!("not: {text}") } else { text }
}

/// The requirements of access, each with `if` or `unless`. A denying statement is one of them, with all its conditions.
#[must_use]
pub fn requirements(requirements: &BTreeSet<Requirement>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut denying: BTreeMap<Option<&StatementRef>, Vec<String>> = BTreeMap::new();
    for requirement in requirements {
        match (unknown(requirement), requirement.denying()) {
            ((text, false), _) => lines.push(format!("if {text}")),
            ((text, true), of) => denying.entry(of).or_default().push(text),
        }
    }
    lines.extend(denying.into_iter().map(|(of, texts)| match of {
        Some(of) => format!("unless {}: then {} denies it", texts.join(" and "), statement(of)),
        None => format!("unless {}", texts.join(" and ")),
    }));
    lines
}

/// A rule of AWS beyond the policy language, with its page.
#[must_use]
pub fn rule(rule: &AppliedRule) -> String {
    format!("{} ({})", rule.says, rule.page)
}

/// The unknown of a requirement, and whether it must not hold.
fn unknown(requirement: &Requirement) -> (String, bool) {
    match requirement {
        Requirement::Condition { operator, key, values, negated, .. } => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            (format!("{key} {operator} {}", values.join(", ")), *negated)
        }
        Requirement::Resource { pattern, negated, .. } => (format!("the resource matches `{pattern}`"), *negated),
        Requirement::KeyBehindAlias { pattern, negated, .. } => {
            (format!("the key behind the alias matches `{pattern}`"), *negated)
        }
        Requirement::WildcardBeyondColon { pattern, negated, .. } => {
            let disagreement = self::rule(&AwsRule::WildcardBeyondColon.into());
            (format!("`*` in `{pattern}` also matches beyond the colon: {disagreement}"), *negated)
        }
        Requirement::NotPrincipal { policy, negated, .. } => {
            (format!("NotPrincipal of {} applies", self::policy(policy)), *negated)
        }
        Requirement::ServiceLinkedRole => ("the caller is a service-linked role".to_owned(), false),
        Requirement::Words { text } => (text.clone(), false),
    }
}

/// A policy.
fn policy(policy: &PolicyRef) -> String {
    match &policy.of {
        PolicyOf::Inline { name } => format!("inline policy {name}"),
        PolicyOf::Managed { arn } => format!("managed policy {}", arn.rsplit('/').next().unwrap_or(arn)),
        PolicyOf::Boundary { arn: Some(arn) } => format!("permissions boundary {arn}"),
        PolicyOf::Boundary { arn: None } => "a permissions boundary".to_owned(),
        PolicyOf::Bucket { bucket, assumed: false } => format!("the policy of bucket {bucket}"),
        PolicyOf::Bucket { bucket, assumed: true } => {
            format!("the policy of bucket {bucket}, which is managed elsewhere and assumed to allow it")
        }
        PolicyOf::Key { alias } => format!("the policy of key {alias}"),
        PolicyOf::Trust { role } => format!("the trust policy of role {role}"),
        PolicyOf::Resource { arn } => format!("the policy of {arn}"),
        PolicyOf::Caller => "its own policies, which were not read".to_owned(),
        PolicyOf::Given => "the policy".to_owned(),
    }
}

/// A statement of a policy.
fn statement(statement: &StatementRef) -> String {
    of_policy(statement, &policy(&statement.policy))
}

fn of_policy(statement: &StatementRef, policy: &str) -> String {
    // An assumed policy has no statements to name.
    if matches!(statement.policy.of, PolicyOf::Bucket { assumed: true, .. }) {
        return policy.to_owned();
    }
    match &statement.sid {
        // A line break in a name must not start a line of the report.
        Some(sid) => format!("statement `{}` of {policy}", sid.replace('\n', "\\n")),
        None => format!("statement {} of {policy}", statement.position),
    }
}

/// The statement that trusts a principal, after the role.
fn trusting(role: &str, statement: Option<&StatementRef>) -> Option<String> {
    let statement = statement?;
    Some(match &statement.policy.of {
        PolicyOf::Trust { role: own } if own == role => of_policy(statement, "its trust policy"),
        _ => self::statement(statement),
    })
}

/// A step of a chain, and its statement.
#[must_use]
pub fn step(step: &ChainStep) -> (String, Option<String>) {
    match step {
        ChainStep::Annotation { namespace, name, role_arn } => {
            (format!("service account {namespace}/{name} is annotated with role {role_arn}"), None)
        }
        ChainStep::Association { namespace, name, role_arn } => {
            (format!("EKS Pod Identity associates service account {namespace}/{name} with role {role_arn}"), None)
        }
        ChainStep::Trusts { role, trusted, statement } => {
            let whom = match trusted {
                Trusted::ServiceAccount => "it",
                Trusted::PodIdentity => "EKS Pod Identity",
            };
            (format!("role {} trusts {whom}", role.role), trusting(&role.role, statement.as_ref()))
        }
        ChainStep::TrustAssumed { role } => {
            (format!("role {} is managed elsewhere and assumed to trust it", role.role), None)
        }
        ChainStep::AssumesTarget { role, statement } => (
            format!("EKS Pod Identity assumes target role {} with it", role.role),
            trusting(&role.role, statement.as_ref()),
        ),
        ChainStep::Assumes { role, statement } => {
            (format!("it can assume role {}", role.role), trusting(&role.role, statement.as_ref()))
        }
        ChainStep::Allows { layer, caller, action, statement } => {
            let what = match layer {
                AllowedBy::Identity => format!("the policies of {} allow {action}", self::caller(caller)),
                AllowedBy::Boundary => {
                    format!("the permissions boundary of {} allows {action}", self::caller(caller))
                }
                AllowedBy::Resource => format!("{} allows it {action}", policy(&statement.policy)),
            };
            (what, Some(self::statement(statement)))
        }
        ChainStep::Statement { statement } => (self::statement(statement), None),
        ChainStep::Words { text } => (text.clone(), None),
    }
}

fn caller(caller: &ChainCaller) -> String {
    match &caller.role {
        Some(role) => format!("role {role}"),
        None => caller.principal.clone(),
    }
}

/// The break in a chain.
#[must_use]
pub fn broken(why: &Break) -> String {
    match why {
        Break::NoRole { namespace, name } => {
            format!("service account {namespace}/{name} has neither a Pod Identity association nor the role annotation")
        }
        Break::RoleMissing { role_arn, target: false } => format!("role {role_arn} does not exist"),
        Break::RoleMissing { role_arn, target: true } => format!("target role {role_arn} does not exist"),
        Break::ProviderMissing { issuer, account } => {
            format!("account {} has no OIDC provider for {issuer}", self::account(account))
        }
        Break::NotTrusted { role, subject, trusted: Trusted::ServiceAccount, denial, .. } => {
            format!("the trust policy of role {} does not let {subject} assume it: {}", role.role, self::denial(denial))
        }
        Break::NotTrusted { role, subject, trusted: Trusted::PodIdentity, action, denial } => format!(
            "the trust policy of role {} does not allow {action} to EKS Pod Identity for {subject}: {}",
            role.role,
            self::denial(denial)
        ),
        Break::TargetDenied { role, target, denial } => {
            format!("role {} cannot assume target role {}: {}", role.role, target.role, self::denial(denial))
        }
        Break::PublicBlocked { bucket } => format!("bucket {bucket} blocks public policies, and its policy is public"),
        Break::Denied { action, resource, denial } => {
            format!("{action} on {resource} is denied: {}", self::denial(denial))
        }
    }
}

fn denial(denial: &Denial) -> String {
    match denial {
        Denial::Explicit { statement: Some(statement) } => format!("{} denies it", self::statement(statement)),
        Denial::Explicit { statement: None } => "a statement denies it".to_owned(),
        Denial::NotAllowed { layer } => {
            let layer = match layer {
                Some(DeniedBy::Identity) => "the identity-based policies",
                Some(DeniedBy::Resource) => "the resource policy",
                Some(DeniedBy::Boundary) => "the permissions boundary",
                Some(DeniedBy::Session) => "the session policy",
                Some(DeniedBy::ServiceControl) => "the service control policies",
                Some(DeniedBy::ResourceControl) => "the resource control policies",
                Some(DeniedBy::Endpoint) => "the VPC endpoint policy",
                None => "the policies",
            };
            format!("nothing in {layer} allows it")
        }
        Denial::OtherAccount => "the resource belongs to another account, and its policy does not allow it".to_owned(),
        Denial::NotDelegated => {
            "the policy of the key or role neither names the caller nor lets its account decide".to_owned()
        }
        Denial::FederatedUser => {
            "a federated user without a session policy has only what resource policies grant to the session".to_owned()
        }
        Denial::PolicyUnknown => "the policy of the key or role is unknown".to_owned(),
        Denial::Rule { rule } => self::rule(rule),
    }
}

/// The kind of drift of a resource.
#[must_use]
pub fn drifted(what: &Drifted) -> String {
    match what {
        Drifted::DeletedOutside => "deleted outside Bailiwick".to_owned(),
        Drifted::PartDeleted => "our part of it was deleted outside Bailiwick".to_owned(),
        Drifted::ChangedOutside => "changed outside Bailiwick".to_owned(),
        Drifted::RecreatedOutside { was, is } => {
            format!("recreated outside Bailiwick: its id was `{was}` and is now `{is}`")
        }
        Drifted::ForeignChange => "a part that Bailiwick does not manage changed".to_owned(),
        Drifted::Unreadable { why } => why.clone(),
        Drifted::Incomplete => "a run did not complete its change: `bailiwick apply` completes it".to_owned(),
    }
}

/// The section title for a class of drift.
#[must_use]
pub fn drift_class(class: DriftClass) -> &'static str {
    match class {
        DriftClass::Unreadable => "Unknown",
        DriftClass::Access => "Access drifted",
        DriftClass::Managed => "Settings drifted",
        DriftClass::Cosmetic => "Names and tags drifted",
        DriftClass::Foreign => "Changed by others",
    }
}

/// The reasons for a step.
#[must_use]
pub fn reasons(reasons: &[Reason]) -> String {
    let words: Vec<String> = reasons.iter().map(reason).collect();
    words.join("; ")
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::NewInSpec => "new in the spec".to_owned(),
        Reason::DeletedOutside => "deleted outside Bailiwick".to_owned(),
        Reason::ExistsAsDesired => "exists as the spec describes it".to_owned(),
        Reason::ExistsDifferently => "exists and differs from the spec".to_owned(),
        Reason::SpecChanged => "the spec changed".to_owned(),
        Reason::ChangedOutside => "changed outside Bailiwick".to_owned(),
        Reason::Fixed { fields } => {
            let fields: Vec<&str> = fields.iter().map(FieldPath::as_str).collect();
            format!("{} cannot be changed in place", fields.join(", "))
        }
        Reason::WholeReplaced => "the resource that it is a part of is replaced".to_owned(),
        Reason::ReferenceReplaced => "a resource that it names is replaced".to_owned(),
        Reason::Renamed { from } => format!("renamed: it was `{from}`"),
        Reason::Moved { from } => format!("moved here from {from}"),
        Reason::StillDeposed { physical_id } => {
            format!("`{physical_id}` was replaced earlier, and the run ended before it was deleted")
        }
        Reason::RemovedFromSpec => "removed from the spec".to_owned(),
        Reason::Destroyed => "the project is destroyed".to_owned(),
        Reason::ExistedBefore => "it predates this project, so only our tags are removed".to_owned(),
        Reason::Kept => "`on_destroy` is `keep`: it stays, and only our tags are removed".to_owned(),
        Reason::ManagedElsewhere => "`managed` is `false`: it is managed elsewhere".to_owned(),
        Reason::OwnedByAnother => "another project owns it now".to_owned(),
        Reason::Gone => "it no longer exists".to_owned(),
        Reason::Taken => "it no longer exists, and another one was created under its name".to_owned(),
        Reason::NewKey => "managed under its new key".to_owned(),
        Reason::NamesGone { id, was: Some(address) } => {
            format!("its policy names `{id}`, which was {address} before that was replaced")
        }
        Reason::NamesGone { id, was: None } => format!("its policy names `{id}`, a deleted role or user"),
        Reason::Words { text } => text.clone(),
    }
}

/// The reason why a partial plan leaves a resource out.
#[must_use]
pub fn left_out(why: &LeftOut) -> String {
    match why {
        LeftOut::Unreachable { why } => why.clone(),
        LeftOut::DependsOn { address } => format!("depends on {address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_refusals_names_only_flags_that_apply() {
        let address = |kind: &'static str| Address::new(kind, "x");
        let unnamed = Refusal::Unnamed { address: address("aws.kms.key"), loss: "all is lost".into() };
        let many = Refusal::TooMany { going: 4, managed: 5, most: 3 };
        let state = Refusal::State { address: address("aws.s3.bucket") };
        assert_eq!(refusals_help(&[unnamed, many]), ["pass --allow-delete aws.kms.key.x --allow-deletes 4"]);
        assert_eq!(refusals_help(&[state]), ["move the state elsewhere first, or keep aws.s3.bucket.x"]);
    }
}
