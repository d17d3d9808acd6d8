"""Pictures of page regions, re-rasterised from the stored source at exactly the requested size, and cached.

A request is (document, page, box, width, height); the same request gives the same bytes, from memory, from disk or
rendered anew, in a worker process (`drawer`). Documents stay open between requests. Small pictures are cheaper to draw
than to read from disk, so only larger ones are kept there.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from visor_core.config import DocumentsConfig
from visor_core.documents.drawer import Drawer, shared_drawer
from visor_core.documents.drawings import Drawing
from visor_core.documents.reader import Renderer
from visor_core.errors import DocumentError
from visor_core.files import whole_file
from visor_core.geometry import FULL_PAGE, Box

_MIN_DISK_PIXELS = 512 * 512
_MAX_PIXELS = 64_000_000
_MAX_ACROSS = 2**20
"""Pixels of the whole page, along a side, of which a crop is a part: far above them renderers count in integers that
overflow, and draw something else."""


class CropRenderer:
    """Draws and caches page regions. Safe for threads and forks: one draws at a time, cached ones are shared.

    Args:
        path_of: document id → the stored source.
        cache: folder of the disk cache; none keeps to memory.
        renderer: library for PDFs.
        config: the limits on what is drawn; none takes the defaults.
        password_of: the password of a document id (empty if none), asked for when it is drawn.
        open_documents: documents kept open.
        memory_bytes: pictures kept in memory, bytes of RGB; none takes `documents.picture_cache_mib`.
        drawer: who draws; none takes the one of this process.
    """

    def __init__(
        self,
        path_of: Mapping[str, Path],
        cache: Path | None,
        renderer: Renderer,
        *,
        config: DocumentsConfig | None = None,
        password_of: Callable[[str], str] = lambda document_id: "",
        open_documents: int = 256,
        memory_bytes: int | None = None,
        drawer: Drawer | None = None,
    ) -> None:
        self._path_of = path_of
        self._cache = cache
        self._renderer: Renderer = renderer
        self._config = config or DocumentsConfig()
        self._password_of = password_of
        self._open_documents = open_documents
        self._drawer = drawer or shared_drawer()
        self._owner = self._drawer.owner()
        self._retire = weakref.finalize(self, self._drawer.retire, self._owner)
        self._pictures: OrderedDict[tuple[object, ...], Image.Image] = OrderedDict()
        limit = self._config.picture_cache_mib * 2**20 if memory_bytes is None else memory_bytes
        self._held, self._memory_bytes = 0, limit
        self._renew_locks()
        _living.add(self)

    def picture(self, document_id: str, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The region `box` of a page at exactly `width` × `height` pixels, RGB. The caller must not draw on it.

        Raises:
            DocumentError: if the source is gone or the page cannot be drawn.
            ConfigError: if the document's password cannot be read.
        """
        if not (width > 0 and height > 0 and width * height <= _MAX_PIXELS):
            raise DocumentError(f"a picture of {width} × {height} pixels is not drawn (at most {_MAX_PIXELS:,} pixels)")
        if max(width / box.width, height / box.height) > _MAX_ACROSS:
            raise DocumentError(
                f"{box.width:.2g} × {box.height:.2g} of a page is not drawn at {width} × {height} pixels: the whole "
                f"page would have more than {_MAX_ACROSS:,} along a side"
            )
        key = (document_id, page, width, height, box.as_tuple())
        if (held := self._cached(key)) is not None:
            return held
        with self._drawing:
            if (held := self._cached(key)) is not None:  # drawn while this thread waited
                return held
            on_disk = self._cache is not None and width * height >= _MIN_DISK_PIXELS
            path = self._cache_path(key) if on_disk else None
            image = _read(path, (width, height)) if path is not None else None
            if image is None:
                image = self._drawn(document_id, page, width, height, box)
                if path is not None:
                    self._store(path, image)
            self._hold(key, image)
            return image

    def close(self) -> None:
        """Release all pictures and, with the next picture that is drawn, all open documents."""
        self._drawer.retire(self._owner)
        with self._lock:
            self._pictures.clear()
            self._held = 0

    def _renew_locks(self) -> None:
        self._lock, self._drawing = threading.Lock(), threading.Lock()

    def _drawn(self, document_id: str, page: int, width: int, height: int, box: Box) -> Image.Image:
        """A picture, drawn anew.

        Raises:
            DocumentError: if the page cannot be drawn.
            ConfigError: if the document's password cannot be read.
        """
        if document_id not in self._path_of:
            raise DocumentError(f"no document {document_id} in this index")
        drawing = Drawing(
            owner=self._owner,
            key=document_id,
            path=str(self._path_of[document_id]),
            renderer=self._renderer,
            page=page,
            width=width,
            height=height,
            box=box.as_tuple(),
            memory_bytes=self._config.memory_bytes,
            max_pixels=8 * self._config.max_page_pixels,
            most_open=self._open_documents,
            password=self._password_of(document_id),
        )
        return Image.frombytes("RGB", (width, height), self._drawer.pixels(drawing, self._config.picture_seconds))

    def _store(self, path: Path, image: Image.Image) -> None:
        """Keep a picture on disk. Where that fails (a full or read-only disk) the rest is drawn without a cache."""
        try:
            with whole_file(path, several_writers=True) as partial:
                image.save(partial, "PNG", compress_level=1)
        except OSError:
            self._cache = None

    def _cache_path(self, key: tuple[object, ...]) -> Path:
        assert self._cache is not None
        digest = hashlib.sha256(repr((self._renderer, key)).encode()).hexdigest()
        return self._cache / digest[:2] / f"{digest[:32]}.png"

    def _cached(self, key: tuple[object, ...]) -> Image.Image | None:
        with self._lock:
            held = self._pictures.get(key)
            if held is not None:
                self._pictures.move_to_end(key)
            return held

    def _hold(self, key: tuple[object, ...], image: Image.Image) -> None:
        with self._lock:
            self._pictures[key] = image
            self._held += image.width * image.height * 3
            while self._held > self._memory_bytes and len(self._pictures) > 1:
                _, oldest = self._pictures.popitem(last=False)
                self._held -= oldest.width * oldest.height * 3


def _read(path: Path, size: tuple[int, int]) -> Image.Image | None:
    """A cached picture, or None where there is none or it is damaged (it is then drawn again)."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return image.convert("RGB") if image.size == size else None
    except (OSError, SyntaxError, ValueError):
        return None


_living: weakref.WeakSet[CropRenderer] = weakref.WeakSet()


def _after_fork() -> None:
    """A lock that another thread held at the fork is never given back in the child."""
    for renderer in _living:
        renderer._renew_locks()


os.register_at_fork(after_in_child=_after_fork)
