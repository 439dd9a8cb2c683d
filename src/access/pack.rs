//! Packs a role's statements within IAM quotas: first one inline policy, then managed policies.

use super::resource::as_policy;
use super::{Chain, Chains, identity_statements};
use crate::iam::{Condition, Policy, PolicyPlace, Qualifier, Selector, Statement, measure};
use crate::spec::{Access, Facts, Spec};

/// The name of the inline policy that holds a role's grants.
pub const INLINE_NAME: &str = "bailiwick-access";

/// The maximum number of managed policies attached to a role.
///
/// Source: IAM User Guide, "IAM and AWS STS quotas", managed policies attached to an IAM role, default.
const ATTACHMENTS: usize = 10;

/// A role's statements, divided into documents that IAM accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The inline policy; absent if there are no statements.
    pub inline: Option<Policy>,
    /// The managed policies to attach, with the statements that do not fit inline.
    pub managed: Vec<Policy>,
}

/// The statements of a role do not fit within its quotas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} characters do not fit into one inline policy of {inline} characters and {managed} managed policies of {each}"
)]
pub struct PackError {
    /// The size of all statements as one policy.
    pub needed: usize,
    /// The room for an inline policy, after the role's other inline policies.
    pub inline: usize,
    /// The number of managed policies that can still be attached.
    pub managed: usize,
    /// The maximum size of a managed policy.
    pub each: usize,
}

/// Packs the grants of a role into the room that its own inline and managed policies leave.
///
/// # Errors
/// When the statements do not fit however they are divided.
pub fn packed(spec: &Spec, facts: &Facts, chains: &Chains, role: &str) -> Result<Packed, PackError> {
    let own = spec.roles.get(role);
    let inline: usize = own
        .into_iter()
        .flat_map(|r| r.inline.values())
        .filter_map(|document| document.parse().ok())
        .map(|policy| size(&policy))
        .sum();
    let attached = own.map_or(0, |r| r.policies.len());
    pack(
        &identity_statements(spec, facts, chains, role),
        PolicyPlace::RoleInlineTotal.quota().saturating_sub(inline),
        ATTACHMENTS.saturating_sub(attached),
    )
}

/// The managed policies that a role's grants need. Empty also if the grants do not fit at all, which [`packed`]
/// reports.
#[must_use]
pub fn spilled(spec: &Spec, facts: &Facts, chains: &Chains, role: &str) -> Vec<Policy> {
    if fits_inline(spec, chains, role) {
        return Vec::new();
    }
    packed(spec, facts, chains, role).map(|packed| packed.managed).unwrap_or_default()
}

/// Whether a role's grants certainly fit inline. It only estimates, because most roles have few grants. A grant adds
/// statements on objects, lists, the bucket and its key, and a role to assume. Its prefix appears in three places,
/// where an escaped character takes up to four.
fn fits_inline(spec: &Spec, chains: &Chains, role: &str) -> bool {
    let is_alone = spec.roles.get(role).is_none_or(|own| own.inline.is_empty());
    let most = |chain: &Chain| {
        let actions = match &chain.access {
            Access::Actions(actions) => actions.iter().map(|action| action.len() + 3).sum(),
            _ => 0,
        };
        2_000 + 12 * chain.prefix.len() + actions
    };
    is_alone && chains.through(role).map(most).sum::<usize>() <= PolicyPlace::RoleInlineTotal.quota()
}

/// Distributes statements. `inline_room` is the part of the role's quota that other inline policies leave,
/// `managed_room` the number of managed policies that can still be attached.
///
/// The result is deterministic. Statements that are too large for a document are divided; smaller pieces fill documents
/// better but repeat more.
///
/// # Errors
/// When the statements do not fit however they are divided.
pub fn pack(statements: &[Statement], inline_room: usize, managed_room: usize) -> Result<Packed, PackError> {
    if statements.is_empty() {
        return Ok(Packed::default());
    }
    let each = PolicyPlace::ManagedPolicy.quota();
    let whole = as_policy(statements.iter().cloned());
    let needed = size(&whole);
    if needed <= inline_room {
        return Ok(Packed { inline: Some(whole), managed: Vec::new() });
    }
    [each, each / 2, each / 4, each / 8]
        .into_iter()
        .find_map(|piece| distribute(statements, piece, inline_room, managed_room))
        .ok_or(PackError { needed, inline: inline_room, managed: managed_room, each })
}

/// Puts each piece into the first document with room for it, the inline policy first.
fn distribute(statements: &[Statement], piece: usize, inline_room: usize, managed_room: usize) -> Option<Packed> {
    let each = PolicyPlace::ManagedPolicy.quota();
    let mut inline: Vec<Statement> = Vec::new();
    let mut managed: Vec<Vec<Statement>> = Vec::new();
    for piece in statements.iter().flat_map(|s| divide(s, piece)) {
        let fits =
            |held: &[Statement], room: usize| size(&as_policy(held.iter().cloned().chain([piece.clone()]))) <= room;
        if fits(&inline, inline_room) {
            inline.push(piece);
        } else if let Some(held) = managed.iter_mut().find(|held| fits(held, each)) {
            held.push(piece);
        } else if managed.len() < managed_room && fits(&[], each) {
            managed.push(vec![piece]);
        } else {
            return None;
        }
    }
    Some(Packed {
        inline: (!inline.is_empty()).then(|| as_policy(inline)),
        managed: managed.into_iter().map(as_policy).collect(),
    })
}

/// The size of an identity policy. IAM counts it the same way wherever it is attached.
fn size(policy: &Policy) -> usize {
    measure(PolicyPlace::RoleInlineTotal, policy).used
}

/// Halves a statement until every piece fits into `room` or cannot be halved further.
fn divide(statement: &Statement, room: usize) -> Vec<Statement> {
    if size(&as_policy([statement.clone()])) <= room {
        return vec![statement.clone()];
    }
    let Some(halves) = halves(statement) else { return vec![statement.clone()] };
    halves
        .into_iter()
        .zip(["a", "b"])
        .flat_map(|(half, mark)| {
            // Sids must be unique within a policy.
            let half = match statement.sid() {
                Some(sid) => half.with_sid(&format!("{sid}{mark}")),
                None => half,
            };
            divide(&half, room)
        })
        .collect()
}

/// Splits a statement into two equivalent ones, each with half the resources, or else half the values of the condition
/// with the most alternatives.
fn halves(statement: &Statement) -> Option<[Statement; 2]> {
    let resources = statement.resource().filter(|r| !r.is_inverted()).map(Selector::values).unwrap_or_default();
    if resources.len() > 1 {
        let (left, right) = resources.split_at(resources.len() / 2);
        return Some([left, right].map(|half| statement.clone().on(Selector::of(half.iter().cloned()))));
    }
    let condition = statement
        .conditions()
        .iter()
        .filter(|c| c.values().len() > 1 && has_alternatives(c))
        .max_by_key(|c| c.values().len())?;
    let middle = condition.values().len() / 2;
    let with = |values: Vec<&str>| {
        statement.clone().when(Condition::new(condition.operator(), condition.key().clone(), values))
    };
    Some([with(condition.values().take(middle).collect()), with(condition.values().skip(middle).collect())])
}

/// Whether one matching value is enough. The values of a negated operator, or of `ForAllValues`, cannot be split.
fn has_alternatives(condition: &Condition) -> bool {
    let operator = condition.operator();
    !operator.test.is_negated() && operator.qualifier != Some(Qualifier::ForAllValues)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::access::lower;
    use crate::iam::Test;
    use crate::spec::{SourceFile, load};

    const ROOM: usize = 10_240;

    fn read(buckets: usize) -> Statement {
        let resources: Vec<String> =
            (0..buckets).map(|n| format!("arn:aws:s3:::acme-models-{n:04}/weights/*")).collect();
        Statement::allow(["s3:GetObject", "s3:GetObjectVersion"], resources.iter().map(String::as_str)).with_sid("Read")
    }

    fn list(prefixes: usize) -> Statement {
        let values: Vec<String> = (0..prefixes).map(|n| format!("models/model-{n:04}/*")).collect();
        Statement::allow(["s3:ListBucket"], ["arn:aws:s3:::acme-models"])
            .when(Condition::new(Test::StringLike, "s3:prefix", values.iter().map(String::as_str)))
            .with_sid("List")
    }

    /// The requests that statements allow: (action, resource, condition with one value).
    fn allowed<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> BTreeSet<(String, String, String)> {
        let mut pairs = BTreeSet::new();
        for statement in statements {
            let conditions: Vec<String> = match statement.conditions() {
                [] => vec![String::new()],
                [one] => one.values().map(|v| format!("{} {} {v}", one.operator(), one.key())).collect(),
                more => panic!("{more:?}"),
            };
            for action in statement.action().values() {
                for resource in statement.resource().unwrap().values() {
                    for condition in &conditions {
                        pairs.insert((action.to_string(), resource.to_string(), condition.clone()));
                    }
                }
            }
        }
        pairs
    }

    /// Packs, checks the properties that must hold of every result, and returns the sizes of the documents.
    fn check(statements: &[Statement], inline_room: usize, managed_room: usize) -> (Option<usize>, Vec<usize>) {
        let packed = pack(statements, inline_room, managed_room).unwrap();
        let documents: Vec<&Policy> = packed.inline.iter().chain(&packed.managed).collect();
        let pieces: Vec<&Statement> = documents.iter().flat_map(|p| p.statements()).collect();
        assert_eq!(allowed(pieces.iter().copied()), allowed(statements), "nothing is lost or added");
        for document in documents {
            let sids: BTreeSet<&str> = document.statements().iter().filter_map(Statement::sid).collect();
            assert_eq!(sids.len(), document.statements().len(), "Sids are unique in {document}");
        }
        assert!(packed.inline.iter().all(|p| size(p) <= inline_room));
        assert!(packed.managed.iter().all(|p| size(p) <= PolicyPlace::ManagedPolicy.quota()));
        assert!(packed.managed.len() <= managed_room);
        assert_eq!(pack(statements, inline_room, managed_room), Ok(packed.clone()), "deterministic");
        (packed.inline.as_ref().map(size), packed.managed.iter().map(size).collect())
    }

    #[test]
    fn no_statements_need_no_policy() {
        assert_eq!(pack(&[], 0, 0), Ok(Packed::default()));
    }

    #[test]
    fn statements_that_fit_inline_stay_in_one_policy() {
        let statements = [read(20), list(20)];
        let packed = pack(&statements, ROOM, 10).unwrap();
        assert_eq!(packed, Packed { inline: Some(as_policy(statements.clone())), managed: Vec::new() });
        let used = size(&as_policy(statements.clone()));
        assert_eq!(check(&statements, used, 0), (Some(used), vec![]));
        assert!(pack(&statements, used - 1, 0).is_err());
    }

    #[test]
    fn statements_that_do_not_fit_inline_overflow_into_managed_policies() {
        let (small, large) = (read(100), list(200));
        assert!(size(&as_policy([small.clone()])) < 5_000 && size(&as_policy([large.clone()])) < 6_144);
        assert_eq!(
            check(&[small.clone(), large.clone()], 5_000, 10),
            (Some(size(&as_policy([small.clone()]))), vec![size(&as_policy([large.clone()]))])
        );
        let (inline, managed) = check(&[small, large], 0, 10);
        assert_eq!((inline, managed.len()), (None, 2), "without inline room all of it is managed, undivided");
    }

    #[test]
    fn a_large_statement_is_divided_by_its_resources() {
        let (inline, managed) = check(&[read(1_000)], ROOM, 10);
        assert!(inline.is_some() && managed.len() > 3, "{inline:?} {managed:?}");
    }

    #[test]
    fn a_large_statement_of_one_resource_is_divided_by_its_alternatives() {
        let (inline, managed) = check(&[list(1_000)], ROOM, 10);
        assert!(inline.is_some() && managed.len() > 2, "{inline:?} {managed:?}");
    }

    #[test]
    fn small_pieces_fill_the_space_that_large_ones_leave() {
        let statements = [read(350)];
        assert_eq!(distribute(&statements, PolicyPlace::ManagedPolicy.quota(), ROOM, 1), None);
        let (inline, managed) = check(&statements, ROOM, 1);
        assert!(inline.is_some() && managed.len() == 1, "{inline:?} {managed:?}");
    }

    #[test]
    fn values_that_only_count_together_are_never_divided() {
        for operator in ["StringNotLike", "ForAllValues:StringLike"] {
            let operator: crate::iam::Operator = operator.parse().unwrap();
            let values: Vec<String> = (0..1_000).map(|n| format!("models/model-{n:04}/*")).collect();
            let statement = Statement::allow(["s3:ListBucket"], ["arn:aws:s3:::acme-models"]).when(Condition::new(
                operator,
                "s3:prefix",
                values.iter().map(String::as_str),
            ));
            assert_eq!(divide(&statement, 6_144), std::slice::from_ref(&statement));
            assert!(pack(&[statement], ROOM, 10).is_err());
        }
    }

    #[test]
    fn statements_that_do_not_fit_are_refused_with_the_sizes() {
        let needed = size(&as_policy([read(1_000)]));
        assert_eq!(pack(&[read(1_000)], 4_000, 2), Err(PackError { needed, inline: 4_000, managed: 2, each: 6_144 }));
        assert_eq!(
            pack(&[read(1_000)], 4_000, 2).unwrap_err().to_string(),
            format!(
                "{needed} characters do not fit into one inline policy of 4000 characters and 2 managed policies of 6144"
            )
        );
    }

    /// Whether the estimate says that the grants of one service account, given as prefixes, fit. If so, checks that
    /// they do.
    fn fit_for_sure(prefixes: &[String], access: &str) -> bool {
        let grants: Vec<String> = prefixes
            .iter()
            .enumerate()
            .map(|(n, prefix)| {
                let prefix = serde_json::Value::from(prefix.as_str());
                format!("{{ to: s, bucket: b{}, prefix: {prefix}, {access} }}", n % 2)
            })
            .collect();
        let text = format!(
            r#"
version: 1
project: p
accounts:
  a: {{ id: "111111111111", region: us-gov-west-1 }}
  b: {{ id: "222222222222", region: us-gov-west-1 }}
clusters: {{ c: {{ account: a, name: c }} }}
keys: {{ k: {{ account: b, alias: {} }} }}
buckets:
  b0: {{ account: b, name: {}, encryption: {{ kms_key: k }} }}
  b1: {{ account: a, name: acme }}
service_accounts: {{ s: {{ cluster: c, namespace: n, name: s }} }}
grants: [ {} ]
"#,
            "k".repeat(240),
            "b".repeat(63),
            grants.join(", ")
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        let spec = spec.unwrap_or_else(|| panic!("{problems:?}"));
        let (facts, chains) = (Facts::placeholders(&spec), lower(&spec));
        for role in chains.roles().keys().filter(|role| fits_inline(&spec, &chains, role)) {
            let packed = packed(&spec, &facts, &chains, role).unwrap();
            assert_eq!(packed.managed, [], "{role} {prefixes:?} {access}");
        }
        fits_inline(&spec, &chains, "s")
    }

    proptest! {
        #[test]
        fn fits_for_sure_is_never_wrong(
            prefixes in proptest::collection::vec("[a-z*$?{é\"]{0,60}", 1..6),
            access in prop_oneof![
                Just("access: read, head_bucket: true"),
                Just("access: readwrite, mode: assume_role"),
                Just(r#"access: ["s3:GetObject", "s3:GetObjectVersion", "s3:GetBucketLogging"]"#),
            ],
        ) {
            fit_for_sure(&prefixes, access);
        }
    }

    #[test]
    fn few_grants_fit_for_sure_but_many_may_not() {
        let prefixes = |count: usize| (0..count).map(|n| format!("models/{n}/")).collect::<Vec<_>>();
        assert!(fit_for_sure(&prefixes(4), "access: read"));
        assert!(!fit_for_sure(&prefixes(6), "access: read"));
    }

    #[test]
    fn policies_of_the_role_take_their_space_first() {
        let grants = |inline: &str, policies: usize| {
            let policies: Vec<String> = (0..policies).map(|n| format!("arn:aws:iam::aws:policy/Policy{n}")).collect();
            let grants: Vec<String> = (0..250)
                .map(|n| format!("{{ to: s, bucket: b, prefix: models/model-{n:04}/, access: read }}"))
                .collect();
            let text = format!(
                r#"
version: 1
project: p
accounts: {{ a: {{ id: "111111111111", region: us-east-1 }} }}
clusters: {{ c: {{ account: a, name: c }} }}
buckets: {{ b: {{ account: a, name: acme-models }} }}
roles: {{ r: {{ account: a, name: r, inline: {{ {inline} }}, policies: [ {} ] }} }}
service_accounts: {{ s: {{ cluster: c, namespace: n, name: s, role: r }} }}
grants: [ {} ]
"#,
                policies.join(", "),
                grants.join(", ")
            );
            let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
            assert_eq!(problems, []);
            let spec = spec.unwrap();
            packed(&spec, &Facts::placeholders(&spec), &lower(&spec), "r")
        };
        let own = r#"own: { Version: "2012-10-17", Statement: { Effect: Allow, Action: "s3:*", Resource: "*" } }"#;
        let taken = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
        let alone = grants("", 0).unwrap();
        let beside = grants(own, 3).unwrap();
        assert!(alone.inline.is_some() && !alone.managed.is_empty());
        assert!(beside.inline.is_some() && !beside.managed.is_empty());
        let error = |result: Result<Packed, PackError>| result.map(|p| p.managed.len()).unwrap_err();
        assert_eq!((error(grants("", 10)).inline, error(grants("", 10)).managed), (10_240, 0));
        let beside = error(grants(own, 10));
        assert_eq!((beside.inline, beside.managed), (10_240 - taken.len(), 0));
    }
}
