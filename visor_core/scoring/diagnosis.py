"""Why an answer is wrong: every miss is exactly one of five, told from the trajectory and the gold.

After CogMath's idea of naming the stage at which a solution fails; the stages are those of an episode over pages. In
this order, the first that holds:

- *not answered in form*: the gold value stands in the answer, which is none by the rule all the same; or, below, no
  answer came although all was read.
- *not found*: a gold page was never shown in full.
- *not seen*: the value's gold box was in no picture that was shown large enough: inside a crop, or on a page that shows
  it legibly (annotated, or at least `LEGIBLE` pixels high). Without a gold box, a page shown in full was seen.
- *not read*: no reading that stands at the end has it: a gold fact is not recorded; where the gold answer is printed on
  the gold pages, no reading of a gold page holds its words; else a gold page has no reading at all.
- *not reasoned*: everything was read, and the answer is another one. So is an answer to a question that has none.

Where the gold pages are not known, a miss is judged by the gold answer alone: in no reading and on no page that was
shown, it was not found; on a page, not read; in a reading, not reasoned. Failed episodes are no misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from visor_core.agent.trajectory import Trajectory
from visor_core.policies.base import ImageRef
from visor_core.questions import Question, gold_is_complete
from visor_core.scoring.answers import answer_score, says_missing
from visor_core.scoring.crops import Region
from visor_core.scoring.facts import is_recorded
from visor_core.scoring.ledger import pages_read
from visor_core.scoring.lists import items_of
from visor_core.scoring.located import WordsOf, gold_boxes, holds, lies_in, printed

Miss = Literal["not found", "not seen", "not read", "not reasoned", "not answered in form"]
MISSES: tuple[Miss, ...] = get_args(Miss)
"""In the order of an episode."""
LEGIBLE = 8
"""Pixels of height of a shown line from which it counts as legible."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The miss, the turn (from 1) whose reply it went wrong in, and what of the gold is concerned."""

    miss: Miss
    turn: int
    said: str
    page_id: str = ""


def diagnose(episode: Trajectory, words_of: WordsOf | None = None) -> Diagnosis | None:
    """Why the answer is wrong; None of a right one, a failed episode, and where no rule says what is right."""
    question, turns = episode.question, len(episode.turns)
    score = answer_score(question, episode.answer)
    if score is None or score >= 1.0 or episode.outcome == "error":
        return None
    refused = not episode.answer.strip() or says_missing(episode.answer)
    if question.answerable and not refused and _has_gold(question, episode.answer):
        return Diagnosis("not answered in form", turns, f"the answer holds {question.answers[0]!r}, in another form")
    if not question.answerable:
        if not episode.answer.strip():
            return Diagnosis("not answered in form", turns, "no answer came, nor a refusal")
        return Diagnosis("not reasoned", turns, "the documents do not hold the answer, and one was given")
    found = _by_pages(episode, words_of) if gold_is_complete(question) else _by_answer(episode, words_of)
    if found is not None:
        return found
    if not episode.answer.strip():
        return Diagnosis("not answered in form", turns, "all was read, and no answer came")
    return Diagnosis("not reasoned", turns, "all was read, and the answer is another one")


def _by_pages(episode: Trajectory, words_of: WordsOf | None) -> Diagnosis | None:
    """The first of the middle three that holds, by gold pages and boxes."""
    question = episode.question
    gold = list(dict.fromkeys([*question.gold_pages, *(fact.page_id for fact in question.gold_facts)]))
    for page in gold:
        if page not in episode.pages_looked_at:
            shown = " but as a candidate" if page in episode.pages_seen else ""
            return Diagnosis("not found", _last_search(episode), f"a gold page was never shown{shown}", page)
    for box in _boxes(question, words_of):
        if not _seen(episode, box):
            said = "the gold box was in no picture large enough to read it"
            return Diagnosis("not seen", _after(episode, box.page_id), said, box.page_id)
    for fact in question.gold_facts:
        if not is_recorded(fact, episode.readings):
            said = f"{fact.subject} {fact.field} = {fact.value} was seen, and is in no reading that stands"
            return Diagnosis("not read", _after(episode, fact.page_id, last=True), said, fact.page_id)
    if question.gold_facts:
        return None
    return _unread(episode, gold, words_of)


def _unread(episode: Trajectory, gold: Sequence[str], words_of: WordsOf | None) -> Diagnosis | None:
    """What no reading of the gold pages holds: an item of the answer that is printed there, else a whole page."""
    texts = [entry.observation for entry in episode.readings if entry.page_id in gold]
    printed_at = {}
    for item in items_of(episode.question.answers[0]) if words_of else ():
        assert words_of is not None
        printed_at[item] = next((page for page in gold if printed(item, words_of(page))), "")
    for item, page in printed_at.items():
        if page and not any(holds(text, item) for text in texts):
            said = f"{item!r} is printed on the page, and is in no reading that stands"
            return Diagnosis("not read", _after(episode, page, last=True), said, page)
    if printed_at and all(printed_at.values()):
        return None
    for page in gold:
        if page not in pages_read(episode):
            return Diagnosis("not read", _after(episode, page, last=True), "the page has no reading that stands", page)
    return None


def _by_answer(episode: Trajectory, words_of: WordsOf | None) -> Diagnosis | None:
    """The same without gold pages: by the words of the gold answer."""
    question = episode.question
    if any(_has_gold(question, entry.observation) for entry in episode.readings):
        return None
    items = items_of(question.answers[0]) if question.answers else []
    for page in episode.pages_looked_at if words_of else ():
        assert words_of is not None
        if items and all(printed(item, words_of(page)) for item in items):
            said = "the answer is printed on a page that was shown, and is in no reading that stands"
            return Diagnosis("not read", _after(episode, page, last=True), said, page)
    said = "the gold pages are not known, and no page that was shown holds the answer"
    return Diagnosis("not found", _last_search(episode), said)


def _has_gold(question: Question, text: str) -> bool:
    """Whether a text holds every item of an accepted answer, beside other words or in another order."""
    return any(all(holds(text, item) for item in items_of(gold)) and gold.strip() for gold in question.answers)


def _boxes(question: Question, words_of: WordsOf | None) -> Sequence[Region]:
    return gold_boxes(question, words_of) or ()


def _seen(episode: Trajectory, gold: Region) -> bool:
    """Whether a gold box was inside a crop, or on a page that showed it legibly.

    Annotated boxes are those that have to be cropped; a located one is legible by the height at which it was shown.
    """
    annotated = bool(episode.question.gold_facts or episode.question.gold_boxes)
    for turn in episode.turns:
        for image in turn.observation.images:
            there = gold.page_id in ("", image.page_id) and lies_in(gold.box, image.box)
            if turn.observation.kind == "crop" and there:
                return True
            if turn.observation.kind == "page" and there and not annotated and _height(image, gold) >= LEGIBLE:
                return True
    return False


def _height(image: ImageRef, gold: Region) -> float:
    """Pixels of height at which a box is shown in a picture."""
    return gold.box.height / image.box.height * image.height


def _last_search(episode: Trajectory) -> int:
    """The turn of the last search, or the first turn."""
    searches = [number for number, turn in enumerate(episode.turns, start=1) if turn.action.kind == "search"]
    return searches[-1] if searches else min(1, len(episode.turns))


def _after(episode: Trajectory, page_id: str, *, last: bool = False) -> int:
    """The turn whose reply came to the first, or the last, sight of a page."""
    sights = [
        number
        for number, turn in enumerate(episode.turns, start=1)
        if turn.observation.kind in ("page", "crop") and any(i.page_id == page_id for i in turn.observation.images)
    ]
    seen = (sights[-1] if last else sights[0]) if sights else 0
    return min(seen + 1, len(episode.turns))
