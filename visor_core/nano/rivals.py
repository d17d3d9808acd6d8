"""The strategies that `visor` is compared with, each a configuration of the same parts, trained for equal time.

`full` is visor with the whole history in every context, `vrag` and `react` the presets of those names. The `-equal`
ones show no more pictures at once than visor's window, so that image tokens are equal; `react-page` sees one page at a
time in full resolution. All start from one base model, which has practised the turns of none (`study.neutral`), and
learn from the scripted teacher under their own rules. Training is budgeted in steps: a calibration times a few of each
strategy and scales visor's steps to equal time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visor_core.agent.strategies import preset
from visor_core.config import AgentConfig, Profile, TilesConfig, derived
from visor_core.errors import ConfigError
from visor_core.policies.identity import digest_of

CALIBRATION = "calibration.json"
LONGEST = 4096
"""Tokens a row may have: a whole history is longer than visor's contexts."""


def _full(agent: AgentConfig) -> AgentConfig:
    return agent.model_copy(update={"window": None, "context_tokens": None})


def _equal(agent: AgentConfig, base: AgentConfig) -> AgentConfig:
    return agent.model_copy(update={"max_images": base.window or 1})


def _page(agent: AgentConfig) -> AgentConfig:
    # The sizes are the model's; its module needs torch, which whoever only lists strategies does without.
    from visor_core.nano.model import IMAGE_SIDE, IMAGE_TOKENS
    from visor_core.nano.tiles import PAGE_SIDE

    side = PAGE_SIDE * PAGE_SIDE
    tiles = TilesConfig(longest_edge=PAGE_SIDE, side=IMAGE_SIDE, tokens=IMAGE_TOKENS)
    image = agent.image.model_copy(update={"min_pixels": side, "max_pixels": side, "tiles": tiles})
    return agent.model_copy(update={"image": image, "max_images": 1})


RIVALS: Mapping[str, Callable[[AgentConfig], AgentConfig]] = {
    "visor": lambda base: base,
    "full": _full,
    "vrag": lambda base: preset("vrag", base),
    "react": lambda base: preset("react", base),
    "full-equal": lambda base: _equal(_full(base), base),
    "vrag-equal": lambda base: _equal(preset("vrag", base), base),
    "react-equal": lambda base: _equal(preset("react", base), base),
    "react-page": lambda base: _page(preset("react", base)),
}
"""Every strategy of the comparison, from visor's agent."""

Budgets = dict[str, tuple[int, int]]
"""SFT and GRPO steps by strategy."""


def rivals_of(profile: Profile) -> tuple[str, ...]:
    """The strategies a profile compares, visor first.

    Raises:
        ConfigError: if one is unknown or visor is not the first.
    """
    names = profile.study.rivals
    unknown = [name for name in names if name not in RIVALS]
    if unknown:
        raise ConfigError(f"study.rivals: no strategy {unknown[0]!r}; choose among {', '.join(RIVALS)}")
    if names[:1] != ("visor",):
        raise ConfigError("study.rivals must begin with visor: the others are compared with it")
    return names


def neutral_profile(profile: Profile) -> Profile:
    """The profile whose base model all strategies start from.

    Raises:
        ConfigError: if a setting of `study.neutral` is wrong.
    """
    return derived(profile, profile.study.neutral, "study.neutral")


def rival_profile(profile: Profile, name: str, budget: tuple[int, int] | None = None) -> Profile:
    """The profile of one strategy with its training steps; without a budget, visor's own."""
    agent = RIVALS[name](profile.agent)
    sft_steps, grpo_steps = budget or reference(profile)
    sft = {"steps": sft_steps, "max_length": max(profile.sft.max_length, LONGEST)}
    grpo = {"steps": grpo_steps, "max_prompt_tokens": max(profile.grpo.max_prompt_tokens, LONGEST)}
    return profile.model_copy(
        update={
            "agent": agent,
            "sft": profile.sft.model_copy(update=sft),
            "grpo": profile.grpo.model_copy(update=grpo),
        }
    )


def reference(profile: Profile) -> tuple[int, int]:
    """Visor's SFT and GRPO steps in the comparison.

    Raises:
        ConfigError: if the profile budgets SFT in epochs.
    """
    sft = profile.study.sft_steps or profile.sft.steps
    if sft is None:
        raise ConfigError("the comparison is budgeted in steps: set sft.steps or study.sft_steps")
    return sft, profile.study.grpo_steps or profile.grpo.steps


def budgets_of(profile: Profile, folder: Path) -> Budgets:
    """Recorded steps of every strategy: the profile's, or else those that a calibration left in the study's folder.

    Raises:
        ConfigError: if one has none, or they were measured for other training settings.
    """
    names = rivals_of(profile)
    known = {name: (b.sft_steps, b.grpo_steps) for name, b in profile.study.budgets.items()}
    if known.get("visor", reference(profile)) != reference(profile):
        raise ConfigError(
            "study.budgets are of other steps of visor than study.sft_steps and study.grpo_steps: run "
            "`visor nano study --calibrate`, and compare with --set 'study.budgets={}'"
        )
    if not known:
        kept = kept_calibration(folder)
        if kept and kept["settings"] != calibrated_settings(profile):
            path = folder / CALIBRATION
            raise ConfigError(f"{path} was measured with other settings: run `visor nano study --calibrate` again")
        known = {name: (b["sft_steps"], b["grpo_steps"]) for name, b in kept.get("budgets", {}).items()}
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(
            f"no training steps are recorded for {', '.join(missing)}: run `visor nano study --calibrate` first"
        )
    return {name: known[name] for name in names}


def calibrated_settings(profile: Profile) -> str:
    """A digest of the settings that a calibration holds for."""
    sections = {"nano", "agent", "teacher", "sft", "grpo"}
    return digest_of({**profile.model_dump(mode="json", include=sections), "steps": list(reference(profile))})


def kept_calibration(folder: Path) -> dict[str, Any]:
    """What a calibration left; empty if there was none."""
    path = folder / CALIBRATION
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def as_settings(budgets: Mapping[str, Mapping[str, float]]) -> str:
    """Budgets as the lines of a profile."""
    lines = [
        f"    {name}: {{sft_steps: {round(b['sft_steps'])}, grpo_steps: {round(b['grpo_steps'])}}}"
        for name, b in budgets.items()
    ]
    return "\n".join(["study:", "  budgets:", *lines])
