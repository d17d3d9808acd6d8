"""Section of a model behind an OpenAI-compatible server: how it is asked, how hard it is pressed, what it costs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from visor_core.config.base import Section


class ServerConfig(Section):
    """How an OpenAI-compatible server is asked. Prices are in a currency of your choice, `max_cost` in the same."""

    PACE: ClassVar[frozenset[str]] = frozenset(
        {
            "timeout_seconds",
            "retries",
            "backoff_seconds",
            "max_backoff_seconds",
            "concurrency",
            "requests_per_minute",
            "prompt_price",
            "completion_price",
            "max_cost",
            "picture_cache_mib",
        }
    )
    """Fields that say how fast, how often, at what price and with what memory here a server is asked. All others decide
    what it answers."""

    timeout_seconds: float = Field(default=120.0, gt=0)
    """Longest wait of one try, from connecting to the reply's last byte."""
    retries: int = Field(default=5, ge=0)
    """Further tries after a 429, a 5xx, a time-out or a broken connection (`visor ask`: 2 unless the profile says)."""
    backoff_seconds: float = Field(default=0.5, ge=0)
    """Wait before the second try; it doubles with each further one."""
    max_backoff_seconds: float = Field(default=30.0, ge=0)
    """Longest wait between tries, a server's own Retry-After included."""
    concurrency: int = Field(default=16, ge=1)
    """Most requests in flight."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most requests begun in a minute, spaced evenly; none sets no limit."""
    prompt_price: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens."""
    completion_price: float = Field(default=0.0, ge=0)
    """Price of a million completion tokens."""
    max_cost: float | None = Field(default=None, gt=0)
    """Cost at which a command sends nothing more; what is in flight then, at most `concurrency` requests, still adds to
    it. None sets no limit."""
    prefill: Literal["instruct", "continue"] = "instruct"
    """How a forced opening of a reply is sent: as a demand in words, which any server takes, or as an assistant message
    that the server goes on from (`continue_final_message`, which vLLM has; in words once a server refuses it)."""
    token_ids: bool = False
    """Ask for token ids and log-probabilities (a vLLM server gives them)."""
    seed: bool = True
    """Send a seed with every request, derived from the episode's."""
    picture_cache_mib: int = Field(default=256, ge=0)
    """Most memory for pictures kept as they are sent (PNG in base64), MiB; 0 keeps none."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every request, as `chat_template_kwargs`."""
    revision: str = ""
    """Your own word for the weights behind the model's name: no server says when they are replaced. Episodes kept under
    one revision are not used under another."""

    def asked(self) -> dict[str, Any]:
        """The settings that can reach a reply, as JSON values: all but those of `PACE`."""
        return self.model_dump(mode="json", exclude=set(self.PACE))

    @model_validator(mode="after")
    def _a_limit_has_prices(self) -> Self:
        if self.max_cost is not None and self.prompt_price == self.completion_price == 0.0:
            raise ValueError("max_cost needs prompt_price or completion_price: without them nothing costs anything")
        return self
