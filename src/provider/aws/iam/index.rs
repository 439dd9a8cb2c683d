//! What an account's IAM holds, read at once for all kinds of an observation.
//!
//! One page of `GetAccountAuthorizationDetails` answers for a thousand roles and policies, with their inline policies and
//! attachments. It is asked for as soon as that takes fewer requests than asking for each thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_iam::types::{EntityType, ManagedPolicyDetail, Role, RoleDetail, SummaryKeyType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::sync::OnceCell;

use super::client::client;
use crate::address::Scope;
use crate::session::{Session, SessionError, answer, is_throttle};

/// The most entries of a page.
///
/// Source: IAM API Reference, `GetAccountAuthorizationDetails`, `MaxItems`.
const PAGE: i32 = 1000;
/// With so few reads, finding out whether there is a cheaper way costs as much as reading.
const FEW: usize = 3;

/// What the batches of one observation want of an account's IAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::provider::aws) struct IamWants {
    /// Names of roles that are read, or whose policies are.
    pub roles: BTreeSet<String>,
    /// Those of which a description or session length is wanted, which the details of an account leave out.
    pub described: BTreeSet<String>,
    /// ARNs of managed policies.
    pub policies: BTreeSet<String>,
    /// The requests that it takes to read each thing by itself.
    pub reads: usize,
    /// The requests that it takes beside the details of an account.
    pub beside: usize,
}

impl IamWants {
    fn add(&mut self, more: Self) {
        self.roles.extend(more.roles);
        self.described.extend(more.described);
        self.policies.extend(more.policies);
        self.reads += more.reads;
        self.beside += more.beside;
    }
}

/// How an account's IAM is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each thing by itself.
    Singly,
    /// From the details of the account, and the roles that are described from a list or each by itself.
    AtOnce { list_roles: bool },
}

/// The cheapest way to read, with its reckoning.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    way: Way,
    single: usize,
    at_once: usize,
}

/// Chooses by the number of requests.
fn choose(wants: &IamWants, roles: usize, policies: usize) -> Choice {
    let pages = |entries: usize| entries.div_ceil(PAGE.unsigned_abs() as usize).max(1);
    let (listed, described) = (pages(roles), wants.described.len());
    let at_once = pages(roles + policies) + described.min(listed) + wants.beside;
    let way = if at_once < wants.reads { Way::AtOnce { list_roles: listed < described } } else { Way::Singly };
    Choice { way, single: wants.reads, at_once }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Singly => write!(
                f,
                "reading roles and policies one by one (requests: about {} instead of {})",
                self.single, self.at_once
            ),
            Way::AtOnce { .. } => write!(
                f,
                "reading the details of the account (requests: about {} instead of {})",
                self.at_once, self.single
            ),
        }
    }
}

/// What the index knows of a thing.
#[derive(Debug)]
pub(in crate::provider::aws) enum Indexed<T> {
    /// It is there.
    Present(T),
    /// It is not there.
    Absent,
    /// It must be read by itself.
    Unsure,
}

/// The description and session length of a role.
pub(in crate::provider::aws) type Described<'i> = (Option<&'i str>, Option<i32>);

/// The wanted part of an account's IAM.
#[derive(Debug, Default)]
pub(in crate::provider::aws) struct IamIndex {
    roles: BTreeMap<String, RoleDetail>,
    described: BTreeMap<String, (Option<String>, Option<i32>)>,
    policies: BTreeMap<String, ManagedPolicyDetail>,
    /// What was in no page, though it may have slipped from one page to another between two requests.
    unsure: BTreeSet<String>,
}

impl IamIndex {
    fn known<'i, T>(&self, found: Option<&'i T>, name: &str) -> Indexed<&'i T> {
        match found {
            Some(found) => Indexed::Present(found),
            None if self.unsure.contains(name) => Indexed::Unsure,
            None => Indexed::Absent,
        }
    }

    /// A role with its policies.
    #[must_use]
    pub fn role(&self, name: &str) -> Indexed<&RoleDetail> {
        self.known(self.roles.get(name), name)
    }

    /// What the details of an account leave out of a role; nothing if it was not listed.
    #[must_use]
    pub fn described(&self, name: &str) -> Option<Described<'_>> {
        self.described.get(name).map(|(description, duration)| (description.as_deref(), *duration))
    }

    /// A customer managed policy with its default version, but without its tags.
    #[must_use]
    pub fn policy(&self, arn: &str) -> Indexed<&ManagedPolicyDetail> {
        self.known(self.policies.get(arn), arn)
    }

    fn missing(&self, wants: &IamWants) -> BTreeSet<String> {
        let roles = wants.roles.iter().filter(|name| !self.roles.contains_key(*name));
        let policies = wants.policies.iter().filter(|arn| !self.policies.contains_key(*arn));
        roles.chain(policies).cloned().collect()
    }

    /// Keeps what is wanted of a page, which may be a small part of a big account.
    fn keep(&mut self, wants: &IamWants, roles: Vec<RoleDetail>, policies: Vec<ManagedPolicyDetail>) {
        for role in roles {
            if let Some(name) = role.role_name().filter(|name| wants.roles.contains(*name)) {
                self.roles.insert(name.to_owned(), role);
            }
        }
        for policy in policies {
            if let Some(arn) = policy.arn().filter(|arn| wants.policies.contains(*arn)) {
                self.policies.insert(arn.to_owned(), policy);
            }
        }
    }

    fn keep_described(&mut self, wants: &IamWants, roles: &[Role]) {
        for role in roles.iter().filter(|role| wants.described.contains(role.role_name())) {
            let described = (role.description().map(ToOwned::to_owned), role.max_session_duration());
            self.described.insert(role.role_name().to_owned(), described);
        }
    }
}

type Read = Result<Option<Arc<IamIndex>>, SessionError>;

/// What one observation wants and has read of an account's IAM.
#[derive(Debug, Default)]
struct SharedRead {
    wants: Mutex<IamWants>,
    read: OnceCell<Read>,
}

/// Why the details of an account cannot be had.
enum Unavailable {
    /// They cannot be read, but single things perhaps can.
    No(String),
    /// Nothing can be read now.
    Fatal(String),
}

fn refusal<E>(what: &str, error: &SdkError<E, HttpResponse>) -> Unavailable
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let verb = if status == Some(403) { "was refused" } else { "failed" };
    let why = format!("{what} {verb}: {}", answer(error));
    // A thousand single reads would not fare better where one request is throttled or not answered.
    if code.is_none_or(is_throttle) || matches!(status, Some(500 | 502..=599)) {
        Unavailable::Fatal(why)
    } else {
        Unavailable::No(why)
    }
}

/// Adds to what the observation wants of an account's IAM. Everything is announced before anything is read.
pub(in crate::provider::aws) fn want(cloud: &Session, scope: &Scope, more: IamWants) {
    let shared = cloud.observed::<SharedRead>(&scope.everywhere());
    shared.wants.lock().unwrap_or_else(PoisonError::into_inner).add(more);
}

/// The wanted part of an account's IAM; nothing if reading each thing by itself is cheaper, or all that is allowed.
pub(in crate::provider::aws) async fn index(cloud: &Session, scope: &Scope) -> Read {
    let shared = cloud.observed::<SharedRead>(&scope.everywhere());
    let wants = shared.wants.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if wants.reads <= FEW {
        return Ok(None);
    }
    shared.read.get_or_init(|| read_index(cloud, scope, &wants)).await.clone()
}

async fn read_index(cloud: &Session, scope: &Scope, wants: &IamWants) -> Read {
    let iam = client(cloud, scope).await?;
    match read_cheapest(cloud, &iam, &scope.key, wants).await {
        Ok(index) => Ok(index.map(Arc::new)),
        Err(Unavailable::No(why)) => {
            let account = &scope.key;
            let text = format!("IAM of account `{account}`: reading roles and policies one by one, because {why}");
            cloud.note(text, true);
            Ok(None)
        }
        Err(Unavailable::Fatal(why)) => Err(SessionError::unreadable(scope, why)),
    }
}

async fn read_cheapest(
    cloud: &Session,
    iam: &aws_sdk_iam::Client,
    account: &str,
    wants: &IamWants,
) -> Result<Option<IamIndex>, Unavailable> {
    let summary = iam.get_account_summary().send().await;
    let summary = summary.map_err(|error| refusal("iam:GetAccountSummary", &error))?;
    let count = |key| {
        let count = summary.summary_map().and_then(|map| map.get(&key)).copied().unwrap_or_default();
        usize::try_from(count).unwrap_or_default()
    };
    let choice = choose(wants, count(SummaryKeyType::Roles), count(SummaryKeyType::Policies));
    cloud.note(format!("IAM of account `{account}`: {choice}"), false);
    let Way::AtOnce { list_roles } = choice.way else { return Ok(None) };
    let mut index = IamIndex::default();
    let pages = details(iam, wants, &mut index).await?;
    let missing = index.missing(wants);
    // Between two pages an entry may slip from one to the other. What is missing is looked for again.
    if pages > 1 && missing.len() <= pages {
        index.unsure = missing;
    } else if pages > 1 {
        details(iam, wants, &mut index).await?;
    }
    if list_roles {
        let mut pages = iam.list_roles().max_items(PAGE).into_paginator().send();
        while let Some(page) = pages.next().await {
            match page.map_err(|error| refusal("iam:ListRoles", &error)) {
                Ok(page) => index.keep_described(wants, page.roles()),
                Err(Unavailable::No(why)) => {
                    let text = format!(
                        "IAM of account `{account}`: reading roles with a description one by one, because {why}"
                    );
                    cloud.note(text, true);
                    break;
                }
                Err(fatal) => return Err(fatal),
            }
        }
    }
    Ok(Some(index))
}

/// Reads the details of an account to the end, and tells how many pages they had.
async fn details(iam: &aws_sdk_iam::Client, wants: &IamWants, index: &mut IamIndex) -> Result<usize, Unavailable> {
    let mut pages = iam
        .get_account_authorization_details()
        .filter(EntityType::Role)
        .filter(EntityType::LocalManagedPolicy)
        .max_items(PAGE)
        .into_paginator()
        .send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| refusal("iam:GetAccountAuthorizationDetails", &error))?;
        // What is not in a list that breaks off may exist all the same.
        if page.is_truncated && page.marker.as_deref().is_none_or(str::is_empty) {
            return Err(Unavailable::No("iam:GetAccountAuthorizationDetails has more and does not say where".into()));
        }
        index.keep(wants, page.role_detail_list.unwrap_or_default(), page.policies.unwrap_or_default());
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(reads: usize, beside: usize, described: usize) -> IamWants {
        let described = (0..described).map(|n| n.to_string()).collect();
        IamWants { described, reads, beside, ..IamWants::default() }
    }

    /// `single` or `at once`, and the requests of each.
    fn check(wants: &IamWants, roles: usize, policies: usize, expected: &str) {
        let choice = choose(wants, roles, policies);
        let way = match choice.way {
            Way::Singly => "singly",
            Way::AtOnce { list_roles: false } => "at once",
            Way::AtOnce { list_roles: true } => "at once, with the list",
        };
        assert_eq!(format!("{way}: {} or {}", choice.single, choice.at_once), expected);
    }

    #[test]
    fn the_cheaper_way_is_taken() {
        check(&wants(800, 0, 0), 201, 200, "at once: 800 or 1");
        check(&wants(8000, 0, 0), 2001, 2000, "at once: 8000 or 5");
        // A few roles of a big account.
        check(&wants(8, 0, 0), 9000, 1500, "singly: 8 or 11");
        check(&wants(12, 0, 0), 9000, 1500, "at once: 12 or 11");
        // Two of them are read for their descriptions, or all are listed.
        check(&wants(400, 0, 2), 5000, 0, "at once: 400 or 7");
        check(&wants(400, 0, 200), 5000, 0, "at once, with the list: 400 or 10");
        // Managed policies whose tags must be read.
        check(&wants(400, 200, 0), 200, 200, "at once: 400 or 201");
        check(&wants(5, 0, 0), 0, 0, "at once: 5 or 1");
    }
}
