"""Which settings a corpus is read and indexed under in the graph.

The synthetic corpora belong to their profile and follow it. A user's corpus keeps the settings it was made under,
whatever profile the page runs under; a new one takes the profile's, or the defaults where the profile is the synthetic
world's: its resolution and its retriever are for toy pages. Settings are changed by `visor ingest`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from visor_core.config import PER_CALL, DocumentsConfig, Home, IndexConfig, Profile, Section
from visor_core.index import Corpus, settle
from visor_core.index.settings import Settled
from visor_core.index.tags import stored_spec

_S = TypeVar("_S", bound=Section)
NANO_RETRIEVER = "late:retriever"
"""In a profile: the asset `retriever`. Trained on nano pages, it serves the profile's own corpora only."""


def is_synthetic(profile: Profile, corpus: str) -> bool:
    """Whether a corpus is made by the profile's synthetic world."""
    return profile.nano is not None and corpus in profile.corpora.names


def split_of(profile: Profile, corpus: str) -> str:
    """The split of the synthetic world that a synthetic corpus holds."""
    return "train" if corpus == profile.corpora.train else "development"


def with_retriever(config: IndexConfig, folder: Path) -> IndexConfig:
    """The index section with the asset `retriever` replaced by the folder where it lies."""
    specs = tuple(f"late:{folder}" if spec == NANO_RETRIEVER else spec for spec in config.embedders)
    return config.model_copy(update={"embedders": specs})


def settings_of(profile: Profile, home: Home, corpus: str) -> Settled:
    """The settings that hold for a corpus, with what the profile says otherwise of a user's."""
    if is_synthetic(profile, corpus):
        return Settled(profile.documents, profile.index)
    documents, index = profile.documents, profile.index
    if profile.nano is not None:
        documents = _of_a_call("documents", DocumentsConfig(), documents)
        index = _of_a_call("index", IndexConfig(), index)
    embedders = tuple(spec for spec in index.embedders if spec != NANO_RETRIEVER)
    index = index.model_copy(update={"embedders": embedders})
    return settle(Corpus(home.corpus(corpus)), documents, index)


def kept(profile: Profile, corpus: str, home: Home) -> dict[str, Any]:
    """What of the settings decides a build of a corpus (`Stage.kept`)."""
    settled = settings_of(profile, home, corpus)
    embedders = [stored_spec(Corpus(home.corpus(corpus)), spec) for spec in settled.index.embedders]
    index = settled.index.model_copy(update={"embedders": tuple(embedders)})
    language = settled.documents.language
    return {"documents": settled.documents, "index": index, "embedders": embedders, "language": language}


def _of_a_call(name: str, defaults: _S, given: _S) -> _S:
    """The defaults, with what belongs to a call as given."""
    return defaults.model_copy(update={field: getattr(given, field) for field in PER_CALL[name]})
