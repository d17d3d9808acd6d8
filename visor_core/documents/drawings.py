"""The worker's side of `drawer`: parts of pages drawn from documents that stay open between requests."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from visor_core.documents.reader import OpenDocument, Renderer, one_line, open_document
from visor_core.errors import DocumentError
from visor_core.geometry import Box


class Drawing(NamedTuple):
    """A picture of a part of a page. Its document stays open for the next one, under (owner, key).

    `retired` are owners that need their documents no more; `most_open` documents are kept. Sent as a plain tuple.
    """

    owner: int
    key: str
    path: str
    renderer: Renderer
    page: int
    width: int
    height: int
    box: tuple[float, float, float, float]
    memory_bytes: int
    max_pixels: int
    most_open: int
    password: str
    retired: tuple[int, ...] = ()

    def undone(self, cause: str) -> DocumentError:
        """That it cannot be drawn, and why."""
        return DocumentError(f"page {self.page} cannot be drawn at {self.width} × {self.height} pixels: {cause}")


class Drawings:
    """Draws parts of pages, and keeps the documents they are of open, those used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[int, str], OpenDocument] = OrderedDict()

    def pixels(self, drawing: Drawing) -> bytes:
        """The picture's pixels, RGB, row by row.

        Raises:
            DocumentError: if it cannot be drawn, whatever a parser raised.
        """
        for key in [key for key in self._open if key[0] in drawing.retired]:
            self._open.pop(key).close()
        try:
            return self._drawn(drawing)
        except DocumentError:
            alone = len(self._open) < 2
            self.close()
            if alone:
                raise
        # What the other documents hold may be the memory it lacked: that must not decide.
        return self._drawn(drawing)

    def close(self) -> None:
        """Release all documents."""
        while self._open:
            self._open.popitem()[1].close()

    def _drawn(self, drawing: Drawing) -> bytes:
        try:
            document = self._document(drawing)
            return document.render(drawing.page, drawing.width, drawing.height, Box(*drawing.box)).tobytes()
        except DocumentError:
            raise
        except MemoryError as error:
            raise drawing.undone(f"it needs more than documents.memory_bytes = {drawing.memory_bytes:,}") from error
        except Exception as error:
            raise drawing.undone(f"{type(error).__name__} {one_line(error)}") from error

    def _document(self, drawing: Drawing) -> OpenDocument:
        key = drawing.owner, drawing.key
        if key not in self._open:
            self._open[key] = open_document(
                Path(drawing.path),
                renderer=drawing.renderer,
                password=drawing.password,
                max_pixels=drawing.max_pixels,
            )
            while len(self._open) > drawing.most_open:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]


def drawn(drawing: Drawing, drawings: Drawings, shared: int) -> bytes:
    """Write a picture's pixels into a shared file; why it cannot be drawn, in UTF-8, or nothing if it is."""
    try:
        # A file in memory: a pipe takes five times as long over a megabyte as drawing it.
        os.pwrite(shared, drawings.pixels(drawing), 0)
    except DocumentError as error:
        return (str(error) or type(error).__name__).encode(errors="replace")
    return b""
