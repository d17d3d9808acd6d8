"""Asset checks that put builds in force: whoever runs one, its outcome is kept with the build it looked at."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets_defs.machinery.builds import Builds, Record, judge
from assets_defs.machinery.stage import Figure, Node, Stage
from assets_defs.machinery.tracking import Tracking
from visor_core.config import Home, Profile
from visor_core.errors import DataError

if TYPE_CHECKING:
    from visor_core.tracking import Tracker


class Finished:
    """A finished build as its checks see it, checked or not.

    Raises:
        DataError: if these settings have no such build.
    """

    def __init__(self, node: Node, profile: Profile, home: Home) -> None:
        self.node, self.profile, self.home = node, profile, home
        record = Builds(home, profile).built(node)
        if record is None:
            raise DataError(f"{node} has not been materialized with these settings: there is nothing to check")
        self.record: Record = record

    @property
    def figures(self) -> dict[str, Figure]:
        """Its key figures."""
        return self.record.figures

    @property
    def folder(self) -> Path:
        """Its output: a checkpoint, a dataset, a corpus."""
        return self.record.folder(self.home)

    @property
    def build_folder(self) -> Path:
        """Its lineage, progress and log."""
        return self.record.build_folder(self.home)

    def other(self, stage: str, partition: str = "") -> "Finished":
        """The build of another node, as the same settings ask for it.

        Raises:
            DataError: if there is none.
        """
        return Finished(Node(stage, partition), self.profile, self.home)

    def find(self, stage: str, partition: str = "") -> "Finished | None":
        """As `other`; None if there is none."""
        node = Node(stage, partition)
        return Finished(node, self.profile, self.home) if Builds(self.home, self.profile).built(node) else None

    @cached_property
    def tracker(self) -> "Tracker":
        """MLflow; importing it happens here."""
        return Tracking.of(self.home, self.profile).tracker()


Check = Callable[[Finished], dg.AssetCheckResult]


@dataclass(frozen=True)
class Judgement:
    """A declared check of a stage. `asset` is the one of the stage's assets that it stands at, `thresholds` are the
    fields of the section `checks` that it judges by."""

    stage: Stage
    function: Check
    blocking: bool
    asset: str
    thresholds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    def __call__(self, build: Finished) -> dg.AssetCheckResult:
        """Make the check and keep its outcome with the build."""
        passed = False  # stays so where the check itself ends with an error
        try:
            result = self.function(build)
            passed = bool(result.passed)
        finally:
            against = {name: getattr(build.profile.checks, name) for name in self.thresholds}
            named = not build.profile.study.variant
            judge(build.home, build.record, self.name, passed=passed, against=against, named=named)
        return result


_CHECKS: dict[str, list[Judgement]] = defaultdict(list)


def check(
    stage: Stage, *, blocking: bool = False, asset: str = "", thresholds: tuple[str, ...] = ()
) -> Callable[[Check], Check]:
    """Declare an asset check of a stage, a function of the finished build; it is returned as it is.

    Args:
        blocking: whether a build that fails it is not in force.
        asset: the asset it stands at, where that is another one of the stage's than the one of its name.
        thresholds: the fields of the section `checks` that it judges by; it is made again where one of them changes.
    """

    def declare(function: Check) -> Check:
        _CHECKS[stage.name].append(Judgement(stage, function, blocking, asset or stage.name, thresholds))
        return function

    return declare


def checks_of(stage: str) -> tuple[Judgement, ...]:
    """The checks of a stage, as declared; its module must be loaded, as `graph.stages` does."""
    return tuple(_CHECKS[stage])
