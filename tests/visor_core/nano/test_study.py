"""The study's table from figures made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from visor_core.config import Profile
from visor_core.errors import ConfigError
from visor_core.nano.study import SeedFigures, StageFigures, markdown, run_seed, sampled_entropy


def _stage(best: float, sampled: float, outcomes: tuple[bool, ...]) -> StageFigures:
    return StageFigures(0.3, best, best, sampled, sampled, 0.0, 1.0, 0.2, outcomes)


def test_the_table_pools_the_seeds_and_pairs_the_questions() -> None:
    before, after = (True, False, False, False), (True, True, True, False)
    results = [
        SeedFigures(
            seed,
            4,
            {"base": _stage(0.0, 0.0, ()), "sft": _stage(0.25, 0.25, before), "grpo": _stage(0.75, 0.5, after)},
        )
        for seed in (0, 1)
    ]
    table = markdown(results, "development")
    assert "2 seeds, 8 development questions" in table
    greedy = next(line for line in table.splitlines() if line.startswith("| greedy"))
    assert "0.250 [" in greedy
    assert "0.750 [" in greedy
    assert "Gate: gain +0.500" in table


def test_one_seed_claims_no_test() -> None:
    stages = {name: _stage(0.5, 0.5, (True, False)) for name in ("base", "sft", "grpo")}
    assert "one seed" in markdown([SeedFigures(0, 2, stages)], "test")


def test_no_episode_has_no_entropy() -> None:
    assert sampled_entropy([]) == 0.0
    assert not math.isnan(sampled_entropy([]))


def test_a_profile_without_nano_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section `nano`"):
        run_seed(Profile(name="other"), tmp_path, tmp_path, 0, final=False)
