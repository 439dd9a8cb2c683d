//! `aws.iam.role_policy`: inline policies of roles, from the spec and for the grants of a role.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::overflow::{attachment_name, first_grant, overflow};
use super::role::Role;
use super::role_policy_attachment::RolePolicyAttachment;
use crate::access::{self, Chains, Facet, INLINE_NAME, Instance, PolicyText};
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::document::lenient;
use crate::iam::{Policy, Statement};
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Part, Release, Tagged, Whole,
};
use crate::provider::aws::family::{IAM, account_scopes, role_named};
use crate::spec::{Facts, Spec};

/// An inline policy of a role.
pub(in crate::provider) struct RolePolicy;

/// The body of an inline policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::provider) struct RolePolicyBody {
    /// The role's name.
    pub role: String,
    /// The policy's name.
    pub name: String,
    /// The policy document.
    pub document: Policy,
}

impl Kind for RolePolicy {
    const ABOUT: &'static About = &About {
        name: "aws.iam.role_policy",
        api: IAM,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Whole { of: Role::NAME, parts: inline_of },
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Delete,
        presence: FieldClass::Access,
        fields: &[BodyField::access("role").fixed(), BodyField::access("name").fixed(), BodyField::access("document")],
    };
    type Body = RolePolicyBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        account_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        #[derive(Default, Deserialize)]
        struct RolePolicyView<'b> {
            #[serde(default, deserialize_with = "lenient")]
            role: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            name: Option<String>,
            #[serde(borrow)]
            document: Option<&'b RawValue>,
        }
        let RolePolicyView { role, name, document } = object.body.view().unwrap_or_default();
        Facet::InlinePolicy {
            role: role_named(object, role),
            name: name.unwrap_or_default(),
            document: document.map(PolicyText::new),
        }
    }

    fn written(spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef> {
        let (role, inline) = name.split_once('/')?;
        let raw = spec.roles.get(role)?.inline.get(inline)?;
        raw.place(spec, &["roles", role, "inline", inline], statement, element)
    }

    fn serialization_group(physical_id: &str) -> Option<String> {
        Some(format!("role/{}", physical_id.split('/').next().unwrap_or(physical_id)))
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<RolePolicyBody>) {
        for (key, role) in chains.roles().iter().filter(|(_, role)| role.managed) {
            let resource = |name: &str, document: Policy| {
                let body = RolePolicyBody { role: role.name.clone(), name: name.to_owned(), document };
                let physical_id = format!("{}/{name}", role.name);
                DesiredResource::new(format!("{key}/{name}"), spec.account_scope(&role.account), physical_id, body)
                    .part_of::<Role>(key)
            };
            for (name, raw) in spec.roles.get(key).into_iter().flat_map(|r| &r.inline) {
                // Loading the spec has already reported a document that does not parse.
                let Ok(document) = raw.parse() else { continue };
                resources.add(resource(name, document).at(spec.source(&["roles", key, "inline", name])));
            }
            let source = first_grant(spec, chains, key);
            let packed = match access::packed(spec, facts, chains, key) {
                Ok(packed) => packed,
                Err(error) => {
                    resources.problem(
                        Diagnostic::new(
                            Code::PolicyOverQuota,
                            format!("the grants of role `{key}` are too large: {error}"),
                        )
                        .at(source)
                        .help(
                            "merge grants under common prefixes, move some grants to another service account with its \
                             own role, or remove other policies of the role",
                        ),
                    );
                    continue;
                }
            };
            if let Some(document) = packed.inline {
                let mut resource = resource(INLINE_NAME, document).at(source);
                // Statements that move to a managed policy leave the inline one only after that policy is attached, so
                // that no access is lost in between.
                for (_, overflow) in packed.managed.iter().zip(overflow(spec, key, role)) {
                    resource = resource.after::<RolePolicyAttachment>(&attachment_name(key, &overflow.arn));
                }
                resources.add(resource);
            }
        }
    }
}

/// Returns the inline policy that holds the grants of a role.
fn inline_of(role: Whole<'_>, _tagged: &[Tagged]) -> Vec<Part> {
    let (name, physical_id) =
        (format!("{}/{INLINE_NAME}", role.address.name()), format!("{}/{INLINE_NAME}", role.physical_id));
    vec![Part { name, physical_id, needs: None }]
}

#[cfg(feature = "cloud")]
mod live {
    use super::{RolePolicy, RolePolicyBody};
    use crate::address::Scope;
    use crate::kind::Action;
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, write_error_awaiting};
    use crate::provider::aws::iam::client::client;
    use crate::provider::aws::iam::document::policy_text;
    use crate::provider::aws::iam::index::{IamWants, Indexed, index, want};
    use crate::session::Session;

    impl Live for RolePolicy {
        fn announce(cloud: &Session, scope: &Scope, targets: &[Target]) {
            let roles = targets.iter().map(|target| parts(target).0.to_owned()).collect();
            want(cloud, scope, IamWants { roles, reads: targets.len(), ..IamWants::default() });
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<RolePolicyBody>, ReadError> {
            let iam = client(cloud, scope).await?;
            let index = index(cloud, scope).await?;
            let (iam, index) = (&iam, index.as_deref());
            Ok(each(targets, |target| async move {
                let (role, name) = parts(target);
                match index.map(|index| index.role(role)) {
                    Some(Indexed::Absent) => Ok(Observed::Absent),
                    Some(Indexed::Present(detail)) => {
                        let found = detail.role_policy_list().iter().find(|policy| policy.policy_name() == Some(name));
                        let document = found.map(|policy| policy.policy_document().unwrap_or_default());
                        document.map_or(Ok(Observed::Absent), |document| present(target, document))
                    }
                    Some(Indexed::Unsure) | None => read(iam, target).await,
                }
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<RolePolicyBody>,
        ) -> Result<(), WriteError> {
            let iam = client(cloud, scope).await?;
            let (role, name) = parts(target);
            match action {
                Action::Create { after } | Action::Update { after, .. } => iam
                    .put_role_policy()
                    .role_name(role)
                    .policy_name(name)
                    .policy_document(after.document.to_string())
                    .send()
                    .await
                    .map(|_| ())
                    .map_err(|error| {
                        let what = format!("write inline policy `{}`", target.physical_id);
                        write_error_awaiting(what, &error, "NoSuchEntity", "the role to be known")
                    }),
                Action::Delete { .. } | Action::Release { .. } => removed(
                    format!("delete inline policy `{}`", target.physical_id),
                    &["NoSuchEntity"],
                    iam.delete_role_policy().role_name(role).policy_name(name).send().await,
                ),
            }
        }
    }

    async fn read(iam: &aws_sdk_iam::Client, target: &Target) -> Result<Observed<RolePolicyBody>, ReadError> {
        let (role, name) = parts(target);
        match iam.get_role_policy().role_name(role).policy_name(name).send().await {
            Ok(answer) => present(target, answer.policy_document()),
            Err(error) if code(&error) == Some("NoSuchEntity") => Ok(Observed::Absent),
            Err(error) => Err(read_error(format!("inline policy `{}`", target.physical_id), &error)),
        }
    }

    fn present(target: &Target, document: &str) -> Result<Observed<RolePolicyBody>, ReadError> {
        let failed = |why| ReadError::Failed { what: format!("inline policy `{}`", target.physical_id), why };
        let (role, name) = parts(target);
        let document = policy_text(document).map_err(failed)?;
        let body = RolePolicyBody { role: role.to_owned(), name: name.to_owned(), document };
        // An inline policy has no tags; the tags of its role show the owner.
        Ok(Observed::Present { body, owner: None })
    }

    /// Returns the names of role and policy, neither of which can contain a slash.
    fn parts(target: &Target) -> (&str, &str) {
        target.physical_id.split_once('/').unwrap_or((&target.physical_id, ""))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::iam::Policy;
        use crate::kind::Kind;
        use crate::provider::recorded::{DENIED, DONE, MISSING, Recorded, scope};

        const GET: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;
        const POLICY: &str = "<GetRolePolicyResponse><GetRolePolicyResult><RoleName>kserve</RoleName><PolicyName>own</PolicyName>\
            <PolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3AGetObject%22%2C%22Resource%22%3A%22arn%3Aaws%3As3%3A%3A%3Ab%2F%2A%22%7D%7D</PolicyDocument>\
            </GetRolePolicyResult></GetRolePolicyResponse>";

        fn target() -> Target {
            Target::new(Address::new(RolePolicy::NAME, "loader/own"), "kserve/own")
        }

        fn body() -> RolePolicyBody {
            RolePolicyBody { role: "kserve".into(), name: "own".into(), document: Policy::parse(GET).unwrap() }
        }

        async fn observe(server: &Recorded) -> Result<Observed<RolePolicyBody>, ReadError> {
            let answers = RolePolicy::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        async fn write(server: &Recorded, action: Action<RolePolicyBody>) -> Result<(), WriteError> {
            RolePolicy::write(&server.session(), &scope(), &target(), &action).await
        }

        #[tokio::test]
        async fn a_policy_is_read_decoded() {
            let server = Recorded::start(&[("Action=GetRolePolicy&", 200, POLICY)]).await;
            assert_eq!(observe(&server).await, Ok(Observed::Present { body: body(), owner: None }));
            assert_eq!(server.forms(), ["Action=GetRolePolicy&RoleName=kserve&PolicyName=own"]);
        }

        #[tokio::test]
        async fn no_such_entity_is_absent_and_forbidden_is_not() {
            let server = Recorded::start(&[("Action=GetRolePolicy&", 404, MISSING)]).await;
            assert_eq!(observe(&server).await, Ok(Observed::Absent));
            let server = Recorded::start(&[("Action=GetRolePolicy&", 403, DENIED)]).await;
            assert_eq!(
                observe(&server).await,
                Err(ReadError::Denied { what: "inline policy `kserve/own`".into(), why: "AccessDenied: no".into() })
            );
        }

        #[tokio::test]
        async fn create_and_update_put_the_whole_policy() {
            let update = Action::Update { before: body(), after: body(), changed: vec!["document".into()] };
            for action in [Action::Create { after: body() }, update] {
                let server = Recorded::start(&[("Action=PutRolePolicy&", 200, DONE)]).await;
                assert_eq!(write(&server, action).await, Ok(()));
                assert_eq!(
                    server.forms(),
                    [format!("Action=PutRolePolicy&RoleName=kserve&PolicyName=own&PolicyDocument={GET}")]
                );
            }
        }

        #[tokio::test]
        async fn missing_role_is_retried() {
            let server = Recorded::start(&[("Action=PutRolePolicy&", 404, MISSING)]).await;
            assert_eq!(
                write(&server, Action::Create { after: body() }).await,
                Err(WriteError::NotYet {
                    what: "write inline policy `kserve/own`".into(),
                    awaited: "the role to be known".into(),
                    why: "NoSuchEntity: gone".into(),
                })
            );
        }

        #[tokio::test]
        async fn delete_and_release_remove_the_policy_and_delete_accepts_a_missing_one() {
            let (delete, release) = (Action::Delete { before: body() }, Action::Release { before: body() });
            for (action, status, answer) in [(delete.clone(), 200, DONE), (release, 200, DONE), (delete, 404, MISSING)]
            {
                let server = Recorded::start(&[("Action=DeleteRolePolicy&", status, answer)]).await;
                assert_eq!(write(&server, action).await, Ok(()));
                assert_eq!(server.forms(), ["Action=DeleteRolePolicy&RoleName=kserve&PolicyName=own"]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::desired::{desired, grants, spec};

    #[test]
    fn a_role_has_its_own_policies_and_one_for_its_grants() {
        let spec = spec(
            r#"
clusters:
  c: { account: a, name: c }
roles:
  loader:
    account: a
    name: kserve
    inline:
      own: { Version: "2012-10-17", Statement: { Effect: Allow, Action: "s3:ListAllMyBuckets", Resource: "*" } }
  stranger: { account: a, name: stranger, managed: false }
service_accounts:
  one: { cluster: c, namespace: n, name: one, role: loader }
  two: { cluster: c, namespace: n, name: two, role: stranger }
buckets:
  models: { account: a, name: acme-models }
grants:
  - { to: one, bucket: models, prefix: m/, access: { actions: ["s3:GetObject"] } }
  - { to: two, bucket: models, prefix: m/, access: read }
"#,
        );
        assert_eq!(
            desired::<RolePolicy>(&spec, &Facts::default()),
            r#"loader/own in a: kserve/own
  {"document":{"Statement":[{"Action":"s3:ListAllMyBuckets","Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"},"name":"own","role":"kserve"}
  part of aws.iam.role.loader
loader/bailiwick-access in a: kserve/bailiwick-access
  {"document":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":"arn:aws:s3:::acme-models/m/*","Sid":"Read"}],"Version":"2012-10-17"},"name":"bailiwick-access","role":"kserve"}
  part of aws.iam.role.loader
"#
        );
    }

    #[test]
    fn derived_and_target_roles_have_policies_too() {
        let spec = spec(
            "
clusters:
  c: { account: a, name: c }
service_accounts:
  one: { cluster: c, namespace: n, name: one }
buckets:
  models: { account: b, name: acme-models }
grants:
  - { to: one, bucket: models, prefix: m/, access: { actions: [\"s3:GetObject\"] }, mode: assume_role }
",
        );
        assert_eq!(
            desired::<RolePolicy>(&spec, &Facts::default()),
            r#"one/bailiwick-access in a: p-one/bailiwick-access
  {"document":{"Statement":[{"Action":["sts:AssumeRole","sts:TagSession"],"Effect":"Allow","Resource":"arn:aws:iam::222222222222:role/p-one-b","Sid":"AssumeTarget"}],"Version":"2012-10-17"},"name":"bailiwick-access","role":"p-one"}
  part of aws.iam.role.one
one/b/bailiwick-access in b: p-one-b/bailiwick-access
  {"document":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":"arn:aws:s3:::acme-models/m/*","Sid":"Read"}],"Version":"2012-10-17"},"name":"bailiwick-access","role":"p-one-b"}
  part of aws.iam.role.one/b
"#
        );
    }

    #[test]
    fn inline_policy_depends_on_the_attachments_of_its_overflow() {
        let resources = desired::<RolePolicy>(&spec(&grants(250)), &Facts::default());
        let after: Vec<&str> = resources.lines().filter(|l| l.starts_with("  after ")).collect();
        assert!(!after.is_empty(), "{resources}");
        for (line, n) in after.into_iter().zip(1..) {
            assert_eq!(line, format!("  after aws.iam.role_policy_attachment.loader/p-loader-bailiwick-access-{n}"));
        }
    }

    #[test]
    fn grants_that_fit_nowhere_are_a_problem_of_the_first() {
        let spec = spec(&grants(2_000));
        let error = access::packed(&spec, &Facts::default(), &access::lower(&spec), "loader").unwrap_err();
        assert_eq!((error.inline, error.managed, error.each), (10_240, 10, 6_144));
        assert_eq!(
            desired::<RolePolicy>(&spec, &Facts::default()),
            format!("error policy-over-quota at t.yaml:13:5: the grants of role `loader` are too large: {error}\n")
        );
    }
}
