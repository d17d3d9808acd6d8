"""Fuzz target of the parsers that read page ranges, page ids, page numbers in questions, and models' coordinates.

`python -m tests.visor_core.index.fuzz_parsers --seconds 60` runs until the time is up or a property fails, and prints
the smallest text that breaks it; test_parsers runs the same properties for a moment.
"""

from __future__ import annotations

import argparse
import math
import time
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visor_core.agent.actions import parse
from visor_core.errors import SearchIndexError
from visor_core.geometry import FULL_PAGE, Frame, clamp
from visor_core.index.passages import mentioned_pages
from visor_core.index.records import page_id_of, parse_pages, split_page_id

T = TypeVar("T")
numbers = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.floats().map(str),
    st.sampled_from(["", ".5", "1e400", "-0", "nan", "inf", "0x10", "1_000", "٣", "½", "1" * 400, "+7", "--1"]),
)
ranges = st.lists(st.one_of(numbers, st.text("0123456789-, \t\n", max_size=12), st.text(max_size=4)), max_size=6)
page_lists = st.one_of(st.text(max_size=40), ranges.map(",".join), ranges.map("-".join))
page_ids = st.one_of(st.text(max_size=40), st.tuples(st.text(max_size=8), numbers).map("/".join))
boxes = st.lists(numbers, max_size=6).flatmap(
    lambda found: st.sampled_from([", ", ",", " ", "][", "\n", ";"]).map(
        lambda gap: f"<bbox>[{gap.join(found)}]</bbox>"
    )
)
replies = st.one_of(
    st.text(max_size=80), boxes, st.tuples(st.text(max_size=20), boxes, st.text(max_size=20)).map("".join)
)


def outcome(parser: Callable[[str], T], text: str) -> tuple[T | None, str]:
    """What a parser makes of a text, or its refusal."""
    try:
        return parser(text), ""
    except SearchIndexError as error:
        return None, str(error)


@given(page_lists)
def page_ranges(text: str) -> None:
    """Ascending ranges from 1, or a refusal in one line."""
    found, refusal = outcome(parse_pages, text)
    if found is None:
        assert refusal.isprintable()
        return
    assert len(found) == text.count(",") + 1
    for first, last in found:
        assert first >= 1
        assert last is None or last >= first


@given(st.lists(st.tuples(st.integers(1, 9_999_999), st.integers(1, 9_999_999)), min_size=1, max_size=5))
def written_ranges(pairs: list[tuple[int, int]]) -> None:
    """What is written as ranges is read as the same ranges."""
    wanted = [(min(pair), max(pair)) for pair in pairs]
    assert parse_pages(",".join(f"{a}-{b}" for a, b in wanted)) == wanted
    assert parse_pages(", ".join(f"{a}-" for a, _ in wanted)) == [(a, None) for a, _ in wanted]
    assert parse_pages(",".join(f"-{b}" for _, b in wanted)) == [(1, b) for _, b in wanted]
    assert parse_pages(",".join(f"{a}" for a, _ in wanted)) == [(a, a) for a, _ in wanted]


@given(page_ids)
def ids_of_pages(text: str) -> None:
    """One spelling a page: what is taken apart is put together as it was."""
    found, refusal = outcome(split_page_id, text)
    if found is None:
        assert refusal.isprintable()
        return
    assert page_id_of(*found) == text


@given(st.one_of(st.text(max_size=60), numbers.map(lambda n: f"see page {n} and slide {n}, p. {n}")))
def named_pages(text: str) -> None:
    """Numbers of at most five digits, each of which stands in the question, in the digits of any script."""
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in unicodedata.normalize("NFKC", text))
    for number in mentioned_pages(text):
        assert 0 <= number <= 99_999
        assert str(number) in text


@given(replies, st.sampled_from(["pixels", "thousand", "grid10"]))
def coordinates(text: str, system: str) -> None:
    """Four finite numbers, whose part of the page lies on the page; anything else is no crop."""
    action = parse(text)
    if action.kind != "crop":
        assert action.box is None
        return
    assert action.box is not None
    assert len(action.box) == 4
    assert all(math.isfinite(value) for value in action.box)
    found = clamp(*Frame(FULL_PAGE, 640, 480, system).to_page(*action.box))  # type: ignore[arg-type]
    assert found is None or FULL_PAGE.contains(found)


PROPERTIES: tuple[Callable[[], None], ...] = (page_ranges, written_ranges, ids_of_pages, named_pages, coordinates)


def run(seconds: float) -> int:
    """Try all properties in turn for about so long; how many examples were tried at the least."""
    end, tried, batch = time.monotonic() + seconds, 0, 500
    while True:
        for target in PROPERTIES:
            quiet = settings(max_examples=batch, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            quiet(target)()
            tried += batch
        if time.monotonic() >= end:
            return tried
        batch = min(20_000, 2 * batch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    print(f"{run(parser.parse_args().seconds):,} examples, no property failed")
