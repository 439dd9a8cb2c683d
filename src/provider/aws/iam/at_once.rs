//! Tests of the shared reads of IAM kinds.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

use serde_json::json;

use super::policy::ManagedPolicy;
use super::role::Role;
use super::role_policy::RolePolicy;
use super::role_policy_attachment::RolePolicyAttachment;
use crate::address::Address;
use crate::document::Document;
use crate::kind::{Erased, Kind};
use crate::live::{AnyLive, Fields, Observed, ReadError, Target};
use crate::provider::recorded::{DENIED, MISSING, Recorded, scope};
use crate::session::Session;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;
const TEAM: &str = "arn:aws:iam::111111111111:policy/team";
const SUMMARY: &str = "Action=GetAccountSummary";
const DETAILS: &str = "Action=GetAccountAuthorizationDetails";

type Exchange = (&'static str, u16, &'static str);

fn kept(text: String) -> &'static str {
    text.leak()
}

fn summary(roles: usize, policies: usize) -> Exchange {
    let entry = |key: &str, value: usize| format!("<entry><key>{key}</key><value>{value}</value></entry>");
    let map = entry("Roles", roles) + &entry("Policies", policies);
    let answer = format!(
        "<GetAccountSummaryResponse><GetAccountSummaryResult><SummaryMap>{map}</SummaryMap></GetAccountSummaryResult></GetAccountSummaryResponse>"
    );
    (SUMMARY, 200, kept(answer))
}

/// Builds a role with an inline policy and an attached one.
fn role(name: &str, trust: &str) -> String {
    format!(
        "<member><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROAEXAMPLEEXAMPLE</RoleId><Arn>arn:aws:iam::111111111111:role/{name}</Arn>\
         <CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument>\
         <RolePolicyList><member><PolicyName>own</PolicyName><PolicyDocument>{DOCUMENT}</PolicyDocument></member></RolePolicyList>\
         <AttachedManagedPolicies><member><PolicyName>team</PolicyName><PolicyArn>{TEAM}</PolicyArn></member></AttachedManagedPolicies>\
         <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member></Tags></member>"
    )
}

fn team() -> String {
    format!(
        "<member><PolicyName>team</PolicyName><Arn>{TEAM}</Arn><Path>/</Path><DefaultVersionId>v2</DefaultVersionId><PolicyVersionList>\
         <member><Document>{{}}</Document><VersionId>v1</VersionId><IsDefaultVersion>false</IsDefaultVersion></member>\
         <member><Document>{DOCUMENT}</Document><VersionId>v2</VersionId><IsDefaultVersion>true</IsDefaultVersion></member>\
         </PolicyVersionList></member>"
    )
}

/// Builds a page of account details with the marker of the next one.
fn page(asked: &'static str, roles: &[String], policies: &[String], next: Option<&str>) -> Exchange {
    let end = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |marker| format!("<IsTruncated>true</IsTruncated><Marker>{marker}</Marker>"),
    );
    let answer = format!(
        "<GetAccountAuthorizationDetailsResponse><GetAccountAuthorizationDetailsResult>{end}<RoleDetailList>{}</RoleDetailList><Policies>{}</Policies>\
         </GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>",
        roles.concat(),
        policies.concat()
    );
    (asked, 200, kept(answer))
}

/// Builds the `GetRole` response for an entry of a list.
fn get_role(asked: &'static str, entry: &str) -> Exchange {
    let role = entry.strip_prefix("<member>").and_then(|rest| rest.strip_suffix("</member>")).unwrap();
    (asked, 200, kept(format!("<GetRoleResponse><GetRoleResult><Role>{role}</Role></GetRoleResult></GetRoleResponse>")))
}

fn roles(names: &[&str]) -> Vec<Target> {
    names.iter().map(|name| asking(Target::new(Address::new(Role::NAME, *name), *name), &["name", "tags"])).collect()
}

fn asking(target: Target, fields: &[&str]) -> Target {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Target { fields: Fields::Only(std::sync::Arc::new(fields)), ..target }
}

/// Returns the kinds that share reads, with targets of these roles.
fn all(names: &[&str]) -> Vec<(Box<dyn AnyLive>, Vec<Target>)> {
    let parts = |kind: &'static str, part: &str| {
        names.iter().map(|n| Target::new(Address::new(kind, format!("{n}/x")), format!("{n}/{part}"))).collect()
    };
    vec![
        (Box::new(Erased::<Role>::NEW), roles(names)),
        (Box::new(Erased::<RolePolicy>::NEW), parts(RolePolicy::NAME, "own")),
        (Box::new(Erased::<RolePolicyAttachment>::NEW), parts(RolePolicyAttachment::NAME, TEAM)),
    ]
}

/// Announces all batches and reads them: `address: present`, `absent` or the error, in the order of the targets.
async fn observe(cloud: &Session, batches: &[(Box<dyn AnyLive>, Vec<Target>)]) -> Vec<String> {
    for (kind, targets) in batches {
        kind.announce(cloud, &scope(), targets);
    }
    let looked = batches.iter().map(|(kind, targets)| async move {
        let answers = match kind.observe(cloud, &scope(), targets).await {
            Ok(answers) => answers,
            Err(error) => return vec![error.to_string()],
        };
        let said = |answer: Result<Observed<Document>, ReadError>| match answer {
            Ok(Observed::Present { .. }) => "present".to_owned(),
            Ok(Observed::Absent) => "absent".to_owned(),
            Err(error) => error.to_string(),
        };
        let lines = targets.iter().zip(answers).map(|(target, answer)| format!("{} {}", target.address, said(answer)));
        lines.collect::<Vec<_>>()
    });
    futures_util::future::join_all(looked).await.concat()
}

/// Returns the received operations, with the role or marker if there is one.
fn asked(server: &Recorded) -> Vec<String> {
    let short = |form: String| {
        let field = |name: &str| form.split('&').find_map(|part| part.strip_prefix(name)).map(|v| format!(" {v}"));
        let action = field("Action=").unwrap_or_default();
        let rest = field("RoleName=").or_else(|| field("Marker=")).or_else(|| field("PolicyArn=")).unwrap_or_default();
        format!("{action}{rest}").trim().to_owned()
    };
    server.forms().into_iter().map(short).collect()
}

#[tokio::test]
async fn one_fetch_serves_all_kinds() {
    let encoded = percent_encoding::utf8_percent_encode(TRUST, percent_encoding::NON_ALPHANUMERIC).to_string();
    let details = page(DETAILS, &[role("one", TRUST), role("two", &encoded)], &[], None);
    let server = Recorded::start(&[summary(2, 1), details]).await;
    assert_eq!(
        observe(&server.session().observation(), &all(&["gone", "one", "two"])).await,
        [
            "aws.iam.role.gone absent",
            "aws.iam.role.one present",
            "aws.iam.role.two present",
            "aws.iam.role_policy.gone/x absent",
            "aws.iam.role_policy.one/x present",
            "aws.iam.role_policy.two/x present",
            "aws.iam.role_policy_attachment.gone/x absent",
            "aws.iam.role_policy_attachment.one/x present",
            "aws.iam.role_policy_attachment.two/x present",
        ]
    );
    assert_eq!(asked(&server), ["GetAccountSummary", "GetAccountAuthorizationDetails"]);
    let filter = "Filter.member.1=Role&Filter.member.2=LocalManagedPolicy&MaxItems=1000";
    assert!(server.forms()[1].contains(filter), "{:?}", server.forms());
}

#[tokio::test]
async fn role_reads_the_same_singly_and_in_bulk() {
    let details = page(DETAILS, &[role("one", TRUST)], &[], None);
    let single = get_role("RoleName=one", &role("one", TRUST));
    let server = Recorded::start(&[summary(1, 0), details, single]).await;
    let kind = Erased::<Role>::NEW;
    let (session, targets) = (server.session(), roles(&["one", "a", "b", "c"]));
    let cloud = session.observation();
    kind.announce(&cloud, &scope(), &targets);
    let at_once = kind.observe(&cloud, &scope(), &targets).await.unwrap().remove(0);
    let singly = kind.observe(&session, &scope(), &targets[..1]).await.unwrap().remove(0);
    assert_eq!(asked(&server), ["GetAccountSummary", "GetAccountAuthorizationDetails", "GetRole one"]);
    assert_eq!(at_once, singly);
    assert!(at_once.is_ok(), "{at_once:?}");
}

#[tokio::test]
async fn few_resources_are_read_one_by_one() {
    let server = Recorded::start(&[(SUMMARY, 501, ""), ("Action=GetRole", 404, MISSING)]).await;
    observe(&server.session().observation(), &[all(&["a", "b", "c"]).remove(0)]).await;
    assert_eq!(asked(&server), ["GetRole a", "GetRole b", "GetRole c"]);

    let missing = [
        ("Action=GetRole&", 404, MISSING),
        ("Action=GetRolePolicy&", 404, MISSING),
        ("Action=ListAttached", 404, MISSING),
    ];
    let server = Recorded::start(&[&[summary(9000, 1000)], missing.as_slice()].concat()).await;
    let cloud = server.session().observation();
    observe(&cloud, &all(&["a", "b"])).await;
    let mut asked = asked(&server);
    assert_eq!(asked.remove(0), "GetAccountSummary");
    asked.sort();
    assert_eq!(
        asked,
        [
            "GetRole a",
            "GetRole b",
            "GetRolePolicy a",
            "GetRolePolicy b",
            "ListAttachedRolePolicies a",
            "ListAttachedRolePolicies b"
        ]
    );
    let notes = cloud.notes();
    assert_eq!(
        notes.iter().map(|note| (note.text.as_str(), note.important)).collect::<Vec<_>>(),
        [("IAM of account `a`: reading roles and policies one by one (requests: about 6 instead of 10)", false)]
    );
}

#[tokio::test]
async fn denied_bulk_read_falls_back_to_single_reads_with_a_note() {
    let missing = [
        ("Action=GetRole&", 404, MISSING),
        ("Action=GetRolePolicy&", 404, MISSING),
        ("Action=ListAttached", 404, MISSING),
    ];
    for (exchanges, operation) in [
        (vec![(SUMMARY, 403, DENIED)], "GetAccountSummary"),
        (vec![summary(2, 1), (DETAILS, 403, DENIED)], "GetAccountAuthorizationDetails"),
    ] {
        let server = Recorded::start(&[exchanges.as_slice(), missing.as_slice()].concat()).await;
        let cloud = server.session().observation();
        let lines = observe(&cloud, &all(&["a", "b"])).await;
        assert!(lines.iter().all(|line| line.ends_with(" absent")), "{lines:?}");
        assert_eq!(asked(&server).iter().filter(|line| line.ends_with(" a") || line.ends_with(" b")).count(), 6);
        let why = format!(
            "IAM of account `a`: reading roles and policies one by one, because iam:{operation} was refused: \
             AccessDenied: no"
        );
        let notes = cloud.notes();
        assert!(notes.iter().any(|note| note.text == why && note.important), "{notes:?}");
    }
}

#[tokio::test]
async fn resources_missing_from_a_truncated_list_are_read_one_by_one() {
    let (asked_for, status, whole) = page(DETAILS, &[], &[], None);
    let broken = kept(whole.replace("<IsTruncated>false", "<IsTruncated>true"));
    let single = get_role("RoleName=one", &role("one", TRUST));
    let missing = ("Action=GetRole&", 404, MISSING);
    let server = Recorded::start(&[summary(4, 0), (asked_for, status, broken), single, missing]).await;
    let cloud = server.session().observation();
    let found = observe(&cloud, &[all(&["a", "b", "c", "one"]).remove(0)]).await;
    assert_eq!(found.last().map(String::as_str), Some("aws.iam.role.one present"), "{found:?}");
    assert!(cloud.notes().iter().any(|note| note.important && note.text.contains("does not say where")));
}

#[tokio::test]
async fn failed_account_summary_stops_further_requests() {
    let server =
        Recorded::start(&[(SUMMARY, 400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>")])
            .await;
    tokio::time::pause();
    let lines = observe(&server.session().observation(), &all(&["a", "b"])).await;
    assert!(lines.iter().all(|line| line.contains("iam:GetAccountSummary failed: Throttling")), "{lines:?}");
    assert!(asked(&server).iter().all(|line| line == "GetAccountSummary"), "{:?}", asked(&server));
}

#[tokio::test]
async fn role_missed_between_two_pages_is_not_absent() {
    // `two` is on neither page, because an entry before it was deleted between the requests.
    let first = page(DETAILS, &[role("one", TRUST)], &[], Some("next"));
    let last = page("Marker=next", &[role("three", TRUST)], &[], None);
    let server = Recorded::start(&[
        summary(3, 0),
        last,
        get_role("RoleName=two", &role("two", TRUST)),
        ("Action=GetRole&", 404, MISSING),
        first,
    ])
    .await;
    let lines = observe(&server.session().observation(), &[all(&["gone", "one", "three", "two"]).remove(0)]).await;
    assert_eq!(
        lines,
        [
            "aws.iam.role.gone absent",
            "aws.iam.role.one present",
            "aws.iam.role.three present",
            "aws.iam.role.two present"
        ]
    );
    assert_eq!(
        asked(&server),
        [
            "GetAccountSummary",
            "GetAccountAuthorizationDetails",
            "GetAccountAuthorizationDetails next",
            "GetRole gone",
            "GetRole two",
        ]
    );
}

#[tokio::test]
async fn description_is_read_only_on_request() {
    let names = ["a", "b", "c", "d"];
    let details = page(DETAILS, &names.map(|name| role(name, TRUST)), &[], None);
    let described = |name: &str| {
        let entry = role(name, TRUST);
        entry.replacen(
            "<Tags>",
            "<Description>For all</Description><MaxSessionDuration>7200</MaxSessionDuration><Tags>",
            1,
        )
    };
    let listed = names.map(described).concat();
    let listed = kept(format!(
        "<ListRolesResponse><ListRolesResult><IsTruncated>false</IsTruncated><Roles>{listed}</Roles></ListRolesResult></ListRolesResponse>"
    ));
    let server = Recorded::start(&[
        summary(4, 0),
        details,
        ("Action=ListRoles&", 200, listed),
        get_role("Action=GetRole&", &described("d")),
    ])
    .await;
    let kind = Erased::<Role>::NEW;
    for (wanted, expected) in [
        (1, vec!["GetAccountSummary", "GetAccountAuthorizationDetails", "GetRole d"]),
        (4, vec!["GetAccountSummary", "GetAccountAuthorizationDetails", "ListRoles"]),
    ] {
        let mut targets = roles(&names);
        for target in targets.iter_mut().rev().take(wanted) {
            *target = asking(target.clone(), &["name", "description", "tags"]);
        }
        let before = asked(&server).len();
        let cloud = server.session().observation();
        kind.announce(&cloud, &scope(), &targets);
        let answers = kind.observe(&cloud, &scope(), &targets).await.unwrap();
        assert_eq!(asked(&server).split_off(before), expected);
        let descriptions = answers.iter().map(|answer| match answer {
            Ok(Observed::Present { body, .. }) => {
                (body.tree()["description"].clone(), body.field::<i32>("max_session_duration"))
            }
            other => panic!("{other:?}"),
        });
        let expected = names.iter().enumerate().map(|(n, _)| {
            let asked = n + wanted >= names.len();
            (if asked { json!("For all") } else { json!(null) }, None)
        });
        assert_eq!(descriptions.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

/// Observes a policy with this last applied body. Returns its tags and the requests.
async fn policy(last: serde_json::Value) -> (serde_json::Value, Vec<String>) {
    let single = "<GetPolicyResponse><GetPolicyResult><Policy><PolicyName>team</PolicyName><Path>/</Path><DefaultVersionId>v2</DefaultVersionId>\
        <Tags><member><Key>bailiwick:project</Key><Value>p</Value></member><member><Key>team</Key><Value>live</Value></member>\
        <member><Key>foreign</Key><Value>1</Value></member></Tags></Policy></GetPolicyResult></GetPolicyResponse>";
    let details = page(DETAILS, &[], &[team()], None);
    let server = Recorded::start(&[summary(0, 1), details, ("Action=GetPolicy&", 200, single)]).await;
    let target = |name: &str, arn: &str| {
        let target = Target::new(Address::new(ManagedPolicy::NAME, name), arn);
        asking(target, &["name", "tags", "tags.bailiwick:project", "tags.team"])
    };
    let known = Target { last: Some(Document::from(last)), ..target("team", TEAM) };
    let others = ["x", "y"].map(|name| Target { last: Some(Document::default()), ..target(name, name) });
    let batch: Vec<Target> = [known].into_iter().chain(others).collect();
    let kind = Erased::<ManagedPolicy>::NEW;
    let cloud = server.session().observation();
    kind.announce(&cloud, &scope(), &batch);
    let answers = kind.observe(&cloud, &scope(), &batch).await.unwrap();
    assert_eq!(answers[1..], [Ok(Observed::Absent), Ok(Observed::Absent)]);
    match &answers[0] {
        Ok(Observed::Present { body, owner }) => {
            assert_eq!(owner.as_deref(), Some("p"));
            (body.tree()["tags"].clone(), asked(&server).split_off(2))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn policy_equal_to_last_applied_keeps_its_tags_and_others_are_read() {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    let tags = json!({"bailiwick:project": "p", "team": "ml"});
    let applied =
        |document: &serde_json::Value| json!({"name": "team", "path": "/", "document": document, "tags": tags});
    assert_eq!(policy(applied(&document)).await, (tags.clone(), vec![]));
    let mut other = document.clone();
    other["Statement"][0]["Action"] = json!("s3:PutObject");
    let live = json!({"bailiwick:project": "p", "team": "live"});
    assert_eq!(policy(applied(&other)).await, (live, vec![format!("GetPolicy {TEAM}")]));
}
