//! The actions, resource types and condition keys of AWS: vendored data, parsed per service on first use.
//!
//! Source: AWS Service Authorization Reference, through the package named at the top of `catalogue.txt`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::name::compare;
use super::pattern::glob;

const TEXT: &str = include_str!("catalogue.txt");

/// The access level of an action, as AWS defines it.
///
/// Source: Service Authorization Reference, "Understanding access level summaries within policy summaries".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessLevel {
    List,
    Read,
    Write,
    Tagging,
    PermissionsManagement,
}

impl AccessLevel {
    /// The name in reports: `list`, `read`, `write`, `tagging`, `permissions management`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::Tagging => "tagging",
            Self::PermissionsManagement => "permissions management",
        }
    }
}

/// The type of a condition key's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    Arn,
    Bool,
    Date,
    Ip,
    Numeric,
    String,
}

/// A condition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// The name; `*` is a part that users choose, as in `aws:ResourceTag/*`.
    pub name: &'static str,
    pub of: KeyType,
    /// Whether a request may have several values for the key.
    pub multivalued: bool,
}

/// A type of resource of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceType {
    pub name: &'static str,
    /// The form of its ARNs: `*` for variable parts, and `~` for a name without slashes.
    pub arn: &'static str,
}

/// An action of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionEntry {
    /// The name without the service, in the spelling of AWS.
    pub name: &'static str,
    pub level: AccessLevel,
    types: &'static str,
    keys: &'static str,
}

/// An AWS service, by its prefix in actions.
#[derive(Debug)]
pub struct ServiceEntry {
    /// The prefix: `s3`.
    pub prefix: &'static str,
    /// Whether resource control policies apply to its resources.
    pub has_rcps: bool,
    types: Vec<ResourceType>,
    keys: Vec<KeyEntry>,
    /// The actions, sorted by name ignoring case.
    actions: Vec<ActionEntry>,
}

impl ServiceEntry {
    /// The service for a prefix, ignoring case.
    #[must_use]
    pub fn of(prefix: &str) -> Option<&'static Self> {
        let services = &catalogue().services;
        let entry = services.get(prefix).or_else(|| services.get(prefix.to_ascii_lowercase().as_str()))?;
        Some(entry.service.get_or_init(|| read_service(entry.head, entry.text)))
    }

    /// All prefixes, sorted.
    pub fn prefixes() -> impl Iterator<Item = &'static str> {
        catalogue().services.keys().copied()
    }

    #[must_use]
    pub fn actions(&self) -> &[ActionEntry] {
        &self.actions
    }

    /// The action with this name, ignoring case.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&ActionEntry> {
        let at = self.actions.binary_search_by(|action| compare(action.name, name)).ok()?;
        self.actions.get(at)
    }

    /// The actions that match a pattern.
    pub fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a ActionEntry> {
        // The actions are sorted, so those with the pattern's fixed prefix are adjacent.
        let fixed = pattern.find(['*', '?']).unwrap_or(pattern.len());
        let start = pattern.get(..fixed).unwrap_or_default();
        let begins =
            move |action: &ActionEntry| action.name.get(..fixed).is_some_and(|head| head.eq_ignore_ascii_case(start));
        let from = self.actions.partition_point(|action| compare(action.name, start).is_lt());
        let rest = self.actions.get(from..).unwrap_or_default();
        rest.iter().take_while(move |action| begins(action)).filter(move |action| glob(pattern, action.name, true))
    }

    /// The resource types of an action; empty if it supports only `*`.
    pub fn types_of<'a>(&'a self, action: &'a ActionEntry) -> impl Iterator<Item = &'a ResourceType> {
        self.types.iter().filter(|kind| action.types.split(',').any(|name| name == kind.name))
    }

    /// The service's condition keys that a request for the action may have, by itself or by its resource types.
    pub fn keys_of<'a>(&'a self, action: &'a ActionEntry) -> impl Iterator<Item = &'a KeyEntry> {
        action.keys.split(',').filter_map(|index| self.keys.get(index.parse::<usize>().ok()?))
    }

    /// Whether the data list the key for any action. For a key that they list for none, the actions are unknown.
    #[must_use]
    pub fn is_key_of_an_action(&self, name: &str) -> bool {
        self.actions.iter().any(|action| self.keys_of(action).any(|key| glob(key.name, name, true)))
    }

    /// The service whose requests have condition keys with this prefix, if the prefix is not that of a service:
    /// `cognito-identity-unauth`.
    #[must_use]
    pub fn with_keys(prefix: &str) -> Option<&'static Self> {
        let service = catalogue().prefixes.iter().find(|(known, _)| known.eq_ignore_ascii_case(prefix))?.1;
        Self::of(service)
    }

    /// The service's condition key for a name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&KeyEntry> {
        find(&self.keys, name)
    }
}

/// Tries exact names first: most are spelled as AWS spells them and have no part that users choose.
fn find<'a>(keys: &'a [KeyEntry], name: &str) -> Option<&'a KeyEntry> {
    keys.iter().find(|key| key.name == name).or_else(|| keys.iter().find(|key| glob(key.name, name, true)))
}

/// The global condition key for a name.
///
/// Source: IAM User Guide, "AWS global condition context keys".
#[must_use]
pub fn global_key(name: &str) -> Option<&'static KeyEntry> {
    find(&catalogue().global, name)
}

/// An action or action pattern in the spelling of AWS: `S3:getobject` becomes `s3:GetObject`, `s3:get*` becomes
/// `s3:Get*`. One that matches no known action is unchanged.
#[must_use]
pub fn spelling(action: &str) -> Cow<'_, str> {
    known_spelling(action).unwrap_or(Cow::Borrowed(action))
}

/// A condition key in the spelling of AWS. Unknown keys are unchanged, and so are parts that users choose, such as a
/// tag key.
#[must_use]
pub fn key_spelling(key: &str) -> Cow<'_, str> {
    let known = match key.split_once(':') {
        Some((prefix, _)) if prefix.eq_ignore_ascii_case("aws") => global_key(key),
        Some((prefix, _)) => ServiceEntry::of(prefix).and_then(|service| service.key(key)),
        None => None,
    };
    let Some(name) = known.map(|key| key.name).filter(|name| *name != key) else {
        return Cow::Borrowed(key);
    };
    let fixed = name.find('*').unwrap_or(name.len());
    let (head, rest) = (name.get(..fixed).unwrap_or_default(), key.get(fixed..).unwrap_or_default());
    Cow::Owned(format!("{head}{rest}"))
}

fn known_spelling(action: &str) -> Option<Cow<'_, str>> {
    let (prefix, name) = action.split_once(':')?;
    let service = ServiceEntry::of(prefix)?;
    if name == "*" {
        return Some(Cow::Owned(format!("{}:*", service.prefix)));
    }
    if let Some(known) = service.action(name) {
        let is_spelled = prefix == service.prefix && name == known.name;
        return Some(if is_spelled {
            Cow::Borrowed(action)
        } else {
            Cow::Owned(format!("{}:{}", service.prefix, known.name))
        });
    }
    let fixed = name.find(['*', '?'])?;
    let known = service.matching(name).next()?;
    let (head, tail) = (known.name.get(..fixed)?, name.get(fixed..)?);
    // After a wildcard, the position in the known name is unclear unless the rest matches its end.
    let tail_at = known.name.len().checked_sub(tail.len() - 1);
    let tail = match tail_at.and_then(|at| known.name.get(at..)) {
        Some(own) if tail.starts_with('*') && tail.get(1..).is_some_and(|t| t.eq_ignore_ascii_case(own)) => {
            format!("*{own}")
        }
        _ => tail.to_owned(),
    };
    Some(Cow::Owned(format!("{}:{head}{tail}", service.prefix)))
}

struct LazyService {
    head: &'static str,
    text: &'static str,
    service: OnceLock<ServiceEntry>,
}

struct Catalogue {
    global: Vec<KeyEntry>,
    /// Prefixes of condition keys without a service, and the services with the keys.
    prefixes: Vec<(&'static str, &'static str)>,
    services: BTreeMap<&'static str, LazyService>,
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let mut parts = TEXT.split("\n@ ");
        let head = parts.next().unwrap_or_default();
        let global = head.lines().filter_map(|line| read_key(line.strip_prefix("* ")?)).collect();
        let prefixes = head.lines().filter_map(|line| line.strip_prefix("& ")?.split_once(' ')).collect();
        let services = parts
            .filter_map(|part| {
                let (head, text) = part.split_once('\n').unwrap_or((part, ""));
                let prefix = head.split(' ').next()?;
                Some((prefix, LazyService { head, text, service: OnceLock::new() }))
            })
            .collect();
        Catalogue { global, prefixes, services }
    })
}

fn read_key(line: &'static str) -> Option<KeyEntry> {
    let (name, of) = line.split_once(' ')?;
    let (multivalued, of) = match of.strip_prefix('[') {
        Some(of) => (true, of),
        None => (false, of),
    };
    let of = match of {
        "A" => KeyType::Arn,
        "B" => KeyType::Bool,
        "D" => KeyType::Date,
        "I" => KeyType::Ip,
        "N" => KeyType::Numeric,
        _ => KeyType::String,
    };
    Some(KeyEntry { name, of, multivalued })
}

fn read_service(head: &'static str, text: &'static str) -> ServiceEntry {
    let prefix = head.split(' ').next().unwrap_or(head);
    let mut service = ServiceEntry {
        prefix,
        has_rcps: head.ends_with(" rcp"),
        types: Vec::new(),
        keys: Vec::new(),
        actions: Vec::new(),
    };
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(' ') else {
            continue;
        };
        let mut fields = rest.split(' ');
        match kind {
            "%" => service.keys.extend(read_key(rest)),
            "$" => {
                if let (Some(name), Some(arn)) = (fields.next(), fields.next()) {
                    service.types.push(ResourceType { name, arn });
                }
            }
            "+" => {
                if let (Some(name), Some(level), Some(types), Some(keys)) =
                    (fields.next(), fields.next(), fields.next(), fields.next())
                {
                    let level = match level {
                        "L" => AccessLevel::List,
                        "R" => AccessLevel::Read,
                        "T" => AccessLevel::Tagging,
                        "P" => AccessLevel::PermissionsManagement,
                        _ => AccessLevel::Write,
                    };
                    service.actions.push(ActionEntry { name, level, types, keys });
                }
            }
            _ => {}
        }
    }
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_can_be_read_and_is_in_order() {
        let mut actions = 0;
        for prefix in ServiceEntry::prefixes() {
            let service = ServiceEntry::of(prefix).unwrap();
            assert_eq!(service.prefix, prefix);
            assert!(service.actions.is_sorted_by(|a, b| compare(a.name, b.name).is_lt()), "{prefix}");
            for action in service.actions() {
                let types = if action.types == "-" { 0 } else { action.types.split(',').count() };
                assert!(service.types_of(action).count() <= types.max(1), "{prefix}:{}", action.name);
                let keys = if action.keys == "-" { 0 } else { action.keys.split(',').count() };
                assert_eq!(service.keys_of(action).count(), keys, "{prefix}:{}", action.name);
            }
            actions += service.actions().len();
        }
        assert!(actions > 20_000, "{actions}");
    }

    #[test]
    fn lookups_find_services_actions_and_keys() {
        let s3 = ServiceEntry::of("S3").unwrap();
        let get = s3.action("getobject").unwrap();
        assert_eq!((get.name, get.level), ("GetObject", AccessLevel::Read));
        assert!(s3.types_of(get).any(|kind| kind.arn == "arn:*:s3:::~/*"));
        assert!(s3.keys_of(get).any(|key| key.name == "s3:ExistingObjectTag/*"));
        assert_eq!(
            s3.matching("get*acl").count(),
            s3.actions().iter().filter(|a| a.name.starts_with("Get") && a.name.ends_with("Acl")).count()
        );
        assert!(s3.key("s3:existingobjecttag/team").is_some() && s3.key("s3:nosuchkey").is_none());
        assert_eq!(global_key("AWS:SOURCEIP").map(|key| key.of), Some(KeyType::Ip));
        assert!(ServiceEntry::of("nosuchservice").is_none());
        assert!(ServiceEntry::of("cognito-identity-unauth").is_none());
        assert_eq!(ServiceEntry::with_keys("Cognito-Identity-Unauth").map(|s| s.prefix), Some("cognito-identity"));
        assert!(ServiceEntry::with_keys("nosuchservice").is_none());
    }

    #[test]
    fn names_are_spelled_as_aws_does() {
        assert_eq!(spelling("S3:getobject"), "s3:GetObject");
        assert_eq!(spelling("S3:GET*"), "s3:Get*");
        assert_eq!(spelling("IAM:*"), "iam:*");
        assert_eq!(spelling("iam:*accesskey"), "iam:*AccessKey");
        assert_eq!(spelling("sts:ASSUMEROLEWITHWEBIDENTITY"), "sts:AssumeRoleWithWebIdentity");
        assert_eq!(spelling("newservice:DoThing"), "newservice:DoThing");
        assert_eq!(key_spelling("AWS:principaltag/Team"), "aws:PrincipalTag/Team");
        assert_eq!(key_spelling("S3:Prefix"), "s3:prefix");
        assert_eq!(key_spelling("oidc.example.com/id/A:sub"), "oidc.example.com/id/A:sub");
    }
}
