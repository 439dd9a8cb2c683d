//! `aws.iam.oidc_provider`: lets IAM trust the tokens of a cluster's service accounts. URL, client ids, tags.
//!
//! Thumbprints are neither sent nor compared: IAM verifies EKS issuers with its own trusted certificate authorities.
//!
//! Source: IAM API Reference, `CreateOpenIDConnectProvider`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::access::{Chains, Facet, Instance, Origin};
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::iam::Arn;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{IAM, account_scopes, owner};
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Identity, Management, Spec};

/// The audience of the tokens that pods exchange for credentials.
///
/// Source: EKS User Guide, "Create an IAM OIDC provider for your cluster".
const AUDIENCE: &str = "sts.amazonaws.com";

/// An IAM OIDC provider.
pub(in crate::provider) struct OidcProvider;

/// The body of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::provider) struct OidcProviderBody {
    /// The issuer without its scheme, as IAM returns it.
    pub url: String,
    /// The audiences that it accepts, each `true`. A map, so that audiences of others are not managed.
    #[serde(default)]
    pub client_ids: BTreeMap<String, bool>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Kind for OidcProvider {
    const ABOUT: &'static About = &About {
        name: "aws.iam.oidc_provider",
        api: IAM,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Access,
        fields: &[BodyField::access("url").fixed(), BodyField::access("client_ids"), BodyField::cosmetic("tags")],
    };
    type Body = OidcProviderBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        account_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        let url: String = object.body.field("url").unwrap_or_default();
        let host = url.trim_start_matches("https://").to_owned();
        Facet::Provider { account: owner(object.scope).0.to_owned(), arn: object.physical_id, host }
    }

    fn principal(arn: &Arn) -> Option<String> {
        matches!(arn.resource_type(), Some(("oidc-provider", _))).then(|| arn.to_string())
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<OidcProviderBody>) {
        let mut unknown = BTreeSet::new();
        for (cluster, account) in trusted(spec, chains) {
            let Some(name) = managed_name(spec, cluster, account) else { continue };
            let source = spec.source(&["clusters", cluster]);
            let Some(host) = facts.issuer_host(cluster) else {
                if unknown.insert(cluster) {
                    resources.problem(
                        Diagnostic::new(
                            Code::UnknownIssuer,
                            format!(
                                "the OIDC issuer of cluster `{cluster}` is unknown, and its OIDC provider is \
                                named after it"
                            ),
                        )
                        .at(source)
                        .help("check that the cluster exists, and allow eks:DescribeCluster on it"),
                    );
                }
                continue;
            };
            let body = OidcProviderBody {
                url: host.to_owned(),
                client_ids: BTreeMap::from([(AUDIENCE.to_owned(), true)]),
                tags: desired_tags(spec, Self::NAME, &name, &BTreeMap::new()),
            };
            let arn = spec.iam_arn(account, &format!("oidc-provider/{host}"));
            resources.add(DesiredResource::new(name, spec.account_scope(account), arn, body).at(source));
        }
    }
}

/// Returns the clusters whose tokens roles accept, each with the account of the role.
fn trusted<'a>(spec: &'a Spec, chains: &'a Chains) -> BTreeSet<(&'a str, &'a str)> {
    chains
        .roles()
        .values()
        .filter(|role| !matches!(role.origin, Origin::Target { .. }))
        .flat_map(|role| {
            let accounts = role.service_accounts.iter().filter_map(|name| spec.service_accounts.get(name));
            accounts
                .filter(|account| account.identity(spec) == Identity::Irsa)
                .map(|account| (account.cluster.as_str(), role.account.as_str()))
        })
        .collect()
}

/// Returns the name of a cluster's provider in an account, if the spec manages it. A role in an account other than the
/// cluster's needs a provider there.
pub(super) fn managed_name(spec: &Spec, cluster: &str, account: &str) -> Option<String> {
    let cluster_spec = spec.clusters.get(cluster)?;
    if cluster_spec.oidc_provider == Management::Existing {
        return None;
    }
    Some(if cluster_spec.account == account { cluster.to_owned() } else { format!("{cluster}/{account}") })
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::BTreeMap;

    use super::{OidcProvider, OidcProviderBody};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, write_error, write_error_awaiting};
    use crate::provider::aws::iam::client::client;
    use crate::provider::aws::iam::tags::{iam_tags, tag_map};
    use crate::provider::aws::tags::{PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::Session;

    impl Live for OidcProvider {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let iam = client(cloud, scope).await?;
            let listed = iam.list_open_id_connect_providers().send().await;
            let listed = listed.map_err(|error| read_error("the OIDC providers of the account", &error))?;
            let mut found = Vec::new();
            for arn in listed.open_id_connect_provider_list().iter().filter_map(|provider| provider.arn()) {
                if let Observed::Present { body, .. } = read(&iam, arn).await? {
                    found.extend(tagged_by(&body.tags, cloud.project(), Self::NAME, scope, arn));
                }
            }
            Ok(found)
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<OidcProviderBody>, ReadError> {
            let iam = client(cloud, scope).await?;
            let iam = &iam;
            Ok(each(targets, |target| read(iam, &target.physical_id)).await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<OidcProviderBody>,
        ) -> Result<(), WriteError> {
            let iam = client(cloud, scope).await?;
            let arn = target.physical_id.as_str();
            match action {
                Action::Create { after } => create(&iam, cloud.project(), arn, after).await,
                Action::Update { before, after, .. } => update(&iam, arn, before, after).await,
                Action::Release { before } => untag(&iam, arn, ownership_tags(&before.tags)).await,
                Action::Delete { .. } => removed(
                    format!("delete OIDC provider `{arn}`"),
                    &["NoSuchEntity"],
                    iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await,
                ),
            }
        }
    }

    async fn read(iam: &aws_sdk_iam::Client, arn: &str) -> Result<Observed<OidcProviderBody>, ReadError> {
        match iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await {
            Ok(answer) => {
                let tags = tag_map(answer.tags());
                let url = answer.url().unwrap_or_default();
                Ok(Observed::Present {
                    owner: tags.get(PROJECT_TAG).cloned(),
                    body: OidcProviderBody {
                        url: url.strip_prefix("https://").unwrap_or(url).to_owned(),
                        client_ids: answer.client_id_list().iter().map(|id| (id.clone(), true)).collect(),
                        tags,
                    },
                })
            }
            Err(error) if code(&error) == Some("NoSuchEntity") => Ok(Observed::Absent),
            Err(error) => Err(read_error(format!("OIDC provider `{arn}`"), &error)),
        }
    }

    /// Creates the provider. An account has only one for each issuer. An existing one, from an earlier attempt or a
    /// cluster tool, is completed unless another project owns it.
    async fn create(
        iam: &aws_sdk_iam::Client,
        project: &str,
        arn: &str,
        after: &OidcProviderBody,
    ) -> Result<(), WriteError> {
        let what = || format!("create OIDC provider `{arn}`");
        let sent = iam
            .create_open_id_connect_provider()
            .url(format!("https://{}", after.url))
            .set_client_id_list(Some(after.client_ids.keys().cloned().collect()))
            .set_tags(Some(iam_tags(&after.tags)?))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(()),
            Err(error) if code(&error) == Some("EntityAlreadyExists") => error,
            Err(error) => {
                let awaited = "the cluster's issuer to answer IAM";
                return Err(write_error_awaiting(what(), &error, "OpenIdIdpCommunicationError", awaited));
            }
        };
        match read(iam, arn).await? {
            Observed::Present { owner: Some(owner), .. } if owner != project => Err(WriteError::Conflict {
                what: what(),
                holder: format!("project `{owner}`"),
                why: "an account has one OIDC provider for an issuer".into(),
                help: None,
            }),
            // Entries that are not in `after` belong to others.
            Observed::Present { body, .. } => {
                let ours = OidcProviderBody {
                    client_ids: body
                        .client_ids
                        .into_iter()
                        .filter(|(id, _)| after.client_ids.contains_key(id))
                        .collect(),
                    tags: body.tags.into_iter().filter(|(key, _)| after.tags.contains_key(key)).collect(),
                    url: body.url,
                };
                update(iam, arn, &ours, after).await
            }
            Observed::Absent => Err(write_error(what(), &error)),
        }
    }

    async fn update(
        iam: &aws_sdk_iam::Client,
        arn: &str,
        before: &OidcProviderBody,
        after: &OidcProviderBody,
    ) -> Result<(), WriteError> {
        let what = |part: &str| format!("update the {part} of OIDC provider `{arn}`");
        for id in missing(&before.client_ids, &after.client_ids) {
            iam.add_client_id_to_open_id_connect_provider()
                .open_id_connect_provider_arn(arn)
                .client_id(id)
                .send()
                .await
                .map_err(|e| write_error(what("client ids"), &e))?;
        }
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        if !set.is_empty() {
            iam.tag_open_id_connect_provider()
                .open_id_connect_provider_arn(arn)
                .set_tags(Some(iam_tags(&set)?))
                .send()
                .await
                .map_err(|e| write_error(what("tags"), &e))?;
        }
        untag(iam, arn, remove).await?;
        for id in missing(&after.client_ids, &before.client_ids) {
            iam.remove_client_id_from_open_id_connect_provider()
                .open_id_connect_provider_arn(arn)
                .client_id(id)
                .send()
                .await
                .map_err(|e| write_error(what("client ids"), &e))?;
        }
        Ok(())
    }

    /// Returns the keys of `all` that `some` does not have.
    fn missing<'a>(
        some: &'a BTreeMap<String, bool>,
        all: &'a BTreeMap<String, bool>,
    ) -> impl Iterator<Item = &'a String> {
        all.keys().filter(|id| !some.contains_key(*id))
    }

    async fn untag(iam: &aws_sdk_iam::Client, arn: &str, keys: Vec<String>) -> Result<(), WriteError> {
        if keys.is_empty() {
            return Ok(());
        }
        let sent = iam
            .untag_open_id_connect_provider()
            .open_id_connect_provider_arn(arn)
            .set_tag_keys(Some(keys))
            .send()
            .await;
        removed(format!("untag OIDC provider `{arn}`"), &["NoSuchEntity"], sent)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{DENIED, DONE, EXISTS, MISSING, Recorded, scope};

        const ARN: &str = "arn:aws:iam::111111111111:oidc-provider/oidc.eks/id/X";
        const CREATED: &str = "<CreateOpenIDConnectProviderResponse><CreateOpenIDConnectProviderResult/></CreateOpenIDConnectProviderResponse>";
        const PROVIDER: &str = "<GetOpenIDConnectProviderResponse><GetOpenIDConnectProviderResult><Url>oidc.eks/id/X</Url>\
            <ClientIDList><member>kubernetes</member></ClientIDList>\
            <ThumbprintList><member>9e99a48a9960b14926bb7f3b02e22da2b0ab7280</member></ThumbprintList>\
            <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member><member><Key>cost</Key><Value>7</Value></member></Tags>\
            </GetOpenIDConnectProviderResult></GetOpenIDConnectProviderResponse>";
        const OTHER: &str = "<GetOpenIDConnectProviderResponse><GetOpenIDConnectProviderResult><Url>oidc.eks/id/X</Url>\
            <Tags><member><Key>bailiwick:project</Key><Value>q</Value></member></Tags>\
            </GetOpenIDConnectProviderResult></GetOpenIDConnectProviderResponse>";

        fn target() -> Target {
            Target::new(Address::new(OidcProvider::NAME, "c"), ARN)
        }

        fn body(client_ids: &[&str], tags: &[(&str, &str)]) -> OidcProviderBody {
            OidcProviderBody {
                url: "oidc.eks/id/X".into(),
                client_ids: client_ids.iter().map(|id| ((*id).to_owned(), true)).collect(),
                tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            }
        }

        async fn observe(server: &Recorded) -> Result<Observed<OidcProviderBody>, ReadError> {
            let answers = OidcProvider::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        async fn write(server: &Recorded, action: Action<OidcProviderBody>) -> Result<(), WriteError> {
            OidcProvider::write(&server.session(), &scope(), &target(), &action).await
        }

        #[tokio::test]
        async fn a_provider_is_read_without_its_thumbprints() {
            let server = Recorded::start(&[("Action=GetOpenIDConnectProvider&", 200, PROVIDER)]).await;
            let expected = body(&["kubernetes"], &[("bailiwick:project", "p"), ("cost", "7")]);
            assert_eq!(observe(&server).await, Ok(Observed::Present { body: expected, owner: Some("p".into()) }));
            assert_eq!(server.forms(), [format!("Action=GetOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}")]);
        }

        #[tokio::test]
        async fn no_such_entity_is_absent_and_forbidden_is_not() {
            let server = Recorded::start(&[("Action=GetOpenIDConnectProvider&", 404, MISSING)]).await;
            assert_eq!(observe(&server).await, Ok(Observed::Absent));
            let server = Recorded::start(&[("Action=GetOpenIDConnectProvider&", 403, DENIED)]).await;
            assert_eq!(
                observe(&server).await,
                Err(ReadError::Denied { what: format!("OIDC provider `{ARN}`"), why: "AccessDenied: no".into() })
            );
        }

        #[tokio::test]
        async fn a_provider_is_created_without_thumbprints() {
            let server = Recorded::start(&[("Action=CreateOpenIDConnectProvider&", 200, CREATED)]).await;
            let after = body(&["sts.amazonaws.com"], &[("bailiwick:project", "p")]);
            assert_eq!(write(&server, Action::Create { after }).await, Ok(()));
            assert_eq!(
                server.forms(),
                [
                    "Action=CreateOpenIDConnectProvider&Url=https://oidc.eks/id/X&ClientIDList.member.1=sts.amazonaws.com\
                  &Tags.member.1.Key=bailiwick:project&Tags.member.1.Value=p"
                ]
            );
        }

        #[tokio::test]
        async fn create_completes_an_existing_provider() {
            let server = Recorded::start(&[
                ("Action=CreateOpenIDConnectProvider&", 409, EXISTS),
                ("Action=GetOpenIDConnectProvider&", 200, PROVIDER),
                ("Action=AddClientIDToOpenIDConnectProvider&", 200, DONE),
                ("Action=TagOpenIDConnectProvider&", 200, DONE),
            ])
            .await;
            let after = body(&["sts.amazonaws.com"], &[("bailiwick:address", "x"), ("bailiwick:project", "p")]);
            assert_eq!(write(&server, Action::Create { after }).await, Ok(()));
            assert_eq!(
                server.forms().split_off(2),
                [
                    format!(
                        "Action=AddClientIDToOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}&ClientID=sts.amazonaws.com"
                    ),
                    format!(
                        "Action=TagOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}\
                         &Tags.member.1.Key=bailiwick:address&Tags.member.1.Value=x"
                    ),
                ]
            );
        }

        #[tokio::test]
        async fn provider_of_another_project_is_a_conflict() {
            let server = Recorded::start(&[
                ("Action=CreateOpenIDConnectProvider&", 409, EXISTS),
                ("Action=GetOpenIDConnectProvider&", 200, OTHER),
            ])
            .await;
            let answer = write(&server, Action::Create { after: body(&["sts.amazonaws.com"], &[]) }).await;
            assert!(
                matches!(&answer, Err(WriteError::Conflict { holder, .. }) if holder == "project `q`"),
                "{answer:?}"
            );
        }

        #[tokio::test]
        async fn unreachable_issuer_is_retried() {
            let silent = "<ErrorResponse><Error><Type>Sender</Type><Code>OpenIdIdpCommunicationError</Code><Message>no</Message></Error></ErrorResponse>";
            let server = Recorded::start(&[("Action=CreateOpenIDConnectProvider&", 400, silent)]).await;
            let answer = write(&server, Action::Create { after: body(&[], &[]) }).await;
            assert!(matches!(answer, Err(WriteError::NotYet { .. })), "{answer:?}");
        }

        #[tokio::test]
        async fn update_writes_only_changed_fields() {
            let server = Recorded::start(&[
                ("Action=AddClientIDToOpenIDConnectProvider&", 200, DONE),
                ("Action=UntagOpenIDConnectProvider&", 200, DONE),
                ("Action=RemoveClientIDFromOpenIDConnectProvider&", 200, DONE),
            ])
            .await;
            let action = Action::Update {
                before: body(&["old"], &[("team", "ml")]),
                after: body(&["sts.amazonaws.com"], &[]),
                changed: vec!["client_ids.old".into(), "client_ids.sts.amazonaws.com".into(), "tags.team".into()],
            };
            assert_eq!(write(&server, action).await, Ok(()));
            assert_eq!(
                server.forms(),
                [
                    format!(
                        "Action=AddClientIDToOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}&ClientID=sts.amazonaws.com"
                    ),
                    format!("Action=UntagOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}&TagKeys.member.1=team"),
                    format!(
                        "Action=RemoveClientIDFromOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}&ClientID=old"
                    ),
                ]
            );
        }

        #[tokio::test]
        async fn delete_removes_the_provider_and_release_only_our_tags() {
            for (status, answer) in [(200, DONE), (404, MISSING)] {
                let server = Recorded::start(&[("Action=DeleteOpenIDConnectProvider&", status, answer)]).await;
                assert_eq!(write(&server, Action::Delete { before: body(&[], &[]) }).await, Ok(()));
                assert_eq!(
                    server.forms(),
                    [format!("Action=DeleteOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}")]
                );
            }
            let server = Recorded::start(&[("Action=UntagOpenIDConnectProvider&", 200, DONE)]).await;
            let before = body(&["sts.amazonaws.com"], &[("bailiwick:project", "p"), ("team", "ml")]);
            assert_eq!(write(&server, Action::Release { before }).await, Ok(()));
            assert_eq!(
                server.forms(),
                [format!(
                    "Action=UntagOpenIDConnectProvider&OpenIDConnectProviderArn={ARN}&TagKeys.member.1=bailiwick:project"
                )]
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::desired::{desired, spec};

    const TEXT: &str = "
clusters:
  mine: { account: a, name: mine, identity: irsa }
  theirs: { account: a, name: theirs, identity: irsa, oidc_provider: existing }
  idle: { account: a, name: idle, identity: irsa }
roles:
  near: { account: a, name: near }
  far: { account: b, name: far, managed: false }
service_accounts:
  one: { cluster: mine, namespace: n, name: one, role: near }
  two: { cluster: mine, namespace: n, name: two, role: near }
  three: { cluster: mine, namespace: n, name: three, role: far }
  four: { cluster: theirs, namespace: n, name: four, role: near }
  five: { cluster: idle, namespace: n, name: five, role: near, identity: pod_identity }
  six: { cluster: idle, namespace: n, name: six }
";

    #[test]
    fn each_account_whose_roles_trust_a_cluster_gets_a_provider() {
        let spec = spec(TEXT);
        let facts = Facts::placeholders(&spec);
        let host = facts.issuer_host("mine").unwrap();
        let body = |name: &str| {
            format!(
                r#"{{"client_ids":{{"sts.amazonaws.com":true}},"tags":{{"bailiwick:address":"aws.iam.oidc_provider.{name}","bailiwick:project":"p"}},"url":"{host}"}}"#
            )
        };
        assert_eq!(
            desired::<OidcProvider>(&spec, &facts),
            format!(
                "mine in a: arn:aws:iam::111111111111:oidc-provider/{host}\n  {}\n\
                 mine/b in b: arn:aws:iam::222222222222:oidc-provider/{host}\n  {}\n",
                body("mine"),
                body("mine/b")
            )
        );
    }

    #[test]
    fn an_unknown_issuer_is_one_problem_of_its_cluster() {
        assert_eq!(
            desired::<OidcProvider>(&spec(TEXT), &Facts::default()),
            "error unknown-issuer at t.yaml:8:3: the OIDC issuer of cluster `mine` is unknown, and its OIDC provider \
             is named after it\n"
        );
    }

    #[test]
    fn client_ids_of_others_are_not_managed() {
        use crate::document::Document;
        let live = Document::from(serde_json::json!({"client_ids": {"sts.amazonaws.com": true, "kubernetes": true}}));
        let desired = Document::from(serde_json::json!({"client_ids": {"sts.amazonaws.com": true}}));
        assert_eq!(OidcProvider::managed_fields(&live, Some(&desired), None), desired);
    }
}
