//! An in-memory object store, for tests and experiments.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{BackendError, BackendFuture, Object, Objects, Precondition};

/// Objects by key. Several backends can share it, as several machines share a bucket.
#[derive(Debug, Default)]
pub struct MemoryObjects(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    writes: u64,
}

impl MemoryObjects {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.contents().objects.keys().cloned().collect()
    }
}

impl Contents {
    fn write(&mut self, key: &str, bytes: Vec<u8>) -> String {
        self.writes += 1;
        let tag = self.writes.to_string();
        self.objects.insert(key.to_owned(), Object { bytes, tag: tag.clone() });
        tag
    }
}

impl Objects for MemoryObjects {
    fn place(&self, key: &str) -> String {
        format!("memory:{key}")
    }

    fn get<'a>(&'a self, key: &'a str) -> BackendFuture<'a, Option<Object>> {
        Box::pin(async move { Ok(self.contents().objects.get(key).cloned()) })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Precondition) -> BackendFuture<'a, Option<String>> {
        Box::pin(async move {
            let mut contents = self.contents();
            let holds = match (&condition, contents.objects.get(key)) {
                (Precondition::Always, _) | (Precondition::Absent, None) => true,
                (Precondition::Tag(tag), Some(object)) => object.tag == *tag,
                _ => false,
            };
            Ok(holds.then(|| contents.write(key, bytes)))
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            let mut contents = self.contents();
            let Some(object) = contents.objects.get(from).cloned() else {
                return Err(BackendError::Store { what: format!("copy {from}"), why: "it does not exist".into() });
            };
            contents.write(to, object.bytes);
            Ok(())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BackendFuture<'a, Vec<String>> {
        Box::pin(async move { Ok(self.keys().into_iter().filter(|key| key.starts_with(prefix)).collect()) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            self.contents().objects.remove(key);
            Ok(())
        })
    }
}
