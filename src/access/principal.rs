//! Whom a document names.

use serde_json::Value;

use crate::document::is_policy;
use crate::iam::{Policy, Principal, Selector, Statement};

/// Everybody whom the policies in a document name, and the roles that its fields name.
#[must_use]
pub fn principals(document: &Value) -> Vec<Principal> {
    if is_policy(document) {
        let policy = Policy::from_value(document);
        let statements = policy.iter().flat_map(Policy::statements);
        return statements.filter_map(Statement::principal).flat_map(Selector::values).cloned().collect();
    }
    let mut found = Vec::new();
    for (field, inner) in document.as_object().into_iter().flatten() {
        match inner {
            Value::String(arn) if field.ends_with("role_arn") && !arn.is_empty() => found.push(Principal::aws(arn)),
            Value::Object(_) => found.extend(principals(inner)),
            _ => {}
        }
    }
    found
}
