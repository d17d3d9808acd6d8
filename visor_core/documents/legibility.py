"""Whether a text layer says what its page shows: else the page is one for OCR.

It does not where hardly any text lies on a page with ink (a scan, with a stamp or without, drawn letters), where much
of the text has no names (fonts without a Unicode map), or where the letters are none of a language (a wrong map:
"5IF BOOVBM SFWFOVF" stands for "The annual revenue"). Leaves out wrong maps of other scripts than Latin, whose letters
are too many to tell by their frequencies.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from visor_core.documents.reader import Word

FEW_CHARACTERS = 32
"""A text layer with fewer visible characters than this may be a scan's page number."""
_SCARCE = 0.03
"""Share of the page that the words of a stamp, a footer or a page number take at most."""
_FULL = 0.08
"""Share of a page's tiles with ink beside the words from which on a page with scarce text shows more."""
_LINE = 0.01
"""The same of a page with few characters: a line of print across it."""
_SPECK = 0.001
"""The same of a page without text: two tiles of 2,304."""
_UNNAMED = 0.3
"""Share of the words' area that may be without names."""
_TILES = 48
"""Tiles along each side of a page."""
_CONTRAST = 24
"""Least difference of brightness, of 255, in a tile with ink."""
_ENOUGH = 60
"""Latin letters from which on their frequencies say something."""
_ALIKE = 0.65
"""Least cosine of a text's letter frequencies with those of languages in Latin letters. Of 736 pages of 40 PDFs the
lowest is .74 and 99 of 100 are over .89; with their characters shifted by -31, -29, 1 or 3 99 of 100 are under .62."""
_FOREIGN = 0.4
"""Largest share of accented letters: Vietnamese has a quarter, text of another alphabet read as Latin-1 nearly all."""
# fmt: off
_FREQUENCIES = dict(zip("abcdefghijklmnopqrstuvwxyz", (
    8.5, 1.6, 3.2, 4.5, 14.0, 1.4, 1.9, 3.0, 6.8, 0.4, 0.6, 4.5, 2.8,
    7.6, 6.1, 1.9, 0.6, 6.6, 7.4, 6.8, 4.0, 1.2, 1.1, 0.2, 0.8, 0.5,
), strict=True))
# fmt: on
"""Letters of 100 without accents: the mean of English, German, French and Spanish in the table of
https://en.wikipedia.org/wiki/Letter_frequency."""
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")


def legible(blocks: Sequence[Sequence[Word]], image: Image.Image) -> bool:
    """Whether the words of a page's text layer say what its picture shows."""
    words = [word for block in blocks for word in block]
    known = [word for word in words if named(word)]
    text = " ".join(word.text for word in known)
    if _area(known) < (1 - _UNNAMED) * _area(words) or not plausible(text):
        return False
    characters = sum(not c.isspace() for c in text)
    if characters >= FEW_CHARACTERS and _area(known) > _SCARCE:
        return True
    return inked(image, known) < (_FULL if characters >= FEW_CHARACTERS else _LINE if characters else _SPECK)


def says_something(text: str) -> bool:
    """Whether a text layer is more than a page number, in letters that may be those of a language."""
    return sum(not c.isspace() for c in text) >= FEW_CHARACTERS and plausible(text)


def named(word: Word) -> bool:
    """Whether most of a word's characters are ones that its font names."""
    unknown = sum(c == "\ufffd" or not c.isprintable() for c in word.text) + len(_PRIVATE.findall(word.text))
    return 2 * unknown < len(word.text)


def plausible(text: str) -> bool:
    """Whether the Latin letters of a text may be those of a language; true of one that has few.

    >>> plausible("The annual revenue of the harbour office rose to 4711 in the year that ended on 31 December")
    True
    >>> plausible("5IF BOOVBM SFWFOVF PG UIF IBSCPVS PGGJDF SPTF UP 4711 JO UIF ZFBS UIBU FOEFE PO 31 %FDFNCFS")
    False
    """
    letters = [c for c in text if c.isalpha() and "LATIN" in _name(c)]
    if len(letters) < _ENOUGH or 2 * len(letters) < sum(c.isalpha() for c in text):
        return True
    if sum(not c.isascii() for c in letters) > _FOREIGN * len(letters):
        return False
    counts = Counter(_plain(c) for c in letters)
    dot = sum(_FREQUENCIES.get(letter, 0.0) * count for letter, count in counts.items())
    length = math.sqrt(sum(f * f for f in _FREQUENCIES.values()) * sum(n * n for n in counts.values()))
    return dot >= _ALIKE * length


def inked(image: Image.Image, words: Sequence[Word]) -> float:
    """Share of a page's tiles that show something where no word lies."""
    tiles = _contrast(image) > _CONTRAST
    for word in words:
        x0, y0, x1, y1 = word.x0 * _TILES, word.y0 * _TILES, word.x1 * _TILES, word.y1 * _TILES
        tiles[max(0, math.floor(y0)) : math.ceil(y1), max(0, math.floor(x0)) : math.ceil(x1)] = False
    return float(tiles.mean())


def _contrast(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Difference of the brightest and the darkest pixel in each of (_TILES, _TILES) tiles."""
    side = 8 * _TILES
    small = image.convert("L").resize((side, side), Image.Resampling.BOX)
    tiles = np.asarray(small).reshape(_TILES, 8, _TILES, 8)
    contrast: npt.NDArray[np.uint8] = tiles.max(axis=(1, 3)) - tiles.min(axis=(1, 3))
    return contrast


def _area(words: Sequence[Word]) -> float:
    """Share of the page that the boxes of words take."""
    return sum((word.x1 - word.x0) * (word.y1 - word.y0) for word in words)


@functools.lru_cache(maxsize=65_536)
def _name(character: str) -> str:
    return unicodedata.name(character, "")


@functools.lru_cache(maxsize=65_536)
def _plain(character: str) -> str:
    """A letter in lower case without its accents."""
    return unicodedata.normalize("NFKD", character)[0].lower()
