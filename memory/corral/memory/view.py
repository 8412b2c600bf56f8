"""A view: which rows of a namespace one sort of search may find, and which stand beside which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.growing import grown

if TYPE_CHECKING:
    from corral.memory.space import Space

__all__ = ["View"]

_FEW: Final = 500
"""Up to so many new rows are taken in one by one; beyond, the view is made anew."""


class View:
    """What is not shown is not there at all: it takes no place in its session, so that it changes no other's score.

    Attributes:
        shown: bool, a row each.
        count: How many are shown.
        before: int32, a row each: the row said before it in its session, of those shown; -1 for none.
        after: The same for the row said after it.
        actors: Codes of who said any of them.
    """

    def __init__(self, *, untrusted: bool, facts_only: bool) -> None:
        self._untrusted = untrusted
        self._facts_only = facts_only
        self._since = self._until = -np.inf
        self._clear()

    def _clear(self) -> None:
        self.shown = np.zeros(0, np.bool_)
        self.before = np.zeros(0, np.int32)
        self.after = np.zeros(0, np.int32)
        self.actors: set[int] = set()
        self.count = 0
        self._newest: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        return self.shown.nbytes + self.before.nbytes + self.after.nbytes

    def refresh(self, space: Space, now: float) -> None:
        """Take in the rows that came to `space`; start anew where some have expired since."""
        if not self._since <= now < self._until:
            self._clear()
        done = len(self.shown)
        if done == len(space) and self._since <= now < self._until:
            return
        shown = self._shown(space, done, now)
        expires = space.expires[done:][shown]
        ending = float(expires.min()) if len(expires) else np.inf
        self._since, self._until = (now, ending) if not done else (self._since, min(self._until, ending))
        self.count += int(np.count_nonzero(shown))
        self.actors.update(np.unique(space.actor[done:][shown]).tolist())
        self.shown = grown(self.shown, shown)
        alone = np.full(len(shown), -1, np.int32)
        self.before, self.after = grown(self.before, alone), grown(self.after, alone)
        if len(shown) <= _FEW:
            for row in (np.flatnonzero(shown) + done).tolist():
                self._link(row, int(space.session[row]))
        else:
            self._link_all(space)

    def _shown(self, space: Space, start: int, now: float) -> NDArray[np.bool_]:
        shown = ~space.replaced[start:] & (space.expires[start:] > now)
        if not self._untrusted:
            shown &= space.integrity[start:] > 0
        if self._facts_only:
            shown &= space.fact[start:]
        return shown

    def _link(self, row: int, session: int) -> None:
        if session < 0:
            return
        newest = self._newest.get(session)
        if newest is not None:
            self.before[row], self.after[newest] = newest, row
        self._newest[session] = row

    def _link_all(self, space: Space) -> None:
        rows = np.flatnonzero(self.shown & (space.session >= 0)).astype(np.int32)
        session = space.session[rows]
        if (session[1:] < session[:-1]).any():
            order = np.argsort(session, kind="stable")
            rows, session = rows[order], session[order]
        together = session[1:] == session[:-1]
        earlier, later = rows[:-1][together], rows[1:][together]
        self.before[later], self.after[earlier] = earlier, later
        # Of equal keys the last one stays.
        self._newest = dict(zip(session.tolist(), rows.tolist(), strict=True))
