"""What an agent file says of memory: tools for the model, a server that shares facts, and consolidation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from corral.agents.consolidating import Consolidation
from corral.agents.errors import DefinitionError
from corral.agents.memorytools import MemoryTool
from corral.agents.model import ModelSpec
from corral.memory import Scope, SharedStore
from corral.policy import Limits

if TYPE_CHECKING:
    from corral.memory import Memory

__all__ = ["ConsolidationSection", "MemorySection", "SharedSection", "Verb", "parted"]

Verb = Literal["remember", "recall", "forget"]

_SECRET = ("api_key", "password")
_USUAL = Consolidation()


class SharedSection(BaseModel):
    """A server in which facts are kept too.

    Attributes:
        config: As mem0 has it; `${VAR}` in a text is looked up in the environment when the memory is opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Literal["qdrant", "pgvector"]
    config: dict[str, Any] = {}
    collection: str = "corral_facts"

    @classmethod
    def of(cls, store: SharedStore) -> SharedSection:
        """What a file says of a store.

        Raises:
            DefinitionError: A secret stands in its configuration, and not the name of a variable that has it.
        """
        if found := next((name for name, value in store.config.items() if _is_secret(name, value)), None):
            raise DefinitionError(
                f"the shared store's {found} is a secret, which no file is to hold: put it into the environment, and "
                f'name it in the configuration, as "{found}": "${{MY_{found.upper()}}}"'
            )
        return cls(provider=store.provider, config=dict(store.config), collection=store.collection)

    def made(self) -> SharedStore:
        return SharedStore(self.provider, self.config, self.collection)


class ConsolidationSection(BaseModel):
    """When what was said is consolidated, by which model, and what that may cost; see `Consolidation`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int = Field(default=_USUAL.after, ge=1)
    model: str | ModelSpec | None = None
    limits: Limits = _USUAL.limits
    pause: float = Field(default=_USUAL.pause, ge=0)

    def made(self) -> Consolidation:
        return Consolidation(after=self.after, model=self.model, limits=self.limits, pause=self.pause)


class MemorySection(BaseModel):
    """The memory of an agent; whoever makes the agent opens it, where they keep such things.

    Attributes:
        shared: A server in which facts are kept too.
        consolidate: Whether a model draws facts from what was said, after runs; it costs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shared: SharedSection | None = None
    consolidate: bool | ConsolidationSection = False

    @classmethod
    def of(cls, memory: Memory | None, wish: Consolidation | None, model: str | ModelSpec | None) -> bool | Self:
        """What a file says of a memory, of which that is wished, by that model.

        Raises:
            DefinitionError: A secret would stand in it.
        """
        shared = None if memory is None or memory.shared is None else SharedSection.of(memory.shared)
        if wish is None:
            return memory is not None if shared is None else cls(shared=shared)
        section = ConsolidationSection(after=wish.after, model=model, limits=wish.limits, pause=wish.pause)
        return cls(shared=shared, consolidate=True if section == ConsolidationSection() else section)

    @property
    def consolidation(self) -> Consolidation | None:
        """What is wished of it; None is nothing."""
        if isinstance(self.consolidate, ConsolidationSection):
            return self.consolidate.made()
        return Consolidation() if self.consolidate else None


def _is_secret(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return True  # nobody knows what stands in there
    if not isinstance(value, str) or "${" in value:
        return False
    return name in _SECRET or bool(urlsplit(value).password)


def parted(tools: Sequence[Any], scope: Scope) -> tuple[list[Verb], list[Any]]:
    """The tools over the memory of `scope`, by name, and the others.

    Raises:
        DefinitionError: One is over another memory, or finds what is not trusted: a file has no word for that.
    """
    own = [tool for tool in tools if isinstance(tool, MemoryTool)]
    if any(tool.scope != scope or tool.finds_untrusted for tool in own):
        raise DefinitionError("only tools over the agent's own memory, with what is trusted, can be named in a file")
    return [cast("Verb", tool.name) for tool in own], [tool for tool in tools if not isinstance(tool, MemoryTool)]
