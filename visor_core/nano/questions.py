"""Questions about the nano world, with gold pages, boxes and facts.

Core tier. Single-hop: `acme staff q3`. Two-hop, over two pages: `higher acme , borel staff q3` (the higher of two
values), and, where asked for, `sum` and `difference`. The order of the two companies is random, so the first is the
right one half of the time: an agent that looks up one page only is right by luck, never supported.

Rich tier. Also three pages at once (`sum acme , borel , cyan staff q3`), a third page that depends on the first two
(`higher acme , borel sales q1 then staff q3`: staff q3 of the one with the higher sales q1), and questions that the
corpus cannot answer, because a company or a label is not there. Their right answer is a refusal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visor_core.config import NanoConfig
from visor_core.errors import ConfigError
from visor_core.nano.panels import COLUMNS, LABELS
from visor_core.nano.world import COMPANIES, World, WorldPage
from visor_core.questions import Fact, Question

OPERATIONS = ("higher", "sum", "difference")
THEN = "then"
REFUSAL = "missing"
"""The teacher's answer to what cannot be answered, and the gold answer there."""
RICH_SHARES = {"single": 0.25, "double": 0.3, "triple": 0.15, "then": 0.15, "unanswerable": 0.15}
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A question before it has a name; a refusal has no facts, and `hops` pages would have been needed."""

    text: str
    answer: str
    facts: tuple[Fact, ...]
    hops: int
    answerable: bool = True


_Draw = Callable[[Sequence[WorldPage], random.Random], _Drawn | None]


def ask_world(world: World, number: int, config: NanoConfig, seed: int) -> list[Question]:
    """The questions a configuration asks of a world: its tier and its operations.

    Raises:
        ConfigError: if the world does not have that many questions.
    """
    if config.tier == "rich":
        return make_rich_questions(world, number, seed=seed)
    return make_questions(world, number, seed=seed, operations=config.operations)


def make_questions(
    world: World, number: int, *, seed: int, two_hop: float = 0.5, operations: Sequence[str] = ("higher",)
) -> list[Question]:
    """`number` distinct questions, a share `two_hop` of them over two pages, spread evenly over the corpora.

    Raises:
        ConfigError: if the world does not have that many questions.
    """
    rng = random.Random(f"questions/{seed}/{world.split}")
    wanted = math.ceil(two_hop * number)
    double = [True] * wanted + [False] * (number - wanted)
    rng.shuffle(double)

    def draw(pages: Sequence[WorldPage], rng: random.Random, position: int) -> _Drawn | None:
        return _several(pages, rng, rng.choice(list(operations)), 2) if double[position] else _single(pages, rng)

    return _collect(world, number, rng, draw)


def make_rich_questions(world: World, number: int, *, seed: int) -> list[Question]:
    """`number` distinct questions of all kinds of the rich tier, in the shares of `RICH_SHARES`.

    Raises:
        ConfigError: if the world does not have that many questions.
    """
    rng = random.Random(f"questions/rich/{seed}/{world.split}")
    kinds: dict[str, _Draw] = {
        "single": _single,
        "double": lambda pages, rng: _several(pages, rng, rng.choice(OPERATIONS), 2),
        "triple": lambda pages, rng: _several(pages, rng, rng.choice(("higher", "sum")), 3),
        "then": _dependent,
        "unanswerable": _unanswerable,
    }
    planned = [kind for kind, share in RICH_SHARES.items() for _ in range(math.ceil(share * number))][:number]
    rng.shuffle(planned)
    return _collect(world, number, rng, lambda pages, rng, position: kinds[planned[position]](pages, rng))


def _collect(
    world: World,
    number: int,
    rng: random.Random,
    draw: Callable[[Sequence[WorldPage], random.Random, int], _Drawn | None],
) -> list[Question]:
    """Draw until there are `number` different questions, corpus by corpus in turn."""
    by_partition = {name: [p for p in world.pages if p.partition == name and p.panels] for name in world.partitions}
    names = list(by_partition)
    questions: dict[str, Question] = {}
    for _ in range(_ATTEMPTS * number):
        if len(questions) == number:
            break
        partition = names[len(questions) % len(names)]
        drawn = draw(by_partition[partition], rng, len(questions))
        if drawn is not None:
            questions.setdefault(f"{partition}/{drawn.text}", _question(world.split, partition, drawn))
    if len(questions) < number:
        raise ConfigError(
            f"this nano world has no {number} different questions (found {len(questions)}): write more corpora"
        )
    return list(questions.values())


def fact_of(page: WorldPage, label: str) -> Fact:
    """The fact a panel states; where the page is legible at once it needs no crop, which would be refused.

    Raises:
        KeyError: if the page has no such panel.
    """
    panel = page.panel(label)
    if panel is None:
        raise KeyError(f"{page.title} has no panel {label}")
    return Fact(page.title, label, panel.value, page.page_id, panel.target, needs_crop=not page.legible)


def _single(pages: Sequence[WorldPage], rng: random.Random) -> _Drawn:
    page = rng.choice(list(pages))
    fact = fact_of(page, rng.choice(page.panels).label)
    return _Drawn(f"{page.title} {fact.field}", fact.value, (fact,), 1)


def _several(pages: Sequence[WorldPage], rng: random.Random, operation: str, count: int) -> _Drawn | None:
    """One value of `count` companies, put together by an operation; the values differ."""
    first = rng.choice(list(pages))
    label = rng.choice(first.panels).label
    others = [p for p in pages if p.topic == first.topic and p.company != first.company and p.panel(label)]
    if len(others) < count - 1:
        return None
    chosen = [first, rng.choice(others)] if count == 2 else [first, *rng.sample(others, count - 1)]
    facts = tuple(fact_of(page, label) for page in chosen)
    values = [int(f.value) for f in facts]
    if len(set(values)) < count:
        return None
    companies = " , ".join(page.company for page in chosen)
    text = f"{operation} {companies} {first.topic} {label}"
    return _Drawn(text, str(combine(operation, values)), facts, count)


def combine(operation: str, values: Sequence[int]) -> int:
    """The answer from the values in the order of the companies; the value itself without an operation."""
    if operation == "higher":
        return max(values)
    if operation == "sum":
        return sum(values)
    if operation == "difference":
        return abs(values[0] - values[1])
    return values[0]


def _dependent(pages: Sequence[WorldPage], rng: random.Random) -> _Drawn | None:
    """Two companies are compared; what is asked stands on another page of the one with the higher value."""
    compared = _several(pages, rng, "higher", 2)
    if compared is None:
        return None
    higher = max(compared.facts, key=lambda fact: int(fact.value))
    company, topic = higher.subject.split()
    third = rng.choice([p for p in pages if p.company == company and p.topic != topic] or [None])
    if third is None:
        return None
    fact = fact_of(third, rng.choice(third.panels).label)
    text = f"{compared.text} {THEN} {third.topic} {fact.field}"
    return _Drawn(text, fact.value, (*compared.facts, fact), 3)


def _unanswerable(pages: Sequence[WorldPage], rng: random.Random) -> _Drawn | None:
    """A value that is nowhere: of a company that has no report here, or of a label that its page does not have."""
    page = rng.choice(list(pages))
    label = rng.choice(page.panels).label
    if rng.random() < 0.5:
        absent = rng.choice(sorted(set(COMPANIES) - {p.company for p in pages}) or [""])
        first, others = absent, [p.company for p in pages if p.topic == page.topic and p.panel(label)]
    else:
        missing = sorted(set(LABELS) - {panel.label.split()[0] for panel in page.panels})
        if not missing:
            return None
        label = " ".join([rng.choice(missing), *([rng.choice(COLUMNS)] if page.layout == "table" else [])])
        first, others = page.company, [p.company for p in pages if p.topic == page.topic and p.panel(label)]
    if not first:
        return None
    if not others or rng.random() < 0.5:
        return _Drawn(f"{first} {page.topic} {label}", REFUSAL, (), 1, answerable=False)
    companies = [first, rng.choice(others)]
    rng.shuffle(companies)
    text = f"{rng.choice(OPERATIONS)} {companies[0]} , {companies[1]} {page.topic} {label}"
    return _Drawn(text, REFUSAL, (), 2, answerable=False)


def _question(split: str, partition: str, drawn: _Drawn) -> Question:
    identity = f"{partition}/{drawn.text}".replace(" , ", "+").replace(" ", "-")
    return Question(
        question_id=identity,
        question=drawn.text,
        answers=(drawn.answer,),
        benchmark="nano",
        split=split,
        partition=partition,
        answer_format="Int" if drawn.answerable else "None",
        gold_pages=tuple(f.page_id for f in drawn.facts),
        gold_boxes=tuple(f.box for f in drawn.facts if f.needs_crop),
        gold_facts=drawn.facts,
        hops=drawn.hops,
        evidence_sources=("Panel",),
        answerable=drawn.answerable,
    )
