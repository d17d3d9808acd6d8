"""How often the work of a build was begun, and how long it took in all: a worker that is killed leaves a half line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ATTEMPTS = "attempts.jsonl"


@dataclass(frozen=True, slots=True)
class Attempts:
    """Seconds of every attempt that came to an end, with an error or without; `interrupted` if one did not."""

    seconds: float = 0.0
    interrupted: bool = False


@contextmanager
def attempt(folder: Path) -> Iterator[None]:
    """Note down in a build's folder that its work begins, and how long it took."""
    began = time.monotonic()
    _note(folder, "began", time.time())
    try:
        yield
    finally:
        _note(folder, "took", time.monotonic() - began)


def attempts_of(folder: Path) -> Attempts:
    """The attempts at a build's work so far."""
    path = folder / ATTEMPTS
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    seconds = [row["took"] for row in rows if "took" in row]
    return Attempts(sum(seconds), interrupted=sum("began" in row for row in rows) > len(seconds))


def _note(folder: Path, what: str, value: float) -> None:
    with (folder / ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({what: round(value, 3)}) + "\n")
