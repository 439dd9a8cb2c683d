//! Fits a role's statements into the quotas of IAM: first one inline policy, then managed policies.

use crate::iam::{Place, Policy, Selector, Statement, measure};

use super::resource::as_policy;

/// The name of the inline policy that holds a role's grants.
pub const INLINE_NAME: &str = "bailiwick-access";

/// A role's statements in documents that IAM accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The inline policy, absent if there is nothing to say.
    pub inline: Option<Policy>,
    /// What did not fit, as managed policies to attach.
    pub managed: Vec<Policy>,
}

/// The statements of a role cannot fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grants need more than one inline policy of {inline} characters and {managed} managed policies of {each}")]
pub struct PackError {
    /// What the inline policy may hold, beside other inline policies of the role.
    pub inline: usize,
    /// How many managed policies the role has room for.
    pub managed: usize,
    /// What a managed policy may hold.
    pub each: usize,
}

/// Distributes statements. `inline_room` is what other inline policies leave of the role's quota, `managed_room` the
/// number of managed policies that may still be attached.
///
/// The same statements give the same documents. A statement that is too large for any document is divided by its
/// resources.
///
/// # Errors
/// When they do not fit however they are divided.
pub fn pack(statements: &[Statement], inline_room: usize, managed_room: usize) -> Result<Packed, PackError> {
    if statements.is_empty() {
        return Ok(Packed::default());
    }
    let each = Place::ManagedPolicy.quota();
    let whole = as_policy(statements.iter().cloned());
    if size(&whole, Place::RoleInlineTotal) <= inline_room {
        return Ok(Packed { inline: Some(whole), managed: Vec::new() });
    }
    let failed = || PackError { inline: inline_room, managed: managed_room, each };
    let pieces = statements.iter().flat_map(|s| divide(s, each.min(inline_room.max(1)))).collect::<Vec<_>>();
    let mut inline: Vec<Statement> = Vec::new();
    let mut managed: Vec<Vec<Statement>> = Vec::new();
    for piece in pieces {
        let fits = |held: &[Statement], place: Place, room: usize| {
            size(&as_policy(held.iter().cloned().chain([piece.clone()])), place) <= room
        };
        if managed.is_empty() && fits(&inline, Place::RoleInlineTotal, inline_room) {
            inline.push(piece);
            continue;
        }
        match managed.last_mut().filter(|held| fits(held, Place::ManagedPolicy, each)) {
            Some(held) => held.push(piece),
            None if fits(&[], Place::ManagedPolicy, each) => managed.push(vec![piece]),
            None => return Err(failed()),
        }
    }
    if managed.len() > managed_room {
        return Err(failed());
    }
    Ok(Packed {
        inline: (!inline.is_empty()).then(|| as_policy(inline)),
        managed: managed.into_iter().map(as_policy).collect(),
    })
}

fn size(policy: &Policy, place: Place) -> usize {
    measure(place, policy).used
}

/// Divides a statement by halving its resources until every piece fits into `room`.
fn divide(statement: &Statement, room: usize) -> Vec<Statement> {
    let resources = statement.resource().filter(|r| !r.is_inverted()).map(Selector::values).unwrap_or_default();
    if resources.len() < 2 || size(&as_policy([statement.clone()]), Place::ManagedPolicy) <= room {
        return vec![statement.clone()];
    }
    let (left, right) = resources.split_at(resources.len() / 2);
    let sid = statement.sid().unwrap_or_default().to_owned();
    [(left, "a"), (right, "b")]
        .into_iter()
        .flat_map(|(half, mark)| {
            let part = statement.clone().on(Selector::of(half.iter().cloned())).with_sid(&format!("{sid}{mark}"));
            divide(&part, room)
        })
        .collect()
}
