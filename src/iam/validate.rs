//! Checks the rules of AWS for one kind of policy: the form of actions and resources, and elements that it does not
//! allow.
//!
//! Sources: IAM User Guide, "Grammar of the IAM JSON policy language", "IAM JSON policy elements: Sid", "Resource" and
//! "Principal", "IAM Access Analyzer policy check reference"; AWS Organizations User Guide, "SCP syntax" and "RCP
//! syntax"; the messages with which `CreatePolicy` and `UpdateAssumeRolePolicy` reject a document.

use super::arn::PARTITIONS;
use super::condition::{Operator, Test};
use super::json::{Json, JsonNode, Member};
use super::matching;
use super::parse::{self, ParseError, ParsedDocument, Path, Problems};
use super::policy::{Policy, Statement};
use super::principals;
use super::rules::AwsRule;

/// The kind of a policy, by what it is attached to. It decides about the policy's content and evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// Attached to a user, group or role.
    Identity,
    /// A permissions boundary.
    Boundary,
    /// Passed when a session is created.
    Session,
    /// Attached to any other resource.
    Resource,
    /// Attached to an S3 bucket.
    Bucket,
    /// Attached to a KMS key.
    Key,
    /// The trust policy of a role.
    Trust,
    /// Attached to a VPC endpoint.
    Endpoint,
    /// A service control policy.
    Scp,
    /// A resource control policy.
    Rcp,
}

impl PolicyKind {
    /// The kind for a name: `identity`, `boundary`, `session`, `resource`, `bucket`, `key`, `trust`, `endpoint`, `scp`
    /// or `rcp`; also `managed-policy`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "identity" | "managed-policy" | "managed" | "inline" => Self::Identity,
            "boundary" | "permission_boundary" | "permissions-boundary" => Self::Boundary,
            "session" => Self::Session,
            "resource" => Self::Resource,
            "bucket" => Self::Bucket,
            "key" | "kms" => Self::Key,
            "trust" => Self::Trust,
            "endpoint" => Self::Endpoint,
            "scp" => Self::Scp,
            "rcp" => Self::Rcp,
            _ => return None,
        })
    }

    /// Whether the policy belongs to callers and therefore names no principal.
    #[must_use]
    pub fn is_of_identity(self) -> bool {
        matches!(self, Self::Identity | Self::Boundary | Self::Session | Self::Scp)
    }

    /// Whether the policy is attached to a resource and controls access to it.
    #[must_use]
    pub fn is_of_resource(self) -> bool {
        matches!(self, Self::Resource | Self::Bucket | Self::Key)
    }

    /// Whether AWS accepts a document without `Version` or with 2008-10-17.
    fn takes_old_version(self) -> bool {
        !matches!(self, Self::Identity | Self::Boundary | Self::Session | Self::Scp | Self::Rcp)
    }

    fn needs_resource(self) -> bool {
        !matches!(self, Self::Trust | Self::Resource)
    }

    fn needs_principal(self) -> bool {
        matches!(self, Self::Bucket | Self::Key | Self::Trust | Self::Endpoint | Self::Rcp)
    }

    /// Whether IAM itself stores the document, so that its rules for characters and Sids apply.
    fn is_kept_by_iam(self) -> bool {
        matches!(self, Self::Identity | Self::Boundary | Self::Session)
    }
}

/// The points on which AWS's pages disagree and that decide whether AWS accepts this document. [`validate`] accepts it.
#[must_use]
pub fn disagreements(kind: PolicyKind, policy: &Policy) -> Vec<AwsRule> {
    let is_disputed = |statement: &Statement| statement.sid().is_some_and(|sid| sid.contains('_'));
    let in_iam = kind.is_kept_by_iam() || kind == PolicyKind::Trust;
    let disputed = in_iam && policy.statements().iter().any(is_disputed);
    disputed.then_some(AwsRule::UnderscoreInSid).into_iter().collect()
}

/// Parses a policy document and runs all checks that AWS runs for this kind of policy before it accepts one.
///
/// # Errors
/// All problems, in the order of the document.
pub fn validate(kind: PolicyKind, text: &str) -> Result<Policy, Vec<ParseError>> {
    document(kind, text).map(ParsedDocument::into_policy)
}

/// Like [`validate`], for a document that is already JSON.
///
/// # Errors
/// As [`validate`], without line and column.
pub fn validate_value(kind: PolicyKind, value: &serde_json::Value) -> Result<Policy, Vec<ParseError>> {
    node(kind, &super::json::from_value(value), None).map(ParsedDocument::into_policy)
}

/// Like [`validate`], with the statements in the order of the text.
pub(super) fn document(kind: PolicyKind, text: &str) -> Result<ParsedDocument, Vec<ParseError>> {
    let root = parse::root(text).map_err(|error| vec![error])?;
    node(kind, &root, Some(text))
}

fn node(kind: PolicyKind, root: &JsonNode, text: Option<&str>) -> Result<ParsedDocument, Vec<ParseError>> {
    let parsed = parse::policy_node(root, text);
    let mut checker = Checker { kind, problems: Problems { text, found: Vec::new() } };
    checker.document(root);
    if let Some(text) = text {
        checker.characters(text);
    }
    let mut found = checker.problems.errors();
    match parsed {
        Ok(document) if found.is_empty() => Ok(document),
        Ok(_) => Err(found),
        Err(mut errors) => {
            errors.append(&mut found);
            // The sort is stable: problems of structure come before those of form in the same place.
            errors.sort_by_key(|error| error.place);
            Err(errors)
        }
    }
}

struct Checker<'t> {
    kind: PolicyKind,
    problems: Problems<'t>,
}

fn member<'n, 'a>(members: &'n [Member<'a>], name: &str) -> Option<&'n Member<'a>> {
    members.iter().find(|member| member.name == name)
}

impl Checker<'_> {
    fn add(&mut self, path: &Path, offset: Option<usize>, message: impl Into<String>) {
        self.problems.add(path, offset, message);
    }

    /// IAM accepts tabs, line ends and the characters from U+0020 to U+00FF. Others must be written as escapes.
    ///
    /// Source: IAM API Reference, the pattern of `PolicyDocument`.
    fn characters(&mut self, text: &str) {
        if !self.kind.is_kept_by_iam() && self.kind != PolicyKind::Trust {
            return;
        }
        if let Some((offset, char)) = text.char_indices().find(|(_, char)| *char > '\u{ff}') {
            let message = format!("IAM rejects `{char}`: write it as an escape, `\\u` and four digits");
            self.add(&Path::ROOT, Some(offset), message);
        }
    }

    fn document(&mut self, node: &JsonNode) {
        let path = Path::ROOT;
        let Json::Object(members) = &node.value else {
            return;
        };
        if !self.kind.takes_old_version() {
            let version = member(members, "Version").map(|m| &m.node);
            let old = match version {
                None => true,
                Some(node) => {
                    matches!(&node.value, Json::String(text) if text == "2008-10-17")
                }
            };
            if old {
                let offset = version.map_or(node.offset, |node| node.offset);
                let message = "the Version must be `2012-10-17` in this kind of policy";
                self.add(&path.name("Version"), offset, message);
            }
        }
        let has_variables = member(members, "Version")
            .is_some_and(|version| matches!(&version.node.value, Json::String(text) if text == "2012-10-17"));
        let Some(statement) = member(members, "Statement") else {
            return;
        };
        let path = path.name("Statement");
        if has_variables {
            self.variables(&path, &statement.node);
        }
        match &statement.node.value {
            Json::Array(list) => {
                for (index, node) in list.iter().enumerate() {
                    self.statement(&path.index(index), node);
                }
                if !self.kind.is_of_resource() {
                    self.problems.sids(&path, list, true);
                }
            }
            Json::Object(_) => self.statement(&path, &statement.node),
            _ => {}
        }
    }

    fn statement(&mut self, path: &Path, node: &JsonNode) {
        let Json::Object(members) = &node.value else {
            return;
        };
        for Member { offset, name, node } in members {
            let here = path.name(name);
            match name.as_ref() {
                "Sid" => self.sid(&here, node),
                "Action" | "NotAction" => {
                    self.texts(&here, node, action_problem);
                    self.actions(&here, node, name.starts_with("Not"));
                }
                "Resource" | "NotResource" if self.kind == PolicyKind::Trust => {
                    let message = "a trust policy has no resource: it is about the role that it is attached to";
                    self.add(&here, *offset, message);
                }
                "Resource" | "NotResource" => {
                    self.texts(&here, node, resource_problem);
                    if self.kind != PolicyKind::Resource {
                        self.texts(&here, node, missing_parts);
                    }
                }
                "Principal" | "NotPrincipal" => {
                    let allows = member(members, "Effect")
                        .is_some_and(|effect| matches!(&effect.node.value, Json::String(text) if text == "Allow"));
                    self.principal(&here, *offset, name, node);
                    if allows && name == "NotPrincipal" && !self.kind.is_of_identity() && self.kind != PolicyKind::Trust
                    {
                        let message = "`NotPrincipal` is not supported with `Allow`; name the principals, or deny";
                        self.add(&here, *offset, message);
                    }
                }
                "Condition" => self.conditions(&here, node),
                _ => {}
            }
        }
        let has = |name: &str| member(members, name).is_some();
        if self.kind.needs_resource() && !has("Resource") && !has("NotResource") {
            self.add(path, node.offset, "the statement has neither `Resource` nor `NotResource`");
        }
        if self.kind.needs_principal() && !has("Principal") && !has("NotPrincipal") {
            self.add(path, node.offset, "the statement has no `Principal`");
        }
        if self.kind == PolicyKind::Rcp
            && let Some(effect) = member(members, "Effect")
            && matches!(&effect.node.value, Json::String(text) if text == "Allow")
        {
            let message = "a resource control policy can only deny";
            self.add(&path.name("Effect"), effect.node.offset, message);
        }
    }

    fn sid(&mut self, path: &Path, node: &JsonNode) {
        let Json::String(sid) = &node.value else {
            return;
        };
        if self.kind.is_kept_by_iam() && !sid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("the Sid `{sid}` may have letters and digits only in IAM");
            self.add(path, node.offset, message);
        }
    }

    fn texts(&mut self, path: &Path, node: &JsonNode, problem: impl Fn(&str) -> Option<String>) {
        let mut check = |path: &Path, node: &JsonNode| {
            if let Json::String(text) = &node.value
                && let Some(message) = problem(text)
            {
                self.problems.add(path, node.offset, message);
            }
        };
        if let Json::Array(list) = &node.value {
            for (index, node) in list.iter().enumerate() {
                check(&path.index(index), node);
            }
        } else {
            check(path, node);
        }
    }

    /// Rules for actions that only trust policies and RCPs have.
    fn actions(&mut self, path: &Path, node: &JsonNode, inverted: bool) {
        if self.kind == PolicyKind::Rcp && inverted {
            let message = "a resource control policy has no `NotAction`";
            self.add(path, node.offset, message);
        }
        let texts: Vec<(&str, Option<usize>)> = match &node.value {
            Json::String(text) => vec![(text, node.offset)],
            Json::Array(list) => list
                .iter()
                .filter_map(|n| if let Json::String(text) = &n.value { Some((text.as_ref(), n.offset)) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        for (text, offset) in texts {
            if self.kind == PolicyKind::Rcp && text == "*" {
                let message =
                    "`*` alone is not a valid action in a resource control policy; name the service, as in `s3:*`";
                self.add(path, offset, message);
            }
            let sts = text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("sts:"));
            if self.kind == PolicyKind::Trust && !sts {
                let message = format!("`{text}` cannot be in a trust policy, which holds STS actions only");
                self.add(path, offset, message);
            }
        }
    }

    fn principal(&mut self, path: &Path, offset: Option<usize>, name: &str, node: &JsonNode) {
        if self.kind.is_of_identity() {
            let message =
                format!("`{name}` does not belong in this kind of policy: it applies to whom it is attached to");
            self.add(path, offset, message);
        } else if name == "NotPrincipal" && self.kind == PolicyKind::Trust {
            self.add(path, offset, "a trust policy has no `NotPrincipal`");
        } else if self.kind == PolicyKind::Rcp {
            let everyone = matches!(&node.value, Json::String(text) if text == "*");
            if name == "NotPrincipal" || !everyone {
                let message = "the principal of a resource control policy is `\"*\"`; narrow it with conditions";
                self.add(path, offset, message);
            }
        } else if let Json::Object(entries) = &node.value {
            let foreign_accounts = self.kind == PolicyKind::Resource;
            for Member { name: entry, node, .. } in entries {
                self.texts(&path.name(entry), node, |text| principals::problem(entry, text, foreign_accounts));
            }
        }
    }

    /// Reports malformed variables in resources and condition values of all statements.
    fn variables(&mut self, path: &Path, node: &JsonNode) {
        match &node.value {
            Json::String(text) => {
                if let Some(message) = variable_problem(text) {
                    self.add(path, node.offset, message);
                }
            }
            Json::Array(list) => {
                for (index, node) in list.iter().enumerate() {
                    self.variables(&path.index(index), node);
                }
            }
            Json::Object(members) => {
                // Other checks reject a variable in a principal or an action, and a Sid is plain text.
                let is_free =
                    |name: &str| !matches!(name, "Sid" | "Principal" | "NotPrincipal" | "Action" | "NotAction");
                for Member { name, node, .. } in members.iter().filter(|member| is_free(&member.name)) {
                    self.variables(&path.name(name), node);
                }
            }
            _ => {}
        }
    }

    fn conditions(&mut self, path: &Path, node: &JsonNode) {
        let Json::Object(operators) = &node.value else {
            return;
        };
        for operator in operators {
            let Ok(Operator { test, if_exists, .. }) = operator.name.parse() else {
                continue;
            };
            if test == Test::Null && if_exists {
                let message =
                    format!("`{}` is not an operator: `Null` itself tests whether the key exists", operator.name);
                self.add(&path.name(&operator.name), operator.offset, message);
            }
            let is_date = matches!(
                test,
                Test::DateEquals
                    | Test::DateNotEquals
                    | Test::DateLessThan
                    | Test::DateLessThanEquals
                    | Test::DateGreaterThan
                    | Test::DateGreaterThanEquals
            );
            let Json::Object(keys) = &operator.node.value else {
                continue;
            };
            for key in keys {
                if is_date {
                    let here = path.name(&operator.name);
                    self.texts(&here.name(&key.name), &key.node, date_problem);
                }
            }
        }
    }
}

/// A date is ISO 8601 or seconds since the UNIX epoch. The text after a variable is unknown.
fn date_problem(text: &str) -> Option<String> {
    (!text.contains("${") && matching::instant(text).is_none())
        .then(|| format!("`{text}` is not a date; write it as `2026-01-31T12:00:00Z`"))
}

/// A variable is `${key}`, or `${key, 'default'}`. `${*}`, `${?}` and `${$}` stand for the character.
///
/// Sources: IAM User Guide, "IAM policy elements: Variables and tags" and "IAM Access Analyzer policy check reference"
/// ("Missing brace in variable", "Missing quote in variable", "Unsupported space in variable", "Empty variable").
fn variable_problem(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((inside, after)) = after.split_once('}').filter(|(inside, _)| !inside.contains("${")) else {
            return Some(format!("a variable in `{text}` has no closing brace"));
        };
        rest = after;
        let (key, default) =
            inside.split_once(',').map_or((inside, None), |(key, default)| (key, Some(default.trim())));
        if key.is_empty() {
            return Some(format!("a variable in `{text}` has no name"));
        }
        // The key of a tag may contain spaces.
        if key.split('/').next().unwrap_or_default().contains(' ') || key.ends_with(' ') {
            return Some(format!("`${{{inside}}}` contains a space, and the name of a variable cannot"));
        }
        let is_quoted = |text: &str| text.len() > 1 && text.starts_with('\'') && text.ends_with('\'');
        if key.contains('\'') || default.is_some_and(|default| !is_quoted(default)) {
            return Some(format!("the default in `${{{inside}}}` needs single quotes, as in `${{key, 'default'}}`"));
        }
    }
    None
}

/// An action is `*` or `service:name`. The service prefix contains letters, digits, `-` and `.`.
///
/// Sources: IAM User Guide, "IAM JSON policy elements: Action"; the messages of `CreatePolicy`.
fn action_problem(text: &str) -> Option<String> {
    if text == "*" {
        return None;
    }
    let Some((service, name)) = text.split_once(':') else {
        return Some(format!("`{text}` has no service; write it as `service:{text}`"));
    };
    if name.contains(':') {
        return Some(format!("`{text}` has more than one colon; an action is `service:name`"));
    }
    if service.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'.') || service.is_empty() {
        return Some(format!("`{service}` is not a service prefix in `{text}`"));
    }
    if name.is_empty() {
        return Some(format!("`{text}` names no action of the service"));
    }
    if name.contains("${") {
        return Some(format!("`{text}` contains a variable, and an action cannot have one"));
    }
    None
}

/// A resource is `*`, or an ARN with a known partition and a service.
fn resource_problem(text: &str) -> Option<String> {
    if text == "*" {
        return None;
    }
    let Some((_, rest)) = text.split_once(':') else {
        return Some(format!("`{text}` is neither an ARN nor `*`"));
    };
    let (partition, rest) = rest.split_once(':').map_or((rest, None), |(p, rest)| (p, Some(rest)));
    let is_pattern = partition.contains(['*', '?']) || partition.contains("${");
    if !is_pattern && !PARTITIONS.contains(&partition) {
        return Some(format!("`{partition}` in `{text}` is not a partition; they are `{}`", PARTITIONS.join("`, `")));
    }
    let Some(rest) = rest else {
        return Some(format!("`{text}` does not name its service"));
    };
    let (service, rest) = rest.split_once(':').unwrap_or((rest, ""));
    if service.is_empty() {
        return Some(format!("`{text}` has an empty service"));
    }
    let mut parts = rest.splitn(3, ':');
    let (region, account, resource) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let resource = resource?;
    match service {
        "iam" if !region.is_empty() => Some(format!("`{text}` has a region, and IAM resources have none")),
        "iam"
            if resource != "root"
                && !resource.starts_with(['*', '?', '$'])
                && !IAM_PATHS.iter().any(|start| resource.starts_with(start)) =>
        {
            Some(format!(
                "`{resource}` in `{text}` is not an IAM resource; write `*`, or start with `{}`",
                IAM_PATHS.join("`, `")
            ))
        }
        "s3" if !region.is_empty()
            && !region.starts_with(['*', '$'])
            && (account.is_empty() || !S3_REGIONAL.iter().any(|start| resource.starts_with(start))) =>
        {
            Some(format!("`{text}` has a region, and buckets and objects have none"))
        }
        _ => None,
    }
}

/// Reports an ARN with too few parts. `CreatePolicy` rejects those with empty parts and those of IAM and S3. For
/// [`PolicyKind::Resource`] the service that stores the policy is unknown, and so are its rules.
fn missing_parts(text: &str) -> Option<String> {
    let mut parts = text.split(':');
    let service = parts.nth(2).filter(|service| !service.is_empty())?;
    let refused = text.contains("::") || matches!(service, "iam" | "s3");
    (refused && parts.count() < 3).then(|| format!("`{text}` has fewer than six parts"))
}

/// The valid first parts of a resource in an IAM ARN. Source: the message of `CreatePolicy`.
const IAM_PATHS: &[&str] = &[
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
];

/// The valid first parts of a resource in an S3 ARN with a region. Source: Service Authorization Reference, Amazon S3.
const S3_REGIONAL: &[&str] =
    &["*", "accesspoint", "access-grants", "async-request", "job/", "multi-region-access-point", "storage-lens"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The messages for one statement in this kind of policy, without places.
    fn messages(kind: PolicyKind, statement: &Value) -> Vec<String> {
        let document = json!({"Version": "2012-10-17", "Statement": statement});
        let errors = validate_value(kind, &document).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    fn resource(text: &str) -> bool {
        let statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": text});
        messages(PolicyKind::Identity, &statement).is_empty()
    }

    #[test]
    fn forms_of_resources() {
        for right in [
            "*",
            "arn:aws:s3:::b/*",
            "arn:*:s3:::b",
            "arn:${aws:Partition}:s3:::b",
            "arn:aws:iam::111122223333:role/x",
            "arn:aws:iam::111122223333:*",
            "arn:aws:iam::*:root",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/a",
            "arn:aws:ec2:us-east-1::x",
            "arn:aws:nosuchservice:::x",
            "arn:aws:nosuchservice",
        ] {
            assert!(resource(right), "{right}");
        }
        for wrong in [
            "",
            "bucket",
            "arn:wrong:s3:::b",
            "arn:aws",
            "arn:aws:s3",
            "arn:aws:s3:b",
            "arn:aws::::b",
            "arn:aws::b",
            "arn:aws:iam:us-east-1::user/x",
            "arn:aws:iam::111122223333:x",
            "arn:aws:s3:us-east-1::b",
        ] {
            assert!(!resource(wrong), "{wrong}");
        }
    }

    #[test]
    fn each_kind_has_its_own_elements() {
        let bucket = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"});
        assert!(messages(PolicyKind::Bucket, &bucket).is_empty());
        assert_eq!(
            messages(PolicyKind::Identity, &bucket),
            [
                "/Statement/Principal: `Principal` does not belong in this kind of policy: it applies to whom it is attached to"
            ]
        );
        assert_eq!(
            messages(PolicyKind::Trust, &bucket),
            [
                "/Statement/Action: `s3:GetObject` cannot be in a trust policy, which holds STS actions only",
                "/Statement/Resource: a trust policy has no resource: it is about the role that it is attached to",
            ]
        );
        assert_eq!(messages(PolicyKind::Rcp, &bucket), ["/Statement/Effect: a resource control policy can only deny"]);
        let bare = json!({"Effect": "Deny", "Action": "s3:*"});
        assert_eq!(
            messages(PolicyKind::Scp, &bare),
            ["/Statement: the statement has neither `Resource` nor `NotResource`"]
        );
        assert_eq!(messages(PolicyKind::Bucket, &merged(&bare)), ["/Statement: the statement has no `Principal`"]);
    }

    fn merged(statement: &Value) -> Value {
        let mut statement = statement.clone();
        statement["Resource"] = json!("*");
        statement
    }

    #[test]
    fn iam_accepts_the_characters_of_latin_1() {
        let on = |key: &str| {
            let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": format!("arn:aws:s3:::b/{key}")});
            json!({"Version": "2012-10-17", "Statement": statement}).to_string()
        };
        assert!(validate(PolicyKind::Bucket, &on("漢")).is_ok());
        let errors = |key: &str| {
            let own = on(key).replace(r#""Principal":"*","#, "");
            validate(PolicyKind::Identity, &own)
                .err()
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(errors("é"), [""; 0]);
        assert_eq!(errors(r"\u6f22"), [""; 0]);
        assert_eq!(errors("漢"), [r"1:75: IAM rejects `漢`: write it as an escape, `\u` and four digits"]);
    }

    #[test]
    fn every_kind_of_policy_checks_its_principals() {
        for kind in [PolicyKind::Resource, PolicyKind::Bucket, PolicyKind::Key, PolicyKind::Trust, PolicyKind::Endpoint]
        {
            let with = |element: &str, effect: &str, principal: &str| {
                let mut statement = json!({"Effect": effect, element: {"AWS": ["111122223333", principal]}});
                let action = match kind {
                    PolicyKind::Key => "kms:*",
                    PolicyKind::Trust => "sts:AssumeRole",
                    _ => "s3:*",
                };
                statement["Action"] = json!(action);
                if kind != PolicyKind::Trust {
                    statement["Resource"] = json!("*");
                }
                messages(kind, &statement)
            };
            assert_eq!(with("Principal", "Allow", "arn:aws:iam::111122223333:role/r"), [""; 0], "{kind:?}");
            assert_eq!(
                with("Principal", "Allow", "arn:aws:iam::111122223333:group/g"),
                [
                    "/Statement/Principal/AWS/1: `arn:aws:iam::111122223333:group/g` is a group, and a group cannot be a \
                  principal; name its users"
                ],
                "{kind:?}"
            );
            assert_eq!(with("Principal", "Allow", "arn:aws:iam::111122223333:role/*").len(), 1, "{kind:?}");
            if kind != PolicyKind::Trust {
                assert_eq!(with("NotPrincipal", "Deny", "arn:aws:iam::111122223333:role/r"), [""; 0], "{kind:?}");
                assert_eq!(
                    with("NotPrincipal", "Deny", "arn:aws:sts::111122223333:assumed-role/r/*").len(),
                    1,
                    "{kind:?}"
                );
                assert_eq!(
                    with("NotPrincipal", "Allow", "arn:aws:iam::111122223333:role/r"),
                    [
                        "/Statement/NotPrincipal: `NotPrincipal` is not supported with `Allow`; name the principals, or deny"
                    ],
                    "{kind:?}"
                );
            }
        }
        let bare = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        assert_eq!(messages(PolicyKind::Endpoint, &bare), ["/Statement: the statement has no `Principal`"]);
    }

    #[test]
    fn null_has_no_if_exists() {
        for (operator, right) in [("Null", true), ("NullIfExists", false), ("ForAnyValue:NullIfExists", false)] {
            let statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*",
                "Condition": {operator: {"aws:TagKeys": "true"}}});
            for kind in [PolicyKind::Identity, PolicyKind::Scp] {
                assert_eq!(messages(kind, &statement).is_empty(), right, "{operator}");
            }
        }
    }

    #[test]
    fn malformed_variables_are_rejected() {
        for right in [
            "${aws:username}",
            "x${aws:username}y${aws:PrincipalTag/cost center}",
            "${aws:PrincipalTag/t, 'x y'}",
            "${aws:PrincipalTag/t,''}",
            "${*}${?}${$}",
            "$aws:username}",
            "{x}",
        ] {
            assert_eq!(variable_problem(right), None, "{right}");
        }
        for wrong in [
            "${aws:username",
            "${aws:username/*",
            "x${aws:username}${aws:userid",
            "${aws:username${aws:userid}",
            "${}",
            "${ aws:username}",
            "${aws:username }",
            "${aws:username, 'x}",
            "${aws:username, x'}",
            "${aws:username, x}",
            "${aws:username, '}",
        ] {
            assert!(variable_problem(wrong).is_some(), "{wrong}");
        }
        let with = |resource: &str, value: &str| {
            let statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["*", format!("arn:aws:s3:::b/{resource}")],
                "Condition": {"StringLike": {"s3:prefix": value}}});
            messages(PolicyKind::Identity, &statement)
        };
        assert_eq!(with("${aws:username}/*", "${aws:username}"), [""; 0]);
        assert_eq!(
            with("${aws:username/*", "${aws:userid"),
            [
                "/Statement/Condition/StringLike/s3:prefix: a variable in `${aws:userid` has no closing brace",
                "/Statement/Resource/1: a variable in `arn:aws:s3:::b/${aws:username/*` has no closing brace",
            ]
        );
        // Version 2008-10-17 has no variables.
        let old = json!({"Version": "2008-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/${x"}});
        assert!(validate_value(PolicyKind::Bucket, &old).is_ok());
    }

    #[test]
    fn a_sid_is_unique_where_iam_keeps_the_policy() {
        let statement = json!({"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"});
        let twice = json!([statement, statement]);
        let told = "/Statement/1/Sid: the Sid `a` is used twice; a Sid is unique in its policy";
        assert_eq!(messages(PolicyKind::Trust, &twice), [told]);
        assert!(messages(PolicyKind::Resource, &twice).is_empty());
    }

    #[test]
    fn the_rules_of_iam_for_arns_are_not_those_of_an_unknown_service() {
        let statement =
            json!({"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3::b/*"});
        assert_eq!(
            messages(PolicyKind::Bucket, &statement),
            ["/Statement/Resource: `arn:aws:s3::b/*` has fewer than six parts"]
        );
        assert!(messages(PolicyKind::Resource, &statement).is_empty());
    }

    #[test]
    fn identity_policy_needs_the_2012_version_and_plain_sids() {
        let old = json!({"Version": "2008-10-17", "Statement": {"Sid": "a b", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}});
        let count = |kind| validate_value(kind, &old).err().unwrap_or_default().len();
        assert_eq!((count(PolicyKind::Identity), count(PolicyKind::Resource)), (2, 0));
        assert_eq!(count(PolicyKind::Scp), 1);
        let without = json!({"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}});
        let of_scp = validate_value(PolicyKind::Scp, &without).unwrap_err();
        assert_eq!(of_scp.len(), 1);
        assert_eq!(of_scp[0].to_string(), "/Version: the Version must be `2012-10-17` in this kind of policy");
    }

    #[test]
    fn underscore_in_a_sid_is_disputed_in_iam() {
        let text = r#"{"Version":"2012-10-17","Statement":{"Sid":"read_only","Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        let policy = validate(PolicyKind::Identity, text).unwrap();
        assert_eq!(disagreements(PolicyKind::Identity, &policy), [AwsRule::UnderscoreInSid]);
        assert_eq!(disagreements(PolicyKind::Resource, &policy), []);
        let plain = validate(PolicyKind::Identity, &text.replace('_', "")).unwrap();
        assert_eq!(disagreements(PolicyKind::Identity, &plain), []);
    }
}
