"""What a model is, said strictly: DSPy drops some settings of an LM, and sends unknown ones over the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from corral.agents.errors import DefinitionError
from corral.agents.price import Price

__all__ = ["ModelSpec"]


class ModelSpec(BaseModel):
    """Which model, where, and how it is sampled; an unknown setting is an error.

    Attributes:
        model: "provider/name", such as "openai/gpt-4o-mini" or "anthropic/claude-sonnet-4-5".
        api_base: Address of an OpenAI-compatible server (vLLM, llama.cpp, Ollama, LM Studio), up to and including its
            version, as in "http://127.0.0.1:8000/v1"; None is the provider's own.
        api_key: None leaves it to the provider's usual environment variable.
        max_tokens: Of one answer.
        stop: Texts at which an answer ends.
        reasoning: How long the model thinks before it answers; None leaves it to the model. Which words it takes is the
            provider's to say, and others are errors.
        timeout: Seconds to wait for the next byte.
        deadline: Seconds for one answer, all attempts and waits included; None leaves it to the run's limit.
        price: For models that are in no price list; a money limit needs it.
        context_window: Tokens of prompt and answer together; None takes what DSPy's table says of the provider's own
            models, and learns it of other servers when they refuse a prompt.
        images: Whether the model is shown the pictures that tools return; None takes what DSPy's table says of the
            provider's own models, and tells others of them in words. Those among a task's inputs are always sent.
        native_tools: Whether the model takes function calls; without, tools are offered in a text protocol.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    api_base: str | None = Field(default=None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    reasoning: Literal["off", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    timeout: float = Field(default=120.0, gt=0)
    deadline: float | None = Field(default=None, gt=0)
    price: Price | None = None
    context_window: int | None = Field(default=None, ge=256)
    images: bool | None = None
    native_tools: bool = True

    @classmethod
    def of(cls, **settings: Any) -> ModelSpec:
        """A specification from loose settings.

        Raises:
            DefinitionError: One is unknown or wrong.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise DefinitionError(f"model setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
