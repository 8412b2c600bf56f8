"""Settings: from the environment, `corral.toml` and `.env`, read once by a command and handed on in parts."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

__all__ = ["DOTENV", "PROJECT", "Settings", "check_project"]

PROJECT = "corral.toml"
"""The project's own settings, in the folder where a command is started."""

DOTENV = ".env"


class Settings(BaseSettings):
    """What is configured; the weakest first: `CORRAL_...` variables, `corral.toml`, `.env`, and then flags.

    In `corral.toml` the names are these in small letters, and one that is unknown is an error; paths are named from the
    folder where the command is started. Keys belong into the environment or `.env`, and are refused there.

    Attributes:
        home: Where runs, audit and memory are kept; everything that Corral writes is below it.
        model: "provider/name".
        api_base: Of an OpenAI-compatible server.
        api_key: For `api_base`, or instead of the provider's own variable.
        policy: A file of rules, or a preset's name.
        mcp_config: A JSON file with `mcpServers`.
        token_passphrase: Encrypts logins, instead of the system's keyring or a key beside them.
        memory: Whether runs recall and remember.
        consolidate: Whether a model draws facts from what was remembered, after runs; it costs.
        plugins: Names of installed plugins that every run is to ask; a list, in the environment as JSON.
        max_cost: US dollars of a run.
        timeout: Seconds of a run.
    """

    model_config = SettingsConfigDict(
        env_prefix="CORRAL_", env_file=DOTENV, env_ignore_empty=True, toml_file=PROJECT, extra="ignore", frozen=True
    )

    home: Path = Field(default_factory=lambda: user_data_path("corral"))
    model: str | None = None
    api_base: str | None = None
    api_key: SecretStr | None = None
    token_passphrase: SecretStr | None = None
    policy: str | None = None
    mcp_config: Path | None = None
    kind: Literal["react", "codeact", "both"] | None = None
    protocol: Literal["native", "text"] | None = None
    sandbox: str | None = None
    memory: bool | None = None
    consolidate: bool | None = None
    plugins: list[str] = []
    max_steps: int | None = Field(default=None, ge=0)
    max_tool_calls: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    max_cost: float | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, ge=0)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls), env_settings

    @property
    def journal(self) -> Path:
        return self.home / "runs.sqlite3"

    @property
    def memory_folder(self) -> Path:
        return self.home / "memory"

    @property
    def results(self) -> Path:
        return self.home / "results"

    @property
    def audit(self) -> Path:
        return self.home / "audit.jsonl"

    @property
    def logins(self) -> Path:
        return self.home / "logins"

    @property
    def grants(self) -> Path:
        return self.home / "grants.json"

    @property
    def ledger(self) -> Path:
        return self.home / "ledger.sqlite3"


def check_project(path: Path = Path(PROJECT)) -> None:
    """Whether the project's settings can be read; their values are checked by `Settings`.

    Raises:
        ValueError: It is not TOML, has a name that nobody knows, or holds a key.
    """
    try:
        names = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: this is not TOML: {error}") from None
    for name in names:
        if name not in Settings.model_fields:
            near = get_close_matches(name, Settings.model_fields, 1)
            raise ValueError(f"{path}: {name}: nothing is called that{f'; did you mean {near[0]}?' if near else ''}")
    for name in ("api_key", "token_passphrase"):
        if name in names:
            raise ValueError(
                f"{path}: {name}: keys don't belong into a project's file; put it into .env, CORRAL_{name.upper()}="
            )
