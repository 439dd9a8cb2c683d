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


class Drawer:
    """Draws requests for two policies and rows about them. What does not depend on the request is computed once."""

    def __init__(self, policies, kind, rows=()):
        self.policies, self.kind = policies, kind
        statements = [s for found in policies for s in found]
        tests = [(t, s.variables) for s in statements for t in s.tests]
        self.callers = _callers(policies, kind)
        texts = [(v, variables) for t, variables in tests for v in t.values]
        texts += [(p, s.variables) for s in statements for p in s.resources or ()]
        found = {token for text, variables in texts for token in model.tokens(text, False, variables)}
        used = {t.key for t, _ in tests} | {token[0] for token in found if model.is_variable(token)}
        used |= {"aws:userid", "aws:principaltag/team"}
        self.keys = {}
        for key in sorted(used - model.CALLER_KEYS):
            own = [(t, variables) for t, variables in tests if t.key == key and t.family in model.TEXT_FAMILIES]
            self.keys[key] = (typed_values(key, [t for t, _ in tests]), own)
        self.actions = [p for s in statements for p in s.actions] + ["s3:getobject", "zz:z"]
        self.actions += [p for row in rows for p in row.actions]
        # The patterns, and whether they have variables.
        self.resources = [(p, s.variables) for s in statements for p in s.resources or ()]
        self.has_resources = bool(self.resources)
        self.resources += [(p, False) for p in ("arn:aws:s3:::b/a", "arn:aws:zz:::z", "*")]
        self.resources += [(row.source["where"]["arn"], True) for row in rows if "arn" in row.source["where"]]

    def _value(self, rng, key, context):
        """A value of a key, or None for absent."""
        typed, tests = self.keys[key]
        values = typed
        if values is None:
            values = ["red", "zz", "a", "Red"]
            for test, variables in tests:
                values += [filled(rng, v, context, variables, test.family in ("like", "arn")) for v in test.values]
        if rng.random() < 0.25:
            return None
        several = [rng.choice(values) for _ in range(rng.randint(1, SLOTS))]
        return [v for v in several if v] or None if key in model.MULTIVALUED else several[0]

    def _action(self, rng):
        return filled(rng, rng.choice(self.actions), {}, False)

    def _resource(self, rng, context):
        return filled(rng, *self._pattern(rng, context)) if self.has_resources else ROLE

    def _pattern(self, rng, context):
        pattern, variables = rng.choice(self.resources)
        return pattern, context, variables

    def _possible(self, request):
        return None if model.why_impossible(request, self.policies, self.kind) else request

    def draw(self, rng):
        """A possible request, or None."""
        principal = rng.choice(self.callers)
        own = model.caller(principal).keys()
        context = {key: own[key] for key in sorted(own)}
        for key in self.keys:
            value = self._value(rng, key, context)
            if value is not None:
                context[key] = value
        resource = self._resource(rng, context)
        return self._possible(
            {"principal": principal, "action": self._action(rng), "resource": resource, "context": context}
        )

    def near(self, rng, request):
        """A possible request that differs in one respect from another, or None."""
        context = model.context_of(request)
        request = {**request, "context": context}
        part = rng.choice(["principal", "action", "resource", "context", "context"])
        if part == "principal":
            request["principal"] = rng.choice(self.callers)
            own = model.caller(request["principal"]).keys()
            request["context"] = {k: v for k, v in context.items() if k not in model.CALLER_KEYS} | own
        elif part == "context":
            key = rng.choice(list(self.keys))
            value = self._value(rng, key, context)
            request["context"] = {k: v for k, v in context.items() if k != key}
            if value is not None:
                request["context"][key] = value
        else:
            request[part] = self._action(rng) if part == "action" else self._resource(rng, context)
        return self._possible(request)


def draw(rng, policies, kind):
    """A possible request, or None."""
    return Drawer(policies, kind).draw(rng)
