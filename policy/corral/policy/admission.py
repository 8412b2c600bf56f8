"""Admissions: the gate's leave for one effect, made by it alone and good for one use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from corral.policy.action import Action
from corral.policy.budget import Spend
from corral.policy.canonical import canonical, frozen_json
from corral.policy.errors import NotAdmitted
from corral.policy.judgement import Judgement

__all__ = ["SEAL", "Admission"]

SEAL: Final = object()
"""The gate's own; nothing else may import it, and a test reads the source to see that nothing does."""


class Admission:
    """The gate's leave for one action, to be claimed once by the effect that it names.

    Only `Gate.perform` makes one. An effect takes it and calls `claim` first, so that it can't run for another
    action, with other arguments, twice, after it was due, or with no gate at all.
    """

    __slots__ = ("__action", "__arguments", "__judgement", "__leave", "spent")

    def __init__(self, action: Action, seal: object, judgement: Judgement | None = None) -> None:
        if seal is not SEAL:
            raise NotAdmitted("only Gate.perform makes an Admission")
        self.__action = action
        self.__arguments = canonical(action.arguments)
        self.__judgement = judgement
        self.__leave = [True]
        self.spent: Spend | None = None
        """What the effect really cost; None lets the reservation stand for it."""

    @property
    def action(self) -> Action:
        """What was judged, over copies of its arguments."""
        return self.__action

    @property
    def judgement(self) -> Judgement | None:
        """Why it may happen, and what a person filled in who was asked."""
        return self.__judgement

    def claim(self, resource: str, verb: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Use the admission up, for exactly what was judged.

        Args:
            arguments: What the effect is about to be given, if it takes any: the same JSON as was judged, also when
                someone changed the caller's own mapping since then.

        Raises:
            NotAdmitted: It was made for another action or other arguments, was claimed before, or is over.
        """
        if self.__action.resource != resource or self.__action.verb != verb:
            judged = f"{self.__action.verb} {self.__action.resource}"
            raise NotAdmitted(f"the admission is for {judged}, not for {verb} {resource}")
        if arguments is not None and not self._judged(arguments):
            raise NotAdmitted(f"the arguments of {resource} are not those that were judged")
        try:
            self.__leave.pop()  # atomic: of two threads, one gets it
        except IndexError:
            raise NotAdmitted(f"the admission for {verb} {resource} was used before, or is over") from None

    def end(self) -> None:
        """Let nobody claim it any more."""
        self.__leave.clear()

    def _judged(self, arguments: Mapping[str, Any]) -> bool:
        try:
            return canonical(frozen_json(arguments)) == self.__arguments
        except (TypeError, RecursionError):
            return False

    def __reduce_ex__(self, protocol: object, /) -> NoReturn:
        raise NotAdmitted("an Admission can't be copied or stored")
