"""Draws pairs of small policies: rewritings with the same meaning, mutants with one edit, samples of "no new access"
and independent pairs. Each pair follows from the seed and its number alone."""

import copy
import datetime
import ipaddress
import random

import policies as model

KINDS = {"rewriting": 45, "mutant": 30, "no-new-access": 10, "independent": 15}
TYPES = {"identity": 60, "resource": 24, "trust": 10, "scp": 6}

ACCOUNT, OTHER = "111122223333", "444455556666"
PRINCIPALS = [
    "*",
    {"AWS": "*"},
    {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    {"AWS": ACCOUNT},
    {"AWS": f"arn:aws:iam::{ACCOUNT}:role/a"},
    {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/a", f"arn:aws:iam::{ACCOUNT}:user/u"]},
    {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/a", f"arn:aws:iam::{OTHER}:root"]},
    {"AWS": [ACCOUNT, OTHER]},
    {"Service": "ec2.amazonaws.com"},
    {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]},
    {"AWS": f"arn:aws:iam::{ACCOUNT}:role/a", "Service": "ec2.amazonaws.com"},
]
PROVIDERS = [
    {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/idp.example.com"},
    {"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/p"},
]
# With the account, because the documentation leaves open what happens without it.
EXCEPTED = [
    {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/a", f"arn:aws:iam::{ACCOUNT}:root"]},
    {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/a", f"arn:aws:iam::{ACCOUNT}:user/u", ACCOUNT]},
    {"AWS": [f"arn:aws:iam::{OTHER}:role/a", OTHER], "Service": "ec2.amazonaws.com"},
]
ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectAcl", "s3:ListBucket", "kms:Decrypt"]
ACTION_PATTERNS = [
    "s3:*",
    "*",
    "s3:Get*",
    "s3:*Object",
    "s3:*Object*",
    "s3:?etObject",
    "s3:getobject",
    "kms:*",
    "sqs:*",
]
TRUST_ACTIONS = ["sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"]
TRUST_PATTERNS = ["sts:*", "sts:Assume*", "sts:AssumeRole*", "sts:assumerole"]
BUCKET = "arn:aws:s3:::"
RESOURCES = [
    BUCKET + end for end in ("b", "b/*", "b/a", "b/a*", "b/a/*", "b/?", "b*", "*", "d/*", "*/a", "b/*a*", "b/*/x")
]
OTHER_RESOURCES = [
    "*",
    "*",
    "arn:aws:kms:*:*:key/*",
    f"arn:aws:sqs:eu-west-1:{ACCOUNT}:q",
    "arn:aws:sqs:*:*:q*",
    "arn:aws:s3*",
]
VARIABLE_RESOURCES = [
    BUCKET + end
    for end in (
        "b/${aws:username}/*",
        "b/${aws:username}",
        "${aws:PrincipalTag/team}/*",
        "b/${aws:PrincipalTag/team, 'red'}",
        "b/${*}",
        "b/${aws:userid}*",
    )
]
TEXTS = {
    "aws:PrincipalTag/team": ["red", "blue", "Red", "green"],
    "aws:SourceVpc": ["vpc-1", "vpc-2"],
    "s3:prefix": ["a/", "a/b", "b"],
    "aws:RequestTag/env": ["dev", "prod"],
    "aws:userid": ["AIDA1", "AROA2:s"],
    "sts:ExternalId": ["x1", "x2"],
}
LIKES = {
    "aws:PrincipalTag/team": ["re*", "r?d", "*e*", "b*", "*"],
    "aws:SourceVpc": ["vpc-*", "vpc-?"],
    "s3:prefix": ["a/*", "a*", "*/b"],
    "aws:RequestTag/env": ["d*", "pro?"],
    "aws:userid": ["AROA*", "*:s"],
    "sts:ExternalId": ["x*"],
}
VARIABLE_VALUES = [
    "${aws:userid}",
    "${aws:PrincipalTag/team}",
    "x${aws:username}",
    "${aws:username}/*",
    "${*}",
    "${aws:SourceVpc, 'red'}",
]
NETWORKS = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.128.0.0/9",
    "192.0.2.0/24",
    "192.0.2.7",
    "0.0.0.0/0",
    "2001:db8::/32",
]
ARNS = [
    BUCKET + "b",
    BUCKET + "b*",
    "arn:aws:sns:*:*:t",
    f"arn:aws:sns:eu-west-1:{ACCOUNT}:t",
    f"arn:aws:*:*:{ACCOUNT}:*",
]
CALLER_ARNS = [
    f"arn:aws:iam::{ACCOUNT}:role/a",
    f"arn:aws:iam::{ACCOUNT}:role/*",
    "arn:aws:iam::*:role/a*",
    f"arn:aws:iam::{OTHER}:*",
]
NUMBERS = ["1", "5", "5.5", "10"]
DATES = ["2026-01-01T00:00:00Z", "2026-06-30T12:00:00Z", "2027-01-01T00:00:00Z"]
TAGS = ["a", "b", "env", "e*"]
COMPARISONS = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]


def pick(rng, weights):
    return rng.choices(list(weights), list(weights.values()))[0]


def some(rng, values, most=2):
    return rng.sample(values, rng.randint(1, min(most, len(values))))


# --- Policies ---


def condition(rng, kind):
    """An operator, a key and its values."""
    families = {"text": 36, "ip": 14, "null": 8, "bool": 8, "numeric": 7, "date": 4, "arn": 7, "tags": 10, "caller": 6}
    family = pick(rng, families)
    suffix = "IfExists" if family not in ("null", "tags") and rng.random() < 0.15 else ""
    if family == "text":
        key = rng.choice([key for key in TEXTS if (key == "sts:ExternalId") <= (kind == "trust")])
        like = rng.random() < 0.4
        values = some(rng, TEXTS[key] + (LIKES[key] if like else []))
        if rng.random() < 0.1:
            values[0] = rng.choice([v for v in VARIABLE_VALUES if key.lower() not in v.lower()])
        elif rng.random() < 0.03:
            values.append("")
        operators = ["StringLike", "StringLike", "StringNotLike"] if like else ["StringEquals", "StringEquals"]
        operators += [] if like else ["StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"]
        return rng.choice(operators) + suffix, key, values
    if family == "ip":
        return rng.choice(["IpAddress", "IpAddress", "NotIpAddress"]) + suffix, "aws:SourceIp", some(rng, NETWORKS)
    if family == "null":
        return "Null", rng.choice([*TEXTS, "aws:TagKeys"]), [rng.choice(["true", "false"])]
    if family == "bool":
        key = rng.choice(["aws:SecureTransport", "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthPresent"])
        return "Bool" + suffix, key, [rng.choice(["true", "false"])]
    if family == "numeric":
        return "Numeric" + rng.choice(COMPARISONS) + suffix, "s3:max-keys", some(rng, NUMBERS)
    if family == "date":
        return "Date" + rng.choice(COMPARISONS[2:]) + suffix, "aws:TokenIssueTime", [rng.choice(DATES)]
    if family == "arn":
        return (
            rng.choice(["ArnLike", "ArnEquals", "ArnNotLike", "ArnNotEquals"]) + suffix,
            "aws:SourceArn",
            some(rng, ARNS),
        )
    if family == "tags":
        qualifier = rng.choice(["ForAnyValue:", "ForAllValues:"])
        return qualifier + rng.choice(["StringEquals", "StringLike", "StringNotEquals"]), "aws:TagKeys", some(rng, TAGS)
    form = rng.random()
    if form < 0.6:
        return rng.choice(["ArnLike", "ArnEquals", "ArnNotLike"]) + suffix, "aws:PrincipalArn", some(rng, CALLER_ARNS)
    if form < 0.8:
        return rng.choice(["StringEquals", "StringNotEquals"]), "aws:PrincipalAccount", [rng.choice([ACCOUNT, OTHER])]
    return rng.choice(["StringEquals", "StringNotEquals"]), "aws:PrincipalType", [rng.choice(["User", "AssumedRole"])]


def put(statement, operator, key, values):
    """Adds a test, unless the statement has one with this operator and key."""
    keys = statement.setdefault("Condition", {}).setdefault(operator, {})
    if key in keys:
        return False
    keys[key] = values
    return True


def statement(rng, kind):
    effect = "Deny" if rng.random() < 0.3 else "Allow"
    actions, patterns = (TRUST_ACTIONS, TRUST_PATTERNS) if kind == "trust" else (ACTIONS, ACTION_PATTERNS)
    made = {"Effect": effect}
    if kind in ("resource", "trust"):
        # A trust policy has no `NotPrincipal`.
        if kind == "resource" and rng.random() < 0.1:
            made["NotPrincipal"] = copy.deepcopy(rng.choice(EXCEPTED))
        else:
            made["Principal"] = copy.deepcopy(rng.choice(PRINCIPALS + (PROVIDERS if kind == "trust" else [])))
    name = "NotAction" if rng.random() < 0.15 else "Action"
    made[name] = some(rng, actions + patterns if rng.random() < 0.7 else patterns)
    if kind != "trust":
        pool = RESOURCES if rng.random() < 0.75 else OTHER_RESOURCES if rng.random() < 0.6 else VARIABLE_RESOURCES
        made["NotResource" if rng.random() < 0.12 else "Resource"] = some(rng, pool)
    for _ in range(pick(rng, {0: 40, 1: 45, 2: 15})):
        put(made, *condition(rng, kind))
    return made


def policy(rng, kind):
    statements = [statement(rng, kind) for _ in range(pick(rng, {1: 45, 2: 40, 3: 15}))]
    if kind == "scp" and rng.random() < 0.7:
        statements[0] = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    version = "2008-10-17" if rng.random() < 0.08 else "2012-10-17"
    return {"Version": version, "Statement": statements}


# --- Rewritings: each takes a statement and returns statements with the same meaning, or None if it does not apply ---


def tests_of(s):
    return [(operator, key) for operator, keys in s.get("Condition", {}).items() for key in keys]


def without(s, operator, key):
    """A copy without one test, and the values of that test."""
    s = copy.deepcopy(s)
    values = model.listed(s["Condition"][operator].pop(key))
    if not s["Condition"][operator]:
        del s["Condition"][operator]
    if not s["Condition"]:
        del s["Condition"]
    return s, values


def with_test(s, operator, key, values):
    s = copy.deepcopy(s)
    return s if put(s, operator, key, values) else None


def base(operator):
    return operator.rpartition(":")[2].removesuffix("IfExists")


def chosen(rng, s, fits):
    found = [test for test in tests_of(s) if fits(*test)]
    return rng.choice(found) if found else None


def replaced(s, operator, key, lists):
    """One statement for each list of values."""
    rest, _ = without(s, operator, key)
    return [with_test(rest, operator, key, values) for values in lists]


def split_values(rng, s):
    def fits(operator, key):
        positive = "Not" not in operator and not operator.startswith("ForAll")
        return positive and len(model.listed(s["Condition"][operator][key])) > 1

    test = chosen(rng, s, fits)
    return test and replaced(s, *test, [[v] for v in model.listed(s["Condition"][test[0]][test[1]])])


def split_list(rng, s):
    names = [n for n in ("Action", "Resource") if n in s and len(model.listed(s[n])) > 1]
    if not names:
        return None
    name = rng.choice(names)
    return [{**copy.deepcopy(s), name: value} for value in s[name]]


def split_principals(rng, s):
    if "Principal" not in s or s["Principal"] == "*":
        return None
    entries = [(kind, name) for kind, names in s["Principal"].items() for name in model.listed(names)]
    return [{**copy.deepcopy(s), "Principal": {kind: name}} for kind, name in entries] if len(entries) > 1 else None


def respell_account(rng, s):
    name = "Principal" if "Principal" in s else "NotPrincipal"
    if not isinstance(s.get(name), dict) or "AWS" not in s[name]:
        return None
    swap = {a: f"arn:aws:iam::{a}:root" for a in (ACCOUNT, OTHER)}
    swap |= {arn: account for account, arn in swap.items()}
    s = copy.deepcopy(s)
    s[name]["AWS"] = [swap.get(n, n) for n in reversed(model.listed(s[name]["AWS"]))]
    return [s]


def nested_network(rng, s):
    test = chosen(rng, s, lambda operator, _: base(operator) in ("IpAddress", "NotIpAddress"))
    if not test:
        return None
    values = model.listed(s["Condition"][test[0]][test[1]])
    network = ipaddress.ip_network(rng.choice(values), strict=False)
    if network.prefixlen == network.max_prefixlen:
        return replaced(s, *test, [[*values, f"{network.network_address}/{network.max_prefixlen}"]])
    low, high = map(str, network.subnets(1))
    if rng.random() < 0.5:
        return replaced(s, *test, [[*(v for v in values if model.network(v) != network), low, high]])
    return replaced(s, *test, [[*values, rng.choice([low, high, str(network.network_address)])]])


def narrower(rng, pattern):
    """A pattern that matches no more."""
    if "${" in pattern:
        return None
    at = [i for i, c in enumerate(pattern) if c in "*?"]
    if not at:
        return pattern
    i = rng.choice(at)
    fill = rng.choice(["a", "x", "?", "a*", "*a", "", "?*"] if pattern[i] == "*" else ["a", "b"])
    return pattern[:i] + fill + pattern[i + 1 :]


def narrower_value(rng, name, value):
    if name == "Action" and value == "*":
        return rng.choice(["s3:*", "kms:Decrypt", "sqs:*"])
    if name == "Resource" and value == "*":
        return rng.choice(RESOURCES + ["arn:aws:sqs:*:*:q*"])
    found = narrower(rng, value)
    if (
        found
        and name == "Resource"
        and (found.endswith(":") or found.count(":") != value.count(":") or value.count(":") < 5)
    ):
        return None
    # AWS rejects an action without a name.
    return None if name == "Action" and found and found.endswith(":") else found


def covered_pattern(rng, s):
    names = [n for n in ("Action", "Resource", "NotAction", "NotResource") if n in s]
    name = rng.choice(names)
    values = model.listed(s[name])
    extra = narrower_value(rng, name.removeprefix("Not"), rng.choice(values))
    return extra and [{**copy.deepcopy(s), name: rng.sample([*values, extra], len(values) + 1)}]


def covered_value(rng, s):
    test = chosen(rng, s, lambda operator, _: base(operator) in ("StringLike", "StringNotLike"))
    if not test:
        return None
    values = model.listed(s["Condition"][test[0]][test[1]])
    extra = narrower(rng, rng.choice(values))
    return replaced(s, *test, [[extra, *values]]) if extra else None


def star(value):
    return value.endswith("*") and not value.endswith(("**", ":*", "?*")) and "${" not in value and len(value) > 1


def split_star(rng, s):
    """`x*` is `x` and `x?*`."""
    places = [(n, v) for n in ("Action", "Resource", "NotAction", "NotResource") if n in s for v in model.listed(s[n])]
    places = [(n, v) for n, v in places if star(v) and (n.endswith("Action") or v.count(":") >= 5)]
    tests = [t for t in tests_of(s) if base(t[0]) in ("StringLike", "StringNotLike")]
    tests = [(t, v) for t in tests for v in model.listed(s["Condition"][t[0]][t[1]]) if star(v)]
    if not places and not tests:
        return None
    place, value = rng.choice(places + tests)
    old = model.listed(s[place]) if isinstance(place, str) else model.listed(s["Condition"][place[0]][place[1]])
    new = [v for v in old if v != value] + [value[:-1], value[:-1] + rng.choice(["?*", "*?"])]
    return [{**copy.deepcopy(s), place: new}] if isinstance(place, str) else replaced(s, *place, [new])


def halves_resource(rng, s):
    if model.listed(s.get("Resource", "")) != ["*"]:
        return None
    inner = some(rng, RESOURCES)
    rest = {k: v for k, v in s.items() if k != "Resource"}
    return [{**copy.deepcopy(rest), name: inner} for name in ("Resource", "NotResource")]


def halves_action(rng, s):
    if model.listed(s.get("Action", "")) != ["*"]:
        return None
    inner = some(rng, ACTIONS + ACTION_PATTERNS[2:])
    rest = {k: v for k, v in s.items() if k != "Action"}
    return [{**copy.deepcopy(rest), name: inner} for name in ("Action", "NotAction")]


def halves(s, key, *tests):
    parts = [with_test(s, operator, key, values) for operator, values in tests]
    return None if None in parts else parts


def halves_null(rng, s):
    key = rng.choice([*TEXTS, "aws:TagKeys", "aws:SourceIp"])
    return halves(s, key, ("Null", "true"), ("Null", "false"))


def halves_equals(rng, s):
    key = rng.choice(list(TEXTS))
    if rng.random() < 0.5:
        values = some(rng, TEXTS[key])
        suffix = rng.choice(["", "IgnoreCase"])
        return halves(s, key, ("StringEquals" + suffix, values), ("StringNotEquals" + suffix, values))
    values = some(rng, LIKES[key])
    return halves(s, key, ("StringLike", values), ("StringNotLike", values))


def halves_typed(rng, s):
    form = rng.choice(["ip", "bool", "numeric", "date", "arn", "tags"])
    if form == "ip":
        values = some(rng, NETWORKS)
        return halves(s, "aws:SourceIp", ("IpAddress", values), ("NotIpAddress", values))
    if form == "bool":
        return halves(s, "aws:MultiFactorAuthPresent", ("Bool", "true"), ("BoolIfExists", "false"))
    if form == "arn":
        values = some(rng, ARNS)
        return halves(s, "aws:SourceArn", ("ArnLike", values), ("ArnNotEquals", values))
    if form == "tags":
        values = some(rng, TAGS)
        return halves(s, "aws:TagKeys", ("ForAllValues:StringEquals", values), ("ForAnyValue:StringNotEquals", values))
    name, key, pool = (
        ("Numeric", "s3:max-keys", NUMBERS) if form == "numeric" else ("Date", "aws:TokenIssueTime", DATES)
    )
    bound = rng.choice(pool)
    return halves(s, key, (name + "LessThan", bound), (name + "GreaterThanEqualsIfExists", bound))


def if_exists(rng, s):
    def fits(operator, key):
        return operator.endswith("IfExists") and ":" not in operator and ("Null", key) not in tests_of(s)

    test = chosen(rng, s, fits)
    if not test:
        return None
    rest, values = without(s, *test)
    parts = [
        with_test(rest, test[0].removesuffix("IfExists"), test[1], values),
        with_test(rest, "Null", test[1], "true"),
    ]
    return None if None in parts else parts


def split_negated(rng, s):
    """Two forbidden values are two tests with synonymous operators."""
    synonyms = {"StringNotEquals": "StringNotLike", "ArnNotEquals": "ArnNotLike", "ArnNotLike": "ArnNotEquals"}
    test = chosen(
        rng, s, lambda operator, key: operator in synonyms and len(model.listed(s["Condition"][operator][key])) > 1
    )
    if not test:
        return None
    rest, values = without(s, *test)
    other = with_test(rest, test[0], test[1], values[:1])
    other = other and with_test(other, synonyms[test[0]], test[1], values[1:])
    return other and [other]


def synonym(rng, s):
    synonyms = {
        "ArnEquals": "ArnLike",
        "ArnNotEquals": "ArnNotLike",
        "ArnLike": "ArnEquals",
        "ArnNotLike": "ArnNotEquals",
    }
    synonyms |= {"StringEquals": "StringLike", "StringNotEquals": "StringNotLike"}
    test = chosen(rng, s, lambda operator, _: base(operator) in synonyms)
    if not test:
        return None
    rest, values = without(s, *test)
    if base(test[0]).startswith("String") and any(c in v for v in values for c in "*?"):
        return None
    other = with_test(rest, test[0].replace(base(test[0]), synonyms[base(test[0])]), test[1], values)
    return other and [other]


def respell_values(rng, s):
    """Numbers, dates, booleans and addresses in another form, or values twice and in another order."""
    test = chosen(rng, s, lambda *_: True)
    if not test:
        return None
    operator, values = base(test[0]), model.listed(s["Condition"][test[0]][test[1]])
    if operator.startswith("Numeric"):
        values = [v + (".00" if "." not in v else "0") for v in values]
    elif operator.startswith("Date"):
        moments = [datetime.datetime.fromisoformat(v.replace("Z", "+00:00")) for v in values]
        zone = datetime.timezone(datetime.timedelta(hours=2))
        values = [rng.choice([str(int(m.timestamp())), m.astimezone(zone).isoformat()]) for m in moments]
    elif operator in ("Bool", "Null"):
        values = [v == "true" if isinstance(v, str) else v for v in values]
    elif operator in ("IpAddress", "NotIpAddress"):
        values = [str(ipaddress.ip_network(v, strict=False)) for v in values]
    else:
        values = [*reversed(values), values[0]]
    return replaced(s, *test, [values])


def respell(rng, s):
    """Another order, another case of actions, lists of one, and a Sid."""
    s = copy.deepcopy(s)
    for name in ("Action", "NotAction"):
        if name in s:
            s[name] = [rng.choice([str, str.lower])(a) for a in reversed(model.listed(s[name]))]
    for name in ("Resource", "NotResource"):
        if name in s and len(model.listed(s[name])) == 1:
            s[name] = model.listed(s[name])[0]
    s["Sid"] = f"S{rng.randrange(10**9)}"
    return [s]


def narrower_copy(rng, s):
    """The statement and one that it covers."""
    other = copy.deepcopy(s)
    if rng.random() < 0.5:
        if not put(other, *condition(rng, "identity")):
            return None
    else:
        name = rng.choice([n for n in ("Action", "Resource") if n in s] or [""])
        value = name and narrower_value(rng, name, rng.choice(model.listed(s[name])))
        if not value:
            return None
        other[name] = value
    return rng.sample([s, other], 2)


def impossible(rng, s):
    """The statement and one that never applies."""
    other = copy.deepcopy(s)
    other["Effect"] = rng.choice(["Allow", "Deny"])
    key = rng.choice(["aws:RequestTag/env", "aws:SourceVpc"])
    if not put(other, "StringEquals", key, "never") or not put(other, "Null", key, "true"):
        return None
    return rng.sample([s, other], 2)


def allow_under_deny(rng, s):
    """What a Deny denies may as well be allowed."""
    if s["Effect"] != "Deny" or "NotPrincipal" in s:
        return None
    return [s, {**copy.deepcopy(s), "Effect": "Allow"}]


def by_caller_key(rng, s):
    """A role as its account and a condition on the ARN of the caller."""
    role = f"arn:aws:iam::{ACCOUNT}:role/a"
    if s.get("Principal") != {"AWS": role}:
        return None
    other = {**copy.deepcopy(s), "Principal": {"AWS": ACCOUNT}}
    return [other] if put(other, "ArnEquals", "aws:PrincipalArn", role) else None


def longer_star(rng, s):
    """`*` twice is `*` once."""
    s = copy.deepcopy(s)
    for name in ("Resource", "NotResource", "Action", "NotAction"):
        if name in s:
            values = [v.replace("*", "**") if v != "*" and "${" not in v else v for v in model.listed(s[name])]
            if values != s[name]:
                s[name] = values
                return [s]
    return None


REWRITINGS = [
    *(split_values, split_list, split_principals, respell_account, nested_network, covered_pattern, covered_value),
    *(split_star, halves_resource, halves_action, halves_null, halves_equals, halves_typed, if_exists, split_negated),
    *(synonym, respell_values, respell, narrower_copy, impossible, allow_under_deny, by_caller_key, longer_star),
]
# `deny_unless` keeps what is allowed and adds an explicit denial, so it is only a rewriting for `implies` and `diff`.
OPPOSITES = {
    **{"StringEquals": "StringNotEquals", "StringLike": "StringNotLike", "IpAddress": "NotIpAddress"},
    **{"ArnLike": "ArnNotLike", "ArnEquals": "ArnNotEquals", "NumericEquals": "NumericNotEquals"},
    **{"StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase"},
}


def deny_unless(rng, s):
    """`Allow if` as `Allow` and `Deny unless`: the same access if nothing else in the policy allows the rest."""
    test = chosen(rng, s, lambda operator, _: operator in OPPOSITES)
    if not test or s["Effect"] != "Allow" or "NotPrincipal" in s:
        return None
    rest, values = without(s, *test)
    deny = with_test(rest, OPPOSITES[test[0]], test[1], values)
    return deny and [rest, {**deny, "Effect": "Deny"}]


def apply(rng, policy, rewriting):
    """Rewrites one statement that the rewriting fits, or returns None."""
    statements = policy["Statement"]
    for at in rng.sample(range(len(statements)), len(statements)):
        parts = rewriting(rng, statements[at])
        if parts:
            parts = [copy.deepcopy(part) for part in parts]
            for part in parts[1:]:
                # Identity policies reject a Sid that is used twice.
                part.pop("Sid", None)
            return {**policy, "Statement": statements[:at] + parts + statements[at + 1 :]}
    return None


def rewritten(rng, policy):
    """The policy after one or two rewritings, and their names."""
    names = []
    for _ in range(pick(rng, {1: 60, 2: 40})):
        if rng.random() < 0.05 and "${" not in str(policy):
            policy = {**policy, "Version": "2008-10-17" if policy["Version"] == "2012-10-17" else "2012-10-17"}
            names.append("version")
            continue
        if not names and len(policy["Statement"]) == 1 and rng.random() < 0.15:
            other = apply(rng, policy, deny_unless)
            if other:
                return other, ["deny_unless"]
        for rewriting in rng.sample(REWRITINGS, len(REWRITINGS)):
            other = apply(rng, policy, rewriting)
            if other:
                policy = other
                names.append(rewriting.__name__)
                break
    return policy, names


# --- Mutants ---


def mutant(rng, policy, kind):
    """The policy after one edit, and the name of the edit."""
    policy = copy.deepcopy(policy)
    statements = policy["Statement"]
    s = rng.choice(statements)
    edits = ["effect", "action", "not_action", "drop", "add", "add_test"]
    edits += ["resource", "resource", "not_resource"] if kind != "trust" else []
    edits += ["principal", "principal"] if "Principal" in s else ["excepted"] if "NotPrincipal" in s else []
    edits += ["drop_test", "operator", "value", "value", "value"] if tests_of(s) else []
    edits += ["version"] if "${" in str(policy) else []
    edit = rng.choice(edits)
    if edit == "effect":
        s["Effect"] = "Deny" if s["Effect"] == "Allow" else "Allow"
        if "NotPrincipal" in s:
            edit, s["NotPrincipal"] = "excepted", copy.deepcopy(rng.choice(EXCEPTED))
            s["Effect"] = "Deny"
    elif edit in ("action", "resource"):
        name = next(n for n in (edit.title(), "Not" + edit.title()) if n in s)
        pool = (
            (TRUST_ACTIONS + TRUST_PATTERNS if kind == "trust" else ACTIONS + ACTION_PATTERNS)
            if edit == "action"
            else RESOURCES
        )
        values = list(model.listed(s[name]))
        if rng.random() < 0.3:
            values.append(rng.choice(pool))
        else:
            at = rng.randrange(len(values))
            close = narrower_value(rng, edit.title(), values[at])
            values[at] = close if close and rng.random() < 0.6 else rng.choice(pool)
        s[name] = values
    elif edit in ("not_action", "not_resource"):
        name = edit[4:].title()
        old, new = (name, "Not" + name) if name in s else ("Not" + name, name)
        s[new] = s.pop(old)
    elif edit == "drop":
        statements.remove(s)
        if not statements:
            statements.append(statement(rng, kind))
    elif edit == "add":
        statements.append(statement(rng, kind))
    elif edit == "add_test":
        put(s, *condition(rng, kind))
    elif edit in ("principal", "excepted"):
        name, pool = ("Principal", PRINCIPALS) if edit == "principal" else ("NotPrincipal", EXCEPTED)
        s[name] = copy.deepcopy(rng.choice(pool))
    elif edit == "version":
        policy["Version"] = "2008-10-17" if policy["Version"] == "2012-10-17" else "2012-10-17"
    else:
        operator, key = rng.choice(tests_of(s))
        rest, values = without(s, operator, key)
        at = statements.index(s)
        if edit == "drop_test":
            statements[at] = rest
        elif edit == "operator":
            statements[at] = with_test(rest, _other_operator(rng, operator), key, values) or rest
        else:
            values = list(values)
            place = rng.randrange(len(values))
            values[place] = _other_value(rng, base(operator), key, str(values[place]))
            statements[at] = with_test(rest, operator, key, values)
    return policy, edit


def _other_operator(rng, operator):
    """An operator of the same type that differs in one respect."""
    qualifier, _, name = operator.rpartition(":")
    if qualifier and rng.random() < 0.5:
        return ("ForAllValues:" if qualifier == "ForAnyValue" else "ForAnyValue:") + name
    if name == "Null":
        return "Null"
    if rng.random() < 0.4:
        changed = name.removesuffix("IfExists") if name.endswith("IfExists") else name + "IfExists"
        return changed if not qualifier else operator
    suffix = "IfExists" if name.endswith("IfExists") else ""
    bare = name.removesuffix("IfExists")
    groups = [
        ["StringEquals", "StringNotEquals", "StringLike", "StringEqualsIgnoreCase"],
        ["IpAddress", "NotIpAddress"],
    ]
    groups += [["ArnLike", "ArnNotLike"], ["Numeric" + c for c in COMPARISONS], ["Date" + c for c in COMPARISONS]]
    group = next((group for group in groups if bare in group), [bare])
    return (qualifier + ":" if qualifier else "") + rng.choice(group) + suffix


def _other_value(rng, operator, key, value):
    if operator in ("Bool", "Null"):
        return "false" if value.lower() == "true" else "true"
    if operator in ("IpAddress", "NotIpAddress"):
        network = ipaddress.ip_network(value, strict=False)
        if rng.random() < 0.5 and 1 < network.prefixlen < network.max_prefixlen:
            return str(network.supernet() if rng.random() < 0.5 else next(network.subnets()))
        return rng.choice(NETWORKS)
    if operator.startswith("Numeric"):
        return rng.choice(NUMBERS)
    if operator.startswith("Date"):
        return rng.choice(DATES)
    if operator.startswith("Arn"):
        return rng.choice(CALLER_ARNS if key == "aws:PrincipalArn" else ARNS)
    like = operator.endswith("Like")
    close = narrower(rng, value) if like else None
    if close and rng.random() < 0.5:
        return close
    pools = {
        "aws:TagKeys": TAGS,
        "aws:PrincipalAccount": [ACCOUNT, OTHER],
        "aws:PrincipalType": ["User", "AssumedRole"],
    }
    return rng.choice(pools.get(key) or TEXTS[key] + (LIKES[key] if like else []))


# --- "No new access": a reference that says what is acceptable, and a candidate ---


def no_new_access(rng):
    """The kinds of samples that AWS publishes for its check: sensitive resources, tags, roles, trusted providers."""
    allow_all = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    action = rng.choice(ACTIONS)
    actions = some(rng, [action, action, "s3:*", "s3:Get*", "kms:*"])
    form = rng.choice(["sensitive", "tag", "who", "trust"])
    if form == "sensitive":
        secret = rng.choice([BUCKET + "secret", BUCKET + "secret/*", "arn:aws:sqs:*:*:secret"])
        reference = [allow_all, {"Effect": "Deny", "Action": some(rng, ACTIONS + ["s3:*"], 3), "Resource": secret}]
        place = rng.choice([secret, BUCKET + "other/*", BUCKET + "s*", "*", BUCKET + "secret/a"])
        candidate = [{"Effect": "Allow", "Action": actions, "Resource": place}]
        if rng.random() < 0.4:
            candidate.append(
                {
                    "Effect": "Deny",
                    "Action": rng.choice(["*", "s3:*", action]),
                    "Resource": rng.choice([secret, BUCKET + "secret*"]),
                }
            )
        return "identity", reference, candidate
    if form == "tag":
        key, value = "aws:ResourceTag/team", rng.choice(["red", "*"])
        forms = [("StringNotEquals", "red"), ("Null", "true"), ("StringNotLike", "r*")]
        reference = [
            allow_all,
            with_test({"Effect": "Deny", "Action": action, "Resource": "*"}, *_keyed(rng.choice(forms), key)),
        ]
        candidate = [{"Effect": "Allow", "Action": actions, "Resource": "*"}]
        if rng.random() < 0.5:
            test = rng.choice(
                [("StringEquals", "red"), ("StringLike", value), ("Null", "false"), ("StringEqualsIfExists", "red")]
            )
            candidate = [with_test(candidate[0], *_keyed(test, key))]
        else:
            candidate.append(
                with_test({"Effect": "Deny", "Action": action, "Resource": "*"}, *_keyed(rng.choice(forms), key))
            )
        return "identity", reference, candidate
    role = [f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in "ab"]
    if form == "who":
        reference = [
            {"Effect": "Allow", "Principal": {"AWS": role}, "Action": action, "Resource": "*"},
            {
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": action,
                "Resource": "*",
                "Condition": {"ArnLike": {"aws:PrincipalArn": role}},
            },
            {"Effect": "Allow", "Principal": "*", "NotAction": action, "Resource": "*"},
        ]
        candidate = {
            "Effect": "Allow",
            "Principal": rng.choice([{"AWS": role[0]}, {"AWS": "*"}, "*", {"AWS": ACCOUNT}]),
            "Action": actions,
            "Resource": BUCKET + "b/*",
        }
        if rng.random() < 0.6:
            value = rng.choice([role[0], role, f"arn:aws:iam::{ACCOUNT}:role/*"])
            put(
                candidate,
                rng.choice(["ArnEquals", "ArnLike", "StringEquals", "ArnLikeIfExists"]),
                "aws:PrincipalArn",
                value,
            )
        return "resource", reference, [candidate]
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/idp.example.com"
    reference = [
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"idp.example.com:sub": ["s1", "s2"]}},
        },
        {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "sts:AssumeRole"},
    ]
    if rng.random() < 0.5:
        candidate = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity"}
        if rng.random() < 0.8:
            put(
                candidate,
                rng.choice(["StringEquals", "StringLike", "StringEqualsIfExists"]),
                "idp.example.com:sub",
                rng.choice(["s1", "s?", ["s1", "s2"]]),
            )
    else:
        candidate = {
            "Effect": "Allow",
            "Principal": {"AWS": rng.choice([role[0], role, ACCOUNT])},
            "Action": rng.choice(["sts:AssumeRole", "sts:*"]),
        }
    return "trust", reference, [candidate]


def _keyed(test, key):
    return test[0], key, test[1]


def draw(seed, number):
    """A pair: `id`, `kind`, `edits`, `type`, `a` and `b`."""
    rng = random.Random(f"{seed}:{number}")
    kind = pick(rng, KINDS)
    type_ = pick(rng, TYPES)
    edits = []
    if kind == "no-new-access":
        type_, a, b = no_new_access(rng)
        a, b = ({"Version": "2012-10-17", "Statement": statements} for statements in (a, b))
    else:
        a = policy(rng, type_)
        if kind == "independent":
            b = policy(rng, type_)
        elif kind == "rewriting":
            b, edits = rewritten(rng, a)
        else:
            b = a
            if rng.random() < 0.3:
                b, edits = rewritten(rng, a)
            b, edit = mutant(rng, b, type_)
            edits = [*edits, "!" + edit]
        if rng.random() < 0.5:
            a, b = b, a
    return {"id": f"{seed}-{number}", "kind": kind, "edits": edits, "type": type_, "a": a, "b": b}
