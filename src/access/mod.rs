//! Lowers grants to chains: who reaches which data, through which roles.
//!
//! [`lower`] turns every grant into a [`Chain`]. The other functions derive from [`Chains`] alone what each side of a
//! chain must contain: the trust policy of a role, its identity policies, and the statements of a bucket or key policy.
//! Kinds call these functions; nothing here knows how a side is stored.

mod actions;
mod ask;
mod broken;
mod chain;
mod change;
mod cluster;
mod facet;
mod findings;
mod identity;
mod index;
mod lockout;
mod pack;
mod resource;
mod roles;
mod terms;
mod trust;
mod unread;
mod world;

pub use actions::{Actions, pattern_text};
pub use ask::{AccessAnswers, AccessTarget, AccessVerdict, Answer, AskError};
pub use broken::{Break, Broken, Denial, DeniedBy, Fix, Grant, Missing};
pub use chain::{Chain, Chains, lower};
pub use change::{
    AccessChange, Crossing, Direction, ExampleRequest, ExampleValue, Group, between_policies, diff, regions_between,
    rows,
};
pub use cluster::{ClusterAccess, ClusterRight, is_session_of};
pub use facet::{Carrier, Facet, Instance, PodBinding, PolicyText, ResourcePolicy, RoleRef, principals};
pub use findings::findings;
pub use identity::{identity_statements, render_for_owner};
pub use lockout::lockout;
pub use pack::{INLINE_NAME, PackError, Packed, pack, packed, spilled};
pub use resource::{bucket_statements, key_statements, own_sid, sid_prefix};
pub use roles::{Origin, ResolvedRole, annotations, role_key};
pub use terms::{
    AccountRef, AllowedBy, AppliedRule, ChainCaller, ChainRole, ChainStep, DataPlace, Exception, Grantee, PlaceKind,
    PolicyOf, PolicyRef, Requirement, StatementRef, Trusted,
};
pub use trust::{role_trust, trusted_roles};
pub use unread::Unread;
pub use world::{Pod, Who, World};

#[cfg(test)]
mod tests;
