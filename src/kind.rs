//! Resource kinds: the pure part of the central trait, and its type-erased form.
//!
//! A kind describes desired resources ([`Kind::desire`]) in the same type in which its I/O part returns live ones. The
//! rest of the core handles bodies only as [`Document`]s.

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

/// The body of a kind: one type for desired and live resources, canonical when built.
pub trait Body: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static> Body for T {}

/// The field of a live body with the unique id of the resource. It is never desired.
pub const UNIQUE_ID: &str = "unique_id";

/// The effect on a plan if the place of an object does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSilence {
    /// There is no plan.
    Fail,
    /// The plan leaves out the objects of the place and everything that depends on them, and reports them.
    LeaveOut,
}

/// The fate of an adopted object that is no longer desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Bailiwick deletes it like an object that it created, because it is only access that the spec granted.
    Delete,
    /// Bailiwick keeps it and removes the ownership tags.
    Forget,
}

/// The API of a kind, by name. It determines clients, request rates and shared reads. Providers may bring their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub &'static str);

/// The range within which an object's name is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// An account, with all its locations: the same name in another region is the same object.
    Account,
    /// A single location, such as a region or a cluster.
    Location,
}

/// How the API identifies an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// By the object's own name.
    Name,
    /// By an alias, which can be pointed at another object. [`UNIQUE_ID`] shows its target. Bailiwick never touches an
    /// object other than the one in the state.
    Alias,
}

/// An object that carries a project's ownership tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tagged {
    /// The object's scope.
    pub scope: Scope,
    /// The address in the tag, or an invented one.
    pub address: Address,
    /// The object's physical id.
    pub physical_id: String,
}

/// An object that may carry our documents or have parts of ours, from which the search for orphaned resources starts.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// The object's address.
    pub address: &'a Address,
    /// The object's account, region or cluster.
    pub scope: &'a Scope,
    /// The object's physical id.
    pub physical_id: &'a str,
}

/// A part of a [`Whole`] that may be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name in the part's address, after the kind.
    pub name: String,
    /// The part's physical id.
    pub physical_id: String,
    /// Another resource that must exist before the part.
    pub needs: Option<Address>,
}

/// How Bailiwick recognizes a project's objects after the state was lost.
#[derive(Clone, Copy, Debug)]
pub enum OwnedBy {
    /// By a tag, label or annotation on the object itself.
    Tags,
    /// By the Sids of the project's statements in a shared document.
    Statements {
        /// The kind of the object that carries the document.
        on: &'static str,
        /// The unmanaged objects of the spec, whose documents may contain our statements.
        unmanaged: fn(&Spec) -> Vec<(String, Scope, String)>,
    },
    /// By the object to which it belongs, because it cannot be tagged itself.
    Whole {
        /// The kind of that object.
        of: &'static str,
        /// The parts of that object that may be ours. `tagged` are all objects with the project's tag.
        parts: for<'a> fn(Whole<'a>, tagged: &[Tagged]) -> Vec<Part>,
    },
}

/// The consequence of losing an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It can be recreated.
    Recreate,
    /// Its contents would be lost. Bailiwick never replaces it, and a rebuilt state keeps it.
    Irreplaceable,
    /// Data that it protects would be lost. A flag must name it before it is deleted, and a rebuilt state keeps it.
    Named {
        /// The lost ability, to complete a sentence that starts with "afterwards".
        loss: &'static str,
    },
}

/// The meaning of a change outside Bailiwick, to a field or a whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldClass {
    /// Names, descriptions and tags.
    Cosmetic,
    /// A setting that does not affect access.
    Setting,
    /// Access.
    Access,
}

/// How a field can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// In place.
    InPlace,
    /// In place. If the spec no longer sets it, it returns to the API's default.
    Resets,
    /// Not at all: a change needs a replacement.
    Fixed,
    /// Not by Bailiwick: it is read and never desired.
    ReadOnly,
}

/// One field of a kind's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyField {
    /// Its name in the body.
    pub name: &'static str,
    /// The meaning of a change outside Bailiwick.
    pub class: FieldClass,
    /// How it can change.
    pub mutability: Mutability,
}

impl BodyField {
    /// A field that affects access and changes in place.
    #[must_use]
    pub const fn access(name: &'static str) -> Self {
        Self { name, class: FieldClass::Access, mutability: Mutability::InPlace }
    }

    /// A field that does not affect access and changes in place.
    #[must_use]
    pub const fn setting(name: &'static str) -> Self {
        Self { name, class: FieldClass::Setting, mutability: Mutability::InPlace }
    }

    /// A name or description, which changes in place.
    #[must_use]
    pub const fn cosmetic(name: &'static str) -> Self {
        Self { name, class: FieldClass::Cosmetic, mutability: Mutability::InPlace }
    }

    /// The same field, but it cannot change in place.
    #[must_use]
    pub const fn fixed(self) -> Self {
        Self { mutability: Mutability::Fixed, ..self }
    }

    /// The same field, but it returns to the API's default when the spec no longer sets it.
    #[must_use]
    pub const fn resets(self) -> Self {
        Self { mutability: Mutability::Resets, ..self }
    }

    /// The same field, but it is read-only.
    #[must_use]
    pub const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }
}

/// The declared properties of a kind. None has a default, so that a new kind must decide about each.
#[derive(Debug)]
pub struct About {
    /// The kind's name, such as `aws.iam.role`. This is the only place that contains it.
    pub name: &'static str,
    /// The kind's API.
    pub api: Api,
    /// The range within which names of its objects are unique.
    pub home: Home,
    /// How the API identifies its objects.
    pub named_by: NamedBy,
    /// How Bailiwick recognizes its own objects after the state was lost.
    pub owned_by: OwnedBy,
    /// The consequence of losing an object.
    pub on_loss: OnLoss,
    /// The effect on a plan if the place of an object does not respond.
    pub on_silence: OnSilence,
    /// The fate of an adopted object that is no longer desired.
    pub release: Release,
    /// The meaning of a deletion outside Bailiwick.
    pub presence: FieldClass,
    /// The fields of its body.
    pub fields: &'static [BodyField],
}

impl About {
    /// The declaration of a field, by its name in the body.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<&'static BodyField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The meaning of a change to a field outside Bailiwick. An undeclared field is treated as access.
    #[must_use]
    pub fn class(&self, field: &str) -> FieldClass {
        self.declared(field).map_or(FieldClass::Access, |field| field.class)
    }

    /// Whether a field has this mutability.
    #[must_use]
    pub fn is(&self, field: &str, mutability: Mutability) -> bool {
        self.declared(field).is_some_and(|field| field.mutability == mutability)
    }
}

#[cfg(test)]
impl About {
    /// A kind for tests: owned by tags, recreated when lost, without fields.
    pub(crate) const fn plain(name: &'static str) -> Self {
        Self {
            name,
            api: Api("test"),
            home: Home::Account,
            named_by: NamedBy::Name,
            owned_by: OwnedBy::Tags,
            on_loss: OnLoss::Recreate,
            on_silence: OnSilence::Fail,
            release: Release::Delete,
            presence: FieldClass::Access,
            fields: &[],
        }
    }
}

/// The pure part of a kind: desired resources and their meaning. It uses no client and no clock, and never awaits.
pub trait Kind: Send + Sync + 'static {
    /// The declared properties of the kind.
    const ABOUT: &'static About;
    /// Shorthand for the kind's name.
    const NAME: &'static str = Self::ABOUT.name;
    /// The type of desired and live bodies.
    type Body: Body;

    /// The scopes in which the spec may have objects of this kind.
    #[must_use]
    fn scopes(spec: &Spec) -> BTreeSet<Scope>;

    /// Adds the desired resources of this kind.
    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<Self::Body>);

    /// The meaning of an object for access. Worlds, lints, quotas and the lockout check use only this.
    #[must_use]
    fn facet(object: Instance<'_>) -> Facet<'_>;

    /// The place in the spec of an element in a statement of an object's policy. With `None`, the default, the object's
    /// whole entry is used.
    #[must_use]
    fn written(_spec: &Spec, _name: &str, _statement: &Statement, _element: &str) -> Option<SourceRef> {
        None
    }

    /// The physical id of the object of this kind that a principal's ARN names, if it names one.
    #[must_use]
    fn principal(_arn: &Arn) -> Option<String> {
        None
    }

    /// Another resource that an object of this kind needs, as far as its scope and physical id show. This orders
    /// orphaned resources, about which nothing else is known. None by default.
    #[must_use]
    fn needs(_scope: &Scope, _physical_id: &str) -> Option<Address> {
        None
    }

    /// The managed fields of the live body: by default, those that are desired or were applied last. `null` means that
    /// none is managed, which is treated as absent: the desired object is created, and nothing is deleted.
    #[must_use]
    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        Document::managed_fields(live, desired, last)
    }

    /// The body after a write: the live body merged with the managed fields.
    #[must_use]
    fn overlaid(live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document {
        Document::overlaid(live, before, after)
    }

    /// The body that remains after Bailiwick deletes its own part. None by default.
    #[must_use]
    fn remainder(_live: &Document, _before: Option<&Document>) -> Option<Document> {
        None
    }

    /// The body after Bailiwick releases the object. By default it is unchanged: ownership tags affect no access.
    #[must_use]
    fn released(live: &Document, _before: Option<&Document>) -> Document {
        live.clone()
    }

    /// The serialization group of a resource: the same text for all kinds that write to one bucket or one role. By
    /// default a resource has a group of its own.
    #[must_use]
    fn serialization_group(_physical_id: &str) -> Option<String> {
        None
    }

    /// Whether the body that is read back after a write equals the written one, apart from reset fields. A kind whose
    /// API resolves its input, such as an alias, overrides this.
    #[must_use]
    fn converged(written: &Document, shown: &Document) -> bool {
        Document::differences(written, shown)
            .iter()
            .all(|d| d.before.is_none() && Self::ABOUT.is(d.path.as_str(), Mutability::Resets))
    }
}

/// A dependency on another resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reference {
    /// The resource that must exist first.
    #[schemars(with = "String")]
    pub to: Address,
    /// Whether this resource is a part of the other and cannot outlive it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
}

/// One desired resource, as its kind describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredResource<B> {
    /// The name in its address, after the kind.
    pub name: String,
    /// The resource's account, region or cluster.
    pub scope: Scope,
    /// The physical id: a role name, a bucket name, an ARN, `cluster/namespace/name`.
    pub physical_id: String,
    /// The desired body.
    pub body: B,
    /// The resources that must exist first.
    pub references: Vec<Reference>,
    /// What happens when the resource is no longer desired.
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace the resource are refused.
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

    /// Adds a dependency on another resource.
    #[must_use]
    pub fn after<K: Kind>(mut self, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(K::NAME, name), part: false });
        self
    }

    /// Makes this a part of another resource.
    #[must_use]
    pub fn part_of<K: Kind>(mut self, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(K::NAME, name), part: true });
        self
    }

    /// The same resource with its full address, and its body as a document.
    fn erased(self, address: Address, body: Document) -> Resource {
        let Self { name: _, scope, physical_id, body: _, references, on_destroy, protect, source } = self;
        Resource { address, scope, physical_id, body, references, on_destroy, protect, source }
    }

    /// Sets the place in the spec.
    #[must_use]
    pub fn at(mut self, source: Option<SourceRef>) -> Self {
        self.source = source;
        self
    }
}

/// Collects the desired resources of one kind, and problems with them.
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

    /// Records an object with `managed: false`. Bailiwick keeps it even if it created it.
    pub fn unmanaged(&mut self, scope: Scope, physical_id: impl Into<String>) {
        self.unmanaged.push((scope, physical_id.into()));
    }

    /// Reports a problem that prevents a resource from being created.
    pub fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }
}

/// The action on one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<B> {
    /// Create it.
    Create {
        /// The desired body.
        after: B,
    },
    /// Update it in place.
    Update {
        /// The live values of the managed fields.
        before: B,
        /// The desired body.
        after: B,
        /// The paths of the fields that differ.
        changed: Vec<FieldPath>,
    },
    /// Delete it, or the project's part of it.
    Delete {
        /// The live values of the managed fields.
        before: B,
    },
    /// Remove the ownership tags and keep it.
    Release {
        /// The live values of the managed fields.
        before: B,
    },
}

impl<B> Action<B> {
    /// The desired body, if the resource exists afterwards.
    pub fn after(&self) -> Option<&B> {
        match self {
            Self::Create { after } | Self::Update { after, .. } => Some(after),
            Self::Delete { .. } | Self::Release { .. } => None,
        }
    }

    /// The managed fields before the action, if the resource exists.
    pub fn before(&self) -> Option<&B> {
        match self {
            Self::Create { .. } => None,
            Self::Update { before, .. } | Self::Delete { before } | Self::Release { before } => Some(before),
        }
    }

    /// Whether the action changes a field. A creation changes all fields.
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
    /// The resource's address.
    pub address: Address,
    /// The resource's account, region or cluster.
    pub scope: Scope,
    /// The physical id.
    pub physical_id: String,
    /// The desired body.
    pub body: Document,
    /// The resources that must exist first.
    pub references: Vec<Reference>,
    /// What happens when the resource is no longer desired.
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace the resource are refused.
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

/// The result of a kind for a spec.
#[derive(Clone, Debug, Default)]
pub struct Desires {
    /// The desired resources.
    pub resources: Vec<Resource>,
    /// The objects with `managed: false`, by scope and physical id.
    pub unmanaged: Vec<(Scope, String)>,
    /// The problems.
    pub problems: Vec<Diagnostic>,
}

/// The type-erased form of a kind's pure part.
pub trait AnyKind: Send + Sync {
    /// The declared properties of the kind.
    fn about(&self) -> &'static About;
    /// See [`Kind::scopes`].
    fn scopes(&self, spec: &Spec) -> BTreeSet<Scope>;
    /// See [`Kind::desire`]. Bodies are documents.
    fn desire(&self, spec: &Spec, facts: &Facts, chains: &Chains) -> Desires;
    /// See [`Kind::facet`].
    fn facet<'b>(&self, object: Instance<'b>) -> Facet<'b>;
    /// See [`Kind::written`].
    fn written(&self, spec: &Spec, name: &str, statement: &Statement, element: &str) -> Option<SourceRef>;
    /// See [`Kind::principal`].
    fn principal(&self, arn: &Arn) -> Option<String>;
    /// See [`Kind::needs`].
    fn needs(&self, scope: &Scope, physical_id: &str) -> Option<Address>;
    /// See [`Kind::overlaid`].
    fn overlaid(&self, live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document;
    /// See [`Kind::remainder`].
    fn remainder(&self, live: &Document, before: Option<&Document>) -> Option<Document>;
    /// See [`Kind::released`].
    fn released(&self, live: &Document, before: Option<&Document>) -> Document;
    /// See [`Kind::managed_fields`].
    fn managed_fields(&self, live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document;
    /// See [`Kind::serialization_group`].
    fn serialization_group(&self, physical_id: &str) -> Option<String>;
    /// See [`Kind::converged`].
    fn converged(&self, written: &Document, shown: &Document) -> bool;
}

/// A kind with its type erased.
pub struct Erased<K>(PhantomData<K>);

impl<K> Erased<K> {
    /// The only value.
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
                    Diagnostic::new(Code::BodyNotSerializable, format!("{address} has no document form: {error}"))
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
    /// The kind with this name. States and plans of other versions may have kinds that this version does not know.
    #[must_use]
    pub fn get(&self, name: &KindName) -> Option<&'k dyn AnyKind> {
        self.0.get(name.as_str()).copied()
    }

    /// The declared properties of a kind.
    #[must_use]
    pub fn about(&self, name: &KindName) -> Option<&'static About> {
        self.get(name).map(AnyKind::about)
    }

    /// The meaning of an object for access. An unknown kind has none.
    #[must_use]
    pub fn facet<'b>(&self, kind: &KindName, object: Instance<'b>) -> Facet<'b> {
        self.get(kind).map_or(Facet::None, |kind| kind.facet(object))
    }

    /// Every kind, sorted by name.
    pub fn all(&self) -> impl Iterator<Item = &'k dyn AnyKind> {
        self.0.values().copied()
    }
}
