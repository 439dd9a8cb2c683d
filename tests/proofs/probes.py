"""Draws requests close to two policies, from filled patterns, named values, and bounds of numbers and networks."""

import policies as model
from encoder import ROLE, SLOTS, typed_values

FILLS = ["", "a", "b", "x", "/", "a/x", "zz"]


def filled(rng, pattern, context, variables, wildcards=True):
    """A text that the pattern matches, or nearly matches."""
    text = []
    for token in model.tokens(pattern, wildcards, variables):
        if token == (model.MANY,):
            text.append(rng.choice(FILLS))
        elif token == (model.ONE,):
            text.append(rng.choice("abx/"))
        elif model.is_variable(token):
            text.append(context.get(token[0]) or token[1] or rng.choice(FILLS))
        else:
            text.append(token)
    text = "".join(map(str, text))
    return text + rng.choice("ax") if rng.random() < 0.1 else text


def _callers(policies, kind):
    found = {
        "arn:aws:iam::111122223333:role/a",
        "arn:aws:iam::111122223333:role/ab",
        "arn:aws:iam::111122223333:user/u",
    }
    found |= {
        "arn:aws:iam::444455556666:role/a",
        "arn:aws:iam::999988887777:user/z",
        "arn:aws:iam::444455556666:user/red",
    }
    if kind != "identity":
        found |= {"arn:aws:iam::111122223333:root"}
    if kind in ("resource", "trust"):
        found |= {"*", "fresh.amazonaws.com", "arn:aws:iam::999988887777:oidc-provider/fresh"}
        for entry_kind, name in (entry for statements in policies for s in statements for entry in s.principals or ()):
            if name not in ("*", "") and entry_kind != "account":
                found.add(name)
    return sorted(found)


def draw(rng, policies, kind):
    """A possible request, or None."""
    statements = [s for found in policies for s in found]
    tests = [(t, s.variables) for s in statements for t in s.tests]
    principal = rng.choice(_callers(policies, kind))
    used = {t.key for t, _ in tests}
    own = model.caller(principal).keys()
    context = {key: own[key] for key in sorted(own)}
    for key in sorted((used | {"aws:userid", "aws:principaltag/team"}) - model.CALLER_KEYS):
        values = typed_values(key, [t for t, _ in tests])
        if values is None:
            values = ["red", "zz", "a", "Red"]
            for test, variables in tests:
                if test.key == key and test.family in model.TEXT_FAMILIES:
                    like = test.family in ("like", "arn")
                    values += [filled(rng, v, context, variables, like) for v in test.values]
        if rng.random() < 0.75:
            several = [rng.choice(values) for _ in range(rng.randint(1, SLOTS))]
            context[key] = [v for v in several if v] if key in model.MULTIVALUED else several[0]
            if context[key] == []:
                del context[key]
    actions = [filled(rng, p, {}, False) for s in statements for p in s.actions] + ["s3:getobject", "zz:z"]
    resources = [filled(rng, p, context, s.variables) for s in statements for p in s.resources or ()]
    resources += ["arn:aws:s3:::b/a", "arn:aws:zz:::z", "*"]
    request = {
        "principal": principal,
        "action": rng.choice(actions),
        "resource": rng.choice(resources) if any(s.resources for s in statements) else ROLE,
        "context": context,
    }
    return None if model.why_impossible(request, policies, kind) else request
