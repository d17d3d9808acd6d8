"""Strategies as presets of the same parts, so that rivals and ablations are configurations, never other code.

`visor` is the base as configured. `unidoc` (UniDoc-RL, arXiv 2604.14967): candidates and selection, full history.
`vrag` (VRAG-RL, arXiv 2505.22019): full history with crops. `react`: full history, search and answer only. `vanilla`:
top-k pages, one completion. Rivals keep the base's engine-side options: wording, coordinates, image sizes, turn limit.
"""

from __future__ import annotations

from typing import Any

from visor_core.config import AgentConfig
from visor_core.errors import ConfigError

VANILLA_PAGES = 5
"""Pages a one-shot prompt shows; override `pages_per_search` for another k."""

_HISTORY: dict[str, Any] = {
    "window": None,
    "intent_injection": False,
    "correction": False,
    "verification_search": False,
    "context_tokens": None,
}

_CHANGES: dict[str, dict[str, Any]] = {
    "visor": {},
    "unidoc": {**_HISTORY, "select_enabled": True, "crop_enabled": True},
    "vrag": {**_HISTORY, "crop_enabled": True},
    "react": {**_HISTORY, "crop_enabled": False},
    "vanilla": {
        **_HISTORY,
        "crop_enabled": False,
        "search_enabled": False,
        "first_search": "question",
        "pages_per_search": VANILLA_PAGES,
        # The environment's own search and one completion, none after it that would force an answer.
        "max_turns": 2,
        "force_answer": False,
    },
}

STRATEGIES = tuple(_CHANGES)


def preset(name: str, base: AgentConfig) -> AgentConfig:
    """The base configuration turned into a strategy.

    A base that is already a rival first gets the defaults of what made it one: what it had before is not known.

    Raises:
        ConfigError: if the strategy is unknown.
    """
    if name not in _CHANGES:
        raise ConfigError(f"no strategy {name!r}: choose one of {', '.join(STRATEGIES)}")
    defaults = AgentConfig()
    changes: dict[str, Any] = {key: getattr(defaults, key) for key in _CHANGES[base.strategy]} | _CHANGES[name]
    if (name, base.strategy) != ("visor", "visor"):
        changes["evidence"] = base.evidence.model_copy(update={"enabled": name == "visor"})
    if name == "vanilla" and base.pages_per_search > 1:
        changes["pages_per_search"] = base.pages_per_search
    return base.model_copy(update={"strategy": name, **changes})
