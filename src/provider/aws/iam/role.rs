//! `aws.iam.role`: name, path, trust, description, session length, boundary, tags.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::oidc_provider::OidcProvider;
use super::policy::ManagedPolicy;
use crate::access::{self, Chains, Facet, Instance, Origin, PolicyText, RoleRef};
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::document::lenient;
use crate::iam::{Arn, Policy, Principal, Selector, Statement};
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{IAM, account_scopes, owner};
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Identity, Spec, TrustSpec, Unmanaged};

/// An IAM role.
pub struct Role;

/// The body of a role. An absent field is not changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleBody {
    /// The role's name.
    pub name: String,
    /// The role's path.
    pub path: String,
    /// The trust policy.
    pub trust: Policy,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The maximum session duration, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session_duration: Option<i32>,
    /// The ARN of the permissions boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The id that IAM assigned, by which policies show the role after it is deleted. Only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
}

impl Kind for Role {
    const ABOUT: &'static About = &About {
        name: "aws.iam.role",
        api: IAM,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Access,
        fields: &[
            BodyField::access("name").fixed(),
            BodyField::access("path").fixed(),
            BodyField::access("trust"),
            BodyField::cosmetic("description").resets(),
            BodyField::setting("max_session_duration").resets(),
            BodyField::access("permissions_boundary"),
            BodyField::access("tags"),
            BodyField::access("unique_id").read_only(),
        ],
    };
    type Body = RoleBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        account_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        #[derive(Default, Deserialize)]
        struct RoleView<'b> {
            #[serde(default, deserialize_with = "lenient")]
            name: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            path: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            permissions_boundary: Option<String>,
            #[serde(borrow)]
            trust: Option<&'b RawValue>,
        }
        let (account, partition) = owner(object.scope);
        let RoleView { name, path, permissions_boundary, trust } = object.body.view().unwrap_or_default();
        let given = |text: &String| !text.is_empty();
        let name = name.filter(given).unwrap_or_else(|| object.physical_id.to_owned());
        let path = path.filter(given).unwrap_or_else(|| "/".to_owned());
        Facet::Role {
            arn: format!("arn:{partition}:iam::{account}:role{path}{name}"),
            role: RoleRef { account: account.to_owned(), name },
            trust: trust.map(PolicyText::new),
            boundary: permissions_boundary.filter(given),
        }
    }

    fn written(spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef> {
        let trust = &spec.roles.get(name)?.trust;
        let n = |n: usize| n.to_string();
        let raw = trust.iter().enumerate().find_map(|(at, trust)| match trust {
            TrustSpec::Policy(raw) => raw.place(spec, &["roles", name, "trust", &n(at), "policy"], statement, element),
            _ => None,
        });
        raw.or_else(|| {
            let at = trust.iter().position(|trust| trusts(spec, trust, statement))?;
            spec.source(&["roles", name, "trust", &n(at)])
        })
    }

    fn principal(arn: &Arn) -> Option<String> {
        let (kind, path) = arn.resource_type()?;
        (kind == "role").then(|| path.rsplit('/').next().unwrap_or(path).to_owned())
    }

    fn serialization_group(physical_id: &str) -> Option<String> {
        Some(format!("role/{}", physical_id.split('/').next().unwrap_or(physical_id)))
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<RoleBody>) {
        for entry in spec.unmanaged() {
            let Unmanaged::Role(role) = entry else { continue };
            resources.unmanaged(spec.account_scope(&role.account), &role.name);
        }
        let everyone = chains.roles();
        for (key, role) in everyone.iter().filter(|(_, r)| r.managed) {
            let entry = spec.roles.get(key);
            let source = match &role.origin {
                Origin::Spec => spec.source(&["roles", key]),
                _ => role.service_accounts.first().and_then(|name| spec.source(&["service_accounts", name])),
            };
            let trust = access::role_trust(spec, facts, chains, key);
            if trust.is_empty() {
                resources.problem(
                    Diagnostic::new(
                        Code::NobodyTrusted,
                        format!("no principal can assume the role `{key}`: its trust policy would be empty"),
                    )
                    .at(source)
                    .help("name it in a service account's `role`, or add an entry under `trust`"),
                );
                continue;
            }
            let no_tags = BTreeMap::new();
            let body = RoleBody {
                name: role.name.clone(),
                path: role.path.clone(),
                description: entry.and_then(|e| e.description.clone()),
                max_session_duration: entry.and_then(|e| e.max_session_duration),
                permissions_boundary: entry
                    .and_then(|e| e.permissions_boundary.as_ref())
                    .map(|boundary| spec.policies.get(boundary).map_or_else(|| boundary.clone(), |p| p.arn(spec))),
                tags: desired_tags(spec, Self::NAME, key, entry.map_or(&no_tags, |e| &e.tags)),
                trust,
                unique_id: None,
            };
            let mut resource =
                DesiredResource::new(key, spec.account_scope(&role.account), &role.name, body).at(source);
            resource.protect = entry.is_some_and(|e| e.protect);
            for trusted in access::trusted_roles(spec, key, role) {
                if everyone.get(&trusted).is_some_and(|r| r.managed) {
                    resource = resource.after::<Self>(&trusted);
                }
            }
            if let Some(boundary) = entry.and_then(|e| e.permissions_boundary.as_ref())
                && spec.policies.contains_key(boundary)
            {
                resource = resource.after::<ManagedPolicy>(boundary);
            }
            for provider in providers(spec, role) {
                resource = resource.after::<OidcProvider>(&provider);
            }
            resources.add(resource);
        }
    }
}

/// Whether a statement comes from an entry of a role's `trust`.
fn trusts(spec: &Spec, trust: &TrustSpec, statement: &Statement) -> bool {
    let names = |wanted: &str| {
        statement.principal().into_iter().flat_map(Selector::values).any(|principal| match principal {
            Principal::Account(text) | Principal::Aws(text) | Principal::Service(text) => text.as_ref() == wanted,
            _ => false,
        })
    };
    match trust {
        TrustSpec::Account(name) => {
            names(spec.accounts.get(name).map_or(name.as_str(), |account| account.id.0.as_str()))
        }
        TrustSpec::Role(name) => names(&spec.roles.get(name).map_or_else(|| name.clone(), |role| role.arn(spec))),
        TrustSpec::Service(name) => names(name),
        TrustSpec::ServiceAccount(_) | TrustSpec::Policy(_) => false,
    }
}

/// Returns the names of the managed OIDC providers that a role's trust needs.
fn providers(spec: &Spec, role: &access::ResolvedRole) -> Vec<String> {
    let mut found: Vec<String> = role
        .service_accounts
        .iter()
        .filter_map(|name| spec.service_accounts.get(name))
        .filter(|account| account.identity(spec) == Identity::Irsa && !matches!(role.origin, Origin::Target { .. }))
        .filter_map(|account| super::oidc_provider::managed_name(spec, &account.cluster, &role.account))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(feature = "cloud")]
mod live {
    use aws_sdk_iam::types::{EntityType, RoleDetail};

    use super::{Role, RoleBody};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, write_error};
    use crate::provider::aws::iam::client::client;
    use crate::provider::aws::iam::document::policy_text;
    use crate::provider::aws::iam::held::deleted_unless_held;
    use crate::provider::aws::iam::index::{Described, IamWants, Indexed, index, want};
    use crate::provider::aws::iam::tags::{iam_tags, tag_map};
    use crate::provider::aws::tags::{ADDRESS_TAG, PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::Session;

    /// The default maximum session duration of a role, in seconds.
    ///
    /// Source: IAM API Reference, `CreateRole`, `MaxSessionDuration`.
    const DEFAULT_SESSION: i32 = 3600;

    impl Live for Role {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let iam = client(cloud, scope).await?;
            let mut found = Vec::new();
            // The only list of roles that includes their tags.
            let asked = iam.get_account_authorization_details().filter(EntityType::Role).max_items(1000);
            let mut pages = asked.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| read_error("the roles of the account", &error))?;
                found.extend(page.role_detail_list().iter().filter_map(|role| {
                    let tags = tag_map(role.tags());
                    tagged_by(&tags, cloud.project(), Self::NAME, scope, role.role_name().unwrap_or_default())
                }));
            }
            Ok(found)
        }

        fn announce(cloud: &Session, scope: &Scope, targets: &[Target]) {
            let names = |wanted: &dyn Fn(&&Target) -> bool| {
                targets.iter().filter(wanted).map(|target| target.physical_id.clone()).collect()
            };
            let (roles, described) = (names(&|_| true), names(&|target| is_described(target)));
            want(cloud, scope, IamWants { roles, described, reads: targets.len(), ..IamWants::default() });
        }

        async fn observe(cloud: &Session, scope: &Scope, targets: &[Target]) -> Result<Answers<RoleBody>, ReadError> {
            let iam = client(cloud, scope).await?;
            let index = index(cloud, scope).await?;
            let (iam, index) = (&iam, index.as_deref());
            Ok(each(targets, |target| async move {
                match index.map(|index| (index, index.role(&target.physical_id))) {
                    Some((_, Indexed::Absent)) => Ok(Observed::Absent),
                    Some((_, Indexed::Present(detail))) if !is_described(target) => of_detail(detail, (None, None)),
                    Some((index, Indexed::Present(detail))) => match index.described(&target.physical_id) {
                        Some(described) => of_detail(detail, described).map(|seen| asked(seen, target)),
                        None => read(iam, target).await,
                    },
                    Some((_, Indexed::Unsure)) | None => read(iam, target).await,
                }
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<RoleBody>,
        ) -> Result<(), WriteError> {
            let iam = client(cloud, scope).await?;
            let name = target.physical_id.as_str();
            match action {
                Action::Create { after } => create(&iam, after).await,
                Action::Update { before, after, .. } => update(&iam, name, before, after, action).await,
                Action::Release { before } => untag(&iam, name, ownership_tags(&before.tags)).await,
                Action::Delete { .. } => delete(&iam, name).await,
            }
        }
    }

    /// Whether a target needs fields that the account details omit.
    fn is_described(target: &Target) -> bool {
        target.fields.has("description") || target.fields.has("max_session_duration")
    }

    /// Removes fields that cost a request and were not requested, so that a role reads the same either way.
    fn asked(mut seen: Observed<RoleBody>, target: &Target) -> Observed<RoleBody> {
        if let Observed::Present { body, .. } = &mut seen {
            body.description = body.description.take().filter(|_| target.fields.has("description"));
            body.max_session_duration = body.max_session_duration.filter(|_| target.fields.has("max_session_duration"));
        }
        seen
    }

    async fn read(iam: &aws_sdk_iam::Client, target: &Target) -> Result<Observed<RoleBody>, ReadError> {
        let what = || format!("role `{}`", target.physical_id);
        match iam.get_role().role_name(&target.physical_id).send().await {
            Ok(answer) => {
                answer.role().map_or(Ok(Observed::Absent), |role| body(role, &what()).map(|seen| asked(seen, target)))
            }
            Err(error) if code(&error) == Some("NoSuchEntity") => Ok(Observed::Absent),
            Err(error) => Err(read_error(what(), &error)),
        }
    }

    fn of_detail(detail: &RoleDetail, (description, duration): Described<'_>) -> Result<Observed<RoleBody>, ReadError> {
        let name = detail.role_name().unwrap_or_default();
        let trust = policy_text(detail.assume_role_policy_document().unwrap_or_default())
            .map_err(|why| ReadError::Failed { what: format!("role `{name}`"), why })?;
        let tags = tag_map(detail.tags());
        let boundary = detail.permissions_boundary().and_then(|b| b.permissions_boundary_arn());
        Ok(Observed::Present {
            owner: tags.get(PROJECT_TAG).cloned(),
            body: RoleBody {
                name: name.to_owned(),
                path: detail.path().unwrap_or_default().to_owned(),
                trust,
                description: description.map(ToOwned::to_owned),
                max_session_duration: duration,
                permissions_boundary: boundary.map(ToOwned::to_owned),
                tags,
                unique_id: detail.role_id().filter(|id| !id.is_empty()).map(ToOwned::to_owned),
            },
        })
    }

    fn body(role: &aws_sdk_iam::types::Role, what: &str) -> Result<Observed<RoleBody>, ReadError> {
        let failed = |why: String| ReadError::Failed { what: what.to_owned(), why };
        let trust = policy_text(role.assume_role_policy_document().unwrap_or_default()).map_err(failed)?;
        let tags = tag_map(role.tags());
        Ok(Observed::Present {
            owner: tags.get(PROJECT_TAG).cloned(),
            body: RoleBody {
                name: role.role_name().to_owned(),
                path: role.path().to_owned(),
                trust,
                description: role.description().map(ToOwned::to_owned),
                max_session_duration: role.max_session_duration(),
                permissions_boundary: role
                    .permissions_boundary()
                    .and_then(|b| b.permissions_boundary_arn())
                    .map(ToOwned::to_owned),
                tags,
                unique_id: Some(role.role_id().to_owned()).filter(|id| !id.is_empty()),
            },
        })
    }

    /// Creates the role. An existing one with the project's ownership tags comes from an attempt whose response was
    /// lost; it is updated.
    async fn create(iam: &aws_sdk_iam::Client, role: &RoleBody) -> Result<(), WriteError> {
        let what = || format!("create role `{}`", role.name);
        let sent = iam
            .create_role()
            .role_name(&role.name)
            .path(&role.path)
            .assume_role_policy_document(role.trust.to_string())
            .set_description(role.description.clone())
            .set_max_session_duration(role.max_session_duration)
            .set_permissions_boundary(role.permissions_boundary.clone())
            .set_tags(Some(iam_tags(&role.tags)?))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(()),
            Err(error) if code(&error) == Some("EntityAlreadyExists") => error,
            Err(error) => return Err(write_error(what(), &error)),
        };
        let found = iam
            .get_role()
            .role_name(&role.name)
            .send()
            .await
            .map_err(|e| read_error(format!("role `{}`", role.name), &e))?;
        match found.role().map(|r| body(r, &format!("role `{}`", role.name))).transpose()? {
            Some(Observed::Present { body, .. }) if marks(&body) == marks(role) && body.path == role.path => {
                let fields = [
                    ("description", role.description.is_some()),
                    ("max_session_duration", role.max_session_duration.is_some()),
                    ("permissions_boundary", role.permissions_boundary.is_some()),
                    ("trust", body.trust != role.trust),
                ];
                let changed = fields.iter().filter(|(_, differs)| *differs).map(|(field, _)| (*field).into()).collect();
                let action = Action::Update { before: body.clone(), after: role.clone(), changed };
                let before = RoleBody { tags: role.tags.clone(), ..body };
                update(iam, &role.name, &before, role, &action).await
            }
            _ => Err(WriteError::Conflict {
                what: what(),
                holder: "an existing role that this project does not own".into(),
                why: crate::session::answer(&error),
                help: None,
            }),
        }
    }

    /// IAM does not delete a role that has policies. The error names those of others, so that they can be removed.
    async fn delete(iam: &aws_sdk_iam::Client, name: &str) -> Result<(), WriteError> {
        let sent = iam.delete_role().role_name(name).send().await;
        deleted_unless_held(format!("delete role `{name}`"), sent, given(iam, name)).await
    }

    /// Lists the policies of a role for a message, as far as they can be read.
    async fn given(iam: &aws_sdk_iam::Client, name: &str) -> Vec<String> {
        let mut given = Vec::new();
        let mut attached = iam.list_attached_role_policies().role_name(name).into_paginator().items().send();
        while let Some(Ok(policy)) = attached.next().await {
            given.extend(policy.policy_arn().map(|arn| format!("policy `{arn}`")));
        }
        let mut inline = iam.list_role_policies().role_name(name).into_paginator().items().send();
        while let Some(Ok(policy)) = inline.next().await {
            given.push(format!("inline policy `{policy}`"));
        }
        let mut profiles = iam.list_instance_profiles_for_role().role_name(name).into_paginator().items().send();
        while let Some(Ok(profile)) = profiles.next().await {
            given.push(format!("instance profile `{}`", profile.instance_profile_name()));
        }
        given
    }

    fn marks(role: &RoleBody) -> (Option<&String>, Option<&String>) {
        (role.tags.get(PROJECT_TAG), role.tags.get(ADDRESS_TAG))
    }

    async fn untag(iam: &aws_sdk_iam::Client, name: &str, keys: Vec<String>) -> Result<(), WriteError> {
        if keys.is_empty() {
            return Ok(());
        }
        removed(
            format!("untag role `{name}`"),
            &["NoSuchEntity"],
            iam.untag_role().role_name(name).set_tag_keys(Some(keys)).send().await,
        )
    }

    /// Writes field by field, the trust policy last, so that no new principal can assume a role that is only partly
    /// updated.
    async fn update(
        iam: &aws_sdk_iam::Client,
        name: &str,
        before: &RoleBody,
        after: &RoleBody,
        action: &Action<RoleBody>,
    ) -> Result<(), WriteError> {
        let what = |part: &str| format!("update the {part} of role `{name}`");
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        if !set.is_empty() {
            iam.tag_role()
                .role_name(name)
                .set_tags(Some(iam_tags(&set)?))
                .send()
                .await
                .map_err(|e| write_error(what("tags"), &e))?;
        }
        untag(iam, name, remove).await?;
        if action.touches("description") || action.touches("max_session_duration") {
            update_settings(iam, name, after, action).await?;
        }
        if action.touches("permissions_boundary") {
            update_boundary(iam, name, after).await?;
        }
        if action.touches("trust") {
            iam.update_assume_role_policy()
                .role_name(name)
                .policy_document(after.trust.to_string())
                .send()
                .await
                .map_err(|e| write_error(what("trust policy"), &e))?;
        }
        Ok(())
    }

    /// Writes the description and the session duration. `UpdateRole` resets an omitted value, so both are always sent.
    async fn update_settings(
        iam: &aws_sdk_iam::Client,
        name: &str,
        after: &RoleBody,
        action: &Action<RoleBody>,
    ) -> Result<(), WriteError> {
        let answer = iam.get_role().role_name(name).send().await;
        let answer = answer.map_err(|e| read_error(format!("role `{name}`"), &e))?;
        let live = answer.role();
        let description = match &after.description {
            None if action.touches("description") => Some(String::new()),
            None => live.and_then(|role| role.description().map(ToOwned::to_owned)),
            given => given.clone(),
        };
        let duration = match after.max_session_duration {
            None if action.touches("max_session_duration") => Some(DEFAULT_SESSION),
            None => live.and_then(aws_sdk_iam::types::Role::max_session_duration),
            given => given,
        };
        iam.update_role()
            .role_name(name)
            .set_description(description)
            .set_max_session_duration(duration)
            .send()
            .await
            .map(|_| ())
            .map_err(|e| write_error(format!("update the description and session length of role `{name}`"), &e))
    }

    async fn update_boundary(iam: &aws_sdk_iam::Client, name: &str, after: &RoleBody) -> Result<(), WriteError> {
        let what = || format!("update the permissions boundary of role `{name}`");
        match &after.permissions_boundary {
            Some(arn) => {
                let request = iam.put_role_permissions_boundary().role_name(name).permissions_boundary(arn);
                request.send().await.map(|_| ()).map_err(|e| write_error(what(), &e))
            }
            None => {
                let request = iam.delete_role_permissions_boundary().role_name(name);
                request.send().await.map(|_| ()).map_err(|e| write_error(what(), &e))
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::iam::Policy;
        use crate::provider::recorded::{Recorded, scope};

        fn target() -> Target {
            Target::new(Address::new(Role::NAME, "loader"), "kserve-loader")
        }

        #[tokio::test]
        async fn a_role_is_read_with_its_decoded_trust_and_owner() {
            let server = Recorded::start(&[(
                "Action=GetRole",
                200,
                r#"<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
                <Path>/ml/</Path><RoleName>kserve-loader</RoleName><RoleId>AROAEXAMPLEEXAMPLE</RoleId>
                <Arn>arn:aws:iam::111111111111:role/ml/kserve-loader</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>
                <AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22pods.eks.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D</AssumeRolePolicyDocument>
                <MaxSessionDuration>3600</MaxSessionDuration>
                <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member></Tags>
                </Role></GetRoleResult></GetRoleResponse>"#,
            )])
            .await;
            let answers = Role::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            let Some(Ok(Observed::Present { body, owner })) = answers.into_iter().next() else { panic!("not there") };
            assert_eq!((body.path.as_str(), owner.as_deref()), ("/ml/", Some("p")));
            assert_eq!(body.trust.statements().len(), 1);
        }

        const EXISTS: (&str, u16, &str) = (
            "Action=CreateRole",
            409,
            "<ErrorResponse><Error><Code>EntityAlreadyExists</Code><Message>it exists</Message></Error></ErrorResponse>",
        );
        const OURS: (&str, u16, &str) = (
            "Action=GetRole",
            200,
            r#"<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
            <Path>/</Path><RoleName>kserve-loader</RoleName><RoleId>AROAEXAMPLEEXAMPLE</RoleId>
            <Arn>arn:aws:iam::111111111111:role/kserve-loader</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>
            <AssumeRolePolicyDocument>{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}</AssumeRolePolicyDocument>
            <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member>
            <member><Key>bailiwick:address</Key><Value>aws.iam.role.loader</Value></member></Tags>
            </Role></GetRoleResult></GetRoleResponse>"#,
        );

        async fn create(tags: &[(&str, &str)]) -> (Result<(), WriteError>, Vec<String>) {
            let done = ("Action=UpdateAssumeRolePolicy", 200, crate::provider::recorded::DONE);
            let server = Recorded::start(&[EXISTS, OURS, done]).await;
            let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
            let after = RoleBody {
                name: "kserve-loader".into(),
                path: "/".into(),
                trust: Policy::parse(trust).unwrap(),
                description: None,
                max_session_duration: None,
                permissions_boundary: None,
                tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                unique_id: None,
            };
            let result = Role::write(&server.session(), &scope(), &target(), &Action::Create { after }).await;
            let requests = server.requests();
            let actions = requests.iter().filter_map(|r| {
                let at = r.find("Action=")?;
                r[at + 7..].split('&').next().map(ToOwned::to_owned)
            });
            (result, actions.collect())
        }

        #[tokio::test]
        async fn role_from_an_unanswered_create_is_completed() {
            let ours = [("bailiwick:project", "p"), ("bailiwick:address", "aws.iam.role.loader")];
            let (result, actions) = create(&ours).await;
            assert_eq!(result, Ok(()));
            assert_eq!(actions, ["CreateRole", "GetRole", "UpdateAssumeRolePolicy"]);
        }

        #[tokio::test]
        async fn foreign_role_of_the_same_name_is_not_changed() {
            let (result, actions) = create(&[("bailiwick:project", "q")]).await;
            assert!(matches!(result, Err(WriteError::Conflict { .. })), "{result:?}");
            assert_eq!(actions, ["CreateRole", "GetRole"]);
        }

        #[tokio::test]
        async fn refused_delete_names_the_dependents_of_the_role() {
            let conflict = "<ErrorResponse><Error><Code>DeleteConflict</Code><Message>detach first</Message></Error></ErrorResponse>";
            let attached = "<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><AttachedPolicies><member><PolicyName>theirs</PolicyName><PolicyArn>arn:aws:iam::111111111111:policy/theirs</PolicyArn></member></AttachedPolicies></ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>";
            let inline = "<ListRolePoliciesResponse><ListRolePoliciesResult><PolicyNames><member>by-hand</member></PolicyNames></ListRolePoliciesResult></ListRolePoliciesResponse>";
            let server = Recorded::start(&[
                ("Action=DeleteRole", 409, conflict),
                ("Action=ListAttachedRolePolicies", 200, attached),
                ("Action=ListRolePolicies", 200, inline),
                (
                    "Action=ListInstanceProfilesForRole",
                    403,
                    "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
                ),
            ])
            .await;
            let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
            let before = RoleBody {
                name: "kserve-loader".into(),
                path: "/".into(),
                trust: Policy::parse(trust).unwrap(),
                description: None,
                max_session_duration: None,
                permissions_boundary: None,
                tags: std::collections::BTreeMap::new(),
                unique_id: None,
            };
            let action = Action::Delete { before };
            let Err(WriteError::NotYet { awaited, .. }) =
                Role::write(&server.session(), &scope(), &target(), &action).await
            else {
                panic!("it is worth waiting for")
            };
            assert_eq!(
                awaited,
                "others to remove policy `arn:aws:iam::111111111111:policy/theirs`, inline policy `by-hand`"
            );
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            let server = Recorded::start(&[(
                "Action=GetRole",
                403,
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            )])
            .await;
            let answers = Role::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            assert_eq!(
                answers,
                [Err(ReadError::Denied { what: "role `kserve-loader`".into(), why: "AccessDenied: no".into() })]
            );
        }
    }
}
