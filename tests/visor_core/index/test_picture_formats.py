"""How the pictures of pages are stored, or that they are not: searches, words and what is shown stay as they are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS, ingest
from visor_core.documents.sources import stored_path
from visor_core.errors import DocumentError
from visor_core.index import Corpus, PageIndex
from visor_core.index.corpus import rows
from visor_core.index.settings import reading_settings
from visor_core.index.upkeep import verify


def test_pictures_are_stored_as_asked_and_shown_alike(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    shown, sizes, texts = {}, {}, {}
    for kind in ("png", "jpeg", "webp", "none"):
        corpus = Corpus(tmp_path / kind)
        ingest(corpus.root, [source], documents=DOCUMENTS.model_copy(update={"image_format": kind}))
        with closing(PageIndex.open(corpus.root)) as index:
            page_id = index.page_ids()[0]
            shown[kind] = np.asarray(index.raster(page_id), dtype=np.float32)
            texts[kind] = [page.words for page in index.pages()]
        sizes[kind] = sum(len(row["image"]) for row in rows(corpus.table("images"), ["image"]))
        assert verify(corpus) == []
        assert reading_settings(corpus, None).image_format == kind
    assert all(texts[kind] == texts["png"] for kind in texts)
    assert np.array_equal(shown["none"], shown["png"])
    for kind in ("jpeg", "webp"):
        assert shown[kind].shape == shown["png"].shape
        assert 0 < float(np.abs(shown[kind] - shown["png"]).mean()) < 3.0
    assert sizes["none"] == 0 < sizes["webp"] < sizes["jpeg"]


def test_a_picture_that_is_not_stored_needs_the_source(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    config = DOCUMENTS.model_copy(update={"image_format": "none"})
    ingest(corpus.root, [write_pdf(tmp_path / "a.pdf", ANIMALS)], documents=config)
    (document_id,) = (row["document_id"] for row in rows(corpus.table("documents"), ["document_id"]))
    with closing(PageIndex.open(corpus.root)) as index:
        stored_path(corpus.sources, document_id).unlink()
        assert index.search(ANIMALS[0].split()[0], k=1)
        with pytest.raises(DocumentError, match=r"a\.pdf"):
            index.raster(index.page_ids()[0])
