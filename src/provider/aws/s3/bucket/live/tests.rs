//! Tests of reading and writing a bucket, with recorded responses.

use super::super::tests::body;
use super::super::*;
use super::*;
use crate::address::Address;
use crate::kind::Kind;
use crate::provider::aws::tags::{ADDRESS_TAG, PROJECT_TAG};
use crate::provider::recorded::{Recorded, scope};

const HEAD: (&str, u16, &str) = ("HEAD /acme-weights/ ", 200, "");
const NO_TAGS: (&str, u16, &str) =
    ("GET /acme-weights/?tagging ", 404, "<Error><Code>NoSuchTagSet</Code><Message>none</Message></Error>");
const TAGS: (&str, u16, &str) = (
    "GET /acme-weights/?tagging ",
    200,
    "<Tagging><TagSet><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag><Tag><Key>cost</Key><Value>7</Value></Tag>\
     <Tag><Key>team</Key><Value>old</Value></Tag></TagSet></Tagging>",
);
const NO_BLOCK: (&str, u16, &str) =
    ("GET /acme-weights/?publicAccessBlock ", 404, "<Error><Code>NoSuchPublicAccessBlockConfiguration</Code></Error>");
const NO_OWNERSHIP: (&str, u16, &str) =
    ("GET /acme-weights/?ownershipControls ", 404, "<Error><Code>OwnershipControlsNotFoundError</Code></Error>");
const NO_VERSIONING: (&str, u16, &str) = ("GET /acme-weights/?versioning ", 200, "<VersioningConfiguration/>");
const NO_ENCRYPTION: (&str, u16, &str) = (
    "GET /acme-weights/?encryption ",
    404,
    "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>",
);
const NO_LIFECYCLE: (&str, u16, &str) =
    ("GET /acme-weights/?lifecycle ", 404, "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>");
const BARE: [(&str, u16, &str); 7] =
    [HEAD, NO_TAGS, NO_BLOCK, NO_OWNERSHIP, NO_VERSIONING, NO_ENCRYPTION, NO_LIFECYCLE];
const KEY_ARN: &str = "arn:aws:kms:us-east-1:111111111111:key/k1";

fn target() -> Target {
    Target::new(Address::new(Bucket::NAME, "weights"), "acme-weights")
}

/// Observes a bucket with these responses; all other settings are unset.
async fn observe(exchanges: &[(&'static str, u16, &'static str)]) -> Result<Observed<BucketBody>, ReadError> {
    let server = Recorded::start(&[exchanges, &BARE].concat()).await;
    let answers = Bucket::observe(&server.session(), &scope(), &[target()]).await.unwrap();
    assert!(server.requests().len() <= 8);
    answers.into_iter().next().unwrap()
}

async fn present(exchanges: &[(&'static str, u16, &'static str)]) -> BucketBody {
    match observe(exchanges).await {
        Ok(Observed::Present { body, .. }) => body,
        other => panic!("{other:?}"),
    }
}

/// Runs a write, and returns its requests as `METHOD path body`, without reads.
async fn check_write_in(
    scope: &Scope,
    exchanges: &[(&'static str, u16, &'static str)],
    action: Action<BucketBody>,
) -> (Result<(), WriteError>, Vec<String>) {
    let rest = [NO_TAGS, ("PUT ", 200, ""), ("DELETE ", 204, "")];
    let server = Recorded::start(&[exchanges, &rest].concat()).await;
    let done = Bucket::write(&server.session(), scope, &target(), &action).await;
    let short = |request: &String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
        let body = body.replace(r#" xmlns="http://s3.amazonaws.com/doc/2006-03-01/""#, "");
        (!line.starts_with("GET ")).then(|| format!("{line} {body}").trim_end().to_owned())
    };
    let guarded = |r: &&String| !r.contains("x-amz-expected-bucket-owner: 111111111111");
    let unguarded: Vec<String> = server.requests().iter().filter(guarded).filter_map(short).collect();
    let own = |line: &String| {
        line.starts_with("PUT /acme-weights/ ") || line == "PUT /acme-weights/" || line.starts_with("POST / ")
    };
    assert!(unguarded.iter().all(own), "{unguarded:?}");
    (done, server.requests().iter().filter_map(short).collect())
}

async fn check_write(
    exchanges: &[(&'static str, u16, &'static str)],
    action: Action<BucketBody>,
) -> (Result<(), WriteError>, Vec<String>) {
    check_write_in(&scope(), exchanges, action).await
}

fn update(before: BucketBody, after: BucketBody, changed: &[&str]) -> Action<BucketBody> {
    Action::Update { before, after, changed: changed.iter().map(|path| (*path).into()).collect() }
}

#[tokio::test]
async fn a_bucket_without_settings_is_read() {
    let expected = BucketBody {
        public_access_block: Some(false),
        ownership: None,
        versioning: Some(false),
        encryption: None,
        lifecycle: Some(BTreeMap::new()),
        tags: BTreeMap::new(),
        ..body()
    };
    assert_eq!(observe(&[]).await, Ok(Observed::Present { body: expected, owner: None }));
}

#[tokio::test]
async fn a_bucket_is_read_with_all_its_settings() {
    let found = observe(&[
        TAGS,
        ("?publicAccessBlock ", 200, "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"),
        ("?ownershipControls ", 200, "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>"),
        ("?versioning ", 200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
        ("?encryption ", 200, "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k1</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"),
    ])
    .await;
    let Ok(Observed::Present { body, owner }) = found else { panic!("{found:?}") };
    assert_eq!((body.tags.len(), owner.as_deref()), (3, Some("p")));
    assert_eq!(
        (body.public_access_block, body.ownership, body.versioning),
        (Some(true), Some(Ownership::ObjectWriter), Some(true))
    );
    let encryption = DefaultEncryption { sse: "aws:kms".into(), kms_key: Some(KEY_ARN.into()), bucket_key: Some(true) };
    assert_eq!(body.encryption, Some(encryption));
}

#[tokio::test]
async fn partial_public_access_block_counts_as_off() {
    let block = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>false</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
    assert_eq!(present(&[("?publicAccessBlock ", 200, block)]).await.public_access_block, Some(false));
}

#[tokio::test]
async fn keys_are_read_as_arns() {
    for (answer, expected) in [
        ("alias/a", "arn:aws:kms:us-east-1:111111111111:alias/a"),
        ("k1", KEY_ARN),
        ("arn:aws:kms:us-east-1:222222222222:key/k2", "arn:aws:kms:us-east-1:222222222222:key/k2"),
    ] {
        let text = format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{answer}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        let body = present(&[("?encryption ", 200, Box::leak(text.into_boxed_str()))]).await;
        let encryption = body.encryption.unwrap();
        assert_eq!((encryption.kms_key.as_deref(), encryption.bucket_key), (Some(expected), Some(false)));
    }
}

#[tokio::test]
async fn rules_of_other_shapes_can_be_compared() {
    let text = "<LifecycleConfiguration>\
        <Rule><ID>plain</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>\
        <Rule><ID>old</ID><Prefix>logs/</Prefix><Status>Disabled</Status><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>\
        <Rule><ID>rich</ID><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key><Value>w</Value></Tag></And></Filter><Status>Enabled</Status>\
        <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>\
        </LifecycleConfiguration>";
    let rules = present(&[("?lifecycle ", 200, text)]).await.lifecycle.unwrap();
    assert_eq!(
        serde_json::to_value(rules).unwrap(),
        serde_json::json!({
            "plain": {"prefix": "tmp/", "expire_days": 7},
            "old": {"prefix": "logs/", "expire_noncurrent_days": 3, "other": {"Status": "Disabled", "NewerNoncurrentVersions": "2"}},
            "rich": {"prefix": "a/", "abort_multipart_days": 1, "other": {"Tag": "k=v, l=w", "Transition": "30 days to GLACIER"}},
        })
    );
}

/// Observes this many buckets. Returns their regions, and the requests without those for tags.
async fn look(buckets: usize, exchanges: &[(&'static str, u16, &'static str)]) -> (Vec<String>, Vec<String>) {
    let rest = [("?tagging ", 404, "<Error><Code>NoSuchTagSet</Code></Error>"), ("HEAD /b9/ ", 404, "")];
    let server = Recorded::start(&[exchanges, &rest, &[("HEAD ", 200, "")]].concat()).await;
    let of = |n| Target {
        fields: Fields::of([&crate::document::Document::from(serde_json::json!({}))]),
        ..Target::new(Address::new(Bucket::NAME, "x"), format!("b{n}"))
    };
    let targets: Vec<Target> = (0..buckets).map(of).collect();
    let answers = Bucket::observe(&server.session(), &scope(), &targets).await.unwrap();
    let found = answers.into_iter().map(|answer| match answer.unwrap() {
        Observed::Present { body, .. } => body.region,
        Observed::Absent => "-".to_owned(),
    });
    let line = |request: &String| request.split(" HTTP/1.1").next().unwrap_or_default().to_owned();
    let asked = server.requests().iter().map(line).filter(|line| !line.contains("?tagging")).collect();
    (found.collect(), asked)
}

#[tokio::test]
async fn many_buckets_are_found_by_a_paged_list() {
    const FIRST: &str = "<ListAllMyBucketsResult><Buckets>\
        <Bucket><Name>b0</Name><BucketRegion>us-east-1</BucketRegion></Bucket>\
        <Bucket><Name>b1</Name><BucketRegion>us-west-2</BucketRegion></Bucket>\
        </Buckets><ContinuationToken>more</ContinuationToken></ListAllMyBucketsResult>";
    const SECOND: &str = "<ListAllMyBucketsResult><Buckets>\
        <Bucket><Name>b2</Name><BucketRegion>us-east-1</BucketRegion></Bucket>\
        <Bucket><Name>b3</Name></Bucket></Buckets></ListAllMyBucketsResult>";
    let lists = [("continuation-token=more", 200, SECOND), ("GET /?", 200, FIRST)];
    let (found, mut asked) = look(10, &lists).await;
    let here = |count| vec!["us-east-1"; count];
    assert_eq!(found, [here(1), vec!["us-west-2"], here(7), vec!["-"]].concat());
    asked.sort_unstable();
    // Regions that the list lacks are read separately: b3 has no region in it, and the others may be new.
    let heads = (3..10).map(|n| format!("HEAD /b{n}/")).collect::<Vec<_>>();
    assert_eq!(asked.len(), 9, "{asked:?}");
    assert_eq!(asked.split_off(2), heads);
}

#[tokio::test]
async fn few_buckets_and_those_of_a_denied_list_are_read_one_by_one() {
    assert_eq!(look(9, &[]).await.1.len(), 9);
    let denied = [("GET /?", 403, "<Error><Code>AccessDenied</Code></Error>")];
    let (found, asked) = look(10, &denied).await;
    assert_eq!((found.iter().filter(|region| *region == "us-east-1").count(), asked.len()), (9, 11));
}

#[tokio::test]
async fn missing_bucket_is_absent() {
    assert_eq!(observe(&[("HEAD ", 404, "")]).await, Ok(Observed::Absent));
    let gone = "<Error><Code>NoSuchBucket</Code><Message>gone meanwhile</Message></Error>";
    assert_eq!(observe(&[("?versioning ", 404, gone)]).await, Ok(Observed::Absent));
}

#[tokio::test]
async fn forbidden_is_not_absent() {
    let why = "403: the bucket belongs to another account, or s3:ListBucket is missing";
    let denied = |what: &str, why: &str| Err(ReadError::Denied { what: what.into(), why: why.into() });
    assert_eq!(observe(&[("HEAD ", 403, "")]).await, denied("bucket `acme-weights`", why));
    let forbidden = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    for (part, query) in [
        ("tags", "?tagging "),
        ("public access block", "?publicAccessBlock "),
        ("ownership", "?ownershipControls "),
        ("versioning", "?versioning "),
        ("encryption", "?encryption "),
        ("lifecycle", "?lifecycle "),
    ] {
        let what = format!("the {part} of bucket `acme-weights`");
        assert_eq!(observe(&[(query, 403, forbidden)]).await, denied(&what, "AccessDenied: no"));
    }
}

#[tokio::test]
async fn bucket_in_another_region_is_present_with_its_region() {
    for status in [200, 301, 400] {
        let body = present(&[("HEAD ", status, "x-amz-bucket-region: eu-west-1\r\n")]).await;
        assert_eq!((body.region.as_str(), body.versioning), ("eu-west-1", None));
    }
    let here = present(&[("HEAD ", 200, "x-amz-bucket-region: us-east-1\r\n")]).await;
    assert_eq!((here.region.as_str(), here.versioning), ("us-east-1", Some(false)));
}

#[tokio::test]
async fn a_new_bucket_gets_its_settings_one_after_the_other() {
    let after = BucketBody {
        ownership: Some(Ownership::BucketOwnerEnforced),
        versioning: Some(true),
        lifecycle: Some(
            [("tmp".to_owned(), Rule { prefix: "tmp/".into(), expire_days: Some(7), ..Rule::default() })].into(),
        ),
        ..body()
    };
    let (done, requests) = check_write(&[], Action::Create { after }).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        requests,
        [
            "PUT /acme-weights/",
            "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>bailiwick:address</Key><Value>aws.s3.bucket.weights</Value></Tag><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag></TagSet></Tagging>",
            "PUT /acme-weights/?publicAccessBlock <PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
            "PUT /acme-weights/?ownershipControls <OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
            "PUT /acme-weights/?encryption <ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
            "PUT /acme-weights/?versioning <VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            "PUT /acme-weights/?lifecycle <LifecycleConfiguration><Rule><Expiration><Days>7</Days></Expiration><ID>tmp</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status></Rule></LifecycleConfiguration>",
        ]
    );
}

#[tokio::test]
async fn bucket_is_created_in_its_region_and_only_once() {
    let region = |name: &str| Scope { location: Some(name.to_owned()), ..scope() };
    let after = BucketBody { region: "eu-west-1".into(), ..body() };
    let (done, requests) = check_write_in(&region("eu-west-1"), &[], Action::Create { after: after.clone() }).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        requests[0],
        "PUT /acme-weights/ <CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
    );
    let again = ("PUT /acme-weights/ ", 409, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>");
    let (done, requests) =
        check_write_in(&region("eu-west-1"), &[again], Action::Create { after: after.clone() }).await;
    assert_eq!((done, requests.len()), (Ok(()), 4));
    let taken = ("PUT /acme-weights/ ", 409, "<Error><Code>BucketAlreadyExists</Code></Error>");
    let (done, requests) = check_write_in(&region("eu-west-1"), &[taken], Action::Create { after }).await;
    assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn alias_of_a_new_key_is_resolved_before_the_write() {
    let alias = "arn:aws:kms:us-east-1:111111111111:alias/weights";
    let encryption = DefaultEncryption { sse: "aws:kms".into(), kms_key: Some(alias.into()), bucket_key: Some(true) };
    let after = BucketBody { encryption: Some(encryption), ..body() };
    let key = (
        "TrentService.DescribeKey",
        200,
        r#"{"KeyMetadata":{"KeyId":"k1","Arn":"arn:aws:kms:us-east-1:111111111111:key/k1","KeyState":"Enabled"}}"#,
    );
    let action = || update(body(), after.clone(), &["encryption.sse"]);
    let (done, requests) = check_write(&[key], action()).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        requests,
        [
            format!(r#"POST / {{"KeyId":"{alias}"}}"#),
            format!(
                "PUT /acme-weights/?encryption <ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{KEY_ARN}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
            ),
        ]
    );
    let unknown = ("TrentService.DescribeKey", 400, r#"{"__type":"NotFoundException","message":"no"}"#);
    let (done, requests) = check_write(&[unknown], action()).await;
    assert!(matches!(done, Err(WriteError::NotYet { .. })), "{done:?}");
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn update_keeps_tags_of_others() {
    let mut before = body();
    before.tags = [("team", "old"), (PROJECT_TAG, "p")].map(|(k, v)| (k.into(), v.into())).into();
    let action = update(before, body(), &["tags.team", "tags.bailiwick:address"]);
    let (done, requests) = check_write(&[TAGS], action).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        requests,
        [
            "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>bailiwick:address</Key><Value>aws.s3.bucket.weights</Value></Tag><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag><Tag><Key>cost</Key><Value>7</Value></Tag></TagSet></Tagging>"
        ]
    );
}

#[tokio::test]
async fn settings_no_longer_managed_return_to_their_defaults() {
    let before = BucketBody {
        ownership: Some(Ownership::ObjectWriter),
        versioning: Some(true),
        lifecycle: Some([("tmp".to_owned(), Rule::default())].into()),
        ..body()
    };
    let after = BucketBody { encryption: None, ..body() };
    let changed = ["encryption.sse", "lifecycle.tmp", "ownership", "versioning"];
    let (done, requests) = check_write(&[], update(before, after, &changed)).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        requests,
        [
            "PUT /acme-weights/?ownershipControls <OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
            "DELETE /acme-weights/?encryption",
            "PUT /acme-weights/?versioning <VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
            "DELETE /acme-weights/?lifecycle",
        ]
    );
}

#[tokio::test]
async fn a_bucket_with_objects_is_kept() {
    let full = ("DELETE /acme-weights/ ", 409, "<Error><Code>BucketNotEmpty</Code><Message>no</Message></Error>");
    let (done, _) = check_write(&[full], Action::Delete { before: body() }).await;
    assert_eq!(
        done.unwrap_err().to_string(),
        "cannot delete bucket `acme-weights`: it holds objects, or versions of them, and is kept: empty it, or set `on_destroy: keep`"
    );
}

#[tokio::test]
async fn delete_removes_the_bucket_and_release_only_our_tags() {
    let (done, requests) = check_write(&[], Action::Delete { before: body() }).await;
    assert_eq!((done, requests), (Ok(()), vec!["DELETE /acme-weights/".to_owned()]));
    let gone = ("DELETE /acme-weights/ ", 404, "<Error><Code>NoSuchBucket</Code></Error>");
    let (done, _) = check_write(&[gone], Action::Delete { before: body() }).await;
    assert_eq!(done, Ok(()));
    let (done, requests) = check_write(&[TAGS], Action::Release { before: body() }).await;
    let kept = "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>cost</Key><Value>7</Value></Tag><Tag><Key>team</Key><Value>old</Value></Tag></TagSet></Tagging>";
    assert_eq!((done, requests), (Ok(()), vec![kept.to_owned()]));
    let (done, requests) = check_write(&[], Action::Release { before: body() }).await;
    assert_eq!((done, requests), (Ok(()), Vec::new()));
}

#[test]
fn body_of_these_tests_has_both_tags() {
    assert!([PROJECT_TAG, ADDRESS_TAG].iter().all(|tag| body().tags.contains_key(*tag)));
}
