"""Where an answer is printed: its words on a page, and the boxes that count as gold where a benchmark gives none.

A benchmark of real documents names gold pages but no boxes. Where the words of a gold answer are printed exactly once
on its gold pages, the box around them is taken as gold; an answer that is printed nowhere (counted, computed, drawn) or
more than once has none, and neither does a single digit, which stands anywhere by chance. Where the annotation has
boxes (the nano world), those are gold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from visor_core.geometry import Box, intersection_area
from visor_core.questions import Question, gold_is_complete
from visor_core.scoring.crops import Region, gold_regions
from visor_core.scoring.facts import Word, words_of
from visor_core.scoring.lists import LONGEST, items_of

WordsOf = Callable[[str], Sequence[Word]]
"""The words of a page by its id, in reading order; none of a page without text."""


def holds(text: str, part: str) -> bool:
    """Whether all words of `part` stand in the text in a row; never where it has none."""
    return bool(_starts(words_of(text), words_of(part)))


def printed(text: str, words: Sequence[Word]) -> list[Box]:
    """The places where the words of a text stand in a row on a page, as boxes around them."""
    wanted = words_of(text) if len(text) <= LONGEST else []
    tokens = [(token, i) for i, word in enumerate(words) for token in words_of(word[0])]
    found = []
    for start in _starts([token for token, _ in tokens], wanted):
        found.append(_around([words[i] for _, i in tokens[start : start + len(wanted)]]))
    return found


def places(text: str, page_id: str, words: Sequence[Word], question: Question) -> list[Box]:
    """Where a text stands on a page: printed, or as the value of a fact that the annotation puts there."""
    facts = [fact for fact in question.gold_facts if fact.page_id == page_id]
    return [*printed(text, words), *(fact.box for fact in facts if words_of(fact.value) == words_of(text))]


def lies_in(box: Box, region: Box) -> bool:
    """Whether at least half of a box lies in a region."""
    return intersection_area(box, region) >= 0.5 * box.area


def gold_boxes(question: Question, words_of_page: WordsOf | None) -> tuple[Region, ...] | None:
    """The gold boxes of a question; None where there are none, or they cannot be located.

    Of a list, all items have to be printed once. An answer that any of several golds gives counts by the first.
    """
    if given := gold_regions(question):
        return given
    known = question.answerable and question.gold_pages and gold_is_complete(question)
    if not known or words_of_page is None or question.gold_facts or not question.answers:
        return None
    pages = {page_id: words_of_page(page_id) for page_id in dict.fromkeys(question.gold_pages)}
    located: list[Region] = []
    for item in items_of(question.answers[0]):
        found = [Region(page_id, box) for page_id, words in pages.items() for box in printed(item, words)]
        if len(found) != 1 or (item.strip().isdigit() and len(item.strip()) == 1):
            return None
        located += found
    return tuple(located) or None


def _starts(tokens: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where the wanted words begin in a row."""
    if not wanted:
        return []
    length = len(wanted)
    return [
        i
        for i in range(len(tokens) - length + 1)
        if tokens[i] == wanted[0] and list(tokens[i : i + length]) == list(wanted)
    ]


def _around(words: Iterable[Word]) -> Box:
    """The box around words, with some area."""
    boxes = [word[1:] for word in words]
    x0, y0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
    x1, y1 = max(b[2] for b in boxes), max(b[3] for b in boxes)
    x0, y0 = min(max(x0, 0.0), 0.999), min(max(y0, 0.0), 0.999)
    return Box(x0, y0, min(1.0, max(x1, x0 + 1e-3)), min(1.0, max(y1, y0 + 1e-3)))
