//! One question at a time: may somebody do something, through which hops, and where does the chain break.

use std::collections::BTreeSet;

use serde::Serialize;

use super::world::{Bucket, Hop, Key, Route, Who, World, statement_name, unknown_identity, unsettled};
use crate::iam::catalogue::Service;
use crate::iam::{Arn, Attached, Decision, Effect, Layer, Outcome, Reason, Request, Value, evaluate};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bucket, and a key or prefix in it.
    Data {
        /// The bucket's name.
        bucket: String,
        /// The key or prefix, empty for the bucket.
        key: String,
    },
    /// Anything else, by ARN.
    Arn(String),
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The place is neither an `s3://` URL nor an ARN.
    #[error("`{0}` is neither s3://bucket/key nor an ARN")]
    Place(String),
    /// There is no such action.
    #[error("there is no action `{action}`{hint}")]
    Action {
        /// The action.
        action: String,
        /// What may have been meant.
        hint: String,
    },
    /// An action on objects, without an object.
    #[error("`{0}` works on objects: name one, as in s3://bucket/key")]
    NoObject(String),
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is allowed.
    Allowed,
    /// It is allowed if conditions hold that are not known.
    Depends,
    /// Something decides that has not been read.
    Unknown,
    /// It is denied.
    Denied,
}

/// An answer with the chain behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Who, for a reader.
    pub who: String,
    /// What comes out.
    pub verdict: Verdict,
    /// Whether it is somebody that the spec does not have.
    pub foreign: bool,
    /// The chain, up to the hop that fails.
    pub hops: Vec<Hop>,
    /// What a verdict depends on.
    pub conditions: BTreeSet<String>,
}

impl Target {
    /// Reads `s3://bucket/key` or an ARN.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, AskError> {
        let data = |rest: &str| {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            Self::Data { bucket: bucket.to_owned(), key: key.to_owned() }
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            return if rest.is_empty() { Err(AskError::Place(text.to_owned())) } else { Ok(data(rest)) };
        }
        let arn: Arn = text.parse().map_err(|_| AskError::Place(text.to_owned()))?;
        if arn.service == "s3" && arn.account.is_empty() && !arn.resource.contains(':') {
            return Ok(data(&arn.resource));
        }
        Ok(Self::Arn(text.to_owned()))
    }
}

/// An action as AWS spells it.
fn known_action(action: &str) -> Result<String, AskError> {
    let fail = |hint: String| Err(AskError::Action { action: action.to_owned(), hint });
    let Some((prefix, name)) = action.split_once(':') else {
        return fail(format!(": write it with its service, as in `s3:{action}`"));
    };
    let Some(service) = Service::of(prefix) else {
        return fail(format!(": `{prefix}` is no service"));
    };
    match service.action(name) {
        Some(known) => Ok(format!("{}:{}", service.prefix, known.name)),
        None => {
            let names = service.actions().iter().map(|a| a.name);
            let near = crate::diagnostic::did_you_mean(name, names);
            fail(near.map(|near| format!(": did you mean `{}:{near}`?", service.prefix)).unwrap_or_default())
        }
    }
}

fn works_on(action: &str, kind: &str) -> bool {
    let (prefix, name) = action.split_once(':').unwrap_or_default();
    Service::of(prefix)
        .and_then(|service| Some((service, service.action(name)?)))
        .is_some_and(|(service, action)| service.types_of(action).any(|t| t.name == kind))
}

/// What one principal's policies say about a request, in two hops: its own policies and those of the resource.
struct Judged {
    hops: Vec<Hop>,
    verdict: Verdict,
    conditions: BTreeSet<String>,
}

impl World {
    /// Whether somebody may do something, with the chain or the hop at which it ends.
    ///
    /// # Errors
    /// When the question makes no sense: no such action, or an object action on a whole bucket.
    pub fn can(&self, who: &Who, action: &str, target: &Target) -> Result<Answer, AskError> {
        let action = known_action(action)?;
        self.answer(who, &action, target)
    }

    /// Everybody who may do something. Service accounts stand for their roles.
    ///
    /// # Errors
    /// As [`World::can`].
    pub fn who_can(&self, action: &str, target: &Target) -> Result<Vec<Answer>, AskError> {
        let action = known_action(action)?;
        let mut answers = Vec::new();
        for who in self.everybody() {
            if matches!(&who, Who::Role(arn) if self.is_behind_pods(arn)) {
                continue;
            }
            let answer = self.answer(&who, &action, target)?;
            if matches!(answer.verdict, Verdict::Allowed | Verdict::Depends) {
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    fn answer(&self, who: &Who, action: &str, target: &Target) -> Result<Answer, AskError> {
        if let Target::Data { key, .. } = target
            && key.is_empty()
            && works_on(action, "object")
            && !works_on(action, "bucket")
        {
            return Err(AskError::NoObject(action.to_owned()));
        }
        let foreign = matches!(who, Who::Named(_) | Who::Subject { .. });
        let told = |verdict, hops, conditions| Answer { who: self.name(who), verdict, foreign, hops, conditions };
        let (routes, broken) = self.routes(who);
        let mut best: Option<Answer> = None;
        for route in &routes {
            let judged = self.judge(route, action, target);
            let mut verdict = judged.verdict;
            if verdict == Verdict::Allowed && !route.conditions.is_empty() {
                verdict = Verdict::Depends;
            }
            let hops = route.hops.iter().cloned().chain(judged.hops).collect();
            let answer = told(verdict, hops, &route.conditions | &judged.conditions);
            let better = best.as_ref().is_none_or(|best| (answer.verdict as u8) < best.verdict as u8);
            if better {
                best = Some(answer);
            }
        }
        let mut answer = best.unwrap_or_else(|| told(Verdict::Denied, broken, BTreeSet::new()));
        // In words of the spec, where it has them; what denies explicitly, no grant lets through.
        if let (Who::Pod(pod), Target::Data { bucket, key }) = (who, target)
            && let (Some(to), Some(bucket)) = (self.key_of(pod), self.buckets.get(bucket))
            && let Some(mend) = answer.hops.last_mut().and_then(|hop| hop.mend.as_mut())
            && mend.starts_with("allow s3:")
        {
            *mend = format!("{}; or by hand, {mend}", grant(to, &bucket.entry, action, key));
        }
        Ok(answer)
    }

    fn judge(&self, route: &Route, action: &str, target: &Target) -> Judged {
        match target {
            Target::Data { bucket, key } => match self.buckets.get(bucket) {
                Some(bucket) => self.judge_data(route, action, bucket, key),
                None => self.judge_unknown(route, action, bucket, key),
            },
            Target::Arn(arn) => self.judge_arn(route, action, arn),
        }
    }

    fn judge_data(&self, route: &Route, action: &str, bucket: &Bucket, key: &str) -> Judged {
        let on_object = works_on(action, "object") && !key.is_empty();
        let resource = if on_object { format!("{}/{key}", bucket.arn) } else { bucket.arn.clone() };
        let mut request = route.request(action, &resource, &bucket.account);
        let prefix = if on_object || key.is_empty() { Value::Many(Vec::new()) } else { Value::One(key.to_owned()) };
        request.context.set("s3:prefix", prefix);
        let foreign = !route.principal.contains(&format!("::{}:", bucket.account));
        if bucket.blocked && bucket.public && foreign {
            let what = format!("bucket {} blocks public policies, and its policy is public", bucket.name);
            let mend = "name the principals in the bucket policy instead of everybody";
            return Judged { hops: vec![Hop::bad(what, mend)], verdict: Verdict::Denied, conditions: BTreeSet::new() };
        }
        let assumed = bucket.assumed_policy(route);
        let label = bucket.label();
        let resource = Attached { name: &label, policy: bucket.policy.as_ref().unwrap_or(&assumed) };
        let mut judged = self.decide(route, &request, resource, &bucket.account);
        if judged.verdict == Verdict::Allowed && bucket.policy.is_none() && foreign {
            judged.verdict = Verdict::Unknown;
        }
        let key_actions: &[&str] = match action {
            "s3:GetObject" | "s3:GetObjectVersion" => &["kms:Decrypt"],
            "s3:PutObject" => &["kms:GenerateDataKey", "kms:Decrypt"],
            _ => &[],
        };
        if let (true, Some(key)) =
            (judged.verdict != Verdict::Denied, bucket.key.as_ref().and_then(|k| self.keys.get(k)))
        {
            for action in key_actions {
                let used = self.judge_key(route, action, key);
                judged.hops.extend(used.hops);
                judged.conditions.extend(used.conditions);
                judged.verdict = worse(judged.verdict, used.verdict);
                if judged.verdict == Verdict::Denied {
                    break;
                }
            }
        }
        judged
    }

    fn judge_key(&self, route: &Route, action: &str, key: &Key) -> Judged {
        let mut request = route.request(action, &key.arn, &key.account);
        request.context.set("kms:ViaService", Value::One(format!("s3.{}.{}", key.region, key.region.dns_suffix())));
        request.context.set("kms:ResourceAliases", Value::Many(vec![key.alias.clone()]));
        let label = format!("the policy of key {}", key.alias);
        let mut judged = self.decide(route, &request, Attached { name: &label, policy: &key.policy }, &key.account);
        let own_account = route.principal.contains(&format!("::{}:", key.account));
        if judged.verdict == Verdict::Denied && !key.whole && own_account {
            // The usual key policy lets its account decide; without having read it, that is not known.
            judged.verdict = Verdict::Unknown;
        }
        judged
    }

    fn judge_arn(&self, route: &Route, action: &str, arn: &str) -> Judged {
        if let Some(key) = self.keys.values().find(|key| key.arn == arn) {
            return self.judge_key(route, action, key);
        }
        let owner = arn.parse::<Arn>().map(|arn| arn.account).unwrap_or_default();
        let request = route.request(action, arn, &owner);
        if let Some(role) = self.roles.get(arn)
            && let Some(trust) = &role.trust
        {
            let label = format!("the trust of role {}", role.name);
            return self.decide(route, &request, Attached { name: &label, policy: trust }, &owner);
        }
        if let Some(resource) = self.resources.get(arn) {
            let label = format!("the policy of {arn}");
            let request = route.request(action, arn, &resource.account);
            return self.decide(
                route,
                &request,
                Attached { name: &label, policy: &resource.policy },
                &resource.account,
            );
        }
        let none = crate::iam::Policy::new(crate::iam::Version::V2012, []);
        let label = format!("the policy of {arn}, which is not known here");
        let mut judged = self.decide(route, &request, Attached { name: &label, policy: &none }, &owner);
        let foreign = !owner.is_empty() && !route.principal.contains(&format!("::{owner}:"));
        if judged.verdict == Verdict::Denied && foreign {
            judged.verdict = Verdict::Unknown;
        }
        judged
    }

    /// A bucket that the world does not have: the caller's own policies are all that is known.
    fn judge_unknown(&self, route: &Route, action: &str, bucket: &str, key: &str) -> Judged {
        let partition = route.principal.split(':').nth(1).unwrap_or("aws");
        let unread = Bucket {
            name: bucket.to_owned(),
            entry: bucket.to_owned(),
            arn: format!("arn:{partition}:s3:::{bucket}"),
            account: String::new(),
            policy: None,
            blocked: false,
            key: None,
            public: false,
        };
        let mut judged = self.judge_data(route, action, &unread, key);
        if judged.verdict == Verdict::Allowed {
            judged.verdict = Verdict::Unknown;
        }
        judged
    }

    fn decide(&self, route: &Route, request: &Request, resource: Attached<'_>, owner: &str) -> Judged {
        let unknown = unknown_identity();
        let name = resource.name;
        let set = self.policies(route, Some(resource), &unknown);
        let decision = evaluate(request, &set);
        let role = route.role.as_ref().and_then(|arn| self.roles.get(arn));
        let caller = role.map_or_else(|| route.principal.clone(), |role| format!("role {}", role.name));
        let mut hops = Vec::new();
        let (action, on) = (&request.action, &request.resource);
        for layer in [Layer::Identity, Layer::Boundary, Layer::Resource] {
            let applied = decision.matched.iter().find(|a| a.layer == layer && a.statement.effect() == Effect::Allow);
            if let Some(applied) = applied {
                let statement = Some(statement_name(applied.policy, applied.statement));
                if layer == Layer::Identity && role.is_none() {
                    hops.push(Hop::good(
                        format!("{caller} needs {action} in its own policies, which are not known here"),
                        None,
                    ));
                    continue;
                }
                let whose = match layer {
                    Layer::Identity => format!("{caller} allows {action}"),
                    Layer::Boundary => format!("the permissions boundary of {caller} allows {action}"),
                    _ => format!("{name} allows {action} to it"),
                };
                hops.push(Hop::good(whose, statement));
            }
        }
        let verdict = match decision.outcome {
            Outcome::Allowed => Verdict::Allowed,
            Outcome::Conditional if decision.why == Reason::PolicyUnknown => Verdict::Unknown,
            Outcome::Conditional => Verdict::Depends,
            Outcome::ImplicitlyDenied | Outcome::ExplicitlyDenied => Verdict::Denied,
        };
        if verdict == Verdict::Denied {
            hops.push(Hop::bad(
                format!("{action} on {on} is denied: {}", decision.reason()),
                mend(&decision, &caller, route, request, name, owner),
            ));
        }
        let unread = role.map(|role| role.unknown.clone()).unwrap_or_default();
        let may_be_elsewhere = decision.outcome == Outcome::ImplicitlyDenied && decision.layer == Some(Layer::Identity);
        if may_be_elsewhere && !unread.is_empty() {
            hops.push(Hop::good(
                format!("not known here: {}", unread.into_iter().collect::<Vec<_>>().join("; ")),
                None,
            ));
            return Judged { hops, verdict: Verdict::Unknown, conditions: unsettled(&decision) };
        }
        Judged { hops, verdict, conditions: unsettled(&decision) }
    }
}

fn worse(a: Verdict, b: Verdict) -> Verdict {
    if (a as u8) < (b as u8) { b } else { a }
}

/// The smallest change that would let a denied request through.
fn mend(
    decision: &Decision<'_>,
    caller: &str,
    route: &Route,
    request: &Request,
    resource: &str,
    owner: &str,
) -> String {
    let (action, on) = (&request.action, &request.resource);
    if decision.outcome == Outcome::ExplicitlyDenied {
        return match decision.deciding().next() {
            Some(applied) => {
                format!(
                    "narrow {} so that it leaves the request out",
                    statement_name(applied.policy, applied.statement)
                )
            }
            None => "narrow the statement that denies it".to_owned(),
        };
    }
    if decision.layer == Some(Layer::Boundary) {
        return format!("allow {action} on {on} in the permissions boundary of {caller}");
    }
    let allows =
        |layer: Layer| decision.matched.iter().any(|a| a.layer == layer && a.statement.effect() == Effect::Allow);
    let foreign = !owner.is_empty() && !route.principal.contains(&format!("::{owner}:"));
    let resource_decides = foreign || decision.layer == Some(Layer::Resource);
    let mut missing = Vec::new();
    if resource_decides && !allows(Layer::Resource) {
        missing.push(format!("to {} in {resource}", route.principal));
    }
    if (foreign || !resource_decides) && !allows(Layer::Identity) {
        missing.push(format!("in the policies of {caller}"));
    }
    format!("allow {action} on {on} {}", missing.join(", and "))
}

/// The grant that would let a service account do something, as it is written in a spec.
fn grant(to: &str, bucket: &str, action: &str, key: &str) -> String {
    let prefix = key.rfind('/').map_or(key, |at| key.get(..=at).unwrap_or(key));
    let access = match action {
        "s3:GetObject" => "read".to_owned(),
        "s3:PutObject" => "write".to_owned(),
        "s3:DeleteObject" => "delete".to_owned(),
        "s3:ListBucket" => "list".to_owned(),
        other => format!("{{ actions: [\"{other}\"] }}"),
    };
    let prefix = serde_json::Value::from(prefix);
    format!("add under `grants`: {{ to: {to}, bucket: {bucket}, prefix: {prefix}, access: {access} }}")
}
