//! The difference in list access, by prefix.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::Changes;
use super::reaches::Data;
use super::rows::Direction;
use super::side::{Side, Sides};
use crate::access::terms::{Exception, PlaceKind};
use crate::access::world::nodes::WorldBucket;
use crate::iam::{Area, Pattern, Reach};

/// A requested prefix, or none, with the reach of both sides for it.
type Asked<'p> = (Option<&'p Pattern>, Reach, Reach);

/// A bucket on one side, with the reach on the bucket for requests without a prefix.
pub(super) struct ListedBucket<'b> {
    pub bucket: Option<&'b WorldBucket>,
    pub reach: Reach,
}

/// The maximum number of prefixes for which partial overlaps are compared too. Real policies have none.
const MOST_PREFIXES: usize = 32;

/// The actions that list names and accept `s3:prefix`.
pub(super) const LISTS: [&str; 2] = ["ListBucket", "ListBucketVersions"];

impl Changes {
    /// Adds the differences in which keys can be listed. Each prefix in a policy of either world is tried with a text
    /// that matches it and nothing narrower. Two more requests are tried: one without a prefix, with the known reach on
    /// the bucket itself, and one with a prefix that no policy mentions.
    pub(super) fn lists(&mut self, sides: Sides<'_>, old: ListedBucket<'_>, new: ListedBucket<'_>) {
        let Some(bucket) = new.bucket.or(old.bucket) else { return };
        let Sides { before, after, .. } = sides;
        let mut prefixes: Vec<Pattern> = [before.prefixes(old.bucket), after.prefixes(new.bucket)]
            .concat()
            .iter()
            .map(|text| Pattern::new(text))
            .collect();
        prefixes.push(Pattern::any());
        prefixes.sort_unstable();
        prefixes.dedup();
        if prefixes.len() <= MOST_PREFIXES {
            // Where two prefixes overlap, a request may match both or only one.
            let meets = prefixes.iter().flat_map(|a| prefixes.iter().flat_map(|b| a.intersection(b)));
            prefixes = meets.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let itself = Area::on(Pattern::literal(&bucket.arn));
        let asked: Vec<Asked> = prefixes
            .iter()
            .map(|pattern| {
                let text = representative(pattern);
                let reach_of = |side: Side, bucket| side.bucket_reach(bucket, Some(&text)).within(&itself);
                (Some(pattern), reach_of(before, old.bucket), reach_of(after, new.bucket))
            })
            .chain([(None, old.reach, new.reach)])
            .collect();
        for action in LISTS {
            self.listed(sides, bucket, &asked, &format!("s3:{action}"));
        }
    }

    /// Adds the differences for one list action.
    fn listed(&mut self, sides: Sides<'_>, bucket: &WorldBucket, asked: &[Asked<'_>], action: &str) {
        let names = [action.to_owned()];
        let lists = Area::of_actions([action]);
        let asked: Vec<Asked> =
            asked.iter().map(|(pattern, old, new)| (*pattern, old.within(&lists), new.within(&lists))).collect();
        let account = sides.after.world.account(&bucket.account);
        for direction in [Direction::Gain, Direction::Loss] {
            let ordered = |(_, old, new): &'_ Asked| {
                let (one, other) = if direction == Direction::Gain { (new, old) } else { (old, new) };
                !one.minus(other).is_empty()
            };
            let moved: Vec<bool> = asked.iter().map(ordered).collect();
            let all = || asked.iter().zip(&moved);
            let rows = with_rows(all().filter_map(|((pattern, ..), moved)| Some(((*pattern)?, *moved))).collect());
            let without = all().find(|((pattern, ..), _)| pattern.is_none()).is_some_and(|(_, moved)| *moved);
            for ((pattern, old_reach, new_reach), moved) in all() {
                let everything = all().any(|((p, ..), moved)| *moved && p.is_some_and(|p| *p == Pattern::any()));
                if !*moved || pattern.map_or(everything, |pattern| !rows.contains(&pattern)) {
                    continue;
                }
                let place = |pattern: Option<&Pattern>| PlaceKind::Listing {
                    bucket: bucket.name.clone(),
                    pattern: pattern.map(ToString::to_string),
                    account: account.clone(),
                };
                let mut left: Vec<&Pattern> = all()
                    .filter(|(_, moved)| !**moved)
                    .filter_map(|((inner, ..), _)| *inner)
                    .filter(|inner| pattern.is_some_and(|p| p.includes(inner)))
                    .collect();
                let inner = left.clone();
                left.retain(|p| !inner.iter().any(|wide| wide != p && wide.includes(p)));
                let mut except: Vec<Exception> = left.into_iter().map(|p| Exception::place(place(Some(p)))).collect();
                if pattern.is_some_and(|p| *p == Pattern::any()) && !without {
                    except.push(Exception::place(place(None)));
                }
                let (one, other) =
                    if direction == Direction::Gain { (new_reach, old_reach) } else { (old_reach, new_reach) };
                let here = |_: &Pattern| place(*pattern);
                let data = Data { owner: &bucket.account, actions: &names, place: &here, without: &except };
                self.one_way(direction, sides, one, other, &data);
            }
        }
    }
}

/// The moved prefixes that need a row. The row of a wider prefix covers the others, unless a prefix between the two did
/// not move: that is an exception to the row.
fn with_rows(mut prefixes: Vec<(&Pattern, bool)>) -> Vec<&Pattern> {
    let inside = |wide: &Pattern, narrow: &Pattern| wide != narrow && wide.includes(narrow);
    let width = |pattern: &Pattern| prefixes.iter().filter(|(other, _)| pattern.includes(other)).count();
    let widths: BTreeMap<&Pattern, usize> = prefixes.iter().map(|(pattern, _)| (*pattern, width(pattern))).collect();
    prefixes.sort_by_key(|(pattern, _)| std::cmp::Reverse(widths.get(pattern).copied()));
    let mut rows: Vec<&Pattern> = Vec::new();
    for (pattern, _) in prefixes.iter().filter(|(_, moved)| *moved) {
        let excepted = |row: &Pattern| prefixes.iter().any(|(p, moved)| !moved && inside(row, p) && inside(p, pattern));
        if !rows.iter().any(|row| inside(row, pattern) && !excepted(row)) {
            rows.push(pattern);
        }
    }
    rows
}

/// A text that matches a pattern and none of the narrower patterns of real policies: it replaces each wildcard with a
/// character that no key contains.
fn representative(pattern: &Pattern) -> String {
    pattern.as_literal().unwrap_or_else(|| {
        let text = pattern.to_string();
        text.replace("${*}", "\u{2}")
            .replace("${?}", "\u{3}")
            .replace(['*', '?'], "\u{1}")
            .replace('\u{2}', "*")
            .replace('\u{3}', "?")
            .replace("${$}", "$")
    })
}
