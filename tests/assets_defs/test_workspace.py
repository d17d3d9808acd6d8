"""The life of one materialization: folder, lock, lineage, reuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from assets_defs.machinery.builds import find_record
from assets_defs.machinery.progress import StageProgress, read_metrics, read_progress
from assets_defs.machinery.stage import Node, Stage
from assets_defs.machinery.workspace import Work
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError

STAGE = Stage(name="sample", begins=("visor_core.questions",), settings=lambda profile, partition: {"sft": profile.sft})
PROFILE = Profile(name="test", seed=3)


def _work(home: Path, *, rebuild: bool = False) -> Work:
    work = Work(STAGE, Node("sample"), PROFILE, Home(home), rebuild=rebuild)
    work.context = cast("Any", SimpleNamespace(run=SimpleNamespace(tags={}, run_id="a-run")))
    return work


def test_the_lineage_says_where_an_output_comes_from(tmp_path: Path) -> None:
    work = _work(tmp_path)
    work.finish("abc", {"rows": 4}, index_tag="index-1")
    lineage = json.loads((work.folder / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["data_version"] == "abc"
    assert lineage["index_tag"] == "index-1"
    assert lineage["seed"] == 3
    assert lineage["configuration"]["sft"]["batch_size"] == PROFILE.sft.batch_size
    assert lineage["code_version"] == STAGE.version
    assert lineage["packages"]["dagster"]
    result = work.result()
    assert result.data_version is not None
    assert result.data_version.value == "abc"
    assert result.metadata is not None
    assert {"seed", "index_tag", "configuration", "code_version", "rows"} <= set(result.metadata)
    work.close()


def test_a_finished_build_is_found_again(tmp_path: Path) -> None:
    first = _work(tmp_path)
    first.finish("abc", {"rows": 4})
    first.result()
    first.close()
    second = _work(tmp_path)
    assert second.complete
    second.result()
    second.close()
    record = find_record(Home(tmp_path), Node("sample"))
    assert record is not None
    assert (record.data_version, record.figures) == ("abc", {"rows": 4})


def test_a_rebuild_discards_what_was_made(tmp_path: Path) -> None:
    first = _work(tmp_path)
    (first.folder / "final").mkdir()
    first.finish("abc", {})
    first.result()
    first.close()
    again = _work(tmp_path, rebuild=True)
    assert not again.complete
    assert not (again.folder / "final").exists()
    again.close()


def test_two_processes_do_not_build_the_same_thing(tmp_path: Path) -> None:
    work = _work(tmp_path)
    with pytest.raises(ConfigError, match="sample is being built by another process"):
        _work(tmp_path)
    work.finish("abc", {})
    work.close()
    _work(tmp_path).close()


def test_a_resumed_stage_reports_its_steps_once(tmp_path: Path) -> None:
    progress = StageProgress(tmp_path)
    for step, loss in ((1, 3.0), (2, 2.0), (2, 1.5), (3, 1.0)):
        progress.step({"step": step, "loss": loss, "model": object()})
    progress.show(3, 10, "loss 1")
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as handle:
        handle.write('{"step": 4, "lo')
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [(1, 3.0), (2, 1.5), (3, 1.0)]
    assert read_progress(tmp_path) == (3, 10, "loss 1")
    assert read_progress(tmp_path / "nowhere") == (0, 0, "")
