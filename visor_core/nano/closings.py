"""Lessons in the last step of an episode, in the agent's own context: read what is shown; put two values together.

Reading is one thing, reading into the agent's context another: which of two numbers belongs to the label asked for, and
which of two values is the higher, is learnt far slower from the few last turns an episode set holds, so the base model
practises both here. Values are put together in words alone, on a drawn ledger. Left out: searching, cropping and when
to go on, which only trajectories teach: two-page questions with a picture made the policy answer after the first page.
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
    """The last turn of a one-page question, on a picture in which a panel of its page can be read.

    Raises:
        IndexError: if the view is not the right picture for any panel of its page.
    """
    panel = rng.choice(readable(view))
    subject = f"{view.page.company} {view.page.topic}"
    thought, ledger = f"<think> {subject} {panel.label}", "evidence"
    if view.ref.box == FULL_PAGE:
        before, name = f"{thought}</think><search> {subject}</search>", "page"
    else:
        cells = ",".join(str(round(v * GRID)) for v in view.ref.box.as_tuple())
        before, name = f"{thought}</think><bbox>[{cells}]</bbox>", "crop"
        ledger += f"\n1 {subject} {panel.label}"
    messages = (
        Message("system", ("search read answer",)),
        Message("user", (ledger,)),
        Message("assistant", (before,)),
        Message("user", (name, view.ref, f"question {subject} {panel.label}")),
    )
    return Lesson(Prompt(messages), f"{thought} {panel.value}</think><answer> {panel.value}</answer>", "closing")


def readable(view: View) -> list[Panel]:
    """The panels a view is the right picture for."""
    return [panel for panel in view.page.panels if panel.target == view.ref.box]


def reckoning_lesson(operations: Sequence[str], rng: random.Random) -> Lesson:
    """In words alone: `1 acme staff q3 63` in the ledger, `q3 57` read from a crop, and what they make together."""
    operation, topic, label = rng.choice(list(operations)), rng.choice(TOPICS), rng.choice(LABELS)
    first, second = rng.sample(COMPANIES, 2)
    known = rng.randint(10, 99)
    tens = known // 10 * 10
    near = range(tens, tens + 10) if rng.random() < CLOSE else range(10, 100)
    read = rng.choice([n for n in near if n != known])
    prompt = (
        f"evidence\n1 {first} {topic} {label} {known}\ncrop {label} {read}\n"
        f"question {operation} {first} , {second} {topic} {label}"
    )
    reply = f"<think> {second} {topic} {label} {read}</think><answer> {combine(operation, [known, read])}</answer>"
    return Lesson(Prompt((Message("user", (prompt,)),)), reply, "reckoning")
