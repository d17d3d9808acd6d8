"""Runs in the test's own process: what `visor run` asks of Dagster, without the seconds that its services take."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from rich.console import Console

from pipelines.choice import Choice
from pipelines.definitions import definitions
from pipelines.gateway import Event
from pipelines.instance import open_instance
from pipelines.run import RunSummary, run_graph
from visor_core.config import Home, Profile

PARTITION = "dagster/partition"
TINY = {
    "nano.train_corpora": 1,
    "nano.development_corpora": 1,
    "nano.companies": 3,
    "nano.topics": 4,
    "nano.train_questions": 6,
    "nano.development_questions": 4,
    "index.embedders": ["hash"],
}
"""Settings of the smallest world that goes through all of its stages up to the questions."""
KINDS = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED: "AssetMaterializationPlannedEvent",
    dg.DagsterEventType.STEP_START: "ExecutionStepStartEvent",
    dg.DagsterEventType.ASSET_MATERIALIZATION: "MaterializationEvent",
    dg.DagsterEventType.ASSET_CHECK_EVALUATION: "AssetCheckEvaluationEvent",
    dg.DagsterEventType.STEP_FAILURE: "ExecutionStepFailureEvent",
}


def tiny_choice(**overrides: object) -> Choice:
    """The tiny world with further settings, their dots written as two underscores."""
    return Choice("nano", TINY | {key.replace("__", "."): value for key, value in overrides.items()})


def tiny_profile(**overrides: object) -> Profile:
    """Its profile."""
    return tiny_choice(**overrides).resolve()


class InProcess:
    """Dagster's own way to run assets in a process, as an engine of `run_graph`."""

    def __init__(self, home: Home, choice: Choice) -> None:
        self._home, self._events, self._ended = home, (), ""

    def submit(self, assets: Sequence[str], partition: str, choice: Choice, more: Mapping[str, str] = {}) -> None:
        """Make the run, to its end."""
        of = f"{PARTITION}/"
        several = {tag.removeprefix(of): value for tag, value in more.items() if tag.startswith(of)}
        job = definitions(self._home, choice.resolve(), choice.rebuild).resolve_implicit_global_asset_job_def()
        with open_instance(self._home) as instance:
            if partition:
                instance.add_dynamic_partitions("corpus", [partition])
            self._ended = "CANCELED"
            with suppress(DagsterExecutionInterruptedError):
                result = job.execute_in_process(
                    instance=instance,
                    asset_selection=[dg.AssetKey(name) for name in assets],
                    partition_key=dg.MultiPartitionKey(several) if several else partition or None,
                    raise_on_error=False,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
                self._ended = "SUCCESS" if result.success else "FAILURE"
            logged = instance.all_logs(result.run_id)
        self._events = tuple(
            event_of(entry.dagster_event, entry.timestamp)
            for entry in logged
            if entry.dagster_event is not None and entry.dagster_event.event_type in KINDS
        )

    def news(self) -> tuple[tuple[Event, ...], str]:
        """All events at once."""
        return self._events, self._ended

    def interrupt(self) -> None:
        """It has ended."""

    def close(self, *, ended: bool) -> None:
        """Nothing was started."""


def event_of(event: dg.DagsterEvent, time: float) -> Event:
    """A logged event as GraphQL gives it."""
    kind = KINDS[event.event_type]
    asset = event.asset_key.to_user_string() if event.asset_key else ""
    if kind == "AssetCheckEvaluationEvent":
        found = event.asset_check_evaluation_data
        asset = found.asset_key.to_user_string()
        return Event(kind, time, event.step_key or "", asset, check=found.check_name, passed=found.passed)
    if kind == "MaterializationEvent":
        reused = event.step_materialization_data.materialization.metadata["reused"].value
        return Event(kind, time, event.step_key or "", asset, reused=bool(reused))
    if kind == "ExecutionStepFailureEvent":
        chain, error = [], event.step_failure_data.error
        while error is not None:
            chain.append((error.cls_name or "", error.message))
            error = error.cause or error.context
        return Event(kind, time, event.step_key or "", errors=tuple(chain))
    return Event(kind, time, event.step_key or "", asset)


def materialize(
    choice: Choice, home: Home, select: Sequence[str], *, corpus: str = "", force: bool = False
) -> RunSummary:
    """`run_graph` in this process, without a display."""
    quiet = Console(file=io.StringIO(), width=120)
    return run_graph(choice, home, select, corpus=corpus, force=force, console=quiet, engine=InProcess)
