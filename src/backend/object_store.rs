//! The object store interface that the state and its lock need.

use super::BackendFuture;

/// An object as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// The store's tag of this version, such as an `ETag`.
    pub tag: String,
}

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Write unconditionally.
    Always,
    /// The object does not exist.
    Absent,
    /// The object exists and has this tag.
    Tag(String),
}

/// An object store. Writes must be atomic, and reads must return the latest write.
pub trait Objects: Send + Sync + 'static {
    /// The full location of a key, for people.
    fn place(&self, key: &str) -> String;
    /// Reads an object, if it exists.
    fn get<'a>(&'a self, key: &'a str) -> BackendFuture<'a, Option<Object>>;
    /// Writes an object and returns its tag, or `None` if the condition does not hold.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Precondition) -> BackendFuture<'a, Option<String>>;
    /// Copies an object.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BackendFuture<'a, ()>;
    /// Lists the keys with a prefix, sorted.
    fn list<'a>(&'a self, prefix: &'a str) -> BackendFuture<'a, Vec<String>>;
    /// Deletes an object.
    fn delete<'a>(&'a self, key: &'a str) -> BackendFuture<'a, ()>;
}
