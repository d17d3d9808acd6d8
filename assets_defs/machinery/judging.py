"""Asset checks that put builds in force: whoever runs one, its outcome is kept with the build it looked at."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import dagster as dg

from assets_defs.machinery.builds import judge
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.stage import Node, Stage

_BLOCKING: dict[str, list[str]] = defaultdict(list)

Check = Callable[..., dg.AssetCheckResult]


def blocking_checks(stage: str) -> tuple[str, ...]:
    """Names of the checks a build of this stage has to pass, by name; known once its module is loaded."""
    return tuple(sorted(_BLOCKING[stage]))


def check(stage: Stage, *, blocking: bool = False, asset: str = "") -> Callable[[Check], dg.AssetChecksDefinition]:
    """Declare an asset check of a stage: a function of `workspace`, and of `context` where the stage has partitions.

    Args:
        blocking: whether a build that fails it is not in force.
        asset: the asset it stands at, where that is another one of the stage's than the one of its name.
    """

    def declare(function: Check) -> dg.AssetChecksDefinition:
        if blocking:
            _BLOCKING[stage.name].append(function.__name__)

        @wraps(function)
        def judged(*arguments: Any, **named: Any) -> dg.AssetCheckResult:
            workspace = named["workspace"]
            partition = arguments[0].partition_key if stage.partitioned else ""
            record = workspace.record(Node(stage.name, partition))
            passed = False  # stays so where the check itself ends with an error
            try:
                result = function(*arguments, **named)
                passed = bool(result.passed)
            finally:
                judge(workspace.place, record, function.__name__, passed=passed)
            return result

        with warnings.catch_warnings():
            # Partitioned checks are a preview in this pinned release; without them a check could not be run from the
            # page on one corpus: https://docs.dagster.io/guides/test/asset-checks
            warnings.simplefilter("ignore", category=dg.PreviewWarning)
            return dg.asset_check(
                asset=asset or stage.name,
                blocking=blocking,
                partitions_def=corpora if stage.partitioned else None,
            )(judged)

    return declare
