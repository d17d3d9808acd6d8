"""What a run is doing, from its events: which node is at work, what was built, and why it failed in a user's words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from assets_defs.machinery.builds import Builds, stage_folder
from assets_defs.machinery.graph import stages
from assets_defs.machinery.stage import Figure, Node
from pipelines.display import RunDisplay
from pipelines.gateway import Event
from visor_core import errors
from visor_core.config import Home, Profile
from visor_core.errors import DataError, VisorError

FAILURES = ("ExecutionStepFailureEvent", "RunFailureEvent")


class RunFailedError(RuntimeError):
    """A run failed by an exception that is none of the project's: a defect, with the traceback of where it was."""


@dataclass(frozen=True)
class NodeResult:
    """How one node went: `built`, `reused` (found finished on disk) or `unchanged`, and checks that failed softly."""

    node: Node
    state: str
    seconds: float
    figures: dict[str, Figure]
    warnings: tuple[str, ...] = ()


class Following:
    """One run of several nodes, shown as it goes. Its results are complete once `end` has returned."""

    def __init__(self, nodes: Sequence[Node], profile: Profile, home: Home, display: RunDisplay) -> None:
        self.results: list[NodeResult] = []
        self._nodes = {name: node for node in nodes for name in stages()[node.stage].assets}
        self._profile, self._home, self._display = profile, home, display
        self._step_of: dict[str, Node] = {}
        self._reused: set[Node] = set()
        self._unsound: dict[Node, list[str]] = {}
        self._failures: list[Event] = []
        self._running: Node | None = None
        self._since = 0.0

    def take(self, event: Event) -> None:
        """One event of the run, in order."""
        if event.kind == "AssetMaterializationPlannedEvent" and event.asset in self._nodes:
            self._step_of[event.step] = self._nodes[event.asset]
        elif event.kind == "ExecutionStepStartEvent" and event.step in self._step_of:
            self._close(event.time)
            self._open(self._step_of[event.step], event.time)
        elif event.kind == "MaterializationEvent" and event.asset in self._nodes and event.reused:
            self._reused.add(self._nodes[event.asset])
        elif event.kind == "AssetCheckEvaluationEvent" and not event.passed and event.asset in self._nodes:
            self._unsound.setdefault(self._nodes[event.asset], []).append(f"{event.asset}: {event.check}")
        elif event.kind in FAILURES or (event.kind == "EngineEvent" and event.errors):
            self._failures.append(event)

    def end(self, status: str, now: float | None = None) -> None:
        """The run has ended.

        Raises:
            VisorError: the first stage's that could not be built, or naming the asset check that failed.
            KeyboardInterrupt: if it was ended by request.
            RunFailedError: if it failed otherwise.
        """
        if status == "SUCCESS":
            self._close(now or time.time())
            return
        at = self._running
        if at is not None:
            self._display.end(at, "failed", (now or time.time()) - self._since, {})
        if status == "CANCELED":
            raise KeyboardInterrupt(f"{at or 'the run'} was interrupted; the next run goes on from there")
        raise failure(self._failures, at)

    def _open(self, node: Node, since: float) -> None:
        fingerprint = Builds(self._home, self._profile).fingerprint(node) or ""
        self._running, self._since = node, since
        self._display.begin(node, stage_folder(self._home, node) / fingerprint)

    def _close(self, until: float) -> None:
        node = self._running
        if node is None:
            return
        self._running = None
        record = Builds(self._home, self._profile).built(node)
        figures = dict(record.figures) if record else {}
        state, seconds = "reused" if node in self._reused else "built", until - self._since
        self.results.append(NodeResult(node, state, seconds, figures, tuple(self._unsound.get(node, ()))))
        self._display.end(node, state, seconds, figures)


def failure(failures: Sequence[Event], node: Node | None) -> Exception:
    """Why a run failed, as the error that was raised in it if that is one of the project's."""
    for event in failures:
        for name, message in event.errors:
            if name == "DagsterAssetCheckFailedError":
                failed = "; ".join(line.strip() for line in message.strip().splitlines()[1:])
                return DataError(f"{node}: blocking check failed: {failed}; look at it with `make ui`")
            kind = getattr(errors, name, None)
            if isinstance(kind, type) and issubclass(kind, VisorError):
                return kind(message.strip().removeprefix(f"{kind.__module__}.{name}: "))
    told = next((event for event in failures if event.errors), None)
    if told is not None:
        causes = "\n".join(f"{name}: {message.strip()}" for name, message in told.errors)
        return RunFailedError(f"{node or 'the run'} failed\n{causes}\n{told.stack}")
    # No exception was seen: the process is gone, or was never there.
    return VisorError(f"{node or 'the run'} failed: " + (failures[-1].text if failures else "Dagster says no more"))
