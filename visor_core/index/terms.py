"""Words as full text knows them: folded, without function words, stemmed by the language of their document.

A page is indexed in the language of its document, a query is asked in all languages that the index holds: the form that
one language makes of a word stands beside those of the others. Scripts without spaces keep their runs whole here; they
are cut into words by LanceDB's ICU tokenizer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import snowballstemmer

from visor_core.index.folding import folded, without_accents, words_of
from visor_core.index.languages import STEMMERS, function_words, language_of

_VOCABULARY = 200_000
"""Words whose stem is remembered."""
_LOCK = threading.Lock()
"""A stemmer keeps the word it works on."""


def terms_of(text: str, language: str = "") -> list[str]:
    """The search terms of a text, in order; `language` as ISO 639-1, "" where it is not known.

    >>> terms_of("The annual revenues under review", "en")
    ['annual', 'revenu', 'under', 'review']
    >>> terms_of("The annual revenues under review")
    ['the', 'annual', 'revenues', 'under', 'review']
    """
    silent = function_words().get(language, frozenset())
    return [term(word, language) for word in words_of(folded(text)) if word not in silent]


def query_terms(query: str, languages: Sequence[str] = ()) -> list[str]:
    """The search terms of a query, each once, in every form that documents of these languages may hold it.

    >>> query_terms("the annual revenues", ["en", ""])
    ['annual', 'revenu', 'revenues']
    """
    words = content_words(query, languages)
    return list(dict.fromkeys(term(word, language) for word in words for language in languages or ("",)))


def content_words(query: str, languages: Sequence[str] = ()) -> list[str]:
    """The folded words of a query that say something; all of them if none does.

    Args:
        query: as it was asked.
        languages: those it may be asked in; none means all that are known.

    >>> content_words("What is the net revenue under review?")
    ['net', 'revenue', 'under', 'review']
    """
    words = words_of(folded(query))
    among = tuple(language for language in languages if language)
    silent = function_words().get(language_of(query, among) or _likeliest(words, among), frozenset())
    return [word for word in words if word not in silent] or words


def _likeliest(words: Sequence[str], among: Sequence[str]) -> str:
    """The language with most function words in a query too short to tell; of equals English, or the first."""
    known = function_words()
    hits = {
        language: sum(word in known[language] for word in words) for language in among or known if language in known
    }
    return max(hits, key=lambda language: (hits[language], language == "en"), default="")


@functools.lru_cache(maxsize=_VOCABULARY)
def term(word: str, language: str) -> str:
    """A folded word as it is indexed."""
    if language in STEMMERS:
        with _LOCK:
            word = _stemmer(language).stemWord(word)
    return without_accents(word)


@functools.cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(STEMMERS[language])
