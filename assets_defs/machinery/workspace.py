"""The resource every asset gets: VISOR_HOME and the resolved profile, and the life of one materialization.

`Workspace.begin` works out the fingerprint and the folder of a build and locks it; the returned `Work` reports
progress, writes the lineage and makes Dagster's result. It holds no science.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from assets_defs.machinery.builds import Builds, Record, read_build, set_aside, stage_folder, write_build
from assets_defs.machinery.history import note_told
from assets_defs.machinery.judging import checks_of
from assets_defs.machinery.links import links_of
from assets_defs.machinery.losses import KEPT, discard, lost, output_of, require_word, stands
from assets_defs.machinery.progress import StageProgress
from assets_defs.machinery.recording import lineage_of
from assets_defs.machinery.run_config import GIVEN_TAG, given_settings, with_given
from assets_defs.machinery.stage import Figure, Node, Stage
from assets_defs.machinery.tracking import Tracking
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError, DataError

LISTED = 50
"""Lost files that the metadata name."""


class Work:
    """One materialization in progress. `folder` belongs to this build alone; `complete` says it was finished before,
    `lost` what a finished one had lost, `rebuild` that nothing made before is to be used.

    Raises:
        DataError: if something upstream is missing, or has lost files.
        ConfigError: if another process builds the same thing, or what is lost costs too much to be built unasked.
    """

    context: dg.AssetExecutionContext
    """Dagster's view of the run, with its log."""
    tracking: Tracking
    pipes: dg.PipesSubprocessClient
    mlflow_page: str = ""
    """Where MLflow's page is looked at."""
    shown_at: tuple[str, str | None]
    """The asset and the partition at which Dagster shows it."""
    options: dict[str, Any]
    """The run configuration beside the profile's settings: the fields that the asset declares."""

    def __init__(
        self,
        stage: Stage,
        node: Node,
        profile: Profile,
        home: Home,
        *,
        rebuild: bool,
        given: Mapping[str, Any] | None = None,
        gpu_hours: Mapping[str, float] | None = None,
    ) -> None:
        self.given = dict(given or {})
        self.shown_at = node.stage, node.partition or None
        self.stage, self.node, self.profile, self.home = stage, node, profile, home
        self.gpu_hours = gpu_hours or {}
        self.inputs = stage.inputs(profile, node.partition)
        self._builds = Builds(home, profile)
        self.upstream = self._builds.versions(self.inputs)
        self._require_inputs()
        self.fingerprint = stage.fingerprint(profile, node.partition, self.upstream, home)
        self.folder = stage_folder(home, node) / self.fingerprint
        self.rebuild = rebuild
        self._lock = self._acquire()
        try:
            self._clear_away()
            self.complete = self._is_complete()
            self._held = self._held_version() if stage.incremental else ""
        except BaseException:
            self.close()
            raise
        self.progress = StageProgress(self.folder)
        self.started = time.monotonic()

    def _held_version(self) -> str:
        """The data version of this build that the corpus still has; a stage that works on it in place mostly finds it
        as it was."""
        record = read_build(self.home, self.node, self.fingerprint)
        return record.data_version if record is not None and stands(self.home, record) else ""

    def _require_inputs(self) -> None:
        """What is read must be there. A stage that works on a corpus in place reads what that holds now, which must be
        what these settings asked for.

        Raises:
            DataError: naming the input that has lost files, or that other settings have replaced since.
        """
        for need in self.inputs:
            record = self._builds.read(need)
            first = f"`visor run --profile {self.profile.name} --select {need.stage}` first"
            if gone := lost(self.home, record):
                raise DataError(f"{need} has lost files ({gone[0]}): {first}")
            if self.stage.incremental and not stands(self.home, record):
                raise DataError(f"{need} holds other data than these settings asked for: {first}")

    def _clear_away(self) -> None:
        """Remove what is not to be built on: everything if so asked, or what is left of a build that has lost files.

        Raises:
            ConfigError: if building again what is lost needs a word.
        """
        if self.rebuild:
            set_aside(self.folder)
            for path in self.folder.iterdir():
                if path.name not in KEPT and not path.match("lineage-*.json"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        record = read_build(self.home, self.node, self.fingerprint)
        self.lost = lost(self.home, record) if record else ()
        if record and self.lost:
            require_word(self.node, self.lost, self.profile, self.gpu_hours)
            if not self.stage.incremental:
                discard(self.home, record)

    def _is_complete(self) -> bool:
        record = None if self.stage.incremental else read_build(self.home, self.node, self.fingerprint)
        return record is not None and not record.incomplete

    def _acquire(self) -> int:
        """Lock the build folder until `close`, or for as long as this process lives; returns the file descriptor.

        Raises:
            ConfigError: if another process builds the same thing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise ConfigError(f"{self.node} is being built by another process: wait for it or stop it") from error
        return handle

    def show_links(self) -> None:
        """Show in the run, and at the asset, where the work is seen while its process runs."""
        asset, partition = self.shown_at
        self.context.log_event(
            dg.AssetObservation(
                asset,
                description=f"the process of {self.node} starts: what it does is seen there",
                partition=partition,
                metadata=links_of(self.folder, self.home, self.mlflow_page),
            )
        )

    def close(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def input(self, stage: str, partition: str = "") -> Record:
        """The record of an upstream node, as these settings ask for it."""
        return self._builds.read(Node(stage, partition))

    def input_folder(self, stage: str, partition: str = "") -> Path:
        """The output folder of an upstream node."""
        return self.input(stage, partition).folder(self.home)

    def finish(
        self,
        data_version: str,
        figures: Mapping[str, Figure],
        *,
        path: Path | None = None,
        index_tag: str = "",
        upstream: Mapping[str, str] | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the lineage. `path` is the output if it is not the build folder itself, `upstream` what it was made
        from if that is not what these settings ask for now.

        The build is in force once its blocking checks have passed.

        Args:
            told: what the lineage says beside what is known of any build (`recording.lineage_of`), as JSON values.

        Raises:
            DataError: if what a stage read of a corpus was changed by others while it worked.
        """
        if self.stage.incremental:
            self._require_inputs()
        self.complete = data_version == self._held
        record = Record(
            stage=self.node.stage,
            partition=self.node.partition,
            fingerprint=self.fingerprint,
            code_version=self.stage.version,
            data_version=data_version,
            path=(path or self.folder).relative_to(self.home.root).as_posix(),
            files=output_of(self.home, self.stage, path or self.folder, self.folder),
            upstream=self.upstream if upstream is None else dict(upstream),
            seed=self.profile.seed,
            index_tag=index_tag,
            seconds=round(time.monotonic() - self.started, 2),
            figures=dict(figures),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            checks=tuple(sorted(judgement.name for judgement in checks_of(self.node.stage) if judgement.blocking)),
        )
        # Who asks without a profile means no variant of a study.
        more = lineage_of(self, path or self.folder, told or {})
        write_build(self.home, record, more, named=not self.profile.study.variant)

    @property
    def record(self) -> Record:
        """What was made, once it is finished.

        Raises:
            DataError: if it is not.
        """
        record = read_build(self.home, self.node, self.fingerprint)
        if record is None:
            raise DataError(f"{self.node}: {self.folder} holds no finished build")
        return record

    def result(
        self,
        metadata: Mapping[str, dg.RawMetadataValue] | None = None,
        asset_key: str | None = None,
        data_version: str | None = None,
    ) -> dg.MaterializeResult[None]:
        """Dagster's view of the finished build."""
        record = self.record
        note_told(self.home, self.folder)
        everything: dict[str, Any] = {
            **record.figures,
            **(metadata or {}),
            **links_of(self.folder, self.home, self.mlflow_page),
            "given_in_the_launchpad": dg.MetadataValue.json(self.given),
            "seed": record.seed,
            "index_tag": record.index_tag or "none",
            "code_version": record.code_version,
            "fingerprint": record.fingerprint,
            "upstream": dg.MetadataValue.json(record.upstream),
            "configuration": dg.MetadataValue.json(self.profile.model_dump(mode="json")),
            "folder": dg.MetadataValue.path(record.path),  # below VISOR_HOME, which may be moved or copied
            "reused": self.complete,
            **({"lost": "\n".join(self.lost[:LISTED])} if self.lost else {}),
        }
        return dg.MaterializeResult(
            asset_key=asset_key or self.node.stage,
            metadata=everything,
            data_version=dg.DataVersion(data_version or record.data_version),
        )


class Workspace(dg.ConfigurableResource[Any]):
    """VISOR_HOME and the resolved profile, as JSON because a map in Dagster's configuration may not hold null.

    `rebuild` names the stages that discard what they have already made; `gpu_hours` is what each stage is estimated to
    cost. What a run's own configuration says otherwise than the profile holds for that run.
    """

    home: str
    profile: str
    rebuild: list[str] = Field(default_factory=list)
    gpu_hours: dict[str, float] = Field(default_factory=dict)
    _begun: list[Work] = PrivateAttr(default_factory=list)
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)
    _settings: Profile | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Take up what the run was given.

        Raises:
            ConfigError: naming the setting at fault.
        """
        run, profile = context.run, Profile.model_validate_json(self.profile)
        self._given, self._settings = {}, None
        if run is None:
            return
        if GIVEN_TAG in run.tags:  # the run's process was started with a profile that has the values already
            self._given = json.loads(run.tags[GIVEN_TAG])
        else:
            self._given = given_settings(run.run_config, profile)
            profile = with_given(profile, self._given)
        self._settings = profile

    @property
    def given(self) -> dict[str, Any]:
        """What the run was given beside its profile, by dotted key."""
        return self._given

    @property
    def place(self) -> Home:
        """VISOR_HOME."""
        return Home(Path(self.home))

    @property
    def settings(self) -> Profile:
        """The profile, with what the run was given."""
        return self._settings or Profile.model_validate_json(self.profile)

    def begin(
        self,
        stage: Stage,
        context: dg.AssetExecutionContext,
        tracking: Tracking,
        pipes: dg.PipesSubprocessClient,
    ) -> Work:
        """Start a materialization.

        Raises:
            DataError: if an upstream node is missing.
            ConfigError: if another process builds the same thing.
        """
        partition = context.partition_key if stage.partitioned else ""
        node = Node(stage.name, partition)
        work = Work(
            stage,
            node,
            self.settings,
            self.place,
            rebuild=stage.name in self.rebuild,
            given=self.given,
            gpu_hours=self.gpu_hours,
        )
        work.context, work.tracking, work.pipes = context, tracking, pipes
        work.mlflow_page, work.progress.say = tracking.page, context.log.info
        for line in work.lost[:LISTED]:
            context.log.warning(f"{line}: {node} is built again")
        self._begun.append(work)
        return work

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Give the locks back, whether the stage finished or failed."""
        while self._begun:
            self._begun.pop().close()
