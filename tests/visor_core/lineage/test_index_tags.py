"""Tags that something stored names, wherever it is written down."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from tests.visor_core.lineage.written import write_build
from visor_core.config import Home
from visor_core.lineage.index_tags import named_tags


def test_every_place_that_names_a_tag_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert named_tags(home) == set()
    write_build(home, "page_index[mine]", "a1", "1", in_force=False, index_tag="index-of-a-former-build")
    write_build(home, "page_index[mine]", "a2", "2", index_tag="index-in-force")
    write_build(home, "grpo_checkpoint", "b1", "3", in_force=False, index_tag="index-of-a-checkpoint")
    write_build(home, "champion_model", "c1", "4", index_tag="index-of-a-champion")
    home.evaluations.mkdir(parents=True)
    result = {"identity": {"index_tag": "index-of-an-evaluation"}, "record": json.dumps({"index_tag": "index-within"})}
    (home.evaluations / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (home.evaluations / "begun.json").touch()
    segments = home.asset("teacher_trajectories", "episodes", "e1", "segments")
    segments.mkdir(parents=True)
    (segments / "000001.jsonl").write_text('{"index_tag": "index-of-an-episode"}\n{"torn', encoding="utf-8")
    tables = home.evaluations / "trajectories" / "t1" / "tables" / "000001"
    tables.mkdir(parents=True)
    pl.DataFrame({"index_tag": ["index-of-a-table", None]}).write_parquet(tables / "episodes.parquet")
    pl.DataFrame({"other": [1]}).write_parquet(tables / "turns.parquet")
    assert named_tags(home) == {
        "index-in-force",
        "index-of-a-checkpoint",
        "index-of-a-champion",
        "index-of-an-evaluation",
        "index-within",
        "index-of-an-episode",
        "index-of-a-table",
    }
