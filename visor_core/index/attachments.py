"""Files attached to PDFs (portfolios, invoices) as documents of their own; attachments of attachments are not followed.

Their address is that of the PDF with their name after `#attachment=`: they come and go with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from visor_core.config import DocumentsConfig
from visor_core.documents.converting import ConversionError, attachments
from visor_core.documents.formats import ATTACHED, SUFFIXES, attachment_uri, media_type_of
from visor_core.documents.sources import Refused, Source, display_name, keep_copy, stored_path, unread_kind
from visor_core.errors import DocumentError, VisorError
from visor_core.index.corpus import Corpus
from visor_core.index.validating import password_for, reader_key


@dataclass
class Attached:
    """What is attached to some documents, as `register_documents` holds what it was given."""

    found: list[Source] = field(default_factory=list)
    arrived: list[tuple[Source, str, int]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[Refused] = field(default_factory=list)


def take_out(
    corpus: Corpus,
    arrived: Sequence[tuple[Source, str, int]],
    known: Mapping[str, Mapping[str, Any]],
    config: DocumentsConfig,
) -> Attached:
    """Copies of all files attached to PDFs; those of a PDF that was looked at before are taken as they are known.

    Args:
        corpus: held for writing.
        arrived: documents as (source, document id, bytes).
        known: rows of the documents by id.
        config: limits, passwords.
    """
    result, attached = Attached(), _by_document(known)
    for source, document_id, _ in arrived:
        row = known.get(document_id)
        if row is not None and row["status"] == "ok" and row["reader_key"] == reader_key(config, row):
            _known(corpus, source, attached.get(source.uri, ()), result)
        else:
            _new(corpus, source, document_id, config, result)
    return result


def _by_document(known: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """The attachments that are documents already, as (address, row) by the address of what holds them."""
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row in known.values():
        for uri in (row["source_uri"], *row["other_uris"]):
            holder, attached, _ = uri.partition(ATTACHED)
            if attached:
                found.setdefault(holder, []).append((uri, row))
    return found


def _known(corpus: Corpus, source: Source, attached: Sequence[tuple[str, Mapping[str, Any]]], result: Attached) -> None:
    """The attachments of a source that are documents already."""
    for uri, row in attached:
        path = stored_path(corpus.sources, row["document_id"])
        if path.is_file():
            held = Source(uri, row["filename"], path, source.partition)
            result.found.append(held)
            result.arrived.append((held, row["document_id"], row["num_bytes"]))


def _new(corpus: Corpus, source: Source, document_id: str, config: DocumentsConfig, result: Attached) -> None:
    """Take the attachments out of a document that is a PDF."""
    path = stored_path(corpus.sources, document_id)
    if media_type_of(path) != "application/pdf":
        return
    try:
        with attachments(path, path.parent, config, password_for(config, source.filename)) as files:
            taken: set[str] = set()
            for name, file in files:
                uri = attachment_uri(source.uri, name)
                shown = display_name(name)
                if uri in taken:
                    uri = attachment_uri(source.uri, f"{len(taken)}-{name}")
                taken.add(uri)
                if PurePath(name).suffix.lower() not in SUFFIXES:
                    result.skipped.append(Refused(uri, shown, unread_kind(PurePath(name))))
                    continue
                attached = Source(uri, shown, file, source.partition)
                result.found.append(attached)
                try:
                    copied, _, size = keep_copy(file, corpus.sources, config.max_bytes)
                except DocumentError as error:
                    result.refused.append(Refused(uri, shown, str(error)))
                else:
                    result.arrived.append((attached, copied, size))
    except ConversionError as error:
        result.refused.append(Refused(attachment_uri(source.uri, ""), source.filename, str(error)))
    except VisorError:
        return  # its password cannot be read, which is told when it is opened
