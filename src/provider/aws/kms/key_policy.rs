//! `aws.kms.key_policy`: the project's statements in the policy of a KMS key.
//!
//! [`crate::provider::aws::shared_document`] explains when it is absent, and how foreign statements are kept. A KMS key always has a
//! policy. A policy with only the project's statements would lock out everyone who can change it, so it is never
//! written.

use std::collections::BTreeSet;

use super::key::Key;
use crate::access::{self, Carrier, Chains, Facet, Instance, ResourcePolicy};
use crate::address::Scope;
use crate::document::Document;
use crate::iam::{PolicyKind, PolicyPlace};
use crate::kind::{
    About, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy, Release,
};
use crate::provider::aws::family::{KMS, owner, regional_scopes};
use crate::provider::aws::iam::role::Role;
use crate::provider::aws::shared_document::{self, SharedDocument, managed_principals};
use crate::spec::{Facts, KeySpec, Spec};

/// The policy of a KMS key.
pub(crate) struct KeyPolicy;

impl Kind for KeyPolicy {
    const ABOUT: &'static About = &About {
        name: "aws.kms.key_policy",
        api: KMS,
        home: Home::Location,
        named_by: NamedBy::Alias,
        owned_by: OwnedBy::Statements { on: Key::NAME, unmanaged: keys },
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Delete,
        presence: FieldClass::Access,
        fields: shared_document::FIELDS,
    };
    type Body = SharedDocument;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        Facet::Resource(shared_document::facet(object.body, carrier(object.scope, object.physical_id)))
    }

    fn desire(spec: &Spec, _facts: &Facts, chains: &Chains, resources: &mut DesiredResources<SharedDocument>) {
        for (name, key) in &spec.keys {
            let statements = access::key_statements(spec, chains, name);
            if statements.is_empty() {
                continue;
            }
            let source = spec.source(&["keys", name]);
            let roles = managed_principals(chains, &statements);
            let body = SharedDocument::of(statements, false);
            let need = format!("the grants on buckets under key `{}` need a key policy", key.alias_name());
            if let Some(problem) = shared_document::over_quota(PolicyPlace::KeyPolicy, &body, &need) {
                resources.problem(problem.at(source).help("let pods share a role, or use `mode: assume_role`"));
                continue;
            }
            let scope = spec.regional_scope(&key.account, key.region(spec));
            let mut resource = DesiredResource::new(name, scope, key.alias_name(), body).at(source);
            if key.managed {
                resource = resource.after::<Key>(name);
            }
            for role in roles {
                resource = resource.after::<Role>(role);
            }
            resources.add(resource);
        }
    }

    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        shared_document::managed_fields(live, desired, last)
    }

    fn overlaid(live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document {
        shared_document::overlaid(live, before, after)
    }

    fn remainder(live: &Document, before: Option<&Document>) -> Option<Document> {
        shared_document::remainder(live, before)
    }
}

/// Describes a key policy apart from its statements. A key policy names the key `*`, so its id does not matter.
fn carrier<'b>(scope: &Scope, alias: &'b str) -> ResourcePolicy<'b> {
    let (account, partition) = owner(scope);
    ResourcePolicy {
        on: Carrier::Key(alias),
        arn: format!("arn:{partition}:kms:us-east-1:{account}:key/x"),
        account: account.to_owned(),
        ours: None,
        others: None,
        exclusive: false,
        place: PolicyPlace::KeyPolicy,
        kind: PolicyKind::Key,
        must_keep: &["kms:PutKeyPolicy", "kms:GetKeyPolicy"],
    }
}

/// Returns every KMS key of the spec: the policy of an unmanaged one may contain statements of the project too.
fn keys(spec: &Spec) -> Vec<(String, Scope, String)> {
    let key = |(name, key): (&String, &KeySpec)| {
        (name.clone(), spec.regional_scope(&key.account, key.region(spec)), key.alias_name())
    };
    spec.keys.iter().map(key).collect()
}

#[cfg(feature = "cloud")]
mod live {
    use crate::provider::aws::shared_document::refuse_unsafe;
    use aws_sdk_kms::types::KeyMetadata;

    use super::{KeyPolicy, SharedDocument};
    use crate::address::Scope;
    use crate::kind::Action;
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, write_error};
    use crate::provider::aws::kms::alias::{describe, refuse_another};
    use crate::provider::aws::kms::client::client;
    use crate::session::Session;

    /// The name of the only policy that a key can have.
    ///
    /// Source: KMS API Reference, `PutKeyPolicy`, `PolicyName`.
    const POLICY_NAME: &str = "default";

    /// Reads the key behind an alias, and the text of its policy; `None` if the key does not exist.
    async fn fetch(kms: &aws_sdk_kms::Client, alias: &str) -> Result<Option<(KeyMetadata, String)>, ReadError> {
        let what = || format!("the policy of key `{alias}`");
        let Some(key) = describe(kms, alias).await? else { return Ok(None) };
        match kms.get_key_policy().key_id(key.key_id()).policy_name(POLICY_NAME).send().await {
            Ok(answer) => match answer.policy {
                Some(text) => Ok(Some((key, text))),
                None => Err(ReadError::Failed { what: what(), why: "KMS answered without a policy".into() }),
            },
            Err(error) if code(&error) == Some("NotFoundException") => Ok(None),
            Err(error) => Err(read_error(what(), &error)),
        }
    }

    impl Live for KeyPolicy {
        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<SharedDocument>, ReadError> {
            let kms = client(cloud, scope).await?;
            let kms = &kms;
            Ok(each(targets, |target| async move {
                let alias = target.physical_id.as_str();
                let Some((key, text)) = fetch(kms, alias).await? else { return Ok(Observed::Absent) };
                let body = SharedDocument::read(cloud.project(), Some(&text))
                    .map_err(|why| ReadError::Failed { what: format!("the policy of key `{alias}`"), why })?;
                let body = SharedDocument { unique_id: Some(key.key_id().to_owned()), ..body };
                Ok(Observed::Present { owner: body.owner(cloud.project()), body })
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<SharedDocument>,
        ) -> Result<(), WriteError> {
            let kms = client(cloud, scope).await?;
            let alias = target.physical_id.as_str();
            let what = format!("write the policy of key `{alias}`");
            let refused = |why, help| WriteError::Refused { what: what.clone(), why, help };
            let body = match action {
                Action::Create { after } | Action::Update { after, .. } => after.clone(),
                Action::Delete { .. } | Action::Release { .. } => SharedDocument::of(Vec::new(), false),
            };
            let Some((key, live)) = fetch(&kms, alias).await? else {
                return if matches!(action, Action::Delete { .. } | Action::Release { .. }) {
                    Ok(())
                } else {
                    Err(WriteError::NotYet {
                        awaited: "the key to be known to KMS".into(),
                        why: format!("`{alias}` points to no key"),
                        what,
                    })
                };
            };
            refuse_another(target, &key, || what.clone())?;
            let document = body.rewrite(cloud.project(), Some(&live)).map_err(|why| refused(why, None))?;
            if !document.changed {
                return Ok(());
            }
            let (Some(text), 1..) = (document.text, document.foreign) else {
                let why = "the policy would contain only Bailiwick's statements, and the key could never be changed \
                           again: nothing was written";
                let help = "add a statement that lets the key's account manage it";
                return Err(refused(why.into(), Some(help.into())));
            };
            let document = (text.as_str(), document.foreign);
            refuse_unsafe(cloud, scope, &super::carrier(scope, alias), &what, document).await?;
            kms.put_key_policy()
                .key_id(key.key_id())
                .policy_name(POLICY_NAME)
                .policy(text)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| write_error(what, &error))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::tests::body;
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, scope};
        use serde_json::{Value, json};

        const DESCRIBE: &str = "TrentService.DescribeKey";
        const READ: &str = "TrentService.GetKeyPolicy";
        const PUT: &str = "TrentService.PutKeyPolicy";
        const KEY: &str =
            r#"{"KeyMetadata":{"KeyId":"k1","Arn":"arn:aws:kms:us-east-1:111111111111:key/k1","KeyState":"Enabled"}}"#;
        const NOT_FOUND: &str = r#"{"__type":"NotFoundException","message":"Alias is not found."}"#;
        const DENIED: &str = r#"{"__type":"AccessDeniedException","message":"no"}"#;

        fn account_statement() -> Value {
            json!({"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Action": ["kms:*"], "Resource": "*",
                "Principal": {"AWS": ["arn:aws:iam::111111111111:root"]}})
        }

        /// Builds a `GetKeyPolicy` response.
        fn policy(statements: &[Value]) -> &'static str {
            let text = json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": statements}).to_string();
            Box::leak(json!({"Policy": text, "PolicyName": "default"}).to_string().into_boxed_str())
        }

        fn ours() -> Value {
            body().statements.statements()[0].to_value()
        }

        fn target() -> Target {
            Target::new(Address::new(KeyPolicy::NAME, "weights"), "alias/weights")
        }

        async fn observe(
            exchanges: &[(&'static str, u16, &'static str)],
        ) -> Result<Observed<SharedDocument>, ReadError> {
            let server = Recorded::start(exchanges).await;
            let answers = KeyPolicy::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        /// Runs a write, and returns its `PutKeyPolicy` requests.
        async fn check_write(live: &[Value], action: Action<SharedDocument>) -> (Result<(), WriteError>, Vec<Value>) {
            let server = Recorded::start(&[(DESCRIBE, 200, KEY), (READ, 200, policy(live)), (PUT, 200, "{}")]).await;
            let done = KeyPolicy::write(&server.session(), &scope(), &target(), &action).await;
            let sent = |request: &String| {
                let (head, text) = request.split_once("\r\n\r\n").unwrap();
                head.contains(PUT).then(|| serde_json::from_str(text).unwrap())
            };
            (done, server.requests().iter().filter_map(sent).collect())
        }

        fn put(statements: &[Value]) -> Value {
            let text = json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": statements}).to_string();
            json!({"KeyId": "k1", "PolicyName": "default", "Policy": text})
        }

        #[tokio::test]
        async fn own_and_foreign_statements_are_separated() {
            let live = policy(&[account_statement(), ours()]);
            let found = observe(&[(DESCRIBE, 200, KEY), (READ, 200, live)]).await;
            let Ok(Observed::Present { body: found, owner }) = found else { panic!("{found:?}") };
            assert_eq!((&found.statements, owner.as_deref()), (&body().statements, Some("p")));
            assert_eq!(found.unique_id.as_deref(), Some("k1"), "which key it is");
            assert_eq!(found.foreign.unwrap().statements().len(), 1);
        }

        #[tokio::test]
        async fn policy_of_a_key_behind_a_repointed_alias_is_not_changed() {
            let target = Target { unique_id: Some("k0".into()), ..target() };
            for action in [Action::Create { after: body() }, Action::Delete { before: body() }] {
                let server = Recorded::start(&[
                    (DESCRIBE, 200, KEY),
                    (READ, 200, policy(&[account_statement(), ours()])),
                    (PUT, 200, "{}"),
                ])
                .await;
                let done = KeyPolicy::write(&server.session(), &scope(), &target, &action).await;
                let Err(WriteError::Conflict { holder, .. }) = done else { panic!("{done:?}") };
                assert_eq!(holder, "arn:aws:kms:us-east-1:111111111111:key/k1");
                assert!(server.requests().iter().all(|request| !request.contains(PUT)));
            }
        }

        #[tokio::test]
        async fn policy_of_a_missing_key_is_absent() {
            assert_eq!(observe(&[(DESCRIBE, 400, NOT_FOUND)]).await, Ok(Observed::Absent));
            assert_eq!(observe(&[(DESCRIBE, 200, KEY), (READ, 400, NOT_FOUND)]).await, Ok(Observed::Absent));
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            assert_eq!(
                observe(&[(DESCRIBE, 200, KEY), (READ, 400, DENIED)]).await,
                Err(ReadError::Denied {
                    what: "the policy of key `alias/weights`".into(),
                    why: "AccessDeniedException: no".into()
                })
            );
        }

        #[tokio::test]
        async fn create_keeps_foreign_statements() {
            let sent = check_write(&[account_statement()], Action::Create { after: body() }).await;
            assert_eq!(sent, (Ok(()), vec![put(&[account_statement(), ours()])]));
            let again = check_write(&[account_statement(), ours()], Action::Create { after: body() }).await;
            assert_eq!(again, (Ok(()), Vec::new()));
        }

        #[tokio::test]
        async fn update_replaces_only_own_statements() {
            let mut old = ours();
            old["Action"] = "kms:GenerateDataKey".into();
            let before =
                SharedDocument::read("p", Some(&json!({"Version": "2012-10-17", "Statement": [old]}).to_string()));
            let action = Action::Update { before: before.unwrap(), after: body(), changed: vec!["statements".into()] };
            let sent = check_write(&[old, account_statement()], action).await;
            assert_eq!(sent, (Ok(()), vec![put(&[account_statement(), ours()])]));
        }

        #[tokio::test]
        async fn delete_writes_the_policy_without_own_statements() {
            let delete = || Action::Delete { before: body() };
            let sent = check_write(&[account_statement(), ours()], delete()).await;
            assert_eq!(sent, (Ok(()), vec![put(&[account_statement()])]));
            assert_eq!(check_write(&[account_statement()], delete()).await, (Ok(()), Vec::new()));
        }

        #[tokio::test]
        async fn write_that_leaves_only_own_statements_is_refused() {
            let mut old = ours();
            old["Action"] = "kms:GenerateDataKey".into();
            for action in [Action::Create { after: body() }, Action::Delete { before: body() }] {
                let (done, sent) = check_write(std::slice::from_ref(&old), action).await;
                let Err(WriteError::Refused { why, .. }) = done else { panic!("{done:?}") };
                assert!(why.contains("contain only Bailiwick's statements"), "{why}");
                assert_eq!(sent, [Value::Null; 0]);
            }
        }

        #[tokio::test]
        async fn delete_accepts_a_missing_key_and_create_retries() {
            let server = Recorded::start(&[(DESCRIBE, 400, NOT_FOUND)]).await;
            let session = server.session();
            let delete = Action::Delete { before: body() };
            assert_eq!(KeyPolicy::write(&session, &scope(), &target(), &delete).await, Ok(()));
            let create = Action::Create { after: body() };
            let done = KeyPolicy::write(&session, &scope(), &target(), &create).await;
            assert!(matches!(done, Err(WriteError::NotYet { .. })), "{done:?}");
        }

        #[tokio::test]
        async fn unknown_principal_is_retried() {
            let refused = r#"{"__type":"MalformedPolicyDocumentException","message":"Policy contains a statement with one or more invalid principals."}"#;
            let server = Recorded::start(&[
                (DESCRIBE, 200, KEY),
                (READ, 200, policy(&[account_statement()])),
                (PUT, 400, refused),
            ])
            .await;
            let create = Action::Create { after: body() };
            let done = KeyPolicy::write(&server.session(), &scope(), &target(), &create).await;
            assert!(matches!(done, Err(WriteError::UnknownPrincipal { .. })), "{done:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Desires;
    use crate::spec::{SourceFile, load};

    /// Returns the desired document of project `p` with one statement.
    pub(super) fn body() -> SharedDocument {
        let text = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Bailiwick148de9c5Decrypt","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/loader"},"Action":"kms:Decrypt","Resource":"*"}]}"#;
        SharedDocument {
            statements: crate::iam::Policy::parse(text).unwrap(),
            exclusive: false,
            foreign: None,
            unique_id: None,
        }
    }

    #[test]
    fn sid_in_these_tests_belongs_to_the_project() {
        assert!(access::own_sid("p", &body().statements.statements()[0]));
    }

    fn check_desire(managed: bool) -> (Vec<String>, serde_json::Value) {
        let text = format!(
            "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-east-1 }}\n  b: {{ id: \"222222222222\", region: us-west-2 }}\n\
             clusters:\n  c: {{ account: b, name: c, identity: pod_identity }}\n\
             service_accounts:\n  loader: {{ cluster: c, namespace: n, name: loader }}\n\
             keys:\n  weights: {{ account: a, alias: weights, managed: {managed} }}\n  unused: {{ account: a, alias: unused }}\n\
             buckets:\n  weights: {{ account: a, name: acme-weights, encryption: {{ kms_key: weights }} }}\n\
             grants:\n  - {{ to: loader, bucket: weights, prefix: m/, access: read }}\n"
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let spec = spec.unwrap();
        let erased = crate::kind::Erased::<KeyPolicy>::NEW;
        let Desires { resources: found, problems, .. } =
            crate::kind::AnyKind::desire(&erased, &spec, &Facts::default(), &access::lower(&spec));
        assert_eq!(problems, []);
        let [policy] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(policy.physical_id, "alias/weights");
        let references = policy.references.iter().map(|r| r.to.to_string()).collect();
        (references, policy.body.tree()["statements"]["Statement"][0]["Principal"].clone())
    }

    #[test]
    fn every_key_that_grants_use_gets_statements() {
        let principal = serde_json::json!({"AWS": "arn:aws:iam::222222222222:role/p-loader"});
        assert_eq!(check_desire(false), (vec!["aws.iam.role.loader".to_owned()], principal.clone()));
        let references = vec!["aws.kms.key.weights".to_owned(), "aws.iam.role.loader".to_owned()];
        assert_eq!(check_desire(true), (references, principal));
    }
}
