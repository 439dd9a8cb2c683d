//! Why a step is in a plan. Reasons explain, and never steer: whatever apply needs has a field of its own in the step.

use serde::{Deserialize, Serialize};

use crate::address::{Address, Scope};
use crate::document::FieldPath;

/// Why a step is in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The object is in the spec and does not exist.
    NewInSpec,
    /// The object was deleted outside Bailiwick.
    DeletedOutside,
    /// The object exists as the spec describes it.
    ExistsAsDesired,
    /// The object exists and differs from the spec.
    ExistsDifferently,
    /// The spec changed.
    SpecChanged,
    /// The object was changed outside Bailiwick.
    ChangedOutside,
    /// Fields that cannot be changed in place differ.
    Fixed {
        /// The fields.
        fields: Vec<FieldPath>,
    },
    /// The object that it is a part of is replaced.
    WholeReplaced,
    /// An object that it refers to is replaced.
    ReferenceReplaced,
    /// The spec gives the object another name.
    Renamed {
        /// The name by which its API knew it.
        from: String,
    },
    /// The spec moves the object to another place.
    Moved {
        /// The previous place.
        #[schemars(with = "serde_json::Value")]
        from: Scope,
    },
    /// Another object replaced it, and an earlier run ended before it deleted it.
    StillDeposed {
        /// The name by which its API knows it.
        physical_id: String,
    },
    /// It was removed from the spec.
    RemovedFromSpec,
    /// It predates this project, so only the ownership tags are removed.
    ExistedBefore,
    /// Its `on_destroy` is `keep`, so only the ownership tags are removed.
    Kept,
    /// The spec says that it is managed elsewhere (`managed: false`).
    ManagedElsewhere,
    /// Another project owns it now.
    OwnedByAnother,
    /// It no longer exists.
    Gone,
    /// It no longer exists, and another one was created under its name outside Bailiwick.
    Taken,
    /// It is managed under another key.
    NewKey,
    /// Its policy names the id of a deleted principal.
    NamesGone {
        /// The id.
        id: String,
        /// The address that had the id, if this project managed it.
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
