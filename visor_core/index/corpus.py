"""A corpus on disk: `sources/` (bytes by content hash), `lancedb/` (tables), `tags/` (manifests), `crops/` (cache).

`files.json` is the inventory of all but the cache, taken when a writer ends: by it a lost file is noticed.

Tables: documents, pages, passages as in the data contracts; `images`, which holds the encoded page pictures under
the same `page_id`: LanceDB rewrites a row to fill a new column, and pictures should not be copied because an embedder
was added; and `page_texts`, each page's text as it is searched as a whole. It is no column of passages: Lance writes a
column of one value among nulls as that value and reads it back once for every null. One writer at a time, by a lock
on `.lock` that a killed writer gives back; readers need no lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visor_core.addresses import lance_address
from visor_core.errors import SearchIndexError
from visor_core.files import write_json
from visor_core.inventory import Inventory, as_json, from_json, missing, take_inventory

_log = logging.getLogger(__name__)
WORD = pa.struct(
    [("text", pa.string()), ("x0", pa.float32()), ("y0", pa.float32()), ("x1", pa.float32()), ("y1", pa.float32())]
)

_AS_IT_IS = {"lance-encoding:compression": "none", "lance-encoding:structural-encoding": "fullzip"}
"""Pictures are compressed already: written more than twice as fast so."""

SCHEMAS: dict[str, pa.Schema] = {
    "documents": pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("filename", pa.string()),
            pa.field("source_uri", pa.string()),
            pa.field("other_uris", pa.list_(pa.string())),
            pa.field("partition", pa.string()),
            pa.field("media_type", pa.string()),
            pa.field("num_bytes", pa.int64()),
            pa.field("num_pages", pa.int32()),
            pa.field("title", pa.string()),
            pa.field("status", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("reader_key", pa.string()),
            pa.field("given", pa.list_(pa.string())),
            pa.field("metadata", pa.list_(pa.string())),
            pa.field("cover", pa.string()),
            pa.field("header", pa.string()),
            pa.field("front", pa.string()),
            pa.field("context_key", pa.string()),
        ]
    ),
    "pages": pa.schema(
        [
            pa.field("page_id", pa.string(), nullable=False),
            pa.field("document_id", pa.string()),
            pa.field("partition", pa.string()),
            pa.field("page", pa.int32()),
            pa.field("width_pt", pa.float32()),
            pa.field("height_pt", pa.float32()),
            pa.field("rotation", pa.int32()),
            pa.field("text", pa.string()),
            pa.field("text_source", pa.string()),
            pa.field("headings", pa.list_(pa.string())),
            pa.field("section", pa.string()),
            pa.field("words", pa.list_(WORD)),
            pa.field("image_width", pa.int32()),
            pa.field("image_height", pa.int32()),
            pa.field("dpi", pa.float32()),
            pa.field("problem", pa.string()),
            pa.field("render_key", pa.string()),
            pa.field("content_hash", pa.string()),
        ]
    ),
    "images": pa.schema(
        [
            pa.field("page_id", pa.string(), nullable=False),
            pa.field("document_id", pa.string()),
            pa.field("image", pa.large_binary(), metadata=_AS_IT_IS),
        ]
    ),
    "page_texts": pa.schema(
        [
            pa.field("page_id", pa.string(), nullable=False),
            pa.field("document_id", pa.string()),
            pa.field("partition", pa.string()),
            pa.field("page", pa.int32()),
            pa.field("text", pa.string()),
            pa.field("terms", pa.string()),
            pa.field("section", pa.string()),
            pa.field("left_out", pa.int32()),
            pa.field("text_key", pa.string()),
        ]
    ),
    "passages": pa.schema(
        [
            pa.field("passage_id", pa.string(), nullable=False),
            pa.field("page_id", pa.string()),
            pa.field("document_id", pa.string()),
            pa.field("partition", pa.string()),
            pa.field("page", pa.int32()),
            pa.field("text", pa.string()),
            pa.field("passage_key", pa.string()),
            pa.field("language", pa.string()),
        ]
    ),
}

ADDED = {"documents": ("given", "metadata")}
"""Columns that a table of an earlier version lacks, and is given empty when it is written next."""
KEYS = {
    "documents": "document_id",
    "pages": "page_id",
    "images": "page_id",
    "page_texts": "page_id",
    "passages": "passage_id",
}

DERIVED = ("page_texts", "passages")
"""Tables that a build makes from the table pages alone."""

PRIMARY_KEY = "lance-schema:unenforced-primary-key:position"
"""What Lance writes into the metadata of a key field, and reads."""

_ID_BATCH = 500

DOCUMENTS = ("lancedb/documents.lance/",)
SOURCES = ("sources/",)
PAGES = ("lancedb/pages.lance/", "lancedb/images.lance/")
EVERYWHERE = ("sources/", "lancedb/", "tags/", "statistics/")
"""Where a corpus keeps what its writers made; the other folders are caches."""
_TORN_WITH = {
    "documents": ("documents",),
    "pages": ("pages", "images"),
    "images": ("pages", "images"),
    "page_texts": ("page_texts",),
    "passages": ("passages",),
}
"""Which tables are made again where one has lost a file: a page and its picture are rendered together."""
_NOT_NEEDED = ("/_transactions/", "/latest_version_hint.json")
"""What Lance writes beside a table's data and reads without."""
_NAMED = 5
"""Lost files that are named in the log."""


class Corpus:
    """A corpus folder. Opening one writes nothing; the folder is made by the first writer."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def sources(self) -> Path:
        """Copies of the documents, by content hash."""
        return self.root / "sources"

    @property
    def tags(self) -> Path:
        """Manifests, one JSON a tag."""
        return self.root / "tags"

    @property
    def crops(self) -> Path:
        """Disk cache of page regions; may be deleted at any time."""
        return self.root / "crops"

    @property
    def _inventory(self) -> Path:
        return self.root / "files.json"

    def lost(self, places: Sequence[str] = EVERYWHERE) -> tuple[str, ...]:
        """A line for every file that was written below `places` and is gone or torn since.

        A corpus that no writer has left in order has lost everything: it is gone, or the last one was killed.
        """
        if self._held() is None:
            return (f"corpus {self.root.name} is gone, was left half written, or is being written",)
        return tuple(f"{name} {fault}" for name, fault in self.torn(places).items())

    def torn(self, places: Sequence[str] = EVERYWHERE) -> dict[str, str]:
        """The files below `places` that the last writer left here and that are gone or torn since; and which."""
        held = self._held() or {}
        return missing(self.root, {name: file for name, file in held.items() if name.startswith(tuple(places))})

    def _held(self) -> Inventory | None:
        """What the last writer left here; None while one writes, or after one that did not come to its end."""
        try:
            return from_json(json.loads(self._inventory.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, AttributeError) as error:
            _log.warning("%s is damaged (%s): it is written again", self._inventory, error)
            return None

    def _keep_inventory(self) -> None:
        """Write down what lies here now."""
        found = take_inventory(self.root, [self.root / name.rstrip("/") for name in EVERYWHERE])
        needed = {name: held for name, held in found.items() if not any(mark in name for mark in _NOT_NEEDED)}
        write_json(self._inventory, as_json(needed))

    def _drop_torn(self, *, anew: bool) -> None:
        """Remove what lost files have made unreadable, so that it is made again; only while holding the corpus.

        A table that lost a file goes, and with it the tags, for the versions they name are counted anew.

        Raises:
            SearchIndexError: if the table documents is torn, which alone knows them by name, unless they are all
                registered `anew`.
        """
        torn = self.torn()
        tables = {name.split("/")[1].removesuffix(".lance") for name in torn if name.startswith("lancedb/")}
        if "documents" in tables and not anew:
            first = next(f"{name} {fault}" for name, fault in torn.items() if name.startswith(DOCUMENTS))
            raise SearchIndexError(
                f"corpus {self.root.name!r} has lost its register of documents ({first}): restore that file, or delete "
                f"the folder {self.root} and ingest its documents again"
            )
        for table in sorted({other for name in tables for other in _TORN_WITH.get(name, ())}):
            if (folder := self.root / "lancedb" / f"{table}.lance").is_dir():
                shutil.rmtree(folder)
        unreadable = {self.root / name for name in torn if not name.startswith("lancedb/")}
        for path in sorted(unreadable | set(self.tags.glob("*.json") if tables else ())):
            path.unlink(missing_ok=True)
        for name, fault in list(torn.items())[:_NAMED]:
            _log.warning("corpus %s: %s %s: it is made again", self.root.name, name, fault)

    def connect(self) -> Any:
        """The LanceDB connection."""
        import lancedb  # two seconds, which whoever only declares a stage or reads settings does not wait

        return lancedb.connect(lance_address(self.root / "lancedb"))

    def table(self, name: str) -> Any:
        """A table at its newest version, made if it is not there (writers only).

        One that another version wrote with other columns is made anew, empty, where a build fills it from pages.

        Raises:
            SearchIndexError: if the table was written by a version of this project with other columns.
        """
        database = self.connect()
        if name not in database.list_tables().tables:
            return database.create_table(name, schema=_keyed(name), exist_ok=True)
        table = database.open_table(name)
        if name in DERIVED and set(table.schema.names) != set(SCHEMAS[name].names):
            return database.create_table(name, schema=_keyed(name), mode="overwrite")
        held = set(table.schema.names)
        if new := [SCHEMAS[name].field(column) for column in ADDED.get(name, ()) if column not in held]:
            table.add_columns(new)
        return self._checked(table)

    def table_at(self, name: str, version: int) -> Any:
        """A table as it was at a version, read only.

        Raises:
            SearchIndexError: if the table or the version is gone, or has other columns.
        """
        try:
            table = self.connect().open_table(name)
            table.checkout(version)
        except (ValueError, RuntimeError, FileNotFoundError) as error:
            raise SearchIndexError(
                f"corpus {self.root.name!r}: table {name} has no version {version} (any more): build the index again"
            ) from error
        return self._checked(table)

    def _checked(self, table: Any) -> Any:
        """The table, if it has the columns that this version writes and reads."""
        held = {field.name: field.type for field in table.schema}
        differing = [field.name for field in SCHEMAS[table.name] if held.get(field.name) != field.type]
        if differing and {*differing} <= {*ADDED.get(table.name, ())} - held.keys():
            raise SearchIndexError(
                f"corpus {self.root.name!r} was indexed by an earlier version of visor: `visor ingest --corpus "
                f"{self.root.name}` brings it up to date"
            )
        if differing:
            raise SearchIndexError(
                f"corpus {self.root.name!r} was written by another version of visor (column {differing[0]} of table "
                f"{table.name} is missing or of another kind): delete the folder {self.root} and ingest its documents "
                "again, or ingest them under another corpus name"
            )
        return table

    def remove_partial_files(self) -> None:
        """Delete what a killed writer left half written; only while holding the corpus for writing."""
        for folder in (self.sources, self.tags, self.root / "statistics"):
            for path in list(folder.rglob("*.partial")):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        for path in self.root.glob(".fetch.*.partial"):
            path.unlink()

    @contextmanager
    def writing(self, *, wait_seconds: float = 60.0, anew: bool = False) -> Iterator[None]:
        """Hold the corpus for writing. What lost a file is removed first, so that the writer makes it again.

        Args:
            anew: whether the writer registers all documents again.

        Raises:
            SearchIndexError: if another process still writes after `wait_seconds`, the folder cannot be written, or
                the disk fills up, or the register of documents lost a file.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("a+")
        except OSError as error:
            raise SearchIndexError(f"the corpus {self.root} cannot be written: {error.strerror or error}") from error
        with handle:
            deadline = time.monotonic() + wait_seconds
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        handle.seek(0)
                        holder = handle.read().strip() or "unknown"
                        raise SearchIndexError(
                            f"corpus {self.root.name!r} is being written by process {holder}: wait for it to end"
                        ) from error
                    time.sleep(0.05)
            handle.seek(0)
            handle.truncate()
            handle.write(str(os.getpid()))
            handle.flush()
            try:
                self._drop_torn(anew=anew)
                self._inventory.unlink(missing_ok=True)
                yield
                self._keep_inventory()
            except (OSError, RuntimeError) as error:
                # LanceDB passes the operating system's error on as text.
                if getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower():
                    raise SearchIndexError(
                        f"the disk that holds corpus {self.root.name!r} is full: free some space and run again; "
                        "what was stored before is still there"
                    ) from error
                raise

    def reading(self) -> int:
        """Say that the tags of this corpus are being read, until the returned descriptor is closed; -1 where the file
        system cannot tell others."""
        try:
            handle = os.open(self.tags, os.O_RDONLY)
        except OSError:
            return -1
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
        except OSError:
            os.close(handle)
            return -1
        return handle

    @contextmanager
    def unread(self) -> Iterator[bool]:
        """Whether nobody reads the corpus; nobody begins to while that is so, until the block ends."""
        self.tags.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.tags, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)


def _keyed(name: str) -> pa.Schema:
    """A table's schema with its key marked for Lance: set on a table that is there, it would be a second commit."""
    schema = SCHEMAS[name]
    position = schema.get_field_index(KEYS[name])
    return schema.set(position, schema.field(position).with_metadata({PRIMARY_KEY: "1"}))


def rows(table: Any, columns: Sequence[str], where: str = "") -> list[dict[str, Any]]:
    """Rows of a table as dictionaries, all of them or those that satisfy an SQL condition."""
    query = table.search().select(list(columns))
    if where:
        query = query.where(where)
    return query.limit(None).to_list()


def upsert(table: Any, data: pa.Table) -> None:
    """Insert or replace rows by the table's key, in one commit; a replaced row keeps the columns the data lacks.

    Raises:
        ValueError: if two rows of the data have the same key: which of them stayed would be chance.
    """
    if data.num_rows:
        key = KEYS[table.name]
        if pc.count_distinct(data[key]).as_py() != data.num_rows:
            raise ValueError(f"table {table.name}: two of the {data.num_rows} rows to be written have the same {key}")
        table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(data)


def append(table: Any, data: pa.Table) -> None:
    """Add rows in one commit; their keys are known not to be there (`upsert` looks at every key of the table)."""
    if data.num_rows:
        table.add(data)


def put(table: Any, data: pa.Table, held: Collection[str]) -> None:
    """Add the rows whose keys are not `held` by the table and replace the others, which costs a look at every key."""
    key = data[KEYS[table.name]].to_pylist()
    known = pa.array([value in held for value in key], pa.bool_())
    append(table, data.filter(pc.invert(known)))
    upsert(table, data.filter(known))


def delete_by(table: Any, column: str, values: Iterable[str]) -> int:
    """Delete the rows whose `column` is one of `values`; how many there were."""
    wanted = sorted(set(values))
    before = table.count_rows()
    for start in range(0, len(wanted), _ID_BATCH):
        table.delete(f"{column} IN ({quoted(wanted[start : start + _ID_BATCH])})")
    return before - int(table.count_rows()) if wanted else 0


def quoted(values: Iterable[str]) -> str:
    """Values as a list of SQL string literals."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
