"""Corral's judge against Cedar's over random policies and actions: `python benchmarks/policy_cedar.py [CASES]`.

Needs PyPI cedarpy, in an environment of its own with pydantic: `PYTHONPATH=policy`. On the shared subset (no inexact
patterns, conditions on whole numbers, texts, truth values, labels, read_only) allow and not allow must agree; outside
of it Cedar's export may only be stricter. Arguments have the types that the rules compare with, or are missing.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import cedarpy  # pyright: ignore

from corral.policy import Action, Integrity, Label, Policy, SecurityPolicy, Verdict, cedar_request, to_cedar

RESOURCES = ("*", "tool:*", "tool:mail/*", "tool:mail/send", "tool:web/get", "memory:*")
SHARED: tuple[dict[str, Any], ...] = (
    {}, {"args.n": 5}, {"args.n": {"min": 3}}, {"args.n": {"min": 2, "max": 7}}, {"args.s": "a"},
    {"args.s": {"one_of": ["a", "b*", '"']}}, {"args.b": True}, {"read_only": True}, {"read_only": False},
    {"args.n": {"max": 4}, "args.s": "b*"},
)  # fmt: skip
LABELS: tuple[dict[str, Any], ...] = ({"labels.n": "directory"}, {"labels.n": {"below": "user"}})
BEYOND: tuple[dict[str, Any], ...] = ({"args.s": {"under": "/data"}}, {"args.n": {"min": 0.5}}, {"session.x": 1})
BATCH = 200


def draw_rule(rng: random.Random, *, beyond: bool) -> SecurityPolicy:
    patterns = (*RESOURCES, "tool:*/send") if beyond else RESOURCES
    return SecurityPolicy(
        resource=rng.choice(patterns),
        actions=rng.choice((["*"], ["*"])),
        principals=rng.choice((["*"], ["agent:main"], ["agent:*", "user:ann"])),
        conditions=rng.choice((*SHARED, *LABELS, *(BEYOND if beyond else ()))),
        effect=rng.choice(("allow", "allow", "ask", "deny")),
    )


def draw_action(rng: random.Random) -> Action:
    given = {"n": rng.randrange(10), "s": rng.choice(("a", "b*", "bc", '"', "é", "/data/x")), "b": rng.random() < 0.5}
    arguments = {name: value for name, value in given.items() if rng.random() < 0.8}
    labels = {"n": Label(rng.choice(list(Integrity)))} if rng.random() < 0.6 else {}
    resource, verb = rng.choice((("tool:mail/send", "call"), ("tool:web/get", "call"), ("memory:long", "write")))
    who = rng.choice(("agent:main", "agent:x")), rng.choice(("user:ann", "user:bob"))
    return Action(resource, verb, *who, arguments=arguments, labels=labels, read_only=rng.random() < 0.5)


def compare(rng: random.Random, *, beyond: bool) -> tuple[int, int]:
    """Cases in one policy, and disagreements."""
    policy = Policy(rules=[draw_rule(rng, beyond=beyond) for _ in range(rng.randrange(1, 8))])
    actions = [draw_action(rng) for _ in range(BATCH)]
    approved = [rng.random() < 0.5 for _ in actions]
    requests = [cedar_request(action, approved=yes) for action, yes in zip(actions, approved, strict=True)]
    answers = cedarpy.is_authorized_batch(requests, to_cedar(policy), [])  # pyright: ignore
    wrong = 0
    for action, yes, answer in zip(actions, approved, answers, strict=True):  # pyright: ignore
        verdict = policy.judge(action).verdict
        ours = verdict is Verdict.ALLOW or (verdict is Verdict.ASK and yes)
        theirs = bool(answer.allowed)  # pyright: ignore
        if theirs != ours and (theirs or not beyond):
            wrong += 1
            if wrong == 1:
                sys.stdout.write(f"Cedar {theirs}, Corral {verdict.name}: {action}\n{to_cedar(policy)}\n")
    return BATCH, wrong


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = random.Random(11)
    for beyond in (False, True):
        cases = wrong = 0
        started = time.process_time()
        while cases < wanted:
            more, bad = compare(rng, beyond=beyond)
            cases, wrong = cases + more, wrong + bad
        kind = "beyond the shared subset: Cedar looser in" if beyond else "shared subset: disagreement in"
        sys.stdout.write(f"{kind} {wrong} of {cases} cases, {time.process_time() - started:.0f} s CPU\n")


if __name__ == "__main__":
    main()
