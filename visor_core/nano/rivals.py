"""The strategies that `visor` is compared with, each a configuration of the same parts, trained for equal time.

`full` is visor with the whole history in every context, `vrag` and `react` the presets of those names. The `-equal`
ones show no more pictures at once than visor's window, so that image tokens are equal; `react-page` sees one page at a
time in full resolution. All start from one base model, which has practised the turns of none (`study.neutral`), and
learn from the scripted teacher under their own rules. Training is budgeted in steps: `calibrate` times a few of each
strategy and scales visor's steps to equal time.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visor_core.agent.strategies import preset
from visor_core.config import AgentConfig, Profile, TilesConfig, derived
from visor_core.errors import ConfigError
from visor_core.files import write_json
from visor_core.nano.model import IMAGE_SIDE, IMAGE_TOKENS
from visor_core.nano.study_figures import Outcomes, Strata
from visor_core.nano.study_stages import Seed, tag_of
from visor_core.nano.tiles import PAGE_SIDE, is_tiled
from visor_core.questions import grpo_questions

CALIBRATION = "calibration.json"
LONGEST = 4096
"""Tokens a row may have: a whole history is longer than visor's contexts."""
SFT_TRIAL, GRPO_TRIAL = 14, 4
"""Steps timed; the first two SFT steps and the first GRPO step warm up."""


def _full(agent: AgentConfig) -> AgentConfig:
    return agent.model_copy(update={"window": None, "context_tokens": None})


def _equal(agent: AgentConfig, base: AgentConfig) -> AgentConfig:
    return agent.model_copy(update={"max_images": base.window or 1})


def _page(agent: AgentConfig) -> AgentConfig:
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


@dataclass(frozen=True, slots=True)
class RivalFigures:
    """One seed: each strategy's outcomes, greedy and at T = 1, and the seconds its SFT and GRPO took.

    `interrupted` names the strategies in whose training a process was killed; `commits` are those trained at.
    """

    seed: int
    strata: Strata
    greedy: dict[str, Outcomes] = field(default_factory=dict)
    sampled: dict[str, Outcomes] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    interrupted: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


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
    """Recorded steps of every strategy: the profile's, or else those that `calibrate` left in the study's folder.

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
        kept = _kept(folder)
        if kept and kept["settings"] != _settings(profile):
            path = folder / CALIBRATION
            raise ConfigError(f"{path} was measured with other settings: run `visor nano study --calibrate` again")
        known = {name: (b["sft_steps"], b["grpo_steps"]) for name, b in kept.get("budgets", {}).items()}
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(
            f"no training steps are recorded for {', '.join(missing)}: run `visor nano study --calibrate` first"
        )
    return {name: known[name] for name in names}


def _settings(profile: Profile) -> str:
    return tag_of(profile.nano, profile.agent, profile.teacher, profile.sft, profile.grpo, list(reference(profile)))


def _kept(folder: Path) -> dict[str, Any]:
    """What a calibration left; empty if there was none."""
    path = folder / CALIBRATION
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def calibrate(profile: Profile, folder: Path, seed: Seed) -> dict[str, dict[str, float]]:
    """Time a few steps of every strategy and write the steps of equal time to `calibration.json`.

    What was timed with these settings before is not timed again: delete the file to start over. The SFT checkpoints
    made on the way are those of the comparison's seed. Run it with nothing else on the machine.

    Returns:
        By strategy `sft_steps`, `grpo_steps`, and the seconds a step of both took.
    """
    kept, settings = _kept(folder), _settings(profile)
    budgets: dict[str, dict[str, float]] = kept["budgets"] if kept.get("settings") == settings else {}
    for name in rivals_of(profile):
        if name not in budgets:
            seed.progress(f"timing {name}")
            budgets[name] = _budget(profile, name, folder / "calibration" / name, seed, budgets.get("visor"))
            write_json(folder / CALIBRATION, {"settings": settings, "commit": seed.commit, "budgets": budgets})
    return {name: budgets[name] for name in rivals_of(profile)}


def _budget(
    profile: Profile, name: str, folder: Path, seed: Seed, visor: Mapping[str, float] | None
) -> dict[str, float]:
    """The steps of one strategy that take as long as visor's, from its timing; visor is timed first, with its own."""
    sft_steps, grpo_steps = reference(profile)
    warm = _time_sft(seed, rival_profile(profile, name), folder)
    if visor is not None:
        sft_steps = max(1, round(sft_steps * visor["sft_seconds_a_step"] / warm))
    reinforced = _time_grpo(seed, rival_profile(profile, name, (sft_steps, grpo_steps)), folder)
    if visor is not None:
        grpo_steps = max(1, round(grpo_steps * visor["grpo_seconds_a_step"] / reinforced))
    return {
        "sft_steps": sft_steps,
        "grpo_steps": grpo_steps,
        "sft_seconds_a_step": round(warm, 6),
        "grpo_seconds_a_step": round(reinforced, 6),
    }


def as_settings(budgets: Mapping[str, Mapping[str, float]]) -> str:
    """Budgets as the lines of a profile."""
    lines = [
        f"    {name}: {{sft_steps: {round(b['sft_steps'])}, grpo_steps: {round(b['grpo_steps'])}}}"
        for name, b in budgets.items()
    ]
    return "\n".join(["study:", "  budgets:", *lines])


class _Clock:
    """Notes when steps ended."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def __call__(self, figures: Mapping[str, Any]) -> None:
        self._ends.append(time.perf_counter())

    def a_step(self, skipped: int) -> float:
        """Mean seconds of a step after the first `skipped`."""
        ends = self._ends[skipped - 1 :]
        return (ends[-1] - ends[0]) / (len(ends) - 1)


def _time_sft(seed: Seed, profile: Profile, folder: Path) -> float:
    """Seconds an SFT step; nothing of the trial is kept."""
    from visor_core.training.sft import train_sft

    base, world = seed.base(tiled=is_tiled(profile.agent)), seed.world("train")
    config = profile.sft.model_copy(update={"steps": SFT_TRIAL, "save_steps": 10 * SFT_TRIAL})
    clock = _Clock()
    shutil.rmtree(folder, ignore_errors=True)
    train_sft(base, seed.lessons(profile), seed.index(world), config, folder / "sft", seed.seed, on_step=clock)
    shutil.rmtree(folder)
    return clock.a_step(2)


def _time_grpo(seed: Seed, profile: Profile, folder: Path) -> float:
    """Seconds a GRPO step from the trained warm start; nothing of the trial is kept."""
    from visor_core.training.grpo import train_grpo

    start, world = seed.sft(profile), seed.world("train")
    config = profile.grpo.model_copy(update={"steps": GRPO_TRIAL, "save_steps": 10 * GRPO_TRIAL})
    clock = _Clock()
    environment, asked = seed.environment(world, profile), grpo_questions(seed.questions(world), profile)
    shutil.rmtree(folder, ignore_errors=True)
    train_grpo(start, asked, environment, seed.index(world), config, folder / "grpo", seed.seed, on_step=clock)
    shutil.rmtree(folder)
    return clock.a_step(1)
