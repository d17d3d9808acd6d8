"""One tiny checkpoint for the whole package, and hand-made rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tiny_model import build_processor, picture, save_checkpoint
from visor_core.policies.encoding import Encoder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Idefics3 as a Hugging Face folder."""
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The tiny model's processor path."""
    return Encoder(build_processor(), picture)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny models run fastest on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
