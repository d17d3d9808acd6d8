"""What a corpus remembers of how it is read and indexed: `settings.json` in its folder.

The settings that decide what is stored (all of `documents` and `index` but `visor_core.config.PER_CALL`) are kept with
the corpus and hold for every way in. A call changes what it names and nothing else; a change that renders pages anew,
makes vectors anew or drops some needs a word of its own, and says what it costs. Secrets stay references.
A corpus that was made before settings were kept has them worked out from its tables and its newest tag.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from visor_core.config import PER_CALL, DocumentsConfig, IndexConfig, Section, embedder_parts
from visor_core.documents.formats import media_type
from visor_core.documents.legibility import says_something
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.files import flush, whole_file
from visor_core.index.corpus import PAGES, Corpus, rows
from visor_core.index.render_keys import RENDERING, has_quality, render_base, render_key
from visor_core.index.tags import VectorColumn, list_tags, opened_spec, read_manifest, stored_spec

EVERY_COLUMN = "*"
"""Stands for every vector column where the ones that may be dropped are named."""

_FORMAT = 1
_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """The settings of a corpus; a section that nothing was made under yet is none. Per-call fields are defaults."""

    documents: DocumentsConfig | None = None
    index: IndexConfig | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The settings of one call on a corpus.

    `contradicted` says which of the caller's settings do not hold, `costs` what the named changes cost, each a line;
    `drop` are the vector columns that may be dropped; `held` is what the corpus kept when this was settled.
    """

    documents: DocumentsConfig
    index: IndexConfig
    contradicted: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()
    drop: frozenset[str] = frozenset()
    held: CorpusSettings | None = None


def stored_fields(section: type[Section]) -> tuple[str, ...]:
    """The fields of a section that are stored with the corpus."""
    name = "documents" if section is DocumentsConfig else "index"
    return tuple(field for field in section.model_fields if field not in PER_CALL[name])


def read_settings(corpus: Corpus) -> CorpusSettings:
    """The settings a corpus was made under; none where it holds no page, so that nothing can be lost.

    Raises:
        SearchIndexError: if the file is damaged or of another version.
    """
    found = _read_file(corpus)
    if found is not None and corpus.torn(PAGES):
        return found  # the pages are lost, not what was said of them
    pages = _pages(corpus)
    if pages is None or not pages.count_rows():
        return CorpusSettings()
    return found if found is not None else _derived(corpus)


def keep_settings(
    corpus: Corpus,
    *,
    documents: DocumentsConfig | None = None,
    index: IndexConfig | None = None,
    since: CorpusSettings | None = None,
) -> None:
    """Make these the settings of a corpus; a section not given stays.

    This is the word for whatever they change: what is stored follows with the next rendering and build.

    Args:
        since: what was kept when they were settled; none means whatever is kept now.

    Raises:
        SearchIndexError: if the corpus cannot be written, or another process has changed a section since.
    """
    with corpus.writing():
        _adopt(corpus)
        now = read_settings(corpus)
        changed = [
            name
            for name, given in (("documents", documents), ("index", index))
            if given is not None and since is not None and not _same(getattr(since, name), getattr(now, name))
        ]
        if changed:
            raise SearchIndexError(
                f"the settings `{changed[0]}` of corpus {corpus.root.name!r} were changed by another process: run again"
            )
        _write_file(corpus, documents, index)


def _same(one: Section | None, other: Section | None) -> bool:
    """Whether two sections agree in what is stored; one that is not kept agrees with any."""
    if one is None or other is None:
        return True
    return all(getattr(one, field) == getattr(other, field) for field in stored_fields(type(one)))


def hold_settings(
    corpus: Corpus, *, documents: DocumentsConfig | None = None, index: IndexConfig | None = None
) -> None:
    """Keep these settings if none are kept yet; otherwise make sure that they are not others that cost work.

    Only while holding the corpus for writing.

    Raises:
        SearchIndexError: if pages were rendered, or vectors made, under other settings.
    """
    _adopt(corpus)
    held = read_settings(corpus)
    pairs = [
        ("documents", held.documents, documents, (*RENDERING, "ocr")),
        ("index", held.index, index, ("embed_pixels",)),
    ]
    for name, kept, given, fields in pairs:
        for field in fields if kept is not None and given is not None else ():
            if getattr(kept, field) != getattr(given, field):
                raise SearchIndexError(
                    f"corpus {corpus.root.name!r} keeps {name}.{field}={getattr(kept, field)}, this run has "
                    f"{getattr(given, field)}: it is changed by `visor ingest --set {name}.{field}=…` alone"
                )
    _write_file(corpus, documents if held.documents is None else None, index if held.index is None else None)


def reading_settings(corpus: Corpus, given: DocumentsConfig | None, named: Collection[str] = ()) -> DocumentsConfig:
    """How documents are read for pictures: the corpus's settings, and the caller's where they are its own or named."""
    wanted = given or DocumentsConfig()
    held = read_settings(corpus).documents
    return wanted if held is None else _merged("documents", held, wanted, named)


def settle(
    corpus: Corpus,
    documents: DocumentsConfig,
    index: IndexConfig,
    *,
    named: Collection[str] = (),
    rerender: bool = False,
    drop: Collection[str] = (),
) -> Settled:
    """The settings that hold for a call.

    Args:
        corpus: which; one without pages takes the caller's settings.
        documents: the caller's settings, of a profile or the defaults, those it names set.
        index: likewise.
        named: dotted names of the settings that the call itself names (`documents.dpi`).
        rerender: whether pages and vectors may be made anew.
        drop: vector columns to drop, by embedder or column.

    Raises:
        ConfigError: if a change that is named costs pages or vectors and the word for it is missing; or a column to be
            dropped is not there.
    """
    if (embedders := tuple(map(_absolute, index.embedders))) != index.embedders:
        index = index.model_copy(update={"embedders": embedders})
    held = read_settings(corpus)
    if held.documents is None:
        if drop:
            raise ConfigError(f"corpus {corpus.root.name!r} has no vector column {sorted(drop)[0]!r} to drop")
        return Settled(documents, index, held=held)
    new_documents = _merged("documents", held.documents, documents, named)
    contradicted = _contradicted("documents", held.documents, documents, named)
    new_index, columns = index, frozenset[str]()
    dropped: tuple[str, ...] = ()
    if held.index is not None:
        dropped, columns = _to_drop(corpus, held.index, drop)
        new_index = _merged("index", held.index, index, named)
        new_index = new_index.model_copy(
            update={"embedders": tuple(spec for spec in new_index.embedders if spec not in dropped)}
        )
        contradicted += _contradicted("index", held.index, index, named)
    costs = _rendering_costs(corpus, held.documents, new_documents)
    if held.index is not None:
        costs += _vector_costs(corpus, held.index, new_index)
    needing = [cost for cost, needs_word in costs if needs_word]
    if needing and not rerender:
        raise ConfigError(f"corpus {corpus.root.name!r}: {'; '.join(needing)}: add --rerender if that is meant")
    lines = [cost for cost, _ in costs]
    if "index.embedders" in named:
        left = [spec for spec in new_index.embedders if spec not in index.embedders]
        lines += [f"the vectors of {spec} stay: --drop-column {spec} drops them" for spec in left]
    lines += [
        f"drops the vector column {column}: {count:,} vectors are lost" for column, count in _counts(corpus, columns)
    ]
    return Settled(new_documents, new_index, tuple(contradicted), tuple(lines), columns, held)


def _merged(name: str, held: _S, given: _S, named: Collection[str]) -> _S:
    """The caller's section with the corpus's settings, but for what is per call or named."""
    update: dict[str, Any] = {
        field: getattr(held, field)
        for field in type(held).model_fields
        if field not in PER_CALL[name] and f"{name}.{field}" not in named
    }
    if isinstance(held, DocumentsConfig) and isinstance(given, DocumentsConfig):
        update["passwords"] = {**held.passwords, **given.passwords}
    if isinstance(held, IndexConfig) and isinstance(given, IndexConfig) and f"{name}.embedders" in named:
        update["embedders"] = tuple(dict.fromkeys((*held.embedders, *given.embedders)))
    return given.model_copy(update=update)


def _contradicted(name: str, held: Section, given: Section, named: Collection[str]) -> list[str]:
    """What a caller's section says explicitly, and the corpus otherwise."""
    lines = []
    for field in stored_fields(type(held)):
        ours, theirs = getattr(held, field), getattr(given, field)
        if (
            field != "passwords"
            and field in given.model_fields_set
            and ours != theirs
            and f"{name}.{field}" not in named
        ):
            lines.append(f"{name}.{field}={_shown(ours)} (not {_shown(theirs)})")
    return lines


def _shown(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _rendering_costs(corpus: Corpus, held: DocumentsConfig, wanted: DocumentsConfig) -> list[tuple[str, bool]]:
    """What another rendering costs, and whether it needs the word for it."""
    changed = [
        field
        for field in RENDERING
        if getattr(held, field) != getattr(wanted, field)
        and not (field == "jpeg_quality" and not has_quality(held) and not has_quality(wanted))
    ]
    pages = _pages(corpus)
    if changed or (held.ocr != wanted.ocr and "always" in (held.ocr, wanted.ocr)):
        lower = ", at a lower resolution" if wanted.dpi < held.dpi else ""
        what = ", ".join(
            f"documents.{field}={getattr(wanted, field)} instead of {getattr(held, field)}"
            for field in (*changed, *(("ocr",) if held.ocr != wanted.ocr else ()))
        )
        count = int(pages.count_rows())
        vectors = [f"{n:,} vectors of {v.spec}" for v, n in _vectors(corpus)]
        lost = f" and makes {', '.join(vectors)} anew where a page changes" if vectors else ""
        return [(f"{what} renders {count:,} pages anew{lower}{lost}", count > 0)]
    if held.ocr != wanted.ocr:
        if wanted.ocr == "never":
            count = int(pages.count_rows("text_source = 'ocr'"))
            return [(f"documents.ocr=never takes the text of {count:,} pages that OCR has read", count > 0)]
        return [("documents.ocr=auto reads the pages without usable text again; the others stay", False)]
    return []


def _vector_costs(corpus: Corpus, held: IndexConfig, wanted: IndexConfig) -> list[tuple[str, bool]]:
    """What another picture for the embedders, or another embedder, costs."""
    costs = []
    if held.embed_pixels != wanted.embed_pixels:
        lower = " at a lower resolution" if 0 < wanted.embed_pixels < (held.embed_pixels or 10**9) else ""
        count = sum(n for v, n in _vectors(corpus) if embedder_parts(v.spec)[0] not in ("hash", "sentence"))
        what = f"index.embed_pixels={wanted.embed_pixels} instead of {held.embed_pixels}"
        costs.append((f"{what} makes {count:,} vectors of pictures anew{lower}", count > 0))
    pages = int(_pages(corpus).count_rows())
    costs += [
        (f"adds vectors of {spec}: {pages:,} pages are embedded", False)
        for spec in wanted.embedders
        if spec not in held.embedders
    ]
    return costs


def _to_drop(corpus: Corpus, held: IndexConfig, drop: Collection[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The embedders that leave the settings, and the columns that may go, for what is named to be dropped.

    Raises:
        ConfigError: if a name fits no column, or several.
    """
    known = [vector for vector, _ in _vectors(corpus)]
    table = _pages(corpus)
    specs: list[str] = []
    columns: set[str] = set()
    for name in drop:
        found = [v for v in known if name in (v.spec, v.name)]
        if len(found) > 1 and name not in (v.spec for v in found):
            raise ConfigError(f"--drop-column {name!r} could be {', '.join(v.spec for v in found)}: name one of them")
        found = [v for v in found if v.spec == name] or found
        if found:
            specs += [v.spec for v in found]
            columns |= {v.column for v in found}
        elif name in table.schema.names and "__" in name and not name.endswith("_key"):
            columns.add(name)
        elif name in held.embedders:
            specs.append(name)
        else:
            there = ", ".join(v.spec for v in known) or "none"
            raise ConfigError(f"corpus {corpus.root.name!r} has no vector column {name!r} to drop (there are: {there})")
    return tuple(specs), frozenset(columns)


def _vectors(corpus: Corpus) -> list[tuple[VectorColumn, int]]:
    """Vector columns of the newest tag that the table still has, and how many pages have a vector in each."""
    if "latest" not in list_tags(corpus):
        return []
    table = _pages(corpus)
    known = [v for v in read_manifest(corpus, "latest").vectors if table is not None and v.column in table.schema.names]
    return [(v, int(table.count_rows(f"{v.column} IS NOT NULL"))) for v in known]


def _counts(corpus: Corpus, columns: Collection[str]) -> list[tuple[str, int]]:
    table = _pages(corpus)
    return [(name, int(table.count_rows(f"{name} IS NOT NULL"))) for name in sorted(columns)]


def _absolute(spec: str) -> str:
    """An embedder of a local folder by the folder's absolute path: the corpus is used from other folders too."""
    kind, source, _ = embedder_parts(spec)
    return f"late:{Path(source).resolve()}" if kind == "late" and Path(source).is_dir() else spec


def _opened(corpus: Corpus, index: IndexConfig) -> IndexConfig:
    """A stored section with its embedders as they are loaded."""
    return index.model_copy(update={"embedders": tuple(opened_spec(corpus, spec) for spec in index.embedders)})


def _pages(corpus: Corpus) -> Any:
    """The table pages, or none; it is not made, and may be another version's."""
    if not (corpus.root / "lancedb").is_dir():
        return None
    database = corpus.connect()
    return database.open_table("pages") if "pages" in database.list_tables().tables else None


def _path(corpus: Corpus) -> Path:
    return corpus.root / "settings.json"


def _read_file(corpus: Corpus) -> CorpusSettings | None:
    """What the file says; none if there is none.

    Raises:
        SearchIndexError: if it is damaged or of another version.
    """
    path = _path(corpus)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']}")
        documents, index = data.get("documents"), data.get("index")
        return CorpusSettings(
            None if documents is None else DocumentsConfig.model_validate(documents),
            None if index is None else _opened(corpus, IndexConfig.model_validate(index)),
        )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        raise SearchIndexError(
            f"the settings {path} of corpus {corpus.root.name!r} are damaged or of another version of visor: mend the "
            "file, or delete it and they are worked out from what is stored"
        ) from error


def _write_file(corpus: Corpus, documents: DocumentsConfig | None, index: IndexConfig | None) -> None:
    """Put sections into the file, whole or not at all; nothing is written if nothing changes."""
    path = _path(corpus)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and _read_file(corpus) else {}
    data: dict[str, Any] = {"format": _FORMAT, **{k: before[k] for k in ("documents", "index") if k in before}}
    if documents is not None:
        data["documents"] = documents.model_dump(mode="json", include=set(stored_fields(DocumentsConfig)))
    if index is not None:
        fields = index.model_dump(mode="json", include=set(stored_fields(IndexConfig)))
        data["index"] = fields | {"embedders": [stored_spec(corpus, spec) for spec in index.embedders]}
    if data != before and (documents is not None or index is not None):
        with whole_file(path) as partial:
            partial.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
            flush(partial)


def _derived(corpus: Corpus) -> CorpusSettings:
    """The settings of a corpus that keeps none, from its pages and its newest tag; the rest are defaults.

    Raises:
        SearchIndexError: if its tables are another version's.
    """
    pages = corpus.table("pages")
    manifest = read_manifest(corpus, "latest") if "latest" in list_tags(corpus) else None
    settings: Mapping[str, Any] = manifest.settings if manifest else {}
    dpi = max(row["dpi"] for row in rows(pages, ["dpi"]))
    first = corpus.table("images").search().select(["image"]).limit(1).to_list()
    drawn = {"renderer": settings.get("renderer", "pymupdf"), "dpi": min(600, max(36, round(dpi)))}
    stored = {"image_format": _format_of(first[0]["image"])} if first else {}
    documents = DocumentsConfig.model_validate(drawn | stored)
    if manifest is None:
        return CorpusSettings(documents)
    known = {name: settings[name] for name in stored_fields(IndexConfig) if name in settings}
    return CorpusSettings(documents, IndexConfig(**{**known, "embedders": tuple(v.spec for v in manifest.vectors)}))


def _format_of(image: bytes) -> str:
    """The `documents.image_format` of a stored picture."""
    return (media_type(image) or "image/jpeg").removeprefix("image/") if image else "none"


def _adopt(corpus: Corpus) -> None:
    """Keep the settings of a corpus that has pages and keeps none, and mark its pages as rendered under them."""
    pages = _pages(corpus)
    if pages is None or not pages.count_rows() or _path(corpus).is_file():
        return
    found = _derived(corpus)
    assert found.documents is not None
    base = render_base(found.documents)
    held = rows(pages, ["page_id", "render_key", "text", "text_source"])
    if not all(row["render_key"].startswith(f"{base}-") for row in held):
        keys = [render_key(base, "never", row["text_source"], legible=says_something(row["text"])) for row in held]
        schema = pa.schema([pa.field("page_id", pa.string(), nullable=False), pa.field("render_key", pa.string())])
        data = pa.table([pa.array([row["page_id"] for row in held]), pa.array(keys)], schema=schema)
        corpus.table("pages").merge_insert("page_id").when_matched_update_all().execute(data)
    _write_file(corpus, found.documents, found.index)
