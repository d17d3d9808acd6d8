"""The indexes that kept episodes were played on, opened once each: pictures, names and addresses of their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visor_core.config import DocumentsConfig, Home
from visor_core.errors import SearchIndexError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from visor_core.index import PageIndex
    from visor_core.policies.base import ImageRef


class OpenIndexes:
    """Indexes of one home or several by corpus and tag.

    Args:
        documents: limits, and passwords of encrypted documents, for pictures.
    """

    def __init__(self, homes: Sequence[Home], documents: DocumentsConfig | None = None) -> None:
        self._homes, self._documents = homes, documents
        self._open: dict[tuple[str, str], PageIndex | None] = {}
        self._of_document: dict[str, PageIndex] = {}
        self._names: dict[int, Callable[[str], str]] = {}
        self._links: dict[int, Callable[[str], str]] = {}

    def of(self, corpus: str, tag: str) -> PageIndex | None:
        """An index, of the first home that has it; None if no corpus of that name holds the tag any more."""
        if (corpus, tag) not in self._open:
            self._open[corpus, tag] = self._opened(corpus, tag)
        return self._open[corpus, tag]

    def __call__(self, ref: ImageRef) -> Image.Image:
        """A page or crop, from whichever of the opened indexes has its document.

        Raises:
            SearchIndexError: if none has.
            DocumentError: if it cannot be drawn.
        """
        index = self._holder(ref.page_id)
        if index is None:
            raise SearchIndexError(f"page {ref.page_id} is in no index that is here")
        return index(ref)

    def name_of(self, page_id: str) -> str:
        """A page as `report.pdf, page 3`; its id where no opened index holds it."""
        index = self._holder(page_id)
        return self._names[id(index)](page_id) if index is not None else page_id

    def address_of(self, page_id: str) -> str:
        """Where a person opens a page of its document; "" where nowhere."""
        index = self._holder(page_id)
        return self._links[id(index)](page_id) if index is not None else ""

    def _holder(self, page_id: str) -> PageIndex | None:
        return self._of_document.get(page_id.rpartition("/")[0])

    def _opened(self, corpus: str, tag: str) -> PageIndex | None:
        from visor_core.index import PageIndex

        holding = (home.corpus(corpus) for home in self._homes) if corpus else ()
        folder = next((path for path in holding if (path / "tags" / f"{tag}.json").is_file()), None)
        if folder is None:
            return None
        try:
            index = PageIndex.open(folder, tag, documents=self._documents)
        except SearchIndexError:
            return None
        self.hold(index)
        return index

    def hold(self, index: PageIndex) -> None:
        """Take an index that is open already; of a document that another holds too, the first one's pages count."""
        from visor_core.evaluation.tracked import page_names
        from visor_core.index.page_links import PageLinks

        self._names[id(index)], self._links[id(index)] = page_names(index), PageLinks(index)
        for document in index.documents():
            self._of_document.setdefault(document.document_id, index)
