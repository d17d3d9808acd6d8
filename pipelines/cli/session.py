"""What every command shares: the console, VISOR_HOME, profiles by name, and refusals in the words of a user.

Here, at the edge, the environment is read once; everything below gets values.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.choice import PROFILES, Choice
from visor_core.errors import ConfigError, SearchIndexError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from visor_core.config import Home, Profile
    from visor_core.evaluation.benchmarks.resolve import LeftOut
    from visor_core.index import PageIndex

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
LISTED = 10
"""Items left out of a benchmark file that are named on the terminal; the result file names all."""


def home_of(context: typer.Context) -> Home:
    """The folder given by `--home`, `VISOR_HOME` or the default."""
    from visor_core.config import Home

    return Home(context.find_root().params["home"])


def print_left_out(left_out: Sequence[LeftOut], named_by: str = "") -> None:
    """What of a benchmark file could not be used: how many by reason, then the first ones.

    Args:
        named_by: the command that names all of them, where they were named before: they are only counted then.
    """
    from visor_core.evaluation.benchmarks.resolve import count_reasons

    if not left_out:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in count_reasons(left_out).items())
    where = f" (`{named_by}` names them)" if named_by else ""
    console.print(f"{len(left_out)} questions left out: {reasons}{where}", markup=False, soft_wrap=True)
    if named_by:
        return
    for item in left_out[:LISTED]:
        console.print(f"  {item.item}: {item.detail}", markup=False, soft_wrap=True)
    if len(left_out) > LISTED:
        console.print(f"  and {len(left_out) - LISTED} more")


def print_table(table: Table) -> None:
    """Print a table; a line a row where the terminal, or a pipe, is too narrow for whole cells."""
    if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, soft_wrap=True)
    heads = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = map(str, cells)
        told = (f"{head} {cell}".strip() for head, cell in zip(heads[1:], others, strict=True) if cell.strip())
        console.print(f"{first}: {'; '.join(told)}" if others else first, soft_wrap=True)
    if table.caption:
        console.print(table.caption, soft_wrap=True)


def too_long(filename: str, page: int, left_out: int) -> str:
    """A page whose end is not searched, in a line."""
    return (
        f"page searched in part: {filename} page {page}: its last {left_out:,} characters are not found"
        " (--set index.page_characters=… takes more)"
    )


def profile_names() -> list[str]:
    """Names of the profiles that come with the project."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def resolve_profile(name: str, settings: list[str] | None = None) -> Profile:
    """A profile by name or by the path of a YAML file, with `a.b=c` settings applied.

    Raises:
        ConfigError: naming the profile, the setting or the key at fault.
    """
    profile = Choice(name, parse_settings(settings or [])).resolve()
    note(profile.frame_warnings())
    return profile


def note(lines: Sequence[str]) -> None:
    """What does not stop a command but is likely a mistake, on the error stream."""
    for line in lines:
        errors.print(f"note: {line}", style="yellow", markup=False, soft_wrap=True)


def document_settings(profile: str, settings: list[str] | None = None) -> Profile:
    """The settings for a user's own documents: the defaults, or those of a profile.

    Raises:
        ConfigError: as `resolve_profile`.
    """
    if profile:
        return resolve_profile(profile, settings)
    from visor_core.config import apply_overrides

    return apply_overrides({"name": "documents"}, parse_settings(settings or []), "--set")


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`grpo.steps=20` → {"grpo.steps": 20}; the value is read as YAML.

    Raises:
        ConfigError: if a setting is not of the form key=value.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {setting!r} is not of the form section.key=value")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting!r}: the value is not valid YAML") from error
    return values


def named_settings(settings: list[str]) -> set[str]:
    """The settings of a corpus that `--set` names, as `documents.dpi`.

    Raises:
        ConfigError: as `parse_settings`.
    """
    named: set[str] = set()
    for key, value in parse_settings(settings).items():
        if key in ("documents", "index") and isinstance(value, dict):
            named |= {f"{key}.{field}" for field in value}
        named.add(".".join(key.split(".")[:2]))
    return named


def corpus_folder(home: Home, name: str) -> Path:
    """The folder of an existing corpus.

    Raises:
        ConfigError: if the name can be none.
        SearchIndexError: listing the corpora there are.
    """
    folder = home.corpus(name)
    if not folder.is_dir():
        there = ", ".join(home.corpora()) or "none"
        raise SearchIndexError(
            f"no corpus {name!r} under {home.root} (there are: {there}): `visor ingest PATH` makes one"
        )
    return folder


def open_index(
    home: Home, corpus: str, tag: str, profile: Profile | None = None, settings: list[str] | None = None
) -> PageIndex:
    """The read side of a corpus, pinned to a tag.

    The corpus's own settings hold; what belongs to a call, more passwords and what `settings` name are the profile's.

    Raises:
        SearchIndexError: if the corpus or the tag does not exist.
    """
    folder = corpus_folder(home, corpus)
    from visor_core.index import PageIndex

    if profile is None:
        return PageIndex.open(folder, tag)
    named = named_settings(settings or [])
    return PageIndex.under(folder, tag, profile, named)


def reason_of(error: OSError) -> str:
    """What the operating system says, in the words of a user."""
    if error.errno == errno.ENOLCK:
        return "its file system has no file locks"
    return error.strerror or str(error)


def progress_bar() -> Progress:
    """The progress display of every long command; silent where the output is not a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def command_line(home: Home, *arguments: str) -> str:
    """A command to type that works on this home; without `--home` it finds the usual one."""
    program = "visor" if shutil.which("visor") else ".venv/bin/visor"
    usual = home.root == Path(os.environ.get("VISOR_HOME") or ".visor").resolve()
    return shlex.join([program, *([] if usual else ["--home", str(home.root)]), *arguments])


def read_lineage(checkpoint: Path) -> dict[str, Any]:
    """The `lineage.json` beside or inside a checkpoint; empty where there is none (a model from elsewhere)."""
    for path in (checkpoint / "lineage.json", checkpoint.parent / "lineage.json"):
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}
