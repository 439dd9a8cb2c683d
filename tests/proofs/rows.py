"""The rows of `policy diff`: which requests a row covers, and whether the rows cover exactly the changes.

Written from the descriptions of `AccessChange`, `Exception` and `Requirement` in `bailiwick schema plan`. Rows write
patterns as Version 2012-10-17 does, so `${...}` is always a variable.
"""

import random

import policies as model
import probes
from policies import ALLOWED, UNDEFINED

# How many requests to draw from a pair, and how many more that differ in one respect from one that a row covers.
DRAWN, NEAR = 20, 16


def _any(answers):
    """Whether one of the answers is true; None if that depends on an unknown one."""
    answers = list(answers)
    return True if True in answers else None if None in answers else False


def _all(answers):
    answers = list(answers)
    return False if False in answers else None if None in answers else True


def _not(answer):
    return None if answer is None else not answer


class Row:
    """One row, ready for many requests."""

    def __init__(self, source):
        self.source = source
        self.change = source["change"]
        self.actions = source.get("actions", [])
        self.conditions = _Requirements(source.get("conditions", []))
        self.exceptions = [_Exception(found) for found in source.get("except", [])]

    def covers(self, request, who, context):
        """Whether the row covers a request; None if that depends on what the documentation leaves open."""
        answers = [
            _is_of(self.source["who"], who),
            _is_action(self.actions, request),
            _is_at(self.source["where"], request, context),
        ]
        if False in answers:
            return False
        answers.append(self.conditions.met(request, context))
        if False in answers:
            return False
        return _all([*answers, *(_not(found.applies(request, context)) for found in self.exceptions)])

    def precision(self):
        return {"anyone": 0, "account": 1}.get(self.source["who"]["kind"], 2)


class _Exception:
    def __init__(self, source):
        self.places, self.but = source.get("places", []), source.get("but", [])
        self.actions, self.but_actions = source.get("actions", []), source.get("but_actions", [])
        self.conditions = _Requirements(source.get("conditions", []))

    def applies(self, request, context):
        if self.actions and not _is_action(self.actions, request) or _is_action(self.but_actions, request):
            return False
        at = [_any(_is_at(place, request, context) for place in self.places)] if self.places else []
        at.append(_not(_any(_is_at(place, request, context) for place in self.but)))
        return False if False in at else _all([*at, self.conditions.met(request, context)])


class _Requirements:
    """All must be met, but of the negated ones of one statement only one."""

    def __init__(self, source):
        self.groups = {}
        for at, requirement in enumerate(source):
            statement = requirement.get("statement") if requirement.get("negated") else None
            self.groups.setdefault(str(statement) if statement else at, []).append(_Requirement(requirement))

    def met(self, request, context):
        return _all(_any(r.met(request, context) for r in group) for group in self.groups.values())


class _Requirement:
    def __init__(self, source):
        self.kind, self.negated = source["kind"], source.get("negated", False)
        self.pattern = source.get("pattern")
        self.test = None
        if self.kind == "condition":
            self.test = model.test(source["operator"], source["key"], source["values"])

    def met(self, request, context):
        if self.kind == "condition":
            return model.holds(self.test, context, True) != self.negated
        if self.kind == "resource":
            return model.arn_matches(self.pattern, request["resource"], context, True) != self.negated
        return None


def _is_of(grantee, who):
    kind = grantee["kind"]
    if kind in ("anyone", "attached"):
        return True
    if kind == "account":
        return who.account == grantee["account_id"]
    if kind == "principal":
        return grantee["arn"] in (who.name, who.role)
    if kind == "service":
        return who.kind == "service" and who.name == grantee["name"]
    raise ValueError(f"unknown grantee {kind}")


def _is_action(patterns, request):
    return any(model.matches(p, request["action"], {}, True, False, model.re.IGNORECASE) for p in patterns)


def _is_at(place, request, context):
    if place["kind"] != "resource":
        raise ValueError(f"unknown place {place['kind']}")
    return model.arn_matches(place["arn"], request["resource"], context, True)


def _precision(entries, who):
    """How precisely the policies name a caller: by name (2), by account (1), or not at all (0)."""
    if any(kind in ("AWS", "Service", "Federated") and name in (who.name, who.role) for kind, name in entries):
        return 2 if who.kind != "anonymous" else 0
    return 1 if ("account", who.account) in entries else 0


class Problem(Exception):
    """A change without a row, or a row without a change; `kind` says which, `request` shows it."""

    def __init__(self, kind, what, request):
        super().__init__(what)
        self.kind = kind
        self.request = request


def check(seed, source, policies, kind, known, complete=True):
    """Compares the rows with plain evaluation, on `known` requests, requests from the pair, and requests close to them.

    Raises Problem. A row for everyone or for an account does not speak for callers that a policy names more precisely,
    because these have rows of their own. If `complete` is false, changes without a row are not a problem. Returns how
    many requests were compared, and how many of these change access.
    """
    rng = random.Random(seed)
    rows = [Row(row) for row in source if row.get("change") in ("gain", "loss")]
    entries = {entry for statements in policies for s in statements for entry in s.principals or ()}
    drawer = probes.Drawer(policies, kind, rows)
    compared = changed = 0
    close, of_everyone = [], []

    def compare(request):
        nonlocal compared, changed
        if request is None:
            return
        before, after = (model.decide(statements, request) for statements in policies)
        if UNDEFINED in (before, after):
            return
        compared += 1
        who, context = model.caller(request["principal"]), model.context_of(request)
        covered = {at: row.covers(request, who, context) for at, row in enumerate(rows)}
        for goal, one, other in (("gain", after, before), ("loss", before, after)):
            changes = one == ALLOWED != other
            changed += changes
            own = [at for at, row in enumerate(rows) if row.change == goal]
            if changes and complete and not any(covered[at] is not False for at in own):
                raise Problem(f"{goal} without a row", f"no row covers a request with a {goal}", request)
            for at in own:
                precise = rows[at].precision() >= _precision(entries, who)
                if not changes and covered[at] and precise:
                    what = f"row {source.index(rows[at].source) + 1} covers a request without a {goal}"
                    found = Problem(f"{goal} row without a {goal}", f"{what}: {before} before, {after} after", request)
                    if rows[at].precision():
                        raise found
                    # All other problems come first: this one is about the caller only.
                    of_everyone.append(Problem(f"{goal} row for everyone without a {goal}", str(found), request))
        if any(covered.values()):
            close.append(request)

    for request in known:
        compare(request)
        close.append(request)
    for _ in range(DRAWN):
        compare(drawer.draw(rng))
    for _ in range(NEAR if close else 0):
        compare(drawer.near(rng, rng.choice(close)))
    if of_everyone:
        raise of_everyone[0]
    return compared, changed
