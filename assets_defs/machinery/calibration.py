"""Steps of equal time for the strategies of the study's comparison, by timing a few training steps of each.

Run it with nothing else on the machine. What was timed with these settings before is not timed again: delete
`study/calibration.json` to start over. The warm starts made on the way are those of the comparison's seed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

from assets_defs.machinery.graph import plan
from assets_defs.machinery.nested import Surroundings, make, work_on
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.studies import study_folder
from visor_core.config import Profile
from visor_core.config.policies import REINFORCED, WARM_STARTED
from visor_core.files import write_json
from visor_core.nano.rivals import (
    CALIBRATION,
    calibrated_settings,
    kept_calibration,
    neutral_profile,
    reference,
    rivals_of,
)
from visor_core.nano.study_variants import variant_profile
from visor_core.tracking.values import TIME

SFT_TRIAL, GRPO_TRIAL = 14, 4
"""Steps timed; the first two SFT steps and the first GRPO step warm up."""

Budget = dict[str, float]


def calibrate(around: Surroundings, profile: Profile, seed: int, progress: Callable[[str], None]) -> dict[str, Budget]:
    """Time every strategy of the comparison that has not been yet and keep the steps of equal time.

    Returns:
        By strategy `sft_steps`, `grpo_steps`, and the seconds a step of both took.

    Raises:
        ConfigError: if a strategy is unknown or SFT is budgeted in epochs.
    """
    folder, settings = study_folder(around.home), calibrated_settings(neutral_profile(profile))
    kept = kept_calibration(folder)
    budgets: dict[str, Budget] = kept["budgets"] if kept.get("settings") == settings else {}
    for name in rivals_of(profile):
        if name not in budgets:
            progress(f"timing {name}")
            budgets[name] = _budget(around, profile, seed, name, budgets.get("visor"))
            write_json(folder / CALIBRATION, {"settings": settings, "budgets": budgets})
    return {name: budgets[name] for name in rivals_of(profile)}


def _budget(around: Surroundings, profile: Profile, seed: int, name: str, pace: Mapping[str, float] | None) -> Budget:
    """The steps of one strategy that take as long as visor's, whose seconds a step are `pace`.

    Visor itself is timed first, without a pace, with its own steps.
    """
    sft_steps, grpo_steps = reference(neutral_profile(profile))
    trial = variant_profile(profile, name, seed, {name: (SFT_TRIAL, grpo_steps)})
    warm = _seconds_a_step(around, _unsaved(trial, "sft"), WARM_STARTED.stage, skipped=2)
    if pace is not None:
        sft_steps = max(1, round(sft_steps * pace["sft_seconds_a_step"] / warm))
    trial = variant_profile(profile, name, seed, {name: (sft_steps, GRPO_TRIAL)})
    reinforced = _seconds_a_step(around, _unsaved(trial, "grpo"), REINFORCED.stage, skipped=1)
    if pace is not None:
        grpo_steps = max(1, round(grpo_steps * pace["grpo_seconds_a_step"] / reinforced))
    return {
        "sft_steps": sft_steps,
        "grpo_steps": grpo_steps,
        "sft_seconds_a_step": round(warm, 6),
        "grpo_seconds_a_step": round(reinforced, 6),
    }


def _unsaved(profile: Profile, section: str) -> Profile:
    """A trial saves no checkpoint on the way."""
    settings = getattr(profile, section)
    return profile.model_copy(update={section: settings.model_copy(update={"save_steps": 10 * settings.steps})})


def _seconds_a_step(around: Surroundings, profile: Profile, stage: str, *, skipped: int) -> float:
    """Mean seconds of a step of a training after the first `skipped`; nothing of the trial itself is kept."""
    *needed, node = plan(profile, [stage])
    for need in needed:
        make(around, profile, need.stage)
    folder = work_on(around, profile, node)
    ends = [row[TIME] for row in read_metrics(folder) if "step" in row][skipped - 1 :]
    shutil.rmtree(folder)
    return float(ends[-1] - ends[0]) / (len(ends) - 1)
