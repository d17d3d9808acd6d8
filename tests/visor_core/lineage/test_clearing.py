"""Clearing up keeps what is in force, what was measured and what these were made from, and never what is in use."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from tests.visor_core.lineage.written import folder_of, write_build, write_chain
from visor_core.config import Home
from visor_core.config.derived_corpora import RUNNING
from visor_core.errors import DataError
from visor_core.files import in_use
from visor_core.lineage import Build
from visor_core.lineage.clearing import clear, find_clearable
from visor_core.policies.identity import digest_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _freed(home: Home, *tagged: str, unfinished: bool = False) -> set[str]:
    found = find_clearable(home, tagged, unfinished=unfinished)
    return {item.path.relative_to(home.root).as_posix() for item in found.clearable}


def _old(home: Home, node: str = "sft_checkpoint", fingerprint: str = "aa", **more: object) -> Build:
    return write_build(home, node, fingerprint, "old", in_force=False, **more)


def test_what_is_in_force_stays_with_all_it_was_made_from(home: Home) -> None:
    chain = write_chain(home)
    write_build(home, "documents[mine]", "d2", "docs-2")  # in force instead: the first is still upstream
    _old(home)
    assert _freed(home) == {f"assets/sft_checkpoint/{'aa'.ljust(16, '0')}"}
    assert find_clearable(home).kept[chain["documents"].build_folder].startswith("upstream of")


def test_the_champion_stays_though_another_checkpoint_is_in_force(home: Home) -> None:
    reigning = _old(home)
    write_chain(home)
    write_build(home, "champion_model", "c1", "old", path=reigning.stored["path"])
    assert _freed(home) == set()
    assert find_clearable(home).kept[reigning.build_folder] == "the champion"


def test_what_the_registry_names_and_what_was_evaluated_stays(home: Home) -> None:
    named = _old(home, fingerprint="aa", mlflow={"run": "r" * 32, "model": "m-1"})
    measured = _old(home, fingerprint="ab")
    evaluation = {**measured.stored, "asset": "evaluation", "path": "evaluations/x.json"}
    evaluation |= {"upstream": {measured.node: "old"}, "fingerprints": {measured.node: measured.fingerprint}}
    (home.evaluations / "lineage").mkdir(parents=True)
    (home.evaluations / "lineage" / "1.json").write_text(json.dumps(evaluation), encoding="utf-8")
    assert _freed(home) == {named.build_folder.relative_to(home.root).as_posix()}
    assert _freed(home, "m-1") == set()


def test_what_a_study_measured_stays_with_all_it_was_made_from(home: Home) -> None:
    """Its builds are never the ones in force."""
    other, trained = _old(home, fingerprint="ab"), _old(home, fingerprint="aa")
    figures = write_build(home, "study_figures", "f1", "figures", (trained,), in_force=False)
    assert _freed(home) == {other.build_folder.relative_to(home.root).as_posix()}
    assert find_clearable(home).kept[figures.build_folder] == "figures of a study"


def test_what_a_process_has_locked_or_reads_is_never_touched(home: Home) -> None:
    read, running = _old(home, "base_model", "ab"), _old(home, fingerprint="aa")
    running.file.unlink()  # begun, not finished
    order = {"inputs": {"base_model": str(folder_of(home, read))}}
    (running.build_folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
    found = {item.path: item for item in find_clearable(home, unfinished=True).clearable}
    assert set(found) == {read.build_folder, running.build_folder}
    with (running.build_folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _freed(home, unfinished=True) == set()
        assert not clear(found[running.build_folder])
        assert running.build_folder.is_dir()
    assert clear(found[running.build_folder])
    assert not running.build_folder.exists()


def test_a_build_that_was_begun_can_be_continued_unless_asked_otherwise(home: Home) -> None:
    begun = _old(home)
    begun.file.unlink()
    assert _freed(home) == set()
    assert len(_freed(home, unfinished=True)) == 1


def test_episodes_without_a_result_and_what_was_set_aside_may_go(home: Home) -> None:
    identity = {"policy": {"weights": "1"}, "seed": 0}
    played = home.evaluations / "trajectories"
    for name in (digest_of(identity), "0" * 16, f"{digest_of(identity)}.until-20261130T101010"):
        (played / name).mkdir(parents=True)
        (played / name / "identity.json").write_text("{}", encoding="utf-8")
    (home.evaluations / "kept.json").write_text(json.dumps({"identity": identity}), encoding="utf-8")
    assert _freed(home) == {
        f"evaluations/trajectories/{'0' * 16}",
        f"evaluations/trajectories/{digest_of(identity)}.until-20261130T101010",
    }
    assert find_clearable(home).size == 4


def test_what_a_stress_made_goes_with_its_report_and_not_while_one_runs(home: Home) -> None:
    for name in ("mine", "mine.blur-0a635040ceff", "mine.noise-1b635040ceff", "mine.turn-2c635040ceff.partial"):
        (home.root / "corpora" / name).mkdir(parents=True)
    for folder in (home.stress / "noise" / "mine", home.evaluations / "trajectories" / ("a" * 16)):
        folder.mkdir(parents=True)
    home.reports.mkdir()
    report = home.reports / "stress-blur.json"
    report.write_text(json.dumps({"corpora": ["mine", "mine.blur-0a635040ceff"], "stores": ["a" * 16]}))
    partial = {"corpora/mine.noise-1b635040ceff", "corpora/mine.turn-2c635040ceff.partial", "stress/noise/mine"}
    assert _freed(home) == partial
    with in_use(home.stress / RUNNING), in_use(home.stress / RUNNING):
        assert _freed(home) == set()
    report.unlink()
    assert _freed(home) == partial | {"corpora/mine.blur-0a635040ceff", f"evaluations/trajectories/{'a' * 16}"}
    (home.reports / "torn.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="delete it, or measure again"):
        find_clearable(home)


def test_a_build_of_an_earlier_version_stays(home: Home) -> None:
    old = _old(home)
    old.file.write_text(json.dumps({"asset": "sft_checkpoint"}), encoding="utf-8")
    assert _freed(home) == set()


def test_the_log_of_a_run_that_made_nothing_goes_after_a_while(home: Home) -> None:
    write_chain(home)
    logs = home.root / "logs" / "runs"
    logs.mkdir(parents=True)
    for name in ("run-of-the-training", "failed", "running", "recent"):
        (logs / f"{name}.log").write_text("said", encoding="utf-8")
        if name != "recent":
            os.utime(logs / f"{name}.log", (time.time() - 30 * 24 * 3600,) * 2)
    with (logs / "running.log").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _freed(home) == {"logs/runs/failed.log"}
    found = find_clearable(home).clearable
    assert [clear(item) for item in found] == [True, True]
    assert sorted(path.stem for path in logs.iterdir()) == ["recent", "run-of-the-training"]
