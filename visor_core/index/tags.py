"""Index tags: a manifest over all tables, published last and by an atomic rename.

A tag names one state of the corpus: (table, version) for every table, what can be searched, and the content hash of it
all. The versions are also tagged inside LanceDB, so that a compaction keeps them readable.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from visor_core.config import embedder_parts
from visor_core.errors import SearchIndexError
from visor_core.files import flush, whole_file
from visor_core.index.corpus import Corpus


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A searchable vector column: its embedder, where its statistics of the index lie, and whether it
    has an approximate index."""

    column: str
    name: str
    spec: str
    fingerprint: str
    dimension: int
    multi_vector: bool
    statistics: str = ""
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published state of a corpus. `data_version` depends on content alone; the rest locates it.

    `rarity` is the file under `statistics/` that says how common terms are.
    """

    tag: str
    data_version: str
    tables: dict[str, int]
    vectors: tuple[VectorColumn, ...]
    settings: dict[str, Any]
    counts: dict[str, int]
    documents_version: str
    pages_version: str
    rarity: str = ""


def check_tag(tag: str) -> str:
    """A tag fit to be a file name.

    Raises:
        SearchIndexError: if it is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", tag) or tag.endswith(".json"):
        raise SearchIndexError(f"{tag[:60]!r} is no index tag: use letters, digits, dots, dashes and underscores")
    return tag


def stored_spec(corpus: Corpus, spec: str) -> str:
    """An embedder as a corpus stores it: one whose folder lies in the same VISOR_HOME by the way there from the corpus,
    so that the home can be moved."""
    kind, source, _ = embedder_parts(spec)
    root, folder = corpus.root.resolve(), Path(source)
    if root.parent.name != "corpora" or not folder.is_absolute():
        return spec
    if not folder.resolve().is_relative_to(root.parents[1]):
        return spec
    return f"{kind}:{Path(os.path.relpath(folder.resolve(), root)).as_posix()}"


def opened_spec(corpus: Corpus, spec: str) -> str:
    """An embedder as it is loaded: a stored way from the corpus as the folder it leads to."""
    kind, _, source = spec.partition(":")
    return f"{kind}:{(corpus.root / source).resolve()}" if source.startswith("../") else spec


def recorded_manifest(corpus: Corpus, manifest: Manifest) -> dict[str, Any]:
    """A manifest as it is stored, here and in a lineage: it names no place outside the home."""
    vectors = [asdict(replace(vector, spec=stored_spec(corpus, vector.spec))) for vector in manifest.vectors]
    return asdict(manifest) | {"vectors": vectors}


def publish(corpus: Corpus, manifest: Manifest) -> None:
    """Make a manifest visible under its tag and as `latest`; a reader sees the old one or the new one."""
    store(corpus, manifest, (manifest.tag, "latest"))


def store(corpus: Corpus, manifest: Manifest, names: Sequence[str]) -> None:
    """Put a manifest in the place of each of the named tags, and hold on to the versions that it names."""
    corpus.tags.mkdir(parents=True, exist_ok=True)
    for name, version in manifest.tables.items():
        pins = corpus.table(name).tags
        label = f"v{version}"
        if label not in pins.list():
            pins.create(label, version)
    written = json.dumps(recorded_manifest(corpus, manifest), indent=1, sort_keys=True)
    for name in names:
        with whole_file(corpus.tags / f"{name}.json", several_writers=True) as partial:
            partial.write_text(written, encoding="utf-8")
            flush(partial)


def read_manifest(corpus: Corpus, tag: str) -> Manifest:
    """The manifest of a tag.

    Raises:
        SearchIndexError: if the corpus or the tag does not exist, or the manifest is damaged.
    """
    path = corpus.tags / f"{check_tag(tag)}.json"
    if not path.is_file():
        if not corpus.root.is_dir():
            raise SearchIndexError(f"no corpus at {corpus.root}: ingest documents first")
        known, named = ", ".join(list_tags(corpus)), quote(corpus.root.name)
        raise SearchIndexError(
            f"corpus {corpus.root.name!r} has no index tag {tag[:60]!r}: "
            + (
                f"give --tag one of {known}, as `visor index tags --corpus {named}` lists them"
                if known
                else f"it was not built yet; `visor ingest PATH --corpus {named}` builds it"
            )
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        vectors = tuple(VectorColumn(**v | {"spec": opened_spec(corpus, v["spec"])}) for v in data.pop("vectors"))
        return Manifest(vectors=vectors, **data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SearchIndexError(
            f"the manifest {path.name} of corpus {corpus.root.name!r} is damaged: build again"
        ) from error


def list_tags(corpus: Corpus) -> list[str]:
    """All tags, by name."""
    return sorted(path.stem for path in corpus.tags.glob("*.json"))


def latest_version(corpus: Corpus) -> str:
    """The data version of the index published last; empty where there is none."""
    return read_manifest(corpus, "latest").data_version if "latest" in list_tags(corpus) else ""
