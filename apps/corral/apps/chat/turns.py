"""Commands over the conversation: another one, an earlier one, a shorter one, out of here."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from dspy.lm15 import Message, TextPart, ToolCallPart, ToolResultPart

from corral.agents import Journal
from corral.agents.compaction import WindowTooSmall
from corral.apps.chat.commands import Command
from corral.apps.chat.conversation import find_session, past_sessions
from corral.apps.chat.state import Chat
from corral.apps.inwords import in_words

__all__ = ["go_on", "show_last", "turns"]

_MOST_COPIED = 100_000


def turns(chat: Chat) -> list[Command]:
    """The commands, over this chat."""
    talk = _Turns(chat)
    return [
        Command("/clear", "", "a new conversation; the one so far stays in the journal", talk.clear),
        Command("/compact", "", "shorten the conversation: results cut, old turns as a summary", talk.compact),
        Command(
            "/resume", "[ID]", "go on with another session: choose one, or the start of its id", talk.resume, talk.ids
        ),
        Command("/rewind", "[N]", "take back the last turn, or N of them; what they did stays done", talk.rewind),
        Command("/fork", "", "go on in a copy; the conversation so far stays as it is", talk.fork),
        Command("/model", "[NAME]", "the model, or another one from now on", talk.model, lambda: chat.used_models),
        Command("/copy", "", "the last answer to the clipboard", talk.copy),
        Command("/export", "[FILE]", "the conversation as Markdown, or .jsonl with every event", talk.export),
    ]


async def go_on(chat: Chat) -> None:
    """Go on with the turn that was cut off, if one was."""
    session, journal = chat.conversation.session, chat.conversation.agent.journal
    run_id = session.unfinished
    if run_id is None or journal is None:
        return
    chat.screen.echo(in_words(journal.record(run_id).inputs))
    if not chat.has_model:
        chat.screen.warn("this turn was cut off; with a model, `corral chat -c --model ...` goes on with it")
        return
    chat.screen.say("going on with the turn that was cut off; Ctrl-C stops it", "dim")
    for event in journal.events(run_id):
        chat.screen.folds.recall(event)
    await session.resume()


def show_last(chat: Chat) -> None:
    """What was said last, for somebody who comes back."""
    screen, messages = chat.screen, chat.conversation.messages
    spoken = [message for message in messages if message.role in ("user", "assistant") and message.text]
    for message in spoken[-2:]:
        if message.role == "user":
            screen.echo(message.text or "")
        else:
            screen.answer = message.text or ""
            screen.paper.put(screen.paper.markdown(message.text or ""))
    said = sum(message.role == "user" for message in messages)
    screen.say(f"session {chat.conversation.session.id[:8]}, {said} turns so far", "dim")


class _Turns:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._screen = chat.screen
        self._talk = chat.conversation

    async def clear(self, _: str) -> None:
        self._talk.renew()
        self._screen.say("a new conversation", "dim")

    async def compact(self, _: str) -> None:
        try:
            before, after = self._talk.session.compact()
        except WindowTooSmall:
            self._screen.warn("it is as short as it can be")
        else:
            self._screen.say(f"about {before} tokens became {after}; /rewind takes it back", "dim")

    async def resume(self, start: str) -> None:
        journal = self._journal()
        past = past_sessions(journal)
        if not start:
            here = self._talk.session.id
            for number, one in enumerate(past, 1):
                self._screen.say(f"{number:>2}  {one}{'  (this one)' if one.id == here else ''}")
            if not past:
                self._screen.say("no session was kept yet", "dim")
                return
            number = await self._screen.ask("go on with number, or Enter for none: ")
            if not number.isdecimal() or not 0 < int(number) <= len(past):
                return
            start = past[int(number) - 1].id
        self._talk.load(find_session(journal, start))
        show_last(self._chat)
        await go_on(self._chat)

    def ids(self) -> list[str]:
        return [past.id[:8] for past in past_sessions(self._journal())]

    async def rewind(self, number: str) -> None:
        if number and (not number.isdecimal() or int(number) < 1):
            self._screen.warn("/rewind N, with a number of turns")
            return
        session, wanted = self._talk.session, int(number or 1)
        if wanted > (there := session.rewindable):
            said = "is 1 turn" if there == 1 else f"are {there} turns"
            self._screen.warn(f"there {said} to take back, so nothing was taken back")
            return
        taken = session.rewind(wanted)
        what = "turn" if taken == 1 else "turns"
        self._screen.say(f"{taken} {what} taken back; what was done to the world stays done", "dim")

    async def fork(self, _: str) -> None:
        left = self._talk.fork()
        self._screen.say(f"this is a copy now; /resume {left[:8]} goes back to the conversation so far", "dim")

    async def model(self, name: str) -> None:
        chat, agent = self._chat, self._talk.agent
        if not name:
            self._screen.say(agent.model.name if agent.model is not None else "no model")
            if agent.model is not None:
                price, window = agent.model.price(), agent.model.context_window()
                known = f"${price.input} in, ${price.output} out per million tokens" if price else "price not known"
                self._screen.say(f"{known}, window {window or 'not known'}", "dim")
            return
        definition = chat.model_named(name)
        if definition is not None:
            await chat.use_model(definition)
            chat.used_models.append(name)
            self._screen.say(f"the next turns are answered by {name}", "dim")

    async def copy(self, _: str) -> None:
        if not self._screen.answer:
            self._screen.warn("there is no answer yet")
            return
        # OSC 52: the terminal itself puts it into the clipboard, from another machine too.
        data = base64.b64encode(self._screen.answer[:_MOST_COPIED].encode("utf-8", "replace")).decode()
        self._screen.paper.write(f"\x1b]52;c;{data}\x07")
        self._screen.say(f"{len(self._screen.answer)} characters, if this terminal lets programs copy", "dim")

    async def export(self, name: str) -> None:
        self._export(name or f"chat-{self._talk.session.id[:8]}.md")

    def _export(self, name: str) -> None:
        path = Path(name).expanduser()
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                if path.suffix == ".jsonl":
                    journal = self._journal()
                    journal.export(file, [run["run_id"] for run in journal.runs(self._talk.session.id)])
                else:
                    file.write(as_markdown(self._talk.messages))
        except FileExistsError:
            self._screen.warn(f"{path} is there already; name another file")
        except OSError as error:
            self._screen.warn(f"{path} can't be written: {error.strerror}")
        else:
            self._screen.say(f"wrote {path}")

    def _journal(self) -> Journal:
        journal = self._talk.agent.journal
        assert journal is not None
        return journal


def as_markdown(messages: list[Message]) -> str:
    """A conversation for people to read."""
    parts: list[str] = []
    for message in messages:
        if message.role in ("user", "assistant"):
            parts.append(f"## {message.role}")
        for part in message.parts:
            if isinstance(part, TextPart):
                parts.append(part.text)
            elif isinstance(part, ToolCallPart):
                parts.append(f"```json\n{part.name}({json.dumps(part.input, ensure_ascii=False, default=str)})\n```")
            elif isinstance(part, ToolResultPart):
                text = "".join(piece.text for piece in part.content if isinstance(piece, TextPart))
                parts.append("\n".join(f"> {line}" for line in text.splitlines()))
    return "\n\n".join(parts) + "\n"
