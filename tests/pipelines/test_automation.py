"""Declarative automation, evaluated as its sensor does: what is asked for when something changes, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets_defs.machinery.graph import stages
from pipelines.definitions import definitions
from pipelines.instance import open_instance
from pipelines.resources import PROFILES, resources_for
from tests.pipelines.opened_page import opened
from visor_core.config import Home, load_profile

CORPUS = ("documents", "pages", "page_index", "questions")
TRAINED = [
    "teacher_trajectories",
    "sft_dataset",
    "sft_checkpoint",
    "grpo_checkpoint",
    "grpo_rollouts",
    "benchmark_results",
    "champion_model",
]


class Automation:
    """A user's profile whose materializations are reported, not run."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance
        self.cursor: Any = None
        self.defs = self._defs()
        instance.add_dynamic_partitions("corpus", ["mine", "others"])

    def _defs(self, **changes: object) -> dg.Definitions:
        """The assets of the profile under other settings, without their checks: outcomes cannot be reported twice."""
        given = {"corpora.train": "mine", "corpora.development": "others", "index.embedders": ["hash"], **changes}
        profile = load_profile(PROFILES / "smolvlm.yaml", given)
        return dg.Definitions(
            assets=definitions(self.home, profile).assets, resources=resources_for(self.home, profile)
        )

    def asked(self, **changes: object) -> set[str]:
        """The assets that one look asks for."""
        found = dg.evaluate_automation_conditions(
            defs=self._defs(**changes) if changes else self.defs,
            instance=self.instance,
            asset_selection=dg.AssetSelection.all(),
            cursor=self.cursor,
        )
        self.cursor = found.cursor
        return {name for name in ("base_model", *CORPUS, *TRAINED) if found.get_num_requested(dg.AssetKey(name))}

    def made(self, asset: str, version: str, corpus: str = "") -> None:
        """An asset came out with a data version."""
        node = self.defs.resolve_asset_graph().get(dg.AssetKey(asset))
        tags = {"dagster/data_version": version, "dagster/code_version": str(node.code_version)}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=corpus or None, tags=tags))

    def everything(self, version: str) -> None:
        """All assets of the profile."""
        self.made("base_model", version)
        for corpus in ("mine", "others"):
            for asset in CORPUS:
                self.made(asset, version, corpus)
        for asset in TRAINED:
            self.made(asset, version)


@pytest.fixture
def automation(tmp_path: Path) -> Iterator[Automation]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Automation(Home(tmp_path), instance)


def test_it_retrains_when_something_changed_and_not_otherwise(automation: Automation) -> None:
    assert set(CORPUS) < set(stages())
    # What needs no corpus is made at once; nothing is asked of corpora that hold nothing, or trained on them.
    automation.asked()
    assert automation.asked() <= {"base_model"}
    automation.everything("1")
    automation.asked()
    # The same content made again changes nothing.
    automation.made("page_index", "1", "mine")
    assert automation.asked() == set()
    # Another content of the training corpus: what stands on it, in one go.
    for asset in CORPUS:
        automation.made(asset, "2", "mine")
    assert automation.asked() == set(TRAINED)
    for asset in TRAINED:
        automation.made(asset, "2")
    automation.asked()
    # A user's other corpus concerns nobody.
    automation.instance.add_dynamic_partitions("corpus", ["aside"])
    for asset in CORPUS:
        automation.made(asset, "1", "aside")
    assert automation.asked() == set()
    # A setting.
    reinforced = set(TRAINED[3:])
    assert automation.asked(**{"grpo.steps": 3}) == reinforced


FRESHNESS = """{ assetNodeOrError(assetKey: {path: ["champion_model"]}) {
  ... on AssetNode { freshnessStatusInfo { freshnessStatus } } } }"""


@pytest.mark.slow_walk
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Dagster's SQLite storage leaves cursors to the collector
def test_the_daemon_says_whether_a_champion_is_looked_after(tmp_path: Path) -> None:
    """In time, late, and too late, as it grows older. A day is cut down to 86 seconds."""
    home = Home(tmp_path / "home")
    with opened(home, "--profile", "nano", "--set", "retraining.fresh_days=0.001") as page:
        with open_instance(home) as instance:
            instance.report_runless_asset_event(dg.AssetMaterialization("champion_model"))
        seen: list[str] = []
        deadline = time.monotonic() + 420
        while seen[-1:] != ["DEGRADED"] and time.monotonic() < deadline:
            told = page.ask(FRESHNESS)["assetNodeOrError"]["freshnessStatusInfo"]
            verdict = told["freshnessStatus"] if told else "none"
            seen += [] if seen[-1:] == [verdict] else [verdict]
            time.sleep(2)
    assert [verdict for verdict in seen if verdict not in ("none", "UNKNOWN")] == ["HEALTHY", "WARNING", "DEGRADED"]
