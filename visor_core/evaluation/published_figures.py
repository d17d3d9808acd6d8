"""What others have published of a benchmark: figures with source and protocol, from `published_figures.yaml`.

They stand in a column of their own and are never tested against ours: protocols differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from visor_core.errors import DataError

FILE = Path(__file__).with_name("published_figures.yaml")


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One published figure: whose, on what backbone, how it was measured (in words) and where it stands.

    `value` is in the figure's own unit, as printed: shares in percent. `questions` is how many were asked, 0 where the
    source does not say.
    """

    benchmark: str
    system: str
    figure: str
    value: float
    protocol: str
    source: str
    backbone: str = ""
    questions: int = 0


def published_of(benchmark: str) -> list[PublishedFigure]:
    """The published figures of a benchmark, in the order of the file."""
    return [figure for figure in read_published(FILE) if figure.benchmark == benchmark]


@cache
def read_published(path: Path) -> tuple[PublishedFigure, ...]:
    """All published figures of a file.

    Raises:
        DataError: if one lacks its source or its protocol, or the file is of another form.
    """
    try:
        data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        protocols = data["protocols"]
        found = [PublishedFigure(**{**entry, "protocol": protocols[entry["protocol"]]}) for entry in data["figures"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of published figures ({error}): install the package again") from error
    if nameless := [figure for figure in found if not (figure.source and figure.protocol and figure.benchmark)]:
        raise DataError(f"{path}: {nameless[0].system} has no source, protocol or benchmark")
    return tuple(found)
