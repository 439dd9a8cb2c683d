//! What types say in English. Nothing else depends on these texts.

use crate::access::{Direction, Fix, Grant, Missing, Unread, Verdict};
use crate::document::FieldPath;
use crate::plan::{LeftOut, Reason, Refusal};

/// Why a plan cannot be applied, and what would allow it.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Protected { address, action } => {
            format!("{address} is protected, and this plan would {action} it")
        }
        Refusal::Unnamed { address, loss } => {
            format!("this plan would delete {address}; afterwards {loss}: allow it with --allow-delete {address}")
        }
        Refusal::State { address } => format!(
            "{address} is the bucket that holds the state: move the state elsewhere before the bucket is deleted, or keep \
             the bucket"
        ),
        Refusal::TooMany { going, managed, most } => format!(
            "the plan deletes or replaces {going} of {managed} resources, more than {most}: allow it with --allow-deletes \
             {going}"
        ),
    }
}

/// That ownership tags were found without a state, if any were.
#[must_use]
pub fn lost(project: &str, addresses: &[String]) -> Option<String> {
    let (what, carry) = match addresses {
        [] => return None,
        [one] => (one.clone(), "carries"),
        [first, rest @ ..] => (format!("{first} and {} more", rest.len()), "carry"),
    };
    Some(format!(
        "there is no state, but {what} {carry} the ownership tag of project `{project}`: the state was lost, or is stored \
         elsewhere\n  restore it, or rebuild it with `bailiwick state rebuild`; until then nothing is written"
    ))
}

/// What has not been read, as a reason for not knowing.
#[must_use]
pub fn unread(unread: &Unread) -> String {
    match unread {
        Unread::BucketPolicy { bucket } => format!("the policy of bucket {bucket} is not known here"),
        Unread::KeyPolicy { alias } => format!("only part of the policy of key {alias} is known here"),
        Unread::ResourcePolicy { arn } => format!("the policy of {arn} is not known here"),
        Unread::TrustPolicy { role } => format!("the trust policy of role {role} is not known here"),
        Unread::RolePolicies { role } => {
            format!("the policies of role {role}, which is not managed here, are not known")
        }
        Unread::ManagedPolicy { arn } => format!("the contents of policy {arn} are not known here"),
        Unread::Boundary { arn } => format!("the contents of permissions boundary {arn} are not known here"),
        Unread::CallerPolicies { principal } => format!("the policies of {principal} are not known here"),
        Unread::AccountPolicies { account } => {
            format!("the policies of the principals of account {account} are not known here")
        }
    }
}

/// A verdict as the beginning of a headline.
#[must_use]
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Depends => "depends on conditions",
        Verdict::Unknown => "unknown",
        Verdict::Denied => "denied",
    }
}

/// Whether somebody gains or loses access.
#[must_use]
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Gain => "gains",
        Direction::Loss => "loses",
    }
}

/// The smallest change that would let a denied request through.
#[must_use]
pub fn fix(fix: &Fix) -> String {
    match fix {
        Fix::GiveRole => {
            "give it a role: an association (`identity: pod_identity`) or the annotation (`identity: irsa`)".to_owned()
        }
        Fix::CreateRole { role_arn } => format!("create role {role_arn}, or use another one"),
        Fix::ReadCluster { cluster } => format!("let Bailiwick describe cluster {cluster}"),
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
        Fix::Narrow { statement: Some(statement) } => format!("narrow {statement} so that it leaves the request out"),
        Fix::Narrow { statement: None } => "narrow the statement that denies it".to_owned(),
        Fix::Allow { action, resource, missing, grant } => {
            let places: Vec<String> = missing.iter().map(missing_in).collect();
            let by_hand = format!("allow {action} on {resource} {}", places.join(", and "));
            match grant {
                Some(grant) => format!("add under `grants`: {}; or by hand, {by_hand}", self::grant(grant)),
                None => by_hand,
            }
        }
    }
}

fn missing_in(missing: &Missing) -> String {
    match missing {
        Missing::Resource { name, principal } => format!("to {principal} in {name}"),
        Missing::Identity { caller } => format!("in the policies of {caller}"),
        Missing::Boundary { caller } => format!("in the permissions boundary of {caller}"),
    }
}

/// A grant as it is written in a spec.
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

/// Why a step is in a plan.
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

/// Why something is left out of a partial plan.
#[must_use]
pub fn left_out(why: &LeftOut) -> String {
    match why {
        LeftOut::Unreachable { why } => why.clone(),
        LeftOut::DependsOn { address } => format!("depends on {address}"),
    }
}
