//! An index of an account's IAM, read once for all kinds of an observation.
//!
//! One page of `GetAccountAuthorizationDetails` contains up to a thousand roles and policies, with their inline
//! policies and attachments. It is used as soon as it takes fewer requests than single reads.

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

/// The maximum number of entries in a page.
///
/// Source: IAM API Reference, `GetAccountAuthorizationDetails`, `MaxItems`.
const PAGE: i32 = 1000;
/// With this many reads or fewer, looking for a cheaper way costs as much as reading.
const FEW: usize = 3;

/// The reads that the batches of one observation need from an account's IAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::provider::aws) struct IamWants {
    /// Names of roles to read, or whose policies are read.
    pub roles: BTreeSet<String>,
    /// Roles whose description or session length is needed, which the account details omit.
    pub described: BTreeSet<String>,
    /// ARNs of managed policies to read.
    pub policies: BTreeSet<String>,
    /// The number of requests to read everything one by one.
    pub reads: usize,
    /// The number of requests needed in addition to the account details.
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

/// The way to read an account's IAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One by one.
    Singly,
    /// From the account details, with the descriptions of roles from a list or one by one.
    AtOnce { list_roles: bool },
}

/// The cheapest way to read, with the number of requests of each way.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    way: Way,
    single: usize,
    at_once: usize,
}

/// Chooses the way with fewer requests.
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

/// The result of a lookup in the index.
#[derive(Debug)]
pub(in crate::provider::aws) enum Indexed<T> {
    /// The object exists.
    Present(T),
    /// The object does not exist.
    Absent,
    /// The object must be read separately.
    Unsure,
}

/// The description and session length of a role.
pub(in crate::provider::aws) type Described<'i> = (Option<&'i str>, Option<i32>);

/// The needed part of an account's IAM.
#[derive(Debug, Default)]
pub(in crate::provider::aws) struct IamIndex {
    roles: BTreeMap<String, RoleDetail>,
    described: BTreeMap<String, (Option<String>, Option<i32>)>,
    policies: BTreeMap<String, ManagedPolicyDetail>,
    /// Entries that were on no page. They may have moved to another page between two requests.
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

    /// Looks up a role with its policies.
    #[must_use]
    pub fn role(&self, name: &str) -> Indexed<&RoleDetail> {
        self.known(self.roles.get(name), name)
    }

    /// Returns the fields of a role that the account details omit; `None` if it was not listed.
    #[must_use]
    pub fn described(&self, name: &str) -> Option<Described<'_>> {
        self.described.get(name).map(|(description, duration)| (description.as_deref(), *duration))
    }

    /// Looks up a customer managed policy with its default version. Its tags are not included.
    #[must_use]
    pub fn policy(&self, arn: &str) -> Indexed<&ManagedPolicyDetail> {
        self.known(self.policies.get(arn), arn)
    }

    fn missing(&self, wants: &IamWants) -> BTreeSet<String> {
        let roles = wants.roles.iter().filter(|name| !self.roles.contains_key(*name));
        let policies = wants.policies.iter().filter(|arn| !self.policies.contains_key(*arn));
        roles.chain(policies).cloned().collect()
    }

    /// Keeps the needed entries of a page, which may be a small part of a large account.
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

/// The needs of one observation from an account's IAM, and the index that was read for them.
#[derive(Debug, Default)]
struct SharedRead {
    wants: Mutex<IamWants>,
    read: OnceCell<Read>,
}

/// Why the account details could not be read.
enum Unavailable {
    /// They cannot be read, but single objects may be readable.
    No(String),
    /// Nothing can be read at the moment.
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
    // If one request is throttled or gets no response, a thousand single reads would fare no better.
    if code.is_none_or(is_throttle) || matches!(status, Some(500 | 502..=599)) {
        Unavailable::Fatal(why)
    } else {
        Unavailable::No(why)
    }
}

/// Adds to the needs of the observation. All needs are announced before anything is read.
pub(in crate::provider::aws) fn want(cloud: &Session, scope: &Scope, more: IamWants) {
    let shared = cloud.observed::<SharedRead>(&scope.everywhere());
    shared.wants.lock().unwrap_or_else(PoisonError::into_inner).add(more);
}

/// Returns the index of an account; `None` if single reads are cheaper, or only they are allowed.
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
    // An entry may move to another page between two requests, so missing ones are read again.
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

/// Reads all account details, and returns the number of pages.
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
        // In a list that ends early, a missing entry may still exist.
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

    /// Checks the choice: `singly` or `at once`, and the number of requests of each.
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
        // A few roles of a large account.
        check(&wants(8, 0, 0), 9000, 1500, "singly: 8 or 11");
        check(&wants(12, 0, 0), 9000, 1500, "at once: 12 or 11");
        // Two roles are read for their descriptions, or all are listed.
        check(&wants(400, 0, 2), 5000, 0, "at once: 400 or 7");
        check(&wants(400, 0, 200), 5000, 0, "at once, with the list: 400 or 10");
        // Managed policies whose tags must be read.
        check(&wants(400, 200, 0), 200, 200, "at once: 400 or 201");
        check(&wants(5, 0, 0), 0, 0, "at once: 5 or 1");
    }
}
