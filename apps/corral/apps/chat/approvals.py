"""Approvals at the terminal: what exactly would happen, and the person's answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from corral.apps.chat.folds import arguments_of
from corral.apps.chat.forms import fill_form
from corral.apps.chat.modes import ChatMode
from corral.apps.chat.screen import Screen
from corral.policy import Action, Approval, ApprovalRequest, Approver, GrantScope, Integrity

__all__ = ["TerminalApprover"]

_BY = "user:local"
_MOST_LINES = 60


@dataclass(frozen=True)
class _Kept:
    """A yes that is remembered."""

    scope: GrantScope
    any_arguments: bool


class TerminalApprover:
    """Asks the person at the terminal, one thing at a time. Only a clear yes is one, and a question is never dropped:
    whoever leaves instead of answering finds it again when the chat goes on.

    Args:
        beforehand: Who may have agreed already.
        grants_file: Where a yes for always is kept, as it is shown.
    """

    def __init__(
        self,
        screen: Screen,
        beforehand: Approver | None = None,
        *,
        grants_file: str = "",
    ) -> None:
        self._screen = screen
        self._beforehand = beforehand
        self.mode = ChatMode.ASK
        self._grants_file = grants_file
        self._waiting = 0
        self._just_agreed: set[tuple[str, ...]] = set()

    async def decide(self, request: ApprovalRequest) -> Approval:
        beforehand = None if request.action.for_person else self._beforehand
        if beforehand is not None and (agreed := await beforehand.decide(request)).granted:
            return agreed
        self._waiting += 1
        try:
            async with self._screen.asking:
                return await self._decide(request)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._just_agreed.clear()

    async def _decide(self, request: ApprovalRequest) -> Approval:
        action = request.action
        if self.mode is ChatMode.ALL and not action.for_person:
            self._screen.say(f"agreed to in mode all: {action.verb} {action.resource}", "dim")
            return Approval(request.digest, True, _BY, "everything is agreed to in this chat")
        if _kind(request) in self._just_agreed:
            return Approval(request.digest, True, _BY)
        self._show(request)
        while True:
            answer = (await self._screen.ask(_prompt(request, self._screen.paper.width))).strip()
            word, _, rest = answer.partition(" ")
            # A yes is that word and no more: it may be the end of a line that was being typed.
            match answer.lower() if word.lower() not in ("n", "no", "n,", "no,") else "n":
                case "y" | "yes":
                    return Approval(request.digest, True, _BY, content=await self._filled(action))
                case "n":
                    return Approval(request.digest, False, _BY, rest.strip())
                case "s" | "session" if request.judgement.grants >= GrantScope.SESSION:
                    return self._keep(request, _Kept(GrantScope.SESSION, True))
                case "a" | "always" if request.judgement.grants >= GrantScope.RESOURCE:
                    if (kept := await self._always(request)) is not None:
                        return self._keep(request, kept)
                case "v" | "view":
                    self._screen.paper.put(arguments_of(action.arguments, self._screen.paper))
                case _:
                    self._screen.warn(
                        "nothing happens before a clear answer; no and a reason is one, such as: n not now"
                    )

    async def _filled(self, action: Action) -> dict[str, Any] | None:
        """The form that a server asks to have filled in, if it does."""
        form: Any = action.arguments.get("schema") if action.for_person else None
        return None if form is None else await fill_form(form, self._screen.ask, self._screen.warn)

    def _keep(self, request: ApprovalRequest, kept: _Kept) -> Approval:
        if kept.any_arguments:
            self._just_agreed.add(_kind(request))
        return Approval(request.digest, True, _BY, scope=kept.scope, any_arguments=kept.any_arguments)

    async def _always(self, request: ApprovalRequest) -> _Kept | None:
        """How wide a lasting yes is to be; None if there is to be none."""
        action, limit = request.action, request.judgement.grants
        self._screen.say(
            f"This would be written to {self._grants_file}, until it is revoked with /policy revoke:", "ask"
        )
        self._screen.say(_rule(request))
        exactly = "[e]xactly these arguments, " if limit >= GrantScope.PERSISTENT else ""
        while True:
            answer = (await self._screen.ask(f"write it for {exactly}[t]his tool with any, or [n]ot: ")).strip().lower()
            if answer in ("t", "this", "any"):
                self._screen.say(f"written: {action.verb} {action.resource}, whatever its arguments", "dim")
                return _Kept(GrantScope.PERSISTENT if limit >= GrantScope.PERSISTENT else GrantScope.RESOURCE, True)
            if answer in ("e", "exactly") and exactly:
                self._screen.say(f"written: {action.verb} {action.resource} with these arguments", "dim")
                return _Kept(GrantScope.PERSISTENT, False)
            if answer in ("n", "no", "not"):
                return None

    def _show(self, request: ApprovalRequest) -> None:
        action, judgement, paper = request.action, request.judgement, self._screen.paper
        self._screen.warn(f"May this happen? {action.verb} {action.resource}")
        paper.put(_cut(paper.render(arguments_of(action.arguments, paper))))
        for line in _provenance(action):
            self._screen.say(line, "bad")
        rule = f" (rule {judgement.rule})" if judgement.rule else ""
        self._screen.say(f"{judgement.reason}{rule}; {action.principal} for {action.user}", "dim")


def _prompt(request: ApprovalRequest, width: int) -> str:
    longest = request.judgement.grants
    if width < 60:
        return "y/s/a/n why: " if longest >= GrantScope.RESOURCE else "y/n why: "
    session = "[s]ession, " if longest >= GrantScope.SESSION else ""
    always = "[a]lways, " if longest >= GrantScope.RESOURCE else ""
    return f"[y]es once, {session}{always}[n]o and why: "


def _rule(request: ApprovalRequest) -> str:
    action = request.action
    rule = request.judgement.rule or "the default"
    pinned = f", as its definition is now ({action.schema_hash[:12]})" if action.schema_hash else ""
    return (
        f"  allow {action.verb} {action.resource}{pinned}\n"
        f"  for {action.principal} of {action.user}\n"
        f"  where {rule} asks, under the policy as it is now"
    )


def _provenance(action: Action) -> list[str]:
    """Where the arguments come from, as far as that is not the person who is asked."""
    by_source: dict[str, list[str]] = {}
    for name, label in sorted(action.labels.items()):
        if label.integrity is not Integrity.USER:
            sources = ", ".join(sorted(label.sources)) or "an unknown source"
            by_source.setdefault(f"{label.integrity.name.lower()}, from {sources}", []).append(name)
    return [f"{', '.join(names)}: {source}" for source, names in by_source.items()]


def _kind(request: ApprovalRequest) -> tuple[str, ...]:
    action = request.action
    return (action.resource, action.verb, action.principal, action.schema_hash, request.judgement.rule or "")


def _cut(rendered: str) -> RenderableType:
    """All of it, or head and tail with what is left out said between."""
    lines = rendered.rstrip("\n").split("\n")
    if len(lines) <= _MOST_LINES:
        return Text.from_ansi("\n".join(lines))
    head, tail = lines[: _MOST_LINES * 2 // 3], lines[-_MOST_LINES // 3 :]
    left_out = len(lines) - len(head) - len(tail)
    between = Text(f"… {left_out} lines are not shown; answer v to view all", "ask")
    return Group(Text.from_ansi("\n".join(head)), between, Text.from_ansi("\n".join(tail)))
