"""Pages that full text cannot find because nobody has read them."""

from __future__ import annotations

from typing import Any

_UNTRIED = "render_key LIKE '%-bare' AND problem = ''"
"""Pages that were drawn, of which the text layer does not say what they show, and OCR was not tried (`render_keys`)."""


def unread_pages(pages: Any) -> int:
    """How many pages of the table pages, at any version, have no legible text and were not tried by OCR."""
    return int(pages.count_rows(_UNTRIED))
