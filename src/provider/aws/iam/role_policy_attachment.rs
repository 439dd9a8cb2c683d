//! `aws.iam.role_policy_attachment`: the attachment of a managed policy to a role.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::overflow::{attachment_name, first_grant, overflow};
use super::policy::ManagedPolicy;
use super::role::Role;
use crate::access::{self, Chains, Facet, Instance};
use crate::address::Scope;
use crate::document::lenient;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Part, Release, Tagged, Whole,
};
use crate::provider::aws::family::{IAM, account_scopes, role_named};
use crate::spec::{Facts, Spec};

/// The attachment of a managed policy to a role.
pub(in crate::provider) struct RolePolicyAttachment;

/// The body of an attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::provider) struct RolePolicyAttachmentBody {
    /// The role's name.
    pub role: String,
    /// The policy's ARN.
    pub policy_arn: String,
}

impl Kind for RolePolicyAttachment {
    const ABOUT: &'static About = &About {
        name: "aws.iam.role_policy_attachment",
        api: IAM,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Whole { of: Role::NAME, parts: attached_to },
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Delete,
        presence: FieldClass::Access,
        fields: &[BodyField::access("role").fixed(), BodyField::access("policy_arn").fixed()],
    };
    type Body = RolePolicyAttachmentBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        account_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        #[derive(Default, Deserialize)]
        struct AttachmentView {
            #[serde(default, deserialize_with = "lenient")]
            role: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            policy_arn: Option<String>,
        }
        let AttachmentView { role, policy_arn } = object.body.view().unwrap_or_default();
        Facet::Attachment { role: role_named(object, role), policy: policy_arn.unwrap_or_default() }
    }

    fn serialization_group(physical_id: &str) -> Option<String> {
        Some(format!("role/{}", physical_id.split('/').next().unwrap_or(physical_id)))
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<RolePolicyAttachmentBody>) {
        let ours: BTreeMap<String, &String> = spec.policies.iter().map(|(key, p)| (p.arn(spec), key)).collect();
        for (key, role) in chains.roles().iter().filter(|(_, role)| role.managed) {
            let resource = |arn: String| {
                let physical_id = format!("{}/{arn}", role.name);
                let name = attachment_name(key, &arn);
                let body = RolePolicyAttachmentBody { role: role.name.clone(), policy_arn: arn };
                DesiredResource::new(name, spec.account_scope(&role.account), physical_id, body).part_of::<Role>(key)
            };
            let attached = spec.roles.get(key).map(|r| r.policies.as_slice()).unwrap_or_default();
            for (n, reference) in attached.iter().enumerate() {
                let arn = spec.policies.get(reference).map_or_else(|| reference.clone(), |p| p.arn(spec));
                let policy = ours.get(&arn);
                let mut resource = resource(arn).at(spec.source(&["roles", key, "policies", &n.to_string()]));
                if let Some(policy) = policy {
                    resource = resource.after::<ManagedPolicy>(policy);
                }
                resources.add(resource);
            }
            let spilled = access::spilled(spec, facts, chains, key);
            for (_, overflow) in spilled.iter().zip(overflow(spec, key, role)) {
                let source = first_grant(spec, chains, key);
                resources.add(resource(overflow.arn).after::<ManagedPolicy>(&overflow.name).at(source));
            }
        }
    }
}

/// Returns the attachments of the project's policies to its role. Others may have attached other policies.
fn attached_to(role: Whole<'_>, tagged: &[Tagged]) -> Vec<Part> {
    let policies = tagged.iter().filter(|m| m.address.kind().as_str() == ManagedPolicy::NAME && m.scope == *role.scope);
    let part = |policy: &Tagged| {
        let arn = &policy.physical_id;
        Part {
            name: attachment_name(role.address.name(), arn),
            physical_id: format!("{}/{arn}", role.physical_id),
            needs: Some(policy.address.clone()),
        }
    };
    policies.map(part).collect()
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{RolePolicyAttachment, RolePolicyAttachmentBody};
    use crate::address::Scope;
    use crate::kind::Action;
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, write_error_awaiting};
    use crate::provider::aws::iam::client::client;
    use crate::provider::aws::iam::index::{IamWants, Indexed, index, want};
    use crate::session::Session;

    impl Live for RolePolicyAttachment {
        fn announce(cloud: &Session, scope: &Scope, targets: &[Target]) {
            let roles: BTreeSet<String> = targets.iter().map(|target| parts(target).0.to_owned()).collect();
            want(cloud, scope, IamWants { reads: roles.len(), roles, ..IamWants::default() });
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<RolePolicyAttachmentBody>, ReadError> {
            let iam = client(cloud, scope).await?;
            let index = index(cloud, scope).await?;
            let (iam, index) = (&iam, index.as_deref());
            let roles: Vec<Target> = targets
                .iter()
                .map(|target| (parts(target).0, target))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .map(|(role, target)| Target::new(target.address.clone(), role))
                .collect();
            let lists = each(&roles, |role| async move {
                match index.map(|index| index.role(&role.physical_id)) {
                    Some(Indexed::Absent) => Ok(Observed::Absent),
                    Some(Indexed::Present(detail)) => {
                        let attached = detail.attached_managed_policies().iter();
                        let body = attached.filter_map(|p| p.policy_arn().map(ToOwned::to_owned)).collect();
                        Ok(Observed::Present { body, owner: None })
                    }
                    Some(Indexed::Unsure) | None => attached(iam, &role.physical_id).await,
                }
            })
            .await;
            let lists: BTreeMap<&str, _> = roles.iter().map(|r| r.physical_id.as_str()).zip(lists).collect();
            Ok(targets
                .iter()
                .map(|target| {
                    let (role, arn) = parts(target);
                    match lists.get(role) {
                        Some(Ok(Observed::Present { body: arns, .. })) if arns.contains(arn) => Ok(Observed::Present {
                            body: RolePolicyAttachmentBody { role: role.to_owned(), policy_arn: arn.to_owned() },
                            // An attachment has no tags; the tags of its role show the owner.
                            owner: None,
                        }),
                        Some(Ok(_)) => Ok(Observed::Absent),
                        Some(Err(error)) => Err(error.clone()),
                        None => Err(ReadError::Failed {
                            what: format!("the policies of role `{role}`"),
                            why: "they were not requested".into(),
                        }),
                    }
                })
                .collect())
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<RolePolicyAttachmentBody>,
        ) -> Result<(), WriteError> {
            let iam = client(cloud, scope).await?;
            let (role, arn) = parts(target);
            match action {
                Action::Create { .. } | Action::Update { .. } => {
                    iam.attach_role_policy().role_name(role).policy_arn(arn).send().await.map(|_| ()).map_err(|error| {
                        let what = format!("attach `{arn}` to role `{role}`");
                        write_error_awaiting(what, &error, "NoSuchEntity", "the role and the policy to be known")
                    })
                }
                Action::Delete { .. } | Action::Release { .. } => removed(
                    format!("detach `{arn}` from role `{role}`"),
                    &["NoSuchEntity"],
                    iam.detach_role_policy().role_name(role).policy_arn(arn).send().await,
                ),
            }
        }
    }

    /// Lists the ARNs of all policies that are attached to a role.
    async fn attached(iam: &aws_sdk_iam::Client, role: &str) -> Result<Observed<BTreeSet<String>>, ReadError> {
        let mut arns = BTreeSet::new();
        // An entry may move to another page between two requests, so a list with several pages is read twice.
        for _ in 0..2 {
            let mut count = 0;
            let mut pages = iam.list_attached_role_policies().role_name(role).into_paginator().send();
            while let Some(page) = pages.next().await {
                match page {
                    Ok(page) => {
                        count += 1;
                        let policies = page.attached_policies().iter();
                        arns.extend(policies.filter_map(|p| p.policy_arn().map(ToOwned::to_owned)));
                    }
                    Err(error) if code(&error) == Some("NoSuchEntity") => return Ok(Observed::Absent),
                    Err(error) => return Err(read_error(format!("the policies of role `{role}`"), &error)),
                }
            }
            if count < 2 {
                break;
            }
        }
        Ok(Observed::Present { body: arns, owner: None })
    }

    /// Returns the role's name, which cannot contain a slash, and the policy's ARN.
    fn parts(target: &Target) -> (&str, &str) {
        target.physical_id.split_once('/').unwrap_or((&target.physical_id, ""))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{DENIED, DONE, MISSING, Recorded, scope};

        const FIRST: &str = "<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><IsTruncated>true</IsTruncated><Marker>next</Marker>\
            <AttachedPolicies><member><PolicyName>A</PolicyName><PolicyArn>arn:aws:iam::aws:policy/A</PolicyArn></member></AttachedPolicies>\
            </ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>";
        const LAST: &str = "<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><IsTruncated>false</IsTruncated>\
            <AttachedPolicies><member><PolicyName>B</PolicyName><PolicyArn>arn:aws:iam::aws:policy/x/B</PolicyArn></member></AttachedPolicies>\
            </ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>";

        fn target(role: &str, policy: &str) -> Target {
            Target::new(
                Address::new(RolePolicyAttachment::NAME, format!("{role}/{policy}")),
                format!("{role}/arn:aws:iam::aws:policy/{policy}"),
            )
        }

        fn body(role: &str, policy: &str) -> RolePolicyAttachmentBody {
            RolePolicyAttachmentBody { role: role.into(), policy_arn: format!("arn:aws:iam::aws:policy/{policy}") }
        }

        #[tokio::test]
        async fn one_paged_list_serves_all_attachments_of_a_role() {
            let server = Recorded::start(&[
                ("RoleName=gone", 404, MISSING),
                ("RoleName=secret", 403, DENIED),
                ("Marker=next", 200, LAST),
                ("RoleName=r", 200, FIRST),
            ])
            .await;
            let targets =
                [target("r", "x/B"), target("gone", "A"), target("r", "A"), target("secret", "A"), target("r", "C")];
            let present = |policy: &str| Ok(Observed::Present { body: body("r", policy), owner: None });
            assert_eq!(
                RolePolicyAttachment::observe(&server.session(), &scope(), &targets).await.unwrap(),
                [
                    present("x/B"),
                    Ok(Observed::Absent),
                    present("A"),
                    Err(ReadError::Denied {
                        what: "the policies of role `secret`".into(),
                        why: "AccessDenied: no".into()
                    }),
                    Ok(Observed::Absent),
                ]
            );
            let mut forms = server.forms();
            forms.sort();
            assert_eq!(
                forms,
                [
                    "Action=ListAttachedRolePolicies&RoleName=gone",
                    "Action=ListAttachedRolePolicies&RoleName=r",
                    "Action=ListAttachedRolePolicies&RoleName=r",
                    "Action=ListAttachedRolePolicies&RoleName=r&Marker=next",
                    "Action=ListAttachedRolePolicies&RoleName=r&Marker=next",
                    "Action=ListAttachedRolePolicies&RoleName=secret",
                ]
            );
        }

        #[tokio::test]
        async fn partial_list_is_an_error() {
            let server = Recorded::start(&[("Marker=next", 403, DENIED), ("RoleName=r", 200, FIRST)]).await;
            let answers =
                RolePolicyAttachment::observe(&server.session(), &scope(), &[target("r", "A"), target("r", "x/B")])
                    .await
                    .unwrap();
            for answer in answers {
                assert!(matches!(answer, Err(ReadError::Denied { .. })), "{answer:?}");
            }
        }

        #[tokio::test]
        async fn a_policy_is_attached_and_detached() {
            let policy = target("r", "x/B");
            let server = Recorded::start(&[("Action=AttachRolePolicy&", 200, DONE)]).await;
            let create = Action::Create { after: body("r", "x/B") };
            assert_eq!(RolePolicyAttachment::write(&server.session(), &scope(), &policy, &create).await, Ok(()));
            assert_eq!(server.forms(), ["Action=AttachRolePolicy&RoleName=r&PolicyArn=arn:aws:iam::aws:policy/x/B"]);
            let before = || body("r", "x/B");
            let (delete, release) = (Action::Delete { before: before() }, Action::Release { before: before() });
            for (delete, status, answer) in [(delete.clone(), 200, DONE), (release, 200, DONE), (delete, 404, MISSING)]
            {
                let server = Recorded::start(&[("Action=DetachRolePolicy&", status, answer)]).await;
                assert_eq!(RolePolicyAttachment::write(&server.session(), &scope(), &policy, &delete).await, Ok(()));
                assert_eq!(
                    server.forms(),
                    ["Action=DetachRolePolicy&RoleName=r&PolicyArn=arn:aws:iam::aws:policy/x/B"]
                );
            }
        }

        #[tokio::test]
        async fn missing_role_or_policy_is_retried() {
            let server = Recorded::start(&[("Action=AttachRolePolicy&", 404, MISSING)]).await;
            let create = Action::Create { after: body("r", "x/B") };
            let answer = RolePolicyAttachment::write(&server.session(), &scope(), &target("r", "x/B"), &create).await;
            assert!(matches!(answer, Err(WriteError::NotYet { .. })), "{answer:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::desired::{desired, grants, spec};

    #[test]
    fn policies_are_attached_by_arn_after_the_managed_ones() {
        let document = r#"{ Version: "2012-10-17", Statement: { Effect: Allow, Action: "s3:*", Resource: "*" } }"#;
        let spec = spec(&format!(
            "
policies:
  team: {{ account: a, name: Team, path: /ml/, document: {document} }}
  more: {{ account: a, name: More, document: {document} }}
roles:
  loader:
    account: a
    name: kserve
    trust: [ {{ service: ec2.amazonaws.com }} ]
    policies: [ team, \"arn:aws:iam::111111111111:policy/More\", \"arn:aws:iam::aws:policy/service-role/X\" ]
"
        ));
        assert_eq!(
            desired::<RolePolicyAttachment>(&spec, &Facts::default()),
            r#"loader/Team in a: kserve/arn:aws:iam::111111111111:policy/ml/Team
  {"policy_arn":"arn:aws:iam::111111111111:policy/ml/Team","role":"kserve"}
  part of aws.iam.role.loader
  after aws.iam.policy.team
loader/More in a: kserve/arn:aws:iam::111111111111:policy/More
  {"policy_arn":"arn:aws:iam::111111111111:policy/More","role":"kserve"}
  part of aws.iam.role.loader
  after aws.iam.policy.more
loader/X in a: kserve/arn:aws:iam::aws:policy/service-role/X
  {"policy_arn":"arn:aws:iam::aws:policy/service-role/X","role":"kserve"}
  part of aws.iam.role.loader
"#
        );
    }

    #[test]
    fn overflow_attachment_depends_on_its_policy() {
        let resources = desired::<RolePolicyAttachment>(&spec(&grants(250)), &Facts::default());
        let first: Vec<&str> = resources.lines().take(4).collect();
        assert_eq!(
            first,
            [
                "loader/p-loader-bailiwick-access-1 in a: p-loader/arn:aws:iam::111111111111:policy/p-loader-bailiwick-access-1",
                r#"  {"policy_arn":"arn:aws:iam::111111111111:policy/p-loader-bailiwick-access-1","role":"p-loader"}"#,
                "  part of aws.iam.role.loader",
                "  after aws.iam.policy.loader/access-1",
            ]
        );
    }

    #[test]
    fn desired_resources_of_an_overflow_build_without_problems() {
        let spec = spec(&grants(250));
        let chains = access::lower(&spec);
        let kinds = crate::provider::kinds();
        let (desired, problems) = crate::desired::build(&spec, &Facts::placeholders(&spec), &chains, &kinds);
        assert_eq!(problems, []);
        let kinds: std::collections::BTreeSet<&str> =
            desired.resources.keys().map(|address| address.kind().as_str()).collect();
        for kind in ["aws.iam.policy", "aws.iam.role", "aws.iam.role_policy", "aws.iam.role_policy_attachment"] {
            assert!(kinds.contains(kind), "{kinds:?}");
        }
    }
}
