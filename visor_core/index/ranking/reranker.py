"""The learnt order of candidates: a weighted sum of their features, its weights stored beside this module.

The weights are learnt on questions about reports that the project makes itself (`make ranker` learns them again) and
held near a prior that was set by hand, so that what the made questions do not tell stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from visor_core.index.ranking.features import NAMES, Matrix

PRIOR: Mapping[str, float] = {
    "text": 2.0,
    "text rank": 1.0,
    "passages": 1.0,
    "passages rank": 0.5,
    "words": 0.5,
    "phrases": 1.0,
    "place": 0.3,
    "page number": 2.0,
    "number": 0.5,
    "document named": 2.0,
    "document": 0.3,
}
"""Weights that learning starts from, 0 where none is given."""
WEIGHTS_FILE = "weights.json"


@lru_cache
def weights() -> npt.NDArray[np.float32]:
    """The learnt weights, (F,), in the order of `features.NAMES`.

    Raises:
        ValueError: if the file beside this module is of other features: `make ranker` writes it.
    """
    held = json.loads(files(__package__).joinpath(WEIGHTS_FILE).read_text(encoding="utf-8"))["weights"]
    if set(held) != set(NAMES):
        raise ValueError(f"{WEIGHTS_FILE} is of other features than {__package__}.features: run `make ranker`")
    return np.array([held[name] for name in NAMES], np.float32)


def relevance(features: Matrix) -> npt.NDArray[np.float32]:
    """(N, F) features → (N,) scores; larger fits better."""
    return np.asarray(features @ weights(), np.float32)


def prior() -> npt.NDArray[np.float32]:
    """The weights that learning starts from, (F,)."""
    return np.array([PRIOR.get(name, 0.0) for name in NAMES], np.float32)
