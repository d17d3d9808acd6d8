"""A list of rows on a page that a person searches, filters and sorts: its columns, its data, its place.

The rows stand in the page as JSON and are drawn by the page's own script (`explorer.js`), a hundred at a time, as text:
nothing in them becomes markup. A column that no row fills is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from visor_core.trajectories.viewer_page import data_block, read_script

SCRIPT = Path(__file__).with_name("explorer.js")
SCHEMES = ("", "file", "http", "https")
"""What a link of a row may lead to; "" is a page beside this one."""

Cell = str | float | int | bool | None | Sequence[tuple[str, str]]
"""Text, a number, or links: pairs of text and address."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, what its cells are, whether a person filters by it.

    `good` and `bad` are the words of a chip that are coloured so.
    """

    name: str
    kind: Literal["text", "number", "chip", "links"] = "text"
    filter: bool = False
    wide: bool = False
    digits: int = 2
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


def explorer(name: str, label: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> str:
    """The place of a list on a page, with its data. The page has to run `script()`.

    Args:
        name: identifies the list on its page.
        label: what the rows are, for who cannot see them.
        rows: cells by the name of their column; a missing one is empty.

    Raises:
        ValueError: if a link leads to an address of a scheme that is not allowed.
    """
    used = [column for column in columns if any(row.get(column.name) not in (None, "", (), []) for row in rows)]
    data = {
        "columns": [
            {"name": c.name, "kind": c.kind, "filter": c.filter, "wide": c.wide, "digits": c.digits,
             "good": c.good, "bad": c.bad}
            for c in used
        ],
        "rows": [[_cell(row.get(column.name), column) for column in used] for row in rows],
    }  # fmt: skip
    said = escape(label, quote=True)
    return (
        f'<div data-explorer="{escape(name, quote=True)}" hidden>'
        f'<div class="filters" role="search" aria-label="{said}"><label>Search'
        '<input type="search" autocomplete="off"></label></div><p class="count" role="status"></p>'
        f'<div class="scroll" role="region" aria-label="{said}" tabindex="0">'
        f'<table class="rows" role="table" aria-label="{said}"><thead role="rowgroup"><tr role="row"></tr></thead>'
        '<tbody role="rowgroup"></tbody></table></div><p><button type="button" class="more" hidden></button></p></div>'
        f"<noscript><p>{said}: {len(rows)} rows, drawn by this page's script, which does not run here.</p></noscript>"
        f"{data_block(name, data)}"
    )


def script() -> str:
    """The script that draws all lists of a page."""
    return read_script(SCRIPT)


def _cell(value: Cell, column: Column) -> Any:
    """A cell as JSON: what is not known is null, or "" where text is drawn."""
    if column.kind == "links":
        links = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
        return [[text, _allowed(address)] for text, address in links]
    if column.kind == "number":
        return None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
    return "" if value is None else str(value)


def _allowed(address: str) -> str:
    if urlsplit(address).scheme not in SCHEMES:
        raise ValueError(f"a link may not lead to {address!r}")
    return address
