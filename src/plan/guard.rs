//! Refuses plans that delete or replace too much, unless a flag allows it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Plan, Step, StepId, Which};
use crate::address::Address;
use crate::diagnostic::Code;
use crate::kind::{Kinds, OnLoss};

/// The share of managed resources, in percent, that a plan may delete without a flag.
const SHARE: usize = 30;
const FREE: usize = 3;

/// The flags that allow what the guard would refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// How many resources may be deleted or replaced. Without it, a share of all managed resources.
    pub allow_deletes: Option<usize>,
    /// Resources that may be deleted although that destroys data.
    pub allow_delete: BTreeSet<Address>,
    /// Whether the run is a `destroy`, for which the share does not apply.
    pub destroying: bool,
    /// The kind and physical id of the bucket that holds the state.
    pub holds_state: Option<(&'static str, String)>,
}

/// How a plan removes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Taken {
    /// The plan deletes the object.
    Delete,
    /// The plan replaces the object.
    Replace,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Replace => "replace",
        })
    }
}

/// The reason why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Refusal {
    /// A protected resource would be deleted or replaced.
    Protected {
        /// The resource.
        #[schemars(with = "String")]
        address: Address,
        /// Whether it would be deleted or replaced.
        action: Taken,
    },
    /// Deleting the object would lose data, and no flag names the object.
    #[serde(rename = "data-loss")]
    Unnamed {
        /// The object's address.
        #[schemars(with = "String")]
        address: Address,
        /// The consequence of the loss.
        loss: String,
    },
    /// The bucket that holds the state would be deleted.
    #[serde(rename = "state-bucket")]
    State {
        /// The bucket's address.
        #[schemars(with = "String")]
        address: Address,
    },
    /// The plan would delete or replace too large a share of the managed resources.
    #[serde(rename = "too-many-deletes")]
    TooMany {
        /// The number of resources to delete or replace.
        going: usize,
        /// The number of managed resources.
        managed: usize,
        /// The number that may be deleted or replaced.
        most: usize,
    },
}

impl Refusal {
    /// Its code, which is also the tag of its JSON.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Protected { .. } => Code::Protected,
            Self::Unnamed { .. } => Code::DataLoss,
            Self::State { .. } => Code::StateBucket,
            Self::TooMany { .. } => Code::TooManyDeletes,
        }
    }
}

/// Everything about a plan that must be named before it is applied.
#[must_use]
pub fn guard(plan: &Plan, managed: usize, allowed: &Guard, kinds: &Kinds<'_>) -> Vec<Refusal> {
    let replaced: BTreeSet<StepId> = plan.steps.iter().filter_map(Step::replaces).collect();
    // A protected object must not be deposed either, even if it is only released.
    let going: Vec<&Step> =
        plan.steps.iter().filter(|s| s.deletes() || (s.lets_go() && s.id().which != Which::Current)).collect();
    let gone: Vec<&Step> = going.iter().copied().filter(|s| s.deletes()).collect();
    let mut refusals: Vec<Refusal> = going
        .iter()
        .filter(|s| s.protect)
        .map(|s| {
            let taken = if replaced.contains(s.id()) { Taken::Replace } else { Taken::Delete };
            Refusal::Protected { address: s.address().clone(), action: taken }
        })
        .collect();
    refusals.extend(gone.iter().filter_map(|step| {
        let address = step.address();
        let named = allowed.allow_delete.contains(address);
        match kinds.about(address.kind()).map(|about| about.on_loss) {
            Some(OnLoss::Named { loss }) if !named => {
                Some(Refusal::Unnamed { address: address.clone(), loss: loss.to_owned() })
            }
            _ => None,
        }
    }));
    let holds_state = |s: &&&Step| {
        let holder = allowed.holds_state.as_ref();
        holder.is_some_and(|(kind, id)| s.address().kind().as_str() == *kind && s.physical_id == *id)
    };
    refusals.extend(gone.iter().filter(holds_state).map(|s| Refusal::State { address: s.address().clone() }));
    let most = allowed.allow_deletes.unwrap_or_else(|| FREE.max(managed * SHARE / 100));
    if !allowed.destroying && gone.len() > most {
        refusals.push(Refusal::TooMany { going: gone.len(), managed, most });
    }
    refusals
}
