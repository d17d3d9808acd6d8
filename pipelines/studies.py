"""`visor nano study`: the partitions of the study that are not measured yet, a run of Dagster each, and the table.

A run is submitted as `visor run` submits its own, to Dagster's queue, so that the runs page shows what happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console

from assets_defs.machinery.stage import Node
from assets_defs.machinery.studies import Kind, is_measured, study_folder, variant_names, write_table
from pipelines.choice import Choice
from pipelines.display import RunDisplay
from pipelines.engine import Engine, LocalEngine
from pipelines.following import FAILURES, failure
from pipelines.gateway import Event
from pipelines.instance import open_instance, prepare_process
from pipelines.run import follow
from visor_core.config import Home
from visor_core.nano.rivals import as_settings, kept_calibration, rivals_of
from visor_core.nano.study_variants import Split, variant_profile


@dataclass(frozen=True)
class Study:
    """Which seeds of a profile's study, on which split; `commit` names the code and is printed with every table."""

    choice: Choice
    home: Home
    seeds: Sequence[int]
    split: Split
    commit: str
    console: Console
    engine: Callable[[Home, Choice], Engine] = LocalEngine

    def table(self, kind: Kind) -> str:
        """Measure what is not measured yet, write the table and its figures, and return the table as Markdown.

        Raises:
            ConfigError: if the profile has no section `nano`, a setting of `study` is wrong, a strategy is unknown, or
                no steps are recorded for one.
            VisorError: the first stage's that could not be built.
            KeyboardInterrupt: once the run that was interrupted has ended.
        """
        from assets_defs.study import VARIANT, partition_tags, progress_folder

        profile = self.choice.resolve()
        wanted = [(seed, name) for seed in self.seeds for name in variant_names(profile, kind, self.split)]
        missing = [part for part in wanted if not is_measured(profile, self.home, part[1], part[0])]
        rows = {part: Node(VARIANT, f"{part[0]}-{part[1]}") for part in wanted}
        choice = self.choice.with_settings({"study.on_page": True, "study.final": self.split == "test"})
        with RunDisplay(list(rows.values()), self.console) as display, _Runs(self, choice, display) as runs:
            for part, row in rows.items():
                if part in missing:
                    runs.make(VARIANT, row, progress_folder(self.home, *part), partition_tags(*part))
                else:
                    display.end(row, "unchanged", 0.0, {})
        return write_table(profile, self.home, kind, self.split, self.seeds, self.commit)

    def calibrate(self) -> str:
        """Time every strategy on the first seed and keep its steps of equal time; returns them as lines of a profile.

        Raises:
            ConfigError: if the profile has no section `nano` or a strategy is unknown.
            VisorError, KeyboardInterrupt: as `table`.
        """
        from assets_defs.study import BUDGETS

        profile, seed = self.choice.resolve(), self.seeds[0]
        for name in rivals_of(profile):
            variant_profile(profile, name, seed)
        choice, row = self.choice.with_settings({"study.on_page": True, "seed": seed}), Node(BUDGETS)
        with RunDisplay([row], self.console) as display, _Runs(self, choice, display) as runs:
            runs.make(BUDGETS, row, self.home.asset(BUDGETS), {})
        kept = kept_calibration(study_folder(self.home))["budgets"]
        return as_settings({name: kept[name] for name in rivals_of(profile)})


class _Runs(AbstractContextManager["_Runs"]):
    """The runs of one call; its engine is made when the first is needed."""

    def __init__(self, study: Study, choice: Choice, display: RunDisplay) -> None:
        self._study, self._choice, self._display = study, choice, display
        self._engine: Engine | None = None
        self._ended = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close(ended=self._ended)

    def make(self, asset: str, row: Node, folder: Path, tags: Mapping[str, str]) -> None:
        """Make one asset, or a partition of it, in a run, and wait for it.

        Raises:
            VisorError: the first stage's that could not be built.
            KeyboardInterrupt: if it was ended by request.
            RunFailedError: if it failed otherwise.
        """
        if self._engine is None:
            self._engine = self._start()
        began, events = time.monotonic(), list[Event]()
        self._display.begin(row, folder)
        self._ended = False
        self._engine.submit([asset], "", self._choice, tags)
        status = follow(self._engine, events.append)
        self._ended = True
        self._display.end(row, "built" if status == "SUCCESS" else "failed", time.monotonic() - began, {})
        if status == "CANCELED":
            raise KeyboardInterrupt(f"{row} was interrupted; the next call goes on from there")
        if status != "SUCCESS":
            raise failure([e for e in events if e.kind in FAILURES or (e.kind == "EngineEvent" and e.errors)], row)

    def _start(self) -> Engine:
        from assets_defs.machinery.partitions import study_seeds

        prepare_process()
        study = self._study
        with open_instance(study.home) as instance:
            instance.add_dynamic_partitions(str(study_seeds.name), [str(seed) for seed in study.seeds])
        return study.engine(study.home, self._choice)
