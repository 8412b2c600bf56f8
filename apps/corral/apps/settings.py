"""Settings: from the environment and `.env`, read once by a command and handed on in parts."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]


class Settings(BaseSettings):
    """What `CORRAL_...` variables say; flags of a command come before them.

    Attributes:
        home: Where runs and audit are kept; everything that Corral writes is below it.
        model: "provider/name".
        api_base: Of an OpenAI-compatible server.
        api_key: For `api_base`, or instead of the provider's own variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="CORRAL_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    home: Path = Field(default_factory=lambda: user_data_path("corral"))
    model: str | None = None
    api_base: str | None = None
    api_key: SecretStr | None = None

    @property
    def journal(self) -> Path:
        return self.home / "runs.sqlite3"

    @property
    def memory(self) -> Path:
        return self.home / "memory"

    @property
    def audit(self) -> Path:
        return self.home / "audit.jsonl"

    @property
    def grants(self) -> Path:
        return self.home / "grants.json"
