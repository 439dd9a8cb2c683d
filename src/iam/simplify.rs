//! A smaller policy with the same meaning.

use super::compare::equivalent;
use super::condition::Condition;
use super::policy::{Policy, Selector, Statement};

/// The maximum number of values that are tried one by one. AWS accepts fewer in a policy.
const MOST_TRIES: usize = 2_000;

/// Removes statements and values that others cover, and joins statements that differ in one element. Every step is
/// proved by [`compare`](super::compare()); a step without proof is not made.
#[must_use]
pub fn simplify(policy: &Policy) -> Policy {
    let mut tries = MOST_TRIES;
    let mut simple = without_statements(policy, &mut tries);
    simple = without_values(&simple, &mut tries);
    simple = joined(&simple);
    without_statements(&simple, &mut tries)
}

/// The policy if it means the same as `original`, within the number of tries.
fn proved(original: &Policy, tries: &mut usize, smaller: Policy) -> Option<Policy> {
    *tries = tries.checked_sub(1)?;
    equivalent(original, &smaller).then_some(smaller)
}

fn with_statements(policy: &Policy, statements: Vec<Statement>) -> Policy {
    Policy::from_parts(policy.version(), policy.id().map(Into::into), statements)
}

fn without_statements(policy: &Policy, tries: &mut usize) -> Policy {
    let mut simple = policy.clone();
    let mut at = 0;
    while at < simple.statements().len() && simple.statements().len() > 1 {
        let rest = simple.statements().iter().enumerate().filter(|(other, _)| *other != at);
        let smaller = with_statements(&simple, rest.map(|(_, statement)| statement.clone()).collect());
        match proved(&simple, tries, smaller) {
            Some(smaller) => simple = smaller,
            None => at += 1,
        }
    }
    simple
}

/// Removes single values of actions, resources and conditions.
fn without_values(policy: &Policy, tries: &mut usize) -> Policy {
    let mut simple = policy.clone();
    for at in 0..simple.statements().len() {
        let mut place = 0;
        while let Some(statement) = simple.statements().get(at).cloned() {
            let Some(smaller) = without_value(&statement, place) else { break };
            let Some(smaller) = smaller else {
                place += 1;
                continue;
            };
            let statements = simple.statements().iter().enumerate();
            let statements = statements.map(|(other, s)| if other == at { smaller.clone() } else { s.clone() });
            match proved(&simple, tries, with_statements(&simple, statements.collect())) {
                Some(smaller) => simple = smaller,
                None => place += 1,
            }
        }
    }
    simple
}

/// The statement without the value at a place, counted over actions, resources and conditions. `Some(None)` if the value
/// is the only one of its element; `None` after the last place.
#[expect(clippy::option_option, reason = "the end of the values differs from a value that must stay")]
fn without_value(statement: &Statement, place: usize) -> Option<Option<Statement>> {
    let mut place = place;
    let mut without = |count: usize| {
        if place < count {
            return Some(place);
        }
        place -= count;
        None
    };
    if let Some(at) = without(statement.action.values.len()) {
        let action = less(&statement.action, at);
        return Some(action.map(|action| Statement { action, ..statement.clone() }));
    }
    if let Some(resource) = &statement.resource
        && let Some(at) = without(resource.values.len())
    {
        return Some(less(resource, at).map(|resource| Statement { resource: Some(resource), ..statement.clone() }));
    }
    for (number, condition) in statement.condition.iter().enumerate() {
        // A condition may be removed as a whole, and its values one by one.
        if let Some(at) = without(condition.values.len() + 1) {
            let mut conditions = statement.condition.clone();
            match at.checked_sub(1) {
                None => {
                    conditions.remove(number);
                }
                Some(_) if condition.values.len() == 1 => return Some(None),
                Some(at) => {
                    let values = condition.values.iter().enumerate().filter(|(other, _)| *other != at);
                    let values = values.map(|(_, value)| value.clone()).collect();
                    if let Some(place) = conditions.get_mut(number) {
                        *place = Condition { values, ..condition.clone() };
                    }
                }
            }
            return Some(Some(Statement { condition: conditions, ..statement.clone() }));
        }
    }
    None
}

fn less<T: Clone>(selector: &Selector<T>, at: usize) -> Option<Selector<T>> {
    let values = selector.values.iter().enumerate().filter(|(other, _)| *other != at);
    let values: Box<[T]> = values.map(|(_, value)| value.clone()).collect();
    (!values.is_empty()).then_some(Selector { inverted: selector.inverted, values })
}

/// Joins statements that differ only in their actions, or only in their resources.
fn joined(policy: &Policy) -> Policy {
    let mut kept: Vec<Statement> = Vec::new();
    for statement in policy.statements() {
        match kept.iter_mut().find_map(|known| Some((join(known, statement)?, known))) {
            Some((both, known)) => *known = both,
            None => kept.push(statement.clone()),
        }
    }
    let smaller = with_statements(policy, kept);
    if equivalent(policy, &smaller) { smaller } else { policy.clone() }
}

fn join(a: &Statement, b: &Statement) -> Option<Statement> {
    let same = (a.effect, &a.principal, &a.condition) == (b.effect, &b.principal, &b.condition);
    let both = |a: &Selector<_>, b: &Selector<_>| union(a, b);
    if !same {
        None
    } else if a.resource == b.resource {
        Some(Statement { action: both(&a.action, &b.action)?, ..a.clone() })
    } else if a.action == b.action {
        let resource = union(a.resource.as_ref()?, b.resource.as_ref()?)?;
        Some(Statement { resource: Some(resource), ..a.clone() })
    } else {
        None
    }
}

fn union<T: Clone + Ord>(a: &Selector<T>, b: &Selector<T>) -> Option<Selector<T>> {
    let values = super::policy::sorted(a.values.iter().chain(&b.values).cloned().collect());
    (!a.inverted && !b.inverted).then_some(Selector { inverted: false, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn simple(statements: &Value) -> Value {
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        simplify(&Policy::from_value(&policy).unwrap()).to_value()["Statement"].clone()
    }

    #[test]
    fn covered_values_go_and_halves_join() {
        assert_eq!(
            simple(&json!([
                {"Effect": "Allow", "Action": ["s3:Get*", "s3:GetObject"], "Resource": "arn:aws:s3:::b/*"},
                {"Effect": "Allow", "Action": "s3:PutObject", "Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b/x"]},
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/x",
                    "Condition": {"Bool": {"aws:SecureTransport": "true"}}},
            ])),
            json!([{"Effect": "Allow", "Action": ["s3:Get*", "s3:PutObject"], "Resource": "arn:aws:s3:::b/*"}])
        );
    }

    #[test]
    fn what_only_all_others_cover_goes_too() {
        assert_eq!(
            simple(&json!([
                {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
                {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/*"},
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*/x"},
            ])),
            json!([
                {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
                {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/*"},
            ])
        );
    }
}
