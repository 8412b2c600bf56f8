"""The policy room's own speed: `python benchmarks/policy_gate.py` prints judging, the whole gate, audit and redaction.

Wall time of single operations in microseconds, on one thread; the rules are 1000, of which a share is about the same
tools as the actions, and the actions are drawn from 400 resources with arguments that conditions look at.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corral.policy import (
    Action,
    Admission,
    Audit,
    AuditRecord,
    Budget,
    ChainedAudit,
    FileAudit,
    Gate,
    Label,
    Limits,
    Manifest,
    Manifests,
    MemoryAudit,
    Policy,
    Provenance,
    Redactor,
    SecurityPolicy,
    Spend,
)

ROUNDS = 50_000
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"args.n": {"max": 10}},
    {"args.url": {"host": ["*.example.org", "api.example.com"]}},
    {"args.path": {"under": "/data"}},
    {"labels.n": "directory"},
    {"args.mode": {"one_of": ["a", "b"]}},
)


def rules(rng: random.Random, count: int) -> list[SecurityPolicy]:
    shapes = ("tool:s{}/t{}", "tool:s{}/*", "tool:s{}/t*", "memory:long/{}{}", "net:h{}.example.org:{}")
    found: list[SecurityPolicy] = []
    for number in range(count):
        resource = rng.choice(shapes).format(rng.randrange(40), rng.randrange(10))
        effect = rng.choice(("allow", "allow", "allow", "ask", "deny"))
        conditions = {} if resource.startswith("net") else rng.choice(CONDITIONS)
        found.append(
            SecurityPolicy(resource=resource, actions=["*"], effect=effect, conditions=conditions, id=f"r{number}")
        )
    return found


def actions(rng: random.Random, count: int) -> list[Action]:
    def arguments() -> dict[str, Any]:
        url = f"https://{rng.choice(('api.example.com', 'x.example.org', 'evil.example'))}/a/b?c=d"
        path = rng.choice(("/data/a/b", "/etc/passwd", "/data/../x"))
        return {"n": rng.randrange(20), "url": url, "path": path, "mode": rng.choice("abc")}

    return [
        Action(f"tool:s{rng.randrange(40)}/t{rng.randrange(10)}", "call", arguments=arguments()) for _ in range(count)
    ]


def measure(work: Callable[[int], object], rounds: int) -> list[float]:
    times: list[float] = []
    for number in range(rounds):
        started = time.perf_counter_ns()
        work(number)
        times.append((time.perf_counter_ns() - started) / 1000)
    return times


def show(name: str, times: list[float], aim: str) -> None:
    cuts = statistics.quantiles(times, n=1000)
    print(  # noqa: T201 - its output is its purpose
        f"{name:44s} p50 {cuts[499]:8.2f}  p99 {cuts[989]:8.2f}  p99.9 {cuts[998]:8.2f} us   aim: {aim}"
    )


def judging(rng: random.Random) -> None:
    drawn = actions(rng, 5000)

    def judge(count: int, rounds: int) -> list[float]:
        policy = Policy(rules=rules(rng, count))
        return measure(lambda number: policy.judge(drawn[number % 5000]), rounds)

    for count in (10, 100, 1000):
        show(f"judge, {count} rules", judge(count, ROUNDS), "50/99 % <= 5/50")
    cold = [time for _ in range(3) for time in judge(1000, 400)]
    show("judge, 1000 rules, resource seen first", cold, "-")


async def whole_gate(rng: random.Random, name: str, gate: Gate) -> None:
    drawn = actions(rng, 5000)

    async def effect(admission: Admission) -> None:
        admission.claim(admission.action.resource, "call", admission.action.arguments)

    times: list[float] = []
    for number in range(10_000):
        started = time.perf_counter_ns()
        await gate.perform(drawn[number % 5000], effect, reserve=Spend(tool_calls=1))
        times.append((time.perf_counter_ns() - started) / 1000)
    show(name, times, "p99 <= 500")


def provenance() -> Provenance:
    """A run that has read 50 mails of 1 KB."""
    run = Provenance(Manifests({"mail": Manifest.builtin("mail")}), directory=["@corp.example", "bob"])
    run.user("Send the summary of 'Minutes of May' to ann@corp.example and bob. " * 10)
    for number in range(50):
        mail = {
            "id": f"m-{number}",
            "from": f"p{number}@x.example",
            "subject": f"s{number}",
            "body": "lorem ipsum " * 85,
        }
        run.observe("tool:mail/read_email", mail, Label.untrusted("tool:mail/read_email"))
    return run


async def with_provenance() -> None:
    policy = Policy(rules=[SecurityPolicy(resource="tool:*", actions=["call"])])
    gate = Gate(policy, guards=[provenance()])
    body = "what we said, see the minutes; " * 33
    arguments = {"to": ["ann@corp.example", "x@corp.example", "bob"], "subject": "Minutes", "body": body}

    async def effect(admission: Admission) -> None:
        admission.claim(admission.action.resource, "call", arguments)

    times: list[float] = []
    for _ in range(5000):
        started = time.perf_counter_ns()
        await gate.perform(Action("tool:mail/send_email", "call", arguments=arguments), effect)
        times.append((time.perf_counter_ns() - started) / 1000)
    show("gate with provenance, 1 KB mail to 3", times, "p99 <= 500")


def redaction() -> None:
    line = "On 2024-05-15 10:00 ann@example.org paid 100.50 EUR for order 12345678; token count 512, see https://x.example\n"
    redactor, text = Redactor(known=["canary-9f3a"]), line * (10 * 1024 // len(line))
    times = measure(lambda _: redactor.redact(text), 200)
    show("redaction of 1 KB", [time / (len(text) / 1024) for time in times], "<= 500")


def audits(folder: Path) -> None:
    record = AuditRecord("intent", "run", "tool:s1/t1", "call", "agent:main", "user:ann", "d" * 64, "allow", "r1")

    def append(audit: Audit, rounds: int) -> list[float]:
        return measure(lambda _: audit.append(record), rounds)

    for audit in (MemoryAudit(), FileAudit(folder / "plain"), ChainedAudit(folder / "chain")):
        show(f"{type(audit).__name__}.append", append(audit, 20_000), "<= 50")
    show("ChainedAudit.append with fsync", append(ChainedAudit(folder / "synced", fsync=True), 500), "-")


def main() -> None:
    rng = random.Random(7)
    judging(rng)
    allowing = [SecurityPolicy(resource="tool:*", actions=["call"], id="all")]
    policy = Policy(rules=[*(r for r in rules(rng, 1000) if r.effect == "allow"), *allowing])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(whole_gate(rng, "gate, memory audit", Gate(policy, Budget(Limits(tool_calls=10**6)))))
        audit = ChainedAudit(folder / "gate")
        asyncio.run(whole_gate(rng, "gate, chained audit, 2 records", Gate(policy, Budget(), audit=audit)))
        asyncio.run(with_provenance())
        audits(folder)
    redaction()


if __name__ == "__main__":
    main()
