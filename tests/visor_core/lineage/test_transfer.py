"""A checkpoint leaves one home and arrives in another whole, or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from tests.visor_core.evaluation.results_by_hand import result
from tests.visor_core.lineage.written import folder_of, write_build, write_chain
from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.lineage import ancestry, find_build, read_builds
from visor_core.lineage.card import beside, card
from visor_core.lineage.transfer import export_checkpoint, import_checkpoint, measured


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A checkpoint with its lineage, exported from a home; the champion names it."""
    home = Home(tmp_path / "home")
    checkpoint = write_chain(home)["checkpoint"]
    folder = folder_of(home, checkpoint)
    save_file({"w": np.ones(3, np.float32)}, folder / "model.safetensors")
    for name in ("config.json", "tokenizer_config.json", "trainer_state.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    write_build(home, "champion_model", "c1", "weights-1", (checkpoint,), path=checkpoint.stored["path"])
    known = read_builds(home)
    export_checkpoint(home, find_build(home, "champion", known), known, tmp_path / "carried")
    return tmp_path / "carried"


def test_the_folder_holds_the_checkpoint_and_all_that_is_known_of_it(exported: Path) -> None:
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "README.md", "lineage.json", "index.json", "export.json"} <= names
    assert "trainer_state.json" not in names
    assert len([name for name in names if name.startswith("lineage/")]) == 3
    assert json.loads((exported / "index.json").read_text(encoding="utf-8"))["tag"] == "index-index-1"
    assert "search" in str(yaml.safe_load((exported / "wording.yaml").read_text(encoding="utf-8")))
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "sft_checkpoint f1" in card
    assert "index-index-1" in card


def test_the_card_compares_with_the_policies_of_its_benchmark_and_names_the_protocol(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    checkpoint = write_chain(home)["checkpoint"]
    benchmark = write_build(home, "benchmark_results", "b1", "found", (checkpoint,))
    for name, answer in (("sft", "47"), ("grpo", "12")):
        result({"q1": answer, "q2": "47"}, policy=name).save(benchmark.folder(home) / f"{name}.json")
    known = read_builds(home)
    found = beside(home, checkpoint, known)
    assert found is not None
    assert found.labels == ("sft", "grpo")
    text = card(checkpoint, ancestry(home, checkpoint, known), {}, measured(home, checkpoint, known), found)
    assert "| sft | nano development | 2 | rule: MMLongBench-Doc | 1.000" in text
    assert "Answers right by the protocol rule" in text
    assert re.search(r"\| grpo \| -0\.500 .* p 1\.000 ", text)
    assert "Published by others" not in text


def test_on_another_machine_its_ancestry_is_known_and_it_is_found_by_its_name(exported: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    imported = import_checkpoint(other, exported)
    assert import_checkpoint(other, exported) == imported
    build = find_build(other, "f100")
    found = ancestry(other, build)
    assert [above.node for above in found.builds] == ["documents[mine]", "page_index[mine]", "sft_checkpoint"]
    assert found.missing == ()
    assert find_build(other, str(imported.folder)) == build
    nowhere = Home(tmp_path / "none")
    assert find_build(nowhere, str(exported), read_builds(nowhere, exported)).stored == build.stored


def test_a_damaged_folder_is_refused_and_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    (exported / "config.json").write_text("{ }", encoding="utf-8")
    other = Home(tmp_path / "other")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        import_checkpoint(other, exported)
    assert not any(other.imported.iterdir())
    (exported / "config.json").unlink()
    with pytest.raises(DataError, match=r"config\.json is missing"):
        import_checkpoint(other, exported)
    with pytest.raises(DataError, match="no exported checkpoint"):
        import_checkpoint(other, tmp_path)


def test_a_folder_that_holds_something_and_a_build_without_weights_are_refused(exported: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    known = read_builds(home)
    with pytest.raises(DataError, match="is not empty"):
        export_checkpoint(home, find_build(home, "sft_checkpoint", known), known, exported)
    with pytest.raises(DataError, match="is no checkpoint"):
        export_checkpoint(home, find_build(home, "page_index", known), known, tmp_path / "new")
