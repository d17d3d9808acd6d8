"""Asset `documents`: sources → rows of the table documents, each `ok` or quarantined with its reason.

A document is its bytes: identity is their hash, so an unchanged file costs a read of it and of its copy, and a changed
one is a new document whose predecessor is retired. Opening happens in worker processes. Rendering is `pages`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from visor_core.config import DocumentsConfig
from visor_core.documents.formats import ATTACHED
from visor_core.documents.patience import Patience
from visor_core.documents.pool import WorkerPool
from visor_core.documents.remote import fetch, is_object_store, list_folders
from visor_core.documents.sources import (
    Refused,
    Source,
    document_id_of,
    expand,
    is_gone,
    is_remote,
    keep_copy,
    local_path,
    shown_address,
    source_key,
    stored_path,
    uri_of,
)
from visor_core.errors import DocumentError
from visor_core.index.attachments import take_out
from visor_core.index.corpus import SCHEMAS, Corpus, delete_by, rows, upsert
from visor_core.index.validating import Progress, needing_validation, validate
from visor_core.metadata import Sidecars, lines_of, parse_metadata

DOCUMENT_COLUMNS = (
    "document_id",
    "filename",
    "source_uri",
    "other_uris",
    "partition",
    "media_type",
    "num_bytes",
    "num_pages",
    "title",
    "status",
    "reason",
    "reader_key",
    "given",
    "metadata",
)
_MOST_REMOVED = 5
"""Of so many documents of a mirrored folder one may go at once without a word."""
REGISTERED = pa.schema([SCHEMAS["documents"].field(name) for name in DOCUMENT_COLUMNS])
"""What registering writes of the table documents; the words that name a document are written as it is indexed."""


@dataclass(frozen=True)
class DocumentsReport:
    """What a registration did; `quarantined` holds every source that is no readable document, of earlier runs too."""

    documents: int
    pages: int
    added: int
    unchanged: int
    retired: int
    duplicates: int
    quarantined: tuple[Refused, ...]
    data_version: str
    skipped: tuple[Refused, ...] = ()
    """Files of the given folders that are not read, by their kind."""
    added_ids: tuple[str, ...] = field(default=(), repr=False)
    kept_gone: tuple[str, ...] = ()
    """Mirrored folders of which too much is gone to retire it without a word, and how much."""


def register_documents(
    corpus: Corpus,
    sources: Sequence[str | Path],
    config: DocumentsConfig,
    *,
    partition_of: Callable[[Path], str] | None = None,
    prune: bool = False,
    exactly: bool = False,
    mirrored: Sequence[Path] = (),
    metadata: Sequence[str] = (),
    remove_many: bool = False,
    progress: Progress | None = None,
    pool: WorkerPool | None = None,
    say: Callable[[str], None] | None = None,
) -> DocumentsReport:
    """Bring the table documents in line with the sources.

    Args:
        corpus: where to.
        sources: files, folders, http(s) addresses, objects and folders of object stores.
        config: renderer, limits, passwords.
        partition_of: names the partition of a local file; none puts all in "".
        prune: also retire documents whose file is gone, or which lie under a given folder and were not found there.
        exactly: also retire every document that the sources do not hold, wherever it came from.
        mirrored: also retire documents whose file lay under one of these folders and is gone; none, if a folder is
            empty or cannot be read, or if that were more than one document and a fifth of what it holds.
        metadata: lines `key=value` for all of these sources, over what their sidecar files say; `key=` takes it away.
        remove_many: retire however many are gone from a mirrored folder.
        progress: called as documents are validated.
        pool: workers that open the documents; none starts some and ends them.
        say: told what pruning costs, before it is done.

    Raises:
        ConfigError: if a line of `metadata` is none.
    """
    with corpus.writing(anew=exactly):
        corpus.remove_partial_files()
        table = corpus.table("documents")
        known = {row["document_id"]: row for row in rows(table, DOCUMENT_COLUMNS)}
        before = {document_id: json.dumps(row, sort_keys=True) for document_id, row in known.items()}
        _refill(corpus, known, config, say)
        with Patience() as patience:
            listed, unlisted, passed = list_folders(sources, config, patience)
            expanded = expand(listed, partition_of=partition_of)
            found, refused, skipped = expanded.found, [*expanded.refused, *unlisted], [*expanded.skipped, *passed]
            unread = tuple(r.uri.rstrip("/") + "/" for r in refused)
            arrived, unreadable = _copies(corpus, found, config, patience)
            refused += unreadable
        if config.attachments:
            held = take_out(corpus, arrived, known, config)
            found, arrived = [*found, *held.found], [*arrived, *held.arrived]
            refused, skipped = [*refused, *held.refused], [*skipped, *held.skipped]
        _rename(known, found)
        seen = _claim(known, arrived)
        fresh = needing_validation(corpus, seen, config)
        validate(corpus, fresh, config, progress, pool)
        gone = _prune(known, found, unread, "" if exactly else _prefixes(sources)) if exactly or prune else set()
        kept_gone: list[str] = []
        for folder in mirrored:
            removed, why = _removed(known, folder, many=remove_many)
            gone |= removed
            kept_gone += [why] if why else []
        gone |= _detached(known, {source.uri for source in found})
        retired = _retire(known, seen, gone)
        if say:
            for why in kept_gone:
                say(why)
        if say and gone and retired:
            say(_price([known[document_id] for document_id in sorted(retired)]))
        _name_after_source(known, found)
        refused += _describe(seen, sources, metadata)
        # In this order a kill in between loses rows, which the next run adds again; in the other it would leave two
        # documents with one address.
        delete_by(table, "document_id", retired & set(before))
        changed = [r for i, r in known.items() if i not in retired and json.dumps(r, sort_keys=True) != before.get(i)]
        upsert(table, pa.Table.from_pylist(changed, schema=REGISTERED))
        current = [r for r in known.values() if r["document_id"] not in retired]
    added = tuple(sorted(r["document_id"] for r in fresh if r["status"] == "ok"))
    lost = [Refused(r["source_uri"], r["filename"], r["reason"]) for r in current if r["status"] != "ok"]
    return DocumentsReport(
        documents=sum(r["status"] == "ok" for r in current),
        pages=sum(r["num_pages"] for r in current if r["status"] == "ok"),
        added=len(added),
        unchanged=len(seen) - len(fresh),
        retired=len(retired),
        duplicates=len(arrived) - len({document_id for _, document_id, _ in arrived}),
        quarantined=tuple(sorted([*refused, *lost], key=lambda r: (r.filename, r.uri))),
        data_version=documents_version(current),
        skipped=tuple(sorted(skipped, key=lambda r: (r.filename, r.uri))),
        added_ids=added,
        kept_gone=tuple(kept_gone),
    )


def documents_version(current: Sequence[dict[str, Any]]) -> str:
    """Content hash of a set of document rows; independent of paths, of time and of their order."""
    # Metadata count where there are any, so that the version of a corpus without stays what it was.
    fields = ("document_id", "filename", "partition", "num_pages", "title", "status", "reason", "reader_key")
    lines = sorted(json.dumps([row[f] for f in fields] + ([m] if (m := row["metadata"]) else [])) for row in current)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def recorded_documents(corpus: Corpus) -> list[dict[str, Any]]:
    """The documents of a corpus as a lineage names them: by hash, with name, size and state, sorted by hash."""
    fields = ["document_id", "filename", "source_uri", "partition", "num_bytes", "num_pages", "status", "metadata"]
    return sorted(rows(corpus.table("documents"), fields), key=lambda row: str(row["document_id"]))


def _copies(
    corpus: Corpus, found: Sequence[Source], config: DocumentsConfig, patience: Patience
) -> tuple[list[tuple[Source, str, int]], list[Refused]]:
    """Each source copied under its hash: (source, document id, bytes), and those that cannot be read."""
    arrived, refused = [], []
    for source in found:
        try:
            if source.path is None:
                with fetch(source.address, config, corpus.root, patience) as path:
                    document_id, _, size = keep_copy(path, corpus.sources, config.max_bytes)
            else:
                document_id, _, size = keep_copy(source.path, corpus.sources, config.max_bytes)
        except DocumentError as error:
            refused.append(Refused(source.uri, source.filename, str(error)))
        else:
            arrived.append((source, document_id, size))
    return arrived, refused


def _refill(
    corpus: Corpus, known: dict[str, dict[str, Any]], config: DocumentsConfig, say: Callable[[str], None] | None
) -> None:
    """Copy again what lies no longer under sources/, from the files that the documents came from."""
    for document_id, row in known.items():
        if stored_path(corpus.sources, document_id).is_file():
            continue
        uris = [uri for uri in (row["source_uri"], *row["other_uris"]) if uri.startswith("file://")]
        same = [p for p in map(local_path, uris) if p.is_file() and document_id_of(p) == document_id]
        if same:
            keep_copy(same[0], corpus.sources, config.max_bytes)
        elif say:
            say(f"the copy of {row['filename']} is lost and so is what it was made of: ingest that document again")


def _rename(known: dict[str, dict[str, Any]], found: Sequence[Source]) -> None:
    """A source that is known under the other Unicode form of its name is known under the one it has now.

    Where files of both forms are there, they are two sources.
    """
    present = {source.uri for source in found}
    stored = {uri for row in known.values() for uri in (row["source_uri"], *row["other_uris"])}
    fresh = {source_key(uri): uri for uri in sorted(present - stored)}
    for row in known.values():
        for uri in (row["source_uri"], *row["other_uris"]):
            now = fresh.get(source_key(uri), uri)
            if now == uri or uri in present or not is_gone(uri):
                continue
            row["other_uris"] = [now if other == uri else other for other in row["other_uris"]]
            row["source_uri"] = now if row["source_uri"] == uri else row["source_uri"]


def _price(retired: Sequence[dict[str, Any]]) -> str:
    """What retiring documents costs, in a line."""
    names = ", ".join(sorted(row["filename"] for row in retired)[:5])
    more = f" and {len(retired) - 5} more" if len(retired) > 5 else ""
    pages = sum(row["num_pages"] for row in retired)
    return f"retires {len(retired)} documents ({names}{more}): {pages:,} pages and their vectors go"


def _claim(known: dict[str, dict[str, Any]], arrived: Sequence[tuple[Source, str, int]]) -> dict[str, dict[str, Any]]:
    """Give every arrived source to the document of its bytes, taking it from the document it belonged to before."""
    owner = {uri: row for row in known.values() for uri in (row["source_uri"], *row["other_uris"])}
    seen: dict[str, dict[str, Any]] = {}
    for source, document_id, size in sorted(arrived, key=lambda item: item[0].uri):
        previous = owner.get(source.uri)
        if previous is not None and previous["document_id"] != document_id:
            _drop_uri(previous, source.uri)
        row = known.get(document_id)
        if row is None:
            row = {
                "document_id": document_id,
                "filename": source.filename,
                "source_uri": source.uri,
                "other_uris": [],
                "partition": source.partition,
                "media_type": "",
                "num_bytes": size,
                "num_pages": 0,
                "title": "",
                "status": "new",
                "reason": "",
                "reader_key": "",
                "given": [],
                "metadata": [],
            }
            known[document_id] = row
        elif not row["source_uri"]:
            row |= {"source_uri": source.uri, "filename": source.filename, "partition": source.partition}
        elif source.uri == row["source_uri"]:
            row |= {"filename": source.filename, "partition": source.partition}
        elif source.uri not in row["other_uris"]:
            row["other_uris"] = sorted([*row["other_uris"], source.uri])
        seen[document_id] = row
    return seen


def _drop_uri(row: dict[str, Any], uri: str) -> None:
    """Take a source from a document; its next one, if any, becomes its name."""
    remaining = [u for u in (row["source_uri"], *row["other_uris"]) if u and u != uri]
    row["source_uri"], row["other_uris"] = (remaining[0], remaining[1:]) if remaining else ("", [])


def _prefixes(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """What the URIs of files under the given folders, local ones and of object stores, begin with."""
    local = [uri_of(local_path(s)) for s in sources if not is_remote(str(s))]
    stored = [shown_address(str(s)) for s in sources if is_object_store(str(s))]
    return tuple(f"{uri.rstrip('/')}/" for uri in (*local, *stored))


def _prune(
    known: dict[str, dict[str, Any]], found: Sequence[Source], unread: tuple[str, ...], covered: str | tuple[str, ...]
) -> set[str]:
    """URIs that are to be retired: local files that are gone, and what was not found again where all was looked at.

    Args:
        unread: prefixes of URIs that were refused: only what is known to be gone is retired under them.
        covered: prefixes of URIs that the sources stand for; "" is all there are.
    """
    present = {source.uri for source in found}
    return {
        uri
        for row in known.values()
        for uri in (row["source_uri"], *row["other_uris"])
        if uri not in present
        and ((uri.startswith(covered) and not uri.startswith(unread)) or (uri.startswith("file://") and is_gone(uri)))
    }


def _removed(known: dict[str, dict[str, Any]], folder: Path, *, many: bool) -> tuple[set[str], str]:
    """URIs of files under a folder that are known not to be there any more; why documents stay all the same, or "".

    A drive that is not mounted, a share that does not answer or a folder emptied by accident retires no document.
    """
    prefix = f"{uri_of(local_path(folder)).rstrip('/')}/"
    states = {uri: row["status"] for row in known.values() for uri in (row["source_uri"], *row["other_uris"])}
    held = {uri for uri in states if uri.startswith(prefix)}
    gone = {uri for uri in held if is_gone(uri)}
    documents, lost = ({uri for uri in uris if states[uri] == "ok"} for uris in (held, gone))
    try:
        there = any(folder.iterdir())
    except OSError:
        there = False
    if many or not lost or (there and len(lost) <= max(1, len(documents) // _MOST_REMOVED)):
        return gone, ""
    why = f"{len(lost)} of {len(documents)} documents are gone from it" if there else "it is empty or not there"
    return gone - lost, f"{folder} changes nothing, as {why}; --remove-many (remove_many) retires what is gone"


def _detached(known: dict[str, dict[str, Any]], present: set[str]) -> set[str]:
    """URIs of attachments that the document which held them does not hold any more."""
    uris = {uri for row in known.values() for uri in (row["source_uri"], *row["other_uris"]) if ATTACHED in uri}
    return {uri for uri in uris if uri not in present and uri.partition(ATTACHED)[0] in present}


def _name_after_source(known: dict[str, dict[str, Any]], found: Sequence[Source]) -> None:
    """A document whose first source went takes name and partition of the next."""
    by_uri = {source.uri: source for source in found}
    for row in known.values():
        source = by_uri.get(row["source_uri"])
        if source is not None:
            row |= {"filename": source.filename, "partition": source.partition}


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder that the system lets be looked at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _describe(seen: dict[str, dict[str, Any]], sources: Sequence[str | Path], metadata: Sequence[str]) -> list[Refused]:
    """Write into the rows what is said of their documents; the sidecar files that say nothing, and why.

    What was given by an earlier call stays until a later one gives something else under its key.
    """
    given = parse_metadata(metadata)
    folders = [path for source in sources if not is_remote(str(source)) and _is_folder(path := local_path(source))]
    sidecars = Sidecars(folders)
    for row in seen.values():
        kept = {key: values for key, values in (parse_metadata(row["given"] or ()) | given).items() if values}
        uri = row["source_uri"].partition(ATTACHED)[0]
        said = sidecars.of(local_path(uri)) if uri.startswith("file://") else {}
        row |= {"given": lines_of(kept), "metadata": lines_of(said | kept)}
    return [Refused(uri_of(path), path.name, fault) for path, fault in sorted(sidecars.faults.items())]


def _retire(known: dict[str, dict[str, Any]], seen: dict[str, dict[str, Any]], gone: set[str]) -> set[str]:
    """Documents that no source stands behind any more."""
    for row in known.values():
        for uri in [u for u in (row["source_uri"], *row["other_uris"]) if u in gone]:
            _drop_uri(row, uri)
    return {row["document_id"] for row in known.values() if not row["source_uri"] and row["document_id"] not in seen}
