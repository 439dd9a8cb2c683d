//! Checks of single conditions.

use std::net::IpAddr;

use super::{Check, Findings, LintSeverity, is_allow};
use crate::iam::catalogue::{self, KeyEntry, KeyType, ServiceEntry};
use crate::iam::condition::{Condition, Qualifier, Test};
use crate::iam::matching::{self, Number};
use crate::iam::pattern;
use crate::iam::policy::Statement;

pub(super) fn check(statement: &Statement, findings: &mut Findings) {
    for condition in &statement.condition {
        let element = format!("Condition/{}/{}", condition.operator, condition.key);
        let key = known_key(condition.key.as_str());
        if let Some((severity, detail)) = for_all_values(statement, condition, key) {
            findings.add_as(severity, Check::ConditionForallvalues, element.clone(), detail);
        }
        if let Some(value) = idle_wildcard(condition) {
            findings.add(Check::ConditionWildcardWithoutLike, element.clone(), format!("`{value}`"));
        }
        if let Some(value) = private_address(condition) {
            findings.add(Check::ConditionPrivateSourceIp, element.clone(), format!("`{value}`"));
        }
        if let Some(detail) = mismatch(condition, key) {
            findings.add(Check::ConditionTypeMismatch, element.clone(), detail);
        }
        if let Some(detail) = unknown(statement, condition) {
            findings.add(Check::ConditionUnknownKey, element.clone(), detail);
        }
        if let Some(detail) = bad_mfa(statement, condition) {
            findings.add(Check::ConditionBadMfa, element, detail);
        }
    }
}

fn known_key(name: &str) -> Option<&'static KeyEntry> {
    match name.split_once(':')? {
        (prefix, _) if prefix.eq_ignore_ascii_case("aws") => catalogue::global_key(name),
        (prefix, _) => ServiceEntry::of(prefix).or_else(|| ServiceEntry::with_keys(prefix))?.key(name),
    }
}

/// Why `ForAllValues` also holds without the key, and how severe that is.
fn for_all_values(
    statement: &Statement,
    condition: &Condition,
    key: Option<&KeyEntry>,
) -> Option<(LintSeverity, String)> {
    let severity = Check::ConditionForallvalues.severity();
    if condition.operator.qualifier != Some(Qualifier::ForAllValues) {
        return None;
    }
    if key.is_some_and(|key| !key.multivalued) {
        return Some((severity, format!("`{}` has one value", condition.key)));
    }
    let of_tags = condition.key.as_str().eq_ignore_ascii_case("aws:TagKeys");
    let proves_key = |other: &Condition| {
        let is_same = other.key == condition.key;
        requires_key(other) && (is_same || (of_tags && proves_tags(other)))
    };
    // Without tags, a request to create a resource gives no access by a tag.
    let severity = if of_tags { LintSeverity::Low } else { severity };
    (is_allow(statement) && !statement.condition.iter().any(proves_key))
        .then(|| (severity, format!("no Null condition on `{}`", condition.key)))
}

/// Whether only requests with tags meet a condition that requires its key: those with a certain tag, and those to tag
/// what another action creates.
///
/// Source: EC2 User Guide, "Grant permission to tag Amazon EC2 resources during creation".
fn proves_tags(condition: &Condition) -> bool {
    let key = condition.key.as_str().to_ascii_lowercase();
    let creates = key.strip_prefix("aws:").is_none() && key.ends_with(":createaction");
    key.starts_with("aws:requesttag/") || creates
}

fn idle_wildcard(condition: &Condition) -> Option<&str> {
    let literal = matches!(
        condition.operator.test,
        Test::StringEquals | Test::StringNotEquals | Test::StringEqualsIgnoreCase | Test::StringNotEqualsIgnoreCase
    );
    condition.values().find(|value| {
        let plain = value.replace("${*}", "").replace("${?}", "");
        literal && plain.contains(['*', '?'])
    })
}

fn private_address(condition: &Condition) -> Option<&str> {
    let applies = matches!(condition.operator.test, Test::IpAddress | Test::NotIpAddress)
        && condition.key.as_str().eq_ignore_ascii_case("aws:SourceIp");
    condition
        .values()
        .find(|value| applies && matching::range_of(value).is_some_and(|(network, _)| is_private(network)))
}

/// Sources: RFC 1918, RFC 6598 (shared address space), RFC 3927 (link local), RFC 4193 (unique local IPv6).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// The type that the values under an operator must have.
fn operator_type(test: Test) -> Option<KeyType> {
    Some(match test {
        Test::ArnEquals | Test::ArnLike | Test::ArnNotEquals | Test::ArnNotLike => KeyType::Arn,
        Test::Bool => KeyType::Bool,
        Test::DateEquals
        | Test::DateNotEquals
        | Test::DateLessThan
        | Test::DateLessThanEquals
        | Test::DateGreaterThan
        | Test::DateGreaterThanEquals => KeyType::Date,
        Test::IpAddress | Test::NotIpAddress => KeyType::Ip,
        Test::NumericEquals
        | Test::NumericNotEquals
        | Test::NumericLessThan
        | Test::NumericLessThanEquals
        | Test::NumericGreaterThan
        | Test::NumericGreaterThanEquals => KeyType::Numeric,
        Test::StringEquals
        | Test::StringEqualsIgnoreCase
        | Test::StringLike
        | Test::StringNotEquals
        | Test::StringNotEqualsIgnoreCase
        | Test::StringNotLike => KeyType::String,
        Test::BinaryEquals | Test::Null => return None,
    })
}

fn mismatch(condition: &Condition, key: Option<&KeyEntry>) -> Option<String> {
    let test = condition.operator.test;
    if test == Test::Null {
        return condition
            .values()
            .find(|value| !value.contains("${") && !is_bool(value))
            .map(|value| format!("`{value}` is neither `true` nor `false`"));
    }
    let operator = operator_type(test)?;
    if let Some(KeyEntry { of, .. }) = key {
        let fits = match (operator, of) {
            // ARNs are often compared as strings, ARNs in tags as ARNs, and epoch times as numbers.
            (KeyType::String, KeyType::Arn) | (KeyType::Arn, KeyType::String) | (KeyType::Numeric, KeyType::Date) => {
                true
            }
            (operator, of) => operator == *of,
        };
        if !fits {
            return Some(format!(
                "`{}` is {}, and `{}` compares {}",
                condition.key,
                noun(*of, false),
                condition.operator,
                noun(operator, true)
            ));
        }
    }
    let wrong = condition.values().find(|value| !value.contains("${") && !is_of(operator, value))?;
    Some(format!("`{wrong}` is not {}", noun(operator, false)))
}

fn noun(of: KeyType, many: bool) -> &'static str {
    match (of, many) {
        (KeyType::Arn, false) => "an ARN",
        (KeyType::Arn, true) => "ARNs",
        (KeyType::Bool, false) => "a boolean",
        (KeyType::Bool, true) => "booleans",
        (KeyType::Date, false) => "a date",
        (KeyType::Date, true) => "dates",
        (KeyType::Ip, false) => "an address",
        (KeyType::Ip, true) => "addresses",
        (KeyType::Numeric, false) => "a number",
        (KeyType::Numeric, true) => "numbers",
        (KeyType::String, false) => "a text",
        (KeyType::String, true) => "texts",
    }
}

fn is_bool(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

fn is_of(of: KeyType, value: &str) -> bool {
    match of {
        KeyType::Arn => value.starts_with("arn:") || value.starts_with(['*', '?']),
        KeyType::Bool => is_bool(value),
        KeyType::Date => matching::instant(value).is_some(),
        KeyType::Ip => matching::range_of(value).is_some(),
        KeyType::Numeric => Number::parse(value).is_some(),
        KeyType::String => true,
    }
}

/// A key that does not exist in AWS, or that no request for the statement's actions has.
fn unknown(statement: &Statement, condition: &Condition) -> Option<String> {
    let name = condition.key.as_str();
    let Some((prefix, rest)) = name.split_once(':') else {
        return Some(format!("`{name}` has no service, as in `aws:SourceIp`"));
    };
    if prefix.eq_ignore_ascii_case("aws") {
        return catalogue::global_key(name).is_none().then(|| format!("`{name}` does not exist"));
    }
    // Keys of identity providers are named after the issuer.
    if prefix.contains(['.', '/']) || rest.contains("oidc-provider/") || prefix.eq_ignore_ascii_case("saml") {
        return None;
    }
    let Some(service) = ServiceEntry::of(prefix).or_else(|| ServiceEntry::with_keys(prefix)) else {
        return Some(format!("there is no service `{prefix}`"));
    };
    let is_global = catalogue::global_key(name).is_some();
    let mut services = services_of(statement);
    // Some services have keys with the prefix of another one.
    let is_known = service.key(name).is_some() || is_global || services.any(|own| own.key(name).is_some());
    if !is_known {
        return Some(format!("`{name}` does not exist"));
    }
    // STS keys describe the session in all its requests.
    let of_session = prefix.eq_ignore_ascii_case("sts") || prefix.eq_ignore_ascii_case("identitystore");
    if statement.action.inverted || of_session || is_global {
        return None;
    }
    let offered = statement.action.values.iter().any(|pattern| {
        let Some((own, action)) = pattern.as_str().split_once(':') else {
            return true;
        };
        let Some(own) = ServiceEntry::of(own) else {
            return true;
        };
        let is_unlisted = own.key(name).is_some() && !own.is_key_of_an_action(name);
        is_unlisted
            || own.matching(action).any(|action| own.keys_of(action).any(|key| pattern::glob(key.name, name, true)))
    });
    (!offered).then(|| format!("none of the actions has `{name}`"))
}

/// The services of the statement's actions.
fn services_of(statement: &Statement) -> impl Iterator<Item = &'static ServiceEntry> {
    let prefixes = statement.action.values.iter().filter_map(|pattern| pattern.service());
    prefixes.filter_map(ServiceEntry::of)
}

/// Whether only requests that have the key can meet the condition.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".
pub(super) fn requires_key(condition: &Condition) -> bool {
    let operator = condition.operator;
    if operator.if_exists {
        return false;
    }
    match (operator.test, operator.qualifier) {
        (Test::Null, _) => condition.values().eq(["false"]),
        (_, Some(Qualifier::ForAllValues)) => false,
        (_, Some(Qualifier::ForAnyValue)) => true,
        (test, None) => !test.is_negated(),
    }
}

/// Why requests without MFA meet an MFA condition. Requests with long-term access keys do not have the key, and sessions
/// without MFA have it with the value `false`.
///
/// Source: IAM User Guide, "AWS global condition context keys", aws:MultiFactorAuthPresent.
fn bad_mfa(statement: &Statement, condition: &Condition) -> Option<&'static str> {
    const ABSENT: &str = "requests with long-term access keys do not have the key";
    const FALSE: &str = "sessions without MFA have the key, with the value `false`";
    let operator = condition.operator;
    let is_mfa = |other: &Condition| other.key.as_str().eq_ignore_ascii_case("aws:MultiFactorAuthPresent");
    let is = |word: &str| condition.values().any(|value| value.eq_ignore_ascii_case(word));
    if !is_mfa(condition) {
        return None;
    }
    let is_optional = operator.if_exists || operator.qualifier == Some(Qualifier::ForAllValues);
    match (operator.test, is_allow(statement)) {
        (Test::Bool, true) if is("false") => Some(FALSE),
        (Test::Bool, true) => (is_optional && is("true")).then_some(ABSENT),
        (Test::Bool, false) => (!is_optional && is("false") && !denies_absent_mfa(statement)).then_some(ABSENT),
        (Test::Null, true) => {
            let demands = |other: &Condition| {
                is_mfa(other) && other.operator.test == Test::Bool && requires_key(other) && other.values().eq(["true"])
            };
            let demanded = statement.condition.iter().any(demands);
            (!demanded).then_some(if is("true") { ABSENT } else { FALSE })
        }
        _ => None,
    }
}

/// Whether the statement tests the key with `Null`, as the second half of a pair does.
fn denies_absent_mfa(statement: &Statement) -> bool {
    statement.condition.iter().any(|condition| {
        condition.operator.test == Test::Null
            && condition.key.as_str().eq_ignore_ascii_case("aws:MultiFactorAuthPresent")
    })
}
