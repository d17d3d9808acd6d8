"""Commands around one episode: ask a question, rebuild a stored trajectory's contexts."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
