"""Counterfactuals of the nano world: numbers of panels are painted over, answers are worked out from the new ones.

Its numbers stand in no text layer, so that the words of a page cannot say where: the world that wrote the documents
does. Every panel that a question needs gets one new number, whatever the question. Left out: tables and charts of the
rich tier, whose shapes would contradict another number.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.geometry import Box
from visor_core.index.records import split_page_id
from visor_core.nano.drawing import text_width
from visor_core.nano.panels import PAGE_POINTS
from visor_core.nano.questions import OPERATIONS, THEN, combine
from visor_core.nano.rich_pages import CHARTED
from visor_core.nano.world import World, WorldPage, value_centres
from visor_core.questions import Fact, Question
from visor_core.stress.counterfactuals import NOT_ANSWERABLE, Counterfactual, Plan
from visor_core.stress.edits import Paint
from visor_core.stress.values import new_number

SAME = "the new values give the same answer"
CHART = "its number is the shape of a table or chart"


def plan(questions: Sequence[Question], world: World, seed: int = 0) -> Plan:
    """What can be changed of a world's questions.

    Raises:
        DataError: if a question is about pages that the world does not have.
    """
    pages = {page.page_id: page for page in world.pages}
    planned: list[Counterfactual] = []
    left_out: list[LeftOut] = []
    for question in questions:
        if missing := [fact.page_id for fact in question.gold_facts if fact.page_id not in pages]:
            raise DataError(
                f"page {missing[0]} of {question.question_id} is not of this nano world: give its --profile"
            )
        found = _planned(question, pages, seed)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            planned.append(found)
    return Plan(tuple(planned), tuple(left_out), len(questions))


def _planned(question: Question, pages: Mapping[str, WorldPage], seed: int) -> Counterfactual | LeftOut:
    if not question.answerable:
        return LeftOut(question.question_id, NOT_ANSWERABLE, question.answers[0])
    if any(pages[fact.page_id].layout in CHARTED for fact in question.gold_facts):
        return LeftOut(question.question_id, CHART, question.question)
    facts = tuple(replace(fact, value=_new_value(fact, seed)) for fact in question.gold_facts)
    answer = _answer(question.question, facts)
    if answer == question.answers[0]:
        return LeftOut(question.question_id, SAME, answer)
    edits = tuple((split_page_id(fact.page_id)[0], _paint(pages[fact.page_id], fact)) for fact in dict.fromkeys(facts))
    return Counterfactual(question, replace(question, answers=(answer,), gold_facts=facts), edits)


def _new_value(fact: Fact, seed: int) -> str:
    """A panel's new number: the same for every question."""
    drawn = new_number(fact.value, random.Random(f"{seed}/{fact.page_id}/{fact.field}"))
    assert drawn is not None  # of two digits there is always another one
    return drawn


def _answer(text: str, facts: Sequence[Fact]) -> str:
    """What a question comes to with these facts; of a dependent one the last, whose subject is asked for."""
    words = text.split()
    if THEN in words:
        return facts[-1].value
    operation = words[0] if words[0] in OPERATIONS else ""
    return str(combine(operation, [int(fact.value) for fact in facts]))


def _paint(page: WorldPage, fact: Fact) -> Paint:
    """The new number where the old one is drawn."""
    panel = page.panel(fact.field)
    assert panel is not None
    number = page.panels.index(panel)
    # A panel has a label and two digits, in the order of the panels.
    _, _, size, x, y = value_centres(page)[3 * number + 1]
    left, top = x * PAGE_POINTS - 0.5 * text_width("0", size), y * PAGE_POINTS - 0.6 * size
    box = Box(*(v / PAGE_POINTS for v in (left, top, left + text_width(fact.value, size), top + 1.2 * size)))
    return Paint(page.page, box, fact.value, size)
