"""Why two builds differ, in the order in which the reasons explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.visor_core.lineage.written import DOCUMENT, MACHINE, write_build, write_chain
from visor_core.config import Home
from visor_core.lineage import ancestry
from visor_core.lineage.difference import REASONS, compare_lineages


def _differing(tmp_path: Path, **changes: Any) -> dict[str, tuple[str, ...]]:
    homes = [Home(tmp_path / name) for name in ("a", "b")]
    first = ancestry(homes[0], write_chain(homes[0])["checkpoint"])
    second = ancestry(homes[1], write_chain(homes[1], data_version="weights-2", **changes)["checkpoint"])
    found = compare_lineages(first, second)
    assert found.parts == "sft_checkpoint"
    assert not found.same
    return {reason: lines for reason, lines in found.reasons.items() if lines}


@pytest.mark.parametrize(
    ("changes", "reason", "line"),
    [
        ({"code_version": "c1"}, "code", "sft_checkpoint: c0de → c1"),
        ({"settings": {"sft": {"steps": 4}}}, "configuration", "sft_checkpoint: sft.steps: 3 → 4"),
        ({"seed": 1}, "seed", "0 → 1"),
        ({"packages": {"torch": "2.14.0"}}, "package", "torch: 2.13.0 → 2.14.0"),
        ({"machine": {**MACHINE, "extensions": ["avx"]}}, "machine", "extensions: avx2 only there"),
        ({"in_effect": {"threads": 8}}, "machine", "sft_checkpoint: threads: nothing → 8"),
    ],
)
def test_one_change_is_the_only_reason(tmp_path: Path, changes: dict[str, Any], reason: str, line: str) -> None:
    assert _differing(tmp_path, **changes) == {reason: (line,)}


def test_other_documents_part_where_they_come_in(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("a", "b")]
    first = ancestry(homes[0], write_chain(homes[0])["checkpoint"])
    other = {**DOCUMENT, "document_id": "e0" * 16, "filename": "new.pdf"}
    documents = write_build(homes[1], "documents[mine]", "d1", "docs-2", documents=[DOCUMENT, other])
    index = write_build(homes[1], "page_index[mine]", "e2", "index-2", (documents,), documents=[DOCUMENT, other])
    second = ancestry(homes[1], write_build(homes[1], "sft_checkpoint", "f2", "weights-2", (index,)))
    found = compare_lineages(first, second)
    assert found.parts == "documents[mine]"
    assert found.reasons["data"] == ("documents[mine]: + new.pdf (e0e0e0e0e0e0)",)
    said = found.text.splitlines()
    assert [line.partition(":")[0] for line in said if not line.startswith(" ")][-len(REASONS) :] == list(REASONS)


def test_a_build_and_itself_are_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    found = ancestry(home, write_chain(home)["checkpoint"])
    assert compare_lineages(found, found).text.endswith("are one build")


def test_two_stages_are_compared_by_what_both_are_made_from(tmp_path: Path) -> None:
    home = Home(tmp_path)
    chain = write_chain(home)
    found = compare_lineages(ancestry(home, chain["checkpoint"]), ancestry(home, chain["index"]))
    assert "two stages" in found.text
    assert not any(found.reasons.values())
