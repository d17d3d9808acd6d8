"""Where a person opens a page of a document: the file it came from, else the bytes that the corpus keeps of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from visor_core.documents.formats import ATTACHED, CONVERTED
from visor_core.documents.sources import readable_path
from visor_core.index.records import Document, split_page_id
from visor_core.index.search import PageIndex


class PageLinks:
    """Addresses of the pages of one index, as `file:///…/report.pdf#page=3`."""

    def __init__(self, index: PageIndex) -> None:
        self._documents = {document.document_id: document for document in index.documents()}
        self._sources = index.corpus.sources
        self._files: dict[str, str] = {}

    def __call__(self, page_id: str) -> str:
        """The address of a page; "" where the document has no such page, or its file is nowhere any more.

        Raises:
            SearchIndexError: if it is no page id.
        """
        document_id, page = split_page_id(page_id)
        document = self._documents.get(document_id)
        if document is None or not 1 <= page <= document.num_pages:
            return ""
        if document_id not in self._files:
            self._files[document_id] = self._address_of(document)
        file = self._files[document_id]
        return f"{file}#page={page}" if file else ""

    def _address_of(self, document: Document) -> str:
        """Of a document of another kind the PDF made of it, of an attachment the bytes kept."""
        kept = readable_path(self._sources, document.document_id, document.media_type)
        inside = document.media_type in CONVERTED or ATTACHED in document.source_uri
        return _opened(kept) if inside else _address(document.source_uri, kept)


def _address(uri: str, kept: Path) -> str:
    """A web address as it is, a file where it still lies, else the bytes kept; "" where neither can be opened."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        return parts._replace(fragment="").geturl()
    if parts.scheme == "file" and Path(unquote(parts.path)).is_file():
        return parts._replace(fragment="").geturl()
    return _opened(kept)


def _opened(kept: Path) -> str:
    return kept.absolute().as_uri() if kept.is_file() else ""
