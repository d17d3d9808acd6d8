"""A corpus that grows: additions cost what they are, old states go by a rule, and the folder never swells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.synthetic_corpus import build, page_id_at, zipf_texts
from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, FINANCE, ingest
from visor_core.config import IndexConfig
from visor_core.index import Corpus, PageIndex
from visor_core.index.corpus import KEYS
from visor_core.index.indexes import LOOKED_UP
from visor_core.index.retention import retention
from visor_core.index.tags import list_tags
from visor_core.index.upkeep import compact, verify

CONFIG = IndexConfig(embedders=())
TEXTS = zipf_texts(2_200, 40, seed=3, vocabulary=4_000)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def faults(corpus: Corpus, tag: str = "latest") -> list[str]:
    return [fault for fault in verify(corpus, tag) if "under sources/" not in fault]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2,150 pages built at once, then 50 more in two builds."""
    root = tmp_path_factory.mktemp("grown")
    for count in (2_150, 2_175, 2_200):
        corpus, _ = build(root, TEXTS[:count], CONFIG, [])
    return corpus


def test_added_pages_are_found_as_if_they_had_always_been_there(grown: Corpus, tmp_path: Path) -> None:
    at_once, _ = build(tmp_path, TEXTS, CONFIG, [])
    one, other = PageIndex.open(grown.root), PageIndex.open(at_once.root)
    for position in range(5, 2_200, 250):
        query = " ".join(TEXTS[position].split()[:6])
        found = one.candidates(query, 20, "text")
        assert found["text"][0][0] == page_id_at(position)
        for name, scored in other.candidates(query, 20, "text").items():
            assert dict(found[name]) == pytest.approx(dict(scored), abs=1e-4)
    parts = {name: grown.table(name).index_stats("text_idx").num_indices for name in ("page_texts", "passages")}
    assert parts == {"page_texts": 2, "passages": 2}  # the two small parts have become one


def test_an_addition_writes_little_and_every_index_covers_it(grown: Corpus) -> None:
    for name, columns in LOOKED_UP.items():
        stats = [grown.table(name).index_stats(f"{column}_idx") for column in columns]
        assert [s.num_unindexed_rows for s in stats] == [0] * len(columns), name
    assert faults(grown) == []


def test_compaction_merges_frees_and_moves_the_tags(tmp_path: Path) -> None:
    for count in (600, 700, 800):
        corpus, report = build(tmp_path, TEXTS[:count], CONFIG, [])
    tags = list_tags(corpus)
    assert len(tags) == 4
    first, index = next(tag for tag in tags if tag not in (report.index_tag, "latest")), PageIndex.open(corpus.root)
    expected = index.search("ba", k=5)
    held = compact(corpus, keep=1)
    assert (held.forgotten, held.alone, sorted(held.tags)) == ((), False, tags)
    index.close()
    assert held.bytes_after <= held.bytes_before
    named = compact(corpus, keep=1, named={first})
    assert named.bytes_after < held.bytes_after
    assert set(named.tags) == {report.index_tag, "latest", first}
    last = compact(corpus, keep=1)
    assert last.bytes_after < named.bytes_after
    assert sorted(list_tags(corpus)) == sorted([report.index_tag, "latest"])
    assert all(corpus.table(name).list_versions()[0]["version"] == corpus.table(name).version for name in KEYS)
    assert PageIndex.open(corpus.root).search("ba", k=5) == expected
    assert faults(corpus) == []
    assert {corpus.table(name).stats()["fragment_stats"]["num_fragments"] for name in KEYS} == {1}
    again = compact(corpus, keep=1)
    assert again.bytes_after == again.bytes_before
    _, report = build(tmp_path, TEXTS[:800], CONFIG, [])
    assert report.pages == 800


def test_which_tags_stay(tmp_path: Path) -> None:
    made = []
    for number in range(4):
        write_pdf(tmp_path / "files" / f"{number}.pdf", [ANIMALS[0], f"{FINANCE[0]} {number}"])
        made.append(ingest(tmp_path / "corpus", [tmp_path / "files"])[2].index_tag)
    ingest(tmp_path / "corpus", [tmp_path / "files"], tag="published")
    corpus = Corpus(tmp_path / "corpus")
    found = retention(corpus, 2, {made[0]})
    assert found.leaving == (made[1], made[2])
    assert set(found.kept) == {made[0], made[3], "published"}
    assert found.kept["published"] == "the latest"
    done = compact(corpus, keep=2, named={made[0]})
    assert done.forgotten == found.leaving
    for tag in (made[0], made[3], "published"):
        assert verify(corpus, tag) == []
        assert PageIndex.open(corpus.root, tag).search("fox")
