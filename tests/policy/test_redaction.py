from __future__ import annotations

import base64
import json
import random
import string
import time
from itertools import pairwise
from urllib.parse import quote

import pytest

from corral.policy import Redactor

# No real keys: made up here, so that scanners of repositories find none in a file.
ALNUM = string.ascii_letters + string.digits


def made(prefix: str, length: int) -> str:
    return prefix + "".join(random.Random(prefix).choices(ALNUM, k=length - 1)) + "7"


SECRETS = [
    ("aws-key", "AKIA" + "QWERTYUIOPASDF23"),
    ("github-token", made("ghp_", 36)),
    ("gitlab-token", made("glpat-", 20)),
    ("slack-token", "xoxb-" + "1234567890-abcdef"),
    ("model-key", made("sk-ant-", 40)),
    ("stripe-key", made("sk_live_", 24)),
    ("google-key", made("AIza", 35)),
    ("package-token", made("npm_", 36)),
    ("sendgrid-key", made("SG.", 22) + "." + made("", 43)),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz"),
    ("bearer", "Bearer " + made("", 30)),
    ("url-password", "postgres://app:s3cret@"),
    ("assigned-secret", "api_key = 'abcd1234efgh'"),
    ("assigned-secret", '"password": "hunter2hunter2"'),
    ("private-key", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE+abc/=\n-----END RSA PRIVATE KEY-----"),
]
PERSONAL = [
    ("mail", "ann.b+c@mail.example.org"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB29NWBK60161331926819"),
    ("card", "4111 1111 1111 1111"),
    ("card", "5500-0055-5555-5559"),
    ("ssn", "078-05-1120"),
    ("phone", "+49 30 1234567"),
    ("phone", "(415) 555-2671"),
]
HARMLESS = [
    "2024-05-15 10:00",
    "version 1.2.3.4 of 2024-11-20T09:29:36Z",
    "4111 1111 1111 1112",
    "DE89370400440532013001",
    "000-12-3456",
    "order 1234567890123456",
    "0000 0000 0000 0000",
    "the password policy, see token limits",
    "token = get_token()",
    "max_tokens: 4096",
    "sk-learn and sk-image",
    "https://example.org:443/a@b",
    "a @ b, x@y",
    "d41d8cd98f00b204e9800998ecf8427e",
    "3.14159265358979",
    "git@github",
]


@pytest.mark.parametrize(("kind", "text"), [*SECRETS, *PERSONAL])
def test_what_must_not_be_shown_is_found_and_taken_out(kind: str, text: str) -> None:
    redactor = Redactor()
    sentence = f"before {text} after"
    assert [finding.kind for finding in redactor.find(sentence)] == [kind]
    assert text not in redactor.redact(sentence)
    assert redactor.redact(sentence).startswith("before ")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert Redactor().redact(text) == text


def test_a_text_with_nothing_to_hide_comes_back_as_it_was() -> None:
    text = "Plain words, no number."
    assert Redactor(known=["canary-9f3a"]).redact(text) is text


def test_a_known_secret_is_found_in_every_form_it_may_be_written() -> None:
    canary = 'c4n"ry/+key=é-9f3a'
    redactor = Redactor(known=[canary])
    raw = canary.encode()
    for form in (canary, quote(canary, safe=""), json.dumps(canary), raw.hex(), raw.hex().upper()):
        assert "[secret]" in redactor.redact(f"x {form} y")
    for before in range(5):
        for after in range(3):
            text = base64.b64encode(b"#" * before + raw + b"#" * after).decode()
            assert "[secret]" in redactor.redact(text), (before, after)
            assert "[secret]" in redactor.redact(base64.urlsafe_b64encode(b"#" * before + raw).decode())


def test_a_secret_too_short_to_find_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 6"):
        Redactor(known=["abc"])


def test_personal_numbers_can_be_left_in() -> None:
    assert Redactor(personal=False).redact("ann@example.org") == "ann@example.org"
    assert "[aws-key]" in Redactor(personal=False).redact("AKIA" + "QWERTYUIOPASDF23")


def test_findings_do_not_overlap_and_come_in_order() -> None:
    redactor = Redactor(known=["s3cret-value"])
    text = " ".join(text for _, text in [*SECRETS, *PERSONAL]) + " postgres://app:s3cret-value@db"
    findings = redactor.find(text)
    assert all(one.end <= other.start for one, other in pairwise(findings))
    assert "s3cret" not in redactor.redact(text)


@pytest.mark.parametrize(
    "piece",
    ["-----BEGIN PRIVATE KEY-----", "1 ", "a@", "A", "eyJ", "AB12", "token", "+1", "x://a:", "a.b-", "sk-", "7"],
)
def test_no_text_makes_it_slow(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    started = time.process_time()
    Redactor(known=["canary-9f3a"]).redact(text)
    assert time.process_time() - started < 1
