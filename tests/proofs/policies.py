"""IAM policies and requests, evaluated plainly.

Written from the IAM User Guide ("IAM JSON policy elements", "Policy evaluation logic") and from the table "Where the
documentation is silent" of docs/iam.md. It shares nothing with the program. One policy is evaluated alone: a resource
policy or trust policy allows a caller if a statement allows it and none denies it.
"""

import dataclasses
import datetime
import fractions
import functools
import ipaddress
import re

ALLOWED, DENIED, NEITHER, UNDEFINED = "allowed", "denied", "neither", "undefined"

# Base operators: the family that compares, and whether the operator is negated.
OPERATORS = {
    "StringEquals": ("equals", False),
    "StringNotEquals": ("equals", True),
    "StringEqualsIgnoreCase": ("nocase", False),
    "StringNotEqualsIgnoreCase": ("nocase", True),
    "StringLike": ("like", False),
    "StringNotLike": ("like", True),
    "ArnEquals": ("arn", False),
    "ArnNotEquals": ("arn", True),
    "ArnLike": ("arn", False),
    "ArnNotLike": ("arn", True),
    "Bool": ("bool", False),
    "IpAddress": ("ip", False),
    "NotIpAddress": ("ip", True),
    "Null": ("null", False),
}
for _type in ("Numeric", "Date"):
    for _name, _compare in (
        ("Equals", ("=", False)),
        ("NotEquals", ("=", True)),
        ("LessThan", ("<", False)),
        ("LessThanEquals", ("<=", False)),
        ("GreaterThan", (">", False)),
        ("GreaterThanEquals", (">=", False)),
    ):
        OPERATORS[_type + _name] = (_type.lower() + _compare[0], _compare[1])

TEXT_FAMILIES = {"equals", "nocase", "like", "arn"}

# Keys with more than one value. All others have at most one.
MULTIVALUED = {"aws:tagkeys", "aws:principalorgpaths", "aws:principalservicenameslist", "dynamodb:leadingkeys"}

# The types of keys whose values are not free text, also where an operator for text tests them.
KEY_TYPES = {
    "aws:securetransport": "bool",
    "aws:multifactorauthpresent": "bool",
    "aws:viaawsservice": "bool",
    "aws:principalisawsservice": "bool",
    "aws:sourceip": "ip",
    "aws:vpcsourceip": "ip",
    "aws:currenttime": "date",
    "aws:tokenissuetime": "date",
    "aws:multifactorauthage": "numeric",
    "s3:max-keys": "numeric",
}

# Keys that follow from the caller.
CALLER_KEYS = {"aws:principalarn", "aws:principalaccount", "aws:principaltype", "aws:username"}


class Unsupported(Exception):
    """A document outside the part of the language that the judge knows."""


@dataclasses.dataclass(frozen=True)
class Test:
    """One operator, key and its values. `qualifier` is "", "ForAllValues" or "ForAnyValue"."""

    qualifier: str
    family: str
    negated: bool
    if_exists: bool
    key: str
    values: tuple


@dataclasses.dataclass(frozen=True)
class Statement:
    allow: bool
    actions: tuple
    not_action: bool
    resources: tuple | None
    not_resource: bool
    principals: tuple | None
    not_principal: bool
    tests: tuple
    # Whether `${...}` is a variable (Version 2012-10-17) or literal text.
    variables: bool


def listed(value):
    """A value as a list: one value and a list of one mean the same."""
    return value if isinstance(value, list) else [value]


def text_of(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def parse(document):
    """The statements of a policy document."""
    version = document.get("Version", "2008-10-17")
    return tuple(_statement(s, version == "2012-10-17") for s in listed(document["Statement"]))


def _statement(source, variables):
    def element(name):
        negated = "Not" + name in source
        values = source.get("Not" + name if negated else name)
        return (None if values is None else tuple(listed(values))), negated

    actions, not_action = element("Action")
    resources, not_resource = element("Resource")
    not_principal = "NotPrincipal" in source
    principals = source.get("NotPrincipal" if not_principal else "Principal")
    conditions = source.get("Condition", {}).items()
    tests = [test(operator, key, values) for operator, keys in conditions for key, values in keys.items()]
    return Statement(
        source["Effect"] == "Allow",
        actions,
        not_action,
        resources,
        not_resource,
        None if principals is None else _principals(principals),
        not_principal,
        tuple(tests),
        variables,
    )


def test(operator, key, values):
    """A test from an operator, a key and its values, as a policy writes them."""
    qualifier, _, base = operator.rpartition(":")
    if_exists = base.endswith("IfExists")
    base = base.removesuffix("IfExists")
    if base not in OPERATORS or qualifier not in ("", "ForAllValues", "ForAnyValue"):
        raise Unsupported(f"operator {operator}")
    family, negated = OPERATORS[base]
    return Test(qualifier, family, negated, if_exists, key.lower(), tuple(map(text_of, listed(values))))


def _principals(source):
    """Pairs of a kind and a name; ("*", "") is everyone, ("AWS", "*") every AWS identity and anonymous callers."""
    if source == "*":
        return (("*", ""),)
    entries = []
    for kind, names in source.items():
        for name in listed(names):
            account = re.fullmatch(r"(?:arn:aws:iam::)?(\d{12})(?::root)?", name)
            entries.append(("account", account[1]) if kind == "AWS" and account else (kind, name))
    return tuple(entries)


# --- Texts with wildcards and variables ---

ONE, MANY = "one", "many"


@functools.cache
def tokens(text, wildcards, variables):
    """Characters, (ONE,), (MANY,) and variables (key, default): `*` and `?` are wildcards only where `wildcards`."""
    found, at = [], 0
    while at < len(text):
        variable = re.match(r"\$\{([^}]*)\}", text[at:]) if variables else None
        if variable:
            inner = variable[1]
            if inner in ("*", "?", "$"):
                found.append(inner)
            else:
                named = re.fullmatch(r"\s*([^,]*?)\s*(?:,\s*'(.*)'\s*)?", inner)
                if not named:
                    raise Unsupported(f"variable {inner}")
                found.append((named[1].lower(), named[2]))
            at += len(variable[0])
            continue
        found.append(
            (MANY,) if wildcards and text[at] == "*" else (ONE,) if wildcards and text[at] == "?" else text[at]
        )
        at += 1
    return tuple(found)


def is_variable(token):
    return isinstance(token, tuple) and len(token) == 2


def _regex(found, context):
    """A regular expression, or None if a variable has no value."""
    parts = []
    for token in found:
        if token == (MANY,):
            parts.append(".*")
        elif token == (ONE,):
            parts.append(".")
        elif is_variable(token):
            value = context.get(token[0])
            if isinstance(value, list):
                raise Unsupported(f"variable of the multivalued key {token[0]}")
            value = token[1] if value is None else value
            if value is None:
                return None
            parts.append(re.escape(value))
        else:
            parts.append(re.escape(token))
    return "".join(parts)


@functools.lru_cache(maxsize=100_000)
def _compiled(regex, flags):
    return re.compile(regex, re.DOTALL | flags)


def matches(pattern, text, context, wildcards=True, variables=True, flags=0):
    regex = _regex(tokens(pattern, wildcards, variables), context)
    return regex is not None and _compiled(regex, flags).fullmatch(text) is not None


def arn_matches(pattern, text, context, variables):
    """Part by part if the pattern has six parts, otherwise as one text."""
    parts, current = [], []
    for token in tokens(pattern, True, variables):
        if token == ":" and len(parts) < 5:
            parts.append(current)
            current = []
        else:
            current.append(token)
    parts.append(current)
    if len(parts) < 6:
        return matches(pattern, text, context, True, variables)
    texts = text.split(":", 5)
    regexes = [_regex(part, context) for part in parts]
    return (
        len(texts) == 6
        and None not in regexes
        and all(_compiled(regex, 0).fullmatch(part) for regex, part in zip(regexes, texts))
    )


# --- Callers ---


@dataclasses.dataclass(frozen=True)
class Caller:
    """`kind` is user, role, session, federated, root, service, provider or anonymous."""

    kind: str
    name: str
    account: str | None = None
    # The ARN of the role of a session.
    role: str | None = None

    def keys(self):
        """The condition keys that follow from the caller."""
        kinds = {"user": "User", "role": "AssumedRole", "session": "AssumedRole", "root": "Account"}
        kinds |= {"federated": "FederatedUser", "anonymous": "Anonymous"}
        keys = {"aws:principaltype": kinds[self.kind]} if self.kind in kinds else {}
        if self.account:
            keys["aws:principalarn"] = self.role or self.name
            keys["aws:principalaccount"] = self.account
        if self.kind == "user":
            keys["aws:username"] = self.name.rsplit("/", 1)[1]
        return keys


def caller(principal):
    if principal == "*":
        return Caller("anonymous", "*")
    arn = re.fullmatch(r"arn:aws:(iam|sts)::(\d{12}):(root|[a-z-]+/.+)", principal)
    if not arn:
        return Caller("service" if principal.endswith(".amazonaws.com") else "provider", principal)
    service, account, rest = arn.groups()
    kind, _, path = rest.partition("/")
    if (service, kind) == ("sts", "assumed-role"):
        return Caller("session", principal, account, f"arn:aws:iam::{account}:role/{path.split('/')[0]}")
    kinds = {"root": "root", "user": "user", "role": "role", "federated-user": "federated"}
    return Caller(kinds[kind], principal, account) if kind in kinds else Caller("provider", principal)


def _named(entries, who):
    """Whether a `Principal` names the caller."""
    for kind, name in entries:
        if kind == "*":
            return True
        if kind == "AWS":
            if name == "*" and who.kind not in ("service", "provider"):
                return True
            if who.account and name in (who.name, who.role):
                return True
        if kind == "account" and who.account == name:
            return True
        if kind == "Service" and who.kind == "service" and name == who.name:
            return True
        if kind == "Federated" and who.kind == "provider" and name in ("*", who.name):
            return True
    return False


def _excepted(entries, who):
    """Whether a `Deny` with `NotPrincipal` excepts the caller; UNDEFINED where the guide says that it "might deny"."""
    if not who.account or ("*", "") in entries or ("AWS", "*") in entries:
        return _named(entries, who)
    account = ("account", who.account) in entries
    if who.kind == "root":
        return account
    exact = ("AWS", who.name) in entries and (who.role is None or ("AWS", who.role) in entries)
    if exact or (who.role is not None and ("AWS", who.role) in entries):
        return True if exact and account else UNDEFINED
    if account:
        # The guide's example excepts one user and the account, and denies all others of the account.
        others = any(kind == "AWS" and f"::{who.account}:" in name for kind, name in entries)
        return False if others else UNDEFINED
    return False


# --- Conditions ---


@functools.cache
def instant(text):
    """A date as seconds since 1970, from ISO 8601 or from seconds."""
    if re.fullmatch(r"-?\d{5,}(\.\d+)?", text):
        return fractions.Fraction(text)
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
    return fractions.Fraction(moment.timestamp())


@functools.cache
def network(text):
    return ipaddress.ip_network(text, strict=False)


def compares(family, text, value, context, variables):
    """Whether one value of a request and one value of a policy fit, before negation."""
    if family == "arn":
        return arn_matches(value, text, context, variables)
    if family in TEXT_FAMILIES:
        flags = re.IGNORECASE if family == "nocase" else 0
        return matches(value, text, context, family == "like", variables, flags)
    if any(map(is_variable, tokens(value, False, variables))):
        raise Unsupported(f"variable under {family}")
    if family == "bool":
        return value.lower() in ("true", "false") and text.lower() == value.lower()
    try:
        if family == "ip":
            return network(text).subnet_of(network(value))
        number = instant if family.startswith("date") else fractions.Fraction
        text, value = number(text), number(value)
    except (ValueError, TypeError):
        return False
    compare = family.removeprefix("date").removeprefix("numeric")
    return {"=": text == value, "<": text < value, "<=": text <= value, ">": text > value, ">=": text >= value}[compare]


def holds(test, context, variables):
    value = context.get(test.key)
    values = [] if value is None else listed(value)
    if test.family == "null":
        absent = not any(values)
        return any(wanted.lower() == ("true" if absent else "false") for wanted in test.values)

    def single(text):
        return any(compares(test.family, text, v, context, variables) for v in test.values) != test.negated

    if test.qualifier == "ForAllValues":
        return all(single(text) for text in values if text)
    if test.qualifier == "ForAnyValue":
        return any(single(text) for text in values if text)
    if not values:
        return test.negated or test.if_exists
    return len(values) == 1 and single(values[0])


# --- Requests ---


def context_of(request):
    """The context with lower-case keys, and with the keys that follow from the caller where it has none of its own."""
    own = caller(request["principal"]).keys()
    return own | {key.lower(): value for key, value in (request.get("context") or {}).items()}


def applies(statement, request, context):
    """Whether a statement applies to a request: True, False or UNDEFINED."""
    action, resource = request["action"], request["resource"]
    if any(matches(p, action, {}, True, False, re.IGNORECASE) for p in statement.actions) == statement.not_action:
        return False
    if statement.resources is not None:
        hit = any(arn_matches(p, resource, context, statement.variables) for p in statement.resources)
        if hit == statement.not_resource:
            return False
    if not all(holds(test, context, statement.variables) for test in statement.tests):
        return False
    if statement.principals is None:
        return True
    who = caller(request["principal"])
    if not statement.not_principal:
        return _named(statement.principals, who)
    if statement.allow:
        return not _named(statement.principals, who)
    excepted = _excepted(statement.principals, who)
    return UNDEFINED if excepted == UNDEFINED else not excepted


def decide(statements, request):
    """ALLOWED, DENIED, NEITHER, or UNDEFINED where the documentation does not decide."""
    context = context_of(request)
    found = [(statement.allow, applies(statement, request, context)) for statement in statements]
    if (False, True) in found:
        return DENIED
    if (False, UNDEFINED) in found:
        return UNDEFINED
    return ALLOWED if (True, True) in found else NEITHER


def named_empty(policies):
    """The keys for which a policy names the empty text as a value."""
    return {t.key for statements in policies for s in statements for t in s.tests if "" in t.values}


def why_impossible(request, policies, kind):
    """Why a request cannot exist, or None."""
    if not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9-]+", request["action"]):
        return f"invalid action {request['action']}"
    if request["resource"] != "*" and not re.fullmatch(r"arn:([^:]*:){4}.+", request["resource"]):
        return f"invalid resource {request['resource']}"
    who = caller(request["principal"])
    if kind in ("identity", "scp") and not who.account:
        return f"a caller without an account has no {kind} policy"
    own, empty = who.keys(), named_empty(policies)
    for name, value in (request.get("context") or {}).items():
        key = name.lower()
        values = listed(value)
        if len(values) > 1 and key not in MULTIVALUED:
            return f"several values of the single-valued key {name}"
        if "" in values and key not in empty:
            return f"empty value of {name}, which no policy names"
        if key in CALLER_KEYS and [own.get(key)] != values:
            return f"{name} does not fit the caller"
        try:
            for value in values:
                _typed(KEY_TYPES.get(key), value)
        except (ValueError, TypeError):
            return f"{value} is not a value of {name}"
    return None


def _typed(type_, value):
    """Raises ValueError unless the text is a value of the type."""
    if type_ == "bool" and value not in ("true", "false"):
        raise ValueError
    parse = {"ip": ipaddress.ip_address, "date": instant, "numeric": fractions.Fraction}.get(type_)
    if parse:
        parse(value)
