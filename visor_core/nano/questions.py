"""Questions about the nano world, with gold pages, boxes and facts.

Single-hop: `acme staff q3`. Two-hop, over two pages: `higher acme , borel staff q3` (the higher of two values), and,
where asked for, `sum` and `difference`. The order of the two companies is random, so the first is the right one half
of the time: an agent that looks up one page only is right by luck, never supported.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from visor_core.errors import ConfigError
from visor_core.nano.world import World, WorldPage
from visor_core.questions import Fact, Question

OPERATIONS = ("higher", "sum", "difference")
_ATTEMPTS = 50


def make_questions(
    world: World, number: int, *, seed: int, two_hop: float = 0.5, operations: Sequence[str] = ("higher",)
) -> list[Question]:
    """`number` distinct questions, a share `two_hop` of them over two pages, spread evenly over the corpora.

    Raises:
        ConfigError: if the world does not have that many questions.
    """
    rng = random.Random(f"questions/{seed}/{world.split}")
    by_partition = {name: [p for p in world.pages if p.partition == name and p.panels] for name in world.partitions}
    questions: dict[str, Question] = {}
    names = list(by_partition)
    wanted = math.ceil(two_hop * number)
    double = [True] * wanted + [False] * (number - wanted)
    rng.shuffle(double)
    for _ in range(_ATTEMPTS * number):
        if len(questions) == number:
            break
        partition = names[len(questions) % len(names)]
        pages = by_partition[partition]
        drawn = _two_hop(pages, rng, rng.choice(list(operations))) if double[len(questions)] else _single(pages, rng)
        if drawn is None:
            continue
        text, answer, facts = drawn
        identity = f"{partition}/{text}"
        questions.setdefault(identity, _question(world.split, partition, text, answer, facts))
    if len(questions) < number:
        raise ConfigError(
            f"this nano world has no {number} different questions (found {len(questions)}): write more corpora"
        )
    return list(questions.values())


def fact_of(page: WorldPage, label: str) -> Fact:
    """The fact a panel states.

    Raises:
        KeyError: if the page has no such panel.
    """
    panel = page.panel(label)
    if panel is None:
        raise KeyError(f"{page.title} has no panel {label}")
    return Fact(page.title, label, panel.value, page.page_id, panel.target)


def _single(pages: Sequence[WorldPage], rng: random.Random) -> tuple[str, str, tuple[Fact, ...]]:
    page = rng.choice(list(pages))
    fact = fact_of(page, rng.choice(page.panels).label)
    return f"{page.title} {fact.field}", fact.value, (fact,)


def _two_hop(
    pages: Sequence[WorldPage], rng: random.Random, operation: str
) -> tuple[str, str, tuple[Fact, ...]] | None:
    first = rng.choice(list(pages))
    label = rng.choice(first.panels).label
    others = [p for p in pages if p.topic == first.topic and p.company != first.company and p.panel(label)]
    if not others:
        return None
    second = rng.choice(others)
    facts = (fact_of(first, label), fact_of(second, label))
    a, b = (int(f.value) for f in facts)
    if a == b:
        return None
    answer = {"higher": max(a, b), "sum": a + b, "difference": abs(a - b)}[operation]
    return f"{operation} {first.company} , {second.company} {first.topic} {label}", str(answer), facts


def _question(split: str, partition: str, text: str, answer: str, facts: tuple[Fact, ...]) -> Question:
    identity = f"{partition}/{text}".replace(" , ", "+").replace(" ", "-")
    return Question(
        question_id=identity,
        question=text,
        answers=(answer,),
        benchmark="nano",
        split=split,
        partition=partition,
        answer_format="Int",
        gold_pages=tuple(f.page_id for f in facts),
        gold_boxes=tuple(f.box for f in facts),
        gold_facts=facts,
        hops=len(facts),
        evidence_sources=("Panel",),
    )
