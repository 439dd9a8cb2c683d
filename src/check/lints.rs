//! What was found in policies before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::document::Digest;
use crate::iam::{self, Subject, lint_together};

/// What was found in policies, so that those that are checked again when the world has been looked at are not judged again.
#[derive(Debug, Default)]
pub struct Lints(RefCell<HashMap<Digest, Rc<[iam::Finding]>>>);

impl Lints {
    /// How many groups of policies have been judged.
    #[cfg(test)]
    pub(crate) fn judged(&self) -> usize {
        self.0.borrow().len()
    }

    /// As [`lint_together`].
    pub(super) fn of(&self, texts: &[&str], subject: &Subject<'_>) -> Rc<[iam::Finding]> {
        let key = Digest::of(format!("{texts:?} {subject:?}").as_bytes());
        self.0.borrow_mut().entry(key).or_insert_with(|| lint_together(texts, subject).into()).clone()
    }
}
