//! What a change of one policy gives and takes, by class of callers.
//!
//! A policy without principals is compared as that of any identity to which it is attached; one with principals is
//! compared for each principal, whose own policies are taken to allow everything. Condition keys that follow from the
//! caller stay open in the result, and the callers of a class decide which of their values are possible.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::arn::{self, is_account_id};
use super::condition::Condition;
use super::evaluate::{Attached, DecisionOutcome, PolicySet, evaluate};
use super::matching;
use super::pattern::Pattern;
use super::policy::{Effect, Policy, Principal, Selector, Statement, Version};
use super::reach::{AccessRegion, Area, Reach, RegionShape, reach};
use super::request::{Caller, ContextValue, Request, RequestContext};
use super::rules::AwsRule;
use super::space::Budget;
use super::witness::{Example, KnownKeys};

/// Policies for callers about whose own policies nothing is known.
static EVERYTHING: LazyLock<Policy> = LazyLock::new(|| Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]));

/// The owner of the resources in examples, which no caller belongs to.
const OWNER: &str = "000000000000";

const CANONICAL_USER: &str = "aws:CanonicalUser";

const SOME_SERVICE: &str = "example.amazonaws.com";

const SOME_PROVIDER: &str = "arn:aws:iam::000000000000:oidc-provider/example.com";

/// Accounts for callers of which only their kind matters.
const SOME_ACCOUNTS: [&str; 3] = ["111122223333", "444455556666", "123456789012"];

/// A part of the access that one policy gives and another does not.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionChange {
    /// The principal in the policies; `None` for the identity to which they are attached.
    pub who: Option<Principal>,
    /// The actions, resources and conditions.
    pub region: AccessRegion,
    /// A request that one policy allows and the other does not, as evaluation confirms. `None` if none was found: then
    /// it cannot be decided whether access changes here.
    pub example: Option<Request>,
}

/// The regions that `after` allows and `before` does not. Those without an example come last.
#[must_use]
pub fn gains(before: &Policy, after: &Policy, name: &str) -> Vec<RegionChange> {
    let mut work = Budget::default();
    let mut each = |class: &CallerClass| class.gains(before, after, name, |reach| reach, &mut work);
    widest(classes(&[before, after]).iter().flat_map(&mut each).collect())
}

/// Joins equal regions and drops those that another region of the same principal includes. Those without an example come
/// last.
fn widest(changes: Vec<RegionChange>) -> Vec<RegionChange> {
    let mut kept: Vec<(RegionChange, RegionShape)> = Vec::new();
    for change in changes {
        let same = |(known, _): &&mut (RegionChange, RegionShape)| {
            let (one, other) = (&known.region, &change.region);
            known.who == change.who && one.area == other.area && one.except == other.except
        };
        if let Some((known, _)) = kept.iter_mut().find(same) {
            known.example = known.example.take().or(change.example);
            continue;
        }
        let shape = RegionShape::of(&change.region);
        let comparable = |wide: &RegionChange, narrow: &RegionChange| {
            wide.who == narrow.who && wide.example.is_some() >= narrow.example.is_some()
        };
        let is_told = |(known, own): &(RegionChange, RegionShape)| {
            comparable(known, &change) && known.region.includes_with(own, &change.region, &shape)
        };
        if kept.len() <= MOST_COMPARED && kept.iter().any(is_told) {
            continue;
        }
        if kept.len() <= MOST_COMPARED {
            kept.retain(|(known, own)| {
                !(comparable(&change, known) && change.region.includes_with(&shape, &known.region, own))
            });
        }
        kept.push((change, shape));
    }
    let mut kept: Vec<RegionChange> = kept.into_iter().map(|(change, _)| change).collect();
    kept.sort_by_key(|change| change.example.is_none());
    kept
}

/// The number of actions that are tried as examples of a region.
const MOST_ACTIONS: usize = 60;

/// The number of regions above which they are not compared with each other. More rows than that are not read.
const MOST_COMPARED: usize = 300;

/// The regions that a policy allows of these actions on these resources. An empty list stands for all.
#[must_use]
pub fn grants(policy: &Policy, actions: &[String], resources: &[String]) -> Vec<RegionChange> {
    let nothing = Policy::new(policy.version, []);
    let on = Area::asked(actions, resources);
    let mut work = Budget::default();
    let within = |reach: Reach| reach.within(&on);
    let mut each = |class: &CallerClass| class.gains(&nothing, policy, "", within, &mut work);
    widest(classes(&[policy]).iter().flat_map(&mut each).collect())
}

/// The regions that a policy allows to strangers: anonymous callers, and principals that share no account, network or
/// organization with those that the policy names.
///
/// Source: S3 User Guide, "The meaning of public".
#[must_use]
pub fn public(policy: &Policy) -> Vec<RegionChange> {
    let nothing = Policy::new(policy.version, []);
    let named = |class: &CallerClass| {
        let account = Caller::of(&class.principal).account();
        let is_named = |id: &str| {
            let principals = policy.statements.iter().filter_map(|s| s.principal.as_ref()).flat_map(Selector::values);
            principals.filter_map(Principal::account).any(|own| own == id)
                || policy.statements.iter().any(|statement| mentions(statement, id))
        };
        account.is_some_and(is_named)
    };
    let (mut found, mut work) = (Vec::new(), Budget::default());
    for mut class in classes(&[policy]) {
        let is_stranger = match &class.who {
            Some(Principal::Everyone | Principal::AnyAws) => !named(&class),
            Some(Principal::Federated(name)) => &**name == "*",
            _ => false,
        };
        if is_stranger {
            class.known.without = trusted_values(policy);
            class.known.fixed.push(("aws:SourceIp".to_owned(), Some(ContextValue::One(STRANGER.to_owned()))));
            found.extend(class.gains(&nothing, policy, "", |reach| reach, &mut work));
        }
    }
    widest(found)
}

/// An address outside every network that a policy would name.
const STRANGER: &str = "198.51.100.77";

/// The values of keys that strangers cannot have, because they are those of others.
fn trusted_values(policy: &Policy) -> Vec<(String, Vec<Pattern>)> {
    const TRUSTED: [&str; 18] = [
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceorgid",
        "aws:sourceorgpaths",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpcarn",
        "aws:sourcevpce",
        "aws:userid",
        "aws:vpceaccount",
        "aws:vpceorgid",
        "kms:calleraccount",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    ];
    let conditions = policy.statements.iter().flat_map(|statement| &statement.condition);
    let trusted = conditions.filter(|c| TRUSTED.contains(&c.key().as_str().to_ascii_lowercase().as_str()));
    // A value that begins with a wildcard is anybody's.
    let named = |condition: &Condition| {
        let key = condition.key().as_str();
        let may_vary = ["s3:dataaccesspointarn", "aws:principalorgpaths", "aws:sourceorgpaths", "aws:userid"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(key));
        let fixed = |value: &&str| {
            let is_plain = !value.contains(['*', '?']) || (may_vary && !value.starts_with(['*', '?']));
            is_plain && !value.contains("${")
        };
        (key.to_owned(), condition.values().filter(fixed).map(Pattern::new).collect())
    };
    trusted.map(named).collect()
}

/// The result of the comparison of two policies.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyComparison {
    /// Both decide every request in the same way.
    Equal,
    /// A request that they decide differently.
    Differ(Box<Request>),
    /// Neither a request nor a proof was found. Holds the regions in question.
    Undecided(Vec<RegionChange>),
}

/// Whether two policies decide every request in the same way, alone or with other policies: they deny the same requests
/// and allow the same ones.
#[must_use]
pub fn compare(a: &Policy, b: &Policy) -> PolicyComparison {
    if a == b {
        return PolicyComparison::Equal;
    }
    let (no_a, no_b) = (denials(a), denials(b));
    let mut undecided = Vec::new();
    for (one, other) in [(a, b), (b, a), (&no_a, &no_b), (&no_b, &no_a)] {
        let mut work = Budget::default();
        let classes = classes(&[one, other]).into_iter();
        // A statement that names a caller of the owner's account directly needs no policy of that caller.
        let all = classes.flat_map(|class| [class.at_home(), Some(class)]).flatten();
        let mut each = |class: CallerClass| class.gains(one, other, "", |reach| reach, &mut work);
        for change in all.flat_map(&mut each) {
            match change.example {
                Some(request) => return PolicyComparison::Differ(Box::new(request)),
                None => undecided.push(change),
            }
        }
    }
    if undecided.is_empty() { PolicyComparison::Equal } else { PolicyComparison::Undecided(undecided) }
}

/// Whether two policies decide every request in the same way. `false` also means that this was not proved.
#[must_use]
pub fn equivalent(a: &Policy, b: &Policy) -> bool {
    compare(a, b) == PolicyComparison::Equal
}

/// A policy that allows whatever another does not deny.
fn denials(policy: &Policy) -> Policy {
    let mut all = Statement::allow(["*"], ["*"]);
    if policy.statements.iter().any(|statement| statement.principal.is_some()) {
        all = all.to(Selector::of([Principal::Everyone]));
    }
    let denies = policy.statements.iter().filter(|statement| statement.effect == Effect::Deny).cloned();
    Policy::new(policy.version, [all].into_iter().chain(denies))
}

/// Callers that policies cannot tell apart except by the keys that stay open.
struct CallerClass {
    who: Option<Principal>,
    /// A caller of the class.
    principal: String,
    known: KnownKeys,
    /// Whether the callers belong to the account of the resource, and have no policies of their own.
    is_home: bool,
    /// Whether the policy is a service control policy.
    is_scp: bool,
}

impl CallerClass {
    /// The same callers in the account of the resource. `None` if a policy of the caller is asked about, or if the
    /// callers have no account.
    fn at_home(&self) -> Option<Self> {
        let has_account = Caller::of(&self.principal).account().is_some();
        let (who, principal, known) = (self.who.clone(), self.principal.clone(), self.known.clone());
        (self.who.is_some() && has_account).then_some(Self { who, principal, known, is_home: true, is_scp: false })
    }

    /// The account of the resources.
    fn owner(&self, principal: &str) -> Option<String> {
        match self.who {
            Some(_) if !self.is_home => Some(OWNER.to_owned()),
            _ => Caller::of(principal).account().map(str::to_owned),
        }
    }

    fn reach(&self, policy: &Policy, name: &str) -> Reach {
        let mut request = Request::new(&self.principal, "*", "*");
        request.context = RequestContext::open();
        // Policies name a canonical user by this key, not by an ARN.
        let canonical = self.known.fixed.iter().find(|(key, _)| key == CANONICAL_USER);
        if let Some((key, Some(value))) = canonical {
            request.context.set(key, value.clone());
        }
        request.resource_account = self.who.as_ref().and_then(|_| self.owner(&self.principal));
        reach(&request, &self.policies(policy, name, None)).for_callers(self.known.clone())
    }

    /// The policies of a caller. `delegation` is the policy of a key or role that leaves the decision to the identity.
    fn policies<'p>(&self, policy: &'p Policy, name: &'p str, delegation: Option<Attached<'p>>) -> PolicySet<'p> {
        let attached = Attached { name, policy };
        match self.who {
            None if self.is_scp => PolicySet { scps: vec![vec![attached]], ..PolicySet::default() },
            None => PolicySet { identity: vec![attached], resource: delegation, ..PolicySet::default() },
            Some(_) if self.is_home => PolicySet { resource: Some(attached), ..PolicySet::default() },
            Some(_) => PolicySet {
                identity: vec![Attached { name: "", policy: &EVERYTHING }],
                resource: Some(attached),
                ..PolicySet::default()
            },
        }
    }

    /// The regions that `after` allows these callers and `before` does not, each within what `limit` leaves of a reach.
    fn gains(
        &self,
        before: &Policy,
        after: &Policy,
        name: &str,
        limit: impl Fn(Reach) -> Reach,
        work: &mut Budget,
    ) -> Vec<RegionChange> {
        let (old, new) = (limit(self.reach(before, name)), limit(self.reach(after, name)));
        let mut changes = Vec::new();
        for region in new.minus_within(&old, work).iter().filter(|region| self.is_told(after, region)) {
            for region in region.cells(&self.known, work) {
                let example = region.example.as_ref().and_then(|e| self.confirmed_nearby(&region, e, before, after));
                if example.is_some() || !self.is_without_effect(&region, before, after) {
                    changes.push(RegionChange { who: self.who.clone(), region, example });
                }
            }
        }
        changes
    }

    /// Whether a region is reported for this principal: callers whom a policy names more precisely have rows of their
    /// own.
    fn is_told(&self, policy: &Policy, region: &AccessRegion) -> bool {
        let Some(Principal::Everyone | Principal::AnyAws) = &self.who else { return true };
        let is_wide = |statement: &Statement| {
            statement.principal.as_ref().is_some_and(|selector| {
                selector.inverted
                    || selector.values.iter().any(|p| matches!(p, Principal::Everyone | Principal::AnyAws))
            })
        };
        region
            .area
            .sources()
            .iter()
            .filter(|source| source.layer == super::Layer::Resource)
            .any(|source| policy.statements.iter().any(|s| s.position() == source.position && is_wide(s)))
    }

    /// The request of an example, or one of another action of its region, if `after` allows it and `before` does not:
    /// rules beyond the policies may decide about the action of the example.
    fn confirmed_nearby(
        &self,
        region: &AccessRegion,
        example: &Example,
        before: &Policy,
        after: &Policy,
    ) -> Option<Request> {
        self.confirmed(example, before, after).or_else(|| {
            let known = region.area.known_actions().into_iter().take(MOST_ACTIONS);
            known
                .map(|(prefix, action)| Example { action: format!("{prefix}:{}", action.name), ..example.clone() })
                .find_map(|other| self.confirmed(&other, before, after))
        })
    }

    /// Whether rules beyond the policies decide about each action of a region, so that the policies do not matter.
    fn is_without_effect(&self, region: &AccessRegion, before: &Policy, after: &Policy) -> bool {
        let (actions, _) = region.area.actions();
        let Some(example) = &region.example else { return false };
        actions.iter().all(|action| {
            let Some(action) = action.as_literal() else { return false };
            let sts = action.split_once(':').filter(|(service, _)| service.eq_ignore_ascii_case("sts"));
            if sts.is_some_and(|(_, name)| AwsRule::NoPermission.applies_to(name)) {
                return true;
            }
            self.requests(&Example { action, ..example.clone() }).iter().all(|request| {
                let set = self.policies(before, "", None);
                let (old, new) = (evaluate(request, &set), evaluate(request, &self.policies(after, "", None)));
                old.outcome == new.outcome
                    && old.outcome != DecisionOutcome::Conditional
                    && !old.rules.is_empty()
                    && !new.rules.is_empty()
            })
        })
    }

    /// The request of an example, if `after` allows it and `before` does not.
    fn confirmed(&self, example: &Example, before: &Policy, after: &Policy) -> Option<Request> {
        self.requests(example).into_iter().find(|request| self.is_confirmed(request, before, after))
    }

    fn is_confirmed(&self, request: &Request, before: &Policy, after: &Policy) -> bool {
        let own = Caller::of(&request.principal).account().map(|id| Principal::Account(id.into()));
        let delegation = Statement::allow(["*"], ["*"]).to(Selector::of(own));
        let delegation = Policy::new(Version::V2012, [delegation]);
        let delegation = Attached { name: "", policy: &delegation };
        let outcome = |policy| evaluate(request, &self.policies(policy, "", Some(delegation))).outcome;
        let is_denied =
            matches!(outcome(before), DecisionOutcome::ImplicitlyDenied | DecisionOutcome::ExplicitlyDenied);
        outcome(after) == DecisionOutcome::Allowed && is_denied
    }

    /// The requests of an example. A user's name and ARN were chosen apart: either may have to follow the other.
    fn requests(&self, example: &Example) -> Vec<Request> {
        let request = self.request(example);
        let Caller::User { account, name } = Caller::of(&request.principal) else { return vec![request] };
        let mut by_arn = request.clone();
        if by_arn.context.get("aws:username").is_some() {
            by_arn.context.set("aws:username", ContextValue::One(name.to_owned()));
        }
        match request.context.get("aws:username") {
            Some(ContextValue::One(chosen)) if chosen != name => {
                let mut by_name = request.clone();
                by_name.principal = format!("arn:aws:iam::{account}:user/{chosen}");
                by_name.context.set("aws:PrincipalArn", ContextValue::One(by_name.principal.clone()));
                vec![by_name, by_arn]
            }
            _ => vec![by_arn],
        }
    }

    fn request(&self, example: &Example) -> Request {
        let mut request = Request::new(&self.principal, &example.action, &example.resource);
        for (key, value) in &example.context {
            request.context.set(key, value.clone());
        }
        if let Some(ContextValue::One(arn)) = request.context.get("aws:PrincipalArn") {
            request.principal.clone_from(arn);
        }
        request.resource_account = self.owner(&request.principal);
        if let Some(ContextValue::One(account)) = request.context.get("aws:ResourceAccount").cloned() {
            request.resource_account = Some(account);
        }
        request.with_own_keys()
    }
}

/// The keys that follow from the caller.
const CALLER_KEYS: [&str; 5] =
    ["aws:principalarn", "aws:principalaccount", "aws:principaltype", "aws:username", "aws:principalisawsservice"];

/// The classes of callers that two policies can tell apart.
fn classes(policies: &[&Policy]) -> Vec<CallerClass> {
    let statements = || policies.iter().flat_map(|policy| policy.statements.iter());
    let named: BTreeSet<&Principal> =
        statements().filter_map(|s| s.principal.as_ref()).flat_map(Selector::values).collect();
    let is_open = statements().filter_map(|s| s.principal.as_ref()).any(Selector::is_inverted);
    let tests_caller = is_open || statements().any(tests_caller);
    let mut accounts: BTreeSet<String> = named.iter().filter_map(|p| p.account()).map(str::to_owned).collect();
    accounts.extend(statements().flat_map(accounts_of));
    let is_unused = |id: &&str| !accounts.contains(*id) && !statements().any(|s| mentions(s, id));
    let some_account = SOME_ACCOUNTS.into_iter().find(is_unused).unwrap_or("999999999999");
    let arns: Vec<Pattern> = named
        .iter()
        .filter_map(|p| if let Principal::Aws(arn) = p { Some(Pattern::literal(arn)) } else { None })
        .collect();
    let kinds: &[CallerKind] =
        if tests_caller { &[CallerKind::Role, CallerKind::User, CallerKind::Root] } else { &[CallerKind::Role] };
    let all_accounts: Vec<&str> = if tests_caller {
        std::iter::once(some_account).chain(accounts.iter().map(String::as_str)).collect()
    } else {
        vec![some_account]
    };
    if statements().all(|s| s.principal.is_none()) {
        // The root user needs no identity-based policy, so that none says what it may do.
        let kinds = if tests_caller { &[CallerKind::Role, CallerKind::User][..] } else { &[CallerKind::Role] };
        let of = |account: &&str| kinds.iter().map(|kind| kind.class(None, account, &[])).collect::<Vec<_>>();
        let mut classes: Vec<CallerClass> = all_accounts.iter().flat_map(of).collect();
        // Only a service control policy limits the root user.
        if statements().any(names_root) {
            classes.push(CallerClass { is_scp: true, ..CallerKind::Root.class(None, some_account, &[]) });
        }
        return classes;
    }
    let everyone = Principal::Everyone;
    let all: Vec<&Principal> =
        named.iter().copied().chain((is_open && !named.contains(&everyone)).then_some(&everyone)).collect();
    let callers = Callers { kinds, accounts: &all_accounts, arns: &arns, named: &named };
    all.into_iter().flat_map(|principal| callers.of(principal)).collect()
}

/// The callers that policies can tell apart.
struct Callers<'c> {
    kinds: &'c [CallerKind],
    /// The accounts of callers who are not named. The first is one that no policy names.
    accounts: &'c [&'c str],
    /// The ARNs of the callers who are named.
    arns: &'c [Pattern],
    named: &'c BTreeSet<&'c Principal>,
}

impl Callers<'_> {
    /// The callers whom a principal names.
    fn of(&self, principal: &Principal) -> Vec<CallerClass> {
        let who = || Some(principal.clone());
        let in_account = |id: &&str| self.kinds.iter().map(|kind| kind.class(who(), id, self.arns)).collect::<Vec<_>>();
        match principal {
            Principal::Account(id) => in_account(&&**id),
            Principal::Everyone | Principal::AnyAws => {
                let mut classes: Vec<CallerClass> = self.accounts.iter().flat_map(in_account).collect();
                classes.push(outsider(who(), "*", Some("Anonymous")));
                if *principal == Principal::Everyone {
                    let is_named = self.named.contains(&Principal::Service(SOME_SERVICE.into()));
                    classes.extend((!is_named).then(|| outsider(who(), SOME_SERVICE, None)));
                    let has_providers = self.named.iter().any(|p| matches!(p, Principal::Federated(_)));
                    classes.extend(has_providers.then(|| outsider(who(), SOME_PROVIDER, None)));
                }
                classes
            }
            Principal::Aws(arn) => vec![exact(who(), arn)],
            Principal::Service(name) => vec![outsider(who(), name, None)],
            Principal::Federated(name) => {
                vec![outsider(who(), if &**name == "*" { SOME_PROVIDER } else { name }, None)]
            }
            Principal::CanonicalUser(id) => {
                let account = self.accounts.first().copied().unwrap_or_default();
                let mut class = CallerKind::User.class(who(), account, self.arns);
                class.known.fixed.push((CANONICAL_USER.into(), Some(ContextValue::One(id.to_string()))));
                vec![class]
            }
        }
    }
}

/// Whether a statement depends on a key that follows from the caller.
fn tests_caller(statement: &Statement) -> bool {
    let is_of_caller = |key: &str| CALLER_KEYS.iter().any(|own| own.eq_ignore_ascii_case(key));
    let texts = statement.condition.iter().flat_map(Condition::values);
    let resources = statement.resource.iter().flat_map(|r| r.values.iter().map(AsRef::as_ref));
    statement.condition.iter().any(|c| is_of_caller(c.key().as_str()))
        || texts.chain(resources).flat_map(matching::variables).any(|name| is_of_caller(&name))
}

/// Whether a condition of a statement names an account.
fn mentions(statement: &Statement, account: &str) -> bool {
    statement.condition.iter().flat_map(Condition::values).any(|value| value.contains(account))
}

/// Whether a condition on the caller names the root user.
fn names_root(statement: &Statement) -> bool {
    let values =
        statement.condition.iter().filter(|c| CALLER_KEYS.iter().any(|k| k.eq_ignore_ascii_case(c.key().as_str())));
    values.flat_map(Condition::values).any(|value| value.ends_with(":root") || value == "Account")
}

/// The accounts that conditions on the caller name.
fn accounts_of(statement: &Statement) -> Vec<String> {
    let of_caller =
        statement.condition.iter().filter(|c| CALLER_KEYS.iter().any(|own| own.eq_ignore_ascii_case(c.key().as_str())));
    let account = |value: &str| {
        let account = arn::split(value).map_or(value, |[_, _, _, account, _]| account);
        is_account_id(account).then(|| account.to_owned())
    };
    of_caller.flat_map(|c| c.values().filter_map(account).collect::<Vec<_>>()).collect()
}

/// The kinds of callers in an account.
#[derive(Clone, Copy)]
enum CallerKind {
    Role,
    User,
    Root,
}

impl CallerKind {
    /// The callers of this kind in an account, without those that have an ARN of `without`.
    fn class(self, who: Option<Principal>, account: &str, without: &[Pattern]) -> CallerClass {
        let (name, of, type_name) = match self {
            CallerKind::Role => ("role/some", "role/?*", "AssumedRole"),
            CallerKind::User => ("user/some", "user/?*", "User"),
            CallerKind::Root => ("root", "root", "Account"),
        };
        let one = |text: &str| Some(ContextValue::One(text.to_owned()));
        let mut fixed = vec![
            ("aws:PrincipalAccount".to_owned(), one(account)),
            ("aws:PrincipalType".to_owned(), one(type_name)),
            ("aws:PrincipalIsAWSService".to_owned(), one("false")),
        ];
        if !matches!(self, CallerKind::User) {
            fixed.push(("aws:username".to_owned(), None));
        }
        let within = Pattern::new(&format!("arn:aws:iam::{account}:{of}"));
        let within = vec![("aws:PrincipalArn".to_owned(), within, without.to_vec())];
        let known = KnownKeys { fixed, within, without: Vec::new() };
        CallerClass { who, principal: format!("arn:aws:iam::{account}:{name}"), known, is_home: false, is_scp: false }
    }
}

/// A caller with this ARN.
fn exact(who: Option<Principal>, arn: &str) -> CallerClass {
    let own = Request::new(arn, "*", "*").with_own_keys().context;
    let mut fixed: Vec<(String, Option<ContextValue>)> =
        own.keys().into_iter().map(|key| (key.to_owned(), own.get(key).cloned())).collect();
    fixed.extend(CALLER_KEYS.into_iter().filter(|key| own.get(key).is_none()).map(|key| (key.to_owned(), None)));
    CallerClass {
        who,
        principal: arn.to_owned(),
        known: KnownKeys { fixed, ..KnownKeys::default() },
        is_home: false,
        is_scp: false,
    }
}

/// A caller without an account.
fn outsider(who: Option<Principal>, principal: &str, type_name: Option<&str>) -> CallerClass {
    let is_service = matches!(Caller::of(principal), Caller::Service(_));
    let one = |text: &str| Some(ContextValue::One(text.to_owned()));
    let fixed = vec![
        ("aws:PrincipalArn".to_owned(), None),
        ("aws:PrincipalAccount".to_owned(), None),
        ("aws:PrincipalType".to_owned(), type_name.and_then(one)),
        ("aws:username".to_owned(), None),
        ("aws:PrincipalIsAWSService".to_owned(), one(if is_service { "true" } else { "false" })),
    ];
    CallerClass {
        who,
        principal: principal.to_owned(),
        known: KnownKeys { fixed, ..KnownKeys::default() },
        is_home: false,
        is_scp: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(statements: &Value) -> Policy {
        Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
    }

    fn to(principal: &Value, condition: &Value) -> Policy {
        policy(&json!({"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/*", "Condition": condition}))
    }

    /// The principals of the examples.
    fn gaining(before: &Policy, after: &Policy) -> Vec<String> {
        gains(before, after, "").into_iter().map(|change| change.example.unwrap().principal).collect()
    }

    #[test]
    fn canonical_users_differ() {
        let user = |id: &str| to(&json!({ "CanonicalUser": id.repeat(64) }), &json!({}));
        assert!(!equivalent(&user("a"), &user("b")) && equivalent(&user("a"), &user("a")));
    }

    #[test]
    fn condition_on_the_caller_says_who_gains() {
        let account = json!({"AWS": "111122223333"});
        let role =
            |name: &str| json!({"ArnEquals": {"aws:PrincipalArn": format!("arn:aws:iam::111122223333:role/{name}")}});
        let (a, b) = (to(&account, &role("a")), to(&account, &role("b")));
        assert_eq!(gaining(&a, &b), ["arn:aws:iam::111122223333:role/b"]);
        assert_eq!(gaining(&b, &a), ["arn:aws:iam::111122223333:role/a"]);
        assert!(gaining(&a, &to(&account, &json!({}))).contains(&"arn:aws:iam::111122223333:role/some".to_owned()));
    }

    #[test]
    fn deny_unless_is_allow_if_for_what_is_allowed() {
        let on = |effect: &str, operator: &str| {
            json!({"Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
                "Condition": {operator: {"aws:PrincipalTag/team": "red"}}})
        };
        let all = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"});
        let allow_if = policy(&json!([on("Allow", "StringEquals")]));
        let deny_unless = policy(&json!([all, on("Deny", "StringNotEquals")]));
        assert!(gains(&allow_if, &deny_unless, "").is_empty() && gains(&deny_unless, &allow_if, "").is_empty());
        assert!(!equivalent(&allow_if, &deny_unless), "only one of them denies");
    }

    #[test]
    fn strangers_share_no_network_or_organization() {
        let everyone = |condition: Value| !public(&to(&json!("*"), &condition)).is_empty();
        assert!(everyone(json!({})) && everyone(json!({"StringLike": {"aws:SourceVpc": "vpc-*"}})));
        assert!(!everyone(json!({"StringEquals": {"aws:SourceVpce": "vpce-1"}})));
        assert!(!everyone(json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}})));
        assert!(public(&to(&json!({"AWS": "111122223333"}), &json!({}))).is_empty());
    }

    #[test]
    fn grants_answers_for_patterns() {
        let policy = to(&json!("*"), &json!({}));
        let asked = |action: &str, resource: &str| !grants(&policy, &[action.into()], &[resource.into()]).is_empty();
        assert!(asked("s3:*", "arn:aws:s3:::b/x") && !asked("s3:Put*", "*") && !asked("s3:*", "arn:aws:s3:::c/*"));
    }
}
