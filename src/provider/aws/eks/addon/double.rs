//! The double of [`aws.eks.addon`](super).

use bailiwick::access::Facet;

use crate::double::Double;
use crate::memory::Id;

pub struct Addon;

impl Double for Addon {
    fn kind(&self) -> &'static str {
        "aws.eks.addon"
    }

    fn names(&self, id: &Id, _facet: &Facet<'_>) -> Vec<String> {
        vec![of_cluster(id)]
    }
}

/// Returns the reference by which associations of a cluster depend on its add-on.
pub fn of_cluster(inside: &Id) -> String {
    format!("an add-on of {} in {}", inside.name.split('/').next().unwrap_or_default(), inside.place)
}
