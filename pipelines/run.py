"""Materialize everything that is stale, in one go: what `visor run` and `make run` do.

Each node is one Dagster run in this process (0.2 s of overhead), so that a kill loses at most the stage in progress,
which itself resumes from its last checkpoint, and so that an unchanged result upstream stops the rebuilding there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from assets_defs.machinery.builds import Builds, put_in_force, stage_folder
from assets_defs.machinery.graph import is_current, plan, stages
from assets_defs.machinery.stage import Figure, Node
from pipelines.display import RunDisplay
from pipelines.instance import open_instance, place_partitions, prepare_process
from visor_core.config import Home, Profile
from visor_core.errors import DataError, VisorError

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class NodeResult:
    """How one node went: `built`, `reused` (found finished on disk) or `unchanged`, and checks that failed softly."""

    node: Node
    state: str
    seconds: float
    figures: dict[str, Figure]
    warnings: tuple[str, ...] = ()


@dataclass
class RunSummary:
    """What a run did."""

    profile: str
    home: Home
    results: list[NodeResult] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def built(self) -> int:
        """Nodes that were not unchanged."""
        return sum(result.state != "unchanged" for result in self.results)

    def figures(self, stage: str, partition: str = "") -> dict[str, Figure]:
        """Key figures of a node, empty if it was not part of the run."""
        return next((r.figures for r in self.results if r.node == Node(stage, partition)), {})


def run_graph(
    profile: Profile,
    home: Home,
    select: Sequence[str] = (),
    *,
    corpus: str = "",
    force: bool = False,
    console: Console | None = None,
) -> RunSummary:
    """Materialize the selected assets (all without a selection) and whatever stale thing they need.

    Args:
        profile: the resolved profile.
        home: VISOR_HOME.
        select: names of assets.
        corpus: for the stages of one corpus: which one.
        force: build the selected assets anew, discarding what they made before.
        console: where the progress is shown.

    Raises:
        VisorError: the first stage's that could not be built, or naming the asset check that failed.
    """
    began = time.monotonic()
    prepare_process()
    nodes = plan(profile, select, corpus)
    summary = RunSummary(profile.name, home)
    runner: _Runner | None = None
    with RunDisplay(nodes, console or Console(stderr=True)) as display:
        for node in nodes:
            forced = force and (not select or node.stage in select)
            if not forced and is_current(node, profile, home):
                state, seconds, warnings = "unchanged", 0.0, []
            else:
                runner = runner or _Runner(profile, home)
                folder = stage_folder(home, node) / (Builds(home, profile).fingerprint(node) or "")
                display.begin(node, folder)
                started = time.monotonic()
                try:
                    state, warnings = runner.materialize(node, rebuild=forced)
                except BaseException:
                    display.end(node, "failed", time.monotonic() - started, {})
                    raise
                seconds = time.monotonic() - started
            record = Builds(home, profile).find(node)
            if record is not None and state == "unchanged":
                put_in_force(home, record)
            figures = dict(record.figures) if record else {}
            summary.results.append(NodeResult(node, state, seconds, figures, tuple(warnings)))
            display.end(node, state, seconds, figures)
    if runner:
        runner.close()
    summary.seconds = time.monotonic() - began
    return summary


class _Runner:
    """Dagster's definitions and instance, made when the first stale node is met."""

    def __init__(self, profile: Profile, home: Home) -> None:
        # Definitions are loaded here and not at the top: a run that finds nothing stale never imports Dagster.
        from pipelines.definitions import definitions
        from pipelines.launcher import reconcile

        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        self.instance = open_instance(home)
        reconcile(self.instance)
        self._jobs = {
            rebuild: definitions(home, profile, rebuild=rebuild).resolve_implicit_global_asset_job_def()
            for rebuild in (False, True)
        }
        place_partitions(self.instance, home, profile)

    def materialize(self, node: Node, *, rebuild: bool) -> tuple[str, list[str]]:
        """One Dagster run of one node; returns `built` or `reused`, and the names of checks that failed softly."""
        import dagster as dg
        from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError

        if node.partition:
            self.instance.add_dynamic_partitions("corpus", [node.partition])
        keys = [dg.AssetKey(name) for name in stages()[node.stage].assets]
        job = self._jobs[rebuild]
        try:
            result = job.execute_in_process(
                instance=self.instance,
                asset_selection=keys,
                partition_key=node.partition or None,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        except DagsterAssetCheckFailedError as error:
            failed = "; ".join(line.strip() for line in str(error).splitlines()[1:])
            raise DataError(f"{node}: blocking check failed: {failed}; look at it with `make ui`") from error
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt(f"{node} was interrupted; the next run goes on from there") from error
        warnings = [
            f"{e.asset_key.to_user_string()}: {e.check_name}"
            for e in result.get_asset_check_evaluations()
            if not e.passed
        ]
        return ("reused" if _was_reused(result, node) else "built"), warnings

    def close(self) -> None:
        """Release the instance."""
        self.instance.dispose()


def _was_reused(result: dg.ExecuteInProcessResult, node: Node) -> bool:
    for event in result.get_asset_materialization_events():
        materialization: Any = event.materialization
        if materialization.asset_key.to_user_string() == node.stage:
            return bool(materialization.metadata["reused"].value)
    return False


def main() -> None:
    """`python -m pipelines.run [PROFILE]`: the nano profile by default, without the command line's options."""
    import os
    import sys
    from pathlib import Path

    from pipelines.resources import PROFILES
    from visor_core.config import load_profile

    home = Home(Path(os.environ.get("VISOR_HOME") or ".visor"))
    try:
        profile = load_profile(PROFILES / f"{sys.argv[1] if len(sys.argv) > 1 else 'nano'}.yaml")
        run_graph(profile, home)
    except VisorError as error:
        print(f"visor: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
