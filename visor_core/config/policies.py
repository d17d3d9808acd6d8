"""The policies that a run makes one from the other, and what they are called wherever one is named."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """One of them: the stage that makes it, the name its figures begin with, and what tables call it."""

    stage: str
    short: str
    label: str

    def figure(self, name: str, *, sampled: bool = False) -> str:
        """The name of one of its figures in the benchmark: greedy as configured, or at the sampling temperature."""
        return f"{self.run(sampled=sampled)}_{name}"

    def run(self, *, sampled: bool = False) -> str:
        """The name of one of its evaluations."""
        return f"{self.short}_sampled" if sampled else self.short


UNTRAINED = RunPolicy("base_model", "base", "base")
WARM_STARTED = RunPolicy("sft_checkpoint", "sft", "SFT")
REINFORCED = RunPolicy("grpo_checkpoint", "grpo", "GRPO")
TRAINED = (WARM_STARTED, REINFORCED)
"""Those that have learned to play episodes, in the order they come to be."""
POLICIES = (UNTRAINED, *TRAINED)
CHAMPION = "champion_model"
"""The stage that chooses among them."""
