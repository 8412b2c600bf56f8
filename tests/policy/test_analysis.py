from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from corral.policy import (
    Action,
    Integrity,
    Label,
    Limits,
    Policy,
    PolicyFileError,
    Quota,
    Rate,
    SecurityPolicy,
    Tracing,
    Verdict,
    check,
    diff,
    diff_settings,
    explain,
    read_cases,
    run_cases,
    to_cedar,
)

SEND = "tool:mail/send"


def rule(id: str, resource: str = SEND, effect: str = "allow", **rest: Any) -> SecurityPolicy:
    return SecurityPolicy.model_validate({"id": id, "resource": resource, "actions": ["*"], "effect": effect, **rest})


def kinds(*rules: SecurityPolicy) -> list[tuple[str, str]]:
    return [(finding.kind, finding.rule) for finding in check(Policy(rules=list(rules)))]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule("a"), rule("b", "tool:web/get")], []),
        ([rule("a"), rule("a", "tool:web/get")], [("duplicate-id", "a")]),
        ([rule("a"), rule("no", "tool:*", "deny")], [("unreachable", "a")]),
        ([rule("a"), rule("no", "tool:*", "deny", conditions={"args.n": 1})], []),
        ([rule("a", conditions={"args.n": 1}), rule("no", effect="ask", conditions={"args.n": 1})],
         [("contradictory", "a")]),
        ([rule("a"), rule("b", "tool:mail/*")], [("shadowed", "a")]),
        ([rule("a"), rule("b")], [("shadowed", "b")]),
        ([rule("a"), rule("b", "tool:mail/*", principals=["agent:x"])], []),
        ([rule("a", conditions={"args.n": {"min": 5, "max": 4}})], [("impossible", "a")]),
        ([rule("a", conditions={"args.n": {"equals": 1, "one_of": [2]}})], [("impossible", "a")]),
        ([rule("a", expires=datetime.now(UTC) - timedelta(days=1))], [("expired", "a")]),
        ([rule("a", "*")], [("wide", "a")]),
        ([rule("a"), rule("soon", "tool:mail/*", expires=datetime.now(UTC) + timedelta(days=1))], []),
    ],
)  # fmt: skip
def test_rules_that_cant_do_what_they_seem_to_are_found(
    rules: list[SecurityPolicy], expected: list[tuple[str, str]]
) -> None:
    assert kinds(*rules) == expected


def test_what_is_called_unreachable_or_shadowed_can_be_left_out(rng: random.Random) -> None:
    resources = ["*", "tool:*", "tool:mail/*", SEND, "tool:web/get"]
    conditions: list[dict[str, Any]] = [{}, {"args.n": 1}, {"read_only": True}]
    for _ in range(300):
        rules = [
            rule(
                f"r{n}", rng.choice(resources), rng.choice(["allow", "ask", "deny"]), conditions=rng.choice(conditions)
            )
            for n in range(5)
        ]
        policy = Policy(rules=rules)
        for finding in check(policy):
            if finding.kind not in ("unreachable", "shadowed", "contradictory"):
                continue
            without = Policy(rules=[r for r in rules if r.id != finding.rule])
            for resource in (SEND, "tool:web/get", "tool:x/y"):
                for n in (1, 2):
                    for read_only in (True, False):
                        action = Action(resource, "call", arguments={"n": n}, read_only=read_only)
                        assert without.judge(action).verdict is policy.judge(action).verdict


def test_an_explanation_names_the_rule_that_decided_and_what_would_change_it() -> None:
    policy = Policy(
        rules=[
            rule("small", conditions={"args.n": {"max": 10}}),
            rule("no-evil", effect="deny", conditions={"args.to": "evil"}),
            rule("old", expires=datetime(2020, 1, 1, tzinfo=UTC)),
            rule("elsewhere", "tool:web/get"),
        ]
    )
    far = explain(policy, Action(SEND, "call", arguments={"n": 50, "to": "ann"}))
    assert far.judgement.verdict is Verdict.DENY
    assert [(remark.rule, remark.outcome) for remark in far.remarks] == [
        ("no-evil", "does not match"),
        ("small", "does not match"),
        ("old", "expired"),
    ]
    assert any("small would allow it" in change and "'max': 10" in change for change in far.changes)
    evil = explain(policy, Action(SEND, "call", arguments={"n": 5, "to": "evil"}))
    assert evil.changes == ("rule no-evil (deny) must no longer match",)
    missing = explain(policy, Action(SEND, "call", arguments={"n": 5}))
    assert "has no argument 'to'" in str(missing)
    assert "can't be decided" in str(missing)
    nothing = explain(policy, Action("tool:a/b", "call"))
    assert "a rule such as resource: tool:a/b" in str(nothing)
    assert "without it" in str(explain(policy, Action(SEND, "call", arguments={"n": 5, "to": "ann"})))


def test_an_explanation_always_has_the_verdict_of_the_gate(rng: random.Random) -> None:
    for _ in range(300):
        conditions: list[dict[str, Any]] = [
            {},
            {"args.n": {"max": 5}},
            {"time.hours": "08:00-18:00", "time.zone": "UTC"},
        ]
        effects = ["allow", "ask", "deny"]
        policy = Policy(
            rules=[rule(f"r{n}", "tool:*", rng.choice(effects), conditions=rng.choice(conditions)) for n in range(3)]
        )
        action = Action(SEND, "call", arguments=rng.choice([{}, {"n": 3}, {"n": 9}, {"n": "x"}]))
        explanation = explain(policy, action)
        assert explanation.judgement.verdict is policy.judge(action).verdict
        assert explanation.changes
        assert str(explanation)


def test_cases_say_whether_a_policy_does_what_is_expected(write: Callable[[str, str], Path]) -> None:
    path = write(
        "cases.yaml",
        "cases:\n"
        "- {expect: allow, resource: 'tool:mail/send', action: call, arguments: {n: 5}}\n"
        "- {expect: allow, resource: 'tool:mail/send', action: call, arguments: {n: 50}, name: too many}\n"
        "- {expect: ask, resource: 'tool:web/get', action: call, labels: {url: untrusted}}\n",
    )
    policy = Policy(
        rules=[
            rule("small", conditions={"args.n": {"max": 10}}),
            rule("web", "tool:web/*", "ask", conditions={"labels.url": {"below": "user"}}),
        ]
    )
    results = run_cases(policy, read_cases(path))
    assert [result.passed for result in results] == [True, False, True]
    assert str(results[1]).startswith("failed: too many: expected allow, and it is deny")


@pytest.mark.parametrize(
    "text", ["cases: []\n", "cases:\n- {expect: maybe}\n", "cases:\n- {expect: ask, resource: 'x:y', action: call}\n"]
)
def test_cases_that_are_none_are_refused(write: Callable[[str, str], Path], text: str) -> None:
    with pytest.raises(PolicyFileError):
        read_cases(write("cases.yaml", text))


def test_a_difference_says_what_got_looser_and_what_stricter() -> None:
    old = Policy(rules=[rule("a"), rule("b", "tool:web/*", "ask")])
    new = Policy(rules=[rule("a", effect="ask"), rule("b", "tool:web/*")])
    assert {(change.action.resource, change.is_looser) for change in diff(old, new)} == {
        (SEND, False),
        ("tool:web/any", True),
    }
    assert diff(old, old) == []
    deep = Action("tool:x/y", "call", labels={"a": Label(Integrity.USER)})
    wide = Policy(rules=[*old.rules, rule("c", "tool:x/y")])
    assert [change.action.resource for change in diff(old, wide, [deep])] == ["tool:x/y"] * 2


def test_cedar_is_never_told_more_than_the_policy_says() -> None:
    text = to_cedar(
        Policy(
            default="ask",
            rules=[
                rule("plain", conditions={"args.n": {"max": 10}}),
                rule("path", conditions={"args.p": {"under": "/data"}}),
                rule("no-path", effect="deny", conditions={"args.p": {"under": "/etc"}, "args.n": 1}),
                rule("middle", "tool:*/send"),
                rule("asks", effect="ask"),
                rule("hours", conditions={"time.hours": "08:00-18:00"}),
                rule("soon", expires=datetime.now(UTC) + timedelta(days=1)),
            ],
        )
    )
    assert 'context.args has "n" && (context.args["n"] <= 10)' in text
    assert '// "path" permits nothing' in text
    assert '// "middle" permits nothing' in text
    assert '// "hours" permits nothing' in text
    assert '// "soon" permits nothing' in text
    assert '// "no-path" holds here whatever "args.p" is' in text
    assert '(!(context.args has "n") || (context.args["n"] == 1))' in text
    assert "\nforbid" not in to_cedar(Policy(rules=[rule("x\nforbid", conditions={"args.p": {"under": "/"}})]))
    assert text.count("!(context.approved") == 1


@pytest.mark.parametrize("name", ["readonly", "developer", "unattended", "paranoid"])
def test_a_preset_has_nothing_odd_about_it_and_names_each_rule(name: str) -> None:
    policy = Policy.preset(name)
    assert check(policy) == []
    assert all(rule.id and rule.id.startswith(name) for rule in policy.rules)
    text = (Path(__import__("corral.policy").policy.__file__).parent / "presets" / f"{name}.toml").read_text()
    assert text.count("[[rules]] #") == len(policy.rules)


@pytest.mark.parametrize(
    ("name", "reads", "sends", "forgets"),
    [
        ("readonly", Verdict.ALLOW, Verdict.DENY, Verdict.DENY),
        ("developer", Verdict.ALLOW, Verdict.ASK, Verdict.ASK),
        ("unattended", Verdict.ALLOW, Verdict.DENY, Verdict.DENY),
        ("paranoid", Verdict.ASK, Verdict.ASK, Verdict.DENY),
    ],
)
def test_presets_do_what_their_names_say(name: str, reads: Verdict, sends: Verdict, forgets: Verdict) -> None:
    policy = Policy.preset(name)
    assert policy.judge(Action("tool:files/read", "call", read_only=True)).verdict is reads
    assert policy.judge(Action(SEND, "call")).verdict is sends
    assert policy.judge(Action("memory:long", "delete")).verdict is forgets
    assert policy.judge(Action("net:169.254.169.254:80", "connect")).verdict is Verdict.DENY
    assert policy.judge(Action("model:x/y", "generate")).verdict is Verdict.ALLOW


def test_there_is_no_other_preset() -> None:
    with pytest.raises(PolicyFileError, match="there are developer, paranoid, readonly, unattended"):
        Policy.preset("yolo")


def test_a_difference_beside_the_rules_is_told_and_which_way_it_goes() -> None:
    rate = Rate(resource="tool:*", calls=5, seconds=60)
    quota = Quota(resource="tool:*", of="bytes", most=5, seconds=60)
    strict = Policy(
        limits=Limits(steps=5, tokens=10),
        repeats=3,
        rates=[rate],
        quotas=[quota],
        redact="personal",
        provenance=Tracing(
            underived="deny", untraced="deny", lexical_plan=True, directory=["ann"], plan=frozenset({"tool:m/send"})
        ),
    )
    lax = Policy(
        limits=Limits(steps=9),
        redact="off",
        provenance=Tracing.model_validate({"directory": ["eve"], "manifests": {"m": "mail"}}),
    )
    told = {(change.name, change.is_looser) for change in diff_settings(strict, lax)}
    both = {("provenance.directory", True), ("provenance.directory", False)}
    names = ("limits.steps", "limits.tokens", "repeats", "rates", "quotas", "redact", "provenance.manifests.m")
    orders = ("provenance.underived", "provenance.untraced", "provenance.lexical_plan", "provenance.plan")
    assert told == both | {(name, True) for name in (*names, *orders)}
    back = {(change.name, change.is_looser) for change in diff_settings(lax, strict)}
    assert back == both | {(name, False) for name in (*names, *orders)}
    assert diff_settings(strict, strict) == []
