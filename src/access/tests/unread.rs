//! Answers when a deciding policy was not read: neither "allowed" nor "denied".

use serde_json::json;

use super::super::{
    AccessTarget, AccessVerdict, Answer, Break, Carrier, Facet, PodBinding, PolicyText, ResourcePolicy, RoleRef,
};
use super::super::{Who, World};
use super::*;
use crate::address::Address;
use crate::document::Document;
use crate::iam::{Policy, PolicyKind, PolicyPlace};

pub(super) const A: &str = "111111111111";
pub(super) const B: &str = "222222222222";

/// The objects from which a world is built.
#[derive(Clone, Default)]
pub(super) struct Objects(pub(super) Vec<(Address, Facet<'static>)>);

/// A policy with these statements, given without a version.
fn policy(statements: &str) -> PolicyText<'static> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let policy: Policy = serde_json::from_str(&text).unwrap();
    let body: &'static Document = Box::leak(Box::new(Document::from(json!({ "policy": policy }))));
    PolicyText::of(body, "policy").unwrap()
}

pub(super) fn role_arn(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

pub(super) fn allow(action: &str, resource: &str) -> String {
    format!(r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#)
}

/// A statement that trusts a role.
pub(super) fn trusts(role: &str) -> String {
    format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{role}"}},"Action":["sts:AssumeRole","sts:TagSession"]}}"#)
}

/// The statement that trusts EKS Pod Identity.
pub(super) const POD_IDENTITY: &str = r#"{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}"#;

impl Objects {
    pub(super) fn with(&self, address: &str, facet: Facet<'static>) -> Self {
        let mut more = self.clone();
        more.0.push((address.parse().unwrap(), facet));
        more
    }

    /// Adds a role. Its trust policy is unknown if `trust` is `None`.
    pub(super) fn role(&self, account: &str, name: &str, trust: Option<&str>) -> Self {
        let role = RoleRef { account: account.into(), name: name.into() };
        let (arn, trust) = (role_arn(account, name), trust.map(policy));
        self.with(&format!("aws.iam.role.{name}"), Facet::Role { arn, role, trust, boundary: None })
    }

    pub(super) fn inline(&self, account: &str, role: &str, statements: &str) -> Self {
        let of = RoleRef { account: account.into(), name: role.into() };
        let facet = Facet::InlinePolicy { role: of, name: "x".into(), document: Some(policy(statements)) };
        self.with(&format!("aws.iam.role_policy.{role}/x"), facet)
    }

    /// Attaches a managed policy with unread contents.
    pub(super) fn attached(&self, account: &str, role: &str) -> Self {
        let of = RoleRef { account: account.into(), name: role.into() };
        let facet = Facet::Attachment { role: of, policy: "arn:aws:iam::aws:policy/P".into() };
        self.with(&format!("aws.iam.role_policy_attachment.{role}/p"), facet)
    }

    pub(super) fn bucket(&self, account: &str) -> Self {
        let facet =
            Facet::Bucket { name: "data", arn: "arn:aws:s3:::data".into(), account: account.into(), blocked: true };
        self.with("aws.s3.bucket.data", facet)
    }

    pub(super) fn bucket_policy(&self, account: &str, statements: &str) -> Self {
        let facet = Facet::Resource(ResourcePolicy {
            on: Carrier::Bucket("data"),
            arn: "arn:aws:s3:::data".into(),
            account: account.into(),
            ours: Some(policy(statements)),
            others: None,
            exclusive: false,
            place: PolicyPlace::BucketPolicy,
            kind: PolicyKind::Bucket,
            must_keep: &[],
        });
        self.with("aws.s3.bucket_policy.data", facet)
    }

    /// Associates service account `n/s` with a role and a target role.
    fn associated(&self, role: &str, target: Option<&str>) -> Self {
        let facet = Facet::PodBinding(PodBinding {
            account: A.into(),
            cluster: "c".into(),
            namespace: "n".into(),
            service_account: "s".into(),
            role: role.into(),
            target: target.map(str::to_owned),
            tagged: true,
        });
        self.with("aws.eks.pod_identity_association.s", facet)
    }

    fn annotated(&self, role: &str) -> Self {
        let (namespace, name) = ("n".into(), "s".into());
        let facet = Facet::ServiceAccount { cluster: "c", namespace, name, role: Some(role.into()) };
        self.with("kubernetes.service_account.s", facet)
    }

    pub(super) fn world_of(&self, spec: &Spec, facts: &Facts) -> World {
        World::new(spec, facts, self.0.iter().map(|(address, facet)| (address, facet.clone())))
    }

    pub(super) fn world(&self) -> World {
        let spec = spec("");
        self.world_of(&spec, &Facts::placeholders(&spec))
    }

    /// The verdict on reading `data/x`, and its reason.
    fn reads(&self, who: &str) -> String {
        said(&reading(&self.world(), who))
    }
}

fn reading(world: &World, who: &str) -> Answer {
    let target = AccessTarget::parse("s3://data/x").unwrap();
    world.can(&world.find(who).unwrap(), "s3:GetObject", &target).unwrap()
}

fn said(answer: &Answer) -> String {
    let unread: Vec<String> = answer.unread.iter().map(|unread| format!("{unread:?}")).collect();
    let conditions: Vec<String> = answer.conditions.iter().map(|c| format!("{c:?}")).collect();
    let broken = answer.broken.as_ref().map(|broken| match &broken.why {
        Break::TargetDenied { .. } => "the target role".to_owned(),
        Break::NotTrusted { .. } => "the trust".to_owned(),
        Break::Denied { .. } => "the request".to_owned(),
        other => format!("{other:?}"),
    });
    let verdict = match answer.verdict {
        AccessVerdict::Allowed => "allowed",
        AccessVerdict::Depends => "depends",
        AccessVerdict::Unknown => "unknown",
        AccessVerdict::Denied => "denied",
    };
    let words = [verdict.to_owned()].into_iter().chain(unread).chain(conditions).chain(broken);
    words.collect::<Vec<_>>().join(" | ")
}

/// Pods get `first` in account A, which can assume `target` in account B, which can read bucket `data`.
fn to_target(first_trust: Option<&str>, target_trust: Option<&str>) -> Objects {
    let (first, target) = (role_arn(A, "first"), role_arn(B, "target"));
    Objects::default()
        .role(A, "first", first_trust)
        .role(B, "target", target_trust)
        .inline(B, "target", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(B)
        .associated(&first, Some(&target))
}

fn may_assume_target(objects: &Objects) -> Objects {
    objects.inline(A, "first", &allow("sts:*", &role_arn(B, "target")))
}

const TRUST_OF_FIRST: &str = r#"unknown | TrustPolicy { role: "first" }"#;
const TRUST_OF_TARGET: &str = r#"unknown | TrustPolicy { role: "target" }"#;
const POLICY: &str = r#"unknown | ManagedPolicy { arn: "arn:aws:iam::aws:policy/P" }"#;

#[test]
fn pods_reach_a_target_role_through_a_first_role() {
    let (first, trusted) = (role_arn(A, "first"), trusts(&role_arn(A, "first")));
    assert_eq!(may_assume_target(&to_target(Some(POD_IDENTITY), Some(&trusted))).reads("n/s"), "allowed");
    assert_eq!(to_target(Some(POD_IDENTITY), Some(&trusted)).reads("n/s"), "denied | the target role");
    let other = trusts(&role_arn(A, "other"));
    assert_eq!(
        may_assume_target(&to_target(Some(POD_IDENTITY), Some(&other))).reads("n/s"),
        "denied | the target role"
    );
    assert_eq!(may_assume_target(&to_target(Some(&trusts(&first)), Some(&trusted))).reads("n/s"), "denied | the trust");
}

#[test]
fn a_target_role_is_judged_even_if_the_first_trust_was_not_read() {
    let trusted = trusts(&role_arn(A, "first"));
    assert_eq!(may_assume_target(&to_target(None, Some(&trusted))).reads("n/s"), TRUST_OF_FIRST);
    let other = trusts(&role_arn(A, "other"));
    assert_eq!(may_assume_target(&to_target(None, Some(&other))).reads("n/s"), "denied | the target role");
}

#[test]
fn an_unread_trust_of_a_target_role_leaves_the_answer_unknown() {
    assert_eq!(may_assume_target(&to_target(Some(POD_IDENTITY), None)).reads("n/s"), TRUST_OF_TARGET);
    // Whatever that trust policy contains, a role of another account also needs its own policies.
    assert_eq!(to_target(Some(POD_IDENTITY), None).reads("n/s"), "denied | the target role");
}

#[test]
fn unread_policies_of_the_first_role_may_let_it_assume_the_target() {
    let trusted = trusts(&role_arn(A, "first"));
    assert_eq!(to_target(Some(POD_IDENTITY), Some(&trusted)).attached(A, "first").reads("n/s"), POLICY);
    let other = trusts(&role_arn(A, "other"));
    let denied = to_target(Some(POD_IDENTITY), Some(&other)).attached(A, "first");
    assert_eq!(denied.reads("n/s"), "denied | the target role");
}

#[test]
fn condition_of_the_first_trust_stays_in_the_answer() {
    let trusted = trusts(&role_arn(A, "first"));
    let condition = r#","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}"#;
    let from = format!("{}{condition}", POD_IDENTITY.strip_suffix('}').unwrap());
    assert_eq!(
        may_assume_target(&to_target(Some(&from), Some(&trusted))).reads("n/s"),
        r#"depends | Condition { operator: "IpAddress", key: "aws:SourceIp", values: ["203.0.113.0/24"], negated: false, statement: None }"#
    );
}

#[test]
fn session_tags_need_the_target_role_to_allow_them() {
    let trusted =
        trusts(&role_arn(A, "first")).replace(r#"["sts:AssumeRole","sts:TagSession"]"#, r#""sts:AssumeRole""#);
    assert_eq!(
        may_assume_target(&to_target(Some(POD_IDENTITY), Some(&trusted))).reads("n/s"),
        "denied | the target role"
    );
}

/// Role `first` in account A, and role `second` in account B, which can read bucket `data` and has this trust policy.
fn to_second(trust: Option<&str>) -> Objects {
    Objects::default()
        .role(A, "first", Some(POD_IDENTITY))
        .role(B, "second", trust)
        .inline(B, "second", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(B)
}

#[test]
fn a_role_with_unread_policies_keeps_the_roles_that_trust_it() {
    let trusted = trusts(&role_arn(A, "first"));
    assert_eq!(to_second(Some(&trusted)).reads("first"), "denied | the request");
    let allowed = to_second(Some(&trusted)).inline(A, "first", &allow("sts:AssumeRole", "*"));
    assert_eq!(allowed.reads("first"), "allowed");
    assert_eq!(to_second(Some(&trusted)).attached(A, "first").reads("first"), POLICY);
    let other = trusts(&role_arn(A, "other"));
    // The role's own policies cannot open the bucket of another account.
    assert_eq!(to_second(Some(&other)).attached(A, "first").reads("first"), "denied | the request");
}

#[test]
fn unread_boundary_of_the_first_role_leaves_the_answer_unknown() {
    let trusted = trusts(&role_arn(A, "first"));
    let mut bounded = to_second(Some(&trusted)).inline(A, "first", &allow("sts:AssumeRole", "*"));
    if let (_, Facet::Role { boundary, .. }) = &mut bounded.0[0] {
        *boundary = Some("arn:aws:iam::aws:policy/B".into());
    }
    assert_eq!(bounded.reads("first"), r#"unknown | Boundary { arn: "arn:aws:iam::aws:policy/B" }"#);
}

#[test]
fn unread_trust_leaves_the_answer_unknown_for_a_role_allowed_to_assume_it() {
    let allowed = to_second(None).inline(A, "first", &allow("sts:AssumeRole", &role_arn(B, "second")));
    assert_eq!(allowed.reads("first"), r#"unknown | TrustPolicy { role: "second" }"#);
    assert_eq!(to_second(None).reads("first"), "denied | the request");
}

#[test]
fn a_chain_of_roles_is_followed_to_its_end() {
    let mut objects = Objects::default().role(A, "r0", Some(POD_IDENTITY)).bucket(A);
    for n in 1..10 {
        objects = objects.role(A, &format!("r{n}"), Some(&trusts(&role_arn(A, &format!("r{}", n - 1)))));
    }
    let reads = objects.inline(A, "r9", &allow("s3:GetObject", "arn:aws:s3:::data/*"));
    assert_eq!(reads.reads("r0"), "allowed");
}

#[test]
fn web_identity_reaches_roles_through_the_role_that_trusts_it() {
    let provider = format!("arn:aws:iam::{A}:oidc-provider/ci.example.com");
    let federated = format!(
        r#"{{"Effect":"Allow","Principal":{{"Federated":"{provider}"}},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"StringEquals":{{"ci.example.com:sub":"repo"}}}}}}"#
    );
    let objects = Objects::default()
        .role(A, "first", Some(&federated))
        .inline(A, "first", &allow("sts:AssumeRole", "*"))
        .role(B, "second", Some(&trusts(&role_arn(A, "first"))))
        .inline(B, "second", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(B);
    let world = objects.world();
    let who = Who::Subject { provider, subject: Some("repo".into()) };
    let answer = world.can(&who, "s3:GetObject", &AccessTarget::parse("s3://data/x").unwrap()).unwrap();
    assert_eq!(said(&answer), "allowed");
}

#[test]
fn unknown_issuer_leaves_the_answer_for_annotations_unknown() {
    let role = role_arn(A, "first");
    let objects = Objects::default()
        .role(A, "first", Some(POD_IDENTITY))
        .inline(A, "first", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(A)
        .annotated(&role);
    let answer = reading(&objects.world_of(&spec(""), &Facts::default()), "n/s");
    assert_eq!(said(&answer), r#"unknown | Issuer { cluster: "c" }"#);
}

#[test]
fn missing_annotation_of_an_unmanaged_service_account_leaves_the_answer_unknown() {
    let text = "roles:
  first: { account: a, name: first }
service_accounts:
  s: { cluster: c, namespace: n, name: s, identity: irsa, role: first, manage: none }
";
    let spec = spec(text);
    let facts = Facts::placeholders(&spec);
    let host = facts.issuer_host("c").unwrap();
    let provider = format!("arn:aws:iam::{A}:oidc-provider/{host}");
    let trust = format!(
        r#"{{"Effect":"Allow","Principal":{{"Federated":"{provider}"}},"Action":"sts:AssumeRoleWithWebIdentity"}}"#
    );
    let objects = Objects::default()
        .role(A, "first", Some(&trust))
        .inline(A, "first", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(A)
        .with("aws.iam.oidc_provider.c", Facet::Provider { account: A.into(), arn: "", host: host.into() });
    let said_of = |objects: &Objects| said(&reading(&objects.world_of(&spec, &facts), "s"));
    assert_eq!(said_of(&objects), r#"unknown | Annotations { cluster: "c", namespace: "n", name: "s" }"#);
    assert_eq!(said_of(&objects.annotated(&role_arn(A, "first"))), "allowed");
}

#[test]
fn unread_policy_may_deny_what_others_allow() {
    let reader = Objects::default()
        .role(A, "first", Some(POD_IDENTITY))
        .inline(A, "first", &allow("s3:GetObject", "arn:aws:s3:::data/*"))
        .bucket(A);
    assert_eq!(reader.reads("first"), "allowed");
    assert_eq!(reader.attached(A, "first").reads("first"), POLICY);
}

#[test]
fn unread_policy_of_a_same_account_bucket_may_deny() {
    let spec = spec("buckets:\n  data: { account: a, name: data, managed: false }\n");
    let reader = Objects::default().role(A, "first", Some(POD_IDENTITY)).inline(
        A,
        "first",
        &allow("s3:GetObject", "arn:aws:s3:::data/*"),
    );
    let answer = reading(&reader.world_of(&spec, &Facts::placeholders(&spec)), "first");
    assert_eq!(said(&answer), r#"unknown | BucketPolicy { bucket: "data" }"#);
}

#[test]
fn callers_without_policies_of_their_own_are_allowed_by_the_resource_alone() {
    let to = |principal: &str| {
        let statement = format!(
            r#"{{"Effect":"Allow","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::data/*"}}"#
        );
        Objects::default().bucket(A).bucket_policy(A, &statement)
    };
    assert_eq!(to(r#"{"Service":"logs.amazonaws.com"}"#).reads("logs.amazonaws.com"), "allowed");
    let user = format!("arn:aws:iam::{A}:user/u");
    assert_eq!(
        to(&format!(r#"{{"AWS":"{user}"}}"#)).reads(&user),
        r#"unknown | CallerPolicies { principal: "arn:aws:iam::111111111111:user/u" }"#
    );
}

#[test]
fn blocked_public_bucket_admits_only_services_and_its_own_account() {
    let to = |principal: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::data/*"}}"#
        )
    };
    let statements = format!("{},{}", to(r#""*""#), to(r#"{"Service":"logs.amazonaws.com"}"#));
    let objects = Objects::default().role(A, "own", None).role(B, "other", None).bucket(A);
    let public = objects.bucket_policy(A, &statements);
    assert_eq!(public.reads("logs.amazonaws.com"), "allowed");
    assert_eq!(public.reads("own"), "allowed");
    for who in ["other", "anyone"] {
        assert_eq!(public.reads(who), r#"denied | PublicBlocked { bucket: "data" }"#);
    }
}

/// The verdict on using key `weights` for a role without permission to decrypt. The key policy was read at `address`.
fn decrypts(address: &str) -> String {
    let spec = spec("keys:\n  weights: { account: b, alias: weights }\n");
    let role = Objects::default().role(B, "reader", Some(&trusts(&role_arn(B, "x"))));
    let key = Facet::Resource(ResourcePolicy {
        on: Carrier::Key("alias/weights"),
        arn: format!("arn:aws:kms:us-east-1:{B}:key/x"),
        account: B.into(),
        ours: Some(policy(&trusts(&role_arn(B, "nobody")))),
        others: Some(policy(&trusts(&role_arn(B, "nobody")))),
        exclusive: false,
        place: PolicyPlace::KeyPolicy,
        kind: PolicyKind::Key,
        must_keep: &[],
    });
    let read = role.with(address, key).0;
    let read = read.iter().map(|(address, facet)| (address, facet.clone()));
    let world = World::live(&spec, &Facts::placeholders(&spec), read, []);
    let target = AccessTarget::parse(&world.keys["weights"].arn).unwrap();
    said(&world.can(&world.find(&role_arn(B, "reader")).unwrap(), "kms:Decrypt", &target).unwrap())
}

#[test]
fn a_key_is_read_by_its_own_document_only() {
    assert_eq!(decrypts("aws.kms.key_policy.weights"), "denied | the request");
    // The same alias in another region, or at the key's old name in the spec.
    assert_eq!(decrypts("aws.kms.key_policy.elsewhere"), "unknown | KeyPolicy { alias: \"alias/weights\" }");
}
