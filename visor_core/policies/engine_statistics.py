"""What an engine has done: requests, tokens in and out, and how many of them its prefix cache served."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Totals since the engine started; `hit_rate` is the share of prompt tokens served from the prefix cache."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    sampled_tokens: int = 0

    @property
    def hit_rate(self) -> float:
        """Cached over prompt tokens; 0 before the first request."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    def since(self, earlier: EngineStatistics) -> EngineStatistics:
        """What was added after `earlier`."""
        return EngineStatistics(
            self.requests - earlier.requests,
            self.prompt_tokens - earlier.prompt_tokens,
            self.cached_tokens - earlier.cached_tokens,
            self.sampled_tokens - earlier.sampled_tokens,
        )

    def plus(self, prompt_tokens: int, cached_tokens: int, sampled_tokens: int) -> EngineStatistics:
        """With one more request."""
        return EngineStatistics(
            self.requests + 1,
            self.prompt_tokens + prompt_tokens,
            self.cached_tokens + cached_tokens,
            self.sampled_tokens + sampled_tokens,
        )
