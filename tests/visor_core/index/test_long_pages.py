"""Pages of more words than anybody prints: they never keep a corpus from being built, and are told of."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pyarrow as pa
import pytest
from lancedb.index import FTS

from tests.benchmarks.synthetic_corpus import build, page_id_at, position_of
from visor_core.config import IndexConfig
from visor_core.index import Corpus, PageIndex, build_index
from visor_core.index.corpus import KEYS, SCHEMAS, rows, upsert
from visor_core.index.upkeep import lacking, verify

CONFIG = IndexConfig(embedders=())
LETTERS = random.Random(0)
LONG = " ".join("".join(LETTERS.choices(string.ascii_lowercase, k=11)) for _ in range(130_000))
"""Passages of this page are so many that its text, read once for each of them, is more than 2 GiB."""


def found(corpus: Corpus, words: str) -> list[int]:
    return [position_of(hit.page_id) for hit in PageIndex.open(corpus.root).search(words, k=1)]


def searched(corpus: Corpus) -> None:
    """The other pages are found, the long one by its beginning, and it is told of."""
    assert found(corpus, "zebras graze") == [0]
    assert found(corpus, LONG[:35]) == [1]
    (cut,) = lacking(corpus).cut
    assert cut[:2] == ("document-0.pdf", 2)
    assert len(LONG) - 200_000 <= cut[2] < len(LONG) - 199_950
    assert [fault for fault in verify(corpus) if "under sources/" not in fault] == []


def test_alone_and_in_a_corpus_that_is_there(tmp_path: Path) -> None:
    corpus, report = build(tmp_path / "alone", [LONG], CONFIG, [])
    assert len(report.cut) == 1
    corpus, report = build(tmp_path / "two", ["Zebras graze on the savanna."], CONFIG, [])
    assert report.cut == ()
    corpus, report = build(tmp_path / "two", ["Zebras graze on the savanna.", LONG], CONFIG, [])
    assert report.cut == lacking(corpus).cut
    searched(corpus)


def test_a_corpus_that_it_had_made_unbuildable_is_built(tmp_path: Path) -> None:
    """As earlier versions left one: both kinds of text in one table, without an index and without a tag."""
    corpus, _ = build(tmp_path, ["Zebras graze on the savanna."], CONFIG, [])
    for path in corpus.tags.glob("*.json"):
        path.unlink()
    database = corpus.connect()
    for name in ("passages", "page_texts"):
        database.drop_table(name)
    page = rows(corpus.table("pages"), SCHEMAS["pages"].names)[0]
    text = {"page_id": page_id_at(1), "page": 2, "text": LONG, "content_hash": "f" * 32}
    upsert(corpus.table("pages"), pa.Table.from_pylist([page | text], schema=SCHEMAS["pages"]))
    picture = {"page_id": page_id_at(1), "document_id": page["document_id"], "image": b""}
    upsert(corpus.table("images"), pa.Table.from_pylist([picture], schema=SCHEMAS["images"]))
    document = rows(corpus.table("documents"), SCHEMAS["documents"].names)[0]
    counted = pa.Table.from_pylist([document | {"num_pages": 2}], schema=SCHEMAS["documents"])
    upsert(corpus.table("documents"), counted)
    schema = SCHEMAS["passages"].append(pa.field("page_text", pa.string()))
    columns = dict.fromkeys(SCHEMAS["passages"].names, "") | {"page_id": page_id_at(1), "page": 2}
    earlier = [{**columns, "passage_id": "0", "text": None, "page_text": LONG}]
    earlier += [{**columns, "passage_id": str(i), "text": "a b", "page_text": None} for i in range(1, 1_700)]
    database.create_table("passages", pa.Table.from_pylist(earlier, schema=schema))
    with pytest.raises(Exception, match="Offset overflow"):  # what made it unbuildable is there
        database.open_table("passages").create_index("page_text", config=FTS())
    build_index(corpus, CONFIG, [])
    assert set(PageIndex.open(corpus.root).manifest.tables) == set(KEYS)
    searched(corpus)
