"""Materialize everything that is stale, in one go: what `visor run` and `make run` do.

It submits what the page would submit: runs of the queue, one for stages that follow each other without partitions, one
for those of a corpus. Fingerprints decide in the run what is built, so that an unchanged result upstream stops the
rebuilding there, and a kill loses at most the stage in progress, which itself resumes from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.console import Console

from assets_defs.machinery.builds import Builds
from assets_defs.machinery.graph import is_current, plan, stages
from assets_defs.machinery.stage import Figure, Node
from pipelines.choice import Choice
from pipelines.display import RunDisplay
from pipelines.engine import Engine, LocalEngine
from pipelines.following import Following, NodeResult
from pipelines.gateway import Event
from pipelines.instance import prepare_process
from pipelines.outlook import why_stale
from visor_core.config import Home, Profile

SHORTEST, LONGEST = 0.1, 2.0
"""Seconds between two looks at a run: after news, and when nothing has happened for a while."""
STOP_SECONDS = 45.0
"""How long a run that was interrupted may take to end."""


@dataclass
class RunSummary:
    """What a run did."""

    profile: str
    home: Home
    results: list[NodeResult] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def built(self) -> int:
        """Nodes that were built, and not found as they are wanted."""
        return sum(result.state == "built" for result in self.results)

    def figures(self, stage: str, partition: str = "") -> dict[str, Figure]:
        """Key figures of a node, empty if it was not part of the run."""
        return next((r.figures for r in self.results if r.node == Node(stage, partition)), {})


def groups_of(nodes: Sequence[Node]) -> list[tuple[Node, ...]]:
    """The nodes of a plan as runs: those that follow each other with the same partition."""
    return [tuple(group) for _, group in groupby(nodes, key=lambda node: node.partition)]


def stale_of(group: Sequence[Node], profile: Profile, home: Home, forced: Callable[[Node], bool]) -> list[Node]:
    """The nodes of a group that a run is needed for: all that are not up to date, or need one of these.

    What a node that needs another one asks for is known only once that one is made; the run finds out.
    """
    stale: list[Node] = []
    for node in group:
        waits = any(need in stale for need in stages()[node.stage].inputs(profile, node.partition))
        if waits or forced(node) or not is_current(node, profile, home):
            stale.append(node)
    return stale


def foresee(
    profile: Profile, home: Home, select: Sequence[str] = (), *, corpus: str = "", force: bool = False
) -> dict[Node, str]:
    """The nodes that `run_graph` would be about, in order, and why each is made; "" where it is not.

    Raises:
        ConfigError: as `run_graph`, before anything starts.
        DataError: if a record cannot be read.
    """
    found: dict[Node, str] = {}
    for group in groups_of(plan(profile, select, corpus)):
        rebuild = {node.stage for node in group if force and (not select or node.stage in select)}
        stale = stale_of(group, profile, home, lambda node: node.stage in rebuild)  # noqa: B023 (used at once)
        for node in group:
            waits = [need for need in stages()[node.stage].inputs(profile, node.partition) if found.get(need)]
            if node.stage in rebuild:
                found[node] = "asked for by --force"
            elif waits:
                found[node] = f"{waits[0]} is made first: where it comes out as it was, nothing is made here"
            else:
                found[node] = why_stale(node, profile, home) if node in stale else ""
    return found


def run_graph(
    choice: Choice,
    home: Home,
    select: Sequence[str] = (),
    *,
    corpus: str = "",
    force: bool = False,
    console: Console | None = None,
    engine: Callable[[Home, Choice], Engine] = LocalEngine,
) -> RunSummary:
    """Materialize the selected assets (all without a selection) and whatever stale thing they need.

    Args:
        choice: the profile and the settings over it.
        home: VISOR_HOME.
        select: names of assets.
        corpus: for the stages of one corpus: which one.
        force: build the selected assets anew, discarding what they made before.
        console: where the progress is shown.
        engine: who makes the runs, once one is needed.

    Raises:
        VisorError: the first stage's that could not be built, or naming the asset check that failed.
        KeyboardInterrupt: once the run that was interrupted has ended.
        RunFailedError: with the traceback of a defect.
    """
    began = time.monotonic()
    prepare_process()
    profile = choice.resolve()
    nodes = plan(profile, select, corpus)
    summary = RunSummary(profile.name, home)
    making = _Making(choice, profile, home, engine)
    with RunDisplay(nodes, console or Console(stderr=True)) as display:
        try:
            for group in groups_of(nodes):
                rebuild = {node.stage for node in group if force and (not select or node.stage in select)}
                stale = stale_of(group, profile, home, lambda node: node.stage in rebuild)  # noqa: B023 (used at once)
                for node in group:
                    if node not in stale:
                        summary.results.append(_unchanged(node, profile, home, display))
                if stale:
                    summary.results += making.run(stale, tuple(sorted(rebuild)), display)
        finally:
            making.close()
    summary.seconds = time.monotonic() - began
    return summary


def _unchanged(node: Node, profile: Profile, home: Home, display: RunDisplay) -> NodeResult:
    record = Builds(home, profile).find(node)
    figures = dict(record.figures) if record else {}
    display.end(node, "unchanged", 0.0, figures)
    return NodeResult(node, "unchanged", 0.0, figures)


class _Making:
    """The runs of one `run_graph`; its engine is made when the first is needed."""

    def __init__(self, choice: Choice, profile: Profile, home: Home, engine: Callable[[Home, Choice], Engine]) -> None:
        self._choice, self._profile, self._home, self._start = choice, profile, home, engine
        self._engine: Engine | None = None
        self._ended = True

    def run(self, nodes: Sequence[Node], rebuild: tuple[str, ...], display: RunDisplay) -> list[NodeResult]:
        """Make one run of these nodes and wait for it."""
        if self._engine is None:
            self._engine = self._start(self._home, self._choice)
        following = Following(nodes, self._profile, self._home, display)
        assets = [name for node in nodes for name in stages()[node.stage].assets]
        self._ended = False
        try:
            self._engine.submit(
                assets, nodes[0].partition, Choice(self._choice.profile, self._choice.settings, rebuild)
            )
            status = follow(self._engine, following.take)
        except KeyboardInterrupt:
            status = "CANCELED"  # what is left of it ends with the engine
        else:
            self._ended = True
        following.end(status)
        return following.results

    def close(self) -> None:
        """Let go of the engine."""
        if self._engine is not None:
            self._engine.close(ended=self._ended)


def follow(engine: Engine, take: Callable[[Event], None]) -> str:
    """Hand on the events until the run has ended; returns how. An interruption is handed to the run.

    Raises:
        KeyboardInterrupt: if it is interrupted again, or does not end.
    """
    pause, give_up = SHORTEST, float("inf")
    while True:
        try:
            events, ended = engine.news()
            for event in events:
                take(event)
            if ended:
                return ended
            pause = SHORTEST if events else min(LONGEST, pause * 1.15)
            time.sleep(pause)
        except KeyboardInterrupt:
            if give_up < float("inf"):
                raise
            give_up = time.monotonic() + STOP_SECONDS
            engine.interrupt()
        if time.monotonic() > give_up:
            raise KeyboardInterrupt
