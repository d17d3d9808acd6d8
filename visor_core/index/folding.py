"""What makes two spellings one word for a search: compatibility forms, case, marks that may be left out, digits.

Unicode's NFKC (UAX 15) makes ligatures, presentation forms and wide letters plain; case folding and the dotted and
dotless i of Turkish follow; points of Hebrew, short vowels of Arabic and invisible joiners go, for writers leave them
out; digits of all scripts are those of ASCII. Marks that make another letter (Devanagari vowels, kana's dakuten) stay.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from visor_core.index.ranking.numbers import with_plain_numbers

_DROPPED = re.compile(
    "[\u00ad\u0610-\u061a\u0640\u064b-\u065f\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
"""Soft hyphens, Hebrew points, Arabic vowels and stretches, joiners, directions and variant selectors."""
_ACCENTS = re.compile("[\u0300-\u036f]")
_DOTS = str.maketrans({"ı": "i", "\u0307": None})
"""The dotless i, and the dot that folding leaves of a Turkish İ."""
_ALIKE = str.maketrans("أإآٱىیک", "ااااييك")
"""Letters of the Arabic script that writers use for one another."""
_SOUTH_EAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_HAN_AND_KANA = "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
_RARE_HAN = "\U00020000-\U0003ffff"
SPACELESS = _SOUTH_EAST + _HAN_AND_KANA + _RARE_HAN
"""Scripts without spaces between words, as a class of a regular expression: Thai, Lao, Burmese, Khmer, Han, kana."""
_SPACELESS = re.compile(f"[{SPACELESS}]")


def folded(text: str) -> str:
    """A text as it is searched; its words are those of the original, in order, and its numbers of one form.

    >>> folded("1,577.00")
    '1577'
    >>> folded("ＡＣＭＥ ﬁnancé ISTANBUL İstanbul ٢٠٢٣")
    'acme financé istanbul istanbul 2023'
    """
    text = with_plain_numbers(text)
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _DROPPED.sub("", plain).translate(_DOTS)
    return unicodedata.normalize("NFKC", plain).translate(_digits())


def without_accents(word: str) -> str:
    """A folded word without the accents of an alphabet that is written without them as well, letters that are used for
    one another alike; й is another letter than и.

    >>> without_accents("überέёй")
    'uberεей'
    """
    if word.isascii():
        return word
    return "".join(_bare(character) for character in word).translate(_ALIKE)


@functools.lru_cache(maxsize=65_536)
def _bare(character: str) -> str:
    if character == "й":
        return character
    apart = unicodedata.normalize("NFD", character)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", apart)) if len(apart) > 1 else character


def words_of(text: str) -> list[str]:
    """The words of a folded text: letters and digits with the marks on them; a run without spaces is one word."""
    return _ascii_words(text) if text.isascii() else _words().findall(text)


def spaceless(word: str) -> bool:
    """Whether a word, or part of it, is written in a script without spaces between words."""
    return not word.isascii() and _SPACELESS.search(word) is not None


_ascii_words = re.compile(r"[^\W_]+").findall


@functools.cache
def _words() -> re.Pattern[str]:
    """Words with their marks, which are no letters to Python; a script with spaces ends where one without begins."""
    return re.compile(f"(?:[{SPACELESS}][{_marks()}]*)+|(?:(?![{SPACELESS}])[^\\W_][{_marks()}]*)+")


@functools.cache
def _marks() -> str:
    """Unicode's combining marks as ranges of a regular expression's class."""
    codes = [c for c in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)) if unicodedata.category(chr(c))[0] == "M"]
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@functools.cache
def _digits() -> dict[int, str]:
    """Decimal digits of all scripts as those of ASCII."""
    codes = range(0x100, 0x20000)
    return {c: str(unicodedata.decimal(chr(c))) for c in codes if unicodedata.category(chr(c)) == "Nd"}
