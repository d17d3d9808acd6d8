"""Embedders by hub id, revision and device, over a hub cache written here: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.visor_core.index.tiny_retrievers import save_colmodernvbert
from visor_core.config import IndexConfig, embedder_parts
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.index import load_embedders
from visor_core.index.embedders.load import load_embedder

COMMITS = {"first": "1" * 40, "second": "2" * 40}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the model me/tiny in two revisions of other weights; the hub itself is out of reach."""
    root = tmp_path / "hub"
    model = root / "models--me--tiny"
    for name, commit in COMMITS.items():
        folder = save_colmodernvbert(model / "snapshots" / commit)
        if name == "second":
            other = load_embedder(f"late:{folder}").model  # type: ignore[attr-defined]
            with torch.no_grad():
                for weights in other.parameters():
                    weights.mul_(1.5).add_(0.01)
            other.save_pretrained(folder)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / name).write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return model


def test_a_revision_of_the_hub_is_what_is_loaded(hub: Path) -> None:
    one, two, again = load_embedders(
        IndexConfig(embedders=[f"colmodernvbert:me/tiny@{name}" for name in ("first", "second", COMMITS["second"])])
    )
    assert one.spec == "colmodernvbert:me/tiny@first"
    assert one.fingerprint != two.fingerprint == again.fingerprint
    assert not np.allclose(one.embed_query("acme"), two.embed_query("acme"), atol=1e-3)
    assert np.array_equal(two.embed_query("acme"), again.embed_query("acme"))
    with pytest.raises(SearchIndexError, match="me/tiny cannot be loaded"):
        load_embedder("colmodernvbert:me/tiny@third")


def test_weights_other_than_safetensors_are_refused(tmp_path: Path) -> None:
    folder = save_colmodernvbert(tmp_path / "model")
    torch.save(load_embedder(f"late:{folder}").model.state_dict(), folder / "pytorch_model.bin")  # type: ignore[attr-defined]
    (folder / "model.safetensors").unlink()
    with pytest.raises(SearchIndexError, match=r"cannot be loaded: .*safetensors"):
        load_embedder(f"late:{folder}")


def test_a_device_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = save_colmodernvbert(tmp_path / "model")
    for device in ("cpu", "auto"):
        assert load_embedders(IndexConfig(embedders=(f"late:{folder}",), device=device))[0].embed_query("acme").any()
    with pytest.raises(SearchIndexError, match="cannot be loaded"):
        load_embedders(IndexConfig(embedders=(f"late:{folder}",), device="cuda:99"))
    with pytest.raises(ValidationError):
        IndexConfig(device="the fast one")


def test_the_parts_of_an_embedder(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert embedder_parts("colqwen2") == ("colqwen2", "", "")
    assert embedder_parts("colqwen2@v1") == ("colqwen2", "", "v1")
    assert embedder_parts("sentence:me/mine@refs/pr/1") == ("sentence", "me/mine", "refs/pr/1")
    assert embedder_parts(f"sentence:{tmp_path / 'a@b'}") == ("sentence", str(tmp_path / "a@b"), "")
    assert embedder_parts("late:retriever@home") == ("late", "retriever@home", "")
    with pytest.raises(ConfigError, match="no revisions"):
        load_embedder("hash:512@v1")
