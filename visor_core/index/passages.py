"""What full text search reads: overlapping windows of a page's words, and the whole page as normalised words.

Windows find a long page by a few of its lines; they are searched by stemmed words. The whole page, with the words that
say which document it belongs to, is searched by character 5-grams of its words, which forgive inflection, compounds and
misread characters: on real reports the single best ranking (tests/benchmarks/bench_recall.py).
"""

from __future__ import annotations

import hashlib
import re

from visor_core.index.folding import SPACELESS, folded, spaceless, words_of

_GRAMS = 5
"""Characters of the index's n-grams."""
_PAIRED = re.compile("[\u1100-\u11ff\u3005-\u3007\u3041-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff]")
"""Han, kana and Hangul, whose words are mostly of two characters."""
_RUN = re.compile(f"[{SPACELESS}]+|[^{SPACELESS}]+")


def windows(text: str, size: int, overlap: int) -> list[str]:
    """Windows of `size` words, neighbours sharing `overlap`; the last one is full, reaching back if it must.

    Where no spaces stand between words, two Han or kana characters count as one, and four of Thai, Lao, Khmer, Burmese.

    >>> windows("a b c d e", 3, 1)
    ['a b c', 'c d e']
    >>> windows("a b c d", 3, 1)
    ['a b c', 'b c d']
    >>> windows("a 净利润增长了", 2, 1)
    ['a 净利', '净利润增', '润增长了']
    """
    pieces = [piece for word in text.split() for piece in pieces_of(word)]
    if not pieces:
        return []
    step = max(1, size - overlap)
    starts = list(range(0, max(1, len(pieces) - size + 1), step))
    if starts[-1] + size < len(pieces):
        starts.append(len(pieces) - size)
    return ["".join(pieces[start : start + size]).rstrip() for start in starts]


def pieces_of(word: str) -> list[str]:
    """What counts as a word each, of text between two spaces; the last one ends in a space."""
    if not spaceless(word):
        return [f"{word} "]
    found = []
    for run in _RUN.findall(word):
        length = (2 if _PAIRED.search(run) else 4) if spaceless(run) else len(run)
        found += [run[start : start + length] for start in range(0, len(run), length)]
    return [*found[:-1], f"{found[-1]} "]


def gram_length(word: str) -> int:
    """Characters of which a word that may begin anywhere is looked for: 0 for one that spaces set apart."""
    if _PAIRED.search(word):
        return 2
    return 3 if spaceless(word) else 0


def normalised(text: str) -> str:
    """Folded words, one space around each, so that an n-gram knows where a word begins and ends.

    In scripts without spaces, and in Hangul, whose particles hang on the words, a word begins anywhere: such a run
    stands as its pairs of characters (Thai and its neighbours: triples), each alone in one gram of the index.

    >>> normalised("Net-revenue (2023)")
    ' net revenue 2023 '
    >>> normalised("净利润")
    ' 净利   利润   '
    """
    plain = folded(text)
    if plain.isascii():
        return f" {' '.join(words_of(plain))} "
    return f" {' '.join(_overlapping(word) for word in words_of(plain))} "


def _overlapping(word: str) -> str:
    """A word as n-grams are made of it."""
    length = gram_length(word)
    if not length:
        return word
    starts = range(max(1, len(word) - length + 1))
    return " ".join(f"{word[start : start + length]:<{_GRAMS - 1}}" for start in starts)


def mentioned_pages(query: str) -> set[int]:
    """Page numbers a query names.

    >>> sorted(mentioned_pages("the chart on page 5 and slide 12, Seite 7, 第3页"))
    [3, 5, 7, 12]
    """
    plain = folded(query)
    return {int(number) for match in _PAGES.finditer(plain) for number in match.groups() if number}


_PAGES = re.compile(
    r"\b(?:pages?|slides?|pp?\.|seite|folie|página|diapositiva|pagina|paginas|pág\.|diapositive|bladzijde|sida|side|"
    r"sivu|strona|str\.|strana|oldal|sayfa|страница|странице|стр\.|слайд|σελίδα|صفحة|עמוד|पृष्ठ)\s*([0-9]{1,5})\b"
    r"|(?:หน้า|第|페이지)\s*([0-9]{1,5})"
    r"|([0-9]{1,5})\s*(?:페이지|쪽|頁|页|ページ)"
)
"""A word for a page, before or after its number, in a folded query."""


def passage_key(content: str, size: int, overlap: int, language: str) -> str:
    """What decides a page's passages, but for the language that its document is found to be in.

    Args:
        content: of the page, and how much of it is searched.
        size: words of a window.
        overlap: words that two share.
        language: as it is set, which may be to find it.
    """
    return hashlib.sha256(f"5 {content} {size} {overlap} {language}".encode()).hexdigest()[:16]


def text_key(content: str, context: str) -> str:
    """What decides a page's text as it is searched as a whole."""
    return hashlib.sha256(f"5 {content} {context}".encode()).hexdigest()[:16]
