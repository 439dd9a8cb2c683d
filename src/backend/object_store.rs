//! A store of objects, as far as a state and its lock need one.

use super::BackendFuture;

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// What the store calls this version of it.
    pub tag: String,
}

/// Under which condition an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Always.
    Always,
    /// There is none.
    Absent,
    /// There is one, and it has this tag.
    Tag(String),
}

/// What the protocol asks of a store. Writes are atomic, and reads see the last one.
pub trait Objects: Send + Sync + 'static {
    /// The full name of a key, for people.
    fn place(&self, key: &str) -> String;
    /// Reads an object, if there is one.
    fn get<'a>(&'a self, key: &'a str) -> BackendFuture<'a, Option<Object>>;
    /// Writes an object and returns its tag, or nothing if the condition does not hold.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Precondition) -> BackendFuture<'a, Option<String>>;
    /// Copies an object.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BackendFuture<'a, ()>;
    /// The keys that begin with a text, sorted.
    fn list<'a>(&'a self, prefix: &'a str) -> BackendFuture<'a, Vec<String>>;
    /// Removes an object.
    fn delete<'a>(&'a self, key: &'a str) -> BackendFuture<'a, ()>;
}
