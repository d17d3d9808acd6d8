"""The study as partitions of the assets: what it builds, shares, resumes and reads, with a step or two a stage."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from assets_defs.machinery import nested, workspace
from assets_defs.machinery.builds import Builds, find_record
from assets_defs.machinery.graph import plan
from assets_defs.machinery.studies import FIGURES, profile_of
from assets_defs.study import partition_tags, partitions
from pipelines.choice import Choice
from pipelines.definitions import definitions
from pipelines.following import failure
from pipelines.instance import open_instance
from pipelines.studies import Study
from tests.pipelines.materializing import InProcess
from tests.visor_core.nano.test_study import TINY, tiny
from visor_core.config import Home, derived
from visor_core.errors import ConfigError
from visor_core.nano.held_out import readings

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and alembic 1.20
]


SETTINGS = {**TINY, "accelerate": "cpu.yaml"}


def _study(home: Home) -> Study:
    quiet = Console(file=io.StringIO(), width=120)
    return Study(Choice("nano", SETTINGS), home, [1], "development", "c0ffee0", quiet, InProcess)


def _runs(home: Home) -> list[dg.DagsterRun]:
    with open_instance(home) as instance:
        return list(instance.get_runs())


def _weights(home: Home) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.asset().rglob("final/*.safetensors")}


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step a stage learns nothing, which the blocking checks of the trained stages rightly refuse."""
    monkeypatch.setattr(workspace, "checks_of", lambda stage: ())
    monkeypatch.setattr(nested, "checks_of", lambda stage: ())


@pytest.mark.slow_walk
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("unjudged")
def test_a_study_is_built_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    study = _study(home)
    table = study.table("study")
    assert "1 seed, 8 development questions" in table
    assert (home.root / "study" / "study-development.md").read_text(encoding="utf-8") == table
    (run,) = _runs(home)
    assert run.tags["dagster/partition/variant"] == "study"
    assert readings(home.root / "study") == []
    assert not list(home.root.rglob("test-00"))
    assert study.table("study") == table
    assert len(_runs(home)) == 1


@pytest.mark.slow_walk
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("unjudged")
def test_a_study_continues_and_reads_test_only_when_final(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    study = _study(home)
    profile = study.choice.resolve()
    table = study.table("study")
    variant = profile_of(profile, home, "study", 1)
    builds = {str(node): Builds(home, variant).read(node) for node in plan(variant, [FIGURES.stage])}
    assert builds["sft_checkpoint"].seed == 1
    # Who asks without a profile is not given a study's policy.
    assert [str(node) for node in plan(variant, [FIGURES.stage]) if find_record(home, node)] == []
    weights = _weights(home)

    # A killed process leaves a stage unfinished: that one alone goes on, and what follows is found as it was.
    (builds["grpo_checkpoint"].build_folder(home) / "lineage.json").unlink()
    assert study.table("study").split("Minutes")[0] == table.split("Minutes")[0]
    assert builds["study_figures"] == Builds(home, variant).read(FIGURES)

    final = replace(study, split="test").table("study")
    assert "8 test questions" in final
    (logged,) = readings(home.root / "study")
    assert logged["seed"] == 1
    assert re.fullmatch(r"study, settings [0-9a-f]{8}", logged["purpose"])
    assert _weights(home) == weights


@pytest.mark.slow_walk
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("unjudged")
def test_ablations_share_what_they_do_not_change(tmp_path: Path) -> None:
    """Inference-only plays one checkpoint and trains nothing; retrained ones share the base model alone."""
    home = Home(tmp_path / "home")
    settings = {
        **SETTINGS,
        "study.inference": ["trained", "window-2", "window-1", "no-evidence", "unidoc", "vrag", "react", "vanilla"],
        "study.retrained": ["trained", "window-1", "no-evidence"],
    }
    study = replace(_study(home), choice=Choice("nano", settings))
    table = study.table("inference")
    rows = {row.split(" | ")[0].strip("| "): row for row in table.splitlines() if row.startswith("| ")}
    assert set(settings["study.inference"]) < set(rows)
    assert rows["window-2"].count("the same setting") == 2
    assert len(_weights(home)) == 4  # base, retriever, SFT and GRPO, once
    # What plays the same episodes is measured once: window-2 is what the profile trains with.
    assert len(list(home.asset("study_figures").glob("*/lineage.json"))) == len(settings["study.inference"]) - 1
    assert (home.root / "study" / "inference-development.html").is_file()

    retrained = study.table("retrained")
    assert len(_weights(home)) == 4 + 2 * 2  # a window or a ledger changes what the teacher shows and what is learnt
    assert len(list(home.asset("base_model").glob("*/lineage.json"))) == 1
    runs = len(_runs(home))
    assert study.table("retrained") == retrained
    assert study.table("inference") == table
    assert len(_runs(home)) == runs


@pytest.mark.slow_walk
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("unjudged")
def test_strategies_are_timed_and_compared_and_a_longer_study_is_made(tmp_path: Path) -> None:
    """What a calibration leaves is what the comparison trains with; the longer study has a table of its own."""
    home = Home(tmp_path / "home")
    settings = {**SETTINGS, "study.rivals": ["visor", "vrag"], "study.long": {"sft.steps": 2}, "study.rich": {}}
    study = replace(_study(home), choice=Choice("nano", settings))
    with pytest.raises(ConfigError, match="no training steps are recorded for visor, vrag: run `visor nano study"):
        study.table("rivals")
    assert [line.split(":")[0].strip() for line in study.calibrate().splitlines()][-2:] == ["visor", "vrag"]

    table = study.table("rivals")
    rows = [row.split(" | ")[0].strip("| ") for row in table.splitlines() if row.startswith("| ")]
    assert {"visor", "vrag"} < set(rows)
    assert len(list(home.asset("base_model").glob("*/lineage.json"))) == 1  # one that has practised no strategy's turns
    runs = len(_runs(home))
    assert study.table("rivals") == table
    assert len(_runs(home)) == runs

    longer = study.table("long")
    assert "2 SFT and 1 GRPO steps" in longer
    assert (home.root / "study" / "long-development.md").read_text(encoding="utf-8") == longer


def test_the_page_has_the_study_where_it_is_asked_for(tmp_path: Path) -> None:
    """Else whoever materializes all assets would train for hours, and read the test split."""
    home, shown = Home(tmp_path), derived(tiny(), {"study.on_page": True}, "test")
    studies = {"study_variant", "study_budgets", "study_table"}
    for profile, wanted in ((tiny(), set()), (shown, studies)):
        graph = definitions(home, profile).resolve_asset_graph()
        assert {key.to_user_string() for key in graph.get_all_asset_keys()} & studies == wanted
    assert {part.name for part in partitions(shown).partitions_defs} == {"seed", "variant"}
    assert partition_tags(3, "react-page-final") == {
        "dagster/partition": "3|react-page-final",
        "dagster/partition/seed": "3",
        "dagster/partition/variant": "react-page-final",
    }


def test_the_test_split_is_read_by_a_run_that_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    engine = InProcess(home, Choice())
    with open_instance(home) as instance:
        instance.add_dynamic_partitions("study_seed", ["1"])
    asked = Choice("nano", {**SETTINGS, "study.on_page": True})
    engine.submit(["study_variant"], "", asked, partition_tags(1, "study-final"))
    events, ended = engine.news()
    assert ended == "FAILURE"
    said = failure([event for event in events if event.errors], None)
    assert isinstance(said, ConfigError)
    assert "run `visor nano study --final`" in str(said)
    assert readings(home.root / "study") == []
