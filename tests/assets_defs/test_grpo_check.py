"""How many groups of rollouts have to have earned different rewards, as the threshold says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest

from assets_defs.grpo_checkpoint import rewards_differ_within_groups
from assets_defs.machinery.judging import Finished
from visor_core.config import ChecksConfig


@pytest.mark.parametrize(
    ("useful", "share", "passes"),
    [(0, 0.0, True), (0, 0.001, False), (1, 0.001, True), (1, 0.05, True), (1, 0.2, False), (4, 0.2, True)],
)
def test_a_threshold_of_zero_asks_for_none_and_every_other_for_one_at_least(
    tmp_path: Path, useful: int, share: float, passes: bool
) -> None:
    tables = tmp_path / "rollouts" / "tables" / "000001"
    tables.mkdir(parents=True)
    groups = [group for group in range(20) for _ in range(2)]
    rewards = [float(group < useful and n % 2) for n, group in enumerate(groups)]
    pl.DataFrame({"group_id": groups, "reward": rewards}).write_parquet(tables / "episodes.parquet")
    profile = SimpleNamespace(checks=ChecksConfig(useful_groups=share))
    build = cast("Finished", SimpleNamespace(build_folder=tmp_path, profile=profile))
    result = rewards_differ_within_groups(build)
    assert (result.passed, result.metadata["useful_groups"].value) == (passes, useful)
