"""What a lineage was given from outside, by hash: documents, questions, weights of the hub, a teacher's replies.

Each is looked for where it was kept, and where it came from. What is found nowhere is named before anything starts.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets_defs.machinery.stage import CHECKPOINT_FILES, folder_version
from visor_core.config import Home
from visor_core.documents.sources import document_id_of, is_remote, local_path, stored_path
from visor_core.files import write_text
from visor_core.index import Corpus
from visor_core.lineage.graph import EVALUATION, Build, Lineage
from visor_core.metadata import OF_FOLDER, as_sidecar
from visor_core.questions import questions_version, read_questions


@dataclass(frozen=True, slots=True)
class GivenCorpus:
    """A corpus of documents from outside: the settings it was made under, and each file with its place in the inbox."""

    name: str
    settings: dict[str, Any]
    files: tuple[tuple[Path, str], ...]
    said: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Metadata by the place of the sidecar file that says them."""


@dataclass
class Sources:
    """What was found: corpora, further files with their places under the new home, settings of the profile that name
    them, and in words what was not found."""

    corpora: list[GivenCorpus] = field(default_factory=list)
    files: list[tuple[Path, str]] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.files) + sum(len(corpus.files) for corpus in self.corpora)


def find_sources(home: Home, lineage: Lineage) -> Sources:
    """Look for everything a lineage was given from outside.

    Args:
        home: the home that recorded it.
    """
    found = Sources()
    for build in lineage.builds:
        if build.stage == "documents" and not build.upstream:
            _find_documents(home, build, build.partition, _settings_of(build.partition, lineage), found)
        elif build.stage == EVALUATION:
            _find_of_evaluation(home, build, found)
        elif build.stage == "questions" and "from_outside" in build.stored:
            _find_questions(home, build, found)
        elif build.stage == "base_model" and "from_outside" in build.stored:
            _find_weights(home, build, found)
        elif build.stage == "teacher_trajectories" and _asks_a_server(build):
            replies = home.asset("teacher_trajectories", "episodes")
            if replies.is_dir():
                found.files.append((replies, "assets/teacher_trajectories/episodes"))
    return found


def _asks_a_server(build: Build) -> bool:
    configuration = build.stored["configuration"]
    return configuration.get("nano") is None and bool(configuration["teacher"].get("endpoint"))


def _settings_of(corpus: str, lineage: Lineage) -> dict[str, Any]:
    """The sections of a corpus as its builds recorded them."""
    settings: dict[str, Any] = {}
    for build in lineage.builds:
        if build.partition == corpus and build.stage in ("documents", "page_index"):
            settings |= {name: build.stored["settings"][name] for name in ("documents", "index") if name in
                         build.stored["settings"]}  # fmt: skip
    return settings


def _find_documents(home: Home, build: Build, corpus: str, settings: dict[str, Any], found: Sources) -> None:
    files, said = [], []
    for row in build.stored["documents"]:
        path = _bytes_of(home, corpus, row)
        if path is None:
            found.missing.append(f"{row['filename']} of corpus {corpus} (SHA-256 {row['document_id']}…)")
        else:
            # A folder each: two documents may have one name.
            folder = row["document_id"][:12]
            files.append((path, f"{folder}/{row['filename']}"))
            if row.get("metadata"):
                said.append((f"{folder}/{OF_FOLDER}", tuple(row["metadata"])))
    found.corpora.append(GivenCorpus(corpus, settings, tuple(files), tuple(said)))


def _bytes_of(home: Home, corpus: str, row: dict[str, Any]) -> Path | None:
    """A file with the bytes of a document: the corpus's copy, or the original if it is what it was."""
    kept = stored_path(Corpus(home.corpus(corpus)).sources, row["document_id"])
    uri = str(row["source_uri"])
    for path in (kept, *(() if is_remote(uri) or not uri else (local_path(uri),))):
        if path.is_file() and document_id_of(path) == row["document_id"]:
            return path
    return None


def _find_questions(home: Home, build: Build, found: Sources) -> None:
    wanted = build.stored["from_outside"]["questions"]
    if not build.stored["figures"]["questions"]:
        return
    inbox = home.root / "inbox" / f"{build.partition}.questions.parquet"
    folder = build.folder(home)
    for path in (folder / "questions.parquet", folder / f"questions-{wanted}.parquet", inbox):
        if path.is_file() and questions_version(read_questions(path)) == wanted:
            found.files.append((path, f"inbox/{build.partition}.questions.parquet"))
            return
    found.missing.append(f"the questions of corpus {build.partition} (version {wanted})")


def _find_weights(home: Home, build: Build, found: Sources) -> None:
    name, wanted = str(build.stored["from_outside"]["model"]), build.stored["from_outside"]["files"]
    named = Path(name).expanduser()
    for folder in (named, build.folder(home)):
        if folder.is_dir() and folder_version(folder, *CHECKPOINT_FILES) == wanted:
            if folder != named or not named.is_absolute():
                found.overrides["model.name"] = str(folder.resolve())
            return
    from huggingface_hub import try_to_load_from_cache

    if named.is_absolute() or not isinstance(try_to_load_from_cache(name, "config.json"), str):
        found.missing.append(f"the weights of {name} (version {wanted})")


def _find_of_evaluation(home: Home, build: Build, found: Sources) -> None:
    """The documents of a corpus that was ingested outside the graph, a question file, a checkpoint of elsewhere."""
    if documents := build.stored.get("documents"):
        corpus = str(build.stored["call"]["corpus"])
        _find_documents(home, build, corpus, build.stored["corpus_settings"], found)
        assert documents
    for what, path in _named_files(build):
        if path is None:
            found.missing.append(what)


def _named_files(build: Build) -> Iterator[tuple[str, Path | None]]:
    given = build.stored.get("from_outside", {})
    call = build.stored["call"]
    if wanted := given.get("questions"):
        from visor_core.evaluation.importing import digest_of_source

        path = Path(call["questions"])
        there = path.exists() and digest_of_source(path) == wanted
        yield f"the questions {path} (SHA-256 {wanted[:16]}…)", path if there else None
    if wanted := given.get("checkpoint"):
        from visor_core.policies.identity import checkpoint_digest

        path = Path(call["checkpoint"])
        there = path.is_dir() and checkpoint_digest(path) == wanted
        yield f"the checkpoint {path} (digest {wanted})", path if there else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def place_sources(sources: Sources, home: Home) -> None:
    """Copy what was found to where the stages of a new home look for it."""
    wanted = [(path, home.root / place) for path, place in sources.files]
    wanted += [(path, home.inbox(corpus.name) / place) for corpus in sources.corpora for path, place in corpus.files]
    for path, target in wanted:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
    for corpus in sources.corpora:
        for place, lines in corpus.said:
            write_text(home.inbox(corpus.name) / place, as_sidecar(lines))
