"""What a user is told of pages that have no text: how many there are, and the one command that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from pipelines.cli.session import command_line, errors
from visor_core.installation import install_command

if TYPE_CHECKING:
    from visor_core.config import Home
    from visor_core.index import PageIndex


def print_unread(home: Home, corpus: str, pages: int, unread: int, mode: str) -> None:
    """A line on unread pages, where there are any.

    Args:
        home: where the corpus lies.
        corpus: its name.
        pages: how many it has.
        unread: how many of them have no legible text and were not tried by OCR.
        mode: `documents.ocr` of the corpus.
    """
    if not unread:
        return
    from visor_core.documents import ocr

    setting = ["--set", "documents.ocr=auto"] if mode == "never" else []
    installing = "" if ocr.available() else f"{install_command('ocr')} && "
    errors.print(
        f"note: {unread:,} of {pages:,} pages have no text, or too little for what they show; OCR ({ocr.READS}) "
        "reads them:  " + f"{escape(installing)}{escape(command_line(home, 'ingest', '--corpus', corpus, *setting))}",
        style="yellow",
        soft_wrap=True,
    )


def print_unread_of(home: Home, corpus: str, index: PageIndex) -> None:
    """The same of an index that is open."""
    print_unread(home, corpus, index.manifest.counts["pages"], index.unread_pages(), index.ocr_mode)
