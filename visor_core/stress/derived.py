"""A corpus made from another by a change: documents edited, added or left out. The original is read, never written.

Data that LanceDB and the sources folder never write twice is shared by hard links, so that a derived corpus costs what
changed: an edited document is read, rendered and indexed anew, all others keep their rows. It lies beside the original
under a name of what was done, with `derived.json`, written last: whoever asks for the same change finds it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from visor_core.code_version import code_behind, code_version
from visor_core.config import DocumentsConfig
from visor_core.config.derived_corpora import derived_name
from visor_core.documents.sources import document_id_of, local_path, readable_path
from visor_core.errors import ConfigError, DataError, DocumentError, SearchIndexError
from visor_core.files import write_json, write_text
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.corpus import delete_by
from visor_core.index.records import Document, page_id_of, split_page_id
from visor_core.index.settings import read_settings, reading_settings
from visor_core.index.validating import password_for
from visor_core.metadata import OF_FOLDER, as_sidecar
from visor_core.stress.editor import Editor, Job
from visor_core.stress.edits import Edit, Print, Whole, as_json

RECORD = "derived.json"
_WRITTEN_ONCE = ("sources", "data", "_indices", "statistics")
"""Folders of a corpus whose files are never written again once they are there."""


@dataclass(frozen=True)
class Change:
    """What is done to a corpus. `edits` are by document id, `added` maps files to the partition they go to, `without`
    names documents that are left out."""

    edits: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)
    added: Mapping[Path, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.edits or self.added or self.without)


@dataclass(frozen=True)
class Derived:
    """A corpus that is there.

    `documents` maps the id of every edited document to that of its edited copy; `faults` has for every document that
    was to be edited what could not be done, an entry an edit, or the reason alone where nothing of it could.
    """

    name: str
    tag: str
    documents: dict[str, str]
    faults: dict[str, list[str] | str]

    def page_id(self, original: str) -> str:
        """What a page of the original corpus is called here."""
        document, page = split_page_id(original)
        return page_id_of(self.documents.get(document, document), page)

    def fault(self, document: str, edit: int) -> str:
        """Why an edit is not there; empty if it is."""
        told = self.faults.get(document, "")
        return told if isinstance(told, str) else told[edit]


def derive(index: PageIndex, change: Change, kind: str, config: DocumentsConfig | None = None) -> Derived:
    """The corpus of an index with a change made to it; found again if it was made before.

    Args:
        index: the original, at the tag that is changed.
        kind: a word for the name of the corpus.
        config: passwords and what belongs to a call; all else is the original's.

    Raises:
        DataError: if no document is left.
        SearchIndexError: if the original is not there as its tag says, or a corpus cannot be written.
    """
    original = index.corpus
    if change.empty:
        return Derived(original.root.name, index.tag, {}, {})
    recipe = _digest(index, change)
    target = Corpus(original.root.with_name(derived_name(original.root.name, kind, recipe)))
    if (found := _read(target, recipe)) is not None:
        return found
    if not target.root.is_dir():
        _copy(index, target)
    reading, indexing = reading_settings(target, config), read_settings(target).index
    if indexing is None:
        raise SearchIndexError(f"corpus {original.root.name!r} has no index: `visor ingest` makes one")
    copies, faults = _edited(index, change, target, reading)
    documents = {old: document_id_of(path) for old, path in copies.items()}
    _register(target, index, change, copies, reading)
    for old, new in documents.items():
        _carry_over(target, old, new, _touched(change.edits[old]))
    rendered = render_pages(target, reading)
    unreadable = {local_path(refused.uri): refused.reason for refused in rendered.quarantined}
    faults |= {old: unreadable[path] for old, path in copies.items() if path in unreadable}
    built = build_index(target, indexing, load_embedders(indexing))
    derived = Derived(target.root.name, built.index_tag, documents, faults)
    write_json(target.root / RECORD, {"of": original.root.name, "recipe": recipe, **asdict(derived)})
    return derived


@cache
def _code() -> str:
    """The code version of what edits."""
    return code_version(*code_behind("visor_core.stress.editing", within=("visor_core.stress",)))


def _digest(index: PageIndex, change: Change) -> str:
    """What a derived corpus is made of, in 12 hex digits."""
    parts = [
        index.data_version,
        _code() if change.edits else "",
        {document: [as_json(edit) for edit in edits] for document, edits in sorted(change.edits.items())},
        sorted((document_id_of(path), path.name, partition) for path, partition in change.added.items()),
        sorted(change.without),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _read(target: Corpus, recipe: str) -> Derived | None:
    """What an earlier call made, if it is whole."""
    try:
        told: dict[str, Any] = json.loads((target.root / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{target.root / RECORD} is damaged: delete the folder {target.root}") from error
    if told["recipe"] != recipe or target.lost():
        raise SearchIndexError(f"corpus {target.root.name!r} lost some of its files: delete the folder {target.root}")
    return Derived(told["name"], told["tag"], told["documents"], told["faults"])


def _copy(index: PageIndex, target: Corpus) -> None:
    """A copy of a corpus without its caches, its tables as the tag has them; what is written once as links."""
    original = index.corpus
    partial = target.root.with_name(f"{target.root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)

    def place(source: str, copy: str) -> str:
        inside = Path(source).relative_to(original.root).parts[:-1]
        if any(part in _WRITTEN_ONCE for part in inside):
            try:
                os.link(source, copy)
            except OSError:  # a file system without links
                shutil.copy2(source, copy)
        else:
            shutil.copy2(source, copy)
        return copy

    def caches(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) == original.root and name in ("crops", "edited", RECORD)]

    shutil.copytree(original.root, partial, copy_function=place, ignore=caches)
    copied = Corpus(partial)
    with copied.writing():
        for name, version in index.manifest.tables.items():
            table = copied.table(name)
            if table.version != version:
                table.checkout(version)
                table.restore()
    partial.rename(target.root)


def _edited(
    index: PageIndex, change: Change, target: Corpus, config: DocumentsConfig
) -> tuple[dict[str, Path], dict[str, list[str] | str]]:
    """The edited copies by the id of their document, and what could not be done to each."""
    copies: dict[str, Path] = {}
    faults: dict[str, list[str] | str] = {}
    documents = {document.document_id: document for document in index.documents()}
    with Editor(config) as editor:
        for document_id, edits in sorted(change.edits.items()):
            document = documents[document_id]
            path = target.root / "edited" / document_id / document.filename
            try:
                job = _job(index, document, path, edits, config)
                faults[document_id] = told = editor.edit(job)
            except (DocumentError, ConfigError) as error:
                faults[document_id] = str(error)
                continue
            if not all(told):
                copies[document_id] = path
                if document.metadata:  # what is said of a document is said of its copy
                    write_text(path.with_name(OF_FOLDER), as_sidecar(document.metadata))
    return copies, faults


def _job(index: PageIndex, document: Document, path: Path, edits: tuple[Edit, ...], config: DocumentsConfig) -> Job:
    source = readable_path(index.corpus.sources, document.document_id, document.media_type)
    return Job(source, path, edits, document.num_pages, password_for(config, document.filename))


def _register(
    target: Corpus, index: PageIndex, change: Change, copies: Mapping[str, Path], config: DocumentsConfig
) -> None:
    """Take the old documents out, the edited and added ones in.

    Raises:
        DataError: if no document is left.
    """
    partitions = {document.document_id: document.partition for document in index.documents()}
    belongs = {path: partitions[document] for document, path in copies.items()} | dict(change.added)
    gone = {*copies, *change.without}
    if not belongs and gone >= set(partitions):
        raise DataError("the change leaves no document in the corpus")
    with target.writing():
        delete_by(target.table("documents"), "document_id", gone)
    if belongs:
        register_documents(target, list(belongs), config, partition_of=lambda path: belongs[path])


def _touched(edits: Sequence[Edit]) -> frozenset[int] | None:
    """The pages that edits change; None for all, or where they change the words that the index adds to each."""
    if any(isinstance(e, Whole) or (isinstance(e, Print) and e.place == "metadata") for e in edits):
        return None
    return frozenset(edit.page for edit in edits if not isinstance(edit, Whole))


def _carry_over(target: Corpus, old: str, new: str, touched: frozenset[int] | None) -> None:
    """Rows of the pages that an edit left alone, under the edited document's id: they are not rendered again."""
    if touched is None:
        return
    with target.writing():
        for name in ("pages", "images"):
            table = target.table(name)
            if table.count_rows(f"document_id = '{new}'"):
                continue  # an earlier call came this far
            held = table.search().where(f"document_id = '{old}'").limit(None).to_arrow()
            numbers = [split_page_id(page_id)[1] for page_id in held["page_id"].to_pylist()]
            held = held.filter(pa.array([number not in touched for number in numbers], pa.bool_()))
            ids = [page_id_of(new, number) for number in numbers if number not in touched]
            for column, values in (("page_id", ids), ("document_id", [new] * len(ids))):
                at = held.schema.get_field_index(column)
                held = held.set_column(at, held.schema.field(at), pa.array(values, pa.string()))
            if held.num_rows:
                table.add(held)
