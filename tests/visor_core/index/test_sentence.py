"""A sentence-transformers model of random weights, made here, as a text embedder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, ingest
from visor_core.config import IndexConfig
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, load_embedders
from visor_core.index.corpus import rows

sentence_transformers = pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers over the words of the tests' pages, mean-pooled."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    base, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("sentence") / "model"
    words = sorted({word.strip(".").lower() for text in ANIMALS for word in text.split()})
    (base / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = BertTokenizer(str(base / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    transformer = Transformer(str(base))
    pooling = Pooling(transformer.get_embedding_dimension())
    sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder))
    return folder


def test_a_text_model_is_a_vector_column(tmp_path: Path, model: Path) -> None:
    config = IndexConfig(embedders=("hash:256", f"sentence:{model}"))
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    _, _, built = ingest(tmp_path / "corpus", [source], index=IndexConfig(embedders=("hash:256",)))
    assert built.embedded == 3
    _, rendered, built = ingest(tmp_path / "corpus", [source], index=config)
    assert (rendered.rendered, built.embedded) == (0, 3)
    index = PageIndex.open(tmp_path / "corpus")
    vector = next(v for v in index.manifest.vectors if v.name == "sentence")
    assert (vector.dimension, vector.multi_vector) == (32, False)
    stored = index.vectors(vector, "page > 0")
    assert all(np.linalg.norm(v) == pytest.approx(1, abs=1e-5) for v in stored.values())
    # A page's own words are nearest to it, by the exact cosine.
    texts = {r["page_id"]: r["text"] for r in rows(Corpus(tmp_path / "corpus").table("pages"), ["page_id", "text"])}
    for page_id, text in texts.items():
        query = index.embedder(vector).embed_query(f"a\n{text}")
        expected = sorted(stored, key=lambda i: -float(query @ stored[i]))
        assert expected[0] == page_id
        assert index.rankings(f"a\n{text}", 3, "vector")[vector.column] == expected


def test_a_folder_that_is_no_text_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="cannot be loaded"):
        load_embedders(IndexConfig(embedders=(f"sentence:{tmp_path}",)))
