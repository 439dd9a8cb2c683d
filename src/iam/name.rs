//! Names that AWS compares ignoring case: actions and condition keys.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Action" ("the prefix and the action name are case insensitive")
//! and "IAM JSON policy elements: Condition" ("condition key names are not case-sensitive").

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A name that keeps its spelling and is compared, ordered and hashed ignoring ASCII case.
macro_rules! caseless {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub struct $name(Box<str>);

        impl $name {
            /// A name as written.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                compare(&self.0, &other.0)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                for byte in self.0.bytes() {
                    state.write_u8(byte.to_ascii_lowercase());
                }
                state.write_u8(0xff);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

caseless! {
    /// An action or action pattern of a policy: `s3:GetObject`, `s3:Get*`, `*`.
    ActionPattern
}

caseless! {
    /// The name of a condition key: `aws:PrincipalTag/team`. The part after the slash ignores case too.
    ConditionKey
}

impl ActionPattern {
    /// Whether the action matches, ignoring case.
    #[must_use]
    pub fn matches(&self, action: &str) -> bool {
        super::pattern::glob(&self.0, action, true)
    }

    /// The service prefix, or `None` for the pattern `*`.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        Some(self.0.split_once(':')?.0)
    }
}

/// Compares ignoring ASCII case.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    for (x, y) in a.iter().zip(b) {
        if x != y {
            match x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase()) {
                Ordering::Equal => {}
                order => return order,
            }
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_ignore_case() {
        let names: HashSet<_> =
            ["s3:GetObject", "S3:getobject", "s3:PutObject"].into_iter().map(ActionPattern::new).collect();
        assert_eq!(names.len(), 2);
        assert!(ConditionKey::new("aws:SourceIp") == ConditionKey::new("AWS:sourceip"));
        assert!(ActionPattern::new("S3:Get*").matches("s3:getobject"));
        assert_eq!(compare("a:B", "A:b"), Ordering::Equal);
        assert_eq!(compare("a:Bc", "A:b"), Ordering::Greater);
    }
}
