"""Encodes two policies as one formula over one unknown request, for the SMT solver z3.

Each text (action, resource, name of the caller, value of a key) is a row of cells with a bounded length; a cell holds a
letter of a finite alphabet, as a bit vector, or the end of the text. A pattern becomes a table of booleans: "its first
i elements match the first j letters". Keys with numbers, dates, networks or booleans have a finite list of
values: each bound that a policy names, and one value between any two. The alphabet is every letter that the policies
contain, and one more. `solve` asks the solver, and decodes and checks each request that it finds.
"""

import collections
import datetime
import fractions
import functools

import z3

import policies as model
from policies import ALLOWED, DENIED, MANY, ONE, UNDEFINED, Unsupported

TRUE, FALSE = "true", "false"
# How much longer than the longest pattern a text may be, and the length of a value that a variable inserts.
SLACK, VARIABLE_LENGTH = 6, 5
# How many values a multivalued key may have.
SLOTS = 3
ANY, NO_COLON = "any letter", "any letter but a colon"
EXAMPLE_CALLER = "arn:aws:iam::111122223333:role/example"
ROLE = "arn:aws:iam::111122223333:role/example"


class Formula:
    """Booleans with names, in SMT-LIB. Equal terms get one name."""

    def __init__(self):
        self.lines = []
        self.names = {}

    def name(self, term):
        found = self.names.get(term)
        if found is None:
            found = self.names[term] = f"n{len(self.names)}"
            self.lines.append(f"(define-fun {found} () Bool {term})")
        return found

    def boolean(self, name):
        self.lines.append(f"(declare-const {name} Bool)")
        return name

    def vector(self, name, width):
        self.lines.append(f"(declare-const {name} (_ BitVec {width}))")
        return name

    def require(self, term):
        self.lines.append(f"(assert {term})")

    def every(self, terms):
        terms = dict.fromkeys(term for term in terms if term != TRUE)
        if FALSE in terms:
            return FALSE
        return self._joined("and", terms) if terms else TRUE

    def some(self, terms):
        terms = dict.fromkeys(term for term in terms if term != FALSE)
        if TRUE in terms:
            return TRUE
        return self._joined("or", terms) if terms else FALSE

    def _joined(self, operator, terms):
        return next(iter(terms)) if len(terms) == 1 else self.name(f"({operator} {' '.join(terms)})")

    def not_(self, term):
        return {TRUE: FALSE, FALSE: TRUE}.get(term) or self.name(f"(not {term})")

    def both(self, *terms):
        return self.every(terms)

    def either(self, *terms):
        return self.some(terms)

    def exactly_one(self, terms):
        self.require(self.some(terms))
        for at, term in enumerate(terms):
            for other in terms[:at]:
                self.require(f"(not (and {term} {other}))")


class Text:
    """A row of cells. A cell is the name of a bit vector, or the terms of the letters it may hold ("" is the end)."""

    def __init__(self, cells):
        self.cells = cells

    def __len__(self):
        return len(self.cells)


class Key:
    """A condition key: whether it is present, and its slots. A slot is present or not, and has a text or choices.

    `choices` are pairs of a value and the term under which the slot has it.
    """

    Slot = collections.namedtuple("Slot", "present text choices")

    def __init__(self, present, slots):
        self.present = present
        self.slots = slots


class Encoder:
    def __init__(self, policies, kind):
        self.policies = policies
        self.kind = kind
        self.formula = Formula()
        self.statements = [s for statements in policies for s in statements]
        self.tests = [(t, s.variables) for s in self.statements for t in s.tests]
        self.empty = model.named_empty(policies)
        self.decode = []
        self.who = None
        self._alphabet()
        self._keys_used()
        self.keys = {}
        if kind in ("resource", "trust") or self.used & model.CALLER_KEYS:
            self._caller()
        for key in sorted(self.used - model.CALLER_KEYS):
            self._key(key)
        self._action()
        self._resource()

    # --- The universe ---

    def _patterns(self):
        """The tokens of each text in the policies: what they are compared with, and the tokens."""
        for s in self.statements:
            for pattern in s.actions:
                yield "action", model.tokens(pattern.lower(), True, False)
            for pattern in s.resources or ():
                yield "resource", model.tokens(pattern, True, s.variables)
            for kind, name in s.principals or ():
                yield "principal", tuple(name)
        for test, variables in self.tests:
            if test.family in model.TEXT_FAMILIES:
                for value in test.values:
                    yield test.key, model.tokens(value, test.family in ("like", "arn"), variables)

    def _alphabet(self):
        letters, folded = set("arn:aws:iam::roleuser/t*"), set()
        self.lengths = collections.defaultdict(int)
        for target, found in self._patterns():
            length = 0
            for token in found:
                if model.is_variable(token):
                    letters |= set(token[1] or "")
                    length += max(VARIABLE_LENGTH, len(token[1] or ""))
                else:
                    letters |= {token} if isinstance(token, str) else set()
                    length += token != (MANY,)
            self.lengths[target] = max(self.lengths[target], length)
        for test, _ in self.tests:
            if test.family == "nocase":
                folded |= set("".join(test.values))
            if test.family not in model.TEXT_FAMILIES or test.key in model.KEY_TYPES:
                for value in self._choices(test.key) or ():
                    letters |= set(value)
        letters |= {c.lower() for c in folded} | {c.upper() for c in folded}
        fresh = next(c for c in "zyxwvuqkj987ZYXWVUQKJ~" if c not in letters and c.lower() not in letters)
        letters.add(fresh)
        # The letters of actions come first, so that one comparison limits them.
        named = {c for target, found in self._patterns() if target == "action" for c in found}
        legal = sorted(c for c in letters if c in named or c in "abcdefghijklmnopqrstuvwxyz0123456789:")
        legal = [c for c in legal if c not in ("*", "?")]
        self.legal = len(legal)
        self.letters = ["", *legal, *sorted(letters - set(legal))]
        self.width = (len(self.letters) - 1).bit_length()
        self.codes = {c: format(at, f"#0{self.width + 2}b").replace("0b", "#b") for at, c in enumerate(self.letters)}

    def _keys_used(self):
        variables = {token[0] for _, found in self._patterns() for token in found if model.is_variable(token)}
        self.used = {test.key for test, _ in self.tests} | variables
        if variables & model.MULTIVALUED:
            raise Unsupported("variable of a multivalued key")

    def _row(self, name, length, limit=None):
        """A free text of at most `length` letters."""
        f = self.formula
        cells = [f.vector(f"{name}.{at}", self.width) for at in range(length)]
        text = Text(cells)
        for at, cell in enumerate(cells):
            f.require(f"(bvule {cell} {self.codes[self.letters[limit or -1]]})")
            if at:
                f.require(f"(=> {self._is(cells[at - 1], '')} {self._is(cell, '')})")
        return text

    def _is(self, cell, letter):
        if isinstance(cell, dict):
            return cell.get(letter, FALSE)
        code = self.codes.get(letter)
        return self.formula.name(f"(= {cell} {code})") if code else FALSE

    def _in(self, cell, letters):
        """Whether a cell holds one of the letters; ANY and NO_COLON exclude the end of the text."""
        f = self.formula
        if letters in (ANY, NO_COLON):
            outside = ("",) if letters == ANY else ("", ":")
            return f.not_(f.some(self._is(cell, letter) for letter in outside))
        return f.some(self._is(cell, letter) for letter in letters)

    def _end(self, text, at):
        return self._is(text.cells[at], "") if at < len(text) else TRUE

    def _text_of_choices(self, choices):
        length = max((len(value) for value, _ in choices), default=0)
        cells = []
        for at in range(length):
            cell = collections.defaultdict(list)
            for value, term in choices:
                cell[value[at] if at < len(value) else ""].append(term)
            cells.append({letter: self.formula.some(terms) for letter, terms in cell.items()})
        return Text(cells)

    def _action(self):
        self.action = self._row("action", max(self.lengths["action"], 4) + SLACK, self.legal)
        word = [("one", NO_COLON), ("star", NO_COLON)]
        self.formula.require(self._match(self.action, [*word, ("one", ":"), *word]))

    def _resource(self):
        if all(s.resources is None for s in self.statements):
            self.resource = None
            return
        self.resource = self._row("resource", max(self.lengths["resource"], 12) + SLACK)
        part = [("star", NO_COLON), ("one", ":")]
        partitions = {p.split(":")[1] for s in self.statements for p in s.resources or () if p.count(":") >= 5}
        whole = [("one", c) for c in "arn:"]
        whole += [("one", c) for c in "aws:"] if partitions <= {"aws", "*"} else [("one", NO_COLON), *part]
        whole += [("one", NO_COLON), *part, *part, *part, ("one", ANY), ("star", ANY)]
        f = self.formula
        f.require(f.either(self._match(self.resource, whole), self._match(self.resource, [("one", "*")])))

    def _choices(self, key):
        return typed_values(key, [test for test, _ in self.tests])

    def _key(self, key):
        f = self.formula
        name = f"|{key}|"
        choices = self._choices(key)
        several = key in model.MULTIVALUED
        if choices is not None:
            if several:
                raise Unsupported(f"multivalued key {key} with a type")
            width = len(choices).bit_length()
            index = f.vector(name, width)
            f.require(f"(bvule {index} {len(choices):#0{width + 2}b})".replace("0b", "#b"))
            terms = [f.name(f"(= {index} {at:#0{width + 2}b})".replace("0b", "#b")) for at in range(len(choices) + 1)]
            pairs = list(zip(choices, terms[1:]))
            present = f.not_(terms[0])
            self.keys[key] = Key(present, [Key.Slot(present, self._text_of_choices(pairs), pairs)])
            self.decode.append((key, "choice", index, choices))
            return
        length = self.lengths[key] + SLACK if self.lengths[key] else VARIABLE_LENGTH
        slots = []
        for at in range(SLOTS if several else 1):
            present = f.boolean(f"|{key}.{at}.present|")
            # A quoted name may not contain every letter of a key, so cells are named by number.
            text = self._row(f"key{len(self.decode)}.{at}", length)
            first = self._is(text.cells[0], "")
            f.require(f"(=> (not {present}) {first})")
            if key not in self.empty or several:
                f.require(f"(=> {present} (not {first}))")
            if slots:
                f.require(f"(=> {present} {slots[-1].present})")
            slots.append(Key.Slot(present, text, None))
        self.keys[key] = Key(slots[0].present, slots)
        self.decode.append((key, "list" if several else "text", slots, None))

    def _caller(self):
        """The caller: its kind, its account and its name, and the keys that follow from them."""
        f = self.formula
        entries = {entry for s in self.statements for entry in s.principals or ()}
        if any(kind == "AWS" and ":sts:" in name for kind, name in entries):
            raise Unsupported("principals that are sessions")
        texts = [name for kind, name in entries if kind == "AWS"]
        texts += [v for t, _ in self.tests if t.key in ("aws:principalarn", "aws:principalaccount") for v in t.values]
        accounts = {name for kind, name in entries if kind == "account"} | {"999988887777", "111122223333"}
        for text in texts:
            part = text if ":" not in text else (text.split(":") + [""] * 5)[4]
            part = (
                part.replace("*", "4" * max(0, 12 - len(part.replace("*", ""))), 1).replace("*", "").replace("?", "4")
            )
            if len(part) == 12 and part.isdigit():
                accounts.add(part)
        accounts = sorted(accounts)
        own = ["user", "role"] + (["root"] if self.kind != "identity" else [])
        others = []
        if self.kind in ("resource", "trust"):
            services = sorted({name for kind, name in entries if kind == "Service"} | {"fresh.amazonaws.com"})
            providers = {name for kind, name in entries if kind == "Federated"} - {"*"}
            providers = sorted(providers | {"arn:aws:iam::999988887777:oidc-provider/fresh"})
            others = [("anonymous", "*"), *(("service", s) for s in services), *(("provider", p) for p in providers)]
        is_kind = {kind: f.boolean(f"caller.{kind}") for kind in own}
        is_other = {other: f.boolean(f"caller.other{at}") for at, other in enumerate(others)}
        is_account = {account: f.boolean(f"caller.account{account}") for account in accounts}
        f.exactly_one([*is_kind.values(), *is_other.values()])
        f.exactly_one(list(is_account.values()))
        longest = max([self.lengths["principal"], self.lengths["aws:principalarn"], 32]) - 31
        name = self._row("caller.name", max(longest, self.lengths["aws:username"]) + SLACK)
        f.require(f.not_(self._is(name.cells[0], "")))
        paths = any("/" in text.partition("/")[2] for text in texts)
        for at, cell in enumerate(name.cells):
            for letter in ":*":
                f.require(f.not_(self._is(cell, letter)))
            if not paths:
                f.require(f.not_(self._is(cell, "/")))
            elif at == 0:
                f.require(f.not_(self._is(cell, "/")))
            else:
                before = self._is(name.cells[at - 1], "/")
                f.require(f.not_(f.both(before, f.either(self._is(cell, "/"), self._is(cell, "")))))
        if paths:
            f.require(f.not_(self._is(name.cells[-1], "/")))
            if "aws:username" in self.used:
                raise Unsupported("aws:username with paths of principals")
        root = is_kind.get("root", FALSE)
        cells = [{c: TRUE} for c in "arn:aws:iam::"]
        cells += self._text_of_choices(list(is_account.items())).cells
        cells.append({":": TRUE})
        role, user, named = is_kind["role"], is_kind["user"], f.either(is_kind["role"], is_kind["user"])
        for letters in zip("role/", "user/", ["r", "o", "o", "t", ""]):
            cell = collections.defaultdict(list)
            for letter, term in zip(letters, (role, user, root)):
                cell[letter].append(term)
            cells.append({letter: f.some(terms) for letter, terms in cell.items()})
        for cell in name.cells:
            cells.append(
                {
                    letter: f.both(named, self._is(cell, letter)) if letter else f.either(root, self._is(cell, ""))
                    for letter in self.letters
                }
            )
        has_account = f.some(is_kind.values())
        arn = Text(cells)
        types = {"user": "User", "role": "AssumedRole", "root": "Account", "anonymous": "Anonymous"}
        kinds = [(types[kind], term) for kind, term in is_kind.items()]
        kinds += [(types[kind], term) for (kind, _), term in is_other.items() if kind in types]
        type_known = f.some(term for _, term in kinds)
        account = [(a, f.both(has_account, term)) for a, term in is_account.items()]
        self.keys |= {
            "aws:principalarn": Key(has_account, [Key.Slot(has_account, arn, None)]),
            "aws:principalaccount": Key(has_account, [Key.Slot(has_account, self._text_of_choices(account), account)]),
            "aws:principaltype": Key(type_known, [Key.Slot(type_known, self._text_of_choices(kinds), kinds)]),
            "aws:username": Key(user, [Key.Slot(user, name, None)]),
        }
        self.who = (is_kind, is_other, is_account, name, arn, has_account)

    # --- Patterns ---

    def _match(self, text, elements):
        """Whether a text matches a list of elements.

        They are ("one", letters), ("star", letters), and for a variable ("insert", key, default, fits).
        """
        f = self.formula
        n = len(text)
        reached = {0: TRUE}
        for at, element in enumerate(elements):
            following = {}
            if element[0] == "one":
                for j, term in reached.items():
                    if j < n:
                        term = f.both(term, self._in(text.cells[j], element[1]))
                        if term != FALSE:
                            following[j + 1] = term
            elif element[0] == "star":
                if element[1] == ANY and at == len(elements) - 1:
                    return f.some(reached.values())
                for j in range(min(reached, default=n + 1), n + 1):
                    longer = FALSE
                    if j - 1 in following:
                        longer = f.both(following[j - 1], self._in(text.cells[j - 1], element[1]))
                    term = f.either(reached.get(j, FALSE), longer)
                    if term != FALSE:
                        following[j] = term
            else:
                following = self._insert(text, reached, *element[1:])
            reached = following
        return f.some(f.both(term, self._end(text, j)) for j, term in reached.items())

    def _insert(self, text, reached, key, default, fits):
        """The positions after the value of a variable, from the positions reached before it."""
        f = self.formula
        following = collections.defaultdict(list)
        slot = self.keys[key].slots[0]
        for j, term in reached.items():
            equal = f.both(term, slot.present)
            for length in range(len(slot.text) + 1):
                following[j + length].append(f.both(equal, self._end(slot.text, length)))
                if length == len(slot.text) or j + length == len(text):
                    break
                equal = f.both(equal, fits(text.cells[j + length], slot.text.cells[length]))
                if equal == FALSE:
                    break
            if default is not None:
                equal = f.both(term, f.not_(slot.present))
                for length, letter in enumerate(default):
                    equal = f.both(equal, self._is(text.cells[j + length], letter)) if j + length < len(text) else FALSE
                following[j + len(default)].append(equal)
        return {j: term for j, terms in following.items() if (term := f.some(terms)) != FALSE}

    def _same(self, letters, folded, one, other):
        """Whether two cells hold the same letter."""
        f = self.formula
        if isinstance(one, str) and isinstance(other, str):
            same = [f.name(f"(= {one} {other})")]
        else:
            same = [f.both(self._is(one, c), self._is(other, c)) for c in self.letters if c]
        if folded:
            for c in self.letters:
                swapped = c.swapcase()
                if c and swapped != c and swapped in self.codes:
                    same.append(f.both(self._is(one, c), self._is(other, swapped)))
        same = f.some(same)
        return f.both(same, self._in(one, letters))

    def _elements(self, found, by_part=False, folded=False):
        """Elements from tokens. By part, wildcards and variables of the first five parts do not match colons."""
        colons = found.count(":")
        by_part = by_part and colons >= 5
        passed, elements = 0, []
        for token in found:
            letters = NO_COLON if by_part and passed < 5 else ANY
            if token == (MANY,):
                elements.append(("star", letters))
            elif token == (ONE,):
                elements.append(("one", letters))
            elif model.is_variable(token):
                elements.append(("insert", *token, functools.partial(self._same, letters, folded)))
            else:
                passed += token == ":"
                elements.append(("one", tuple({token.lower(), token.upper()}) if folded else (token,)))
        return elements

    # --- Statements ---

    def _single(self, test, variables, slot):
        """One value of a key against the values of a test."""
        f = self.formula
        hits = []
        for value in test.values:
            if test.family in model.TEXT_FAMILIES:
                found = model.tokens(value, test.family in ("like", "arn"), variables)
                elements = self._elements(found, test.family == "arn", test.family == "nocase")
                hits.append(self._match(slot.text, elements))
            else:
                for choice, term in slot.choices or ():
                    if model.compares(test.family, choice, value, {}, variables):
                        hits.append(term)
                if slot.choices is None:
                    raise Unsupported(f"{test.family} on the key {test.key}")
        hit = f.some(hits)
        return f.not_(hit) if test.negated else hit

    def _test(self, test, variables):
        f = self.formula
        key = self.keys[test.key]
        if test.family == "null":
            # An empty value counts as absent.
            given = f.some(
                f.both(slot.present, f.not_(self._end(slot.text, 0)) if len(slot.text) else FALSE) for slot in key.slots
            )
            terms = {"true": f.not_(given), "false": given}
            return f.some(terms[value.lower()] for value in test.values)
        if test.qualifier:
            terms = []
            for slot in key.slots:
                counted = f.both(slot.present, f.not_(self._end(slot.text, 0)) if len(slot.text) else FALSE)
                single = self._single(test, variables, slot)
                every = test.qualifier == "ForAllValues"
                terms.append(f.either(f.not_(counted), single) if every else f.both(counted, single))
            return f.every(terms) if test.qualifier == "ForAllValues" else f.some(terms)
        only = f.both(key.present, *(f.not_(slot.present) for slot in key.slots[1:]))
        single = f.both(only, self._single(test, variables, key.slots[0]))
        return f.either(single, f.not_(key.present)) if test.negated or test.if_exists else single

    def _principal(self, entry):
        f = self.formula
        is_kind, is_other, is_account, _, arn, has_account = self.who
        kind, name = entry
        if kind == "*":
            return TRUE
        if kind == "AWS" and name == "*":
            return f.either(has_account, is_other[("anonymous", "*")])
        if kind == "AWS":
            return f.both(has_account, self._match(arn, [("one", (c,)) for c in name]))
        if kind == "account":
            return f.both(has_account, is_account[name])
        if kind == "Service":
            return is_other[("service", name)]
        if kind == "Federated":
            return f.some(t for (k, n), t in is_other.items() if k == "provider" and name in ("*", n))
        raise Unsupported(f"principal {kind}")

    def _excepted(self, entries):
        """Whether `NotPrincipal` of a `Deny` excepts the caller, and whether the documentation leaves that open."""
        f = self.formula
        is_kind, _, is_account, _, _, has_account = self.who
        named = f.some(self._principal(entry) for entry in entries)
        if ("*", "") in entries or ("AWS", "*") in entries:
            return named, FALSE
        exact = f.some(self._principal(entry) for entry in entries if entry[0] == "AWS")
        account = f.some(self._principal(entry) for entry in entries if entry[0] == "account")
        root = f.both(has_account, is_kind.get("root", FALSE))
        documented = f.some(
            is_account[a] for a in is_account if any(kind == "AWS" and f"::{a}:" in name for kind, name in entries)
        )
        excepted = f.some(
            [
                f.both(f.not_(has_account), named),
                f.both(root, account),
                f.both(has_account, f.not_(root), exact, account),
            ]
        )
        open_ = f.both(
            has_account,
            f.not_(root),
            f.either(
                f.both(exact, f.not_(account)),
                f.both(f.not_(exact), account, f.not_(documented)),
            ),
        )
        return excepted, open_

    def _statement(self, s):
        """The terms "applies" and "the documentation leaves open whether it applies"."""
        f = self.formula
        terms = []
        hit = f.some(self._match(self.action, self._elements(model.tokens(p.lower(), True, False))) for p in s.actions)
        terms.append(f.not_(hit) if s.not_action else hit)
        if s.resources is not None:
            hit = f.some(
                self._match(self.resource, self._elements(model.tokens(p, True, s.variables), True))
                for p in s.resources
            )
            terms.append(f.not_(hit) if s.not_resource else hit)
        terms += [self._test(test, s.variables) for test in s.tests]
        if s.principals is None:
            return f.every(terms), FALSE
        if s.not_principal and not s.allow:
            excepted, open_ = self._excepted(s.principals)
            return f.both(*terms, f.not_(excepted), f.not_(open_)), f.both(*terms, open_)
        named = f.some(map(self._principal, s.principals))
        return f.both(*terms, f.not_(named) if s.not_principal else named), FALSE

    def policy(self, statements):
        """The terms "allowed" and "denied" of a policy. Requests on which the documentation is open are excluded."""
        f = self.formula
        terms = [(s.allow, *self._statement(s)) for s in statements]
        denied = f.some(term for allow, term, _ in terms if not allow)
        open_ = f.some(term for _, _, term in terms)
        f.require(f.either(denied, f.not_(open_)))
        return f.both(f.some(term for allow, term, _ in terms if allow), f.not_(denied)), denied

    # --- Requests ---

    def _read(self, found, text):
        value = []
        for cell in text.cells:
            letter = self.letters[found(cell)]
            if not letter:
                break
            value.append(letter)
        return "".join(value)

    def request(self, solution):
        """The request of a solution."""
        values = {declared.name(): solution[declared] for declared in solution.decls()}

        def found(name):
            value = values.get(name.strip("|"))
            return False if value is None else z3.is_true(value) if z3.is_bool(value) else value.as_long()

        context = {}
        for key, form, source, choices in self.decode:
            if form == "choice":
                if found(source):
                    context[key] = choices[found(source) - 1]
                continue
            texts = [self._read(found, slot.text) for slot in source if found(slot.present)]
            if texts:
                context[key] = texts if form == "list" else texts[0]
        principal = EXAMPLE_CALLER
        if self.who:
            is_kind, is_other, is_account, name, _, _ = self.who
            principal = next((name for (_, name), term in is_other.items() if found(term)), None)
            if principal is None:
                kind = next(kind for kind, term in is_kind.items() if found(term))
                account = next(a for a, term in is_account.items() if found(term))
                end = "root" if kind == "root" else f"{kind}/{self._read(found, name)}"
                principal = f"arn:aws:iam::{account}:{end}"
            own = model.caller(principal).keys()
            context |= {key: own[key] for key in sorted(self.used & own.keys())}
        resource = ROLE if self.resource is None else self._read(found, self.resource)
        return {
            "principal": principal,
            "action": self._read(found, self.action),
            "resource": resource,
            "context": context,
        }


def typed_values(key, tests):
    """The values of a key with a type: each bound that the tests name, and one between any two. None for texts."""
    tests = [test for test in tests if test.key == key]
    families = {test.family for test in tests}
    named = {value for test in tests if test.family != "null" for value in test.values}
    if "bool" in families or model.KEY_TYPES.get(key) == "bool":
        return ["true", "false"]
    if "ip" in families or model.KEY_TYPES.get(key) == "ip":
        return sorted(_addresses(named))
    for type_, parse in (("numeric", fractions.Fraction), ("date", model.instant)):
        if any(family.startswith(type_) for family in families) or model.KEY_TYPES.get(key) == type_:
            return _between(type_, sorted({parse(value) for value in named if _parses(parse, value)}))
    return None


def _parses(parse, text):
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _addresses(named):
    """Addresses inside and just outside of each network."""
    found = {"203.0.113.77", "2001:db8:77::1"}
    for text in named:
        if not _parses(model.network, text):
            continue
        network = model.network(text)
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in (first - 1, first, last, last + 1):
            if 0 <= number < 1 << network.max_prefixlen:
                found.add(str(type(network.network_address)(number)))
    return found


def _between(type_, bounds):
    """Each bound, a value between any two, and one below and one above all, as texts."""
    bounds = bounds or [fractions.Fraction(1_750_000_000 if type_ == "date" else 5)]
    step = 86_400 if type_ == "date" else 1
    values = [bounds[0] - step, *bounds, bounds[-1] + step]
    values += [(low + high) / 2 for low, high in zip(bounds, bounds[1:])]
    return [_written(type_, value) for value in sorted(values)]


def _written(type_, value):
    if type_ == "date":
        moment = datetime.datetime.fromtimestamp(float(value), datetime.timezone.utc)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(int(value)) if value.denominator == 1 else f"{float(value):.12f}".rstrip("0")


Verdict = collections.namedtuple("Verdict", "gain loss deny")
"""A request, False, or None (timeout): allowed only by the second policy, only by the first, denied by only one."""


class EncoderError(Exception):
    """The plain evaluation contradicts a solution."""


def solve(first, second, kind, timeout=5000, decisions=True):
    """Compares two parsed policies. Every request is checked by plain evaluation."""
    encoder = Encoder((first, second), kind)
    f = encoder.formula
    (allowed_1, denied_1), (allowed_2, denied_2) = encoder.policy(first), encoder.policy(second)
    goals = {
        "gain": f.both(allowed_2, f.not_(allowed_1)),
        "loss": f.both(allowed_1, f.not_(allowed_2)),
        "deny": f.either(f.both(denied_1, f.not_(denied_2)), f.both(denied_2, f.not_(denied_1))),
    }
    solver = z3.SolverFor("QF_FD")
    solver.set("timeout", timeout)
    for name, term in goals.items():
        f.lines.append(f"(declare-const goal.{name} Bool)(assert (= goal.{name} {term}))")
    solver.from_string("\n".join(f.lines))
    answers = {}
    for name, term in goals.items():
        if term == FALSE or (name == "deny" and not decisions):
            answers[name] = False
            continue
        result = solver.check(z3.Bool(f"goal.{name}"))
        answers[name] = False
        if result == z3.unknown:
            answers[name] = None
        elif result == z3.sat:
            answers[name] = request = encoder.request(solver.model())
            _check(name, first, second, request)
    return Verdict(**answers)


def differs(goal, first, second, request):
    """Whether a request is what `goal` looks for, by plain evaluation; None if the documentation leaves it open."""
    before, after = model.decide(first, request), model.decide(second, request)
    if UNDEFINED in (before, after):
        return None
    if goal == "equal":
        return before != after
    if goal == "deny":
        return (before == DENIED) != (after == DENIED)
    only = (after, before) if goal == "gain" else (before, after)
    return only[0] == ALLOWED != only[1]


def _check(goal, first, second, request):
    if not differs(goal, first, second, request):
        raise EncoderError(f"no {goal}: {request}")
    reason = model.why_impossible(request, (first, second), "any")
    if reason:
        raise EncoderError(f"{reason}: {request}")
