"""Agent files: an agent as YAML, TOML, or Markdown whose text is the instructions; to code and back."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import corral.sandbox
import corral.tools
from corral.agents.agent import Agent, CodeAct, ReAct
from corral.agents.consolidating import Consolidation, model_of
from corral.agents.definition import Definition
from corral.agents.delegation import hand_off
from corral.agents.errors import DefinitionError
from corral.agents.fallback import FallbackModel
from corral.agents.frontmatter import read_agent
from corral.agents.guardfile import GuardsSection
from corral.agents.memoryfile import MemorySection, Verb, parted
from corral.agents.memorytools import memory_tools
from corral.agents.model import Model, ModelSpec
from corral.agents.prompt import Actions
from corral.agents.skills import Skills
from corral.memory import Scope
from corral.policy import Layers, Limits, Policy

if TYPE_CHECKING:
    from corral.memory import Memory, SharedStore
    from corral.sandbox import SandboxProvider
    from corral.tools import Logins, Tool, ToolSource

__all__ = ["AgentFile", "ToolsSection"]

Kind = Literal["react", "codeact", "both"]

_ACTIONS: dict[Kind, Actions] = {
    "react": Actions.TOOLS,
    "codeact": Actions.CODE,
    "both": Actions.TOOLS | Actions.CODE,
}


class ToolsSection(BaseModel):
    """Where an agent's tools come from.

    Attributes:
        functions: "package.module:function", imported when the agent is made.
        mcp: Files with `mcpServers`, named from the agent file's folder.
        memory: What the model may do with the agent's memory by itself; see `memory_tools`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    functions: list[str] = []
    mcp: list[str] = []
    memory: list[Verb] = []


class TeamSection(BaseModel):
    """Agents that this one may have work for it; files, named from the agent file's folder.

    Attributes:
        delegate: Those whose answers it waits for.
        hand_off: Those that it may hand its task over to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delegate: list[str] = []
    hand_off: list[str] = []


class AgentFile(BaseModel):
    """What an agent file says; an unknown key is an error with its line.

    Attributes:
        version: Of the format; a newer one than this code knows is refused.
        signature: "inputs -> outputs", such as "question -> answer: int".
        instructions: What the model is told; in Markdown, the text below the front matter.
        model: A name, a specification, or several, of which the first that can be had answers.
        sandbox: Where code runs; by default the strongest there is.
        policy: A file, named from the agent file's folder, the policy itself, or nothing for the safe one.
        memory: Whether the agent is to have one, and of what sort; whoever makes the agent opens it, with `shared`.
        team: Agents that it delegates to. One whose file names no model has this agent's.
        skills: Folders with skills, named from the agent file's folder, as `skills_lock` names the lock file.
        agents_md: A file with what the project says to agents, or the folder of an AGENTS.md.
        plugins: Names of plugins that are installed.
        guards: What may enter a run, and what may leave it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    kind: Kind = "react"
    signature: str = "task -> answer"
    instructions: str = ""
    model: str | ModelSpec | list[str | ModelSpec] | None = None
    tools: ToolsSection = ToolsSection()
    memory: bool | MemorySection = False
    sandbox: Literal["auto", "docker", "linux", "monty"] = "auto"
    policy: str | Policy | None = None
    limits: Limits = Limits()
    cell_timeout: float = Field(default=30.0, gt=0)
    observation_chars: int = Field(default=16_000, ge=200)
    untrusted_inputs: list[str] = []
    team: TeamSection = TeamSection()
    skills: list[str] = []
    skills_lock: str | None = None
    agents_md: str | None = None
    plugins: list[str] = []
    guards: GuardsSection = GuardsSection()

    @classmethod
    def load(cls, path: str | Path) -> AgentFile:
        """Read an agent from a .yaml, .yml, .toml or .md file.

        Raises:
            DefinitionError: It can't be read, or something in it is unknown or wrong; the message has file and line.
        """
        return read_agent(Path(path), cls)

    @classmethod
    def of(cls, agent: Agent) -> AgentFile:
        """What a file that makes this agent would say. Keys of models stay out of it.

        Raises:
            DefinitionError: It has something that no file can name, such as a tool made inside a function.
        """
        kinds: dict[Actions, Kind] = {actions: kind for kind, actions in _ACTIONS.items()}
        made = agent.definition()
        if isinstance(made.policy, Layers):
            raise DefinitionError("an agent file holds one policy; save each layer by itself")
        instructions: str = agent.predict.signature.instructions
        return cls(
            name=agent.name,
            kind=kinds[agent.actions],
            signature=made.signature,
            instructions="" if instructions == agent.signature.unwritten else instructions,
            model=_model_of(made.model),
            tools=_tools_of(agent, made),
            memory=_memory_of(made),
            sandbox=made.sandbox,
            policy=None if made.policy == Policy.safe() else made.policy,
            limits=made.limits,
            cell_timeout=made.cell_timeout,
            observation_chars=made.observation_chars,
            untrusted_inputs=list(made.untrusted_inputs),
            **_named(made),
        )

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads: .md keeps the instructions as its text, anything else is YAML.

        Raises:
            DefinitionError: It would be read as TOML, which is not written here.
        """
        target = Path(path)
        if target.suffix == ".toml":
            raise DefinitionError(f"{target}: agent files are written as YAML or Markdown; name it .yaml or .md")
        said: dict[str, Any] = {"version": self.version, **self.model_dump(mode="json", exclude_defaults=True)}
        for model in _listed(said.get("model")):
            if isinstance(model, dict):
                cast("dict[str, Any]", model).pop("api_key", None)
        text = str(said.pop("instructions", "")) if target.suffix == ".md" else ""
        written = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
        target.write_text(f"---\n{written}---\n{text}\n" if target.suffix == ".md" else written, encoding="utf-8")

    def make(
        self,
        folder: str | Path = ".",
        *,
        logins: Callable[[Path], Logins] | None = None,
        _above: tuple[Path, ...] = (),
        **collaborators: Any,
    ) -> Agent:
        """The agent.

        Args:
            folder: Where the files are that it names; usually the file's own.
            logins: Gives the logins of the servers in an `mcpServers` file; without it a browser is opened for one.
            collaborators: What a file can't hold, such as `approver`, `journal`, `memory`, more `sinks`; they win over
                what the file says.

        Raises:
            DefinitionError: A function can't be imported, or the agent can't be made.
            ToolError, PolicyFileError: A file that it names can't be used.
        """
        place = Path(folder)
        kind = {"react": ReAct, "codeact": CodeAct, "both": Agent}[self.kind]
        options: dict[str, Any] = {
            "lm": self._model(),
            "sandbox": self._sandbox(),
            "policy": Policy.load(place / self.policy) if isinstance(self.policy, str) else self.policy,
            "limits": self.limits,
            "name": self.name,
            "actions": _ACTIONS[self.kind],
            "cell_timeout": self.cell_timeout,
            "observation_chars": self.observation_chars,
            "untrusted_inputs": self.untrusted_inputs,
        }
        lm = collaborators.get("lm") or options["lm"]
        options |= {
            "skills": self._skills(place),
            "agents_md": None if self.agents_md is None else place / self.agents_md,
            "plugins": self.plugins,
            "input_guards": self.guards.made("input"),
            "output_guards": self.guards.made("output"),
        }
        memory: Memory | None = collaborators.get("memory")
        options["consolidate"] = self._consolidation(memory)
        remembering = self._memory_tools(memory, collaborators.get("user", "local"))
        tools = [*self._tools(place, logins), *remembering, *self._team(place, logins, lm, memory, _above)]
        agent = kind(self.signature, tools, **{**options, **collaborators})
        if self.instructions:
            agent.predict.signature = agent.predict.signature.with_instructions(self.instructions)
        return agent

    @property
    def has_memory(self) -> bool:
        """Whether the agent is to be given one."""
        return self.memory is not False or bool(self.tools.memory)

    @property
    def shared(self) -> SharedStore | None:
        """The server that its memory shares facts through: `Memory(path, shared=file.shared)`."""
        section = self.memory.shared if isinstance(self.memory, MemorySection) else None
        return None if section is None else section.made()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The format as JSON Schema, for editors: `# yaml-language-server: $schema=...`."""
        return cls.model_json_schema()

    def _model(self) -> str | ModelSpec | Model | None:
        if not isinstance(self.model, list):
            return self.model
        return FallbackModel(self.model)

    def _sandbox(self) -> SandboxProvider | None:
        if self.kind == "react" or self.sandbox == "auto":
            return None
        return corral.sandbox.provider_named(self.sandbox)

    def _skills(self, place: Path) -> Skills | Sequence[Any]:
        folders = [place / folder for folder in self.skills]
        if self.skills_lock is None or not folders:
            return folders
        return Skills(*folders, lock=place / self.skills_lock)

    def _team(
        self,
        place: Path,
        logins: Callable[[Path], Logins] | None,
        lm: Any,
        memory: Memory | None,
        above: tuple[Path, ...],
    ) -> list[Any]:
        def member(path: str) -> Agent:
            file = (place / path).resolve()
            if file in above:
                circle = " > ".join(each.name for each in (*above[above.index(file) :], file))
                raise DefinitionError(f"agent files name each other in a circle: {circle}")
            found = AgentFile.load(file)
            own: dict[str, Any] = {"lm": lm} if found.model is None and lm is not None else {}
            own |= {"memory": memory} if found.has_memory else {}
            return found.make(file.parent, logins=logins, _above=(*above, file), **own)

        handed = [hand_off(member(path)) for path in self.team.hand_off]
        return [*(member(path) for path in self.team.delegate), *handed]

    def _consolidation(self, memory: Memory | None) -> bool | Consolidation:
        """What is wished of the memory that was given, if it is what the file describes.

        Raises:
            DefinitionError: It is another one.
        """
        if memory is None or not isinstance(self.memory, MemorySection):
            return False
        if self.shared is not None and memory.shared != self.shared:
            raise DefinitionError(
                f"the agent file shares facts through {self.shared.provider}, and the memory that was given does not; "
                "make it with Memory(path, shared=file.shared)"
            )
        return self.memory.consolidation or False

    def _memory_tools(self, memory: Memory | None, user: str) -> list[Tool]:
        if not self.tools.memory:
            return []
        if memory is None:
            named = ", ".join(self.tools.memory)
            raise DefinitionError(f"the agent file names tools of a memory ({named}), and there is none; pass memory=")
        return memory_tools(memory, Scope(user, self.name), offer=self.tools.memory)

    def _tools(self, place: Path, logins: Callable[[Path], Logins] | None) -> list[Any]:
        sources: list[ToolSource | Tool | Any] = [_import(name) for name in self.tools.functions]
        for path in self.tools.mcp:
            config = place / path
            sources.extend(corral.tools.load_mcp_config(config, logins=None if logins is None else logins(config)))
        return sources


def _named(made: Definition) -> dict[str, Any]:
    """What a file can name of an agent's plugins, skills and guidance.

    Raises:
        DefinitionError: One of them has no name.
    """
    plugins = [each for each in made.plugins if isinstance(each, str)]
    skills = [str(each) for each in made.skills if isinstance(each, str | Path)]
    if made.has_guards or len(plugins) != len(made.plugins) or len(skills) != len(made.skills):
        raise DefinitionError("guards, hooks and skills that were made in code can't be named in a file")
    return {"plugins": plugins, "skills": skills, "agents_md": made.agents_md}


def _tools_of(agent: Agent, made: Definition) -> ToolsSection:
    own, others = parted(made.tools, Scope(agent.user, agent.name))
    return ToolsSection(functions=[_function_name(tool) for tool in others], memory=own)


def _memory_of(made: Definition) -> bool | MemorySection:
    wish = made.consolidation
    model = None if wish is None or wish.model is None else _model_of(model_of(wish.model))
    return MemorySection.of(made.memory, wish, model)


def _listed(model: Any) -> list[Any]:
    return cast("list[Any]", model) if isinstance(model, list) else [model]


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DefinitionError(f"the function {name!r} can't be imported: {error}") from None
    return found


def _function_name(tool: Any) -> str:
    module, name = getattr(tool, "__module__", ""), getattr(tool, "__qualname__", "")
    if module and name and "<" not in name:
        return f"{module}:{name}"
    for loaded in list(sys.modules.values()):
        named: dict[str, Any] = dict(getattr(loaded, "__dict__", {}))
        for attribute, value in named.items():
            if value is tool:
                return f"{loaded.__name__}:{attribute}"
    raise DefinitionError(f"{tool!r} can't be named in a file; define it in a module, at the top")


def _model_of(model: Model | None) -> Any:
    if model is None:
        return None
    models = model.models if isinstance(model, FallbackModel) else (model,)
    specs: list[Any] = []
    for one in models:
        if one.spec is None:
            raise DefinitionError(f"the model {one.name} is a dspy.LM of your own; give the agent a ModelSpec")
        spec = one.spec.model_copy(update={"api_key": None}) if isinstance(one.spec.api_key, SecretStr) else one.spec
        plain = json.loads(spec.model_dump_json(exclude_defaults=True))
        specs.append(spec.model if set(plain) == {"model"} else spec)
    return specs[0] if len(specs) == 1 else specs
