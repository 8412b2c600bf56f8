from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from corral.policy import (
    Action,
    EffectClass,
    Manifest,
    Policy,
    Role,
    Verdict,
    check,
    propose_manifest,
    propose_rules,
)


def fetch(url: str) -> Action:
    return Action("tool:web/get", "call", arguments={"url": url, "n": 1}, read_only=True)


RUN = [
    fetch("https://a.example.org/x"),
    fetch("https://b.example.org/y?z"),
    Action("tool:files/write", "call", arguments={"path": "/data/out/a.txt", "text": 'quo"te'}),
    Action("tool:files/write", "call", arguments={"path": "/data/out/deep/b.txt", "text": "x"}),
    Action("tool:mail/send", "call", arguments={"to": "ann@corp.example"}),
    Action("model:x/y", "generate"),
]


def test_proposed_rules_are_about_what_happened_and_no_more(write: Callable[[str, str], Path]) -> None:
    policy = Policy.load(write("p.toml", propose_rules(RUN)))
    assert check(policy) == []
    assert [policy.judge(action).verdict for action in RUN] == [
        Verdict.ALLOW, Verdict.ALLOW, Verdict.ASK, Verdict.ASK, Verdict.ASK, Verdict.ALLOW,
    ]  # fmt: skip
    for other in (
        fetch("https://evil.example/"),
        Action("tool:files/write", "call", arguments={"path": "/data/x"}),
        Action("tool:mail/send", "call", arguments={"to": "eve@evil.example"}),
        Action("tool:mail/send", "call", "agent:other", arguments={"to": "ann@corp.example"}),
    ):
        assert policy.judge(other).verdict is Verdict.DENY


def test_a_proposed_manifest_guesses_by_name_and_trusts_nothing(write: Callable[[str, str], Path]) -> None:
    schema = {"properties": {"to": {}, "body": {}, "message_id": {}, "flag": {}}}
    text = propose_manifest(
        [
            ("send_mail", "a1", schema, False),
            ("get_mail", "b2", {}, True),
            ("get-mail2", "c3", {}, False),
            ("frob", "d4", {}, False),
        ]
    )
    manifest = Manifest.load(write("m.toml", text))
    assert {name: tool.effect for name, tool in manifest.tools.items()} == {
        "send_mail": EffectClass.SEND,
        "get_mail": EffectClass.READ,
        "get-mail2": EffectClass.ADMIN,
        "frob": EffectClass.ADMIN,
    }
    assert manifest.tools["send_mail"].arguments == {
        "to": Role.TARGET,
        "body": Role.CONTENT,
        "message_id": Role.OBJECT,
    }
    assert all(tool.output.default == "untrusted" and tool.schema_hash for tool in manifest.tools.values())
