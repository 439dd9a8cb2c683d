//! The reach of a caller: areas of actions and resources instead of single requests, with union, intersection,
//! difference.
//!
//! An area is a product of action patterns, resource patterns and conditions. Conditions that depend on the
//! circumstances are atoms: true or false, with nothing else known about them. On this basis the algebra is exact.
//! Resource patterns are treated as whole texts, so a `*` may match the colons of an ARN.
//!
//! Sources: as for [`evaluate`](super::evaluate()).

use std::collections::BTreeSet;
use std::fmt;

use super::catalogue::{self, ActionEntry, ServiceEntry};
use super::condition::Condition;
use super::evaluate::{Applied, CallerMatch, Layer, PolicySet, Rules, Scene};
use super::matching::{self, Truth, Unresolved};
use super::pattern::Pattern;
use super::policy::{Effect, Policy, Selector, Statement, Version};
use super::request::{Caller, Request, RequestContext};
use super::space::{Budget, Glob, Solution};
use super::witness::{self, Example, KnownKeys};

/// An unknown that is true or false for a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A condition on a key with an unknown value.
    Condition(Condition),
    /// The resource matches a pattern with an unknown policy variable.
    Resource(Box<str>),
    /// A `NotPrincipal` that lists the caller only in part excludes it. Holds the name of its policy.
    NotPrincipal(Box<str>),
}

impl Atom {
    /// Whether the atom is true of a request with known keys. An unclear `NotPrincipal` is taken not to apply.
    #[cfg(test)]
    pub(super) fn holds(&self, request: &Request) -> bool {
        let truth = match self {
            Atom::Condition(condition) => matching::condition(condition, Version::V2012, &request.context),
            Atom::Resource(text) => matching::resource(text, Version::V2012, &request.context, &request.resource),
            Atom::NotPrincipal(_) => Truth::No,
        };
        truth == Truth::Yes
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Condition(condition) => {
                write!(f, "{} {}", condition.key, condition.operator)?;
                for (at, value) in condition.values().enumerate() {
                    write!(f, "{} `{value}`", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Atom::Resource(text) => write!(f, "the resource matches `{text}`"),
            Atom::NotPrincipal(policy) => write!(f, "NotPrincipal of `{policy}` applies"),
        }
    }
}

/// The statement from which an area derives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub layer: Layer,
    pub policy: String,
    /// The position of the statement in its document, from 1.
    pub position: usize,
    pub sid: Option<String>,
}

/// Actions, resources and conditions that apply together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Selectors of actions in lower case; all must match.
    actions: Vec<Selector<Pattern>>,
    /// Selectors of resources; all must match.
    resources: Vec<Selector<Pattern>>,
    when: BTreeSet<Atom>,
    unless: BTreeSet<Atom>,
    sources: Vec<Source>,
}

impl Area {
    /// The area of all actions on all resources.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            actions: Vec::new(),
            resources: Vec::new(),
            when: BTreeSet::new(),
            unless: BTreeSet::new(),
            sources: Vec::new(),
        }
    }

    /// Every action on the resources that match the pattern.
    #[must_use]
    pub fn on(resource: Pattern) -> Self {
        let resources = vec![Selector { inverted: false, values: Box::new([resource]) }];
        Self { resources, ..Self::everything() }
    }

    /// These actions, or patterns of actions, on every resource.
    #[must_use]
    pub fn of_actions<'a>(actions: impl IntoIterator<Item = &'a str>) -> Self {
        let values = actions.into_iter().map(|a| Pattern::without_escapes(&a.to_ascii_lowercase())).collect();
        Self { actions: vec![Selector { inverted: false, values }], ..Self::everything() }
    }

    /// These actions on these resources, or patterns of them; an empty list stands for all.
    pub(super) fn asked(actions: &[String], resources: &[String]) -> Self {
        let of = |list: Vec<Pattern>| -> Vec<Selector<Pattern>> {
            let selector = Selector { inverted: false, values: list.into() };
            if selector.values.is_empty() { Vec::new() } else { vec![selector] }
        };
        let actions = actions.iter().map(|action| Pattern::without_escapes(&action.to_ascii_lowercase()));
        let resources = resources.iter().map(|resource| Pattern::new(resource));
        Self { actions: of(actions.collect()), resources: of(resources.collect()), ..Self::everything() }
    }

    /// The areas of one statement, whoever the caller is.
    pub(super) fn of_statement(statement: &Statement, version: Version) -> Vec<Self> {
        let mut request = Request::new("*", "*", "*");
        request.context = RequestContext::open();
        let policy = Policy::new(version, []);
        let grant = CallerMatch::Direct;
        areas(&request, &policy, &Applied { layer: Layer::Resource, policy: "", statement, certain: true, grant })
    }

    /// The atoms that must hold.
    #[must_use]
    pub fn when(&self) -> &BTreeSet<Atom> {
        &self.when
    }

    /// The atoms that must not hold.
    #[must_use]
    pub fn unless(&self) -> &BTreeSet<Atom> {
        &self.unless
    }

    /// All atoms.
    pub(super) fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.when.iter().chain(&self.unless)
    }

    pub(super) fn action_selectors(&self) -> &[Selector<Pattern>] {
        &self.actions
    }

    pub(super) fn resource_selectors(&self) -> &[Selector<Pattern>] {
        &self.resources
    }

    /// The statements from which the area derives.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The actions in lower case: included patterns, and excluded patterns.
    #[must_use]
    pub fn actions(&self) -> (Vec<Pattern>, Vec<Pattern>) {
        flatten(&self.actions)
    }

    /// The known AWS actions in the area with their service prefixes, sorted.
    #[must_use]
    pub fn known_actions(&self) -> Vec<(&'static str, &'static ActionEntry)> {
        let (of, but) = self.actions();
        let mut known: Vec<(&'static str, &'static ActionEntry)> = Vec::new();
        for prefix in ServiceEntry::prefixes() {
            let all = Pattern::new(&format!("{prefix}:*"));
            if !of.iter().any(|pattern| pattern.overlaps(&all)) {
                continue;
            }
            let Some(service) = ServiceEntry::of(prefix) else {
                continue;
            };
            for action in service.actions() {
                let name = format!("{prefix}:{}", action.name.to_ascii_lowercase());
                if of.iter().any(|p| p.matches(&name)) && !but.iter().any(|p| p.matches(&name)) {
                    known.push((prefix, action));
                }
            }
        }
        known
    }

    /// The resources: included patterns, and excluded patterns.
    #[must_use]
    pub fn resources(&self) -> (Vec<Pattern>, Vec<Pattern>) {
        flatten(&self.resources)
    }

    /// Whether a request is in the area, given which atoms hold.
    #[must_use]
    pub fn contains(&self, action: &str, resource: &str, holds: impl Fn(&Atom) -> bool) -> bool {
        let action = action.to_ascii_lowercase();
        self.actions.iter().all(|s| s.selects(|p| p.matches(&action)))
            && self.resources.iter().all(|s| s.selects(|p| p.matches(resource)))
            && self.when.iter().all(&holds)
            && !self.unless.iter().any(&holds)
    }

    fn intersection(&self, other: &Self) -> Self {
        Self {
            actions: joined(&self.actions, &other.actions),
            resources: joined(&self.resources, &other.resources),
            when: &self.when | &other.when,
            unless: &self.unless | &other.unless,
            sources: self.sources.iter().chain(&other.sources).cloned().collect(),
        }
    }

    /// The part of the area that another one denies.
    fn denied_by(&self, denied: &Self) -> Self {
        Self { sources: self.sources.clone(), ..self.intersection(denied) }
    }

    /// Whether the areas are certainly disjoint, judged by single patterns.
    fn is_apart_from(&self, other: &Self) -> bool {
        are_apart(&self.actions, &other.actions)
            || are_apart(&self.resources, &other.resources)
            || self.when.iter().any(|atom| other.unless.contains(atom))
            || self.unless.iter().any(|atom| other.when.contains(atom))
    }

    fn is_contradictory(&self) -> bool {
        self.when.iter().any(|atom| self.unless.contains(atom))
    }
}

fn joined(a: &[Selector<Pattern>], b: &[Selector<Pattern>]) -> Vec<Selector<Pattern>> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|selector| !a.contains(selector)).cloned());
    all
}

fn are_apart(a: &[Selector<Pattern>], b: &[Selector<Pattern>]) -> bool {
    let apart = |one: &Selector<Pattern>, two: &Selector<Pattern>| match (one.inverted, two.inverted) {
        (false, false) => one.values.iter().all(|x| two.values.iter().all(|y| !x.overlaps(y))),
        (false, true) => one.values.iter().all(|x| two.values.iter().any(|y| y.includes(x))),
        (true, false) => two.values.iter().all(|x| one.values.iter().any(|y| y.includes(x))),
        (true, true) => false,
    };
    a.iter().any(|one| b.iter().any(|two| apart(one, two)))
}

/// Combines selectors that must all match into included and excluded patterns. Exact.
fn flatten(selectors: &[Selector<Pattern>]) -> (Vec<Pattern>, Vec<Pattern>) {
    let mut of = vec![Pattern::any()];
    let mut but = Vec::new();
    for selector in selectors {
        if selector.inverted {
            but.extend(selector.values.iter().cloned());
            continue;
        }
        let meet = of.iter().flat_map(|a| selector.values.iter().flat_map(|b| a.intersection(b)));
        of = widest(meet.collect());
    }
    but.retain(|left_out| of.iter().any(|pattern| pattern.overlaps(left_out)));
    let but = widest(but);
    of.retain(|pattern| !but.iter().any(|left_out| left_out.includes(pattern)));
    (of, but)
}

/// The patterns that no other pattern includes, sorted.
pub(super) fn widest(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    patterns.sort_unstable();
    patterns.dedup();
    let all = patterns.clone();
    patterns.retain(|pattern| !all.iter().any(|other| other != pattern && other.includes(pattern)));
    patterns
}

impl fmt::Display for Area {
    /// `s3:GetObject, s3:PutObject on arn:aws:s3:::b/* but not arn:aws:s3:::b/private/*, when ..., unless ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((actions, no_actions), (resources, no_resources)) = (self.actions(), self.resources());
        let spelled = |list: &[Pattern]| listed(list, |text| catalogue::spelling(&text).into_owned());
        let plain = |list: &[Pattern]| listed(list, |text| text);
        f.write_str(&spelled(&actions))?;
        if !no_actions.is_empty() {
            write!(f, " but not {}", spelled(&no_actions))?;
        }
        write!(f, " on {}", plain(&resources))?;
        if !no_resources.is_empty() {
            write!(f, " but not {}", plain(&no_resources))?;
        }
        for atom in &self.when {
            write!(f, ", when {atom}")?;
        }
        for atom in &self.unless {
            write!(f, ", unless {atom}")?;
        }
        Ok(())
    }
}

fn listed(patterns: &[Pattern], spell: impl Fn(String) -> String) -> String {
    let texts: Vec<String> = patterns.iter().map(|pattern| spell(pattern.to_string())).collect();
    texts.join(", ")
}

impl fmt::Display for AccessRegion {
    /// The area, and `except` with the excluded areas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.area.fmt(f)?;
        for except in &self.except {
            write!(f, ", except {except}")?;
        }
        Ok(())
    }
}

/// The included and excluded actions and resources of a region.
pub(super) struct RegionShape {
    actions: (Vec<Glob>, Vec<Glob>),
    resources: (Vec<Glob>, Vec<Glob>),
}

impl RegionShape {
    pub fn of(region: &AccessRegion) -> Self {
        let globs = |list: Vec<Pattern>, glob: fn(&Pattern) -> Glob| list.iter().map(glob).collect();
        let ((of, but), (on, not_on)) = (region.area.actions(), region.area.resources());
        Self {
            actions: (globs(of, Glob::whole), globs(but, Glob::whole)),
            resources: (globs(on, Glob::arn), globs(not_on, Glob::arn)),
        }
    }

    /// Whether this shape certainly includes another, judged by single patterns.
    fn includes(&self, other: &Self) -> bool {
        let covers = |(of, but): &(Vec<Glob>, Vec<Glob>), (inner, inner_but): &(Vec<Glob>, Vec<Glob>)| {
            inner.iter().all(|narrow| of.iter().any(|wide| wide.includes(narrow)))
                && but.iter().all(|left_out| inner_but.iter().any(|other| other.includes(left_out)))
        };
        covers(&self.actions, &other.actions) && covers(&self.resources, &other.resources)
    }
}

/// The maximum number of parts into which a region is divided.
const MOST_CELLS: usize = 256;

/// The reach of a caller: allowed areas without denied ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    allow: Vec<Area>,
    deny: Vec<Area>,
    known: KnownKeys,
}

/// A part of a difference: an area without others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRegion {
    pub area: Area,
    /// The excluded areas. Each overlaps the area.
    pub except: Vec<Area>,
    /// A request in the region; `None` if neither a request was found nor the proof that there is none.
    pub example: Option<Example>,
}

impl Reach {
    /// The same reach, for callers of which these keys are known.
    pub(super) fn for_callers(self, known: KnownKeys) -> Self {
        Self { known, ..self }
    }

    /// Whether a request is allowed, given which atoms hold.
    #[must_use]
    pub fn contains(&self, action: &str, resource: &str, holds: impl Fn(&Atom) -> bool + Copy) -> bool {
        self.allow.iter().any(|area| area.contains(action, resource, holds))
            && !self.deny.iter().any(|area| area.contains(action, resource, holds))
    }

    /// The areas of all statements.
    pub fn areas(&self) -> impl Iterator<Item = &Area> {
        self.allow.iter().chain(&self.deny)
    }

    /// The part of the reach within an area, for example on one bucket.
    #[must_use]
    pub fn within(&self, area: &Area) -> Self {
        let meet = |list: &[Area]| meet(list, std::slice::from_ref(area));
        Self { allow: meet(&self.allow), deny: meet(&self.deny), known: self.known.clone() }
    }

    /// Everything that is allowed: one region per area, without the denied ones. Regions may overlap.
    #[must_use]
    pub fn regions(&self) -> Vec<AccessRegion> {
        let region = |area| AccessRegion::new(&self.known, area, self.deny.iter(), &mut Budget::default());
        self.allow.iter().filter_map(region).collect()
    }

    /// The requests that this reach allows and `other` does not, because `other` has no Allow or has a Deny. Empty
    /// exactly if `other` allows all of them.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Vec<AccessRegion> {
        self.beyond(other).collect()
    }

    /// The regions of [`Reach::minus`] that were found within an amount of work. Once it is used up, the last region is
    /// one that was not decided.
    pub(super) fn minus_within(&self, other: &Self, work: &mut Budget) -> Vec<AccessRegion> {
        let mut regions = Vec::new();
        for area in &self.allow {
            let count = self.deny.len() + other.allow.len() + other.deny.len();
            if !work.spend(1 + count) {
                let undecided = AccessRegion { area: area.clone(), except: Vec::new(), example: None };
                regions.push(undecided);
                return regions;
            }
            regions.extend(AccessRegion::new(&self.known, area, self.deny.iter().chain(&other.allow), work));
            for denied in &other.deny {
                if !area.is_apart_from(denied) {
                    let both = area.denied_by(denied);
                    regions.extend(AccessRegion::new(&self.known, &both, self.deny.iter(), work));
                }
            }
        }
        regions
    }

    /// The regions of [`Reach::minus`], one by one.
    fn beyond<'r>(&'r self, other: &'r Self) -> impl Iterator<Item = AccessRegion> + 'r {
        self.allow.iter().flat_map(move |area| {
            let mut work = Budget::default();
            let not_allowed = AccessRegion::new(&self.known, area, self.deny.iter().chain(&other.allow), &mut work);
            let denied = other.deny.iter().filter_map(move |denied| {
                if area.is_apart_from(denied) {
                    return None;
                }
                AccessRegion::new(&self.known, &area.denied_by(denied), self.deny.iter(), &mut Budget::default())
            });
            not_allowed.into_iter().chain(denied)
        })
    }

    /// Whether this reach allows everything that `other` allows.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other.beyond(self).next().is_none()
    }
}

impl AccessRegion {
    /// The area without others; `None` if nothing remains.
    fn new<'a>(
        known: &KnownKeys,
        area: &Area,
        except: impl Iterator<Item = &'a Area>,
        work: &mut Budget,
    ) -> Option<Self> {
        if area.is_contradictory() {
            return None;
        }
        let overlapping = |other: &&Area| !other.is_contradictory() && !other.is_apart_from(area);
        let except: Vec<&Area> = except.filter(overlapping).collect();
        let example = match witness::decide(known, area, &except, work) {
            Solution::One(example) => Some(example),
            Solution::Nothing => return None,
            Solution::Unknown => None,
        };
        Some(Self { area: area.clone(), except: except.into_iter().cloned().collect(), example })
    }

    /// The parts of the region with one action pattern and one resource pattern each, without the empty ones. A region
    /// of a `NotAction` or `NotResource`, or of very many patterns, is its only part.
    #[must_use]
    pub(super) fn cells(&self, known: &KnownKeys, work: &mut Budget) -> Vec<Self> {
        let (actions, resources) = (self.area.actions().0, self.area.resources().0);
        let count = actions.len() * resources.len();
        if count <= 1 || count > MOST_CELLS || self.example.is_none() {
            return vec![self.clone()];
        }
        let mut cell = |action: &Pattern, resource: &Pattern| {
            let one = |pattern: &Pattern| vec![Selector { inverted: false, values: Box::new([pattern.clone()]) }];
            let inverted = |selectors: &[Selector<Pattern>]| -> Vec<Selector<Pattern>> {
                selectors.iter().filter(|selector| selector.inverted).cloned().collect()
            };
            let mut area = Area { actions: one(action), resources: one(resource), ..self.area.clone() };
            area.actions.extend(inverted(&self.area.actions));
            area.resources.extend(inverted(&self.area.resources));
            Self::new(known, &area, self.except.iter(), work)
        };
        let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
        pairs.filter_map(|(action, resource)| cell(action, resource)).collect()
    }

    /// Whether this region certainly includes another.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.includes_with(&RegionShape::of(self), other, &RegionShape::of(other))
    }

    /// Whether this region certainly includes another, given the shapes of both.
    pub(super) fn includes_with(&self, own: &RegionShape, other: &Self, shape: &RegionShape) -> bool {
        let apart = |except: &Area| except.is_apart_from(&other.area) || other.except.contains(except);
        self.area.when.is_subset(&other.area.when)
            && self.area.unless.is_subset(&other.area.unless)
            && own.includes(shape)
            && self.except.iter().all(apart)
    }

    /// Whether a request is in the region, given which atoms hold.
    #[must_use]
    pub fn contains(&self, action: &str, resource: &str, holds: impl Fn(&Atom) -> bool + Copy) -> bool {
        self.area.contains(action, resource, holds)
            && !self.except.iter().any(|area| area.contains(action, resource, holds))
    }
}

/// The intersection of two unions.
fn meet(a: &[Area], b: &[Area]) -> Vec<Area> {
    let mut areas = Vec::new();
    for one in a {
        for two in b {
            if !one.is_apart_from(two) {
                let both = one.intersection(two);
                // Comparing very many areas with each other would take longer than having some of them twice.
                if !both.is_contradictory() && (areas.len() > MOST_CELLS || !areas.contains(&both)) {
                    areas.push(both);
                }
            }
        }
    }
    areas
}

/// The reach of a request's caller in the request's circumstances, on resources like the one in the request: with the
/// same owner and the same resource policy, and a key or role if that one is.
///
/// Context keys decide conditions and substitute variables. If a key is unknown
/// ([`RequestContext::open`](super::RequestContext::open)), its condition remains in the result as an [`Atom`].
#[must_use]
pub fn reach(request: &Request, policies: &PolicySet) -> Reach {
    let scene = Scene::new(request, policies);
    let mut lists = Lists::default();
    scene.each(policies, |layer, attached| {
        for statement in &attached.policy.statements {
            let (truth, grant) = scene.principal(layer, statement);
            if truth != Truth::No {
                let applied = Applied { layer, policy: attached.name, statement, certain: truth == Truth::Yes, grant };
                lists.add(request, attached.policy, applied);
            }
        }
    });
    let allow = lists.allow(&scene, policies);
    Reach { allow, deny: lists.deny, known: KnownKeys::default() }
}

/// The areas of all statements that apply to the caller, by their role in the decision.
#[derive(Default)]
struct Lists {
    deny: Vec<Area>,
    allow: Vec<(Layer, CallerMatch, Area)>,
}

impl Lists {
    fn add(&mut self, request: &Request, policy: &Policy, applied: Applied) {
        for area in areas(request, policy, &applied) {
            match applied.statement.effect {
                Effect::Deny => self.deny.push(area),
                Effect::Allow => self.allow.push((applied.layer, applied.grant, area)),
            }
        }
    }

    fn of(&self, layer: Layer) -> Vec<Area> {
        self.allow.iter().filter(|(of, ..)| *of == layer).map(|(.., area)| area.clone()).collect()
    }

    fn granted(&self, wanted: CallerMatch) -> Vec<Area> {
        let fits = |layer: Layer, grant: CallerMatch| layer == Layer::Resource && grant == wanted;
        let granted = self.allow.iter().filter(|(layer, grant, _)| fits(*layer, *grant));
        granted.map(|(.., area)| area.clone()).collect()
    }

    /// The areas that all layers together allow, in the order of `Scene::decide`.
    fn allow(&self, scene: &Scene, policies: &PolicySet) -> Vec<Area> {
        let rules = Rules::of(scene.request);
        if rules.policy_rules && policies.resource.is_none() {
            return Vec::new();
        }
        let (direct, behind, account) =
            (self.granted(CallerMatch::Direct), self.granted(CallerMatch::Behind), self.granted(CallerMatch::Account));
        let everybody = || [direct.clone(), behind.clone(), account.clone()].concat();
        let all = vec![Area::everything()];
        let mut total = if let Some(own) = scene.caller.account() {
            let same_account = scene.request.owner().is_none_or(|owner| owner == own);
            let identity = match scene.caller {
                Caller::Root { .. } => all.clone(),
                _ => self.of(Layer::Identity),
            };
            let base = if !same_account {
                meet(&everybody(), &identity)
            } else if rules.policy_rules {
                [behind.clone(), meet(&account, &identity)].concat()
            } else {
                [behind.clone(), identity].concat()
            };
            let mut base = if scene.is_federated_without_session(policies) { Vec::new() } else { base };
            if scene.has_boundary {
                base = meet(&base, &self.of(Layer::Boundary));
            }
            if !policies.session.is_empty() {
                base = meet(&base, &self.of(Layer::Session));
            }
            if same_account { [direct, base].concat() } else { base }
        } else {
            everybody()
        };
        if scene.has_scps() {
            for level in 0..policies.scps.len() {
                total = meet(&total, &self.of(Layer::Scp { level }));
            }
        }
        if !policies.endpoint.is_empty() {
            total = meet(&total, &self.of(Layer::Endpoint));
        }
        total
    }
}

/// The areas of one statement: one for all plain resources, and one for each resource with an unknown variable.
fn areas(request: &Request, policy: &Policy, applied: &Applied) -> Vec<Area> {
    let statement = applied.statement;
    let context = &request.context;
    let mut base = Area::everything();
    base.sources.push(Source {
        layer: applied.layer,
        policy: applied.policy.to_owned(),
        position: statement.position(),
        sid: statement.sid().map(str::to_owned),
    });
    if !applied.certain {
        base.when.insert(Atom::NotPrincipal(applied.policy.into()));
    }
    for condition in &statement.condition {
        match matching::condition(condition, policy.version, context) {
            Truth::Yes => {}
            Truth::No => return Vec::new(),
            Truth::Maybe => {
                base.when.insert(Atom::Condition(condition.in_version_2012(policy.version)));
            }
        }
    }
    let fold = |action: &super::ActionPattern| Pattern::without_escapes(&action.as_str().to_ascii_lowercase());
    base.actions.push(Selector {
        inverted: statement.action.inverted,
        values: statement.action.values.iter().map(fold).collect(),
    });
    with_resources(request, policy, statement, applied.layer, base)
}

fn with_resources(request: &Request, policy: &Policy, statement: &Statement, layer: Layer, base: Area) -> Vec<Area> {
    let Some(resource) = &statement.resource else {
        return if layer == Layer::Resource { vec![base] } else { Vec::new() };
    };
    let mut plain = Vec::new();
    let mut open: Vec<(&str, Pattern)> = Vec::new();
    for text in &resource.values {
        match matching::resource_pattern(text, policy.version, &request.context) {
            Ok(pattern) => plain.push(pattern),
            Err(Unresolved::NoValue) => {}
            Err(Unresolved::Varies) => open.push((text, matching::widened(text))),
        }
    }
    if resource.inverted {
        let mut area = base;
        area.resources.push(Selector { inverted: true, values: plain.into() });
        area.unless.extend(open.into_iter().map(|(text, _)| Atom::Resource(text.into())));
        return vec![area];
    }
    let with = |pattern: Vec<Pattern>| {
        let mut area = base.clone();
        area.resources.push(Selector { inverted: false, values: pattern.into() });
        area
    };
    let mut areas = Vec::new();
    if !plain.is_empty() {
        areas.push(with(plain));
    }
    for (text, pattern) in open {
        let mut area = with(vec![pattern]);
        area.when.insert(Atom::Resource(text.into()));
        areas.push(area);
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::evaluate::Attached;
    use serde_json::{Value, json};

    fn policy(statements: &Value) -> Policy {
        Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
    }

    /// The reach of a role by these statements, with nothing else known.
    fn reach_of(statements: &Value) -> Reach {
        let policy = policy(statements);
        let mut request = Request::new("arn:aws:iam::111122223333:role/app", "s3:GetObject", "arn:aws:s3:::w/x");
        request.context = RequestContext::open();
        let identity = vec![Attached { name: "app", policy: &policy }];
        reach(&request.with_own_keys(), &PolicySet { identity, ..PolicySet::default() })
    }

    fn show(regions: &[AccessRegion]) -> Vec<String> {
        regions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wider_prefix_is_the_gain() {
        let before =
            reach_of(&json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::w/llama/v1/*"}));
        let after = reach_of(
            &json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::w/llama/*"}),
        );
        assert_eq!(
            show(&after.minus(&before)),
            ["s3:GetObject, s3:PutObject on arn:aws:s3:::w/llama/*, except s3:GetObject on arn:aws:s3:::w/llama/v1/*"]
        );
        assert!(before.minus(&after).is_empty());
        assert!(after.includes(&before) && !before.includes(&after));
        let on_v1 = Area::on(Pattern::new("arn:aws:s3:::w/llama/v1/*"));
        assert_eq!(
            show(&after.within(&on_v1).minus(&before)),
            [
                "s3:GetObject, s3:PutObject on arn:aws:s3:::w/llama/v1/*, except s3:GetObject on arn:aws:s3:::w/llama/v1/*"
            ]
        );
    }

    #[test]
    fn removed_deny_is_a_gain() {
        let allow = json!({"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::w/*"});
        let deny = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::w/private/*"});
        let (before, after) = (reach_of(&json!([allow, deny])), reach_of(&json!([allow])));
        assert_eq!(show(&after.minus(&before)), ["s3:Get* on arn:aws:s3:::w/private/*"]);
    }

    #[test]
    fn conditions_and_variables_stay() {
        let before = reach_of(&json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::w/*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/team": "red"}}}));
        let after = reach_of(&json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::w/*"}));
        assert_eq!(
            show(&after.minus(&before)),
            ["s3:GetObject on arn:aws:s3:::w/*, except s3:GetObject on arn:aws:s3:::w/*, \
              when aws:PrincipalTag/team StringEquals `red`"]
        );
        let home = reach_of(
            &json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::w/${aws:userid}/*"}),
        );
        assert_eq!(
            show(&home.regions()),
            ["s3:GetObject on arn:aws:s3:::w/*/*, when the resource matches `arn:aws:s3:::w/${aws:userid}/*`"]
        );
    }

    #[test]
    fn complementary_statements_cover_everything() {
        let whole = reach_of(&json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
        let parts = reach_of(&json!([
            {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::w/*"},
            {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::w/*"},
        ]));
        assert!(whole.minus(&parts).is_empty() && parts.minus(&whole).is_empty());
    }

    #[test]
    fn actions_can_be_listed() {
        let area = Area::of_actions(["s3:GetObject*Tagging", "sts:GetCallerIdentity"]);
        let names: Vec<String> =
            area.known_actions().iter().map(|(prefix, action)| format!("{prefix}:{}", action.name)).collect();
        assert_eq!(names, ["s3:GetObjectTagging", "s3:GetObjectVersionTagging", "sts:GetCallerIdentity"]);
    }
}
