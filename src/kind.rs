//! What a resource kind is: the pure half of the central trait, and its erased form.
//!
//! A kind says what should exist ([`Kind::desire`]) in the same type in which its I/O half reports what does exist.
//! The rest of the core sees bodies as [`Document`]s only.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::Chains;
use crate::address::{Address, Scope};
use crate::diagnostic::{Diagnostic, SourceRef};
use crate::document::{Document, FieldPath};
use crate::spec::{Facts, OnDestroy, Spec};

/// A kind's body: one type for what is desired and what is live, canonical when built.
pub trait Body: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static> Body for T {}

/// The field of a live body that holds the id which the service gave the thing and never gives again. Never desired.
pub const UNIQUE_ID: &str = "unique_id";

/// What becomes of a thing that existed before it was managed, once it is no longer desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is deleted like one that we made: it is nothing but access that the spec gave.
    Delete,
    /// It stays, without our marks.
    Forget,
}

/// Pure half: what should exist. No client, no clock, no await.
pub trait Kind: Send + Sync + 'static {
    /// The kind's name: `aws.iam.role`.
    const NAME: &'static str;
    /// Fields that cannot change in place: a change here is a replacement.
    const IMMUTABLE: &'static [&'static str] = &[];
    /// What happens to an adopted thing that is no longer desired.
    const RELEASE: Release = Release::Delete;
    /// Fields that always have a value: one that the spec no longer names goes back to what the API sets by default.
    const RESETS: &'static [&'static str] = &[];
    /// Whether the physical id is an alias, which somebody can point at another thing. What it points at is told by
    /// [`UNIQUE_ID`]: another one than the state knows is never touched.
    const ALIASED: bool = false;
    /// What is desired and what is live.
    type Body: Body;

    /// Wishes for everything of this kind that the spec asks for.
    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, want: &mut Wanted<Self::Body>);

    /// What of the live body is ours to judge. By default: the fields that are desired or were applied last time.
    /// `null` means that nothing of it is, which counts as absent: what is desired is created, and nothing is deleted.
    #[must_use]
    fn claimed(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        Document::claimed(live, desired, last)
    }

    /// What takes one write at a time: kinds that write to one bucket or one role call it alike. By default nothing but
    /// the thing itself does.
    #[must_use]
    fn turn(_physical_id: &str) -> Option<String> {
        None
    }

    /// Whether what reads back after a write is what was written. By default: if nothing differs but fields that were
    /// reset. A kind whose API resolves what it is given, such as an alias, says so here.
    #[must_use]
    fn settled(written: &Document, shown: &Document) -> bool {
        Document::differences(written, shown)
            .iter()
            .all(|d| d.before.is_none() && Self::RESETS.contains(&d.path.as_str()))
    }
}

/// How one wished-for thing depends on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reference {
    /// What must exist first.
    #[schemars(with = "String")]
    pub to: Address,
    /// Whether this is a part of the other thing, which cannot outlive it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
}

/// One thing that should exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish<B> {
    /// The part of its address after the kind.
    pub name: String,
    /// Where it lives.
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
    /// Where the spec asks for it.
    pub source: Option<SourceRef>,
}

impl<B> Wish<B> {
    /// A wish that is deleted when it is no longer desired, depends on nothing and is not protected.
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

    /// The same, after another thing.
    #[must_use]
    pub fn after(mut self, kind: &'static str, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(kind, name), part: false });
        self
    }

    /// The same, as a part of another thing.
    #[must_use]
    pub fn part_of(mut self, kind: &'static str, name: &str) -> Self {
        self.references.push(Reference { to: Address::new(kind, name), part: true });
        self
    }

    /// The same, with its place in the spec.
    #[must_use]
    pub fn at(mut self, source: Option<SourceRef>) -> Self {
        self.source = source;
        self
    }
}

/// Collects the wishes of one kind, and what it has to say about the spec.
#[derive(Debug)]
pub struct Wanted<B> {
    wishes: Vec<Wish<B>>,
    problems: Vec<Diagnostic>,
}

impl<B> Default for Wanted<B> {
    fn default() -> Self {
        Self { wishes: Vec::new(), problems: Vec::new() }
    }
}

impl<B> Wanted<B> {
    /// Adds a wish.
    pub fn add(&mut self, wish: Wish<B>) {
        self.wishes.push(wish);
    }

    /// Reports something that makes the wish impossible.
    pub fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }
}

/// What is to be done to one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<B> {
    /// Make it.
    Create {
        /// What it shall be.
        after: B,
    },
    /// Change it in place.
    Update {
        /// What it is, as far as it is ours.
        before: B,
        /// What it shall be.
        after: B,
        /// The paths that differ.
        changed: Vec<FieldPath>,
    },
    /// Remove it, or our part of it.
    Delete {
        /// What it is.
        before: B,
        /// Whether it existed before it was managed: then only our part is removed.
        adopted: bool,
    },
}

impl<B> Action<B> {
    /// The body that shall exist afterwards.
    pub fn after(&self) -> Option<&B> {
        match self {
            Self::Create { after } | Self::Update { after, .. } => Some(after),
            Self::Delete { .. } => None,
        }
    }

    /// The body that exists before.
    pub fn before(&self) -> Option<&B> {
        match self {
            Self::Create { .. } => None,
            Self::Update { before, .. } | Self::Delete { before, .. } => Some(before),
        }
    }

    /// Whether a path is among the changed ones, or everything is new.
    pub fn touches(&self, field: &str) -> bool {
        match self {
            Self::Create { .. } => true,
            Self::Update { changed, .. } => changed.iter().any(|p| p.field() == field),
            Self::Delete { .. } => false,
        }
    }
}

/// A wish of any kind, with its body as a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its name.
    pub address: Address,
    /// Everything else.
    pub wish: Wish<Document>,
}

/// The erased form of a kind's pure half.
pub trait AnyKind: Send + Sync {
    /// The kind's name.
    fn name(&self) -> &'static str;
    /// Fields that cannot change in place.
    fn immutable(&self) -> &'static [&'static str];
    /// What happens to an adopted thing that is no longer desired.
    fn release(&self) -> Release;
    /// Whether the physical id is an alias, which somebody can point at another thing.
    fn aliased(&self) -> bool;
    /// Every wish of the kind, and its problems.
    fn desire(&self, spec: &Spec, facts: &Facts, chains: &Chains) -> (Vec<Resource>, Vec<Diagnostic>);
    /// What of a live body is ours to judge.
    fn claimed(&self, live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document;
    /// What takes one write at a time, if it is more than the thing itself.
    fn turn(&self, physical_id: &str) -> Option<String>;
    /// Whether what reads back after a write is what was written.
    fn settled(&self, written: &Document, shown: &Document) -> bool;
}

/// A kind without its type.
pub struct Erased<K>(PhantomData<K>);

impl<K> Default for Erased<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: Kind> AnyKind for Erased<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn immutable(&self) -> &'static [&'static str] {
        K::IMMUTABLE
    }

    fn release(&self) -> Release {
        K::RELEASE
    }

    fn aliased(&self) -> bool {
        K::ALIASED
    }

    fn desire(&self, spec: &Spec, facts: &Facts, chains: &Chains) -> (Vec<Resource>, Vec<Diagnostic>) {
        let mut want = Wanted::default();
        K::desire(spec, facts, chains, &mut want);
        let mut problems = want.problems;
        let mut resources = Vec::with_capacity(want.wishes.len());
        for wish in want.wishes {
            let address = Address::new(K::NAME, wish.name.clone());
            match Document::of(&wish.body) {
                Ok(body) => resources.push(Resource {
                    address,
                    wish: Wish {
                        name: wish.name,
                        scope: wish.scope,
                        physical_id: wish.physical_id,
                        body,
                        references: wish.references,
                        on_destroy: wish.on_destroy,
                        protect: wish.protect,
                        source: wish.source,
                    },
                }),
                Err(error) => problems.push(
                    Diagnostic::error("body-not-serialisable", format!("{address} has no document form: {error}"))
                        .at(wish.source),
                ),
            }
        }
        (resources, problems)
    }

    fn claimed(&self, live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        K::claimed(live, desired, last)
    }

    fn turn(&self, physical_id: &str) -> Option<String> {
        K::turn(physical_id)
    }

    fn settled(&self, written: &Document, shown: &Document) -> bool {
        K::settled(written, shown)
    }
}
