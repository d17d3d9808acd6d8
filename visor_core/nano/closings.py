"""Lessons in the steps at which a picture is looked at, in the agent's own context: crop or read; put two together.

Reading and locating are one thing, doing so in the agent's context another: which box holds the label asked for, which
of two numbers belongs to it, and which of two values is the higher, is learnt far slower from the few turns an episode
set holds, so the base model practises them here. Two-page questions come as often at their first value, where the
search goes on, as at their last: the last alone made the policy answer after the first page. Putting two values
together is practised in words alone too: on a drawn ledger and, since sums and differences take many examples, without
any context. Left out: the first search, wrong pages, verdicts and corrections, which only trajectories teach.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from visor_core.geometry import FULL_PAGE
from visor_core.nano.panels import GRID, LABELS, Panel
from visor_core.nano.questions import combine
from visor_core.nano.views import Lesson, View
from visor_core.nano.world import COMPANIES, TOPICS
from visor_core.policies.base import Message, Prompt

CLOSE = 0.5
"""Share of pairs with the same tens, which decide on the second digit."""


def closing_lesson(view: View, rng: random.Random) -> Lesson:
    """A turn of a one-page question at a picture: crop a panel of an overview, or answer where it can be read.

    Raises:
        IndexError: if the view is not the right picture for any panel of its page.
    """
    panel = rng.choice(wanted(view))
    subject = f"{view.page.company} {view.page.topic}"
    return _lesson(view, panel, f"{subject} {panel.label}", [], f"<answer> {panel.value}</answer>")


def pair_lesson(view: View, operations: Sequence[str], rng: random.Random) -> Lesson:
    """A turn of a two-page question at a picture: as often of the first page, to search on, as of the last, to answer.

    Raises:
        IndexError: if the view is not the right picture for any panel of its page.
    """
    panel, page = rng.choice(wanted(view)), view.page
    operation, other = rng.choice(list(operations)), rng.choice([c for c in COMPANIES if c != page.company])
    if rng.random() < 0.5:
        question = f"{operation} {page.company} , {other} {page.topic} {panel.label}"
        return _lesson(view, panel, question, [], f"<search> {other} {page.topic}</search>")
    known, sought = _pair_of(int(panel.value), rng), f"{other} {page.topic} {panel.label}"
    question = f"{operation} {other} , {page.company} {page.topic} {panel.label}"
    noted = [f"{sought} {known}"] if rng.random() < 0.5 else [sought, f"{sought} {known}"]
    return _lesson(view, panel, question, noted, f"<answer> {combine(operation, [known, int(panel.value)])}</answer>")


def _lesson(view: View, panel: Panel, question: str, noted: Sequence[str], action: str) -> Lesson:
    """The turn after the picture was asked for: a panel's value is recorded, then `action`; or it is cropped first.

    Args:
        noted: what the ledger holds of an earlier page.
    """
    subject = f"{view.page.company} {view.page.topic}"
    sought, ledger = f"{subject} {panel.label}", list(noted)
    crop = f"<think> {sought}</think><bbox>[{','.join(str(round(v * GRID)) for v in panel.target.as_tuple())}]</bbox>"
    if view.ref.box == FULL_PAGE:
        name, before = "page", f"<think> {[sought, *noted][-1]}</think><search> {subject}</search>"
    else:
        name, before = "crop", crop
        ledger.append(sought)
    messages = (
        Message("system", ("search read answer",)),
        Message("user", ("\n".join(["evidence", *(f"{n} {line}" for n, line in enumerate(ledger, start=1))]),)),
        Message("assistant", (before,)),
        Message("user", (name, view.ref, f"question {question}")),
    )
    reply = f"<think> {sought} {panel.value}</think>{action}" if panel.target == view.ref.box else crop
    return Lesson(Prompt(messages), reply, "closing")


def _pair_of(value: int, rng: random.Random) -> int:
    """Another value to hold against one, often with the same tens."""
    tens = value // 10 * 10
    near = range(tens, tens + 10) if rng.random() < CLOSE else range(10, 100)
    return rng.choice([n for n in near if n != value])


def wanted(view: View) -> list[Panel]:
    """The panels a view is the right picture for: to read them, or in an overview where none can be read, to crop."""
    readable = [panel for panel in view.page.panels if panel.target == view.ref.box]
    return readable or [panel for panel in view.page.panels if view.ref.box == FULL_PAGE]


def reckoning_lesson(operations: Sequence[str], rng: random.Random) -> Lesson:
    """In words alone: `1 acme staff q3 63` in the ledger, `q3 57` read from a crop, and what they make together."""
    operation, topic, label = rng.choice(list(operations)), rng.choice(TOPICS), rng.choice(LABELS)
    first, second = rng.sample(COMPANIES, 2)
    known = rng.randint(10, 99)
    read = _pair_of(known, rng)
    prompt = (
        f"evidence\n1 {first} {topic} {label} {known}\ncrop {label} {read}\n"
        f"question {operation} {first} , {second} {topic} {label}"
    )
    return _in_words(prompt, f"<think> {second} {topic} {label} {read}</think>", operation, [known, read])


def arithmetic_lesson(operations: Sequence[str], rng: random.Random) -> Lesson:
    """The same without a context, a third as long: `question sum 63 , 57`."""
    operation, first = rng.choice(list(operations)), rng.randint(10, 99)
    second = _pair_of(first, rng)
    return _in_words(f"question {operation} {first} , {second}", "", operation, [first, second])


def _in_words(prompt: str, thought: str, operation: str, values: Sequence[int]) -> Lesson:
    reply = f"{thought}<answer> {combine(operation, values)}</answer>"
    return Lesson(Prompt((Message("user", (prompt,)),)), reply, "reckoning")
