//! `aws.iam.policy`: customer managed policies: name, path, description, document, tags.
//!
//! They come from the spec, or hold grants that do not fit into the inline policy of a role.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::overflow::{first_grant, overflow};
use crate::access::{self, Chains, Facet, Instance, PolicyText};
use crate::address::Scope;
use crate::diagnostic::SourceRef;
use crate::document::Document;
use crate::iam::{Policy, Statement};
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{IAM, account_scopes};
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Spec};

/// A customer managed policy.
pub(in crate::provider) struct ManagedPolicy;

/// The body of a managed policy. Its document is that of the default version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::provider) struct ManagedPolicyBody {
    /// The policy's name.
    pub name: String,
    /// The policy's path.
    pub path: String,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The policy document.
    pub document: Policy,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Kind for ManagedPolicy {
    const ABOUT: &'static About = &About {
        name: "aws.iam.policy",
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
            BodyField::cosmetic("description").fixed(),
            BodyField::access("document"),
            BodyField::cosmetic("tags"),
        ],
    };
    type Body = ManagedPolicyBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        account_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        Facet::ManagedPolicy { arn: object.physical_id, document: PolicyText::of(object.body, "document") }
    }

    fn written(spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef> {
        let raw = &spec.policies.get(name)?.document;
        raw.place(spec, &["policies", name, "document"], statement, element)
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<ManagedPolicyBody>) {
        for (key, policy) in &spec.policies {
            // Loading the spec has already reported a document that does not parse.
            let Ok(document) = policy.document.parse() else { continue };
            let body = ManagedPolicyBody {
                name: policy.name.clone(),
                path: policy.path.clone(),
                description: policy.description.clone(),
                document,
                tags: desired_tags(spec, Self::NAME, key, &policy.tags),
            };
            let source = spec.source(&["policies", key]);
            resources
                .add(DesiredResource::new(key, spec.account_scope(&policy.account), policy.arn(spec), body).at(source));
        }
        for (key, role) in chains.roles().iter().filter(|(_, role)| role.managed) {
            let spilled = access::spilled(spec, facts, chains, key);
            for (document, overflow) in spilled.into_iter().zip(overflow(spec, key, role)) {
                let body = ManagedPolicyBody {
                    name: overflow.iam_name,
                    path: "/".into(),
                    description: None,
                    document,
                    tags: desired_tags(spec, Self::NAME, &overflow.name, &BTreeMap::new()),
                };
                let source = first_grant(spec, chains, key);
                resources.add(
                    DesiredResource::new(overflow.name, spec.account_scope(&role.account), overflow.arn, body)
                        .at(source),
                );
            }
        }
    }

    /// A description cannot be changed, so one that was removed from the spec stays and is no longer managed.
    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        let ours = Document::managed_fields(live, desired, last);
        let is_given = |document: &Document| document.field::<serde_json::Value>("description").is_some();
        if desired.is_none_or(is_given) || !is_given(&ours) {
            return ours;
        }
        let mut tree = ours.tree();
        if let Some(fields) = tree.as_object_mut() {
            fields.remove("description");
        }
        tree.into()
    }
}

#[cfg(feature = "cloud")]
mod live {
    use aws_sdk_iam::types::{ManagedPolicyDetail, PolicyScopeType};

    use super::{ManagedPolicy, ManagedPolicyBody};
    use crate::address::{Address, Scope};
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, write_error};
    use crate::provider::aws::iam::client::client;
    use crate::provider::aws::iam::document::policy_text;
    use crate::provider::aws::iam::held::deleted_unless_held;
    use crate::provider::aws::iam::index::{IamWants, Indexed, index, want};
    use crate::provider::aws::iam::tags::{iam_tags, tag_map};
    use crate::provider::aws::tags::{PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::{OnlyIfRefused, Session};

    /// Source: IAM User Guide, "IAM and AWS STS quotas", versions of a managed policy.
    const VERSIONS: usize = 5;

    impl Live for ManagedPolicy {
        /// No list includes the tags of policies.
        const TAKES_LAST: bool = true;
        /// Needs a request for every policy of the account, because no list includes their tags.
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let iam = client(cloud, scope).await?;
            let mut pages = iam.list_policies().scope(PolicyScopeType::Local).into_paginator().items().send();
            let mut arns = Vec::new();
            while let Some(policy) = pages.next().await {
                let policy = policy.map_err(|error| read_error("the policies of the account", &error))?;
                arns.extend(policy.arn().map(|arn| Target::new(Address::new(Self::NAME, arn), arn)));
            }
            let iam = &iam;
            let tags = each(&arns, |target| async move {
                match iam.get_policy().policy_arn(&target.physical_id).send().await {
                    Ok(answer) => {
                        let tags = answer.policy().map(|policy| tag_map(policy.tags())).unwrap_or_default();
                        Ok(Observed::Present { body: tags, owner: None })
                    }
                    Err(error) if code(&error) == Some("NoSuchEntity") => Ok(Observed::Absent),
                    Err(error) => Err(read_error(format!("policy `{}`", target.physical_id), &error)),
                }
            });
            let mut found = Vec::new();
            for (target, tags) in arns.iter().zip(tags.await) {
                if let Observed::Present { body, .. } = tags? {
                    found.extend(tagged_by(&body, cloud.project(), Self::NAME, scope, &target.physical_id));
                }
            }
            Ok(found)
        }

        fn announce(cloud: &Session, scope: &Scope, targets: &[Target]) {
            let wants = IamWants {
                policies: targets.iter().map(|target| target.physical_id.clone()).collect(),
                reads: 2 * targets.len(),
                beside: targets.iter().filter(|target| target.last.is_none()).count(),
                ..IamWants::default()
            };
            want(cloud, scope, wants);
        }

        /// If everything but the tags equals the last applied body and the desired one, the tags are assumed to be
        /// unchanged too: no list includes them, and reading them would take a request for every policy. Drift
        /// detection and every write do read them.
        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<ManagedPolicyBody>, ReadError> {
            let iam = client(cloud, scope).await?;
            let index = index(cloud, scope).await?;
            let (iam, index) = (&iam, index.as_deref());
            Ok(each(targets, |target| async move {
                let seen = match index.map(|index| index.policy(&target.physical_id)) {
                    Some(Indexed::Absent) => return Ok(Observed::Absent),
                    Some(Indexed::Present(detail)) => match as_applied(detail, target) {
                        Some(body) => Observed::Present { owner: body.tags.get(PROJECT_TAG).cloned(), body },
                        None => read(iam, &target.physical_id, document(detail)).await?,
                    },
                    Some(Indexed::Unsure) | None => read(iam, &target.physical_id, None).await?,
                };
                Ok(asked(seen, target))
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<ManagedPolicyBody>,
        ) -> Result<(), WriteError> {
            let iam = client(cloud, scope).await?;
            let arn = target.physical_id.as_str();
            match action {
                Action::Create { after } => create(&iam, cloud.project(), arn, after).await,
                Action::Update { before, after, .. } => update(&iam, arn, before, after).await,
                Action::Release { before } => untag(&iam, arn, ownership_tags(&before.tags)).await,
                Action::Delete { .. } => delete(&iam, arn).await,
            }
        }
    }

    /// Returns the last applied body, if the account details agree with it in all the fields that they include.
    fn as_applied(detail: &ManagedPolicyDetail, target: &Target) -> Option<ManagedPolicyBody> {
        let last: ManagedPolicyBody = target.last.as_ref()?.read().ok()?;
        let (_, text) = document(detail)?;
        let live = ManagedPolicyBody {
            description: detail.description().filter(|_| last.description.is_some()).map(ToOwned::to_owned),
            document: policy_text(text).ok()?,
            // Name and path are part of the ARN, which already matched.
            ..last.clone()
        };
        (live == last).then_some(live)
    }

    /// Returns the id and the text of the default version.
    fn document(detail: &ManagedPolicyDetail) -> Option<(&str, &str)> {
        let version = detail.policy_version_list().iter().find(|version| version.is_default_version())?;
        Some((version.version_id()?, version.document()?))
    }

    /// Removes tags that neither the spec nor the state names, so that a policy reads the same either way.
    fn asked(mut seen: Observed<ManagedPolicyBody>, target: &Target) -> Observed<ManagedPolicyBody> {
        if let Observed::Present { body, .. } = &mut seen {
            body.tags.retain(|key, _| target.fields.has(&format!("tags.{key}")));
        }
        seen
    }

    /// Reads a policy. Requests the text of its default version only if it is not known.
    async fn read(
        iam: &aws_sdk_iam::Client,
        arn: &str,
        known: Option<(&str, &str)>,
    ) -> Result<Observed<ManagedPolicyBody>, ReadError> {
        let what = || format!("policy `{arn}`");
        let failed = |why: String| ReadError::Failed { what: what(), why };
        let answer = match iam.get_policy().policy_arn(arn).send().await {
            Ok(answer) => answer,
            Err(error) if code(&error) == Some("NoSuchEntity") => return Ok(Observed::Absent),
            Err(error) => return Err(read_error(what(), &error)),
        };
        let policy = answer.policy().ok_or_else(|| failed("the answer holds no policy".into()))?;
        let version = policy.default_version_id().unwrap_or_default();
        let text = match known.filter(|(id, _)| *id == version) {
            Some((_, text)) => text.to_owned(),
            None => version_text(iam, arn, version).await?,
        };
        let tags = tag_map(policy.tags());
        Ok(Observed::Present {
            owner: tags.get(PROJECT_TAG).cloned(),
            body: ManagedPolicyBody {
                name: policy.policy_name().unwrap_or_default().to_owned(),
                path: policy.path().unwrap_or_default().to_owned(),
                description: policy.description().map(ToOwned::to_owned),
                document: policy_text(&text).map_err(failed)?,
                tags,
            },
        })
    }

    async fn version_text(iam: &aws_sdk_iam::Client, arn: &str, version: &str) -> Result<String, ReadError> {
        let answer = iam.get_policy_version().policy_arn(arn).version_id(version).send().await;
        let answer = answer.map_err(|error| read_error(format!("the default version of policy `{arn}`"), &error))?;
        Ok(answer.policy_version.and_then(|version| version.document).unwrap_or_default())
    }

    /// Creates the policy. An existing one of this project comes from an earlier attempt, and is updated.
    async fn create(
        iam: &aws_sdk_iam::Client,
        project: &str,
        arn: &str,
        after: &ManagedPolicyBody,
    ) -> Result<(), WriteError> {
        let sent = iam
            .create_policy()
            .policy_name(&after.name)
            .path(&after.path)
            .set_description(after.description.clone())
            .policy_document(after.document.to_string())
            .set_tags(Some(iam_tags(&after.tags)?))
            .send()
            .await;
        let Err(error) = sent else { return Ok(()) };
        if code(&error) == Some("EntityAlreadyExists")
            && let Observed::Present { mut body, owner: Some(owner) } = read(iam, arn, None).await?
            && owner == project
        {
            // Other tags belong to others.
            body.tags.retain(|key, _| after.tags.contains_key(key));
            return update(iam, arn, &body, after).await;
        }
        Err(write_error(format!("create policy `{arn}`"), &error))
    }

    /// Writes the document last, so that the policy grants the old access until then.
    async fn update(
        iam: &aws_sdk_iam::Client,
        arn: &str,
        before: &ManagedPolicyBody,
        after: &ManagedPolicyBody,
    ) -> Result<(), WriteError> {
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        if !set.is_empty() {
            iam.tag_policy()
                .policy_arn(arn)
                .set_tags(Some(iam_tags(&set)?))
                .send()
                .await
                .map_err(|e| write_error(format!("update the tags of policy `{arn}`"), &e))?;
        }
        untag(iam, arn, remove).await?;
        if before.document == after.document {
            return Ok(());
        }
        let versions = other_versions(iam, arn).await?;
        if let Some(oldest) = versions.first().filter(|_| versions.len() + 1 >= VERSIONS) {
            delete_version(iam, arn, oldest).await?;
        }
        iam.create_policy_version()
            .policy_arn(arn)
            .policy_document(after.document.to_string())
            .set_as_default(true)
            .customize()
            // A retry could create another version, and only five can exist.
            .config_override(aws_sdk_iam::config::Builder::new().retry_classifier(OnlyIfRefused))
            .send()
            .await
            .map(|_| ())
            .map_err(|e| write_error(format!("update the document of policy `{arn}`"), &e))
    }

    async fn delete(iam: &aws_sdk_iam::Client, arn: &str) -> Result<(), WriteError> {
        for version in other_versions(iam, arn).await? {
            delete_version(iam, arn, &version).await?;
        }
        let sent = iam.delete_policy().policy_arn(arn).send().await;
        deleted_unless_held(format!("delete policy `{arn}`"), sent, attachments(iam, arn)).await
    }

    /// Lists the attachments of a policy for a message, as far as they can be read.
    async fn attachments(iam: &aws_sdk_iam::Client, arn: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut pages = iam.list_entities_for_policy().policy_arn(arn).into_paginator().send();
        while let Some(Ok(page)) = pages.next().await {
            let roles = page.policy_roles().iter().filter_map(|r| r.role_name()).map(|name| ("role", name));
            let users = page.policy_users().iter().filter_map(|u| u.user_name()).map(|name| ("user", name));
            let groups = page.policy_groups().iter().filter_map(|g| g.group_name()).map(|name| ("group", name));
            let all = roles.chain(users).chain(groups);
            found.extend(all.map(|(kind, name)| format!("the attachment to {kind} `{name}`")));
        }
        found
    }

    /// Lists the versions other than the default one, oldest first; none if the policy does not exist.
    async fn other_versions(iam: &aws_sdk_iam::Client, arn: &str) -> Result<Vec<String>, WriteError> {
        let pages = iam.list_policy_versions().policy_arn(arn).into_paginator().items().send();
        let versions = match pages.collect::<Result<Vec<_>, _>>().await {
            Ok(versions) => versions,
            Err(error) if code(&error) == Some("NoSuchEntity") => return Ok(Vec::new()),
            Err(error) => return Err(read_error(format!("the versions of policy `{arn}`"), &error).into()),
        };
        let mut others: Vec<String> = versions
            .iter()
            .filter(|v| !v.is_default_version())
            .filter_map(|v| v.version_id().map(ToOwned::to_owned))
            .collect();
        // Version numbers rise and are never reused: v1, v2, ...
        others.sort_by_key(|id| id.strip_prefix('v').and_then(|n| n.parse::<u64>().ok()));
        Ok(others)
    }

    async fn delete_version(iam: &aws_sdk_iam::Client, arn: &str, version: &str) -> Result<(), WriteError> {
        removed(
            format!("delete version {version} of policy `{arn}`"),
            &["NoSuchEntity"],
            iam.delete_policy_version().policy_arn(arn).version_id(version).send().await,
        )
    }

    async fn untag(iam: &aws_sdk_iam::Client, arn: &str, keys: Vec<String>) -> Result<(), WriteError> {
        if keys.is_empty() {
            return Ok(());
        }
        removed(
            format!("untag policy `{arn}`"),
            &["NoSuchEntity"],
            iam.untag_policy().policy_arn(arn).set_tag_keys(Some(keys)).send().await,
        )
    }

    #[cfg(test)]
    mod tests {
        use std::collections::BTreeMap;

        use super::*;
        use crate::address::Address;
        use crate::iam::Policy;
        use crate::kind::Kind;
        use crate::provider::recorded::{DENIED, DONE, EXISTS, MISSING, Recorded, scope};

        const ARN: &str = "arn:aws:iam::111111111111:policy/ml/team";
        const CREATED: &str =
            "<CreatePolicyResponse><CreatePolicyResult><Policy/></CreatePolicyResult></CreatePolicyResponse>";
        const VERSION_CREATED: &str = "<CreatePolicyVersionResponse><CreatePolicyVersionResult><PolicyVersion/></CreatePolicyVersionResult></CreatePolicyVersionResponse>";
        const POLICY: &str = "<GetPolicyResponse><GetPolicyResult><Policy><PolicyName>team</PolicyName><Path>/ml/</Path>\
            <Arn>arn:aws:iam::111111111111:policy/ml/team</Arn><DefaultVersionId>v7</DefaultVersionId><Description>For all</Description>\
            <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member><member><Key>cost</Key><Value>7</Value></member></Tags>\
            </Policy></GetPolicyResult></GetPolicyResponse>";
        const VERSION: &str = "<GetPolicyVersionResponse><GetPolicyVersionResult><PolicyVersion><VersionId>v7</VersionId><IsDefaultVersion>true</IsDefaultVersion>\
            <Document>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3AGetObject%22%2C%22Resource%22%3A%22arn%3Aaws%3As3%3A%3A%3Ab%2F%2A%22%7D%7D</Document>\
            </PolicyVersion></GetPolicyVersionResult></GetPolicyVersionResponse>";
        const FIVE: &str = "<ListPolicyVersionsResponse><ListPolicyVersionsResult><IsTruncated>false</IsTruncated><Versions>\
            <member><VersionId>v10</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            <member><VersionId>v3</VersionId><IsDefaultVersion>true</IsDefaultVersion></member>\
            <member><VersionId>v9</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            <member><VersionId>v11</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            <member><VersionId>v12</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            </Versions></ListPolicyVersionsResult></ListPolicyVersionsResponse>";
        const FOUR: &str = "<ListPolicyVersionsResponse><ListPolicyVersionsResult><IsTruncated>false</IsTruncated><Versions>\
            <member><VersionId>v10</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            <member><VersionId>v3</VersionId><IsDefaultVersion>true</IsDefaultVersion></member>\
            <member><VersionId>v9</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            <member><VersionId>v11</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            </Versions></ListPolicyVersionsResult></ListPolicyVersionsResponse>";
        const TWO: &str = "<ListPolicyVersionsResponse><ListPolicyVersionsResult><IsTruncated>false</IsTruncated><Versions>\
            <member><VersionId>v2</VersionId><IsDefaultVersion>true</IsDefaultVersion></member>\
            <member><VersionId>v1</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
            </Versions></ListPolicyVersionsResult></ListPolicyVersionsResponse>";
        const GET: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;
        const PUT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}]}"#;

        fn target() -> Target {
            Target::new(Address::new(ManagedPolicy::NAME, "team"), ARN)
        }

        fn body(document: &str, tags: &[(&str, &str)]) -> ManagedPolicyBody {
            ManagedPolicyBody {
                name: "team".into(),
                path: "/ml/".into(),
                description: Some("For all".into()),
                document: Policy::parse(document).unwrap(),
                tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            }
        }

        async fn observe(server: &Recorded) -> Result<Observed<ManagedPolicyBody>, ReadError> {
            let answers = ManagedPolicy::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        async fn write(server: &Recorded, action: Action<ManagedPolicyBody>) -> Result<(), WriteError> {
            ManagedPolicy::write(&server.session(), &scope(), &target(), &action).await
        }

        #[tokio::test]
        async fn failed_version_creation_is_not_repeated() {
            let broken = "<ErrorResponse><Error><Code>ServiceFailure</Code></Error></ErrorResponse>";
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 200, TWO),
                ("Action=CreatePolicyVersion&", 500, broken),
            ])
            .await;
            let (before, after) = (body(GET, &[]), body(GET, &[]));
            let after =
                ManagedPolicyBody { document: Policy::parse(&GET.replace("GetObject", "PutObject")).unwrap(), ..after };
            let answer = write(&server, Action::Update { before, after, changed: vec!["document".into()] }).await;
            assert!(matches!(answer, Err(WriteError::Failed { .. })), "{answer:?}");
            let made = server.forms().into_iter().filter(|form| form.starts_with("Action=CreatePolicyVersion"));
            assert_eq!(made.count(), 1);
        }

        #[tokio::test]
        async fn a_policy_is_read_with_its_default_version() {
            let server =
                Recorded::start(&[("Action=GetPolicyVersion&", 200, VERSION), ("Action=GetPolicy&", 200, POLICY)])
                    .await;
            let expected = body(GET, &[("bailiwick:project", "p"), ("cost", "7")]);
            assert_eq!(observe(&server).await, Ok(Observed::Present { body: expected, owner: Some("p".into()) }));
            assert_eq!(
                server.forms(),
                [
                    format!("Action=GetPolicy&PolicyArn={ARN}"),
                    format!("Action=GetPolicyVersion&PolicyArn={ARN}&VersionId=v7")
                ]
            );
        }

        #[tokio::test]
        async fn no_such_entity_is_absent_and_forbidden_is_not() {
            let server = Recorded::start(&[("Action=GetPolicy&", 404, MISSING)]).await;
            assert_eq!(observe(&server).await, Ok(Observed::Absent));
            let denied =
                |what: &str| Err(ReadError::Denied { what: format!("{what} `{ARN}`"), why: "AccessDenied: no".into() });
            let server = Recorded::start(&[("Action=GetPolicy&", 403, DENIED)]).await;
            assert_eq!(observe(&server).await, denied("policy"));
            let server =
                Recorded::start(&[("Action=GetPolicyVersion&", 403, DENIED), ("Action=GetPolicy&", 200, POLICY)]).await;
            assert_eq!(observe(&server).await, denied("the default version of policy"));
        }

        #[tokio::test]
        async fn a_policy_is_created_with_its_tags() {
            let server = Recorded::start(&[("Action=CreatePolicy&", 200, CREATED)]).await;
            assert_eq!(write(&server, Action::Create { after: body(PUT, &[("team", "ml")]) }).await, Ok(()));
            assert_eq!(
                server.forms(),
                [format!(
                    "Action=CreatePolicy&PolicyName=team&Path=/ml/&PolicyDocument={PUT}&Description=For all\
                     &Tags.member.1.Key=team&Tags.member.1.Value=ml"
                )]
            );
        }

        #[tokio::test]
        async fn a_policy_of_an_earlier_try_is_completed() {
            let server = Recorded::start(&[
                ("Action=CreatePolicy&", 409, EXISTS),
                ("Action=GetPolicyVersion&", 200, VERSION),
                ("Action=GetPolicy&", 200, POLICY),
                ("Action=ListPolicyVersions&", 200, TWO),
                ("Action=CreatePolicyVersion&", 200, VERSION_CREATED),
            ])
            .await;
            assert_eq!(
                write(&server, Action::Create { after: body(PUT, &[("bailiwick:project", "p")]) }).await,
                Ok(())
            );
            assert_eq!(
                server.forms().split_off(3),
                [
                    format!("Action=ListPolicyVersions&PolicyArn={ARN}"),
                    format!("Action=CreatePolicyVersion&PolicyArn={ARN}&PolicyDocument={PUT}&SetAsDefault=true"),
                ]
            );
        }

        #[tokio::test]
        async fn create_refuses_an_existing_policy_that_cannot_be_read() {
            let server =
                Recorded::start(&[("Action=CreatePolicy&", 409, EXISTS), ("Action=GetPolicy&", 404, MISSING)]).await;
            assert_eq!(
                write(&server, Action::Create { after: body(PUT, &[]) }).await,
                Err(WriteError::Failed {
                    what: format!("create policy `{ARN}`"),
                    why: "EntityAlreadyExists: there".into()
                })
            );
        }

        #[tokio::test]
        async fn new_document_replaces_the_oldest_of_five_versions() {
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 200, FIVE),
                ("Action=DeletePolicyVersion&", 200, DONE),
                ("Action=CreatePolicyVersion&", 200, VERSION_CREATED),
            ])
            .await;
            let action =
                Action::Update { before: body(GET, &[]), after: body(PUT, &[]), changed: vec!["document".into()] };
            assert_eq!(write(&server, action).await, Ok(()));
            assert_eq!(
                server.forms(),
                [
                    format!("Action=ListPolicyVersions&PolicyArn={ARN}"),
                    format!("Action=DeletePolicyVersion&PolicyArn={ARN}&VersionId=v9"),
                    format!("Action=CreatePolicyVersion&PolicyArn={ARN}&PolicyDocument={PUT}&SetAsDefault=true"),
                ]
            );
        }

        #[tokio::test]
        async fn below_five_versions_none_is_deleted() {
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 200, FOUR),
                ("Action=CreatePolicyVersion&", 200, VERSION_CREATED),
            ])
            .await;
            let action =
                Action::Update { before: body(GET, &[]), after: body(PUT, &[]), changed: vec!["document".into()] };
            assert_eq!(write(&server, action).await, Ok(()));
            assert_eq!(server.forms().len(), 2, "{:?}", server.forms());
        }

        #[tokio::test]
        async fn changed_tags_make_no_version() {
            let server = Recorded::start(&[("Action=TagPolicy&", 200, DONE), ("Action=UntagPolicy&", 200, DONE)]).await;
            let action = Action::Update {
                before: body(GET, &[("old", "1"), ("same", "2")]),
                after: body(GET, &[("new", "3"), ("same", "2")]),
                changed: vec!["tags.new".into(), "tags.old".into()],
            };
            assert_eq!(write(&server, action).await, Ok(()));
            assert_eq!(
                server.forms(),
                [
                    format!("Action=TagPolicy&PolicyArn={ARN}&Tags.member.1.Key=new&Tags.member.1.Value=3"),
                    format!("Action=UntagPolicy&PolicyArn={ARN}&TagKeys.member.1=old"),
                ]
            );
        }

        #[tokio::test]
        async fn delete_removes_the_policy_and_its_versions() {
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 200, TWO),
                ("Action=DeletePolicyVersion&", 200, DONE),
                ("Action=DeletePolicy&", 200, DONE),
            ])
            .await;
            assert_eq!(write(&server, Action::Delete { before: body(GET, &[]) }).await, Ok(()));
            assert_eq!(
                server.forms(),
                [
                    format!("Action=ListPolicyVersions&PolicyArn={ARN}"),
                    format!("Action=DeletePolicyVersion&PolicyArn={ARN}&VersionId=v1"),
                    format!("Action=DeletePolicy&PolicyArn={ARN}"),
                ]
            );
        }

        #[tokio::test]
        async fn delete_accepts_a_missing_policy() {
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 404, MISSING),
                ("Action=DeletePolicy&", 404, MISSING),
            ])
            .await;
            assert_eq!(write(&server, Action::Delete { before: body(GET, &[]) }).await, Ok(()));
        }

        #[tokio::test]
        async fn delete_of_an_attached_policy_is_retried() {
            let conflict = "<ErrorResponse><Error><Type>Sender</Type><Code>DeleteConflict</Code><Message>attached</Message></Error></ErrorResponse>";
            let server = Recorded::start(&[
                ("Action=ListPolicyVersions&", 404, MISSING),
                ("Action=DeletePolicy&", 409, conflict),
            ])
            .await;
            let answer = write(&server, Action::Delete { before: body(GET, &[]) }).await;
            assert!(matches!(answer, Err(WriteError::NotYet { .. })), "{answer:?}");
        }

        #[tokio::test]
        async fn release_only_removes_our_tags() {
            let server = Recorded::start(&[("Action=UntagPolicy&", 200, DONE)]).await;
            let before = body(GET, &[("bailiwick:address", "x"), ("bailiwick:project", "p"), ("team", "ml")]);
            assert_eq!(write(&server, Action::Release { before }).await, Ok(()));
            assert_eq!(
                server.forms(),
                [format!(
                    "Action=UntagPolicy&PolicyArn={ARN}&TagKeys.member.1=bailiwick:address&TagKeys.member.2=bailiwick:project"
                )]
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::desired::{desired, grants, spec};

    #[test]
    fn policies_are_desired_as_written() {
        let spec = spec(
            r#"
policies:
  team:
    account: b
    name: Team
    path: /ml/
    description: For all
    document: { Version: "2012-10-17", Statement: { Effect: Allow, Action: "s3:GetObject", Resource: "*" } }
    tags: { team: ml }
"#,
        );
        assert_eq!(
            desired::<ManagedPolicy>(&spec, &Facts::default()),
            concat!(
                "team in b: arn:aws:iam::222222222222:policy/ml/Team\n",
                r#"  {"description":"For all","document":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"},"#,
                r#""name":"Team","path":"/ml/","tags":{"bailiwick:address":"aws.iam.policy.team","bailiwick:project":"p","team":"ml"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn grants_that_do_not_fit_inline_overflow_into_policies() {
        let resources = desired::<ManagedPolicy>(&spec(&grants(250)), &Facts::default());
        let names: Vec<&str> = resources.lines().filter(|l| !l.starts_with(' ')).collect();
        assert!(names.len() > 1, "{names:?}");
        for (name, n) in names.into_iter().zip(1..) {
            assert_eq!(
                name,
                format!("loader/access-{n} in a: arn:aws:iam::111111111111:policy/p-loader-bailiwick-access-{n}")
            );
        }
        assert_eq!(desired::<ManagedPolicy>(&spec(&grants(10)), &Facts::default()), "");
    }

    #[test]
    fn description_is_managed_only_while_the_spec_sets_it() {
        use serde_json::json;
        let live = Document::from(json!({"description": "x", "path": "/"}));
        let with = Document::from(json!({"description": "y", "path": "/"}));
        let without = Document::from(json!({"path": "/"}));
        assert_eq!(ManagedPolicy::managed_fields(&live, Some(&with), None), live);
        assert_eq!(ManagedPolicy::managed_fields(&live, Some(&without), Some(&with)), without);
    }
}
