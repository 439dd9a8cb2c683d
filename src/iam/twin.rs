//! A second, simple implementation for random comparison: it decides requests on plain JSON as the documentation
//! describes, matches patterns recursively, and shares only the types of request and outcome with the real code.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::request::{ContextValue, Request, RequestContext};
use super::{Atom, Attached, DecisionOutcome, Policy, PolicySet, equivalent, evaluate, reach};

#[derive(Debug, Clone, Default)]
struct World {
    identity: Vec<Value>,
    resource: Option<Value>,
    boundaries: Vec<Value>,
    session: Vec<Value>,
    scps: Vec<Vec<Value>>,
    rcps: Vec<Vec<Value>>,
    endpoint: Vec<Value>,
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(list).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

fn wild(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => wild(rest, text) || (!text.is_empty() && wild(pattern, &text[1..])),
        (['?', rest @ ..], [_, tail @ ..]) => wild(rest, tail),
        ([p, rest @ ..], [t, tail @ ..]) => p == t && wild(rest, tail),
        _ => false,
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    wild(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

fn arn_glob(pattern: &str, text: &str) -> bool {
    let (patterns, texts): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), text.splitn(6, ':').collect());
    if patterns.len() < 6 {
        return glob(pattern, text);
    }
    texts.len() == 6 && patterns.iter().zip(texts).all(|(p, t)| glob(p, t))
}

/// The values of a key in the context; an empty list is an absent key.
fn values(context: &RequestContext, key: &str) -> Option<Vec<String>> {
    match context.get(key)? {
        ContextValue::One(value) => Some(vec![value.clone()]),
        ContextValue::Many(many) if many.is_empty() => None,
        ContextValue::Many(many) => Some(many.clone()),
        ContextValue::Varies => unreachable!("the twin knows all keys"),
    }
}

/// Substitutes variables; `None` if one has no value. Test values have no wildcards and no colons.
fn substitute(text: &str, version: &Value, context: &RequestContext) -> Option<String> {
    if version != "2012-10-17" {
        return Some(text.to_owned());
    }
    let Some((before, rest)) = text.split_once("${") else {
        return Some(text.to_owned());
    };
    let (inner, after) = rest.split_once('}')?;
    let (name, default) = match inner.split_once(", ") {
        Some((name, default)) => (name, Some(default.trim_matches('\'').to_owned())),
        None => (inner, None),
    };
    let value = values(context, name).filter(|v| v.len() == 1).map(|v| v[0].clone()).or(default)?;
    Some(format!("{before}{value}{}", substitute(after, version, context)?))
}

fn test(operator: &str, wanted: &str, actual: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    let both = number(actual).zip(number(wanted));
    match operator {
        "StringEquals" => wanted == actual,
        "StringEqualsIgnoreCase" | "Bool" => wanted.to_lowercase() == actual.to_lowercase(),
        "StringLike" => glob(wanted, actual),
        "ArnLike" | "ArnEquals" => actual.splitn(6, ':').count() == 6 && arn_glob(wanted, actual),
        "NumericEquals" => both.is_some_and(|(a, w)| (a - w).abs() < 1e-9),
        "NumericLessThan" => both.is_some_and(|(a, w)| a < w),
        "NumericGreaterThanEquals" => both.is_some_and(|(a, w)| a >= w),
        // UTC times of the same length compare as text.
        "DateLessThan" => actual < wanted,
        "DateGreaterThan" => actual > wanted,
        "IpAddress" => {
            let bits = |text: &str| text.split('.').fold(0u64, |sum, part| sum * 256 + part.parse::<u64>().unwrap());
            let (network, length) = wanted.split_once('/').unwrap_or((wanted, "32"));
            let size = 1u64 << (32 - length.parse::<u32>().unwrap());
            bits(network) / size == bits(actual) / size
        }
        other => panic!("{other}"),
    }
}

fn condition(operator: &str, key: &str, wanted: &Value, version: &Value, context: &RequestContext) -> bool {
    let actual = values(context, key);
    if operator == "Null" {
        return list(wanted).iter().any(|word| (word == "true") == actual.is_none());
    }
    let (set, plain) = match operator.split_once(':') {
        Some((set, plain)) => (Some(set), plain),
        None => (None, operator),
    };
    let (plain, if_exists) = match plain.strip_suffix("IfExists") {
        Some(plain) => (plain, true),
        None => (plain, false),
    };
    let negated = plain.starts_with("Not") || plain.contains("Not");
    let positive = plain.replacen("Not", "", 1);
    let one = |actual: &String| {
        let any = list(wanted)
            .iter()
            .any(|text| substitute(text, version, context).is_some_and(|text| test(&positive, &text, actual)));
        any != negated
    };
    match (set, actual) {
        (Some("ForAllValues"), None) => true,
        (Some(_), None) => false,
        (None, None) => if_exists || negated,
        (Some("ForAllValues"), Some(values)) => values.iter().all(one),
        (Some(_), Some(values)) => values.iter().any(one),
        (None, Some(values)) => values.len() == 1 && values.iter().all(one),
    }
}

/// How the principal element names the caller: 0 not at all, 1 the account, 2 the role of a session, 3 the caller
/// itself.
fn named(principal: &Value, request: &Request) -> u8 {
    let caller = request.principal.as_str();
    let account = caller.split(':').nth(4).unwrap_or_default();
    if principal == "*" {
        return 3;
    }
    let aws = list(&principal["AWS"]).into_iter().map(|text| {
        if text == "*" {
            3
        } else if text == account || text == format!("arn:aws:iam::{account}:root") {
            1
        } else if text == caller {
            if caller.contains(":role/") { 2 } else { 3 }
        } else if let Some((_, session)) = caller.split_once(":assumed-role/") {
            let role = session.split('/').next().unwrap();
            u8::from(text == format!("arn:aws:iam::{account}:role/{role}")) * 2
        } else {
            0
        }
    });
    aws.max().unwrap_or(0)
}

fn applies(statement: &Value, version: &Value, request: &Request, of_resource: bool) -> bool {
    let action = request.action.to_lowercase();
    let is_action = |name: &str| list(&statement[name]).iter().any(|a| glob(&a.to_lowercase(), &action));
    let action = if statement["NotAction"].is_null() { is_action("Action") } else { !is_action("NotAction") };
    let is_resource = |name: &str| {
        list(&statement[name]).iter().any(|text| {
            substitute(text, version, &request.context)
                .is_some_and(|pattern| pattern == "*" || arn_glob(&pattern, &request.resource))
        })
    };
    let resource = if statement["Resource"].is_null() && statement["NotResource"].is_null() {
        of_resource
    } else if statement["NotResource"].is_null() {
        is_resource("Resource")
    } else {
        !is_resource("NotResource")
    };
    let no_conditions = serde_json::Map::new();
    let conditions = statement["Condition"].as_object().unwrap_or(&no_conditions).iter().all(|(operator, keys)| {
        keys.as_object()
            .unwrap()
            .iter()
            .all(|(key, wanted)| condition(operator, key, wanted, version, &request.context))
    });
    action && resource && conditions && (!of_resource || named(&statement["Principal"], request) > 0)
}

/// The statements in these policies that apply: their effects, and how they name the caller.
fn effects(policies: &[Value], request: &Request, of_resource: bool) -> Vec<(String, u8)> {
    policies
        .iter()
        .flat_map(|policy| {
            list_of_statements(policy)
                .into_iter()
                .filter(|statement| applies(statement, &policy["Version"], request, of_resource))
                .map(|s| (s["Effect"].as_str().unwrap().to_owned(), named(&s["Principal"], request)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn list_of_statements(policy: &Value) -> Vec<&Value> {
    match &policy["Statement"] {
        Value::Array(statements) => statements.iter().collect(),
        other => vec![other],
    }
}

/// Follows the flow chart of "Determining whether a request is allowed or denied within an account", then
/// "Cross-account".
fn decide(request: &Request, world: &World) -> DecisionOutcome {
    let resource: Vec<Value> = world.resource.iter().cloned().collect();
    let all = [
        effects(&world.identity, request, false),
        effects(&world.boundaries, request, false),
        effects(&world.session, request, false),
        effects(&world.scps.concat(), request, false),
        effects(&world.rcps.concat(), request, true),
        effects(&world.endpoint, request, true),
        effects(&resource, request, true),
    ];
    if all.iter().flatten().any(|(effect, _)| effect == "Deny") {
        return DecisionOutcome::ExplicitlyDenied;
    }
    let allows = |policies: &[Value]| !effects(policies, request, false).is_empty();
    for level in &world.scps {
        if !allows(level) {
            return DecisionOutcome::ImplicitlyDenied;
        }
    }
    if !world.endpoint.is_empty() && effects(&world.endpoint, request, true).is_empty() {
        return DecisionOutcome::ImplicitlyDenied;
    }
    let grant = effects(&resource, request, true).into_iter().map(|(_, grant)| grant).max().unwrap_or(0);
    let limits = (world.boundaries.is_empty() || allows(&world.boundaries))
        && (world.session.is_empty() || allows(&world.session));
    let identity = allows(&world.identity);
    let account = request.principal.split(':').nth(4).unwrap();
    let same = request.resource_account.as_deref() == Some(account);
    let is_key = request.resource.starts_with("arn:aws:kms:");
    let allowed = if same {
        let by_identity = identity && (!is_key || grant > 0);
        grant == 3 || (limits && (grant == 2 || by_identity))
    } else {
        grant > 0 && identity && limits
    };
    if allowed { DecisionOutcome::Allowed } else { DecisionOutcome::ImplicitlyDenied }
}

fn attached(policies: &[Policy]) -> Vec<Attached<'_>> {
    policies.iter().map(|policy| Attached { name: "p", policy }).collect()
}

/// The decision of the real code, and whether its reach contains the request.
fn real(request: &Request, world: &World) -> (DecisionOutcome, bool) {
    let read =
        |values: &[Value]| -> Vec<Policy> { values.iter().map(|value| Policy::from_value(value).unwrap()).collect() };
    let levels = |levels: &[Vec<Value>]| levels.iter().map(|level| read(level)).collect::<Vec<_>>();
    let resource: Vec<Value> = world.resource.iter().cloned().collect();
    let (identity, resource) = (read(&world.identity), read(&resource));
    let (boundaries, session) = (read(&world.boundaries), read(&world.session));
    let (endpoint, scps, rcps) = (read(&world.endpoint), levels(&world.scps), levels(&world.rcps));
    let set = PolicySet {
        identity: attached(&identity),
        resource: attached(&resource).pop(),
        boundaries: attached(&boundaries),
        session: attached(&session),
        scps: scps.iter().map(|level| attached(level)).collect(),
        rcps: rcps.iter().map(|level| attached(level)).collect(),
        bucket: None,
        endpoint: attached(&endpoint),
    };
    let reached = reach(request, &set).contains(&request.action, &request.resource, |_| false);
    (evaluate(request, &set).outcome, reached)
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(values).prop_map(str::to_owned)
}

fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(one_of(values), 1..3).prop_map(|v| if v.len() == 1 { json!(v[0]) } else { json!(v) })
}

const ACTIONS: &[&str] =
    &["*", "s3:*", "s3:Get*", "S3:getobject", "s3:PutObject", "kms:Decrypt", "kms:*", "s3:?etObject"];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::a/*",
    "arn:aws:s3:::a/x",
    "arn:aws:s3:::*",
    "arn:aws:s3:::a/${aws:username}",
    "arn:aws:kms:*:111111111111:key/*",
    "arn:aws:s3:::?/x",
    "arn:aws:s3:::a/${aws:PrincipalTag/t, 'x'}",
];
const PRINCIPALS: &[&str] = &[
    "*",
    "111111111111",
    "arn:aws:iam::111111111111:root",
    "arn:aws:iam::111111111111:user/x",
    "arn:aws:iam::111111111111:role/r",
    "arn:aws:sts::111111111111:assumed-role/r/s",
    "222222222222",
];

fn conditions() -> impl Strategy<Value = Value> {
    let texts = &["x", "y", "*", "X", "${aws:username}", "${aws:PrincipalTag/none}", "?"];
    let operators: &[&str] = &[
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "StringEqualsIfExists",
        "StringNotEqualsIfExists",
        "ForAnyValue:StringLike",
        "ForAllValues:StringEquals",
        "ForAnyValue:StringNotEquals",
        "ForAllValues:StringNotLike",
    ];
    let text = (one_of(operators), one_of(&["aws:PrincipalTag/t", "AWS:username", "aws:TagKeys"]), some_of(texts))
        .prop_map(|(operator, key, wanted)| json!({operator: {key: wanted}}));
    let number = (
        one_of(&["NumericEquals", "NumericLessThan", "NumericGreaterThanEquals", "NumericNotEquals"]),
        some_of(&["1", "10", "9.5"]),
    )
        .prop_map(|(operator, wanted)| json!({operator: {"s3:max-keys": wanted}}));
    let date =
        (one_of(&["DateLessThan", "DateGreaterThan"]), one_of(&["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]))
            .prop_map(|(operator, wanted)| json!({operator: {"aws:CurrentTime": wanted}}));
    let address = (
        one_of(&["IpAddress", "NotIpAddress", "IpAddressIfExists"]),
        some_of(&["203.0.113.0/24", "0.0.0.0/0", "198.51.100.7"]),
    )
        .prop_map(|(operator, wanted)| json!({operator: {"aws:SourceIp": wanted}}));
    let flag = (one_of(&["Bool", "BoolIfExists", "Null"]), one_of(&["true", "false"]), any::<bool>()).prop_map(
        |(operator, word, bare)| {
            let wanted = if bare { json!(word == "true") } else { json!(word) };
            json!({operator: {"aws:SecureTransport": wanted}})
        },
    );
    let arn = (
        one_of(&["ArnLike", "ArnNotEquals"]),
        some_of(&["arn:aws:sns:*:*:t", "arn:aws:sns:eu-west-1:1:*", "arn:aws:*"]),
    )
        .prop_map(|(operator, wanted)| json!({operator: {"aws:SourceArn": wanted}}));
    prop_oneof![4 => Just(Value::Null), 3 => text, 1 => number, 1 => date, 1 => address, 1 => flag, 1 => arn]
}

fn statement(with_principal: bool) -> impl Strategy<Value = Value> {
    (
        prop::bool::weighted(0.75),
        prop::bool::weighted(0.15),
        some_of(ACTIONS),
        prop::bool::weighted(0.15),
        some_of(RESOURCES),
        some_of(PRINCIPALS),
        any::<bool>(),
        conditions(),
    )
        .prop_map(move |(allow, not_action, actions, not_resource, resources, aws, star, condition)| {
            let mut statement = json!({"Effect": if allow { "Allow" } else { "Deny" }});
            statement[if not_action { "NotAction" } else { "Action" }] = actions;
            statement[if not_resource { "NotResource" } else { "Resource" }] = resources;
            if with_principal {
                statement["Principal"] = if star && aws == "*" { aws } else { json!({"AWS": aws}) };
            }
            if !condition.is_null() {
                statement["Condition"] = condition;
            }
            statement
        })
}

fn policy(with_principal: bool) -> impl Strategy<Value = Value> {
    (prop::collection::vec(statement(with_principal), 1..4), prop::bool::weighted(0.85)).prop_map(
        |(statements, new)| {
            let version = if new { "2012-10-17" } else { "2008-10-17" };
            json!({"Version": version, "Statement": statements})
        },
    )
}

fn policies(most: usize) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(policy(false), 0..=most)
}

fn worlds() -> impl Strategy<Value = World> {
    let level = || prop::collection::vec(policy(false), 1..3);
    (
        policies(3),
        prop::option::of(policy(true)),
        prop_oneof![3 => Just(Vec::new()), 1 => policies(1)],
        prop_oneof![3 => Just(Vec::new()), 1 => policies(1)],
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(level(), 1..3)],
        prop_oneof![4 => Just(Vec::new()), 1 => policy(true).prop_map(|p| vec![p])],
        prop_oneof![5 => Just(Vec::new()), 1 => policy(true).prop_map(|p| vec![p])],
    )
        .prop_map(|(identity, resource, boundaries, session, scps, mut rcps, endpoint)| {
            // RCPs only deny, and they apply to everyone.
            for policy in &mut rcps {
                for statement in policy["Statement"].as_array_mut().unwrap() {
                    statement["Effect"] = json!("Deny");
                    statement["Principal"] = json!("*");
                }
            }
            let rcps = if rcps.is_empty() { Vec::new() } else { vec![rcps] };
            World { identity, resource, boundaries, session, scps, rcps, endpoint }
        })
}

fn contexts() -> impl Strategy<Value = RequestContext> {
    let maybe = |values: &'static [&'static str]| prop::option::of(one_of(values));
    (
        maybe(&["x", "y"]),
        maybe(&["x", "y", "X"]),
        prop::option::of(prop::collection::vec(one_of(&["x", "y", "z"]), 0..3)),
        maybe(&["1", "10"]),
        maybe(&["2026-06-01T00:00:00Z"]),
        maybe(&["203.0.113.7", "198.51.100.7"]),
        maybe(&["true", "false"]),
        maybe(&["arn:aws:sns:eu-west-1:1:t", "text"]),
    )
        .prop_map(|(username, tag, keys, number, time, address, tls, arn)| {
            let mut context = RequestContext::new();
            let single = [
                ("aws:username", username),
                ("aws:PrincipalTag/t", tag),
                ("s3:max-keys", number),
                ("aws:CurrentTime", time),
                ("aws:SourceIp", address),
                ("aws:SecureTransport", tls),
                ("aws:SourceArn", arn),
            ];
            for (key, value) in single {
                if let Some(value) = value {
                    context.set(key, ContextValue::One(value));
                }
            }
            if let Some(keys) = keys {
                context.set("aws:TagKeys", ContextValue::Many(keys));
            }
            context
        })
}

fn requests() -> impl Strategy<Value = Request> {
    let caller = one_of(&[
        "arn:aws:iam::111111111111:user/x",
        "arn:aws:iam::111111111111:role/r",
        "arn:aws:sts::111111111111:assumed-role/r/s",
    ]);
    let asked = prop_oneof![
        Just(("s3:GetObject", "arn:aws:s3:::a/x")),
        Just(("s3:PutObject", "arn:aws:s3:::a/y")),
        Just(("s3:ListBucket", "arn:aws:s3:::a")),
        Just(("kms:Decrypt", "arn:aws:kms:eu-west-1:111111111111:key/k")),
    ];
    (caller, asked, any::<bool>(), contexts()).prop_map(|(caller, (action, resource), foreign, context)| {
        let mut request = Request::new(&caller, action, resource);
        let account = if foreign { "222222222222" } else { "111111111111" };
        request.resource_account = Some(account.to_owned());
        request.context = context;
        request
    })
}

/// Two statements that differ in one element.
fn pairs() -> impl Strategy<Value = (Value, Value)> {
    let with = |element: String, values: Value| {
        let mut statement = json!({"Effect": "Allow", "Principal": "*"});
        statement["Action"] = json!("*");
        statement["Resource"] = json!("*");
        if let Some((operator, key)) = element.split_once(' ') {
            statement["Condition"] = json!({operator: {key: values}});
        } else {
            statement.as_object_mut().unwrap().remove(element.trim_start_matches("Not"));
            statement[&element] = values;
        }
        statement
    };
    let action = move || (one_of(&["Action", "NotAction"]), some_of(ACTIONS)).prop_map(move |(e, v)| with(e, v));
    let resource =
        move || (one_of(&["Resource", "NotResource"]), some_of(RESOURCES)).prop_map(move |(e, v)| with(e, v));
    let condition = one_of(&[
        "StringEquals aws:username",
        "StringNotEquals aws:username",
        "StringLike aws:PrincipalTag/t",
        "StringNotLike aws:PrincipalTag/t",
        "ForAllValues:StringEquals aws:TagKeys",
        "ForAnyValue:StringNotEquals aws:TagKeys",
        "ForAllValues:StringNotEquals aws:TagKeys",
        "ForAnyValue:StringLike aws:TagKeys",
        "StringEqualsIfExists aws:username",
    ]);
    let values = || some_of(&["x", "y", "z", "*"]);
    prop_oneof![
        (action(), action()),
        (resource(), resource()),
        (condition, values(), values()).prop_map(move |(e, a, b)| (with(e.clone(), a), with(e, b))),
    ]
}

/// A small change of a policy.
#[derive(Debug, Clone)]
enum Edit {
    Drop(usize),
    Repeat(usize),
    Add(Value),
    Set(usize, &'static str, Value),
    /// Adds a second statement that differs in one element, in the form of the first.
    Vary(usize, &'static str, Value),
}

impl Edit {
    fn of(&self, policy: &Value) -> Value {
        let mut policy = policy.clone();
        let statements = policy["Statement"].as_array_mut().unwrap();
        let count = statements.len();
        match self {
            Edit::Drop(at) if count > 1 => drop(statements.remove(at % count)),
            Edit::Drop(_) => {}
            Edit::Repeat(at) => statements.push(statements[at % count].clone()),
            Edit::Add(statement) => statements.push(statement.clone()),
            Edit::Vary(at, element, value) => {
                let mut copy = statements[at % count].clone();
                let inverted = format!("Not{element}");
                if *element == "Condition" {
                    let operators = copy.get_mut("Condition").and_then(Value::as_object_mut);
                    for (operator, keys) in operators.into_iter().flatten() {
                        if operator.contains("String") {
                            for values in keys.as_object_mut().unwrap().values_mut() {
                                *values = value.clone();
                            }
                        }
                    }
                } else if copy[&inverted].is_null() {
                    copy[*element] = value.clone();
                } else {
                    copy[&inverted] = value.clone();
                }
                statements.push(copy);
            }
            Edit::Set(at, element, value) => {
                let statement = statements[at % count].as_object_mut().unwrap();
                if !statement.contains_key(&format!("Not{element}")) {
                    statement.insert((*element).to_owned(), value.clone());
                }
            }
        }
        policy
    }
}

fn edits() -> impl Strategy<Value = Edit> {
    let at = 0usize..4;
    prop_oneof![
        1 => at.clone().prop_map(Edit::Drop),
        1 => at.clone().prop_map(Edit::Repeat),
        1 => statement(true).prop_map(Edit::Add),
        1 => (at.clone(), some_of(ACTIONS)).prop_map(|(at, value)| Edit::Set(at, "Action", value)),
        1 => (at.clone(), some_of(RESOURCES)).prop_map(|(at, value)| Edit::Set(at, "Resource", value)),
        2 => (at.clone(), some_of(ACTIONS)).prop_map(|(at, value)| Edit::Vary(at, "Action", value)),
        2 => (at.clone(), some_of(RESOURCES)).prop_map(|(at, value)| Edit::Vary(at, "Resource", value)),
        3 => (at.clone(), some_of(&["x", "y", "z", "*"])).prop_map(|(at, value)| Edit::Vary(at, "Condition", value)),
        1 => (at, conditions()).prop_map(|(at, value)| {
            Edit::Set(
                at,
                "Condition",
                if value.is_null() { json!({}) } else { value },
            )
        }),
    ]
}

/// The request with the keys that follow from its caller.
fn with_consistent_keys(request: &Request) -> Request {
    let own = Request::new(&request.principal, "*", "*").with_own_keys().context;
    let mut request = request.clone();
    for key in ["aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalType", "aws:username"] {
        request.context.set(key, own.get(key).cloned().unwrap_or(ContextValue::Many(Vec::new())));
    }
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn decides_as_the_twin_does(request in requests(), world in worlds()) {
        // The simple implementation does not know that a KMS key always has a policy.
        prop_assume!(!request.resource.starts_with("arn:aws:kms:") || world.resource.is_some());
        let (outcome, reached) = real(&request, &world);
        prop_assert_eq!(outcome, decide(&request, &world));
        prop_assert_eq!(reached, outcome == DecisionOutcome::Allowed);
    }

    #[test]
    fn canonical_document_decides_the_same(request in requests(), value in policy(false)) {
        let policy = Policy::from_value(&value).unwrap();
        let shown = policy.to_value();
        prop_assert_eq!(&Policy::from_value(&shown).unwrap(), &policy);
        let alone = |value: &Value| World { identity: vec![value.clone()], ..World::default() };
        prop_assert_eq!(decide(&request, &alone(&value)), decide(&request, &alone(&shown)));
        prop_assert_eq!(Policy::from_value(&shown).unwrap().to_value(), shown);
    }

    #[test]
    fn equivalent_policies_decide_alike(
        requests in prop::collection::vec(requests(), 16), a in policy(true), edit in edits(),
    ) {
        let b = edit.of(&a);
        let read = |value: &Value| Policy::from_value(value).unwrap();
        if equivalent(&read(&a), &read(&b)) {
            for request in requests.iter().map(with_consistent_keys) {
                let alone = |value: &Value| World { resource: Some(value.clone()), ..World::default() };
                prop_assert_eq!(decide(&request, &alone(&a)), decide(&request, &alone(&b)), "{}", b);
            }
        }
    }

    /// A statement reported as redundant applies only if the other one does. They differ in one element.
    #[test]
    fn covered_statement_adds_nothing(
        requests in prop::collection::vec(requests(), 24), pair in pairs(),
    ) {
        let (wide, narrow) = pair;
        let policy = |statements: &[&Value]| {
            Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
        };
        if equivalent(&policy(&[&wide, &narrow]), &policy(&[&wide])) {
            for request in requests {
                let does = |statement| applies(statement, &json!("2012-10-17"), &request, true);
                prop_assert!(does(&wide) || !does(&narrow), "{wide} {narrow} {request:?}");
            }
        }
    }

    /// The regions of a difference contain exactly the requests that are in one reach and not in the other, for all
    /// values of the atoms.
    #[test]
    fn differences_are_exact(
        request in requests(), before in policy(false), edit in edits(), limit in policy(false),
    ) {
        let mut open = request.clone();
        open.context = RequestContext::open();
        let [before, after, limit] =
            [&before, &edit.of(&before), &limit].map(|value| Policy::from_value(value).unwrap());
        let of = |policy| {
            let name = "p";
            let set = PolicySet {
                identity: vec![Attached { name, policy }],
                boundaries: vec![Attached { name, policy: &limit }],
                ..PolicySet::default()
            };
            reach(&open, &set)
        };
        let (old, new) = (of(&before), of(&after));
        let holds = |atom: &Atom| atom.holds(&request);
        let (action, resource) = (request.action.as_str(), request.resource.as_str());
        for (one, other) in [(&old, &new), (&new, &old)] {
            let more = one.contains(action, resource, holds) && !other.contains(action, resource, holds);
            prop_assert_eq!(one.minus(other).iter().any(|r| r.contains(action, resource, holds)), more);
            prop_assert!(one.minus(one).is_empty());
        }
        let regions = new.regions();
        prop_assert_eq!(
            regions.iter().any(|r| r.contains(action, resource, holds)),
            new.contains(action, resource, holds)
        );
    }

    /// Splitting statements, dropping covered ones and shuffling do not change the meaning of a policy.
    #[test]
    fn rewritten_policies_are_equivalent(value in policy(true), turn in 0usize..4) {
        let mut statements: Vec<Value> = Vec::new();
        for statement in value["Statement"].as_array().unwrap() {
            if statement["Action"].is_null() {
                statements.push(statement.clone());
                continue;
            }
            for (at, action) in list(&statement["Action"]).into_iter().enumerate() {
                let mut part = statement.clone();
                part["Action"] = json!([action.to_uppercase(), action]);
                part["Sid"] = json!(format!("Part{}x{at}", statements.len()));
                statements.push(part);
            }
        }
        let turn = turn % statements.len();
        statements.rotate_left(turn);
        let other = json!({"Version": value["Version"], "Statement": statements});
        let (a, b) = (Policy::from_value(&value).unwrap(), Policy::from_value(&other).unwrap());
        prop_assert!(equivalent(&a, &b), "{a:#}\n{b:#}");
    }

    /// A certain decision holds for all values of the unknown keys.
    #[test]
    fn certain_decisions_do_not_depend(request in requests(), world in worlds()) {
        prop_assume!(!request.resource.starts_with("arn:aws:kms:") || world.resource.is_some());
        let mut open = request.clone();
        open.context = RequestContext::open();
        let (outcome, _) = real(&open, &world);
        if outcome != DecisionOutcome::Conditional {
            prop_assert_eq!(outcome, real(&request, &world).0);
        }
    }
}
