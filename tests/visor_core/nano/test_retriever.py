"""The late-interaction retriever: its loss by hand, and a folder that transformers' own classes load."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from visor_core.config import NanoConfig
from visor_core.errors import DataError
from visor_core.index.embedders.late import LateInteractionEmbedder
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.retriever import contrastive_loss, maxsim, titled_pages, train_retriever
from visor_core.nano.world import write_world


def test_maxsim_sums_the_best_match_of_every_query_token() -> None:
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    pages = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 0.25], [0.0, 0.0]]])
    assert maxsim(queries, pages).tolist() == [[1.5, 0.25]]


def test_the_loss_of_equal_scores_is_the_log_of_the_batch() -> None:
    same = torch.ones(3, 2, 4)
    assert float(contrastive_loss(same, same)) == pytest.approx(math.log(3))


def test_training_resumes_and_the_folder_loads_in_the_index(tmp_path: Path) -> None:
    config = NanoConfig(train_corpora=1, companies=2, topics=2)
    pages = titled_pages(write_world(tmp_path / "pdf", "train", config, seed=0))
    assert {page.title.split()[1] for page in pages} >= {"report"}
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, tmp_path / "base")
    steps: list[dict[str, float]] = []
    options = {"steps": 4, "batch_size": 4, "seed": 1}
    whole = train_retriever(tmp_path / "base", pages, tmp_path / "whole", on_step=steps.append, **options)  # type: ignore[arg-type]
    assert [s["step"] for s in steps] == [1, 2, 3, 4]

    class KilledError(Exception):
        pass

    def kill(figures: dict[str, float]) -> None:
        if figures["step"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_retriever(tmp_path / "base", pages, tmp_path / "killed", save_steps=2, on_step=kill, **options)  # type: ignore[arg-type]
    (tmp_path / "base").rename(tmp_path / "moved")
    resumed = train_retriever(tmp_path / "moved", pages, tmp_path / "killed", save_steps=2, **options)  # type: ignore[arg-type]
    assert str(tmp_path) not in (resumed / "config.json").read_text(encoding="utf-8")
    first, second = LateInteractionEmbedder(str(whole), "late"), LateInteractionEmbedder(str(resumed), "late")
    assert first.fingerprint == second.fingerprint
    vectors = first.embed_query("acme staff")
    assert vectors.shape[1] == first.dimension == 64


def test_pages_of_one_title_teach_nothing(tmp_path: Path) -> None:
    config = NanoConfig(train_corpora=1, companies=2, topics=1)
    pages = titled_pages(write_world(tmp_path / "pdf", "train", config, seed=0))
    with pytest.raises(DataError, match="two distinct titles"):
        train_retriever(tmp_path / "base", pages[:1], tmp_path / "out", steps=1)
