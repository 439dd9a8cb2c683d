//! What changed after a plan was created.

use std::fmt;

use serde_json::Value;

use crate::document::{Difference, is_policy};

/// How a resource changed after a plan was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedSince {
    /// It did not exist, and does now.
    Created {
        /// The project whose ownership tag it carries, if any.
        owner: Option<String>,
    },
    /// It no longer exists.
    Deleted,
    /// It is another object of the same name.
    Replaced {
        /// The name.
        physical_id: String,
        /// The unique id that the plan knows.
        known: String,
        /// The unique id now.
        found: String,
    },
    /// Its content changed.
    Differs {
        /// Where; nothing if only a part changed that Bailiwick does not manage.
        differences: Vec<Difference>,
    },
    /// It cannot be read, so that it may have changed.
    Unread {
        /// The service's message.
        why: String,
    },
}

impl fmt::Display for ChangedSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { owner: Some(owner) } => write!(f, "it now exists and belongs to `{owner}`"),
            Self::Created { owner: None } => f.write_str("it now exists, but did not when the plan was created"),
            Self::Deleted => f.write_str("it was deleted after the plan was created"),
            Self::Replaced { physical_id, known, found } => {
                write!(f, "`{physical_id}` is now `{found}` instead of `{known}`")
            }
            Self::Differs { differences } => {
                let what: Vec<String> = differences.iter().map(difference).collect();
                let what = if what.is_empty() { "a part that Bailiwick does not manage" } else { &what.join("; ") };
                write!(f, "it changed after the plan was created ({what})")
            }
            Self::Unread { why } => f.write_str(why),
        }
    }
}

/// A difference in words: of policies statement by statement.
fn difference(difference: &Difference) -> String {
    let statements = |value: &Option<Value>| -> Vec<String> {
        let value = value.as_ref().filter(|v| is_policy(v)).and_then(|v| v.get("Statement"));
        let list = value.and_then(Value::as_array);
        list.into_iter().flatten().map(ToString::to_string).collect()
    };
    let (before, after) = (statements(&difference.before), statements(&difference.after));
    let gone = before.iter().filter(|s| !after.contains(s)).map(|s| format!("- {s}"));
    let new = after.iter().filter(|s| !before.contains(s)).map(|s| format!("+ {s}"));
    let changes: Vec<String> = gone.chain(new).collect();
    if !changes.is_empty() {
        return format!("{} {}", difference.path, changes.join(" "));
    }
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    format!("{} {} -> {}", difference.path, value(&difference.before), value(&difference.after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::Document;

    fn changed(before: Value, after: Value) -> String {
        let differences = Document::differences(&Document::from(before), &Document::from(after));
        ChangedSince::Differs { differences }.to_string()
    }

    #[test]
    fn a_change_names_the_fields_and_the_statements_that_differ() {
        assert_eq!(
            changed(json!({"tags": {"a": "1"}}), json!({"tags": {"a": "2"}})),
            "it changed after the plan was created (tags.a \"1\" -> \"2\")"
        );
        let policy = |sids: &[&str]| {
            let statements: Vec<Value> = sids.iter().map(|sid| json!({"Sid": sid})).collect();
            json!({"document": {"Statement": statements}})
        };
        assert_eq!(
            changed(policy(&["A", "B"]), policy(&["B", "C"])),
            "it changed after the plan was created (document - {\"Sid\":\"A\"} + {\"Sid\":\"C\"})"
        );
        assert_eq!(
            changed(json!({}), json!({})),
            "it changed after the plan was created (a part that Bailiwick does not manage)"
        );
    }
}
