#!/usr/bin/env python3
"""Checks of the judge itself: the encoder against enumeration, and verdicts that are known: python test_proofs.py"""

import itertools
import random
import unittest

import encoder
import judge
import pairs
import policies as model
import probes
import rows

ROLE, OTHER_ROLE = (f"arn:aws:iam::111122223333:role/{name}" for name in "ab")
OBJECTS = "arn:aws:s3:::b/*"


def document(*statements, version="2012-10-17"):
    return {"Version": version, "Statement": list(statements)}


def allow(action="s3:GetObject", resource=OBJECTS, **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def deny(*arguments, **more):
    return allow(*arguments, **more) | {"Effect": "Deny"}


def when(operator, key, values):
    return {operator: {key: values}}


def solve(a, b, kind="identity"):
    return encoder.solve(model.parse(a), model.parse(b), kind)


def found(verdict):
    """The goals for which the solver found a request."""
    return {goal for goal, request in verdict._asdict().items() if request}


class AgainstEnumeration(unittest.TestCase):
    def test_patterns(self):
        """Patterns over two letters, against all texts of up to five letters over these and one more."""
        texts = ["".join(t) for n in range(1, 6) for t in itertools.product("abc", repeat=n)]
        rng = random.Random(3)
        for _ in range(25):
            sets = [["".join(rng.choices("ab*?", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 2))] for _ in "ab"]
            matched = [{t for t in texts if any(model.matches(p, t, {}) for p in values)} for values in sets]
            a, b = (document(allow(Condition=when("StringLike", "s3:prefix", values))) for values in sets)
            expected = {goal for goal, n in (("gain", 1), ("loss", 0)) if matched[n] - matched[1 - n]}
            self.assertEqual(found(solve(a, b)), expected, sets)

    def test_random_requests(self):
        """A difference that any drawn request shows is one that the solver finds."""
        rng = random.Random(4)
        shown = 0
        for number in range(25):
            pair = pairs.draw("requests", number)
            policies = [model.parse(pair["a"]), model.parse(pair["b"])]
            verdict = encoder.solve(*policies, pair["type"])
            requests = filter(None, (probes.draw(rng, policies, pair["type"]) for _ in range(60)))
            for request, goal in itertools.product(list(requests), verdict._fields):
                if encoder.differs(goal, *policies, request):
                    shown += 1
                    self.assertTrue(getattr(verdict, goal), (goal, request, pair))
        self.assertGreater(shown, 50)

    def test_rewritings_keep_the_meaning(self):
        for rewriting in pairs.REWRITINGS:
            rng = random.Random(rewriting.__name__)
            for _ in range(5000):
                kind = pairs.pick(rng, pairs.TYPES)
                before = pairs.policy(rng, kind)
                after = pairs.apply(rng, before, rewriting)
                # Halves with the empty text differ, because `Null` counts it as absent.
                if after and not model.named_empty([model.parse(before)]):
                    self.assertEqual(found(solve(before, after, kind)), set(), (rewriting.__name__, before, after))
                    break
            else:
                self.fail(f"{rewriting.__name__} never applied")


class KnownVerdicts(unittest.TestCase):
    def check(self, a, b, *expected, kind="identity"):
        self.assertEqual(found(solve(a, b, kind)), set(expected))

    def test_deny_unless_gives_the_same_access_but_denies(self):
        red = when("StringEquals", "aws:PrincipalTag/team", "red")
        unless = when("StringNotEquals", "aws:PrincipalTag/team", "red")
        self.check(document(allow(Condition=red)), document(allow(), deny(Condition=unless)), "deny")

    def test_absent_keys(self):
        halves = [allow(Condition=when(o, "aws:SourceVpc", "v")) for o in ("StringEquals", "StringNotEquals")]
        self.check(document(allow()), document(*halves))
        halves = [allow(Condition=when("Bool", "aws:MultiFactorAuthPresent", value)) for value in ("true", "false")]
        self.check(document(allow()), document(*halves), "loss")

    def test_empty_text_is_a_value_only_where_named(self):
        some = document(allow(Condition=when("StringLike", "s3:prefix", "?*")))
        self.check(document(allow(Condition=when("StringLike", "s3:prefix", "*"))), some)
        self.check(document(allow(Condition=when("StringLike", "s3:prefix", ["*", ""]))), some, "loss")

    def test_single_valued_keys(self):
        both = {"StringEquals": {"s3:prefix": "a"}, "StringLike": {"s3:prefix": "b"}}
        self.check(
            document(allow(), deny("s3:PutObject")),
            document(allow(), deny("s3:PutObject"), allow("kms:*", Condition=both)),
        )
        tags = {f"ForAnyValue:{o}": {"aws:TagKeys": v} for o, v in (("StringEquals", "a"), ("StringLike", "b"))}
        self.check(
            document(allow("s3:PutObject")), document(allow("s3:PutObject"), allow("kms:*", Condition=tags)), "gain"
        )

    def test_networks_numbers_and_dates(self):
        nets = [
            when("IpAddress", "aws:SourceIp", v) for v in ("10.0.0.0/8", ["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/9")
        ]
        nets = [document(allow(Condition=net)) for net in nets]
        self.check(nets[0], nets[1])
        self.check(nets[0], nets[2], "loss")
        less = [
            when(f"NumericLess{o}", "s3:max-keys", v) for o, v in (("Than", "5"), ("ThanEquals", "5"), ("Than", "5.0"))
        ]
        less = [document(allow(Condition=test)) for test in less]
        self.check(less[0], less[1], "gain")
        self.check(less[0], less[2])
        dates = ("2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00", "1767225600")
        dates = [document(allow(Condition=when("DateLessThan", "aws:TokenIssueTime", d))) for d in dates]
        self.check(dates[0], dates[1])
        self.check(dates[0], dates[2])

    def test_variables(self):
        own = "arn:aws:s3:::b/${aws:username}"
        self.check(document(allow(resource=own)), document(allow(resource=own), version="2008-10-17"), "gain", "loss")
        self.check(document(allow(resource=own)), document(allow()), "gain")
        bound = allow(Condition={"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:user/u"}})
        self.check(document(bound | {"Resource": own}), document(bound | {"Resource": "arn:aws:s3:::b/u"}))
        tagged = when("StringEquals", "s3:prefix", "${aws:PrincipalTag/team, 'red'}")
        self.check(
            document(allow(Condition=tagged)), document(allow(Condition=when("StringLike", "s3:prefix", "*"))), "gain"
        )

    def test_parts_of_resources(self):
        self.check(document(allow(resource="arn:aws:s3:::b")), document(allow(resource="arn:aws:s3*b")), "gain")
        six, one = document(allow(resource="arn:aws:*:*:*:b")), document(allow(resource="arn:aws:*b"))
        self.check(six, one, "gain")
        self.check(document(allow(resource="arn:aws:*")), document(allow(resource="arn:aws:*:*:*:*")))
        self.check(document(allow(resource="*")), document(allow(resource="arn:*")), "loss")

    def test_callers(self):
        def bucket(principal, **more):
            return document(allow(**more) | {"Principal": principal})

        self.check(bucket("*"), bucket({"AWS": "*"}), "loss", kind="resource")
        by_key = bucket({"AWS": "111122223333"}, Condition=when("ArnEquals", "aws:PrincipalArn", ROLE))
        self.check(bucket({"AWS": ROLE}), by_key, kind="resource")
        self.check(bucket({"AWS": "111122223333"}), bucket({"AWS": "arn:aws:iam::111122223333:root"}), kind="resource")
        self.check(bucket({"AWS": ROLE}), bucket({"AWS": "111122223333"}), "gain", kind="resource")
        excepted = [ROLE, "arn:aws:iam::111122223333:root"]
        denials = [deny() | {"NotPrincipal": {"AWS": names}} for names in (excepted, [*excepted, OTHER_ROLE])]
        everyone = allow() | {"Principal": "*"}
        self.check(document(everyone, denials[0]), document(everyone, denials[1]), "gain", "deny", kind="resource")


class NoNewAccess(unittest.TestCase):
    """The kinds of samples that AWS publishes for its check "no new access"."""

    def check(self, reference, candidate, passes, kind="identity"):
        self.assertEqual(not solve(document(*reference), document(*candidate), kind).gain, passes)

    def test_sensitive_resources(self):
        secret, star = (
            "arn:aws:secretsmanager:*:*:secret:payroll",
            ["secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"],
        )
        reference = [allow("*", "*"), deny(star, secret)]
        self.check(reference, [allow(star[0], secret.replace("payroll", "public"))], True)
        self.check(reference, [allow(star[0], secret)], False)
        self.check(reference, [allow("secretsmanager:ListSecrets", secret)], True)
        self.check(reference, [allow("secretsmanager:*", "*")], False)
        self.check(reference, [allow("secretsmanager:*", "*"), deny("*", secret)], True)
        self.check(reference, [allow("secretsmanager:*", "*"), deny(star[0], secret)], False)

    def test_tags(self):
        action, key = "ec2:TerminateInstances", "aws:ResourceTag/team"
        reference = [allow("*", "*"), deny(action, "*", Condition=when("StringNotEquals", key, "red"))]
        self.check(reference, [allow(action, "*", Condition=when("StringEquals", key, "red"))], True)
        self.check(reference, [allow(action, "*", Condition=when("StringEqualsIfExists", key, "red"))], False)
        self.check(reference, [allow(action, "*", Condition=when("StringLike", key, "*"))], False)
        self.check(reference, [allow("*", "*"), deny(action, "*", Condition=when("Null", key, "true"))], False)
        self.check(reference, [allow("*", "*"), deny("ec2:*", "*", Condition=when("StringNotLike", key, "r?d"))], False)

    def test_trusted_callers(self):
        action = "s3:PutObject"
        named = {"Principal": {"AWS": [ROLE, OTHER_ROLE]}}
        by_key = {"Principal": {"AWS": "*"}, "Condition": when("ArnLike", "aws:PrincipalArn", [ROLE, OTHER_ROLE])}
        rest = {"Effect": "Allow", "Principal": "*", "NotAction": action, "Resource": "*"}
        reference = [allow(action, "*") | named, allow(action, "*") | by_key, rest]
        self.check(reference, [allow(action) | {"Principal": {"AWS": ROLE}}], True, "resource")
        wide = {"Principal": {"AWS": "*"}}
        self.check(
            reference, [allow(action, Condition=when("ArnEquals", "aws:PrincipalArn", ROLE)) | wide], True, "resource"
        )
        other = {"Principal": {"AWS": "arn:aws:iam::111122223333:role/c"}}
        self.check(reference, [allow(action) | other], False, "resource")
        self.check(reference, [allow("s3:GetObject") | other], True, "resource")
        self.check(reference, [allow("s3:*") | wide], False, "resource")

    def test_trusted_providers(self):
        provider = "arn:aws:iam::111122223333:oidc-provider/idp.example.com"

        def trust(name, condition=None):
            made = {"Effect": "Allow", "Principal": {"Federated": name}, "Action": "sts:AssumeRoleWithWebIdentity"}
            return made | ({"Condition": condition} if condition else {})

        reference = [trust(provider, when("StringEquals", "idp.example.com:sub", "s1"))]
        self.check(reference, reference, True, "trust")
        self.check(reference, [trust(provider)], False, "trust")
        self.check(reference, [trust(provider, when("StringLike", "idp.example.com:sub", "s*"))], False, "trust")
        self.check([trust(provider)], [trust("*")], False, "trust")


class Judging(unittest.TestCase):
    """What counts as a disagreement, with answers as the program could give them."""

    a, b = document(allow("s3:Get*")), document(allow("s3:GetObject"))

    def compare(self, question, answer, a=None, b=None):
        policies = [model.parse(a or self.a), model.parse(b or self.b)]
        return judge.compare(question, answer, encoder.solve(*policies, "identity"), policies, "identity")

    def request(self, action="s3:GetBucketAcl", **context):
        return {"principal": ROLE, "action": action, "resource": "arn:aws:s3:::b/x", "context": context}

    def test_right_answers_agree(self):
        self.assertEqual(self.compare("equal", {"equivalent": False, "example": self.request()}), "agree")
        self.assertEqual(self.compare("implies", {"implied": True}), "agree")
        rows = [{"change": "loss", "example": self.request()}]
        self.assertEqual(self.compare("diff", {"rows": rows, "undecided": []}), "agree")
        self.assertEqual(self.compare("equal", {"equivalent": True}, self.a, self.a), "agree")

    def test_undecided_answers_are_counted(self):
        self.assertEqual(self.compare("equal", {"equivalent": None, "undecided": ["x"]}), "undecided")
        self.assertEqual(self.compare("implies", {"implied": None}), "undecided")
        self.assertEqual(self.compare("diff", {"rows": [], "undecided": ["x"]}), "undecided")

    def test_an_example_beyond_the_bound_counts_if_it_is_right(self):
        a, b = (document(allow(resource=OBJECTS + end)) for end in ("", "?" * 3))
        policies = [model.parse(a), model.parse(b)]
        nothing = encoder.Verdict(False, False, False)
        example = self.request("s3:GetObject")
        self.assertEqual(
            judge.compare("equal", {"equivalent": False, "example": example}, nothing, policies, "identity"),
            "beyond the bound",
        )

    def test_wrong_answers_disagree(self):
        for question, answer in [
            ("equal", None),
            ("equal", {"error": "x"}),
            ("equal", {"equivalent": True}),
            ("equal", {"equivalent": False}),
            ("equal", {"equivalent": False, "example": self.request("s3:GetObject")}),
            ("equal", {"equivalent": False, "example": self.request(**{"s3:prefix": ["a", "b"]})}),
            ("equal", {"equivalent": False, "example": self.request(**{"s3:prefix": ""})}),
            ("equal", {"equivalent": False, "example": self.request(**{"aws:username": "u"})}),
            ("equal", {"equivalent": False, "example": {"action": "s3:GetBucketAcl"}}),
            ("implies", {"implied": False, "example": self.request()}),
            ("diff", {"rows": [], "undecided": []}),
            ("diff", {"rows": [{"change": "gain", "example": self.request()}], "undecided": []}),
            ("diff", {"gained": [], "lost": []}),
        ]:
            with self.subTest(question=question, answer=answer), self.assertRaises(judge.Problem):
                self.compare(question, answer)

    def rows(self, *given, a=None, b=None, kind="identity"):
        """Checks rows on many requests. Returns the kind of the problem, or None."""
        policies = [model.parse(a or self.a), model.parse(b or self.b)]
        defaults = {"who": {"kind": "attached"}, "where": {"kind": "resource", "arn": OBJECTS}}
        given = [defaults | row for row in given]
        try:
            for seed in range(20):
                compared, changed = rows.check(seed, given, policies, kind, [self.request()])
                self.assertTrue(compared >= changed > 0)
        except rows.Problem as problem:
            return problem.kind

    def test_rows_cover_exactly_the_changes(self):
        row = {"change": "loss", "actions": ["s3:Get*"], "except": [{"actions": ["s3:GetObject"]}]}
        self.assertIsNone(self.rows(row))
        self.assertEqual(self.rows(), "loss without a row")
        self.assertEqual(self.rows(row | {"actions": ["s3:GetBucket*"]}), "loss without a row")
        short = {"where": {"kind": "resource", "arn": "arn:aws:s3:::b/?"}}
        self.assertEqual(self.rows(row | short), "loss without a row")
        self.assertEqual(self.rows(row | {"except": []}), "loss row without a loss")
        self.assertEqual(self.rows(row, row | {"change": "gain"}), "gain row without a gain")
        places = [{"kind": "resource", "arn": "arn:aws:s3:::b/a*"}]
        at = {"places": places, "actions": ["s3:GetObject"]}
        self.assertEqual(self.rows(row | {"except": [at]}), "loss row without a loss")
        partly = {"places": places, "actions": ["s3:*"], "but_actions": ["s3:GetBucketAcl"]}
        self.assertEqual(self.rows(row | {"except": [*row["except"], partly]}), "loss without a row")

    def test_requirements_of_rows(self):
        red = when("StringEquals", "aws:PrincipalTag/team", "red")
        a = document(allow(resource="arn:aws:s3:::b/${aws:username}", Condition=red))
        condition = {"kind": "condition", "operator": "StringEquals", "key": "aws:PrincipalTag/team", "values": ["red"]}
        variable = {"kind": "resource", "pattern": "arn:aws:s3:::b/${aws:username}"}
        gain = {"change": "gain", "actions": ["s3:GetObject"], "except": [{"conditions": [condition, variable]}]}
        self.assertIsNone(self.rows(gain, a=a, b=document(allow())))
        less = gain | {"except": [{"conditions": [condition]}]}
        self.assertEqual(self.rows(less, a=a, b=document(allow())), "gain without a row")
        split = [gain | {"except": [], "conditions": [r | {"negated": True}]} for r in (condition, variable)]
        self.assertIsNone(self.rows(*split, a=a, b=document(allow())))
        both = [r | {"negated": True, "statement": {"position": 1}} for r in (condition, variable)]
        self.assertIsNone(self.rows(gain | {"except": [], "conditions": both}, a=a, b=document(allow())))
        both = [r | {"negated": True} for r in (condition, variable)]
        self.assertEqual(
            self.rows(gain | {"except": [], "conditions": both}, a=a, b=document(allow())), "gain without a row"
        )

    def test_callers_of_rows(self):
        a, b = document(), document(allow() | {"Principal": {"AWS": [ROLE, "444455556666"]}})
        row = {"change": "gain", "actions": ["s3:GetObject"]}
        role = row | {"who": {"kind": "principal", "arn": ROLE}}
        account = row | {"who": {"kind": "account", "account_id": "444455556666"}}
        everyone = row | {"who": {"kind": "anyone"}}
        self.assertIsNone(self.rows(role, account, a=a, b=b, kind="resource"))
        self.assertEqual(self.rows(role, a=a, b=b, kind="resource"), "gain without a row")
        self.assertEqual(self.rows(account, a=a, b=b, kind="resource"), "gain without a row")
        self.assertEqual(self.rows(everyone, a=a, b=b, kind="resource"), "gain row for everyone without a gain")
        # Everyone gains access but the named caller, who had it before.
        a, b = document(allow() | {"Principal": {"AWS": ROLE}}), document(allow() | {"Principal": "*"})
        self.assertIsNone(self.rows(everyone, a=a, b=b, kind="resource"))

    def test_seeds_repeat_a_pair(self):
        self.assertEqual(pairs.draw("s", 5), pairs.draw("s", 5))
        self.assertEqual({pairs.draw("s", n)["kind"] for n in range(100)}, set(pairs.KINDS))


if __name__ == "__main__":
    unittest.main()
