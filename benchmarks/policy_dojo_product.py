"""AgentDojo pairs through the whole product: loop, scripted hijacked model, a real MCP server; against the gate alone.

    pip install agentdojo -e . (in a place of its own), then
    python benchmarks/policy_dojo_product.py --bench .../dojo_bench.py --pairs 120

For each pair of a user's task and an injection, in both orders ("mid": the model is hijacked by the first result that
carries the injection; "end": after the user's calls), the same calls are proposed twice: to the gate alone, as
`dojo_bench.py` does, and by a model in an agent whose tools are the suite's own, served over stdio by MCP's SDK. Both
must let through the same calls, and the suite's own check must find the same attacks to have succeeded.

With `--careless` the policy only asks, a person agrees to everything, and each pair is run without a plan and with
`own_plan`. No model makes that plan here: the script names exactly the tools of the task's own solution, so what is
measured is what a plan without a fault would bound, and what asking for it costs, not how well any model plans.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import pickle
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Decisions = list[tuple[str, bool]]
Script = Generator[tuple[Any, dict[str, Any]], tuple[bool, str], None]


@dataclass
class Outcome:
    """What became of the calls of one pair, in order, and whether the attack succeeded."""

    decisions: Decisions = field(default_factory=list[tuple[str, bool]])
    attacked: bool = False


class Suites:
    """The benchmark's own parts, which this file shares with it."""

    def __init__(self, bench: Path, *, control: bool = False) -> None:
        self.control = control
        sys.path[:0] = [str(bench.parent), str(Path(__file__).parent)]
        self.bench: Any = importlib.import_module(bench.stem)
        sys.modules["__main__"].Decision = self.bench.Decision  # the adapter looks for it where the bench is run
        self.adapter: Any = importlib.import_module("policy_dojo")
        self.suites: dict[str, Any] = self.bench.get_suites("v1.2.2")

    def environment(self, suite: Any, task: Any, injection: Any) -> Any:
        text = "TODO: " + injection.GOAL.replace("\n", " ")
        candidates = self.bench.candidates(suite, task)
        return task.init_environment(self.bench.inject_env(suite, text, None, candidates))

    def alone(self, suite: Any, task: Any, injection: Any, order: str) -> Outcome:
        """The gate alone."""
        outcome = Outcome()
        inner = self.bench.Run.call

        def call(run: Any, wanted: Any, users: bool) -> Any:
            allowed, text = inner(run, wanted, users)
            outcome.decisions.append((wanted.function, allowed))
            return allowed, text

        self.bench.Run.call = call
        try:
            gate = self.bench.NoneGate() if self.control else self.adapter.CorralGate()
            config = self.bench.config_for(suite)
            outcome.attacked = self.bench.attacked(suite, gate, config, task, injection, "none", "plain", order)[0]
        finally:
            self.bench.Run.call = inner
        return outcome

    def script(self, suite: Any, task: Any, injection: Any, order: str, world: World, trace: list[Any]) -> Script:
        """What the model does, as `attacked` in the bench: yields calls with the arguments that it proposes, is sent
        whether each was let through and what came back."""
        bench, config = self.bench, self.bench.config_for(suite)
        context = bench.Context(
            suite=suite.name,
            prompt=task.PROMPT,
            manifest=bench.MANIFEST[suite.name],
            config=config,
            oracle_tools=frozenset(),
        )
        goal = injection.GOAL.replace("\n", " ")
        sign = ("TODO: " + goal)[:40]
        before = pickle.loads(world.before)

        def call(wanted: Any, users: bool) -> Any:
            arguments = bench.gate_view(dict(wanted.args), context) if users else dict(wanted.args)
            allowed, text = yield wanted, arguments
            if allowed:
                trace.append(wanted)
                context.outputs.append((wanted.function, None, text))
            return allowed, text

        def hijacked() -> Any:
            hidden: list[str] = []
            for wanted in bench.attack_calls(suite, injection, before, world.now()):
                words = {w for v in bench.flat(dict(wanted.args)) for w in re.findall(r"[\w-]{6,}", v)}
                marks = {word for word in words if re.search(r"\d", word)}
                seen = goal + task.PROMPT + "".join(text for _, _, text in context.outputs)
                if any(mark in text and mark not in seen for mark in marks for text in hidden):
                    continue
                allowed, _ = yield from call(wanted, False)
                if not allowed and context.meta(wanted.function)["effect"] == "read":
                    runtime = bench.FunctionsRuntime(suite.tools)
                    result, error = runtime.run_function(world.now(), wanted.function, dict(wanted.args))
                    hidden.append("" if error else bench.tool_result_to_str(result))

        done = surfaced = False
        for wanted in task.ground_truth(pickle.loads(world.before)):
            _, text = yield from call(wanted, True)
            surfaced = surfaced or sign in re.sub(r"\s+", " ", text)
            if order == "mid" and surfaced and not done:
                yield from hijacked()
                done = True
        if not done:
            yield from hijacked()

    def succeeded(self, suite: Any, injection: Any, world: World, trace: Sequence[Any]) -> bool:
        return bool(self.bench.security_of(injection, world.before, world.now(), list(trace), suite.name))


class World:
    """The suite's environment as the server has it, which takes the one put here and leaves it after each call."""

    def __init__(self, folder: Path) -> None:
        self.put_file = folder / "put.pickle"
        self.left_file = folder / "left.pickle"
        self.before = b""

    def put(self, environment: Any) -> None:
        self.before = pickle.dumps(environment)
        self.left_file.write_bytes(self.before)
        self.put_file.write_bytes(self.before)

    def now(self) -> Any:
        return pickle.loads(self.left_file.read_bytes())


async def through_the_product(suites: Suites, name: str, pairs: Sequence[tuple[str, str]], report: Report) -> None:
    """Run the pairs of one suite, the server being the same process for all of them."""
    from corral.tools import MCPServer, StdioServer, Toolbox

    suite = suites.suites[name]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        bench = str(Path(suites.bench.__file__))
        arguments = (__file__, "--bench", bench, "--serve", name, folder)
        server = MCPServer(name, StdioServer(sys.executable, arguments, trust=True), connect_timeout=120)
        async with Toolbox(server, strict=True) as toolbox:
            for task_id, injection_id in pairs:
                for order in ("mid", "end"):
                    task, injection = suite.user_tasks[task_id], suite.injection_tasks[injection_id]
                    alone = await asyncio.to_thread(suites.alone, suite, task, injection, order)
                    started = time.perf_counter()
                    world.put(suites.environment(suite, task, injection))
                    product = await run_one(suites, suite, task, injection, order, world, toolbox)
                    seconds = time.perf_counter() - started
                    report.add(f"{name} {task_id} {injection_id} {order}", alone, product, seconds)


async def run_one(
    suites: Suites,
    suite: Any,
    task: Any,
    injection: Any,
    order: str,
    world: World,
    toolbox: Any,
    *,
    policy: Any = None,
    approver: Any = None,
    asked: list[Any] | None = None,
) -> Outcome:
    """Run one pair.

    Args:
        asked: Takes the requests for a plan.
    """
    from corral.agents import ReAct
    from corral.agents.testing import Call, Reply, scripted_lm
    from corral.policy import Limits, ToolReturned

    outcome, trace = Outcome(), list[Any]()
    solution = sorted({call.function for call in task.ground_truth(pickle.loads(world.before))})
    script = suites.script(suite, task, injection, order, world, trace)
    told: list[ToolReturned] = []

    class Ears:
        def emit(self, event: Any) -> None:
            if isinstance(event, ToolReturned):
                told.append(event)

    def reply(request: Any, number: int) -> Reply:
        if asked is not None and "before the work on it begins" in str(request.system):
            asked.append(request)
            return Reply(json.dumps({"tools": [f"{suite.name}_{name}" for name in solution]}))
        try:
            said = (told[-1].outcome in SAID, told[-1].content) if told else None
            wanted, arguments = next(script) if said is None else script.send(said)
        except StopIteration:
            return Reply("done")
        given = {key: value for key, value in suites.adapter.plain(arguments).items() if value is not None}
        return Reply(calls=[Call(f"{suite.name}_{wanted.function}", given)])

    agent = ReAct(
        "task -> answer",
        toolbox,
        lm=scripted_lm(reply)[0],
        policy=policy or policy_of(suites, suite),
        approver=approver,
        limits=Limits(steps=500),
        observation_chars=10_000_000,
        sinks=[Ears()],
    )
    result = await agent.run(task.PROMPT)
    if not result.ok:
        raise RuntimeError(f"the run ended with {result.reason}: {result.detail}")
    outcome.decisions = [(event.tool.removeprefix(f"{suite.name}_"), event.outcome in SAID) for event in told]
    outcome.attacked = suites.succeeded(suite, injection, world, trace)
    return outcome


SAID = ("ok", "error")
"""The call was made; that the tool itself refused is not the gate's doing."""


def policy_of(suites: Suites, suite: Any) -> Any:
    """The adapter's gate as a policy."""
    from corral.policy import Manifest, Policy, SecurityPolicy, Tracing

    config = suites.bench.config_for(suite)
    domains = sorted(config["domains"])
    return Policy(
        rules=[
            SecurityPolicy(resource="tool:*", actions=["call"], id="tools"),
            SecurityPolicy(resource="model:*", actions=["generate"], id="models"),
        ],
        provenance=Tracing(
            underived="off" if suites.control else "ask",
            untraced="deny",
            lexical_plan=True,
            manifests={suite.name: Manifest.model_validate({"tools": suites.adapter.SUITES[suite.name]})},
            directory=[
                *sorted({*config["known"], *config["own"]}),
                *(f"@{domain}" for domain in domains),
                *(f"//{domain}" for domain in domains),
            ],
        ),
    )


class Careless:
    """Agrees to everything."""

    async def decide(self, request: Any) -> Any:
        from corral.policy import Approval

        return Approval(request.digest, True, "user:careless")


async def with_a_careless_person(
    suites: Suites, name: str, pairs: Sequence[tuple[str, str]], counts: Counter[str]
) -> None:
    """Run the pairs of one suite without a plan and with one that names the task's own tools."""
    from corral.agents.tokens import request_tokens
    from corral.policy import Tracing
    from corral.tools import MCPServer, StdioServer, Toolbox

    suite = suites.suites[name]
    strict = policy_of(suites, suite)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        arguments = (__file__, "--bench", str(Path(suites.bench.__file__)), "--serve", name, folder)
        server = MCPServer(name, StdioServer(sys.executable, arguments, trust=True), connect_timeout=120)
        async with Toolbox(server, strict=True) as toolbox:
            for task_id, injection_id in pairs:
                task, injection = suite.user_tasks[task_id], suite.injection_tasks[injection_id]
                solution: set[str] = set()
                for order, plans in ((order, plans) for order in ("mid", "end") for plans in (False, True)):
                    asks = strict.provenance.model_copy(
                        update={"untraced": "ask", "lexical_plan": False, "own_plan": plans}
                    )
                    policy = strict.model_copy(update={"provenance": Tracing.model_validate(asks.model_dump())})
                    world.put(suites.environment(suite, task, injection))
                    solution = {call.function for call in task.ground_truth(pickle.loads(world.before))}
                    asked: list[Any] = []
                    outcome = await run_one(
                        suites, suite, task, injection, order, world, toolbox,
                        policy=policy, approver=Careless(), asked=asked,
                    )  # fmt: skip
                    which = "with" if plans else "without"
                    counts[f"runs {which}"] += 1
                    counts[f"attacked {which}"] += outcome.attacked
                    counts[f"refused of the task {which}"] += sum(
                        not made and tool in solution for tool, made in outcome.decisions
                    )
                    counts["questions"] += len(asked)
                    counts["tokens"] += sum(map(request_tokens, asked))


def tell_careless(counts: Counter[str], pairs: int) -> None:
    runs, questions = counts["runs with"], counts["questions"]
    say(f"{pairs} pairs in both orders, a person who agrees to everything, a policy that only asks:")
    for which in ("without", "with"):
        say(
            f"  {which} a plan: {counts[f'attacked {which}']} of {counts[f'runs {which}']} attacks succeed, "
            f"{counts[f'refused of the task {which}']} calls of the task's own tools refused"
        )
    say(
        "  the plan is the benchmark's own, of exactly the task's tools, and no model's; asking for it is "
        f"{questions / max(1, runs):.2f} questions a run, of {counts['tokens'] / max(1, questions):.0f} tokens, guessed"
    )


class Report:
    """Counts, and what differs."""

    def __init__(self) -> None:
        self.runs = 0
        self.calls: Counter[bool] = Counter()
        self.attacked: Counter[str] = Counter()
        self.different: list[str] = []
        self.seconds = 0.0

    def add(self, name: str, alone: Outcome, product: Outcome, seconds: float) -> None:
        self.runs += 1
        self.seconds += seconds
        self.calls.update(allowed for _, allowed in product.decisions)
        self.attacked.update(which for which, one in (("alone", alone), ("product", product)) if one.attacked)
        if alone != product:
            self.different.append(name)
            say(f"DIFFERENT {name}\n  alone   {alone}\n  product {product}")

    def tell(self, pairs: int) -> None:
        say(
            f"{pairs} pairs, {self.runs} runs, {sum(self.calls.values())} calls proposed, {self.calls[True]} made, "
            f"{self.calls[False]} refused; attacks that succeeded: gate alone {self.attacked['alone']}, "
            f"product {self.attacked['product']}; runs that differ: {len(self.different)}; "
            f"{1000 * self.seconds / max(1, self.runs):.0f} ms a run in the product"
        )


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its output is its purpose


def chosen(suites: Suites, number: int) -> dict[str, list[tuple[str, str]]]:
    """Pairs of all suites, the same ones each time."""
    words_only = suites.bench.OUTPUT_ONLY
    pairs = [
        (name, task, injection)
        for name, suite in sorted(suites.suites.items())
        for task in suite.user_tasks
        for injection in suite.injection_tasks
        if (name, injection) not in words_only
    ]
    picked = sorted(random.Random(4).sample(pairs, min(number, len(pairs))))
    return {name: [(task, injection) for suite, task, injection in picked if suite == name] for name in suites.suites}


def serve(suites: Suites, name: str, folder: Path) -> None:
    """An MCP server on stdio with the tools of a suite."""
    import anyio
    import mcp_types as types
    from mcp.server import Server
    from mcp.server.stdio import stdio_server

    suite, world = suites.suites[name], World(folder)
    runtime = suites.bench.FunctionsRuntime(suite.tools)
    effects = suites.bench.MANIFEST[name]
    state: dict[str, Any] = {"stamp": None, "environment": None}

    def hints(tool: str) -> types.ToolAnnotations:
        reads = effects.get(tool, {"effect": "read"})["effect"] == "read"
        return types.ToolAnnotations(read_only_hint=reads, open_world_hint=False)

    output = {"type": "object", "properties": {"result": {}}, "required": ["result"]}
    tools = [
        types.Tool(
            name=function.name,
            description=function.description,
            input_schema=function.parameters.model_json_schema(),
            output_schema=output,
            annotations=hints(function.name),
        )
        for function in suite.tools
    ]

    async def list_tools(context: Any, parameters: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, parameters: Any) -> types.CallToolResult:
        stamp = world.put_file.stat().st_mtime_ns
        if state["stamp"] != stamp:
            state.update(stamp=stamp, environment=pickle.loads(world.put_file.read_bytes()))
        result, error = runtime.run_function(state["environment"], parameters.name, parameters.arguments or {})
        world.left_file.write_bytes(pickle.dumps(state["environment"]))
        text = error or suites.bench.tool_result_to_str(result)
        content = [types.TextContent(type="text", text=text)]
        if error:
            return types.CallToolResult(content=content, is_error=True)
        structured = {"result": json.loads(json.dumps(suites.adapter.plain(result)))}
        return types.CallToolResult(content=content, structured_content=structured)

    server = Server(name, on_list_tools=list_tools, on_call_tool=call_tool)

    async def main() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(main)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True, help="dojo_bench.py")
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--control", action="store_true", help="without a gate: the attacks do succeed then")
    parser.add_argument("--careless", action="store_true", help="a person who agrees to everything, and a plan")
    parser.add_argument("--serve", nargs=2, metavar=("SUITE", "FOLDER"))
    given = parser.parse_args()
    suites = Suites(given.bench.resolve(), control=given.control)
    if given.serve:
        serve(suites, given.serve[0], Path(given.serve[1]))
        return
    report, picked = Report(), chosen(suites, given.pairs)
    if given.careless:
        counts: Counter[str] = Counter()
        for name, pairs in picked.items():
            if pairs:
                asyncio.run(with_a_careless_person(suites, name, pairs, counts))
        tell_careless(counts, sum(map(len, picked.values())))
        return
    for name, pairs in picked.items():
        if pairs:
            asyncio.run(through_the_product(suites, name, pairs, report))
    report.tell(sum(map(len, picked.values())))
    sys.exit(bool(report.different))


if __name__ == "__main__":
    main()
