#!/usr/bin/env python3
"""Compares the verdicts of `policy equal`, `implies` and `diff` with those of an SMT solver, on random small policies.

    judge.py PROGRAM [--pairs 500] [--seed N] [--jobs 2] [--only equal,implies,diff]
    judge.py PROGRAM --replay FILE
    judge.py --solve FILE

Each disagreement is one JSON line on stdout, which `--replay` reads; everything else goes to stderr. `--replay` and
`--solve` also read lines that have `before` and `after`, or `reference` and `candidate`, instead of `a` and `b`;
`--solve` prints the solver's verdicts and needs no program. The solver searches among texts of a bounded length: an
example beyond that bound counts as agreement if plain evaluation confirms it.

Exits with 1 on any disagreement, and if too many answers are undecided or the solver runs out of time too often.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time

import encoder
import pairs
import policies as model
import rows

QUESTIONS = ("equal", "implies", "diff")
FIELDS = {"equal": ("a", "b"), "implies": ("reference", "candidate"), "diff": ("before", "after")}
CHUNK = 200
# A count beside those of the relations: pairs with at least one disagreement.
AT_ODDS = "with a disagreement"
# Counts of the requests on which rows were compared, and the prefix of the kinds of problems.
COMPARED, CHANGED, PROBLEM = "requests", "requests that change access", "problem: "
# Seconds for one run of the program over a chunk.
PATIENCE = 600


class ProgramError(Exception):
    """The program cannot be asked."""


def ask(program, question, chunk):
    """The program's answers by id."""
    first, second = FIELDS[question]
    lines = [json.dumps({"id": p["id"], first: p["a"], second: p["b"], "type": p["type"]}) for p in chunk]
    command = [program, "policy", question, "--jsonl"]
    try:
        ran = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=PATIENCE)
        output = ran.stdout
        if ran.returncode and not output:
            raise ProgramError(f"`{' '.join(command[1:])}` failed: {ran.stderr.strip().splitlines()[-1:]}")
    except subprocess.TimeoutExpired as late:
        # The answers so far; the pair after them is the slow one.
        output = (late.stdout or b"").decode()
    answers = {}
    for line in output.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        answers[answer.get("id")] = answer
    return answers


class Problem(Exception):
    """A disagreement: what is wrong, a request that shows it, if any, and its kind, for the summary."""

    def __init__(self, what, witness=None, kind="other"):
        super().__init__(what)
        self.witness = witness
        self.kind = kind


def confirm(goal, example, policies, kind):
    """Raises Problem unless the example is a possible request that shows what it claims."""
    if not isinstance(example, dict):
        raise Problem(f"no example for {goal}")
    try:
        reason = model.why_impossible(example, policies, kind)
        shown = None if reason else encoder.differs(goal, *policies, example)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Problem(f"malformed example: {error!r}") from error
    if reason:
        raise Problem(f"impossible example for {goal}: {reason}", kind="impossible example")
    if shown is None:
        raise Problem(f"the documentation does not decide the example for {goal}")
    if not shown and not (goal == "equal" and is_of_owner(example)):
        raise Problem(f"the example for {goal} shows no difference", kind="wrong example")


def is_of_owner(example):
    """Whether the caller belongs to the account of the resource: then a statement that names the caller directly needs
    no policy of the caller, which the judge's decisions leave open."""
    parts = example["principal"].split(":")
    return len(parts) > 5 and parts[4] == example.get("resource_account")


def compare(question, answer, verdict, policies, kind):
    """ "agree", "beyond the bound", "undecided" or "timeout"; raises Problem on a disagreement."""
    if answer is None:
        raise Problem("no answer")
    if "error" in answer:
        raise Problem(f"error: {answer['error']}")
    if question == "diff":
        return _compare_rows(answer, verdict, policies, kind)
    field, goals = ("equivalent", ("gain", "loss", "deny")) if question == "equal" else ("implied", ("gain",))
    if field not in answer:
        raise Problem(f"no field `{field}`")
    found = [getattr(verdict, goal) for goal in goals]
    witness = next((request for request in found if request), None)
    if answer[field] is None:
        return "undecided"
    if answer[field]:
        if witness:
            raise Problem(f"`{field}` is true, and a request shows a difference", witness, "missed difference")
        return "timeout" if None in found else "agree"
    confirm("equal" if question == "equal" else "gain", answer.get("example"), policies, kind)
    return "agree" if witness else "beyond the bound"


def _compare_rows(answer, verdict, policies, kind):
    if "rows" not in answer:
        raise Problem("no field `rows`")
    outcome = "agree"
    for goal in ("gain", "loss"):
        own = [row for row in answer["rows"] if row.get("change") == goal]
        for row in own:
            confirm(goal, row.get("example"), policies, kind)
        found = getattr(verdict, goal)
        if found and not own:
            if not answer.get("undecided"):
                raise Problem(f"no row for a {goal}", found, f"{goal} without a row")
            return "undecided"
        if own and found is False:
            outcome = "beyond the bound"
        if not own and found is None:
            outcome = "timeout"
    return "undecided" if answer.get("undecided") else outcome


def check_rows(answer, verdict, pair, policies):
    """How many requests the rows of a diff were compared on, and how many of these change access.

    Raises Problem if the rows do not cover exactly the requests that change access.
    """
    known = [request for request in verdict if request]
    known += [row["example"] for row in answer["rows"] if row.get("example")]
    try:
        return rows.check(pair["id"], answer["rows"], policies, pair["type"], known, not answer.get("undecided"))
    except rows.Problem as problem:
        # A row for everyone need not hold for every kind of caller.
        if "for everyone" in problem.kind:
            return 0, 0
        raise Problem(str(problem), problem.request, problem.kind) from problem
    except (KeyError, TypeError, AttributeError, ValueError, model.Unsupported) as error:
        raise Problem(f"malformed row: {error!r}", kind="malformed row") from error


def judge(chunk, program, questions, timeout):
    """Counts by question and outcome, counts of the pairs, and the disagreements of some pairs."""
    counts, drawn, lines = collections.Counter(), collections.Counter(), []
    answers = {question: ask(program, question, chunk) for question in questions}
    for pair in chunk:
        try:
            policies = [model.parse(pair["a"]), model.parse(pair["b"])]
            verdict = encoder.solve(*policies, pair["type"], timeout, "equal" in questions)
        except (model.Unsupported, encoder.EncoderError) as error:
            drawn[pair["kind"], "not judged"] += 1
            lines.append(json.dumps({"question": "judge", "problem": repr(error)} | pair))
            continue
        drawn[pair["kind"], _relation(verdict)] += 1
        at_odds = len(lines)
        for question in questions:
            answer = answers[question].get(pair["id"])
            try:
                outcome = compare(question, answer, verdict, policies, pair["type"])
                if question == "diff":
                    compared, changed = check_rows(answer, verdict, pair, policies)
                    counts["rows", COMPARED] += compared
                    counts["rows", CHANGED] += changed
            except Problem as problem:
                outcome = "disagree"
                counts[question, f"{PROBLEM}{problem.kind}"] += 1
                shown = {"question": question, "problem": str(problem), "request": problem.witness, "answer": answer}
                lines.append(json.dumps(shown | pair))
            counts[question, outcome] += 1
        drawn[pair["kind"], AT_ODDS] += len(lines) > at_odds
    return counts, drawn, lines


def _relation(verdict):
    if None in verdict:
        return "timeout"
    if not verdict.gain and not verdict.loss:
        return "same access" if verdict.deny else "equal"
    return "different" if verdict.gain and verdict.loss else "narrower or wider"


def _judge_numbers(work):
    seed, numbers, *rest = work
    return judge([pairs.draw(seed, number) for number in numbers], *rest)


def read(path):
    """The pairs in a file of JSON lines."""
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(filter(str.strip, lines), 1):
            row = json.loads(line)
            names = next((names for names in FIELDS.values() if names[0] in row), None)
            if names is None:
                raise SystemExit(f"judge.py: {path}:{number}: no policies")
            a, b = (_document(row[name]) for name in names)
            kind = row.get("type") or _type([a, b])
            title = row.get("kind") or "file"
            found.append({"id": row.get("id", str(number)), "kind": title, "type": kind, "a": a, "b": b})
    return found


def _document(source):
    return {"Version": "2012-10-17", "Statement": source} if isinstance(source, list) else source


def _type(documents):
    statements = [s for document in documents for s in model.listed(document["Statement"])]
    if not any("Principal" in s or "NotPrincipal" in s for s in statements):
        return "identity"
    return "resource" if any("Resource" in s or "NotResource" in s for s in statements) else "trust"


def share(count, total):
    return f"{count} ({count / max(total, 1):.2%})"


def report(counts, drawn, seconds, seed):
    """Prints the summary. Returns the share of timeouts, and the largest share of undecided answers to a question."""
    total = sum(n for (_, relation), n in drawn.items() if relation != AT_ODDS)
    print(
        f"seed {seed}: {total} pairs in {seconds:.0f} s ({total / max(seconds, 1e-9):.1f} per second)", file=sys.stderr
    )
    for kind in sorted({kind for kind, _ in drawn}):
        found = {relation: n for (k, relation), n in sorted(drawn.items()) if k == kind}
        at_odds = found.pop(AT_ODDS, 0)
        listed = ", ".join(f"{n} {relation}" for relation, n in found.items())
        print(f"  {kind}: {sum(found.values())} pairs ({listed}), {at_odds} {AT_ODDS}", file=sys.stderr)
    undecided = 0.0
    for question in [question for question in QUESTIONS if any(q == question for q, _ in counts)]:
        of = {outcome: n for (q, outcome), n in counts.items() if q == question}
        problems = [f"{n} {o.removeprefix(PROBLEM)}" for o, n in sorted(of.items()) if o.startswith(PROBLEM)]
        outcomes = ("agree", "beyond the bound", "undecided", "timeout", "disagree")
        asked = sum(of.get(o, 0) for o in outcomes)
        undecided = max(undecided, of.get("undecided", 0) / asked)
        listed = ", ".join(f"{share(of.get(o, 0), asked)} {o}" for o in outcomes)
        print(f"  {question}: {listed}" + (f" ({'; '.join(problems)})" if problems else ""), file=sys.stderr)
    if counts["rows", COMPARED]:
        listed = ", ".join(f"{counts['rows', name]} {name}" for name in (COMPARED, CHANGED))
        print(f"  rows of diff compared on: {listed}", file=sys.stderr)
    late = sum(n for (_, relation), n in drawn.items() if relation == "timeout")
    print(f"  solver timeouts: {share(late, total)}", file=sys.stderr)
    return late / max(total, 1), undecided


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="the bailiwick binary")
    parser.add_argument("--pairs", type=int, default=500, help="how many pairs to draw (default: %(default)s)")
    parser.add_argument("--seed", help="seed of the pairs (default: a new one, which is printed)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--only", default=",".join(QUESTIONS), help="questions (default: %(default)s)")
    parser.add_argument("--timeout", type=int, default=5000, help="milliseconds per solver call (default: %(default)s)")
    parser.add_argument(
        "--max-timeouts", type=float, default=0.01, help="share that fails the run (default: %(default)s)"
    )
    parser.add_argument(
        "--max-undecided", type=float, default=0.01, help="share that fails the run (default: %(default)s)"
    )
    parser.add_argument("--replay", metavar="FILE", help="judge the pairs in FILE")
    parser.add_argument("--solve", metavar="FILE", help="print the solver's verdicts on the pairs in FILE")
    found = parser.parse_args()
    if not found.program and not found.solve:
        parser.error("name the program, or use --solve")
    found.questions = [question for question in found.only.split(",") if question]
    if not set(found.questions) <= set(QUESTIONS):
        parser.error(f"--only takes {', '.join(QUESTIONS)}")
    return found


def solve(path, timeout):
    for pair in read(path):
        verdict = encoder.solve(model.parse(pair["a"]), model.parse(pair["b"]), pair["type"], timeout)
        print(json.dumps({"id": pair["id"], "relation": _relation(verdict), **verdict._asdict()}))


def main():
    chosen = options()
    if chosen.solve:
        return solve(chosen.solve, chosen.timeout)
    settings = (chosen.program, chosen.questions, chosen.timeout)
    started = time.monotonic()
    counts, drawn, disagreements = collections.Counter(), collections.Counter(), 0
    if chosen.replay:
        seed, results = chosen.replay, map(lambda chunk: judge(chunk, *settings), [read(chosen.replay)])
    else:
        seed = chosen.seed or str(random.SystemRandom().randrange(10**9))
        # Printed first, so that an interrupted run can be repeated.
        print(f"seed {seed}", file=sys.stderr)
        size = max(1, min(CHUNK, -(-chosen.pairs // chosen.jobs)))
        numbers = [range(at, min(at + size, chosen.pairs)) for at in range(0, chosen.pairs, size)]
        work = [(seed, chunk, *settings) for chunk in numbers]
        pool = multiprocessing.Pool(chosen.jobs)
        results = pool.imap_unordered(_judge_numbers, work)
    try:
        for counted, kinds, lines in results:
            counts += counted
            drawn += kinds
            disagreements += len(lines)
            for line in lines:
                print(line, flush=True)
    except ProgramError as error:
        raise SystemExit(f"judge.py: {error}") from error
    late, undecided = report(counts, drawn, time.monotonic() - started, seed)
    failures = [f"{disagreements} disagreements"] if disagreements else []
    failures += ["too many timeouts"] if late > chosen.max_timeouts else []
    failures += ["too many undecided answers"] if undecided > chosen.max_undecided else []
    if failures:
        raise SystemExit(f"judge.py: {', '.join(failures)}")


if __name__ == "__main__":
    main()
