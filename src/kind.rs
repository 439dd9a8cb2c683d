//! What a resource kind is: the pure half of the central trait, and its erased form.
//!
//! A kind says what should exist ([`Kind::desire`]) in the same type in which its I/O half reports what does exist.
//! The rest of the core sees bodies as [`Document`]s only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::{Chains, Facet, Instance};
use crate::address::{Address, KindName, Scope};
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::document::{Document, FieldPath};
use crate::iam::{Arn, Statement};
use crate::spec::{Facts, OnDestroy, Spec};

/// A kind's body: one type for what is desired and what is live, canonical when built.
pub trait Body: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static> Body for T {}

/// The field of a live body that holds the id that the service gave the resource and never reuses. Never desired.
pub const UNIQUE_ID: &str = "unique_id";

/// What becomes of an object that existed before it was managed, once it is no longer desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Bailiwick deletes it like one that it created: it is nothing but access that the spec gave.
    Delete,
    /// It stays, without our ownership tags.
    Forget,
}

/// The API that a kind belongs to, by name: who keeps clients, rates and shared reads. Any provider may bring its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub &'static str);

/// How far the name of an object reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// One name in all locations of an account: another region means the same object.
    Account,
    /// One name in one location, such as a region or a cluster.
    Location,
}

/// How the API knows an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// By a name of its own.
    Name,
    /// By an alias, which can be pointed at another object. [`UNIQUE_ID`] tells what it points at: Bailiwick never
    /// touches another object than the one that the state knows.
    Alias,
}

/// An object that carries a project's ownership tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tagged {
    /// Where it is.
    pub scope: Scope,
    /// The address that its tag gives, or a made-up one.
    pub address: Address,
    /// The API's name.
    pub physical_id: String,
}

/// An object that may carry documents or parts of ours: what the search for orphans starts from.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Its address.
    pub address: &'a Address,
    /// Its account, region or cluster.
    pub scope: &'a Scope,
    /// The name by which its API knows it.
    pub physical_id: &'a str,
}

/// A part of a [`Whole`] that may be ours: the name in its address, its physical id, and what else it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part of its address after the kind.
    pub name: String,
    /// The name by which its API knows it.
    pub physical_id: String,
    /// What else must exist before it.
    pub needs: Option<Address>,
}

/// How Bailiwick recognizes that an object belongs to a project when the state is lost.
#[derive(Clone, Copy, Debug)]
pub enum OwnedBy {
    /// By a tag, label or annotation on the object itself.
    Tags,
    /// By the Sids of our statements in a document that others share. `on` is the kind of the object that carries it.
    Statements {
        /// The kind of the object that carries the document.
        on: &'static str,
        /// Objects that the spec names without managing them, whose documents may hold statements of ours.
        unmanaged: fn(&Spec) -> Vec<(String, Scope, String)>,
    },
    /// By the object that it is a part of: it cannot be tagged.
    Whole {
        /// The kind of that object.
        of: &'static str,
        /// The parts of that object which may be ours. `tagged` are all objects that carry the project's tag.
        parts: for<'a> fn(Whole<'a>, tagged: &[Tagged]) -> Vec<Part>,
    },
}

/// What it means to lose an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It can be created again.
    Recreate,
    /// Its contents would be lost: Bailiwick never replaces it, and a rebuilt state keeps it.
    Irreplaceable,
    /// Data that it protects would be lost: deleting it must be allowed by name, and a rebuilt state keeps it.
    Named {
        /// What is then impossible, as the end of "afterwards ...".
        loss: &'static str,
    },
}

/// What it means that a field, or a whole object, was changed outside Bailiwick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldClass {
    /// Names, descriptions and tags.
    Cosmetic,
    /// A setting that decides no access.
    Setting,
    /// Access.
    Access,
}

/// How a field changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// In place.
    InPlace,
    /// In place, and it always has a value: one that the spec no longer names goes back to the API's default.
    Resets,
    /// Never: a change is a replacement.
    Fixed,
    /// It is only read, and never desired.
    ReadOnly,
}

/// One field of a kind's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyField {
    /// Its name in the body.
    pub name: &'static str,
    /// What a change outside means.
    pub class: FieldClass,
    /// How it changes.
    pub mutability: Mutability,
}

impl BodyField {
    /// A field that decides who can reach what, and changes in place.
    #[must_use]
    pub const fn access(name: &'static str) -> Self {
        Self { name, class: FieldClass::Access, mutability: Mutability::InPlace }
    }

    /// A field that decides no access, and changes in place.
    #[must_use]
    pub const fn setting(name: &'static str) -> Self {
        Self { name, class: FieldClass::Setting, mutability: Mutability::InPlace }
    }

    /// A name or description, which changes in place.
    #[must_use]
    pub const fn cosmetic(name: &'static str) -> Self {
        Self { name, class: FieldClass::Cosmetic, mutability: Mutability::InPlace }
    }

    /// The same field, which cannot change in place.
    #[must_use]
    pub const fn fixed(self) -> Self {
        Self { mutability: Mutability::Fixed, ..self }
    }

    /// The same field, which goes back to the API's default when the spec no longer names it.
    #[must_use]
    pub const fn resets(self) -> Self {
        Self { mutability: Mutability::Resets, ..self }
    }

    /// The same field, which is only read.
    #[must_use]
    pub const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }
}

/// Everything that the core may know of a kind. Nothing has a default: a new kind does not compile until all is decided.
#[derive(Debug)]
pub struct About {
    /// The kind's name, such as `aws.iam.role`. It is written here and nowhere else.
    pub name: &'static str,
    /// The API that it belongs to.
    pub api: Api,
    /// How far the names of its objects reach.
    pub home: Home,
    /// How the API knows its objects.
    pub named_by: NamedBy,
    /// How Bailiwick recognizes its own when the state is lost.
    pub owned_by: OwnedBy,
    /// What it means to lose one.
    pub on_loss: OnLoss,
    /// What becomes of an adopted one that is no longer desired.
    pub release: Release,
    /// What it means that one was deleted outside.
    pub presence: FieldClass,
    /// The fields of its body.
    pub fields: &'static [BodyField],
}

impl About {
    /// What is known of a field, by its name in the body.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<&'static BodyField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What it means that a field was changed outside. A field that the kind does not declare counts as access.
    #[must_use]
    pub fn class(&self, field: &str) -> FieldClass {
        self.declared(field).map_or(FieldClass::Access, |field| field.class)
    }

    /// Whether a field changes in this way.
    #[must_use]
    pub fn is(&self, field: &str, mutability: Mutability) -> bool {
        self.declared(field).is_some_and(|field| field.mutability == mutability)
    }
}

#[cfg(test)]
impl About {
    /// A made-up kind for tests: owned by tags, created again when lost, without fields.
    pub(crate) const fn plain(name: &'static str) -> Self {
        Self {
            name,
            api: Api("test"),
            home: Home::Account,
            named_by: NamedBy::Name,
            owned_by: OwnedBy::Tags,
            on_loss: OnLoss::Recreate,
            release: Release::Delete,
            presence: FieldClass::Access,
            fields: &[],
        }
    }
}

/// Pure half: what should exist. No client, no clock, no await.
pub trait Kind: Send + Sync + 'static {
    /// Everything that the core may know of the kind.
    const ABOUT: &'static About;
    /// The kind's name, for short.
    const NAME: &'static str = Self::ABOUT.name;
    /// What is desired and what is live.
    type Body: Body;

    /// Where objects of this kind may live, as far as the spec names places.
    #[must_use]
    fn scopes(spec: &Spec) -> BTreeSet<Scope>;

    /// Adds the desired resources of this kind.
    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<Self::Body>);

    /// What an object of this kind says about access. Worlds, lints, quotas and lock-outs read nothing else of it.
    #[must_use]
    fn facet(object: Instance<'_>) -> Facet<'_>;

    /// Where in the spec a statement of an object's policy was written, with the path of the element in it. By default
    /// nowhere in particular: then its entry stands for it.
    #[must_use]
    fn written(_spec: &Spec, _name: &str, _statement: &Statement, _element: &str) -> Option<SourceRef> {
        None
    }

    /// The physical id of the object of this kind that a principal's ARN names, if it names one.
    #[must_use]
    fn principal(_arn: &Arn) -> Option<String> {
        None
    }

    /// What else an object of this kind needs, as its place and its physical id show. It orders orphans, of which nothing
    /// else is known. By default nothing.
    #[must_use]
    fn needs(_scope: &Scope, _physical_id: &str) -> Option<Address> {
        None
    }

    /// What of the live body is ours to judge. By default: the fields that are desired or were applied last time.
    /// `null` means that nothing of it is, which counts as absent: what is desired is created, and nothing is deleted.
    #[must_use]
    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        Document::managed_fields(live, desired, last)
    }

    /// What is there after a write: what others have in the live body, with ours over it.
    #[must_use]
    fn overlaid(live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document {
        Document::overlaid(live, before, after)
    }

    /// What is there after Bailiwick deleted its own part. By default nothing.
    #[must_use]
    fn remainder(_live: &Document, _before: Option<&Document>) -> Option<Document> {
        None
    }

    /// What is there after Bailiwick released the object. By default the whole of it: its ownership tags decide nothing.
    #[must_use]
    fn released(live: &Document, _before: Option<&Document>) -> Document {
        live.clone()
    }

    /// What takes one write at a time: kinds that write to one bucket or one role call it alike. By default nothing but
    /// the resource itself does.
    #[must_use]
    fn serialization_group(_physical_id: &str) -> Option<String> {
        None
    }

    /// Whether what reads back after a write is what was written. By default: if nothing differs but fields that were
    /// reset. A kind whose API resolves what it is given, such as an alias, says so here.
    #[must_use]
    fn converged(written: &Document, shown: &Document) -> bool {
        Document::differences(written, shown)
            .iter()
            .all(|d| d.before.is_none() && Self::ABOUT.is(d.path.as_str(), Mutability::Resets))
    }
}

/// How a resource depends on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reference {
    /// What must exist first.
    #[schemars(with = "String")]
    pub to: Address,
    /// Whether this is a part of the other resource and cannot outlive it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
}

/// One resource that should exist, as its kind describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredResource<B> {
    /// The part of its address after the kind.
    pub name: String,
    /// Its account, region or cluster.
    pub scope: Scope,
    /// The name by which its API knows it: a role name, a bucket name, an ARN, `cluster/namespace/name`.
    pub physical_id: String,
    /// What it should be.
    pub body: B,
    /// What must exist first.
    pub references: Vec<Reference>,
    /// What happens when it is no longer desired.
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace it are refused.
    pub protect: bool,
    /// The place in the spec.
    pub source: Option<SourceRef>,
}

impl<B> DesiredResource<B> {
    /// A resource that is deleted when it is no longer desired, depends on nothing and is not protected.
    #[must_use]
    pub fn new(name: impl Into<String>, scope: Scope, physical_id: impl Into<String>, body: B) -> Self {
        Self {
            name: name.into(),
            scope,
            physical_id: physical_id.into(),
            body,
            references: Vec::new(),
            on_destroy: OnDestroy::Delete,
            protect: false,
            source: None,
        }
    }

    /// The same, which needs another resource to exist first.
    #[must_use]
    pub fn after<K: Kind>(mut self, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(K::NAME, name), part: false });
        self
    }

    /// The same, as a part of another resource.
    #[must_use]
    pub fn part_of<K: Kind>(mut self, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(K::NAME, name), part: true });
        self
    }

    /// The same under its full address, with its body as a document.
    fn erased(self, address: Address, body: Document) -> Resource {
        let Self { name: _, scope, physical_id, body: _, references, on_destroy, protect, source } = self;
        Resource { address, scope, physical_id, body, references, on_destroy, protect, source }
    }

    /// The same, with its place in the spec.
    #[must_use]
    pub fn at(mut self, source: Option<SourceRef>) -> Self {
        self.source = source;
        self
    }
}

/// Collects the desired resources of one kind, and what is wrong with them.
#[derive(Debug)]
pub struct DesiredResources<B> {
    resources: Vec<DesiredResource<B>>,
    unmanaged: Vec<(Scope, String)>,
    problems: Vec<Diagnostic>,
}

impl<B> Default for DesiredResources<B> {
    fn default() -> Self {
        Self { resources: Vec::new(), unmanaged: Vec::new(), problems: Vec::new() }
    }
}

impl<B> DesiredResources<B> {
    /// Adds a resource.
    pub fn add(&mut self, resource: DesiredResource<B>) {
        self.resources.push(resource);
    }

    /// Names an object that exists elsewhere (`managed: false`): what we once created of it stays.
    pub fn unmanaged(&mut self, scope: Scope, physical_id: impl Into<String>) {
        self.unmanaged.push((scope, physical_id.into()));
    }

    /// Reports something that makes the resource impossible.
    pub fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }
}

/// What to do with one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<B> {
    /// Make it.
    Create {
        /// The desired body.
        after: B,
    },
    /// Change it in place.
    Update {
        /// The managed fields as they are now.
        before: B,
        /// The desired body.
        after: B,
        /// The paths that differ.
        changed: Vec<FieldPath>,
    },
    /// Delete it, or our part of it.
    Delete {
        /// What it is.
        before: B,
    },
    /// Remove our ownership tags, and leave it.
    Release {
        /// What it is.
        before: B,
    },
}

impl<B> Action<B> {
    /// The body that shall exist afterwards.
    pub fn after(&self) -> Option<&B> {
        match self {
            Self::Create { after } | Self::Update { after, .. } => Some(after),
            Self::Delete { .. } | Self::Release { .. } => None,
        }
    }

    /// The body that exists before.
    pub fn before(&self) -> Option<&B> {
        match self {
            Self::Create { .. } => None,
            Self::Update { before, .. } | Self::Delete { before } | Self::Release { before } => Some(before),
        }
    }

    /// Whether a path is among the changed ones, or everything is new.
    pub fn touches(&self, field: &str) -> bool {
        match self {
            Self::Create { .. } => true,
            Self::Update { changed, .. } => changed.iter().any(|p| p.field() == field),
            Self::Delete { .. } | Self::Release { .. } => false,
        }
    }
}

/// A desired resource of any kind, with its body as a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its name.
    pub address: Address,
    /// Its account, region or cluster.
    pub scope: Scope,
    /// The name by which its API knows it.
    pub physical_id: String,
    /// What it should be.
    pub body: Document,
    /// What must exist first.
    pub references: Vec<Reference>,
    /// What happens when it is no longer desired.
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace it are refused.
    pub protect: bool,
    /// The place in the spec.
    pub source: Option<SourceRef>,
}

impl Resource {
    /// A resource that is deleted when it is no longer desired, depends on nothing and is not protected.
    #[must_use]
    pub fn new(address: Address, scope: Scope, physical_id: impl Into<String>, body: Document) -> Self {
        DesiredResource::new("", scope, physical_id, ()).erased(address, body)
    }

    /// The desired object.
    #[must_use]
    pub fn object(&self) -> Instance<'_> {
        Instance { scope: &self.scope, physical_id: &self.physical_id, body: &self.body }
    }
}

/// What a kind says about a spec.
#[derive(Clone, Debug, Default)]
pub struct Desires {
    /// What should exist.
    pub resources: Vec<Resource>,
    /// What exists elsewhere, by scope and physical id.
    pub unmanaged: Vec<(Scope, String)>,
    /// What makes it impossible.
    pub problems: Vec<Diagnostic>,
}

/// The erased form of a kind's pure half.
pub trait AnyKind: Send + Sync {
    /// Everything that the core may know of the kind.
    fn about(&self) -> &'static About;
    /// As [`Kind::scopes`].
    fn scopes(&self, spec: &Spec) -> BTreeSet<Scope>;
    /// As [`Kind::desire`], with bodies as documents.
    fn desire(&self, spec: &Spec, facts: &Facts, chains: &Chains) -> Desires;
    /// As [`Kind::facet`].
    fn facet<'b>(&self, object: Instance<'b>) -> Facet<'b>;
    /// As [`Kind::written`].
    fn written(&self, spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef>;
    /// As [`Kind::principal`].
    fn principal(&self, arn: &Arn) -> Option<String>;
    /// As [`Kind::needs`].
    fn needs(&self, scope: &Scope, physical_id: &str) -> Option<Address>;
    /// As [`Kind::overlaid`].
    fn overlaid(&self, live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document;
    /// As [`Kind::remainder`].
    fn remainder(&self, live: &Document, before: Option<&Document>) -> Option<Document>;
    /// As [`Kind::released`].
    fn released(&self, live: &Document, before: Option<&Document>) -> Document;
    /// As [`Kind::managed_fields`].
    fn managed_fields(&self, live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document;
    /// As [`Kind::serialization_group`].
    fn serialization_group(&self, physical_id: &str) -> Option<String>;
    /// As [`Kind::converged`].
    fn converged(&self, written: &Document, shown: &Document) -> bool;
}

/// A kind without its type.
pub struct Erased<K>(PhantomData<K>);

impl<K> Erased<K> {
    /// The kind.
    pub const NEW: Self = Self(PhantomData);
}

impl<K: Kind> AnyKind for Erased<K> {
    fn about(&self) -> &'static About {
        K::ABOUT
    }

    fn scopes(&self, spec: &Spec) -> BTreeSet<Scope> {
        K::scopes(spec)
    }

    fn desire(&self, spec: &Spec, facts: &Facts, chains: &Chains) -> Desires {
        let mut resources = DesiredResources::default();
        K::desire(spec, facts, chains, &mut resources);
        let DesiredResources { resources, unmanaged, problems } = resources;
        let mut asked = Desires { resources: Vec::with_capacity(resources.len()), unmanaged, problems };
        for resource in resources {
            let address = Address::new(K::NAME, resource.name.clone());
            match Document::of(&resource.body) {
                Ok(body) => asked.resources.push(resource.erased(address, body)),
                Err(error) => asked.problems.push(
                    Diagnostic::new(Code::BodyNotSerialisable, format!("{address} has no document form: {error}"))
                        .at(resource.source),
                ),
            }
        }
        asked
    }

    fn facet<'b>(&self, object: Instance<'b>) -> Facet<'b> {
        K::facet(object)
    }

    fn written(&self, spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef> {
        K::written(spec, name, statement, element)
    }

    fn principal(&self, arn: &Arn) -> Option<String> {
        K::principal(arn)
    }

    fn needs(&self, scope: &Scope, physical_id: &str) -> Option<Address> {
        K::needs(scope, physical_id)
    }

    fn overlaid(&self, live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document {
        K::overlaid(live, before, after)
    }

    fn remainder(&self, live: &Document, before: Option<&Document>) -> Option<Document> {
        K::remainder(live, before)
    }

    fn released(&self, live: &Document, before: Option<&Document>) -> Document {
        K::released(live, before)
    }

    fn managed_fields(&self, live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        K::managed_fields(live, desired, last)
    }

    fn serialization_group(&self, physical_id: &str) -> Option<String> {
        K::serialization_group(physical_id)
    }

    fn converged(&self, written: &Document, shown: &Document) -> bool {
        K::converged(written, shown)
    }
}

/// All kinds, by name.
#[derive(Clone, Default)]
pub struct Kinds<'k>(BTreeMap<&'static str, &'k dyn AnyKind>);

impl fmt::Debug for Kinds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'k> FromIterator<&'k dyn AnyKind> for Kinds<'k> {
    fn from_iter<I: IntoIterator<Item = &'k dyn AnyKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().map(|kind| (kind.about().name, kind)).collect())
    }
}

impl<'k> Kinds<'k> {
    /// A kind by its name. States and plans of other versions may name kinds that this one does not know.
    #[must_use]
    pub fn get(&self, name: &KindName) -> Option<&'k dyn AnyKind> {
        self.0.get(name.as_str()).copied()
    }

    /// What the core may know of a kind.
    #[must_use]
    pub fn about(&self, name: &KindName) -> Option<&'static About> {
        self.get(name).map(AnyKind::about)
    }

    /// What an object says about access. A kind that this version does not know says nothing.
    #[must_use]
    pub fn facet<'b>(&self, kind: &KindName, object: Instance<'b>) -> Facet<'b> {
        self.get(kind).map_or(Facet::None, |kind| kind.facet(object))
    }

    /// Every kind, in the order of names.
    pub fn all(&self) -> impl Iterator<Item = &'k dyn AnyKind> {
        self.0.values().copied()
    }
}
