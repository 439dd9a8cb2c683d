//! Sections on access: the access changes of a plan, and answers with their chains.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Mark, Report, Row, Section};
use super::words;
use crate::access::{
    AccessAnswers, AccessChange, AccessVerdict, Answer, ChainStep, Crossing, DataPlace, Direction, Group, Unread,
};

/// The section on gains and losses of access. If steps change no access, the section says so.
#[must_use]
pub fn section(changes: &[AccessChange], has_steps: bool) -> Option<Section> {
    if changes.is_empty() {
        let row = note("no access changes".to_owned());
        return has_steps.then(|| Section { title: "Access".into(), rows: vec![row] });
    }
    Some(Section { title: "Access".into(), rows: rows(changes) })
}

fn note(title: String) -> Row {
    Row { mark: Mark::Note, title, place: String::new(), notes: Vec::new(), details: Vec::new() }
}

/// One row for each principal that gains access and one for each that loses it. Below it are the steps that all chains
/// of the row share, then the actions, the places, and the statements of each change.
fn rows(changes: &[AccessChange]) -> Vec<Row> {
    changes
        .chunk_by(|a, b| (&a.who, &a.change) == (&b.who, &b.change))
        .filter_map(|of_one| {
            let first = of_one.first()?;
            let common = of_one.iter().map(|c| common(&first.via, &c.via)).min().unwrap_or_default();
            let boundaries: BTreeSet<Crossing> = of_one.iter().flat_map(|c| c.crosses.iter().copied()).collect();
            let verb = words::direction(first.change);
            let mark = match first.change {
                Direction::Gain => Mark::Add,
                Direction::Loss => Mark::Remove,
                Direction::Unknown => Mark::Warn,
            };
            let is_loud = mark == Mark::Add && !boundaries.is_empty();
            let crossed = loud(&boundaries).map(|words| format!(" [{words}]")).unwrap_or_default();
            let mut row = note(format!("{} {verb}{crossed}", words::grantee(&first.who)));
            row.mark = if is_loud { Mark::Warn } else { mark };
            let chain = first.via.get(..common).unwrap_or_default();
            if !chain.is_empty() {
                row.notes.push(format!("via {}", steps(chain)));
            }
            row.notes.extend(merged(of_one, common));
            Some(row)
        })
        .collect()
}

/// The steps of a chain with their statements.
fn steps(chain: &[ChainStep]) -> String {
    chain.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn step(step: &ChainStep) -> String {
    match words::step(step) {
        (what, Some(statement)) => format!("{what} ({statement})"),
        (what, None) => what,
    }
}

/// The number of leading steps that two chains share.
fn common(one: &[ChainStep], other: &[ChainStep]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// The lines of one row. Changes that differ only in their place share a line.
fn merged(changes: &[AccessChange], common: usize) -> Vec<String> {
    let mut lines: Vec<(&AccessChange, Vec<&DataPlace>)> = Vec::new();
    for change in changes {
        let same = lines.iter_mut().find(|(first, _)| {
            (&first.access, &first.actions, &first.except, &first.conditions, &first.via)
                == (&change.access, &change.actions, &change.except, &change.conditions, &change.via)
        });
        match same {
            Some((_, places)) => places.push(&change.place),
            None => lines.push((change, vec![&change.place])),
        }
    }
    lines.into_iter().map(|(change, places)| line(change, &places, common)).collect()
}

/// `read (s3:GetObject) on bucket/prefix*, except ..., if ..., by ...`.
fn line(change: &AccessChange, places: &[&DataPlace], common: usize) -> String {
    let groups: Vec<String> = change.access.iter().map(ToString::to_string).collect();
    let mut text = groups.join(", ");
    if !change.actions.is_empty() {
        text = format!("{text} ({})", some(&change.actions));
    }
    let places: Vec<String> = places.iter().map(|place| words::place(place)).collect();
    text = if change.access.contains(&Group::Unknown) || change.access.contains(&Group::Cluster) {
        places.join(", ")
    } else {
        format!("{text} on {}", places.join(", "))
    };
    let except: Vec<String> = change.except.iter().map(words::exception).collect();
    let conditions: Vec<String> = change.conditions.iter().map(words::requirement).collect();
    for (word, list, join) in [("except", except, ", "), ("if", conditions, " and ")] {
        if !list.is_empty() {
            text = format!("{text}, {word} {}", list.join(join));
        }
    }
    let rest = change.via.get(common..).unwrap_or_default();
    if rest.is_empty() { text } else { format!("{text}: {}", steps(rest)) }
}

/// At most six actions, to keep the line readable; the JSON has all.
fn some(actions: &[String]) -> String {
    const MOST: usize = 6;
    match actions.get(..MOST) {
        Some(first) if actions.len() > MOST => format!("{} and {} more", first.join(", "), actions.len() - MOST),
        _ => actions.join(", "),
    }
}

/// The boundaries that access crosses, each once, the most severe first.
fn loud(crosses: &BTreeSet<Crossing>) -> Option<String> {
    let words: Vec<&str> = [
        (Crossing::Public, "PUBLIC"),
        (Crossing::Account, "CROSSES ACCOUNTS"),
        (Crossing::Cluster, "CROSSES CLUSTERS"),
    ]
    .into_iter()
    .filter(|(crossing, _)| crosses.contains(crossing))
    .map(|(_, word)| word)
    .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The steps of the chain that hold, and the break.
fn chain_rows(answer: &Answer) -> Vec<Row> {
    let holds = answer.chain.iter().map(|step| {
        let (what, statement) = words::step(step);
        Row { mark: Mark::Good, notes: statement.into_iter().collect(), ..note(what) }
    });
    let broken = answer.broken.iter().map(|broken| {
        let notes = vec![format!("to fix: {}", words::fix(&broken.fix))];
        Row { mark: Mark::Bad, notes, ..note(words::broken(&broken.why)) }
    });
    holds.chain(broken).collect()
}

fn conditions_section(answer: &Answer) -> Option<Section> {
    let lines = words::requirements(&answer.conditions);
    let rows: Vec<Row> = lines.into_iter().map(|line| Row { mark: Mark::Warn, ..note(line) }).collect();
    (!rows.is_empty()).then(|| Section { title: "Conditions".into(), rows })
}

/// The rules of AWS beyond the policy language that took part.
fn rules_section(answer: &Answer) -> Option<Section> {
    let rows: Vec<Row> = answer.rules.iter().map(|rule| note(words::rule(rule))).collect();
    (!rows.is_empty()).then(|| Section { title: "Rules of AWS".into(), rows })
}

/// The report of one answer.
#[must_use]
pub fn answer(answer: &Answer, action: &str, place: &str) -> Report {
    let who = words::grantee(&answer.who);
    let headline = format!("{}: {action} on {place} for {who}", words::verdict(answer.verdict));
    let mut rows = chain_rows(answer);
    rows.extend(answer.unread.iter().map(|unread| Row { mark: Mark::Warn, ..note(words::unread(unread)) }));
    let mut sections = vec![Section { title: "Chain".into(), rows }];
    sections.extend(conditions_section(answer));
    sections.extend(rules_section(answer));
    Report { headline, sections, footer: Vec::new() }
}

/// The report of `who-can`: every principal that is not denied.
#[must_use]
pub fn answers(answers: &AccessAnswers, action: &str, place: &str) -> Report {
    let of = |verdict: AccessVerdict| answers.who.iter().filter(move |answer| answer.verdict == verdict);
    let mut parts = Vec::new();
    let mut sections = Vec::new();
    for (verdict, mark, title) in
        [(AccessVerdict::Allowed, Mark::Good, "Allowed"), (AccessVerdict::Depends, Mark::Warn, "Depends on conditions")]
    {
        let rows: Vec<Row> = of(verdict).map(|answer| chain_row(answer, mark)).collect();
        if !rows.is_empty() {
            parts.push(format!("{} for {}", words::verdict(verdict), principals(rows.len())));
            sections.push(Section { title: title.into(), rows });
        }
    }
    // Principals that are unknown for the same reasons share a row.
    let mut unknown: BTreeMap<&BTreeSet<Unread>, Vec<String>> = BTreeMap::new();
    for answer in of(AccessVerdict::Unknown) {
        unknown.entry(&answer.unread).or_default().push(words::grantee(&answer.who));
    }
    let others: BTreeSet<Unread> = answers.others.iter().cloned().collect();
    if !unknown.is_empty() || !others.is_empty() {
        let everyone_else = if answers.who.is_empty() { "everyone" } else { "everyone else" };
        parts.push(match (of(AccessVerdict::Unknown).count(), others.is_empty()) {
            (0, _) => format!("unknown for {everyone_else}"),
            (n, true) => format!("unknown for {}", principals(n)),
            (n, false) => format!("unknown for {} and {everyone_else}", principals(n)),
        });
        let row = |(reasons, who): (&BTreeSet<Unread>, Vec<String>)| {
            let notes = reasons.iter().map(words::unread).collect();
            Row { mark: Mark::Warn, notes, ..note(who.join(", ")) }
        };
        // Everyone else comes last, unless others are unknown for the same reasons.
        let last = match unknown.get_mut(&others) {
            Some(same) => {
                same.push(everyone_else.to_owned());
                None
            }
            None => (!others.is_empty()).then(|| (&others, vec![everyone_else.to_owned()])),
        };
        let rows = unknown.into_iter().chain(last).map(row).collect();
        sections.push(Section { title: "Unknown".into(), rows });
    }
    let verdict = if parts.is_empty() { "denied for everyone".to_owned() } else { parts.join(", ") };
    let headline = format!("{verdict}: {action} on {place}");
    let footer = vec!["Administrators of the accounts themselves are not listed.".to_owned()];
    Report { headline, sections, footer }
}

fn principals(count: usize) -> String {
    if count == 1 { "1 principal".to_owned() } else { format!("{count} principals") }
}

/// One principal with the chain through which it has access.
fn chain_row(answer: &Answer, mark: Mark) -> Row {
    let mark = if answer.who.is_foreign() { Mark::Warn } else { mark };
    let mut notes: Vec<String> = answer.chain.iter().map(step).collect();
    notes.extend(words::requirements(&answer.conditions));
    notes.extend(answer.rules.iter().map(words::rule));
    Row { mark, notes, ..note(words::grantee(&answer.who)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AccountRef, ChainRole, Grantee, PlaceKind, PolicyOf, PolicyRef, Requirement, StatementRef};
    use crate::iam::AwsRule;

    fn change(name: &str, what: Group, pattern: &str, change: Direction, crosses: &[Crossing]) -> AccessChange {
        let action = if what == Group::Read { "s3:GetObject" } else { "s3:ListBucket" };
        let (bucket, account) = ("b".to_owned(), AccountRef::default());
        let pattern = pattern.to_owned();
        let policy = PolicyRef { of: PolicyOf::Inline { name: "access".into() }, address: None };
        AccessChange {
            who: Grantee::ServiceAccount {
                cluster: Some("c".into()),
                issuer: None,
                namespace: "n".into(),
                name: name.into(),
                foreign: false,
            },
            access: [what].into(),
            actions: vec![action.into()],
            place: PlaceKind::Objects { bucket, pattern, prefix: None, account }.into(),
            except: Vec::new(),
            conditions: Vec::new(),
            change,
            via: vec![
                ChainStep::TrustAssumed { role: ChainRole { role_arn: "arn:r".into(), role: "r".into() } },
                ChainStep::Statement { statement: StatementRef { sid: Some(what.to_string()), position: 1, policy } },
            ],
            crosses: crosses.to_vec(),
            example: None,
        }
    }

    fn reported(changes: &[AccessChange]) -> String {
        let rows = section(changes, true).map(|section| section.rows).unwrap_or_default();
        let lines = rows.into_iter().map(|row| format!("{:?} {}\n  {}\n", row.mark, row.title, row.notes.join("\n  ")));
        lines.collect()
    }

    #[test]
    fn gains_and_losses_are_grouped_by_principal() {
        let changes = [
            change("a", Group::List, "x", Direction::Gain, &[Crossing::Account]),
            change("a", Group::List, "x/*", Direction::Gain, &[Crossing::Account]),
            change("a", Group::Read, "x/*", Direction::Gain, &[Crossing::Account]),
            change("b", Group::Read, "*", Direction::Loss, &[]),
        ];
        assert_eq!(
            reported(&changes),
            "Warn service account n/a in cluster c gains [CROSSES ACCOUNTS]
  via role r is managed elsewhere and assumed to trust it
  list (s3:ListBucket) on b/x, b/x/*: statement `list` of inline policy access
  read (s3:GetObject) on b/x/*: statement `read` of inline policy access
Remove service account n/b in cluster c loses
  via role r is managed elsewhere and assumed to trust it, statement `read` of inline policy access
  read (s3:GetObject) on b/*
"
        );
    }

    #[test]
    fn conditions_show_when_access_is_allowed() {
        let policy = PolicyRef { of: PolicyOf::Bucket { bucket: "b".into(), assumed: false }, address: None };
        let vpce = StatementRef { sid: Some("Vpce".into()), position: 2, policy };
        let condition = |key: &str, operator: &str, of: Option<&StatementRef>| Requirement::Condition {
            operator: operator.into(),
            key: key.into(),
            values: vec!["x".into()],
            negated: of.is_some(),
            statement: of.cloned(),
        };
        let answer = Answer {
            who: Grantee::Anyone,
            verdict: AccessVerdict::Depends,
            chain: Vec::new(),
            broken: None,
            conditions: [
                condition("aws:SourceVpce", "StringNotEquals", Some(&vpce)),
                condition("aws:userid", "StringNotLike", Some(&vpce)),
                condition("aws:SourceIp", "IpAddress", None),
            ]
            .into(),
            unread: BTreeSet::new(),
            rules: [AwsRule::RetireGrant.into()].into(),
        };
        let expected = [
            "if aws:SourceIp IpAddress `x`",
            "unless aws:SourceVpce StringNotEquals `x` and aws:userid StringNotLike `x`: then statement `Vpce` of the \
             policy of bucket b denies it",
        ];
        let rule = "resource control policies do not apply to `kms:RetireGrant` (AWS KMS Developer Guide, \"Retiring and \
                    revoking grants\")";
        let report = super::answer(&answer, "s3:GetObject", "s3://b/k");
        let titles = |section: &Section| section.rows.iter().map(|row| row.title.clone()).collect::<Vec<_>>();
        assert_eq!(titles(&report.sections[1]), expected);
        assert_eq!(titles(&report.sections[2]), [rule]);
        let all = answers(&AccessAnswers { who: vec![answer], others: None }, "s3:GetObject", "s3://b/k");
        assert_eq!(all.sections[0].rows[0].notes, [expected[0], expected[1], rule]);
    }

    #[test]
    fn steps_without_access_changes_say_so() {
        assert_eq!(reported(&[]), "Note no access changes\n  \n");
        assert_eq!(section(&[], false), None);
    }
}
