//! The double of [`aws.eks.pod_identity_association`](super).

use bailiwick::access::Facet;
use bailiwick::live::WriteError;
use serde_json::{Value, json};

use crate::double::{Call, Double, fill, refers_to};
use crate::doubles::addon::of_cluster;
use crate::memory::{Id, World};

pub struct PodIdentityAssociation;

impl Double for PodIdentityAssociation {
    fn kind(&self) -> &'static str {
        "aws.eks.pod_identity_association"
    }

    fn complete(&self, _id: &Id, body: &mut Value) {
        fill(body, "target_role_arn", "");
        fill(body, "disable_session_tags", false);
        fill(body, "tags", json!({}));
    }

    fn uses(&self, id: &Id, _body: &Value, facet: &Facet<'_>) -> Vec<String> {
        let mut used = refers_to(facet);
        used.push(of_cluster(id));
        used
    }

    fn check(&self, world: &mut World, call: &Call<'_>, body: &mut Value) -> Result<(), WriteError> {
        for field in ["role_arn", "target_role_arn"] {
            match body.get(field).and_then(Value::as_str) {
                None | Some("") => {}
                Some(arn) => world.must_know(call, arn)?,
            }
        }
        Ok(())
    }
}
