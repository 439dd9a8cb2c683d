//! Tests of all AWS lists with pages of one, two and no entries.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

use std::sync::Arc;

use serde_json::{Value, json};

use super::eks::addon::Addon;
use super::eks::pod_identity_association::PodIdentityAssociation;
use super::iam::policy::ManagedPolicy;
use super::iam::role::Role;
use super::iam::role_policy_attachment::RolePolicyAttachment;
use super::kms::key::Key;
use super::s3::bucket::Bucket;
use crate::address::Address;
use crate::document::Document;
use crate::kind::{Action, Erased, Kind};
use crate::live::{AnyLive, Fields, Live, Observed, Target};
use crate::provider::recorded::{DONE, Exchange, MISSING, Recorded, paged, scope};

const CONFLICT: &str =
    "<ErrorResponse><Error><Code>DeleteConflict</Code><Message>in use</Message></Error></ErrorResponse>";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;

/// Splits entries into pages of one and of two, each time after an empty page.
fn sizes<'a>(entries: &'a [&'a str]) -> [Vec<&'a [&'a str]>; 2] {
    [1, 2].map(|size| std::iter::once([].as_slice()).chain(entries.chunks(size)).collect())
}

/// Builds an IAM response with these lists and the marker of the next page.
fn iam(operation: &str, lists: &str, next: Option<&str>) -> String {
    let end = next.map(|token| format!("<Marker>{token}</Marker>")).unwrap_or_default();
    let is_truncated = next.is_some();
    format!(
        "<{operation}Response><{operation}Result><IsTruncated>{is_truncated}</IsTruncated>{end}{lists}</{operation}Result></{operation}Response>"
    )
}

fn members(list: &str, entries: &[&str], write: impl Fn(&str) -> String) -> String {
    let members = entries.iter().map(|entry| format!("<member>{}</member>", write(entry)));
    format!("<{list}>{}</{list}>", members.collect::<String>())
}

/// Builds a KMS or EKS response.
fn json_page(mut answer: Value, marker: &str, next: Option<&str>) -> String {
    if let Some(token) = next {
        answer[marker] = json!(token);
        answer["Truncated"] = json!(true);
    }
    answer.to_string()
}

const TAGS: &str = "<Tags><member><Key>bailiwick:project</Key><Value>p</Value></member></Tags>";

fn role(name: &str) -> String {
    format!(
        "<Path>/</Path><RoleName>{name}</RoleName><RoleId>AROAEXAMPLEEXAMPLE</RoleId><Arn>arn:aws:iam::111111111111:role/{name}</Arn>\
         <CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument>\
         <Description>For {name}</Description>{TAGS}"
    )
}

/// Returns the physical ids of resources that carry the project's ownership tag.
async fn tagged<K: Live>(exchanges: &[Exchange]) -> Vec<String> {
    let server = Recorded::start(exchanges).await;
    let found = K::tagged(&server.session(), &scope()).await.unwrap();
    found.into_iter().map(|tagged| tagged.physical_id).collect()
}

/// Observes some resources, and returns for each whether it exists.
async fn present<K: Live>(server: &Recorded, ids: &[&str]) -> Vec<bool>
where
    Erased<K>: AnyLive,
{
    let targets: Vec<Target> = ids.iter().map(|id| Target::new(Address::new(K::NAME, *id), *id)).collect();
    let answers = Erased::<K>::NEW.observe(&server.session(), &scope(), &targets).await.unwrap();
    answers.into_iter().map(|answer| matches!(answer.unwrap(), Observed::Present { .. })).collect()
}

/// Deletes a resource. Returns the error or `done`, and the received forms.
async fn delete<K: Live>(exchanges: &[Exchange], id: &str, before: Value) -> (String, Vec<String>)
where
    Erased<K>: AnyLive,
{
    let server = Recorded::start(exchanges).await;
    let target = Target::new(Address::new(K::NAME, "x"), id);
    let action = Action::Delete { before: Document::from(before) };
    let done = Erased::<K>::NEW.write(&server.session(), &scope(), &target, &action).await;
    (done.map_or_else(|error| error.to_string(), |()| "done".to_owned()), server.forms())
}

#[tokio::test]
async fn tagged_roles_are_found_on_every_page() {
    for pages in sizes(&["a", "b", "c"]) {
        let list = paged("Action=GetAccountAuthorizationDetails", "roles", &pages, |entries, next| {
            iam("GetAccountAuthorizationDetails", &members("RoleDetailList", entries, role), next)
        });
        assert_eq!(tagged::<Role>(&list).await, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn tagged_policies_are_found_on_every_page_and_a_deleted_one_is_skipped() {
    let policy: Exchange =
        ("Action=GetPolicy", 200, iam("GetPolicy", &format!("<Policy>{TAGS}</Policy>"), None).leak());
    let gone: Exchange = ("PolicyArn=arn%3Aaws%3Aiam%3A%3A111111111111%3Apolicy%2Fgone", 404, MISSING);
    for pages in sizes(&["a", "gone", "c"]) {
        let mut list = paged("Action=ListPolicies", "policies", &pages, |entries, next| {
            let write = |name: &str| format!("<Arn>arn:aws:iam::111111111111:policy/{name}</Arn>");
            iam("ListPolicies", &members("Policies", entries, write), next)
        });
        list.extend([gone, policy]);
        assert_eq!(
            tagged::<ManagedPolicy>(&list).await,
            ["arn:aws:iam::111111111111:policy/a", "arn:aws:iam::111111111111:policy/c"]
        );
    }
}

const BUCKET_TAGS: &str = "<Tagging><TagSet><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag></TagSet></Tagging>";

fn buckets(pages: &[&[&str]]) -> Vec<Exchange> {
    paged("max-buckets=10000", "buckets", pages, |entries, next| {
        let entry = |name: &&str| format!("<Bucket><Name>{name}</Name><BucketRegion>us-east-1</BucketRegion></Bucket>");
        let buckets: String = entries.iter().map(entry).collect();
        let end = next.map(|token| format!("<ContinuationToken>{token}</ContinuationToken>")).unwrap_or_default();
        format!("<ListAllMyBucketsResult><Buckets>{buckets}</Buckets>{end}</ListAllMyBucketsResult>")
    })
}

#[tokio::test]
async fn bucket_missing_from_all_pages_is_read_singly_and_a_deleted_one_is_absent() {
    let gone: Exchange = ("GET /gone/", 404, "<Error><Code>NoSuchBucket</Code></Error>");
    let listed = ["b-0", "gone", "b-1", "b-2", "b-3", "b-4", "b-5", "b-6", "b-7", "b-8", "b-9"];
    for pages in sizes(&listed) {
        let mut list = buckets(&pages);
        list.extend([gone, ("HEAD /", 200, ""), ("?tagging", 200, BUCKET_TAGS)]);
        let server = Recorded::start(&list).await;
        let fields = Fields::Only(Arc::new(["name", "tags"].map(ToOwned::to_owned).into()));
        let target =
            |name: &&str| Target { fields: fields.clone(), ..Target::new(Address::new(Bucket::NAME, *name), *name) };
        let targets: Vec<Target> = listed.iter().chain(&["late"]).map(target).collect();
        let answers = Erased::<Bucket>::NEW.observe(&server.session(), &scope(), &targets).await.unwrap();
        let said = targets.iter().zip(answers);
        let absent = said.filter(|(_, answer)| answer.as_ref().unwrap() == &Observed::Absent);
        assert_eq!(absent.map(|(target, _)| target.physical_id.as_str()).collect::<Vec<_>>(), ["gone"]);
        let requests = server.requests();
        let is_asked = |name: &str| requests.iter().any(|request| request.starts_with(&format!("HEAD /{name}/")));
        assert_eq!((is_asked("late"), is_asked("b-0")), (true, false));
    }
}

#[tokio::test]
async fn tagged_buckets_are_found_on_every_page_and_a_deleted_one_is_skipped() {
    for pages in sizes(&["a-a", "gone", "c-c"]) {
        let mut list = buckets(&pages);
        list.extend([("HEAD /gone/", 404, ""), ("HEAD /", 200, ""), ("?tagging", 200, BUCKET_TAGS)]);
        assert_eq!(tagged::<Bucket>(&list).await, ["a-a", "c-c"]);
    }
}

const NO_KEY: &str = r#"{"__type":"NotFoundException","message":"no such key"}"#;

fn aliases(pages: &[&[&str]]) -> Vec<Exchange> {
    paged("TrentService.ListAliases", "aliases", pages, |entries, next| {
        let listed: Vec<Value> = entries
            .iter()
            .map(|key| json!({ "AliasName": format!("alias/{key}"), "TargetKeyId": format!("id-{key}") }))
            .collect();
        json_page(json!({ "Aliases": listed }), "NextMarker", next)
    })
}

/// The tags of a KMS key, in pages.
fn tags(pages: &[&[&str]]) -> Vec<Exchange> {
    paged("TrentService.ListResourceTags", "tags", pages, |entries, next| {
        let value = |name: &str| if name == "bailiwick:project" { "p" } else { "aws.kms.key.x" };
        let listed: Vec<Value> =
            entries.iter().map(|name| json!({ "TagKey": name, "TagValue": value(name) })).collect();
        json_page(json!({ "Tags": listed }), "NextMarker", next)
    })
}

const OURS: [&str; 3] = ["aaa", "bailiwick:address", "bailiwick:project"];

#[tokio::test]
async fn tagged_keys_are_found_on_every_page_and_a_deleted_one_is_skipped() {
    for (pages, tag_pages) in sizes(&["a", "gone", "c"]).iter().zip(sizes(&OURS)) {
        let mut list = vec![(r#""KeyId":"id-gone""#, 400, NO_KEY)];
        list.extend(aliases(pages));
        list.extend(tags(&tag_pages));
        assert_eq!(tagged::<Key>(&list).await, ["alias/a", "alias/c"]);
    }
}

#[tokio::test]
async fn key_without_alias_is_found_on_every_page_and_a_deleted_one_is_skipped() {
    for ((pages, keys), tag_pages) in sizes(&["a", "b"]).iter().zip(sizes(&["a", "b", "gone", "x"])).zip(sizes(&OURS)) {
        let mut list = vec![(r#""KeyId":"id-gone""#, 400, NO_KEY), (r#""KeyId":"alias/x""#, 400, NO_KEY)];
        list.extend(aliases(pages));
        list.extend(paged("TrentService.ListKeys", "keys", &keys, |entries, next| {
            let listed: Vec<Value> = entries.iter().map(|key| json!({ "KeyId": format!("id-{key}") })).collect();
            json_page(json!({ "Keys": listed }), "NextMarker", next)
        }));
        list.extend(tags(&tag_pages));
        list.extend([
            ("DescribeKey", 200, r#"{"KeyMetadata":{"KeyId":"id-x","KeyState":"Enabled"}}"#),
            ("TrentService.CreateAlias", 200, "{}"),
            ("TrentService.GetKeyRotationStatus", 200, r#"{"KeyRotationEnabled":false}"#),
        ]);
        let server = Recorded::start(&list).await;
        let target = Target::new(Address::new(Key::NAME, "x"), "alias/x");
        let tags = json!({ "bailiwick:project": "p", "bailiwick:address": "aws.kms.key.x" });
        let after = Document::from(json!({ "alias": "alias/x", "state": "Enabled", "tags": tags }));
        let done = Erased::<Key>::NEW.write(&server.session(), &scope(), &target, &Action::Create { after }).await;
        assert_eq!(done, Ok(()));
        let requests = server.requests();
        let named = |word: &str| requests.iter().filter(|request| request.contains(word)).count();
        assert_eq!((named("CreateKey"), named(r#"{"AliasName":"alias/x","TargetKeyId":"id-x"}"#)), (0, 1));
    }
}

fn attached(pages: &[&[&str]]) -> Vec<Exchange> {
    paged("Action=ListAttachedRolePolicies", "attached", pages, |entries, next| {
        let write = |name: &str| {
            format!("<PolicyName>{name}</PolicyName><PolicyArn>arn:aws:iam::aws:policy/{name}</PolicyArn>")
        };
        iam("ListAttachedRolePolicies", &members("AttachedPolicies", entries, write), next)
    })
}

#[tokio::test]
async fn attachments_are_found_on_every_page() {
    let ids = ["a", "b", "c", "d"].map(|name| format!("r/arn:aws:iam::aws:policy/{name}"));
    for pages in sizes(&["a", "b", "c"]) {
        let server = Recorded::start(&attached(&pages)).await;
        let found = present::<RolePolicyAttachment>(&server, &ids.each_ref().map(String::as_str)).await;
        assert_eq!(found, [true, true, true, false]);
    }
}

#[tokio::test]
async fn attachment_missed_between_two_pages_is_not_absent() {
    // `b` was on the second page at the first request and on the first page at the second, because another entry was
    // deleted.
    let list = attached(&[&["a"], &["c"]]);
    let server = Recorded::start_changing(&[&list, &attached(&[&["b"], &["c"]])]).await;
    let ids = ["r/arn:aws:iam::aws:policy/b", "r/arn:aws:iam::aws:policy/c"];
    assert_eq!(present::<RolePolicyAttachment>(&server, &ids).await, [true, true]);
}

#[tokio::test]
async fn dependents_of_a_role_or_policy_are_named_from_every_page() {
    for ((policies, inline), profiles) in
        sizes(&["a", "b", "c"]).iter().zip(sizes(&["i", "j"])).zip(sizes(&["m", "n", "o"]))
    {
        let mut list = vec![("Action=DeleteRole&", 409, CONFLICT)];
        list.extend(attached(policies));
        list.extend(paged("Action=ListRolePolicies", "inline", &inline, |entries, next| {
            iam("ListRolePolicies", &members("PolicyNames", entries, ToOwned::to_owned), next)
        }));
        list.extend(paged("Action=ListInstanceProfilesForRole", "profiles", &profiles, |entries, next| {
            let write = |name: &str| {
                format!(
                    "<Path>/</Path><InstanceProfileName>{name}</InstanceProfileName><InstanceProfileId>AIPAEXAMPLEEXAMPLE</InstanceProfileId>\
                     <Arn>arn:x</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate><Roles/>"
                )
            };
            iam("ListInstanceProfilesForRole", &members("InstanceProfiles", entries, write), next)
        }));
        let trust: Value = serde_json::from_str(TRUST).unwrap();
        let before = json!({ "name": "x", "path": "/", "trust": trust, "tags": {} });
        assert_eq!(
            delete::<Role>(&list, "x", before).await.0,
            "cannot delete role `x` yet: waiting for others to remove policy `arn:aws:iam::aws:policy/a`, policy `arn:aws:iam::aws:policy/b`, \
             policy `arn:aws:iam::aws:policy/c`, inline policy `i`, inline policy `j`, instance profile `m`, instance profile `n`, \
             instance profile `o`: DeleteConflict: in use"
        );
    }
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    for (versions, entities) in sizes(&["v3", "v1", "v2"]).iter().zip(sizes(&["Role", "User", "Group"])) {
        let mut list = vec![("Action=DeletePolicy&", 409, CONFLICT), ("Action=DeletePolicyVersion&", 200, DONE)];
        list.extend(paged("Action=ListPolicyVersions", "versions", versions, |entries, next| {
            let write = |id: &str| {
                let is_default = id == "v3";
                format!("<VersionId>{id}</VersionId><IsDefaultVersion>{is_default}</IsDefaultVersion>")
            };
            iam("ListPolicyVersions", &members("Versions", entries, write), next)
        }));
        list.extend(paged("Action=ListEntitiesForPolicy", "entities", &entities, |entries, next| {
            let lists = entries.iter().map(|kind| {
                let write = |name: &str| format!("<{kind}Name>{name}</{kind}Name>");
                members(&format!("Policy{kind}s"), &[&kind.to_lowercase()], write)
            });
            iam("ListEntitiesForPolicy", &lists.collect::<String>(), next)
        }));
        let before = json!({ "name": "t", "path": "/", "document": document, "tags": {} });
        let (said, requests) = delete::<ManagedPolicy>(&list, "arn:aws:iam::111111111111:policy/t", before).await;
        assert_eq!(
            said,
            "cannot delete policy `arn:aws:iam::111111111111:policy/t` yet: waiting for others to remove the attachment to role `role`, \
             the attachment to user `user`, the attachment to group `group`: DeleteConflict: in use"
        );
        let deleted: Vec<&str> =
            requests.iter().filter_map(|form| form.split_once("&VersionId=")).map(|(_, id)| id).collect();
        assert_eq!(deleted, ["v1", "v2"]);
    }
}

const ASSOCIATIONS: &str = "GET /clusters/prod-eks/pod-identity-associations";

fn associations(first: &'static str, name: &str, pages: &[&[&str]]) -> Vec<Exchange> {
    paged(first, name, pages, |entries, next| {
        let listed: Vec<Value> = entries
            .iter()
            .map(|id| json!({ "namespace": "n", "serviceAccount": id.split('-').next(), "associationId": id }))
            .collect();
        json_page(json!({ "associations": listed }), "nextToken", next)
    })
}

fn described(id: &str) -> Exchange {
    (
        format!("{ASSOCIATIONS}/{id} ").leak(),
        200,
        json!({ "association": { "clusterName": "prod-eks", "namespace": "n", "associationId": id } })
            .to_string()
            .leak(),
    )
}

fn alone(account: &str) -> &'static str {
    format!("{ASSOCIATIONS}?namespace=n&serviceAccount={account}").leak()
}

#[tokio::test]
async fn associations_are_found_on_every_page() {
    let all = ["prod-eks/n/a", "prod-eks/n/b", "prod-eks/n/c", "prod-eks/n/none"];
    for pages in sizes(&["a-1", "b-1", "c-1"]) {
        let mut list: Vec<Exchange> = ["a-1", "b-1", "c-1"].map(described).into();
        list.extend(associations(alone("none"), "none", &[&[]]));
        list.extend(associations(ASSOCIATIONS, "all", &pages));
        let server = Recorded::start(&list).await;
        assert_eq!(present::<PodIdentityAssociation>(&server, &all).await, [true, true, true, false]);
    }
}

#[tokio::test]
async fn association_missed_between_two_pages_or_recreated_is_not_absent() {
    // `a` moved to the page that was already read. `b` got another id after it was listed.
    let mut list: Vec<Exchange> = vec![(
        "GET /clusters/prod-eks/pod-identity-associations/b-1 ",
        404,
        r#"{"__type":"ResourceNotFoundException","message":"no"}"#,
    )];
    list.extend(["a-1", "b-2", "c-1"].map(described));
    list.extend(associations(alone("a"), "a", &[&["a-1"]]));
    list.extend(associations(alone("b"), "b", &[&["b-2"]]));
    list.extend(associations(ASSOCIATIONS, "all", &[&["b-1"], &["c-1"]]));
    let server = Recorded::start(&list).await;
    let ids = ["prod-eks/n/a", "prod-eks/n/b", "prod-eks/n/c"];
    assert_eq!(present::<PodIdentityAssociation>(&server, &ids).await, [true, true, true]);
    // If many are missing, the whole list is read again.
    let more = [
        associations(ASSOCIATIONS, "all", &[&["b-1"], &["c-1"]]),
        associations(ASSOCIATIONS, "again", &[&["a-1"], &["b-2", "c-1"]]),
    ];
    let described: Vec<Exchange> = ["a-1", "b-2", "c-1"].map(described).into();
    let [first, again] = more.map(|list| [described.clone(), list].concat());
    let server = Recorded::start_changing(&[&first, &again]).await;
    let ids = ["prod-eks/n/a", "prod-eks/n/none", "prod-eks/n/c"];
    assert_eq!(present::<PodIdentityAssociation>(&server, &ids).await, [true, false, true]);
}

#[tokio::test]
async fn association_on_any_page_keeps_the_agent() {
    tokio::time::pause();
    for pages in sizes(&["a-1", "b-1"]) {
        let list = associations(ASSOCIATIONS, "all", &pages);
        let before = json!({ "cluster": "prod-eks", "name": "agent", "tags": {} });
        let (said, _) = delete::<Addon>(&list, "prod-eks/agent", before).await;
        assert!(said.contains("it is kept, because pods of `n/a`"), "{said}");
    }
}

#[tokio::test]
async fn account_is_read_to_the_last_page_and_a_missed_role_is_read_singly() {
    let summary = "<SummaryMap><entry><key>Roles</key><value>6</value></entry></SummaryMap>";
    let names = ["a", "b", "c", "d", "e", "f"];
    for (details, listed) in sizes(&names).iter().zip(sizes(&["a", "b", "d", "e", "f"])) {
        let mut list: Vec<Exchange> =
            vec![("Action=GetAccountSummary", 200, iam("GetAccountSummary", summary, None).leak())];
        list.extend(paged("Action=GetAccountAuthorizationDetails", "details", details, |entries, next| {
            iam("GetAccountAuthorizationDetails", &members("RoleDetailList", entries, role), next)
        }));
        list.extend(paged("Action=ListRoles", "listed", &listed, |entries, next| {
            iam("ListRoles", &members("Roles", entries, role), next)
        }));
        list.push(("RoleName=c", 200, iam("GetRole", &format!("<Role>{}</Role>", role("c")), None).leak()));
        let server = Recorded::start(&list).await;
        let fields = Fields::Only(Arc::new(["name", "description"].map(ToOwned::to_owned).into()));
        let target =
            |name: &str| Target { fields: fields.clone(), ..Target::new(Address::new(Role::NAME, name), name) };
        let targets = names.map(target);
        let (kind, cloud) = (Erased::<Role>::NEW, server.session().observation());
        kind.announce(&cloud, &scope(), &targets);
        let answers = kind.observe(&cloud, &scope(), &targets).await.unwrap();
        let described = answers.into_iter().map(|answer| match answer.unwrap() {
            Observed::Present { body, .. } => body.field::<String>("description").unwrap(),
            Observed::Absent => "absent".to_owned(),
        });
        assert_eq!(described.collect::<Vec<_>>(), names.map(|name| format!("For {name}")));
        let single: Vec<String> = server.forms().into_iter().filter(|form| form.contains("Action=GetRole&")).collect();
        assert_eq!(single, ["Action=GetRole&RoleName=c"]);
    }
}

#[tokio::test]
async fn account_read_that_misses_many_roles_is_repeated() {
    let summary = "<SummaryMap><entry><key>Roles</key><value>6</value></entry></SummaryMap>";
    let names = ["a", "b", "c", "d", "e", "f"];
    let stage = |name: &str, pages: &[&[&str]]| {
        let mut list: Vec<Exchange> =
            vec![("Action=GetAccountSummary", 200, iam("GetAccountSummary", summary, None).leak())];
        list.extend(paged("Action=GetAccountAuthorizationDetails", name, pages, |entries, next| {
            iam("GetAccountAuthorizationDetails", &members("RoleDetailList", entries, role), next)
        }));
        list
    };
    let after = stage("after", &[&["b", "c"], &[], &["d", "f"]]);
    let before = [stage("before", &[&["a"], &["f"]]), after.clone()].concat();
    let server = Recorded::start_changing(&[&before, &after]).await;
    let fields = Fields::Only(Arc::new(["name".to_owned()].into()));
    let target = |name: &str| Target { fields: fields.clone(), ..Target::new(Address::new(Role::NAME, name), name) };
    let targets = names.map(target);
    let (kind, cloud) = (Erased::<Role>::NEW, server.session().observation());
    kind.announce(&cloud, &scope(), &targets);
    let answers = kind.observe(&cloud, &scope(), &targets).await.unwrap();
    let found = answers.into_iter().map(|answer| matches!(answer.unwrap(), Observed::Present { .. }));
    assert_eq!(found.collect::<Vec<_>>(), [true, true, true, true, false, true]);
    assert_eq!(server.forms().iter().filter(|form| form.contains("Action=GetRole&")).count(), 0);
}
