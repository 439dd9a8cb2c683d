//! Ownership tags, and changes between sets of tags.

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

/// Returns the desired tags of a resource: those in the spec, and the ownership tags.
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

/// Whether a tag is an ownership tag. A spec cannot set one.
#[cfg(feature = "cloud")]
pub(super) fn is_ownership_tag(key: &str) -> bool {
    key.starts_with("bailiwick:")
}

/// Returns the keys of the ownership tags, which a release removes.
#[cfg(feature = "cloud")]
pub(super) fn ownership_tags(tags: &BTreeMap<String, String>) -> Vec<String> {
    tags.keys().filter(|key| is_ownership_tag(key)).cloned().collect()
}

/// Returns a tagged object, if its ownership tag names this project. Without an address tag, it gets an address from
/// its name.
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

/// Returns the tags to set and the tag keys to remove, to change one set into another.
#[cfg(feature = "cloud")]
pub(super) fn tag_changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let set = after.iter().filter(|(k, v)| before.get(*k) != Some(*v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let remove = before.keys().filter(|k| !after.contains_key(*k)).cloned().collect();
    (set, remove)
}
