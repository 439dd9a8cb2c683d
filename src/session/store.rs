//! Values that providers keep in a session, by type and scope.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::Scope;

type Slots = BTreeMap<(TypeId, Scope), Arc<dyn Any + Send + Sync>>;

/// Holds one value of each type for each scope.
#[derive(Default)]
pub(super) struct Store(Mutex<Slots>);

impl Store {
    /// Returns the value of this type for a scope, shared by all callers.
    pub(super) fn get<T: Default + Send + Sync + 'static>(&self, scope: &Scope) -> Arc<T> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry((TypeId::of::<T>(), scope.clone())).or_insert_with(|| Arc::new(T::default())).clone()
        };
        // The value has this type, because the type is part of the key.
        slot.downcast().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    #[test]
    fn value_is_shared_per_type_and_scope() {
        let (store, one, other) = (Store::default(), Scope::cluster("one"), Scope::cluster("other"));
        assert_eq!(store.get::<OnceLock<u8>>(&one).set(1), Ok(()));
        assert_eq!(store.get::<OnceLock<u8>>(&one).get(), Some(&1));
        assert_eq!(store.get::<OnceLock<u8>>(&other).get(), None);
        assert_eq!(store.get::<OnceLock<u16>>(&one).get(), None);
    }
}
