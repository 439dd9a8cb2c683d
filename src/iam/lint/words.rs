//! Checks of names in a statement: unknown actions, resources of another type, invalid variables.

use super::{Check, Findings};
use crate::iam::arn;
use crate::iam::catalogue::{ActionEntry, ResourceType, ServiceEntry};
use crate::iam::pattern::Pattern;
use crate::iam::policy::{Statement, Version};
use crate::iam::validate::PolicyKind;

pub(super) fn check(statement: &Statement, version: Version, findings: &mut Findings) {
    let element = if statement.action.inverted { "NotAction" } else { "Action" };
    for pattern in &statement.action.values {
        if let Some(detail) = unknown(pattern.as_str()) {
            findings.add(Check::ActionUnknown, element, detail);
        }
    }
    if findings.subject.kind != PolicyKind::Trust {
        mismatches(statement, findings);
    }
    variables(statement, version, findings);
}

fn unknown(text: &str) -> Option<String> {
    // A text that is not an action at all is rejected as such.
    let (prefix, name) = text.split_once(':')?;
    if prefix.contains('*') {
        return None;
    }
    let Some(service) = ServiceEntry::of(prefix) else {
        return Some(format!("there is no service `{prefix}`"));
    };
    service.matching(name).next().is_none().then(|| format!("`{text}`"))
}

/// Reports actions for which the statement has no resource of a matching type.
fn mismatches(statement: &Statement, findings: &mut Findings) {
    let Some(resource) = statement.resource.as_ref().filter(|resource| !resource.inverted) else {
        return;
    };
    if statement.action.inverted || resource.values.iter().any(|text| text.as_ref() == "*") {
        return;
    }
    for pattern in &statement.action.values {
        let Some((prefix, name)) = pattern.as_str().split_once(':') else {
            continue;
        };
        let Some(service) = ServiceEntry::of(prefix) else {
            continue;
        };
        let mut actions = service.matching(name).peekable();
        if actions.peek().is_none() {
            continue;
        }
        let fits = actions.any(|action| resource.values.iter().any(|text| has_fitting_type(service, action, text)));
        if !fits {
            let detail = match service.action(name).map(|action| service.types_of(action).count()) {
                Some(0) => format!("`{pattern}` works on `*` only"),
                _ => format!("`{pattern}` works on none of them"),
            };
            findings.add(Check::ResourceMismatch, "Resource", detail);
        }
    }
}

fn has_fitting_type(service: &ServiceEntry, action: &ActionEntry, text: &str) -> bool {
    service.types_of(action).any(|kind| may_be(text, kind))
}

/// Whether a resource of the type may match the pattern.
fn may_be(text: &str, kind: &ResourceType) -> bool {
    // A variable may have any value.
    let text = without_variables(text);
    if let Some(form) = kind.arn.strip_suffix('~')
        && let (Some([.., resource]), Some([.., own])) = (arn::split(&text), arn::split(form))
        && resource.matches('/').count() > own.matches('/').count()
    {
        // A bucket name has no slash; with one, the pattern is about objects.
        return false;
    }
    let form = kind.arn.replace('~', "*");
    // Most parts are equal, or a single wildcard.
    let plain = |a: &str, b: &str| a == b || a == "*" || b == "*";
    let overlap = |a: &str, b: &str| plain(a, b) || Pattern::new(a).overlaps(&Pattern::new(b));
    match (arn::split(&form), arn::split(&text)) {
        (Some(form), Some(text)) => form.iter().zip(text).all(|(form, text)| overlap(form, text)),
        _ => overlap(&form, &text),
    }
}

fn without_variables(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}') {
            Some((_, after)) => {
                out.push('*');
                rest = after;
            }
            None => return out,
        }
    }
    out.push_str(rest);
    out
}

fn variables(statement: &Statement, version: Version, findings: &mut Findings) {
    if version == Version::V2012 {
        return;
    }
    if let Some(resource) = &statement.resource
        && let Some(text) = resource.values.iter().find(|text| text.contains("${"))
    {
        let element = if resource.inverted { "NotResource" } else { "Resource" };
        findings.add(Check::VariableWithoutVersion, element, format!("`{text}`"));
    }
    for condition in &statement.condition {
        if let Some(value) = condition.values().find(|value| value.contains("${")) {
            let element = format!("Condition/{}/{}", condition.operator, condition.key);
            findings.add(Check::VariableWithoutVersion, element, format!("`{value}`"));
        }
    }
}
