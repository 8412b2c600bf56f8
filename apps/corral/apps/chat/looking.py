"""Commands that look at what the agent has: tools, servers, memory, rules, the sandbox, what it costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

from corral.agents.tokens import message_tokens
from corral.apps.chat.commands import Command
from corral.apps.chat.ledger import added
from corral.apps.chat.state import Chat
from corral.policy import Action, Admission, Grant, Usage
from corral.tools import MCPServer, Skill, ToolError

__all__ = ["looking"]


def looking(chat: Chat) -> list[Command]:
    """The commands, over this chat."""
    names = _tool_names(chat)
    look = _Looking(chat)
    return [
        Command("/tools", "[NAME]", "the tools, or one of them with its schema", look.tools, names),
        Command("/mcp", "[retry]", "the MCP servers: what each gives, or why it gives nothing", look.mcp),
        Command("/skills", "[NAME]", "skills of the servers, or the texts of one of them", look.skills),
        Command("/memory", "[QUERY]", "what memory finds, or how much it keeps", look.memory),
        Command("/policy", "[revoke N]", "the rules in force, and what you agreed to", look.policy, lambda: ["revoke"]),
        Command("/sandbox", "", "where code runs", look.sandbox),
        Command("/cost", "", "tokens and money of this chat", look.cost),
        Command("/context", "", "what fills the model's window", look.context),
    ]


def _tool_names(chat: Chat) -> Callable[[], Sequence[str]]:
    return lambda: [tool.name for tool in chat.toolbox.tools]


class _Looking:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._screen = chat.screen

    async def tools(self, name: str) -> None:
        toolbox, screen = self._chat.toolbox, self._screen
        if toolbox.has_changed:
            await toolbox.refresh()
        if name:
            tool = toolbox.get(name)
            if tool is None:
                near = toolbox.suggest(name)
                screen.warn(f"there is no tool {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
                return
            screen.paper.put(screen.paper.code(tool.signature()))
            read_only = ", read-only" if tool.read_only else ""
            screen.say(f"{tool.resource}, effect {tool.effect.value}{read_only}", "dim")
            screen.paper.put(screen.paper.code(json.dumps(tool.input_schema, indent=2, ensure_ascii=False), "json"))
            return
        for tool in toolbox.tools:
            first = tool.description.strip().splitlines()[0] if tool.description.strip() else ""
            screen.say(f"{tool.name}  {first}"[: max(screen.paper.width - 1, 60)])
        if not toolbox.tools:
            screen.say("no tools; name servers with --mcp-config", "dim")

    async def mcp(self, what: str) -> None:
        toolbox, screen = self._chat.toolbox, self._screen
        if what == "retry":
            await toolbox.reopen()
        elif any(server.name in toolbox.failures for server in self._chat.servers):
            screen.say("/mcp retry tries those again that failed", "dim")
        for server in self._chat.servers:
            tools = [tool.name for tool in toolbox.tools if tool.resource.startswith(f"tool:{server.name}/")]
            problem = toolbox.failures.get(server.name)
            screen.say(f"{server.name}  " + (f"failed: {problem}" if problem else f"{len(tools)} tools"))
            for name, why in toolbox.failures.items():
                if name.startswith(f"{server.name}/"):
                    screen.warn(f"  {name}: {why}")
        if not self._chat.servers:
            screen.say("no MCP servers; name them with --mcp-config", "dim")

    async def skills(self, name: str) -> None:
        found: dict[str, tuple[MCPServer, Skill]] = {}
        for server in self._chat.servers:
            try:
                found |= {skill.name: (server, skill) for skill in await server.skills()}
            except ToolError as error:
                self._screen.warn(str(error))
        if name in found:
            await self._show_skill(*found[name])
            return
        for server, skill in found.values():
            self._screen.say(f"{skill.name}  {skill.description} (of {server.name})")
        if name or not found:
            self._screen.warn(f"there is no skill {name!r}" if name else "no server here has skills")

    async def _show_skill(self, server: MCPServer, skill: Skill) -> None:
        action = Action(f"tool:{server.name}/skills/{skill.name}", "call", "agent:bench")

        async def effect(admission: Admission) -> dict[str, str]:
            return await server.load_skill(skill, admission)

        for uri, text in (await self._chat.bench.gate.perform(action, effect)).items():
            self._screen.say(uri, "call")
            self._screen.paper.put(self._screen.paper.markdown(text))

    async def memory(self, query: str) -> None:
        chat, screen = self._chat, self._screen
        if chat.memory is None:
            screen.warn("this chat was started with --no-memory")
        elif not query:
            counts = await chat.memory.stats()
            screen.say(", ".join(f"{name} {value}" for name, value in counts.items()))
        else:
            lines = await chat.bench.recall(query)
            for line in lines:
                screen.say(line)
            if not lines:
                screen.say("nothing", "dim")

    async def policy(self, rest: str) -> None:
        chat, screen = self._chat, self._screen
        grants = chat.conversation.agent.grants
        verb, _, number = rest.partition(" ")
        if verb == "revoke":
            listed = dict(enumerate(grants.all, 1))
            chosen = listed.get(int(number)) if number.isdecimal() else None
            if chosen is None:
                screen.warn("/policy revoke N, with the number that /policy shows before what you agreed to")
                return
            grants.revoke(lambda grant: grant is chosen)
            screen.say(f"revoked: {_agreed(chosen)}")
            return
        screen.say(f"{chat.policy_named}; what no rule mentions: {chat.policy.default}", "call")
        for place, rule in enumerate(chat.policy.rules, 1):
            conditions = f"  if {json.dumps(rule.conditions, ensure_ascii=False)}" if rule.conditions else ""
            why = f"  ({rule.reason})" if rule.reason else ""
            screen.say(
                f"{rule.effect:<5} {','.join(rule.actions)} {rule.resource}{conditions}  [{rule.id or place}]{why}"
            )
        screen.say(f"mode {chat.mode.explanation}", "dim")
        for place, grant in enumerate(grants.all, 1):
            screen.say(f"you agreed {place}: {_agreed(grant)}")

    async def sandbox(self, _: str) -> None:
        self._screen.say(f"sandbox: {self._chat.bench.sandbox}")
        reason = self._chat.bench.sandbox_reason
        if reason:
            self._screen.say(reason, "dim")

    async def cost(self, _: str) -> None:
        ledger, screen = self._chat.ledger, self._screen
        screen.say(f"here: {ledger.turns} turns, {ledger.model_calls} model calls, {ledger.tool_calls} tool calls, "
                   f"{ledger.seconds:.1f} s")  # fmt: skip
        screen.say(_spent(ledger.usage))
        total = self._of_session()
        if total != ledger.usage:
            screen.say(f"the whole session, as the journal has it: {_spent(total)}")

    async def context(self, _: str) -> None:
        conversation, screen = self._chat.conversation, self._screen
        counts: Counter[str] = Counter()
        for message in conversation.messages:
            counts[message.role] += message_tokens(message)
        for role, tokens in counts.items():
            number = sum(message.role == role for message in conversation.messages)
            screen.say(f"{role:<10} {number:>4} messages  about {tokens} tokens")
        model = conversation.agent.model
        window = model.context_window() if model is not None else None
        last = self._chat.ledger.last
        if last.tokens:
            share = f", {100 * last.tokens / window:.0f} % of {window}" if window else ""
            screen.say(f"the last call, instructions and tools included: {last.tokens} tokens{share}")
        if not counts:
            screen.say("nothing was said yet", "dim")

    def _of_session(self) -> Usage:
        total = Usage()
        conversation = self._chat.conversation
        journal = conversation.agent.journal
        for run in [] if journal is None else journal.runs(conversation.session.id):
            for event in journal.events(run["run_id"]) if journal is not None else ():
                if event["type"] == "ModelCalled":
                    total = added(total, Usage(**event["usage"]))
        return total


def _spent(usage: Usage) -> str:
    money = "the model's price is not known; --price says it" if usage.cost_usd is None else f"${usage.cost_usd:.6f}"
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    return f"{usage.input_tokens} tokens in{cached}, {usage.output_tokens} out: {money}"


def _agreed(grant: Grant) -> str:
    arguments = "whatever its arguments" if grant.digest is None else "with one set of arguments"
    how_long = "for this session" if grant.session else "always"
    return f"{grant.verb} {grant.resource}, {arguments}, {how_long}"
