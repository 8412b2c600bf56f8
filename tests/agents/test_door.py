"""The sync door: one background loop for all callers of a process."""

from __future__ import annotations

import pytest

from corral.agents import run_in_background


class Leaves(BaseException):
    """As SystemExit is: not for whoever catches exceptions."""


async def one() -> int:
    return 1


@pytest.mark.parametrize("error", [Leaves, SystemExit, ValueError])
def test_an_exit_reaches_its_caller_and_nobody_else(error: type[BaseException]) -> None:
    async def leave() -> None:
        raise error

    with pytest.raises(error):
        run_in_background(leave)
    assert run_in_background(one) == 1
