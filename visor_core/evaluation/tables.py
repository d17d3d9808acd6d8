"""Tables of figures in HTML: what is wide scrolls on its own, and on a narrow page every row is a card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from visor_core.trajectories.viewer_page import scrolled


def figures_table(
    name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, key: int = 0, numbers: int | None = None
) -> str:
    """A table with a head, and a row a line.

    Args:
        name: what the table holds, for who cannot see it.
        heads: the columns, as text.
        rows: the cells of each row as HTML, as many as heads.
        key: the column that names the row, and heads its card.
        numbers: the first column of numbers, which stand to the right; none has none.
    """
    first = len(heads) if numbers is None else numbers
    head = "".join(f"<th scope=col{' class=n' if n >= first else ''}>{escape(text)}" for n, text in enumerate(heads))
    body = "".join(f"<tr>{_cells(heads, row, key, first)}</tr>" for row in rows)
    return scrolled(f"<table class=figures><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", name)


def _cells(heads: Sequence[str], row: Sequence[str], key: int, first: int) -> str:
    parts = []
    for n, (head, cell) in enumerate(zip(heads, row, strict=True)):
        label = f' data-label="{escape(head, quote=True)}"'
        if n == key:
            parts.append(f"<th scope=row>{cell}</th>")
        else:
            parts.append(f"<td{' class=n' if n >= first else ''}{label}>{cell}</td>")
    return "".join(parts)
