"""The graph is closed: what a build was made from is found by fingerprint and data version, or named as missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.visor_core.lineage.written import write_build, write_chain
from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.lineage import ancestry, find_build, lineage_json, listing, read_builds
from visor_core.lineage.picture import lineage_html


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_ancestry_goes_down_to_the_documents(home: Home) -> None:
    chain = write_chain(home)
    found = ancestry(home, chain["checkpoint"])
    assert [build.node for build in found.builds] == ["documents[mine]", "page_index[mine]", "sft_checkpoint"]
    assert found.missing == ()
    text = listing(found)
    assert "d0" * 16 in text
    assert text.splitlines()[0].startswith("sft_checkpoint  f1")


def test_an_earlier_state_of_a_corpus_keeps_its_own_file(home: Home) -> None:
    """The corpus was ingested again since: the checkpoint still names what it was trained on."""
    chain = write_chain(home)
    (chain["documents"].file).rename(chain["documents"].build_folder / "lineage-docs-1.json")
    write_build(home, "documents[mine]", "d1", "docs-2", documents=[])
    found = ancestry(home, chain["checkpoint"])
    assert [build.data_version for build in found.builds] == ["docs-1", "index-1", "weights-1"]
    assert find_build(home, "documents").data_version == "docs-2"


def test_what_is_not_kept_is_named(home: Home) -> None:
    chain = write_chain(home)
    chain["documents"].file.unlink()
    found = ancestry(home, chain["checkpoint"])
    assert [made.node for made in found.missing] == ["documents[mine]"]
    assert "missing: documents[mine] d1" in listing(found)
    assert [made["node"] for made in lineage_json(found)["missing"]] == ["documents[mine]"]


def test_a_damaged_lineage_is_one_line_and_one_of_an_earlier_version_is_not_followed(home: Home) -> None:
    chain = write_chain(home)
    chain["documents"].file.write_text(json.dumps({"asset": "documents"}), encoding="utf-8")
    assert [made.node for made in ancestry(home, chain["checkpoint"]).missing] == ["documents[mine]"]
    with pytest.raises(DataError, match=r"earlier version.*`visor run --select documents --force`"):
        find_build(home, str(chain["documents"].build_folder))
    chain["index"].file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        read_builds(home)


@pytest.mark.parametrize(
    ("given", "node"),
    [
        ("sft_checkpoint", "sft_checkpoint"),
        ("page_index[mine]", "page_index[mine]"),
        ("page_index", "page_index[mine]"),
        ("f100", "sft_checkpoint"),
        ("m-12", "sft_checkpoint"),
        ("mmmmmmmm", "sft_checkpoint"),
        ("run-of-the-corpus", "page_index[mine]"),
    ],
)
def test_a_build_is_found_by_every_name_it_has(home: Home, given: str, node: str) -> None:
    write_chain(home)
    assert find_build(home, given).node == node


def test_a_build_is_found_by_its_folder_and_by_that_of_its_checkpoint(home: Home) -> None:
    checkpoint = write_chain(home)["checkpoint"]
    for folder in ("final", "checkpoint-15", "."):
        (checkpoint.build_folder / folder).mkdir(exist_ok=True)
        assert find_build(home, str(checkpoint.build_folder / folder)) == checkpoint


def test_a_run_that_made_several_builds_is_the_last_of_them(home: Home) -> None:
    documents = write_build(home, "documents[mine]", "d1", "docs", dagster={"run": "run-1"})
    write_build(home, "page_index[mine]", "e1", "index", (documents,), dagster={"run": "run-1"})
    assert find_build(home, "run-1").node == "page_index[mine]"


def test_what_could_be_several_or_nothing_is_refused(home: Home) -> None:
    write_chain(home)
    write_build(home, "grpo_checkpoint", "f1", "other")
    with pytest.raises(DataError, match=r"could be grpo_checkpoint f1\w+, sft_checkpoint f1"):
        find_build(home, "f100")
    with pytest.raises(DataError, match="knows no build 'beef'"):
        find_build(home, "beef")
    with pytest.raises(DataError, match=r"no champion in force: `visor run --select champion_model`"):
        find_build(home, "champion")


def test_the_page_needs_nothing_else_and_escapes_what_documents_say(home: Home) -> None:
    page = lineage_html(ancestry(home, write_chain(home)["checkpoint"]))
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page)
    assert not re.findall(r"@import|url\(", page)
    assert "<b>report" not in page
    assert "&lt;b&gt;report&lt;/b&gt;.pdf" in page
    assert page.count("<rect") == 3
    assert page.count("<path") == 2
