//! Tags: those that mark ownership, and the changes from one set to another.

use std::collections::BTreeMap;

#[cfg(feature = "cloud")]
use crate::address::{Address, Scope};
#[cfg(feature = "cloud")]
use crate::kind::Tagged;
use crate::spec::Spec;

/// The tag that names the owning project.
pub const PROJECT_TAG: &str = "bailiwick:project";
/// The tag that names the address.
pub const ADDRESS_TAG: &str = "bailiwick:address";

/// The tags of an object of ours: the spec's, and those that mark ownership.
pub(super) fn desired_tags(
    spec: &Spec,
    kind: &str,
    name: &str,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut tags = own.clone();
    tags.insert(PROJECT_TAG.into(), spec.project.clone());
    tags.insert(ADDRESS_TAG.into(), format!("{kind}.{name}"));
    tags
}

/// Whether a tag marks ownership. A spec cannot set such a tag.
#[cfg(feature = "cloud")]
pub(super) fn is_ownership_tag(key: &str) -> bool {
    key.starts_with("bailiwick:")
}

/// The keys of the tags that mark ownership: what goes when an object is released.
#[cfg(feature = "cloud")]
pub(super) fn ownership_tags(tags: &BTreeMap<String, String>) -> Vec<String> {
    tags.keys().filter(|key| is_ownership_tag(key)).cloned().collect()
}

/// An object by its tags, if the ownership tag names this project. Without the tag of its address it gets one of its name.
#[cfg(feature = "cloud")]
pub(super) fn tagged_by(
    tags: &BTreeMap<String, String>,
    project: &str,
    kind: &'static str,
    scope: &Scope,
    physical_id: &str,
) -> Option<Tagged> {
    if tags.get(PROJECT_TAG).map(String::as_str) != Some(project) {
        return None;
    }
    let said = tags.get(ADDRESS_TAG).and_then(|text| text.parse::<Address>().ok());
    let address = said.filter(|address| address.kind().as_str() == kind);
    let address = address.unwrap_or_else(|| Address::new(kind, physical_id));
    Some(Tagged { scope: scope.clone(), address, physical_id: physical_id.to_owned() })
}

/// Tags to set and tag keys to remove, to get from one set to another.
#[cfg(feature = "cloud")]
pub(super) fn tag_changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let set = after.iter().filter(|(k, v)| before.get(*k) != Some(*v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let remove = before.keys().filter(|k| !after.contains_key(*k)).cloned().collect();
    (set, remove)
}
