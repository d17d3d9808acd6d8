"""The progress of a run in a terminal: a table of stages that stays in place, or plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from assets_defs.machinery.progress import read_progress
from assets_defs.machinery.stage import Figure, Node

MARKS = {"waiting": "·", "running": "▸", "built": "✓", "reused": "✓", "unchanged": "=", "failed": "✗"}
COLOURS = {
    "running": "cyan",
    "built": "green",
    "reused": "green",
    "unchanged": "dim",
    "failed": "red",
    "waiting": "dim",
}
QUIET_SECONDS = 15.0
"""Without a terminal, a running stage says how far it is this often."""


@dataclass
class Row:
    """One stage of the display."""

    node: Node
    state: str = "waiting"
    seconds: float = 0.0
    figures: Mapping[str, Figure] = field(default_factory=dict)
    folder: Path | None = None
    started: float = 0.0


def figures_text(figures: Mapping[str, Figure], limit: int = 5) -> str:
    """Key figures on one line."""
    return "  ".join(f"{key} {_short(value)}" for key, value in list(figures.items())[:limit])


def _short(value: Figure) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def clock(seconds: float) -> str:
    """`7.4 s` or `3:05`."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


class RunDisplay(AbstractContextManager["RunDisplay"]):
    """Shows rows while they run. The display reads a stage's own progress file, so it works across processes."""

    def __init__(self, nodes: Sequence[Node], console: Console) -> None:
        self.rows = {node: Row(node) for node in nodes}
        self.console = console
        self._began = time.monotonic()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
        self._ticker = _Ticker(self)

    def __enter__(self) -> RunDisplay:
        if self.console.is_terminal:
            self._live.start()
        else:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
            self.console.print(self._table())
        else:
            self._ticker.stop()

    def begin(self, node: Node, folder: Path) -> None:
        """A node starts."""
        row = self.rows[node]
        row.state, row.folder, row.started = "running", folder, time.monotonic()
        if not self.console.is_terminal:
            self._say(row, "started")

    def end(self, node: Node, state: str, seconds: float, figures: Mapping[str, Figure]) -> None:
        """A node ended as `built`, `reused`, `unchanged` or `failed`."""
        row = self.rows[node]
        row.state, row.seconds, row.figures = state, seconds, figures
        if not self.console.is_terminal:
            self._say(row, f"{state} {clock(seconds)}  {figures_text(figures)}")

    def tick(self) -> None:
        """Say how far the running stage is."""
        for row in self.rows.values():
            if row.state == "running":
                self._say(row, f"{clock(time.monotonic() - row.started)}  {self._how_far(row)}")

    def _say(self, row: Row, text: str) -> None:
        place = list(self.rows).index(row.node) + 1
        self.console.print(
            f"[{place:>2}/{len(self.rows)}] {row.node!s:<34} {text}", markup=False, highlight=False, soft_wrap=True
        )

    def _how_far(self, row: Row) -> str:
        done, total, text = read_progress(row.folder) if row.folder else (0, 0, "")
        return f"{done}/{total} {text}" if total else text

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="dim", title_justify="left")
        for heading, options in (("", {}), ("stage", {"no_wrap": True}), ("time", {"justify": "right"}), ("", {})):
            table.add_column(heading, **options)  # type: ignore[arg-type]
        for row in self.rows.values():
            colour = COLOURS[row.state]
            running = row.state == "running"
            seconds = time.monotonic() - row.started if running else row.seconds
            told = self._how_far(row) if running else figures_text(row.figures)
            table.add_row(
                Text(MARKS[row.state], style=colour),
                Text(str(row.node), style=colour if row.state != "built" else ""),
                Text(clock(seconds) if row.state not in ("waiting", "unchanged") else "", style="dim"),
                Text(told, style="cyan" if running else ""),
            )
        finished = sum(row.state not in ("waiting", "running") for row in self.rows.values())
        table.caption = f"{finished} of {len(self.rows)} stages, {clock(time.monotonic() - self._began)}"
        return table


class _Ticker:
    """Calls `tick` now and then from a thread."""

    def __init__(self, display: RunDisplay) -> None:
        import threading

        self._display = display
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(QUIET_SECONDS):
            self._display.tick()
