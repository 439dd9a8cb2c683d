//! Why a step is in a plan. Reasons explain, and never steer: whatever apply needs has a field of its own in the step.

use serde::{Deserialize, Serialize};

use crate::address::{Address, Scope};
use crate::document::FieldPath;

/// Why a step is in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The spec asks for an object that does not exist.
    NewInSpec,
    /// The object was deleted outside Bailiwick.
    DeletedOutside,
    /// The object exists as the spec asks for it.
    ExistsAsDesired,
    /// The object exists and differs from the spec.
    ExistsDifferently,
    /// The spec changed.
    SpecChanged,
    /// The object was changed outside Bailiwick.
    ChangedOutside,
    /// Fields that cannot be changed in place differ.
    Fixed {
        /// Which.
        fields: Vec<FieldPath>,
    },
    /// The object that it is a part of is replaced.
    WholeReplaced,
    /// An object that it names is replaced.
    ReferenceReplaced,
    /// The spec gives the object another name.
    Renamed {
        /// The name by which its API knew it.
        from: String,
    },
    /// The spec puts the object somewhere else.
    Moved {
        /// Where it was.
        #[schemars(with = "serde_json::Value")]
        from: Scope,
    },
    /// Another object took its place, and an earlier run did not get to deleting it.
    StillDeposed {
        /// The name by which its API knows it.
        physical_id: String,
    },
    /// The spec no longer asks for it.
    RemovedFromSpec,
    /// It existed before it was managed, so that only our ownership tags are removed.
    ExistedBefore,
    /// Its `on_destroy` is `keep`, so that only our ownership tags are removed.
    Kept,
    /// The spec says that it is managed elsewhere (`managed: false`).
    ManagedElsewhere,
    /// Another project owns it now.
    OwnedByAnother,
    /// It is gone already.
    Gone,
    /// It is gone already, and another one was created under its name outside Bailiwick.
    Taken,
    /// It is managed under another key.
    NewKey,
    /// Its policy shows the id of a principal that is gone.
    NamesGone {
        /// The id.
        id: String,
        /// The address that had the id, if it was ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        was: Option<Address>,
    },
    /// A reason of a plan of format 1, in its words.
    Words {
        /// The words.
        text: String,
    },
}
