"""What secrets and personal numbers look like: data for `redaction`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corral.policy.checksums import is_card, is_iban, is_phone, is_ssn

__all__ = ["PERSONAL", "SECRETS", "Pattern"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of finding.

    Attributes:
        hints: One of them stands in every text that holds a match; none means that a digit does.
        source: In the common subset of Python's `re` and RE2, without nested repetition, so that it takes linear time.
        accept: Tells a match from what only looks like one.
    """

    kind: str
    hints: tuple[str, ...]
    source: str
    accept: Callable[[str], bool] | None = None


def _is_assigned(found: str) -> bool:
    """A value with a digit, and no call or placeholder."""
    return any(character.isdigit() for character in found) and not found.endswith(("()", "..."))


SECRETS = (
    Pattern(
        "private-key",
        ("-----BEGIN",),
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-[^-])*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
    ),
    Pattern("aws-key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    Pattern(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    ),
    Pattern("gitlab-token", ("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,64}"),
    Pattern("slack-token", ("xox",), r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    Pattern("model-key", ("sk-",), r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,250}"),
    Pattern("stripe-key", ("k_live_", "k_test_"), r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}\b"),
    Pattern("google-key", ("AIza",), r"\bAIza[A-Za-z0-9_-]{35}"),
    Pattern("package-token", ("npm_", "pypi-"), r"\b(?:npm_[A-Za-z0-9]{36}\b|pypi-[A-Za-z0-9_-]{50,250})"),
    Pattern("sendgrid-key", ("SG.",), r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    Pattern("jwt", ("eyJ",), r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    Pattern("bearer", ("earer ",), r"\b[Bb]earer [A-Za-z0-9._~+/=-]{16,}"),
    Pattern("url-password", ("://",), r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,100}:[^\s:/@]{3,200}@"),
    Pattern(
        "assigned-secret",
        ("api", "secret", "token", "passw", "API", "SECRET", "TOKEN", "PASSW", "Secret", "Token", "Passw", "Api"),
        r"(?i)(?:api[_-]?key|secret|token|password|passwd)[a-z0-9_-]{0,20}[\"']?\s{0,3}[:=]\s{0,3}"
        r"[\"']?[A-Za-z0-9_.~+/=$!@#%^&*-]{8,200}",
        _is_assigned,
    ),
)
PERSONAL = (
    Pattern(
        "mail",
        ("@",),
        r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
    ),
    Pattern("iban", (), r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b", is_iban),
    Pattern("card", (), r"\b[0-9](?:[ -]?[0-9]){12,18}\b", is_card),
    Pattern("ssn", ("-",), r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", is_ssn),
    Pattern(
        "phone",
        (),
        r"(?:\+|\b00)[1-9][0-9]{0,2}(?:[ .()/-]{0,2}[0-9]){6,12}\b"
        r"|\(?\b[2-9][0-9]{2}\)?[ .-]{1,2}[2-9][0-9]{2}[ .-][0-9]{4}\b",
        is_phone,
    ),
)
