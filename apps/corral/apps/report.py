"""What a run prints: its answer, a summary or every event; and the exit status."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any, cast

import click

from corral.apps.failures import Exit
from corral.apps.terminal import Progress, printable

if TYPE_CHECKING:
    from corral.agents import Result
    from corral.apps.scripted import Outcome
    from corral.policy import Sink

__all__ = ["answer_of", "content_of", "print_outcome", "status_of", "watchers"]


def watchers(output_format: str) -> tuple[Sink, ...]:
    if output_format == "stream-json":
        return (_JsonLines(),)
    return (Progress(quiet=not sys.stderr.isatty()),)


class _JsonLines:
    """Every event as a line of JSON on stdout."""

    def emit(self, event: Any) -> None:
        from pydantic_core import to_json

        click.echo(to_json(event.to_json(), fallback=str).decode())


def print_outcome(outcome: Outcome, output_format: str) -> None:
    if output_format == "json":
        click.echo(json.dumps(_summary(outcome), ensure_ascii=False))
    elif output_format == "text" and outcome.outputs is not None:
        shown = answer_of(outcome.outputs)
        click.echo(printable(shown) if sys.stdout.isatty() else shown)
    for problem in () if output_format == "json" else outcome.problems:
        click.echo(f"corral: {problem}", err=True)


def _summary(outcome: Outcome) -> dict[str, Any]:
    """One object; of several turns, what they came to together and each by itself."""
    runs = [_run_summary(result) for result in outcome.results]
    if len(runs) == 1 and not outcome.unmet:
        return runs[0]
    return {"ok": outcome.ok, "outputs": outcome.outputs, "unmet": list(outcome.unmet), "runs": runs}


def _run_summary(result: Result) -> dict[str, Any]:
    from corral.agents.media import as_json

    usage = result.usage
    return {
        "run_id": result.run_id,
        "reason": result.reason.value,
        "outputs": as_json(result.outputs),
        "text": result.text,
        "detail": result.detail,
        "denied": [{"resource": refusal.resource, "reason": refusal.reason} for refusal in result.denied],
        "steps": result.steps,
        "tool_calls": result.tool_calls,
        "repairs": result.repairs,
        "seconds": round(result.seconds, 3),
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                  "cached_tokens": usage.cached_tokens, "cost_usd": usage.cost_usd},
    }  # fmt: skip


def answer_of(outputs: dict[str, Any]) -> str:
    """The one output's text, or JSON; of files, their names."""
    told = {name: value if (file := _file(value)) is None else f"[file {file[0]}]" for name, value in outputs.items()}
    value = next(iter(told.values())) if len(told) == 1 else told
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def content_of(outputs: dict[str, Any]) -> bytes:
    """What is written where the answer is wanted as a file: the one file among the outputs, else the answer's text."""
    files = [file for value in outputs.values() if (file := _file(value)) is not None]
    return files[0][1] if len(files) == 1 else (answer_of(outputs) + "\n").encode()


def _file(value: Any) -> tuple[str, bytes] | None:
    """Name and content of an output that is a file."""
    data: Any = cast("dict[str, Any]", value).get("file_data") if isinstance(value, dict) else None
    if not isinstance(data, str) or not data.startswith("data:"):
        return None
    return str(cast("dict[str, Any]", value).get("filename", "")), base64.b64decode(data.partition(",")[2])


def status_of(outcome: Outcome) -> Exit:
    from corral.agents import StopReason

    for result in outcome.results:
        if not result.ok:
            limit = Exit.LIMIT if result.reason.is_limit else Exit.ERROR
            return Exit.DENIED if result.reason is StopReason.DENIED else limit
    return Exit.DONE if outcome.ok else Exit.ERROR
