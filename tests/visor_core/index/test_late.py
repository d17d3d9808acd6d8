"""Late-interaction retrievers as Hugging Face folders, with tiny random weights: columns, MaxSim, similarity maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS
from tests.visor_core.index.tiny_retrievers import DIMENSION, FAMILIES
from visor_core.config import IndexConfig
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.embedders.base import PageInput, column_of
from visor_core.index.embedders.late import LateInteractionEmbedder
from visor_core.index.explain import explain, page_html
from visor_core.index.multivector import max_sim


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained retriever of every family that transformers has."""
    return FAMILIES[request.param](tmp_path_factory.mktemp("retrievers") / request.param)


def test_a_batch_gives_each_page_the_vectors_it_has_alone(retriever: Path) -> None:
    (embedder,) = load_embedders(IndexConfig(embedders=(f"late:{retriever}",)))
    pictures = [write_picture_in_memory(shape) for shape in ((64, 96), (96, 48), (32, 32))]
    pages = [PageInput(str(i), "", "", lambda picture=picture: picture) for i, picture in enumerate(pictures)]  # type: ignore[misc]
    together = embedder.embed_pages(pages)
    for page, found in zip(pages, together, strict=True):
        (alone,) = embedder.embed_pages([page])
        assert found.shape == alone.shape == (len(alone), DIMENSION)
        assert np.allclose(found, alone, atol=1e-5)
    assert not np.allclose(together[0][4:7], together[1][4:7], atol=1e-3)


def write_picture_in_memory(size: tuple[int, int]) -> Image.Image:
    """Noise of a shape, the same every time."""
    random = np.random.default_rng(size[0] * 1000 + size[1])
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_a_patch_is_where_its_token_is(retriever: Path) -> None:
    (embedder,) = load_embedders(IndexConfig(embedders=(f"late:{retriever}",)))
    assert isinstance(embedder, LateInteractionEmbedder)
    # Wide pictures have wide grids where the model keeps their shape, and square ones where it does not.
    expected = {"colmodernvbert": (2, 2), "colpali": (4, 4), "colqwen2": (4, 6)}[embedder.name]
    picture = write_picture_in_memory((96, 64))
    patches = embedder.patch_tokens(picture)
    assert patches.shape == expected
    (tokens,) = embedder.embed_pages([PageInput("a", "", "", lambda: picture)])
    inputs = embedder.processor.process_images(images=[picture], return_tensors="pt")
    ids = inputs["input_ids"][0][inputs["attention_mask"][0].bool()].tolist()
    assert len(ids) == len(tokens)
    assert {ids[i] for i in patches.flatten()} == {embedder.processor.image_token_id}
    assert patches.flatten().tolist() == sorted(patches.flatten().tolist())


def test_a_folder_becomes_a_multi_vector_column(tmp_path: Path, retriever: Path) -> None:
    config = IndexConfig(embedders=("hash:256", f"late:{retriever}"), embed_pixels=32 * 32)
    corpus = Corpus(tmp_path / "corpus")
    register_documents(corpus, [write_pdf(tmp_path / "a.pdf", ANIMALS)], DOCUMENTS)
    render_pages(corpus, DOCUMENTS)
    embedders = load_embedders(config)
    built = build_index(corpus, config, embedders)
    late = embedders[1]
    assert built.embedded == 6
    assert build_index(corpus, config, embedders).embedded == 0
    assert (late.name, late.multi_vector, late.dimension) == (retriever.name, True, DIMENSION)
    assert column_of(late) in built.vectors

    # The embedder is loaded again from the manifest, and the ranking is exact MaxSim.
    index = PageIndex.open(corpus.root)
    vector = next(v for v in index.manifest.vectors if v.multi_vector)
    stored = index.vectors(vector, "page > 0")
    assert all(np.allclose(np.linalg.norm(v, axis=1), 1, atol=2e-3) for v in stored.values())
    query = np.asarray(index.embedder(vector).embed_query("acme staff q3"))
    hits = index.search("acme staff q3", mode="vector", k=3)
    expected = sorted(stored, key=lambda i: (-max_sim(query, stored[i]), i))
    ranks = {h.page_id: h.ranks[column_of(late)] for h in hits}
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
