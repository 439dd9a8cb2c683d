//! A request: who calls which action on which resource, and its context.

use super::arn;
use super::name::compare;

/// A request to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The caller: an ARN (user, role, role session, federated user, root; an identity provider for web identity and
    /// SAML), a service principal, or `*` for an anonymous caller.
    pub principal: String,
    /// The action, for example `s3:GetObject`.
    pub action: String,
    /// The ARN of the resource, or `*` for an action without resources.
    pub resource: String,
    /// The account that owns the resource. If `None`, the account in the ARN is used, or else the caller's.
    pub resource_account: Option<String>,
    /// The condition keys of the request.
    pub context: RequestContext,
}

/// The condition keys of a request. Names are compared ignoring case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestContext {
    entries: Vec<(String, ContextValue)>,
    absent_may_vary: bool,
}

/// The value of one condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextValue {
    One(String),
    /// A multivalued key.
    Many(Vec<String>),
    /// The key may be absent or have any value. A decision that depends on it is conditional.
    Varies,
}

/// The known value of a key in a request.
pub(super) enum KeyState<'a> {
    Absent,
    Varies,
    One(&'a str),
    Many(&'a [String]),
}

impl RequestContext {
    /// An empty context. Every key that is not set is absent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A context without known keys. Every key that is not set may have any value, and a decision that depends on one
    /// is conditional.
    #[must_use]
    pub fn open() -> Self {
        Self { entries: Vec::new(), absent_may_vary: true }
    }

    /// Sets a key and replaces its previous value.
    pub fn set(&mut self, key: &str, value: ContextValue) {
        match self.entries.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    fn set_if_absent(&mut self, key: &str, value: ContextValue) {
        if self.get(key).is_none() {
            self.set(key, value);
        }
    }

    /// Sets a key to one value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, ContextValue::One(value.into()));
        self
    }

    /// The value of a key that was set.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&ContextValue> {
        self.entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// The keys that were set, sorted by name.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.entries.iter().map(|(name, _)| name.as_str()).collect();
        keys.sort_unstable_by(|a, b| compare(a, b));
        keys
    }

    pub(super) fn known(&self, key: &str) -> KeyState<'_> {
        match self.get(key) {
            Some(ContextValue::One(value)) => KeyState::One(value),
            Some(ContextValue::Many(values)) if values.is_empty() => KeyState::Absent,
            Some(ContextValue::Many(values)) => KeyState::Many(values),
            Some(ContextValue::Varies) => KeyState::Varies,
            None if self.absent_may_vary => KeyState::Varies,
            None => KeyState::Absent,
        }
    }
}

impl Request {
    /// A request with an empty context.
    #[must_use]
    pub fn new(principal: &str, action: &str, resource: &str) -> Self {
        Self {
            principal: principal.to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            resource_account: None,
            context: RequestContext::new(),
        }
    }

    /// Sets the keys that follow from the request itself, unless the context has them: `aws:PrincipalArn`,
    /// `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:username` and `aws:ResourceAccount`.
    ///
    /// Source: IAM User Guide, "AWS global condition context keys".
    #[must_use]
    pub fn with_own_keys(mut self) -> Self {
        let mut own: Vec<(&str, String)> = Vec::new();
        let caller = Caller::of(&self.principal);
        let kind = match &caller {
            Caller::Anonymous => "Anonymous",
            Caller::Root { .. } => "Account",
            Caller::User { .. } => "User",
            Caller::Role { .. } | Caller::Session { .. } => "AssumedRole",
            Caller::FederatedUser { .. } => "FederatedUser",
            Caller::Service(_) | Caller::Provider(_) => "",
        };
        if !kind.is_empty() {
            own.push(("aws:PrincipalType", kind.to_owned()));
        }
        match &caller {
            // The path of a service-linked role is not in the ARN of its session.
            Caller::Session { role, .. } if has_service_linked_name(role) => {
                self.context.set_if_absent("aws:PrincipalArn", ContextValue::Varies);
            }
            Caller::Session { account, role, .. } => {
                let partition = arn::split(&self.principal).map_or("aws", |[partition, ..]| partition);
                own.push(("aws:PrincipalArn", format!("arn:{partition}:iam::{account}:role/{role}")));
            }
            Caller::User { .. } | Caller::Role { .. } | Caller::Root { .. } | Caller::FederatedUser { .. } => {
                own.push(("aws:PrincipalArn", self.principal.clone()));
            }
            _ => {}
        }
        if let Caller::User { name, .. } = &caller {
            own.push(("aws:username", (*name).to_owned()));
        }
        if let Some(account) = caller.account() {
            own.push(("aws:PrincipalAccount", account.to_owned()));
        }
        if let Some(account) = &self.resource_account {
            own.push(("aws:ResourceAccount", account.clone()));
        }
        for (key, value) in own {
            self.context.set_if_absent(key, ContextValue::One(value));
        }
        self
    }

    /// The account that owns the resource, if known.
    pub(super) fn owner(&self) -> Option<&str> {
        self.resource_account.as_deref().or_else(|| arn::account_of(&self.resource))
    }
}

/// Whether a role has a name that IAM gives to service-linked roles.
pub(super) fn has_service_linked_name(role: &str) -> bool {
    role.starts_with("AWSServiceRoleFor")
}

/// The kind of caller, recognized by the form of the principal.
///
/// Source: IAM User Guide, "AWS JSON policy elements: Principal" and "IAM identifiers".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller<'a> {
    Anonymous,
    Service(&'a str),
    /// An identity provider, on behalf of a user without an AWS identity.
    Provider(&'a str),
    Root {
        account: &'a str,
    },
    User {
        account: &'a str,
        name: &'a str,
    },
    Role {
        account: &'a str,
    },
    Session {
        account: &'a str,
        role: &'a str,
    },
    FederatedUser {
        account: &'a str,
        name: &'a str,
    },
}

impl<'a> Caller<'a> {
    pub fn of(principal: &'a str) -> Self {
        if principal == "*" {
            return Caller::Anonymous;
        }
        let Some([_, service, _, account, resource]) = arn::split(principal) else {
            return if principal.ends_with(".amazonaws.com") || principal.ends_with(".amazonaws.com.cn") {
                Caller::Service(principal)
            } else {
                Caller::Provider(principal)
            };
        };
        let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
        match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => Caller::Root { account },
            ("iam", Some(("user", path))) => Caller::User { account, name: last(path) },
            ("iam", Some(("role", _))) => Caller::Role { account },
            ("sts", Some(("assumed-role", path))) => {
                Caller::Session { account, role: path.split('/').next().unwrap_or(path) }
            }
            ("sts", Some(("federated-user", path))) => Caller::FederatedUser { account, name: last(path) },
            ("iam", Some(("oidc-provider" | "saml-provider", _))) => Caller::Provider(principal),
            _ => Caller::User { account, name: last(resource) },
        }
    }

    /// The caller's account; `None` for services, providers and anonymous callers.
    pub fn account(&self) -> Option<&'a str> {
        match self {
            Caller::Anonymous | Caller::Service(_) | Caller::Provider(_) => None,
            Caller::Root { account }
            | Caller::User { account, .. }
            | Caller::Role { account }
            | Caller::Session { account, .. }
            | Caller::FederatedUser { account, .. } => Some(account),
        }
    }
}
