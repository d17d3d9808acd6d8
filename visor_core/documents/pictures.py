"""Pictures as documents: a TIFF is as many pages as it has frames, every other kind is one.

A picture's size in points is its pixels at its stated resolution, or at 96 dpi where it states none. Transparent
parts lie on white; EXIF rotation is applied. Pictures have no text layer. A large picture is decoded whole once, and
stays in memory as three bytes a pixel.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from visor_core.documents.formats import PICTURES, heic_is_read, media_type_of
from visor_core.documents.reader import POINTS_PER_INCH, OutlineEntry, PageSize, Word, one_line
from visor_core.errors import DocumentError
from visor_core.geometry import FULL_PAGE, Box
from visor_core.installation import install_command

_DEFAULT_DPI = 96.0
_LONGEST_INCHES = 100.0
_MAX_FRAMES = 10_000
_STRIP = 1024
"""Rows that are put on white at once: all of a large picture would take twice its memory."""
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
)
"""What Pillow raises over damaged bytes."""


class PictureDocument:
    """A picture file. The decoded frame used last stays in memory, so crops of one page are cheap."""

    title = ""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                Image.MAX_IMAGE_PIXELS = None  # the limit below is ours to set
                self._image = Image.open(path, formats=_formats(path))
        except UnidentifiedImageError as error:
            raise DocumentError("the picture is damaged: its header cannot be read") from error
        except _FAULTS as error:
            raise DocumentError(f"the picture is damaged: {one_line(error)}") from error
        self._unreadable: dict[int, str] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what is cut off is met as a frame that cannot be read
                self.num_pages = self._count_frames()
        except DocumentError:
            self._image.close()
            raise
        self._loaded: tuple[int, Image.Image] | None = None

    def _count_frames(self) -> int:
        """Frames of a TIFF (an animation in another format counts as its first picture).

        A frame that cannot be read is counted: it is a page with a problem.

        Raises:
            DocumentError: if no frame can be read, or one has too many pixels.
        """
        self._check_size(1)
        if self._image.format != "TIFF":
            return 1
        frames, lost = 0, False
        while frames < _MAX_FRAMES and not lost:
            try:
                self._image.seek(frames)
            except EOFError:
                break
            except _FAULTS as error:
                if frames == 0:
                    raise DocumentError(f"the picture is damaged: {one_line(error)}") from error
                # Pillow fails once only: asked again it takes the frame before for this one.
                self._unreadable[frames + 1] = one_line(error)
                lost = self._image.tell() != frames  # it did not get to the frame, nor to where the next one lies
            else:
                self._check_size(frames + 1)
            frames += 1
        return frames

    def _check_size(self, page: int) -> None:
        width, height = self._image.size
        if width * height > self._max_pixels:
            raise DocumentError(
                f"page {page} is a picture of {width} × {height} pixels, more than the {self._max_pixels:,} allowed: "
                f"8 × documents.max_page_pixels"
            )

    def _seek(self, page: int) -> None:
        if not 1 <= page <= self.num_pages:
            raise DocumentError(f"page {page} does not exist: the document has {self.num_pages} pages")
        if page in self._unreadable:
            raise DocumentError(f"page {page} cannot be read: {self._unreadable[page]}")
        try:
            if self._image.format == "TIFF":
                self._image.seek(page - 1)
        except _FAULTS as error:
            raise DocumentError(f"page {page} cannot be read: {one_line(error)}") from error

    def _turned(self) -> bool:
        """Whether the EXIF orientation swaps width and height; Pillow gives those of a TIFF as swapped already."""
        if self._image.format == "TIFF":
            return False
        try:
            return int(self._image.getexif().get(0x0112, 1)) in (5, 6, 7, 8)
        except _FAULTS:
            return False  # an unreadable EXIF block states no orientation

    def page_size(self, page: int) -> PageSize:
        """Pixels at the stated resolution, in points."""
        self._seek(page)
        width, height = self._image.size
        if self._turned():
            width, height = height, width
        try:
            dpi = float(self._image.info.get("dpi", (0,))[0])
        except (TypeError, ValueError, IndexError, ZeroDivisionError):
            dpi = 0.0
        if not 30 <= dpi <= 2400:
            # What states no resolution is no larger than a poster, however many pixels it has.
            dpi = max(_DEFAULT_DPI, max(width, height) / _LONGEST_INCHES)
        return PageSize(width * POINTS_PER_INCH / dpi, height * POINTS_PER_INCH / dpi)

    def words(self, page: int) -> list[list[Word]]:
        """None: a picture has no text layer."""
        return []

    def outline(self) -> list[OutlineEntry]:
        """None: a picture has no outline."""
        return []

    def _frame(self, page: int) -> Image.Image:
        if self._loaded is None or self._loaded[0] != page:
            self._seek(page)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._image.load()
                    image = ImageOps.exif_transpose(self._image)
                    if image.mode.startswith("I") or image.mode == "F":
                        image = _to_eight_bits(image)
                    self._loaded = (page, _on_white(image))
            except (*_FAULTS, MemoryError) as error:
                raise DocumentError(f"page {page} cannot be decoded: {one_line(error)}") from error
        return self._loaded[1]

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The part `box` of a page, `width` × `height` pixels, resampled from the full picture."""
        frame = self._frame(page)
        region = (box.x0 * frame.width, box.y0 * frame.height, box.x1 * frame.width, box.y1 * frame.height)
        return frame.resize((width, height), Image.Resampling.LANCZOS, box=region)

    def close(self) -> None:
        """Release the file."""
        self._loaded = None
        self._image.close()


def _formats(path: Path) -> list[str]:
    """The format that Pillow may take a file for: the one that its first bytes tell.

    Raises:
        DocumentError: if that one is not read here.
    """
    kind = media_type_of(path) or ""
    if kind == "image/heic":
        if not heic_is_read():
            raise DocumentError(
                f"HEIC pictures are read by another package: {install_command('heic')}, and ingest again"
            )
        import pillow_heif

        pillow_heif.register_heif_opener()
    name = PICTURES.get(kind, "")
    Image.init()
    if name not in Image.OPEN:
        raise DocumentError(f"the Pillow installed here does not read {name or 'it'}")
    return [name]


def _on_white(image: Image.Image) -> Image.Image:
    """A picture as RGB, its transparent parts on white."""
    if image.mode == "RGB":
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        white.paste(strip, (0, top), strip)
    return white


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit, 32-bit or float grey picture scaled to 0–255 by its own extremes."""
    extremes = image.getextrema()
    low, high = float(extremes[0]), float(extremes[1])  # type: ignore[arg-type]
    if high <= low:
        return Image.new("L", image.size, 255 if high > 0 else 0)
    scale = 255.0 / (high - low)
    return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
