"""Lessons in the last step of an episode: read the picture just shown, and put its value together with a recorded one.

Reading is one thing, reading into the agent's context another: which of two numbers belongs to the label asked for, and
which of two recorded ones is the higher, is learnt far slower from the few last turns an episode set holds, so the base
model practises it here, on drawn ledgers around real pages. Left out: searching and cropping, which only trajectories
teach.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from visor_core.geometry import FULL_PAGE
from visor_core.nano.panels import GRID, Panel
from visor_core.nano.questions import combine
from visor_core.nano.views import Lesson, View
from visor_core.nano.world import COMPANIES
from visor_core.policies.base import Message, Prompt

SINGLE = 0.25
"""Share of questions about one value."""
CLOSE = 0.5
"""Share of pairs with the same tens, which decide on the second digit."""


def closing_lesson(view: View, operations: Sequence[str], rng: random.Random) -> Lesson:
    """The last turn on a picture in which a panel of its page can be read, in the agent's compact words.

    Raises:
        ValueError: if the view shows no panel of its page legibly.
    """
    panel = rng.choice(readable(view))
    subject, value = f"{view.page.company} {view.page.topic}", int(panel.value)
    asked, ledger, answer = f"{subject} {panel.label}", [], value
    if rng.random() >= SINGLE:
        operation, other = rng.choice(list(operations)), rng.choice([c for c in COMPANIES if c != view.page.company])
        known = _another(value, rng)
        asked = f"{operation} {other} , {subject} {panel.label}"
        # A reading from a crop follows the line that the page alone gave.
        ledger = [f"{other} {view.page.topic} {panel.label}"] * rng.randint(0, 1)
        ledger.append(f"{other} {view.page.topic} {panel.label} {known}")
        answer = combine(operation, [known, value])
    thought = f"<think> {subject} {panel.label}"
    if view.ref.box == FULL_PAGE:
        before, name = f"{thought}</think><search> {subject}</search>", "page"
    else:
        cells = ",".join(str(round(v * GRID)) for v in view.ref.box.as_tuple())
        before, name = f"{thought}</think><bbox>[{cells}]</bbox>", "crop"
        ledger.append(f"{subject} {panel.label}")
    messages = (
        Message("system", ("search read answer",)),
        Message("user", ("\n".join(["evidence", *(f"{i} {line}" for i, line in enumerate(ledger, 1))]),)),
        Message("assistant", (before,)),
        Message("user", (name, view.ref, f"question {asked}")),
    )
    return Lesson(Prompt(messages), f"{thought} {value}</think><answer> {answer}</answer>", "closing")


def readable(view: View) -> list[Panel]:
    """The panels a view is the right picture for."""
    return [panel for panel in view.page.panels if panel.target == view.ref.box]


def _another(value: int, rng: random.Random) -> int:
    """Another two-digit number."""
    tens = value // 10 * 10
    near = range(tens, tens + 10) if rng.random() < CLOSE else range(10, 100)
    return rng.choice([n for n in near if n != value])
