"""What a person is told of a run beside its answer."""

from __future__ import annotations

import pytest

from corral.apps.terminal import Progress
from corral.policy import Consolidated, Planned, Usage


def test_a_plan_is_shown_and_what_none_can_have_is_told_to_a_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().emit(Planned(tools=["tool:mail/send"], offered=2))
    Progress(quiet=True).emit(Planned(tools=["tool:mail/send"], offered=2))
    assert capsys.readouterr().err == "  plan: tool:mail/send\n"
    Progress(quiet=True).emit(Planned(tools=[], offered=0, undescribed=["tool:shop/odd"], problem="no plan was made"))
    told = capsys.readouterr().err
    assert told.startswith("corral: no plan was made; no plan can have tool:shop/odd: describe them in the policy's")


def test_what_a_consolidation_cost_is_told_to_a_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage(90, 10, cost_usd=0.0125)
    Progress(quiet=True).emit(
        Consolidated(facts=1, turns=40, model_calls=1, usage=usage, seconds=1.0, detail="the server\x1b[2J is down")
    )
    said = (
        "corral: memory: 1 fact drawn from 40 turns, 1 model call, 100 tokens, $0.0125; not all: the server\\x1b[2J is"
    )
    assert capsys.readouterr().err.startswith(said)
