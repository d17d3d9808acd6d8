"""Builds under settings of their own, made inside another asset's run: by the very functions and checks of the stages.

A study's variants are made so: their builds lie beside all others, found by what they are made of, and resume as they
do. Dagster's record of the stages' own assets, which are those of the page's profile, is left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import declared
from assets_defs.machinery.builds import Builds, Record
from assets_defs.machinery.graph import is_built, plan, stages
from assets_defs.machinery.judging import Finished, checks_of
from assets_defs.machinery.stage import Node
from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Work
from visor_core.config import Home, Profile
from visor_core.errors import DataError


@dataclass(frozen=True)
class Surroundings:
    """The run in which builds are made, and where they lie."""

    home: Home
    context: dg.AssetExecutionContext
    tracking: Tracking
    pipes: dg.PipesSubprocessClient


@dataclass(frozen=True, slots=True)
class Made:
    """A build, and whether it was there already."""

    record: Record
    reused: bool


def make(
    around: Surroundings, profile: Profile, stage: str, *, progress: Callable[[str], None] = lambda line: None
) -> list[Made]:
    """Build a stage and all it needs under a profile, upstream first; what stands is left as it is.

    Raises:
        VisorError: the first stage's that could not be built.
        DataError: naming the blocking checks that failed.
    """
    made = []
    for node in plan(profile, [stage]):
        reused = is_built(node, profile, around.home)
        if not reused:
            progress(str(node))
            work_on(around, profile, node)
            _judge(around, profile, node)
        made.append(Made(Builds(around.home, profile).read(node), reused))
    return made


def work_on(around: Surroundings, profile: Profile, node: Node) -> Path:
    """Do the work of one node whose inputs stand, unchecked; returns the folder of the build."""
    work = Work(stages()[node.stage], node, profile, around.home, rebuild=False)
    try:
        work.context, work.tracking, work.pipes = around.context, around.tracking, around.pipes
        work.mlflow_page, work.progress.say = around.tracking.page, around.context.log.info
        partition = around.context.partition_key if around.context.has_partition_key else None
        work.shown_at = around.context.asset_key.to_user_string(), partition
        declaration = declared(node.stage)
        work.options = {name: field.default_value for name, field in declaration.options.items()}
        results = declaration.function(work)
        if not isinstance(results, dg.MaterializeResult):
            list(results)  # a stage of several assets does its work as they are asked for
    finally:
        work.close()
    return work.folder


def _judge(around: Surroundings, profile: Profile, node: Node) -> None:
    build = Finished(node, profile, around.home)
    failed = [check.name for check in checks_of(node.stage) if not check(build).passed and check.blocking]
    if failed:
        raise DataError(f"{node}: blocking check failed: {', '.join(failed)}; its build is {build.build_folder}")
