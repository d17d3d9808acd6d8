"""What makes each strategy, as settings of the agent: presets of the same parts, never other code.

Naming a strategy anywhere (a profile, `--set agent.strategy=…`, `--strategy`) applies its settings; those given beside
the name win over it. Sources in `visor_core.agent.strategies`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VANILLA_PAGES = 5
"""Pages a one-shot prompt shows; override `pages_per_search` for another k."""

_HISTORY: dict[str, Any] = {
    "window": None,
    "intent_injection": False,
    "correction": False,
    "verification_search": False,
    "context_tokens": None,
}

CHANGES: dict[str, dict[str, Any]] = {
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

STRATEGIES = tuple(CHANGES)


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's settings as given, with those of the strategy they name for what they leave out."""
    name = given.get("strategy", "visor")
    changes = CHANGES.get(name, {}) if isinstance(name, str) else {}
    settings = {**changes, **given}
    if changes and "evidence" not in given:
        settings["evidence"] = {"enabled": False}
    elif changes and isinstance(given["evidence"], dict):
        settings["evidence"] = {"enabled": False, **given["evidence"]}
    return settings
