"""A corpus keeps its settings: which call changes what, what needs a word, and what older corpora are taken to be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf, write_picture
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS, FINANCE, INDEX, WORKERS, ingest
from visor_core.config import PER_CALL, DocumentsConfig, IndexConfig, SecretReference
from visor_core.documents import ocr
from visor_core.documents.messages import Message
from visor_core.documents.reader import Word
from visor_core.documents.worker import Task, perform
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.corpus import rows
from visor_core.index.settings import (
    keep_settings,
    read_settings,
    reading_settings,
    settle,
    stored_fields,
)


class _InProcess:
    """Does a pool's tasks in this process, so that a test can stand in for the OCR engine."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __enter__(self) -> _InProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def run(self, tasks: Sequence[tuple[Task, float]]) -> Iterator[Message]:
        """The messages of all tasks, one after another."""
        self.spent = {task.key: 0.0 for task, _ in tasks}
        for task, _ in tasks:
            yield from perform(task)


def test_every_setting_is_the_corpus_s_or_the_call_s() -> None:
    """The list of per-call settings names fields that exist; secrets and limits are the corpus's."""
    assert PER_CALL["documents"] < set(DocumentsConfig.model_fields)
    assert PER_CALL["index"] < set(IndexConfig.model_fields)
    assert {"dpi", "renderer", "ocr", "passwords", "memory_bytes"} <= set(stored_fields(DocumentsConfig))
    assert stored_fields(IndexConfig) == (
        "embedders",
        "passage_words",
        "passage_overlap",
        "page_characters",
        "overfetch",
        "ann_rows",
        "keep_tags",
        "embed_pixels",
    )


def test_turning_ocr_on_reads_only_the_pages_without_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = _InProcess()
    corpus = Corpus(tmp_path / "corpus")
    text = "A page with a text layer of more than thirty-two visible characters."
    sources = [write_pdf(tmp_path / "text.pdf", [text, text]), write_picture(tmp_path / "scan.png", "x")]
    monkeypatch.setattr(ocr, "available", lambda: True)
    monkeypatch.setattr(ocr, "version", lambda: "1", raising=False)
    monkeypatch.setattr(
        ocr, "recognise", lambda image: ocr.Recognised([[Word("recognised", 0.1, 0.1, 0.3, 0.2)]], turned=False)
    )
    for mode, rendered in (("never", 3), ("auto", 1), ("auto", 0)):
        config = DOCUMENTS.model_copy(update={"ocr": mode})
        keep_settings(corpus, documents=config)
        register_documents(corpus, sources, config, pool=pool)  # type: ignore[arg-type]
        assert render_pages(corpus, config, pool=pool).rendered == rendered  # type: ignore[arg-type]
    assert sorted(r["text_source"] for r in rows(corpus.table("pages"), ["text_source"])) == ["layer", "layer", "ocr"]
    # An engine that is not there any more takes no text away.
    monkeypatch.setattr(ocr, "available", lambda: False)
    assert render_pages(corpus, DOCUMENTS.model_copy(update={"ocr": "auto"}), pool=pool).rendered == 0  # type: ignore[arg-type]


def test_another_embedder_or_renderer_does_only_what_it_needs(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(corpus.root, [source])
    texts = corpus.table("page_texts").version
    both = INDEX.model_copy(update={"embedders": (*INDEX.embedders, "hash:128")})
    documents, pages, built = ingest(corpus.root, [source], index=both)
    assert (documents.added, pages.rendered, built.embedded) == (0, 0, len(ANIMALS))  # by the new one alone
    again = ingest(corpus.root, [source], index=both)
    assert (again[1].rendered, again[2].embedded, again[2].changed) == (0, 0, False)
    assert corpus.table("page_texts").version == texts
    other = DOCUMENTS.model_copy(update={"renderer": "pdfium"})
    documents, pages, _ = ingest(corpus.root, [source], documents=other, index=both)
    assert (documents.added, pages.rendered) == (1, len(ANIMALS))
    assert ingest(corpus.root, [source], documents=other, index=both)[1].rendered == 0


def test_a_new_corpus_takes_the_callers_settings_and_keeps_them(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    assert settle(corpus, DOCUMENTS, INDEX).documents == DOCUMENTS
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    held = read_settings(corpus)
    assert held.documents is not None
    assert held.index is not None
    assert (held.documents.dpi, held.documents.ocr, held.index.embedders) == (72, "never", ("hash:256",))
    later = settle(corpus, DocumentsConfig(workers=7), IndexConfig(mode="text", top_k=3))
    assert (later.documents.dpi, later.documents.workers) == (72, 7)
    assert (later.index.embedders, later.index.passage_words) == (("hash:256",), 20)
    assert (later.index.mode, later.index.top_k) == ("text", 3)
    assert (later.contradicted, later.costs) == ((), ())


def test_a_profile_that_says_otherwise_is_told_so(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    settled = settle(corpus, DocumentsConfig(dpi=36), IndexConfig(embedders=("hash",)))
    assert settled.documents.dpi == 72
    assert settled.contradicted == ("documents.dpi=72 (not 36)", "index.embedders=[hash:256] (not [hash])")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dpi": 36}, ("dpi=36 instead of 72", "3 pages anew, at a lower resolution", "3 vectors of hash:256")),
        ({"renderer": "pdfium"}, ("documents.renderer=pdfium instead of pymupdf", "3 pages anew")),
        ({"ocr": "always"}, ("documents.ocr=always instead of never", "3 pages anew")),
    ],
)
def test_what_makes_pages_anew_needs_a_word_and_has_a_price(
    tmp_path: Path, change: dict[str, object], words: tuple[str, ...]
) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    wanted = DOCUMENTS.model_copy(update=change)
    named = [f"documents.{field}" for field in change]
    with pytest.raises(ConfigError, match="--rerender") as refused:
        settle(corpus, wanted, INDEX, named=named)
    assert all(word in str(refused.value) for word in words)
    settled = settle(corpus, wanted, INDEX, named=named, rerender=True)
    assert all(word in settled.costs[0] for word in words)
    assert settled.documents == wanted


def test_naming_an_embedder_adds_its_column_and_dropping_one_is_said(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    more = settle(corpus, DOCUMENTS, IndexConfig(embedders=("hash:512",)), named=["index.embedders"])
    assert more.index.embedders == ("hash:256", "hash:512")
    assert more.costs == (
        "adds vectors of hash:512: 3 pages are embedded",
        "the vectors of hash:256 stay: --drop-column hash:256 drops them",
    )
    less = settle(corpus, DOCUMENTS, INDEX, drop=["hash:256"])
    assert less.index.embedders == ()
    assert len(less.drop) == 1
    assert less.costs[0].endswith(": 3 vectors are lost")
    with pytest.raises(ConfigError, match="no vector column 'psychic' to drop"):
        settle(corpus, DOCUMENTS, INDEX, drop=["psychic"])


def test_a_build_never_drops_a_column_unasked(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    other = IndexConfig(**(INDEX.model_dump() | {"embedders": ("hash:512",)}))
    with pytest.raises(SearchIndexError, match=r"has 3 vectors in the column hash__\w+, which no embedder"):
        build_index(corpus, other, load_embedders(other))
    (column,) = PageIndex.open(corpus.root).manifest.vectors
    assert build_index(corpus, other, load_embedders(other), drop=[column.column]).embedded == 3


def test_another_rendering_is_refused_below_the_command_line_too(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    with pytest.raises(SearchIndexError, match=r"keeps documents\.dpi=72, this run has 144"):
        render_pages(corpus, DOCUMENTS.model_copy(update={"dpi": 144}), pool=WORKERS)
    assert {r["dpi"] for r in rows(corpus.table("pages"), ["dpi"])} == {72}


def test_an_older_corpus_is_taken_for_what_it_is(tmp_path: Path) -> None:
    """Without the file, settings come from the tables and the newest tag; nothing is rendered or embedded again."""
    corpus = Corpus(tmp_path / "corpus")
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(corpus.root, [source], documents=DOCUMENTS.model_copy(update={"image_format": "png"}))
    (corpus.root / "settings.json").unlink()
    corpus.table("pages").update(values={"render_key": "0123456789abcdef"})
    settled = settle(corpus, DocumentsConfig(), IndexConfig())
    assert (settled.documents.dpi, settled.documents.image_format) == (72, "png")
    assert (settled.index.embedders, settled.index.passage_words) == (("hash:256",), 20)
    keep_settings(corpus, documents=settled.documents, index=settled.index)
    assert render_pages(corpus, settled.documents, pool=WORKERS).rendered == 0
    assert build_index(corpus, settled.index, load_embedders(settled.index)).embedded == 0


def test_passwords_add_up_and_stay_references(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    first, second = (SecretReference(reference=f"env:CANARY_{name}") for name in "AB")
    ingest(
        corpus.root,
        [write_pdf(tmp_path / "a.pdf", ANIMALS)],
        documents=DOCUMENTS.model_copy(update={"passwords": {"x.pdf": first}}),
    )
    given = DocumentsConfig(passwords={"y.pdf": second}, picture_seconds=3.0, memory_bytes=2**29)
    reading = reading_settings(corpus, given)
    assert reading.passwords == {"x.pdf": first, "y.pdf": second}
    assert (reading.picture_seconds, reading.memory_bytes) == (3.0, 2**31)
    assert reading_settings(corpus, given, ["documents.memory_bytes"]).memory_bytes == 2**29
    assert json.loads((corpus.root / "settings.json").read_text())["documents"]["passwords"] == {
        "x.pdf": {"reference": "env:CANARY_A"}
    }


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    for text in ("{", "[]", '{"format": 99}', '{"format": 1, "documents": {"dpi": "many"}}'):
        (corpus.root / "settings.json").write_text(text)
        with pytest.raises(SearchIndexError, match=r"settings\.json .* delete it"):
            read_settings(corpus)


def test_a_corpus_without_a_page_has_nothing_to_keep(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [tmp_path / "missing.pdf"])
    assert settle(corpus, DocumentsConfig(dpi=200), INDEX).documents.dpi == 200


class _Brightness:
    """An embedder of pictures."""

    name, spec, fingerprint, dimension, multi_vector, embeds_pictures = "bright", "bright", "1" * 16, 3, False, True

    def embed_pages(self, pages: Sequence[object]) -> list[np.ndarray]:
        pictures = [page.image() for page in pages]  # type: ignore[attr-defined]
        return [np.array([*p.size, np.asarray(p).mean()], np.float32) for p in pictures]

    def embed_query(self, query: str, statistics: np.ndarray | None = None) -> np.ndarray:
        return np.ones(3, np.float32)

    def statistics(self, vectors: Iterable[np.ndarray]) -> np.ndarray | None:
        return None


def test_a_page_that_cannot_be_drawn_is_named_and_tried_again(tmp_path: Path) -> None:
    """Of an embedder that wants its own picture it has no vector; the rest is indexed, and nothing is called whole."""
    corpus = Corpus(tmp_path / "corpus")
    sources = [write_pdf(tmp_path / "a.pdf", ANIMALS), write_pdf(tmp_path / "b.pdf", FINANCE)]
    register_documents(corpus, sources, DOCUMENTS, pool=WORKERS)
    render_pages(corpus, DOCUMENTS, pool=WORKERS)
    index = IndexConfig(embedders=("hash",), embed_pixels=1200)
    (lost,) = [
        r["document_id"] for r in rows(corpus.table("documents"), ["document_id", "filename"], "filename='a.pdf'")
    ]
    path = corpus.sources / lost[:2] / lost
    whole = path.read_bytes()
    path.write_bytes(b"no document")
    built = build_index(corpus, index, [_Brightness()])  # type: ignore[list-item]
    assert [(name, page, spec) for name, page, spec, _ in built.undrawn] == [("a.pdf", n, "bright") for n in (1, 2, 3)]
    assert (built.embedded, built.vectors) == (3, {"bright__11111111": 3})
    found = PageIndex.open(corpus.root, embedders=[_Brightness()]).search("x", mode="vector")  # type: ignore[list-item]
    assert {hit.filename for hit in found} == {"b.pdf"}
    path.write_bytes(whole)
    again = build_index(corpus, index, [_Brightness()])  # type: ignore[list-item]
    assert (again.embedded, again.undrawn) == (3, ())


def test_two_processes_do_not_overwrite_each_others_settings(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)])
    slow = settle(corpus, DOCUMENTS, INDEX)
    keep_settings(corpus, documents=DOCUMENTS.model_copy(update={"dpi": 36}))
    with pytest.raises(SearchIndexError, match="changed by another process: run again"):
        keep_settings(corpus, documents=slow.documents, since=slow.held)
    keep_settings(corpus, index=slow.index, since=slow.held)
    held = read_settings(corpus).documents
    assert held is not None
    assert held.dpi == 36
