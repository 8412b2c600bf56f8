from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from corral.policy import (
    Action,
    Budget,
    Facts,
    Integrity,
    Label,
    Layers,
    Limits,
    Policy,
    SecurityPolicy,
    Verdict,
    compile_pattern,
)

SEND = "tool:mail/send"


def rule(resource: str = SEND, effect: str = "allow", conditions: dict[str, Any] | None = None, **rest: Any) -> Any:
    return SecurityPolicy(
        resource=resource,
        actions=["*"],
        effect=effect,
        conditions=conditions or {},
        **rest,  # type: ignore[arg-type]
    )


def verdict(policy: Policy, *, facts: Facts | None = None, resource: str = SEND, **arguments: Any) -> Verdict:
    return policy.judge(Action(resource, "call", arguments=arguments), facts).verdict


def allows(condition: dict[str, Any], **arguments: Any) -> bool:
    return verdict(Policy(rules=[rule(conditions=condition)]), **arguments) is Verdict.ALLOW


def denies(condition: dict[str, Any], **arguments: Any) -> bool:
    return verdict(Policy(rules=[rule("*"), rule("*", "deny", condition)]), **arguments) is Verdict.DENY


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "tool:mail/send", True),
        ("tool:*", "tool:mail/send", True),
        ("tool:mail/*", "tool:mail/send", True),
        ("tool:mail/*", "tool:mail2/send", False),
        ("tool:*/send", "tool:mail/send", True),
        ("tool:*/send", "tool:a/b/send", False),
        ("tool:mail/se*d", "tool:mail/send", True),
        ("tool:mail/send", "tool:mail/sender", False),
        ("tool:mail/s.nd", "tool:mail/send", False),
        ("net:*.example.org:443", "net:api.example.org:443", True),
        ("net:*.example.org:443", "net:evil.com:443/.example.org:443", False),
        ("tool:mail/send", "tool:mail/send\n", False),
    ],
)
def test_a_star_stands_for_no_separator_except_at_the_end(pattern: str, name: str, fits: bool) -> None:
    assert compile_pattern(pattern)(name) is fits


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        (["allow"], Verdict.ALLOW),
        (["allow", "ask"], Verdict.ASK),
        (["ask", "allow", "deny"], Verdict.DENY),
        ([], Verdict.DENY),
    ],
)
def test_the_strictest_matching_rule_wins_in_every_order(effects: list[str], expected: Verdict) -> None:
    rules = [rule(effect=effect) for effect in effects]
    assert verdict(Policy(rules=rules)) is expected
    assert verdict(Policy(rules=rules[::-1])) is expected


def test_a_narrow_allow_does_not_beat_a_wide_deny() -> None:
    assert verdict(Policy(rules=[rule(SEND), rule("tool:*", "deny")])) is Verdict.DENY


def test_a_rule_is_only_about_its_principals() -> None:
    policy = Policy(rules=[rule(principals=["agent:writer", "user:ann"])])
    assert policy.judge(Action(SEND, "call", "agent:writer")).verdict is Verdict.ALLOW
    assert policy.judge(Action(SEND, "call", "agent:other", "user:ann")).verdict is Verdict.ALLOW
    assert policy.judge(Action(SEND, "call", "agent:other", "user:bob")).verdict is Verdict.DENY


def test_the_denial_of_the_default_says_which_rule_would_allow() -> None:
    assert "resource: tool:mail/send, actions: [call]" in Policy().judge(Action(SEND, "call")).reason


@pytest.mark.parametrize(
    "arguments",
    [{}, {"n": "7"}, {"n": None}, {"n": True}, {"n": [7]}, {"n": float("nan")}],
    ids=["missing", "text", "null", "true", "list", "nan"],
)
def test_a_condition_that_cant_be_decided_neither_allows_nor_lets_pass(arguments: dict[str, Any]) -> None:
    assert not allows({"args.n": {"max": 10}}, **arguments)
    assert denies({"args.n": {"min": 100}}, **arguments)
    assert verdict(Policy(rules=[rule(), rule(effect="ask", conditions={"args.n": {"min": 9}})]), **arguments) is (
        Verdict.DENY
    )


def test_true_is_not_one_and_five_is_five_point_zero() -> None:
    assert allows({"args.n": 5}, n=5.0)
    assert not allows({"args.n": 1}, n=True)
    assert denies({"args.n": 1}, n=True)
    assert allows({"args.x": {"one_of": [[1, 2], "a"]}}, x=[1, 2.0])
    assert not allows({"args.x": {"equals": [1]}}, x=[True])


def test_a_deny_whose_other_condition_is_false_does_not_match() -> None:
    assert not denies({"args.n": {"min": 100}, "read_only": True})


GOOD_URLS = ["https://a.corp.com/x?y#z", "http://A.CORP.COM.:8080/", "https://a.corp.com"]
BAD_URLS = [
    "https://evil.com/?https://a.corp.com",
    "https://evil.com/#https://a.corp.com/",
    "https://evil.com\\.a.corp.com/",
    "https://evil.com\\@a.corp.com/",
    "https://a.corp.com@evil.com/",
    "https://a.corp.com:pw@evil.com/",
    "https://@a.corp.com/",
    "https://user@a.corp.com/",
    "//a.corp.com/",
    "https:a.corp.com",
    "https:/a.corp.com",
    "ftp://a.corp.com/",
    "javascript://a.corp.com/%0aalert(1)",
    "https://a.corp.com.evil.com/",
    "https://evila.corp.com.example/",
    "https://а.corp.com/",  # noqa: RUF001 - a Cyrillic letter
    "https://a.corp.com\uff0fx/",
    "https://a%2ecorp.com/",
    "https://a.corp.com\t/",
    " https://a.corp.com/",
    "https://a.corp.com\n.evil.com/",
    "https://a..corp.com/",
    "https://a.corp.com:99999/",
    "https://[::1/",
    "https:///a.corp.com",
    "",
    "a.corp.com",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_of_the_host_is_let_through(url: str) -> None:
    assert allows({"args.url": {"host": ["*.corp.com"]}}, url=url)
    assert denies({"args.url": {"host": "*.corp.com"}}, url=url)


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_only_looks_like_the_host_is_not_let_through(url: str) -> None:
    assert not allows({"args.url": {"host": ["a.corp.com", "*.corp.com"]}}, url=url)


@pytest.mark.parametrize("url", ["http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://0177.0.0.1/"])
def test_an_address_in_an_unusual_form_does_not_dodge_a_deny(url: str) -> None:
    assert denies({"args.url": {"host": "127.0.0.1"}}, url=url)


@pytest.mark.parametrize("url", ["http://ex%61mple.com/", "http://münchen.de/", "http://exa­mple.com/"])
def test_a_host_that_parsers_map_differently_does_not_dodge_a_deny(url: str) -> None:
    assert denies({"args.url": {"host": "example.com"}}, url=url)


@pytest.mark.parametrize("operand", ["https://a.corp.com/", "*", "a*.corp.com", "", [], [5], "*.*.com", "a b"])
def test_a_host_that_would_match_nothing_is_refused(operand: Any) -> None:
    with pytest.raises(ValidationError, match="host"):
        rule(conditions={"args.url": {"host": operand}})


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/data/a", True),
        ("/data", True),
        ("//data/a", True),
        ("/data/./b/../a", True),
        ("/data/../etc/passwd", False),
        ("/database/a", False),
        ("/data/../../data/x", True),
    ],
)
def test_a_path_is_resolved_before_it_is_compared(path: str, inside: bool) -> None:
    assert allows({"args.path": {"under": "/data"}}, path=path) is inside
    assert denies({"args.path": {"under": "/data/"}}, path=path) is inside


@pytest.mark.parametrize("path", ["data/a", "../etc/passwd", "~/x", "/data/a\0", "\\data", "/data\\..\\x", 7, "", None])
def test_a_path_that_cant_be_resolved_fails_closed(path: Any) -> None:
    assert not allows({"args.path": {"under": "/data"}}, path=path)
    assert denies({"args.path": {"under": "/etc"}}, path=path)


def test_a_list_is_inside_only_as_a_whole_and_half_of_it_fails_closed() -> None:
    condition = {"args.to": {"mail_domain": ["corp.com"]}}
    assert allows(condition, to=["a@corp.com", "b@CORP.com"])
    assert not allows(condition, to=["a@corp.com", "b@evil.com"])
    assert denies(condition, to=["a@corp.com", "b@evil.com"])
    assert not allows(condition, to=[])
    assert not allows(condition, to='"a@corp.com"@evil.com')
    assert not allows(condition, to="a@corp.com, b@evil.com")
    assert not allows(condition, to="Ann <a@corp.com>")


def test_a_label_is_at_least_or_below_a_level_and_untrusted_when_missing() -> None:
    trusted = Action(SEND, "call", arguments={"to": "x"}, labels={"to": Label(Integrity.USER)})
    needs = Policy(rules=[rule(conditions={"labels.to": "directory"})])
    asks = Policy(rules=[rule(), rule(effect="ask", conditions={"labels.to": {"below": "user"}})])
    assert needs.judge(trusted).verdict is Verdict.ALLOW
    assert verdict(needs, to="x") is Verdict.DENY
    assert asks.judge(trusted).verdict is Verdict.ALLOW
    assert verdict(asks, to="x") is Verdict.ASK


def test_what_the_host_says_about_the_session_decides_and_silence_fails_closed() -> None:
    policy = Policy(rules=[rule(conditions={"session.channel": {"one_of": ["repl", "http"]}})])
    assert verdict(policy, facts=Facts({"channel": "repl"})) is Verdict.ALLOW
    assert verdict(policy, facts=Facts({"channel": "mail"})) is Verdict.DENY
    assert verdict(policy) is Verdict.DENY


def test_what_is_left_of_the_budget_decides() -> None:
    policy = Policy(rules=[rule(conditions={"budget.tokens": {"min": 100}})])
    assert verdict(policy, facts=Facts(budget=Budget(Limits(tokens=100)))) is Verdict.ALLOW
    assert verdict(policy, facts=Facts(budget=Budget(Limits(tokens=99)))) is Verdict.DENY
    assert verdict(policy, facts=Facts(budget=Budget())) is Verdict.ALLOW
    assert verdict(policy) is Verdict.DENY


@pytest.mark.parametrize(
    ("hours", "at", "holds"),
    [("08:00-18:00", 8, True), ("08:00-18:00", 18, False), ("22:00-06:00", 23, True), ("22:00-06:00", 7, False)],
)
def test_hours_hold_from_their_begin_to_before_their_end(hours: str, at: int, holds: bool) -> None:
    policy = Policy(rules=[rule(conditions={"time.hours": hours})])
    facts = Facts(now=datetime(2026, 1, 5, at, tzinfo=UTC))
    assert (verdict(policy, facts=facts) is Verdict.ALLOW) is holds


def test_days_and_hours_are_read_in_the_zone_of_the_rule() -> None:
    policy = Policy(rules=[rule(conditions={"time.days": ["tue"], "time.zone": "Asia/Tokyo"})])
    assert verdict(policy, facts=Facts(now=datetime(2026, 1, 5, 20, tzinfo=UTC))) is Verdict.ALLOW
    assert verdict(policy, facts=Facts(now=datetime(2026, 1, 5, 10, tzinfo=UTC))) is Verdict.DENY


@pytest.mark.parametrize(
    "condition",
    [
        {"arg.n": 1},
        {"args.": 1},
        {"args.n": {}},
        {"args.n": {"like": "*"}},
        {"args.n": {"max": "10"}},
        {"args.n": {"max": True}},
        {"args.n": {"one_of": "a"}},
        {"args.n": {"max_length": 1.5}},
        {"args.p": {"under": "data"}},
        {"labels.n": "trusted"},
        {"labels.n": {"above": "user"}},
        {"read_only": "yes"},
        {"budget.pages": {"min": 1}},
        {"budget.tokens": 5},
        {"time.hours": "8-18"},
        {"time.days": ["monday"]},
        {"time.zone": "UTC"},
        {"time.zone": "Mars/Base", "time.days": ["mon"]},
        {"time.moon": "full"},
        {"session.": 1},
    ],
)
def test_a_condition_outside_the_vocabulary_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(conditions=condition)


@pytest.mark.parametrize(
    "fields",
    [
        {"resource": "tools:x/y"},
        {"resource": "tool:"},
        {"resource": "tool:a/b\n"},
        {"resource": " tool:a/b"},
        {"actions": []},
        {"actions": ["read"]},
        {"principals": []},
        {"principals": ["ann"]},
        {"principals": ["user:"]},
        {"effect": "permit"},
        {"effect": "deny", "grants": "once"},
        {"expires": "2026-01-01T00:00:00"},
        {"colour": "red"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SecurityPolicy.model_validate({"resource": SEND, "actions": ["call"], **fields})


def test_an_expired_allow_is_gone_and_an_expired_deny_stays() -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    later = datetime.now(UTC) + timedelta(days=1)
    assert verdict(Policy(rules=[rule(expires=past)])) is Verdict.DENY
    assert verdict(Policy(rules=[rule(expires=later)])) is Verdict.ALLOW
    assert verdict(Policy(rules=[rule(), rule(effect="deny", expires=past)])) is Verdict.DENY


def test_a_copy_with_other_rules_judges_by_them() -> None:
    policy = Policy(rules=[rule()])
    assert verdict(policy.model_copy(update={"rules": []})) is Verdict.DENY
    assert policy.fingerprint != policy.model_copy(update={"rules": []}).fingerprint


def test_a_layer_only_narrows_and_the_first_denies_what_it_is_silent_about() -> None:
    silent = Policy(default="inherit")
    open_ = Policy(rules=[rule()], limits=Limits(steps=9))
    narrow = Policy(rules=[rule(effect="ask")], default="inherit", limits=Limits(steps=3))
    action = Action(SEND, "call")
    assert Layers(open_, silent).judge(action).verdict is Verdict.ALLOW
    assert Layers(open_, silent, narrow).judge(action).verdict is Verdict.ASK
    assert Layers(narrow, open_).judge(action).verdict is Verdict.ASK
    assert Layers(silent, open_).judge(action).verdict is Verdict.DENY
    assert Layers(open_, narrow).limits.steps == 3


# Properties, over policies and actions drawn at random.

_RESOURCES = ["*", "tool:*", "tool:mail/*", SEND, "tool:*/send", "tool:mail/se*", "memory:*", "memory:long"]
_CONDITIONS: list[dict[str, Any]] = [
    {},
    {},
    {"args.n": {"max": 10}},
    {"args.n": {"min": 5}},
    {"args.s": {"one_of": ["a", "b"]}},
    {"read_only": True},
    {"labels.n": "directory"},
    {"args.s": {"host": "*.example.org"}},
    {"args.s": {"under": "/data"}},
]


def draw_rule(rng: random.Random, *, effect: str | None = None) -> SecurityPolicy:
    return SecurityPolicy(
        resource=rng.choice(_RESOURCES),
        actions=["*"],
        principals=rng.choice([["*"], ["agent:main"], ["agent:x", "user:ann"]]),
        conditions=rng.choice(_CONDITIONS),
        effect=effect or rng.choice(["allow", "allow", "ask", "deny"]),  # type: ignore[arg-type]
    )


def draw_action(rng: random.Random) -> Action:
    values: list[Any] = [
        1,
        7,
        70,
        0.5,
        "a",
        "/data/x",
        "https://x.example.org/",
        None,
        True,
        [1],
        {"k": 1},
        float("nan"),
    ]
    resource, verb = rng.choice([(SEND, "call"), ("tool:web/get", "call"), ("memory:long", "write")])
    arguments = {name: rng.choice(values) for name in "ns" if rng.random() < 0.8}
    labels = {name: Label(rng.choice(list(Integrity))) for name in arguments if rng.random() < 0.5}
    return Action(
        resource, verb, rng.choice(["agent:main", "agent:x"]), arguments=arguments, labels=labels,
        read_only=rng.random() < 0.5,
    )  # fmt: skip


def test_one_more_deny_never_allows_more_and_one_more_ask_never_allows(rng: random.Random) -> None:
    for _ in range(1500):
        rules = [draw_rule(rng) for _ in range(rng.randrange(6))]
        action = draw_action(rng)
        before = Policy(rules=rules).judge(action).verdict
        for effect, at_least in (("deny", before), ("ask", min(before, Verdict.ASK))):
            more = [*rules, draw_rule(rng, effect=effect)]
            rng.shuffle(more)
            assert Policy(rules=more).judge(action).verdict >= at_least


def test_one_less_allow_never_allows_more_and_one_more_layer_neither(rng: random.Random) -> None:
    for _ in range(1500):
        rules = [draw_rule(rng) for _ in range(rng.randrange(1, 6))]
        action = draw_action(rng)
        whole = Policy(rules=rules).judge(action).verdict
        fewer = [r for r in rules if r.effect != "allow" or rng.random() < 0.5]
        assert Policy(rules=fewer).judge(action).verdict >= whole or whole is Verdict.ASK
        layer = Policy(rules=[draw_rule(rng) for _ in range(3)], default="inherit")
        assert Layers(Policy(rules=rules), layer).judge(action).verdict >= whole


def test_the_index_judges_as_reading_all_rules_one_by_one_does(rng: random.Random) -> None:
    for _ in range(500):
        rules = [draw_rule(rng) for _ in range(8)]
        action = draw_action(rng)
        alone = [Policy(rules=[r], default="inherit").opinion(action) for r in rules]
        expected = max((o.verdict for o in alone if o is not None), default=Verdict.DENY)
        assert Policy(rules=rules).judge(action).verdict is expected


def test_malformed_arguments_never_pass_a_condition_on_them(rng: random.Random) -> None:
    url_rules = Policy(rules=[rule(conditions={"args.s": {"host": "a.corp.com"}})])
    path_rules = Policy(rules=[rule(conditions={"args.s": {"under": "/data"}})])
    pieces = ["https://", "a.corp.com", "evil.com", "/", "\\", "@", "?", "#", "..", ":", "%2e", "\0", "\t", "data", "é"]
    started = time.process_time()
    for _ in range(100_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 7)))
        if verdict(url_rules, s=text) is Verdict.ALLOW:
            assert text.startswith("https://a.corp.com")
            assert text[18:19] in ("", "/", "?", "#", ":")
        if verdict(path_rules, s=text) is Verdict.ALLOW:
            assert text.startswith("/")
            assert not {"\\", "\0"} & set(text)
    assert time.process_time() - started < 30
