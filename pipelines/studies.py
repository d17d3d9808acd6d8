"""`visor nano study`: the partitions of the study that are not measured yet, a run of Dagster each, and the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from assets_defs.machinery.partitions import study_seeds
from assets_defs.machinery.stage import Node
from assets_defs.machinery.studies import Kind, is_measured, study_folder, variant_names, write_table
from assets_defs.study import BUDGETS, FINAL_FIELD, VARIANT, partition_key, progress_folder
from pipelines.display import RunDisplay
from pipelines.instance import open_instance, place_partitions, prepare_process
from visor_core.config import Home, Profile, derived
from visor_core.nano.rivals import as_settings, kept_calibration, rivals_of
from visor_core.nano.study_variants import Split, variant_profile

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Study:
    """Which seeds of a profile's study, on which split; `commit` names the code and is printed with every table."""

    profile: Profile
    home: Home
    seeds: Sequence[int]
    split: Split
    commit: str
    console: Console

    def table(self, kind: Kind) -> str:
        """Measure what is not measured yet, write the table and its figures, and return the table as Markdown.

        Raises:
            ConfigError: if the profile has no section `nano`, a setting of `study` is wrong, a strategy is unknown, or
                no steps are recorded for one.
            VisorError: the first stage's that could not be built.
        """
        names = variant_names(self.profile, kind, self.split)
        wanted = [(seed, name) for seed in self.seeds for name in names]
        missing = [part for part in wanted if not is_measured(self.profile, self.home, part[1], part[0])]
        rows = {part: Node(VARIANT, f"{part[0]}-{part[1]}") for part in wanted}
        with _Runner(self) as runner, RunDisplay(list(rows.values()), self.console) as display:
            for part, row in rows.items():
                if part not in missing:
                    display.end(row, "unchanged", 0.0, {})
                    continue
                display.begin(row, progress_folder(self.home, *part))
                began = time.monotonic()
                try:
                    runner.materialize(VARIANT, partition_key(*part), {FINAL_FIELD: self.split == "test"})
                except BaseException:
                    display.end(row, "failed", time.monotonic() - began, {})
                    raise
                display.end(row, "built", time.monotonic() - began, {})
        return write_table(self.profile, self.home, kind, self.split, self.seeds, self.commit)

    def calibrate(self) -> str:
        """Time every strategy on the first seed and keep its steps of equal time; returns them as lines of a profile.

        Raises:
            ConfigError: if the profile has no section `nano` or a strategy is unknown.
        """
        seed = self.seeds[0]
        for name in rivals_of(self.profile):
            variant_profile(self.profile, name, seed)
        row = Node(BUDGETS)
        with _Runner(self) as runner, RunDisplay([row], self.console) as display:
            display.begin(row, self.home.asset(BUDGETS))
            began = time.monotonic()
            runner.materialize(BUDGETS, None, {"seed": seed})
            display.end(row, "built", time.monotonic() - began, {})
        kept = kept_calibration(study_folder(self.home))["budgets"]
        return as_settings({name: kept[name] for name in rivals_of(self.profile)})


class _Runner:
    """Runs assets of the study; Dagster is loaded when the first one is asked for."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._stack = ExitStack()
        self._job: dg.JobDefinition | None = None

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def materialize(self, asset: str, key: dg.MultiPartitionKey | None, configuration: Mapping[str, Any]) -> None:
        """One run of Dagster.

        Raises:
            VisorError: the first stage's that could not be built.
        """
        import dagster as dg
        from dagster._core.errors import DagsterExecutionInterruptedError

        if self._job is None:
            self._open()
        assert self._job is not None
        try:
            self._job.execute_in_process(
                instance=self._instance,
                asset_selection=[dg.AssetKey(asset)],
                partition_key=key,
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "ops": {asset: {"config": dict(configuration)}},
                },
            )
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt(f"{asset} was interrupted; the next run goes on from there") from error

    def _open(self) -> None:
        from pipelines.definitions import definitions
        from pipelines.launcher import reconcile

        prepare_process()
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        study = self._study
        self._instance = self._stack.enter_context(open_instance(study.home))
        reconcile(self._instance)
        place_partitions(self._instance, study.home, study.profile)
        self._instance.add_dynamic_partitions(str(study_seeds.name), [str(seed) for seed in study.seeds])
        profile = derived(study.profile, {"study.on_page": True}, "the study")
        self._job = definitions(study.home, profile).resolve_implicit_global_asset_job_def()
