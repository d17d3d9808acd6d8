"""Lessons in words alone: the last step of a two-page question, with the ledger given and the reading spelled out.

Perception lessons teach the language model to copy what a picture says; putting two numbers together and writing the
right one whole is learnt far slower from the few answers an episode set holds, so the base model practises it here.
Subjects and values are drawn, not taken from any page. Left out: searching and cropping, which only trajectories teach.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from visor_core.nano.panels import LABELS
from visor_core.nano.questions import combine
from visor_core.nano.views import Lesson
from visor_core.nano.world import COMPANIES, TOPICS
from visor_core.policies.base import Message, Prompt


def ledger_lesson(operations: Sequence[str], rng: random.Random) -> Lesson:
    """One drawn example: `1 acme staff q3 63` in the ledger, `q3 57` read from a crop, and what they make together.

    Half of the pairs are close calls (the same tens), which decide on the second digit.
    """
    operation, topic, label = rng.choice(list(operations)), rng.choice(TOPICS), rng.choice(LABELS)
    first, second = rng.sample(COMPANIES, 2)
    known, read = _pair(rng)
    prompt = (
        f"evidence\n1 {first} {topic} {label} {known}\ncrop {label} {read}\n"
        f"question {operation} {first} , {second} {topic} {label}"
    )
    reply = f"<think> {second} {topic} {label} {read}</think><answer> {combine(operation, [known, read])}</answer>"
    return Lesson(Prompt((Message("user", (prompt,)),)), reply, "ledger")


def _pair(rng: random.Random) -> tuple[int, int]:
    """Two different two-digit numbers."""
    first = rng.randint(10, 99)
    tens = first // 10 * 10
    near = range(tens, tens + 10) if rng.random() < 0.5 else range(10, 100)
    return first, rng.choice([n for n in near if n != first])
