"""The parsers' properties, for a moment; the fuzz target runs them for as long as it is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.visor_core.index.fuzz_parsers import PROPERTIES, run
from visor_core.index import records


@pytest.mark.parametrize("target", PROPERTIES, ids=lambda target: target.__name__)
def test_property(target: Callable[[], None]) -> None:
    target()


def test_the_target_finds_a_parser_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "tests.visor_core.index.fuzz_parsers.parse_pages"
    monkeypatch.setattr(wrong, lambda text: [(0, 0)] * (text.count(",") + 1))
    with pytest.raises(AssertionError):
        run(0)
    monkeypatch.undo()
    with pytest.raises(records.SearchIndexError):
        records.split_page_id("0" * 32 + "/000001")
