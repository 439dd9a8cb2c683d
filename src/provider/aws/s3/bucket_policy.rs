//! `aws.s3.bucket_policy`: the project's statements in the policy of a bucket.
//!
//! [`crate::provider::aws::shared_document`] explains when it is absent, and how foreign statements are kept.

use std::collections::BTreeSet;

use super::bucket::Bucket;
use crate::access::{self, Carrier, Chains, Facet, Instance, ResourcePolicy};
use crate::address::Scope;
use crate::document::Document;
use crate::iam::{PolicyKind, PolicyPlace};
use crate::kind::{
    About, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy, Release,
};
use crate::provider::aws::family::{S3, owner, regional_scopes};
use crate::provider::aws::iam::role::Role;
use crate::provider::aws::shared_document::{self, SharedDocument, managed_principals};
use crate::spec::{Facts, PolicyOwnership, Spec, Unmanaged};

/// The policy of a bucket.
pub(crate) struct BucketPolicy;

impl Kind for BucketPolicy {
    const ABOUT: &'static About = &About {
        name: "aws.s3.bucket_policy",
        api: S3,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Statements { on: Bucket::NAME, unmanaged: |_| Vec::new() },
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

    fn serialization_group(physical_id: &str) -> Option<String> {
        Some(format!("bucket/{physical_id}"))
    }

    fn desire(spec: &Spec, _facts: &Facts, chains: &Chains, resources: &mut DesiredResources<SharedDocument>) {
        for entry in spec.unmanaged() {
            let Unmanaged::Bucket(bucket) = entry else { continue };
            resources.unmanaged(spec.regional_scope(&bucket.account, bucket.region(spec)), &bucket.name);
        }
        for (key, bucket) in spec.buckets.iter().filter(|(_, b)| b.managed) {
            let statements = access::bucket_statements(spec, chains, key);
            let exclusive = bucket.policy == PolicyOwnership::Exclusive;
            if statements.is_empty() && !exclusive {
                continue;
            }
            let source = spec.source(&["buckets", key]);
            let roles = managed_principals(chains, &statements);
            let body = SharedDocument::of(statements, exclusive);
            let need = format!("the grants on bucket `{}` need a bucket policy", bucket.name);
            if let Some(problem) = shared_document::over_quota(PolicyPlace::BucketPolicy, &body, &need) {
                let help = "grant fewer, wider prefixes, let pods share a role, or use `mode: assume_role`";
                resources.problem(problem.at(source).help(help));
                continue;
            }
            let mut resource = DesiredResource::new(
                key,
                spec.regional_scope(&bucket.account, bucket.region(spec)),
                &bucket.name,
                body,
            )
            .at(source)
            .after::<Bucket>(key);
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

/// Describes a bucket policy apart from its statements.
fn carrier<'b>(scope: &Scope, bucket: &'b str) -> ResourcePolicy<'b> {
    let (account, partition) = owner(scope);
    ResourcePolicy {
        on: Carrier::Bucket(bucket),
        arn: format!("arn:{partition}:s3:::{bucket}"),
        account: account.to_owned(),
        ours: None,
        others: None,
        exclusive: false,
        place: PolicyPlace::BucketPolicy,
        kind: PolicyKind::Bucket,
        must_keep: &["s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:GetBucketPolicy"],
    }
}

#[cfg(feature = "cloud")]
mod live {
    use super::{BucketPolicy, SharedDocument};
    use crate::address::Scope;
    use crate::kind::Action;
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, removed, status, write_error};
    use crate::provider::aws::s3::client::{client, expected_owner};
    use crate::provider::aws::shared_document::{Rewritten, refuse_unsafe};
    use crate::session::Session;

    /// The text of the live policy.
    enum Text {
        NoBucket,
        NoPolicy,
        Policy(String),
    }

    impl Text {
        fn policy(&self) -> Option<&str> {
            match self {
                Self::Policy(text) => Some(text),
                Self::NoBucket | Self::NoPolicy => None,
            }
        }
    }

    async fn fetch(s3: &aws_sdk_s3::Client, scope: &Scope, bucket: &str) -> Result<Text, ReadError> {
        let what = || format!("the policy of bucket `{bucket}`");
        let request = s3.get_bucket_policy().bucket(bucket).set_expected_bucket_owner(expected_owner(scope));
        match request.send().await {
            Ok(answer) => Ok(answer.policy().map_or(Text::NoPolicy, |text| Text::Policy(text.to_owned()))),
            Err(error) => match code(&error) {
                Some("NoSuchBucketPolicy") => Ok(Text::NoPolicy),
                Some("NoSuchBucket") => Ok(Text::NoBucket),
                // The response to a caller outside the bucket's account, regardless of its permissions.
                _ if status(&error) == Some(405) => Err(ReadError::Denied {
                    what: what(),
                    why: "405: only the bucket's own account can read its policy".into(),
                }),
                _ => Err(read_error(what(), &error)),
            },
        }
    }

    impl Live for BucketPolicy {
        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<SharedDocument>, ReadError> {
            let s3 = client(cloud, scope).await?;
            let s3 = &s3;
            Ok(each(targets, |target| async move {
                let bucket = target.physical_id.as_str();
                let text = fetch(s3, scope, bucket).await?;
                if matches!(text, Text::NoBucket) {
                    return Ok(Observed::Absent);
                }
                let body = SharedDocument::read(cloud.project(), text.policy())
                    .map_err(|why| ReadError::Failed { what: format!("the policy of bucket `{bucket}`"), why })?;
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
            let s3 = client(cloud, scope).await?;
            let bucket = target.physical_id.as_str();
            let what = format!("write the policy of bucket `{bucket}`");
            let text = fetch(&s3, scope, bucket).await?;
            let deleting = matches!(action, Action::Delete { .. } | Action::Release { .. });
            if matches!(text, Text::NoBucket) {
                return if deleting {
                    Ok(())
                } else {
                    Err(WriteError::NotYet {
                        what,
                        awaited: "the bucket to be known to S3".into(),
                        why: "NoSuchBucket".into(),
                    })
                };
            }
            let body = match action {
                Action::Create { after } | Action::Update { after, .. } => after.clone(),
                Action::Delete { before } | Action::Release { before } => {
                    SharedDocument::of(Vec::new(), before.exclusive)
                }
            };
            let document = body.rewrite(cloud.project(), text.policy()).map_err(|why| WriteError::Refused {
                what: what.clone(),
                why,
                help: None,
            })?;
            if !document.changed {
                return Ok(());
            }
            let Rewritten { text: Some(text), foreign, .. } = document else {
                return delete(&s3, scope, bucket).await;
            };
            refuse_unsafe(cloud, scope, &super::carrier(scope, bucket), &what, (&text, foreign)).await?;
            s3.put_bucket_policy()
                .bucket(bucket)
                .set_expected_bucket_owner(expected_owner(scope))
                .policy(text)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| write_error(what, &error))
        }
    }

    /// Deletes a policy without statements.
    async fn delete(s3: &aws_sdk_s3::Client, scope: &Scope, bucket: &str) -> Result<(), WriteError> {
        let request = s3.delete_bucket_policy().bucket(bucket).set_expected_bucket_owner(expected_owner(scope));
        removed(
            format!("delete the policy of bucket `{bucket}`"),
            &["NoSuchBucketPolicy", "NoSuchBucket"],
            request.send().await,
        )
    }

    #[cfg(test)]
    mod tests {
        use super::super::tests::{STATEMENT, body};
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, scope};

        const FOREIGN: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Tls","Effect":"Deny","Principal":"*","Action":["s3:*"],"Resource":"arn:aws:s3:::acme-weights/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}"#;
        const BOTH: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Tls","Effect":"Deny","Principal":"*","Action":["s3:*"],"Resource":"arn:aws:s3:::acme-weights/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}},{"Sid":"Bailiwick148de9c5Read","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/loader"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-weights/old/*"}]}"#;
        const OURS: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Bailiwick148de9c5Read","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/loader"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-weights/old/*"}]}"#;
        const NO_POLICY: &str = "<Error><Code>NoSuchBucketPolicy</Code><Message>none</Message></Error>";
        const READ: &str = "GET /acme-weights/?policy ";
        const PUT: &str = "PUT /acme-weights/?policy ";
        const DELETE: &str = "DELETE /acme-weights/?policy ";

        fn target() -> Target {
            Target::new(Address::new(BucketPolicy::NAME, "weights"), "acme-weights")
        }

        async fn observe(status: u16, answer: &'static str) -> Result<Observed<SharedDocument>, ReadError> {
            let server = Recorded::start(&[(READ, status, answer)]).await;
            let answers = BucketPolicy::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        /// Runs a write, and returns its requests: the first line, and the body if there is one.
        async fn check_write(
            live: (u16, &'static str),
            action: Action<SharedDocument>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(&[(READ, live.0, live.1), (PUT, 204, ""), (DELETE, 204, "")]).await;
            let done = BucketPolicy::write(&server.session(), &scope(), &target(), &action).await;
            let short = |request: &String| {
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                format!("{} {body}", head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")).trim_end().to_owned()
            };
            assert!(server.requests().iter().all(|r| r.contains("x-amz-expected-bucket-owner: 111111111111")));
            (done, server.requests().iter().map(short).collect())
        }

        #[tokio::test]
        async fn own_and_foreign_statements_are_separated() {
            let Ok(Observed::Present { body, owner }) = observe(200, BOTH).await else { panic!("not there") };
            assert_eq!((body.statements.statements().len(), owner.as_deref()), (1, Some("p")));
            assert_eq!(body.foreign.unwrap().statements().len(), 1);
        }

        #[tokio::test]
        async fn bucket_without_policy_has_an_empty_one_and_a_missing_bucket_has_none() {
            let empty = Observed::Present { body: SharedDocument::of(Vec::new(), false), owner: None };
            assert_eq!(observe(404, NO_POLICY).await, Ok(empty));
            let gone = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
            assert_eq!(observe(404, gone).await, Ok(Observed::Absent));
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            let denied = |why: &str| {
                Err(ReadError::Denied { what: "the policy of bucket `acme-weights`".into(), why: why.into() })
            };
            let forbidden = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
            assert_eq!(observe(403, forbidden).await, denied("AccessDenied: no"));
            let stranger = "<Error><Code>MethodNotAllowed</Code><Message>no</Message></Error>";
            assert_eq!(observe(405, stranger).await, denied("405: only the bucket's own account can read its policy"));
        }

        #[tokio::test]
        async fn create_keeps_foreign_statements() {
            let (done, requests) = check_write((200, FOREIGN), Action::Create { after: body(false) }).await;
            assert_eq!(done, Ok(()));
            let expected = FOREIGN.replace("]}", &format!(",{STATEMENT}]}}"));
            let [read, put] = requests.as_slice() else { panic!("{requests:?}") };
            assert_eq!(read, READ.trim_end());
            let sent = put.strip_prefix(PUT).unwrap();
            let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parsed(sent), parsed(&expected));
        }

        #[tokio::test]
        async fn exclusive_update_removes_foreign_statements() {
            let before = SharedDocument::read("p", Some(BOTH)).unwrap();
            let action = Action::Update { before, after: body(true), changed: vec!["foreign".into()] };
            let (done, requests) = check_write((200, BOTH), action).await;
            assert_eq!(done, Ok(()));
            assert!(!requests[1].contains("Tls") && requests[1].starts_with(PUT), "{requests:?}");
        }

        #[tokio::test]
        async fn exclusive_policy_without_statements_is_deleted() {
            let nothing = SharedDocument::of(Vec::new(), true);
            let (done, requests) = check_write((200, FOREIGN), Action::Create { after: nothing.clone() }).await;
            assert_eq!((done, requests), (Ok(()), vec![READ.trim_end().into(), DELETE.trim_end().into()]));
            let (done, requests) = check_write((404, NO_POLICY), Action::Create { after: nothing }).await;
            assert_eq!((done, requests), (Ok(()), vec![READ.trim_end().into()]));
        }

        #[tokio::test]
        async fn delete_removes_own_statements_and_keeps_foreign_ones() {
            let delete = |exclusive| Action::Delete { before: body(exclusive) };
            let (done, requests) = check_write((200, BOTH), delete(false)).await;
            assert_eq!((done, requests[1].as_str()), (Ok(()), format!("{PUT}{}", sorted(FOREIGN)).as_str()));
            let (done, requests) = check_write((200, OURS), delete(false)).await;
            assert_eq!((done, requests[1].as_str()), (Ok(()), DELETE.trim_end()));
            let (done, requests) = check_write((200, BOTH), delete(true)).await;
            assert_eq!((done, requests[1].as_str()), (Ok(()), DELETE.trim_end()));
        }

        fn sorted(text: &str) -> String {
            serde_json::from_str::<serde_json::Value>(text).unwrap().to_string()
        }

        #[tokio::test]
        async fn release_of_a_missing_policy_succeeds() {
            let gone = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
            for live in [(404, gone), (404, NO_POLICY), (200, FOREIGN)] {
                let (done, requests) = check_write(live, Action::Release { before: body(false) }).await;
                assert_eq!((done, requests.len()), (Ok(()), 1));
            }
        }

        #[tokio::test]
        async fn existing_statements_are_not_written_again() {
            let text: &'static str = Box::leak(FOREIGN.replace("]}", &format!(",{STATEMENT}]}}")).into_boxed_str());
            let (done, requests) = check_write((200, text), Action::Create { after: body(false) }).await;
            assert_eq!((done, requests.len()), (Ok(()), 1));
        }

        #[tokio::test]
        async fn policy_that_locks_out_its_writer_is_not_sent() {
            const DENY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Closed","Effect":"Deny","Principal":"*","Action":"s3:PutBucketPolicy","Resource":"arn:aws:s3:::acme-weights"}]}"#;
            let (done, requests) = check_write((200, DENY), Action::Create { after: body(false) }).await;
            let Err(WriteError::LockedOut { why, .. }) = done else { panic!("{done:?}") };
            assert!(why.contains("arn:aws:iam::111111111111:user/t") && why.contains("`Closed`"), "{why}");
            assert_eq!(requests.len(), 1);
        }

        #[tokio::test]
        async fn a_policy_that_is_too_large_is_not_sent() {
            let name = "k".repeat(20_400);
            let text: &'static str = Box::leak(FOREIGN.replace("weights/*", &name).into_boxed_str());
            let (done, requests) = check_write((200, text), Action::Create { after: body(false) }).await;
            assert!(done.as_ref().is_err_and(WriteError::is_certain), "{done:?}");
            let Err(WriteError::OverQuota { why, .. }) = done else { panic!("{done:?}") };
            assert!(why.contains("at most 20480 are allowed: nothing was written"), "{why}");
            assert_eq!(requests.len(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Desires;
    use crate::spec::{SourceFile, load};

    pub(super) const STATEMENT: &str = r#"{"Sid":"Bailiwick148de9c5Read","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/loader"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-weights/m/*"}"#;

    /// Returns the desired document of project `p` with one statement.
    pub(super) fn body(exclusive: bool) -> SharedDocument {
        let policy = crate::iam::Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{STATEMENT}]}}"#));
        SharedDocument { statements: policy.unwrap(), exclusive, foreign: None, unique_id: None }
    }

    #[test]
    fn sid_in_these_tests_belongs_to_the_project() {
        assert!(access::own_sid("p", &body(false).statements.statements()[0]));
    }

    fn desired(buckets: &str) -> Vec<crate::kind::Resource> {
        let text = format!(
            "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-east-1 }}\n  b: {{ id: \"222222222222\", region: us-west-2 }}\n\
             clusters:\n  c: {{ account: b, name: c, identity: pod_identity }}\n\
             service_accounts:\n  loader: {{ cluster: c, namespace: n, name: loader }}\n\
             grants:\n  - {{ to: loader, bucket: weights, prefix: m/, access: read }}\nbuckets:\n{buckets}"
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let spec = spec.unwrap();
        let chains = access::lower(&spec);
        let erased = crate::kind::Erased::<BucketPolicy>::NEW;
        let Desires { resources: found, problems, .. } =
            crate::kind::AnyKind::desire(&erased, &spec, &Facts::placeholders(&spec), &chains);
        assert_eq!(problems, []);
        found
    }

    #[test]
    fn a_bucket_of_another_account_gets_statements_after_itself_and_the_roles() {
        let found = desired("  weights: { account: a, name: acme-weights }\n");
        let [policy] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            policy.references.iter().map(|r| r.to.to_string()).collect::<Vec<_>>(),
            ["aws.s3.bucket.weights", "aws.iam.role.loader"]
        );
        assert_eq!(policy.physical_id, "acme-weights");
        assert!(policy.body.tree().get("exclusive").is_none());
        assert!(policy.body.to_string().contains("arn:aws:iam::222222222222:role/p-loader"));
    }

    #[test]
    fn unmanaged_bucket_and_bucket_without_grants_get_no_policy() {
        let found = desired(
            "  weights: { account: a, name: acme-weights, managed: false }\n  logs: { account: a, name: acme-logs }\n",
        );
        assert_eq!(found, []);
    }

    #[test]
    fn an_exclusive_policy_is_desired_even_if_it_is_empty() {
        let found = desired(
            "  weights: { account: b, name: acme-weights }\n  logs: { account: a, name: acme-logs, policy: exclusive }\n",
        );
        let [policy] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(policy.address.to_string(), "aws.s3.bucket_policy.logs");
        assert_eq!(policy.body.tree()["statements"]["Statement"], serde_json::json!([]));
    }
}
