"""`visor lineage`, `diff`, `gc`, `export` and `import` on homes as builds leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.conftest import Visor
from tests.visor_core.lineage.written import write_build, write_chain
from visor_core.config import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_lineage_is_printed_as_text_as_json_and_as_a_page(home: Home, visor: Visor) -> None:
    write_chain(home)
    text = visor("lineage", "sft_checkpoint")
    assert text.code == 0
    assert "d0" * 16 in text.out
    told = json.loads(visor("lineage", "sft_checkpoint", "--json").out)
    assert [build["asset"] for build in told["builds"]] == ["documents", "page_index", "sft_checkpoint"]
    assert told["builds"][0]["documents"][0]["document_id"] == "d0" * 16
    page = visor("lineage", "sft_checkpoint", "--html").out.removeprefix("lineage: ").strip()
    assert "<svg" in Path(page).read_text(encoding="utf-8")


def test_two_builds_of_two_homes_are_compared_by_their_folders(home: Home, visor: Visor, tmp_path: Path) -> None:
    write_chain(home)
    other = Home(tmp_path / "other")
    folder = write_chain(other, "weights-2", seed=3)["checkpoint"].build_folder
    told = visor("diff", "sft_checkpoint", str(folder))
    assert told.code == 0
    lines = told.out.splitlines()
    assert "they part in sft_checkpoint" in lines
    assert lines[lines.index("seed:") + 1] == "  0 → 3"


def test_clearing_up_says_first_and_frees_only_when_told(home: Home, visor: Visor) -> None:
    write_chain(home)
    old = write_build(home, "sft_checkpoint", "aa", "old", in_force=False).build_folder
    said = visor("gc")
    assert "out of force" in said.out
    assert "would free" in said.out
    assert old.is_dir()
    assert "in force" in visor("gc", "--verbose").out
    assert "freed" in visor("gc", "--delete").out
    assert not old.exists()
    assert home.asset("sft_checkpoint", "f1".ljust(16, "0")).is_dir()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("lineage", "nothing"), "knows no build 'nothing'"),
        (("lineage", "champion"), "visor run --select champion_model"),
        (("diff", "sft_checkpoint", "beef"), "knows no build 'beef'"),
        (("export", "page_index", "out"), "is no checkpoint"),
        (("import", "nowhere"), "`visor export` writes one"),
        (("reproduce", "sft_checkpoint"), "cannot be rebuilt, missing: <b>report</b>.pdf of corpus mine"),
        (("ask", "why?", "--checkpoint", "beef"), "no checkpoint at beef"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_remedy(
    home: Home, visor: Visor, command: tuple[str, ...], words: str
) -> None:
    write_chain(home)
    refused = visor(*command)
    assert refused.code == 2
    assert words in refused.err
    assert len(refused.err.strip().splitlines()) == 1
