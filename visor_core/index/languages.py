"""The language of a text: told by its script, and within a script by the function words that stand in it.

Function words are articles, pronouns, auxiliaries and prepositions of place and possession: what every text of a
language is full of and no question is about. Words of number, comparison, negation and direction ("few", "under",
"ohne", "más") are none here, though most lists have them: they decide which figure is meant. Stemmers are those of
Snowball (Porter 2001). A language that is not known is "": its words are taken as they stand.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from importlib.resources import files

from visor_core.index.folding import folded, words_of

STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "nb": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Snowball's stemmer by the language's code (ISO 639-1); a language without one keeps its words whole."""

_SAMPLE = 40_000
"""Characters that are looked at: the language of a document does not change after so many."""
_SHARE = 0.06
"""Least share of function words: a table of figures has about that many, a text five times as many."""
_LEAST = 3
"""Fewest function words."""
_OF_SCRIPT = {"THAI": "th", "HANGUL": "ko", "HEBREW": "he", "GREEK": "el"}
"""Languages told by their script, as Chinese and Japanese are: Han characters, with hardly any kana or with more."""
_KANA = 0.05
"""Least share of kana among Han and kana in a Japanese text."""


@functools.cache
def function_words() -> dict[str, frozenset[str]]:
    """Function words by language, folded as words of a text are."""
    lines = files("visor_core.index").joinpath("function_words.txt").read_text(encoding="utf-8").splitlines()
    return {line[:2]: frozenset(words_of(folded(line[3:]))) for line in lines}


def language_of(text: str, among: tuple[str, ...] = ()) -> str:
    """The language of a text as ISO 639-1, "" where it cannot be told.

    Args:
        text: of any length.
        among: languages that come into question; none means all that are known.

    >>> language_of("Die Umsatzerlöse sind im Geschäftsjahr auf 4.711 Mio. Euro gestiegen, wie der Vorstand sagte")
    'de'
    >>> language_of("4711 EUR")
    ''
    """
    sample = text[:_SAMPLE]
    found = _by_script(sample) or _by_function_words(folded(sample), among)
    return found if not among or found in among else ""


def _by_script(text: str) -> str:
    """The language of a text of which the script alone tells it."""
    if text.isascii():
        return ""
    letters = Counter(_script(character) for character in re.sub(r"[\W\d_]+", "", text))
    if not letters:
        return ""
    kana = letters["HIRAGANA"] + letters["KATAKANA"]
    # A Han character says about as much as two letters of an alphabet.
    weights = {"LATIN": letters["LATIN"], "CJK": 2 * (letters["CJK"] + kana), "HANGUL": 2 * letters["HANGUL"]}
    weights |= {s: n for s, n in letters.items() if s not in weights and s not in ("HIRAGANA", "KATAKANA")}
    script = max(weights, key=lambda name: (weights[name], name))
    if script == "CJK":
        return "ja" if kana >= _KANA * (letters["CJK"] + kana) else "zh"
    return _OF_SCRIPT.get(script, "")


@functools.lru_cache(maxsize=65_536)
def _script(character: str) -> str:
    """The first word of a character's name, which is its script."""
    return unicodedata.name(character, "").partition(" ")[0]


def _by_function_words(text: str, among: tuple[str, ...]) -> str:
    """The language whose function words stand most often in a folded text, if there are enough of them."""
    words = words_of(text)
    counts = Counter(words)
    hits = {
        language: sum(count for word, count in counts.items() if word in known)
        for language, known in function_words().items()
        if not among or language in among
    }
    best = max(hits, key=lambda language: hits[language], default="")
    if not best or hits[best] < max(_LEAST, _SHARE * len(words)):
        return ""
    return best if sum(count == hits[best] for count in hits.values()) == 1 else ""
