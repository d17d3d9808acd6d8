"""Late-interaction retrievers as Hugging Face folders, with tiny random weights: columns, MaxSim, similarity maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS
from visor_core.config import IndexConfig
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.embedders.base import column_of
from visor_core.index.explain import explain, page_html
from visor_core.index.multivector import max_sim


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ColModernVBert over the tests' Idefics3."""
    import torch
    from transformers import ColModernVBertConfig, ColModernVBertForRetrieval, ColModernVBertProcessor

    from tests.tiny_model import build_model, build_processor

    torch.manual_seed(0)
    base, processor = build_model(), build_processor()
    model = ColModernVBertForRetrieval(ColModernVBertConfig(vlm_config=base.config.to_dict(), embedding_dim=16))
    folder = tmp_path_factory.mktemp("retriever")
    model.save_pretrained(folder)
    ColModernVBertProcessor(
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
        image_seq_len=processor.image_seq_len,
        visual_prompt_prefix="<image>",
    ).save_pretrained(folder)
    return folder


def test_a_folder_becomes_a_multi_vector_column(tmp_path: Path, retriever: Path) -> None:
    config = IndexConfig(embedders=("hash:256", f"late:{retriever}"), embed_pixels=32 * 32)
    corpus = Corpus(tmp_path / "corpus")
    register_documents(corpus, [write_pdf(tmp_path / "a.pdf", ANIMALS)], DOCUMENTS)
    render_pages(corpus, DOCUMENTS)
    embedders = load_embedders(config)
    built = build_index(corpus, config, embedders)
    assert built.embedded == 6
    assert build_index(corpus, config, embedders).embedded == 0
    late = embedders[1]
    assert (late.name, late.multi_vector, late.dimension) == ("colmodernvbert", True, 16)
    assert column_of(late) in built.vectors

    # The embedder is loaded again from the manifest, and the ranking is exact MaxSim.
    index = PageIndex.open(corpus.root)
    vector = next(v for v in index.manifest.vectors if v.multi_vector)
    stored = index.vectors(vector, "page > 0")
    assert all(np.allclose(np.linalg.norm(v, axis=1), 1, atol=2e-3) for v in stored.values())
    query = np.asarray(index.embedder(vector).embed_query("acme staff q3"))
    hits = index.search("acme staff q3", mode="vector", k=3)
    expected = sorted(stored, key=lambda i: (-max_sim(query, stored[i]), i))
    ranks = {h.page_id: h.ranks["colmodernvbert"] for h in hits}
    assert [i for i, _ in sorted(ranks.items(), key=lambda pair: pair[1])] == expected

    found = explain(index, "acme zebras", k=1)
    assert found[0].similarity is not None
    assert 0 <= found[0].similarity.min() <= found[0].similarity.max() <= 1
    assert "data:image/jpeg" in page_html(index, "acme zebras", found)

    # Other weights under the same path are noticed.
    (retriever / "generation_config.json").write_text("{}")
    try:
        with pytest.raises(SearchIndexError, match="another version of the embedder"):
            PageIndex.open(corpus.root).search("acme", mode="vector")
    finally:
        (retriever / "generation_config.json").unlink()


def test_a_folder_that_is_no_retriever_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="cannot be loaded"):
        load_embedders(IndexConfig(embedders=(f"late:{tmp_path}",)))
    from tests.tiny_model import build_model

    build_model().save_pretrained(tmp_path)
    with pytest.raises(SearchIndexError, match="is a idefics3 model, not a late-interaction retriever"):
        load_embedders(IndexConfig(embedders=(f"late:{tmp_path}",)))
