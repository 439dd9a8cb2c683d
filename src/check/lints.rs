//! A cache of policy lints.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::document::Digest;
use crate::iam::{self, Subject, lint_together};

/// The findings in policies, so that policies are not linted again once live resources have been read.
#[derive(Debug, Default)]
pub struct Lints(RefCell<HashMap<Digest, Rc<[iam::Finding]>>>);

impl Lints {
    /// The number of groups that were linted.
    #[cfg(test)]
    pub(crate) fn judged(&self) -> usize {
        self.0.borrow().len()
    }

    /// Like [`lint_together`], but cached.
    pub(super) fn findings(&self, texts: &[&str], subject: &Subject<'_>) -> Rc<[iam::Finding]> {
        let key = Digest::of(format!("{texts:?} {subject:?}").as_bytes());
        self.0.borrow_mut().entry(key).or_insert_with(|| lint_together(texts, subject).into()).clone()
    }
}
