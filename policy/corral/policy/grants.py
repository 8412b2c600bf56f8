"""Grants: answers to an ask that are remembered, for as long and as often as the person and the rule say."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral.policy.action import Action
from corral.policy.approvals import Approval
from corral.policy.errors import PolicyFileError
from corral.policy.judgement import GrantScope, Judgement

__all__ = ["Grant", "Grants"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One remembered yes. It answers asks of one rule about one user's agent, and never a denial.

    Attributes:
        digest: Of the arguments it is good for; None is whatever arguments.
        session: The session, or the run where there is none, that it is good for; None is any.
        policy: `fingerprint` of the policy under which it was given: a changed policy asks again.
        expires: Seconds since the epoch.
        uses_left: None is as often as wanted.
    """

    resource: str
    verb: str
    principal: str
    user: str
    rule: str | None
    policy: str
    by: str
    digest: str | None = None
    session: str | None = None
    expires: float | None = None
    uses_left: int | None = None
    schema_hash: str = ""
    scope: GrantScope = GrantScope.SESSION

    def fits(self, action: Action, judgement: Judgement, policy: str, session: str) -> bool:
        """Whether it answers this ask, time and uses aside."""
        return (
            self.scope <= judgement.grants
            and (self.resource, self.verb, self.principal, self.user, self.rule, self.policy, self.schema_hash)
            == (action.resource, action.verb, action.principal, action.user, judgement.rule, policy, action.schema_hash)
            and (self.session is None or self.session == session)
            and (self.digest is None or self.digest == action.digest())
        )


class Grants:
    """The grants of a user; kept in a file when `path` is given, in memory otherwise. Safe from several threads.

    A clock that jumps back revives nothing: the latest time seen counts.

    Raises:
        PolicyFileError: The file is there and is not what this class writes; no grant of it is in force.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        stored = _load(path) if path is not None and path.exists() else _GrantFile()
        self._path = path
        self._clock = clock
        self._latest = stored.latest
        self._lock = threading.Lock()
        self._grants = stored.grants

    @property
    def all(self) -> list[Grant]:
        """Those in force."""
        with self._lock:
            self._drop_dead()
            return list(self._grants)

    def add(self, grant: Grant) -> None:
        """Remember an answer."""
        with self._lock:
            self._grants.append(grant)
            self._save()

    def revoke(self, fits: Callable[[Grant], bool]) -> int:
        """Forget those that fit, and say how many they were."""
        with self._lock:
            kept = [grant for grant in self._grants if not fits(grant)]
            gone = len(self._grants) - len(kept)
            self._grants = kept
            self._save()
            return gone

    def use(self, action: Action, judgement: Judgement, policy: str, session: str) -> Grant | None:
        """A grant that answers this ask, one of its uses taken; None when nobody answered it before."""
        if not self._grants:
            return None
        with self._lock:
            self._drop_dead()
            for place, grant in enumerate(self._grants):
                if not grant.fits(action, judgement, policy, session):
                    continue
                if grant.uses_left is not None:
                    self._grants[place] = replace(grant, uses_left=grant.uses_left - 1)
                    self._save()
                return grant
        return None

    def remember(self, action: Action, judgement: Judgement, approval: Approval, policy: str, session: str) -> None:
        """Keep a yes for as long as the person said and the rule permits; one that is for once is not kept."""
        scope = min(approval.scope, judgement.grants)
        if scope is GrantScope.ONCE:
            return
        self.add(
            Grant(
                action.resource,
                action.verb,
                action.principal,
                action.user,
                judgement.rule,
                policy,
                approval.by,
                digest=None if scope is GrantScope.RESOURCE or approval.any_arguments else action.digest(),
                session=session if scope is GrantScope.SESSION else None,
                expires=None if approval.valid_for is None else self._now() + approval.valid_for,
                uses_left=approval.max_uses,
                schema_hash=action.schema_hash,
                scope=scope,
            )
        )

    def __deepcopy__(self, memo: dict[int, object]) -> Grants:
        return self  # copies of an agent, such as an optimiser's, act for the same person

    def _now(self) -> float:
        self._latest = max(self._latest, self._clock())
        return self._latest

    def _drop_dead(self) -> None:
        now = self._now()
        self._grants = [
            grant
            for grant in self._grants
            if (grant.expires is None or now < grant.expires) and (grant.uses_left is None or grant.uses_left > 0)
        ]

    def _save(self) -> None:
        if self._path is None:
            return
        lasting = [grant for grant in self._grants if grant.scope >= GrantScope.RESOURCE]
        text = _GrantFile(latest=self._latest, grants=lasting).model_dump_json(indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".grants-")  # 0600, replaced whole
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(self._path)


class _GrantFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    latest: float = 0.0
    grants: list[Grant] = []


def _load(path: Path) -> _GrantFile:
    try:
        return _GrantFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PolicyFileError(path, None, f"the grants can't be read: {type(error).__name__}") from error
