"""What MLflow is given: scalars that say something, parameters that fit, and no word to anybody else."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "TOKENIZERS_PARALLELISM": "false",
    "ALEMBIC_QUIET": "1",
}
"""Switches of every package that would otherwise report usage; set at the edge of each process."""
TIME = "time"
"""In a row of a step: when it was written, seconds since the epoch."""
LONGEST_VALUE = 500
"""Characters of a parameter; a longer one ends with a digest, so that two that differ late do not look the same."""


def silence() -> None:
    """Turn off usage reporting of MLflow, vLLM, Ray, Dagster and the hub in this process and its children."""
    os.environ.update(QUIET)


def meaningful(values: Mapping[str, Any]) -> dict[str, Any]:
    """A step's scalars without those whose value says nothing.

    The `loss` of reinforcement learning is a surrogate that has the right gradient and no meaning of its own: with
    normalised advantages it is about 0 however well the policy does, and with an imitation term it falls below 0.
    """
    reinforced = "reward" in values or "skipped_groups" in values
    return {name: value for name, value in values.items() if not (reinforced and name == "loss")}


def under_phase(values: Mapping[str, Any]) -> dict[str, Any]:
    """The scalars of a step, with its phase before their names."""
    phase = str(values.get("phase", ""))
    prefix = f"{phase}/" if phase else ""
    return {f"{prefix}{k}": v for k, v in meaningful(values).items() if k not in ("step", "total", "phase", TIME)}


def short(text: str) -> str:
    """A parameter's value, cut where it is too long."""
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[: LONGEST_VALUE - 24]}… {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def cell(value: Any) -> Any:
    """A value as JSON knows it: NaN and infinities are not known."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_scalar(value: Any) -> bool:
    """Whether MLflow can draw a value: a finite number."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections by dotted key; a secret by its reference.

    >>> flat({"sft": {"steps": 3}, "seed": 0})
    {'sft.steps': 3, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        if isinstance(plain, dict):
            found |= flat(plain, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = plain
    return found
