"""The items of a benchmark file, whatever its shape: a JSON list, an object with `examples`, JSON lines, or Parquet.

Of Parquet the columns of values, texts and lists are read; pictures in it are not. A byte order mark says how a text
file is encoded; without one it is UTF-8. Another encoding cannot be told from its bytes with certainty and is refused
rather than guessed.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from visor_core.errors import DataError

PARQUET = ".parquet"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item: where it stands, and its content, or why its line is no JSON."""

    where: str
    content: object


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        DataError: naming the file, if it is missing, cannot be read or is of an unknown encoding.
    """
    if not path.is_file():
        raise DataError(f"no benchmark file at {path}: give the path of the questions file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not {encoding.removesuffix('-sig').upper()} (byte {error.start}): save it as UTF-8; if it"
            f" is Latin-1, with `iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}`"
        ) from error


def read_rows(path: Path, columns: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a Parquet file, without its columns of bytes.

    Args:
        columns: the only columns that are read, where the file has them.

    Raises:
        DataError: naming the file, if it is missing or no Parquet.
    """
    if not path.is_file():
        raise DataError(f"no benchmark file at {path}: give the path of the questions file")
    try:
        kinds = pl.read_parquet_schema(path)
        wanted = [
            name for name, kind in kinds.items() if not _holds_bytes(kind) and (columns is None or name in columns)
        ]
        return pl.read_parquet(path, columns=wanted, glob=False).to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path.name} is no Parquet file that can be read ({reason}): fetch it again") from error


def _holds_bytes(kind: Any) -> bool:
    """Whether a column holds bytes, as the pictures of a hub dataset do, themselves or inside."""
    if isinstance(kind, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in kind.fields)
    return bool(kind == pl.Binary) or (isinstance(kind, pl.List) and _holds_bytes(kind.inner))


def read_items(path: Path) -> list[Item]:
    """The items of a file in order. A line of JSON lines that is no JSON is an item whose content is the error.

    Raises:
        DataError: naming the file, if it cannot be read or has none of these shapes.
    """
    if path.suffix.lower() == PARQUET:
        return [Item(f"row {number}", row) for number, row in enumerate(read_rows(path))]
    content = read_text(path)
    try:
        whole = _json(content)
    except ValueError as error:
        lines = _json_lines(content)
        if lines is None:
            raise DataError(
                f"{path.name} is not valid JSON ({error}): a benchmark file is a JSON list, an object with `examples`,"
                " JSON lines or Parquet"
            ) from error
        return lines
    if isinstance(whole, dict) and "examples" in whole:
        whole = whole["examples"]
    elif isinstance(whole, dict):
        return [Item("line 1", whole)]
    if not isinstance(whole, list):
        raise DataError(f"{path.name} holds {type(whole).__name__} where a JSON list of questions belongs")
    return [Item(f"item {position}", content) for position, content in enumerate(whole)]


def _json(content: str) -> object:
    """Parsed JSON; nesting beyond what can be parsed is an error of the text like any other."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _json_lines(content: str) -> list[Item] | None:
    """The lines of a file whose first line is a JSON object by itself; None for any other text."""
    # Only line feeds end a line: other separators may stand inside a JSON string.
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    items: list[Item] = []
    for number, line in lines:
        try:
            items.append(Item(f"line {number}", _json(line)))
        except json.JSONDecodeError as error:  # its own line number counts from this line's beginning
            items.append(Item(f"line {number}", ValueError(f"{error.msg} at column {error.colno}")))
        except ValueError as error:
            items.append(Item(f"line {number}", error))
    return items if items and isinstance(items[0].content, dict) else None
