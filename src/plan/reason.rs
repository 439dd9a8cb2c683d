//! The reasons for a step. They explain and never decide: everything that apply needs is in other fields of the step.

use serde::{Deserialize, Serialize};

use crate::address::{Address, Scope};
use crate::document::FieldPath;

/// The reason for a step.
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
    /// The object that the resource is a part of is replaced.
    WholeReplaced,
    /// An object that the resource refers to is replaced.
    ReferenceReplaced,
    /// The spec gives the resource another name.
    Renamed {
        /// The previous physical id.
        from: String,
    },
    /// The spec gives the resource another place.
    Moved {
        /// The previous place.
        #[schemars(with = "serde_json::Value")]
        from: Scope,
    },
    /// The object was deposed by an earlier run, which was interrupted before deleting it.
    StillDeposed {
        /// Its physical id.
        physical_id: String,
    },
    /// The resource was removed from the spec.
    RemovedFromSpec,
    /// The run destroys everything that the project owns.
    Destroyed,
    /// The resource predates this project, so only the ownership tags are removed.
    ExistedBefore,
    /// The resource has `on_destroy: keep`, so only the ownership tags are removed.
    Kept,
    /// The spec has the resource with `managed: false`.
    ManagedElsewhere,
    /// Another project owns the resource now.
    OwnedByAnother,
    /// The resource no longer exists.
    Gone,
    /// The resource no longer exists, and another object was created under its name outside Bailiwick.
    Taken,
    /// The resource is managed under another key.
    NewKey,
    /// The policy of the resource names the id of a deleted principal.
    NamesGone {
        /// The id.
        id: String,
        /// The address of the resource that had the id, if this project managed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        was: Option<Address>,
    },
    /// The reason in the words of a plan of format 1.0.
    Words {
        /// The text.
        text: String,
    },
}
