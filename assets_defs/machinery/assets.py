"""Assets as functions of `Work`, and the Dagster definition that each has under a profile.

A module of `assets_defs` declares its stage and, with `@asset(STAGE, …)`, what the stage does. Which assets there are,
what they depend on and which partitions of it, and their code versions follow from the stage and the profile.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dagster as dg

from assets_defs.machinery.faults import transient_faults_are_retried
from assets_defs.machinery.judging import Finished, Judgement, checks_of
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.relogging import relog
from assets_defs.machinery.run_config import stage_fields
from assets_defs.machinery.stage import Node, Stage
from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Work, Workspace
from visor_core.config import Profile

Result = dg.MaterializeResult[None]
Function = Callable[[Work], Result | Iterable[Result]]
_F = TypeVar("_F", bound=Function)

OWNERS = {
    "nano": "team:models",
    "corpus": "team:documents",
    "training": "team:models",
    "evaluation": "team:evaluation",
    "study": "team:evaluation",
}
"""Who answers for the assets of a group."""
CHECK_JOB = "check_corpus"
AGAIN = f"\n\nRun again on one corpus by the job `{CHECK_JOB}`: the buttons here cannot name a corpus."
"""Said of a check of a corpus, which this release's page does not run on its own."""
ANY_CORPUS = "a-corpus-of-the-user"
"""Stands for every corpus that no profile names, where a dependency depends on the corpus."""


@dataclass(frozen=True)
class Declared:
    """What a module says of its asset beside the stage. `also` describes further assets that the same work makes."""

    stage: Stage
    function: Function
    group: str
    kinds: frozenset[str]
    pool: str | None = None
    options: Mapping[str, dg.Field] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """The function's docstring."""
        return inspect.getdoc(self.function) or ""


_DECLARED: dict[str, Declared] = {}


def asset(
    stage: Stage,
    *,
    group: str,
    kinds: Iterable[str],
    pool: str | None = None,
    options: Mapping[str, dg.Field] | None = None,
    also: Mapping[str, str] | None = None,
) -> Callable[[_F], _F]:
    """Declare that a function does the work of a stage; it is returned as it is.

    Args:
        pool: what its runs take a place in, one at a time.
        options: fields of the run configuration that are no settings of the profile; `Work.options` holds them.
        also: further assets of the same work with their descriptions; each must be among `Stage.also`.
    """

    def declare(function: _F) -> _F:
        if set(also or {}) != set(stage.also):
            raise ValueError(f"{stage.name}: the stage makes {stage.also}, described are {tuple(also or {})}")
        _DECLARED[stage.name] = Declared(stage, function, group, frozenset(kinds), pool, options or {}, also or {})
        return function

    return declare


def declared(stage: str) -> Declared:
    """What was declared for a stage; its module must be loaded, as `graph.stages` does."""
    return _DECLARED[stage]


def definition(declaration: Declared, profile: Profile) -> dg.AssetsDefinition:
    """The asset, or assets, of one piece of work under a profile."""
    stage = declaration.stage
    common: dict[str, Any] = {
        "deps": dependencies(stage, profile),
        "code_version": stage.code_version(profile),
        "group_name": declaration.group,
        "kinds": set(declaration.kinds),
        "owners": [OWNERS[declaration.group]],
        "tags": {"visor/profile": profile.name, "visor/runs_on": declaration.pool or "this-process"},
        "metadata": {"dagster/code_references": code_of(declaration.function)},
    }
    descriptions = {stage.name: declaration.description, **declaration.also}
    specs = [dg.AssetSpec(name, description=text, **common) for name, text in descriptions.items()]

    @dg.multi_asset(
        name=stage.name,
        specs=specs,
        pool=declaration.pool,
        partitions_def=corpora if stage.partitioned else None,
        config_schema={**stage_fields(stage, profile), **declaration.options},
    )
    def materialize(
        context: dg.AssetExecutionContext, workspace: Workspace, tracking: Tracking, pipes: dg.PipesSubprocessClient
    ) -> Iterator[Result]:
        with transient_faults_are_retried():
            work = workspace.begin(stage, context, tracking, pipes)
            try:
                if work.complete:
                    relog(work)
                work.options = {name: context.op_execution_context.op_config[name] for name in declaration.options}
                made = declaration.function(work)
                yield from [made] if isinstance(made, dg.MaterializeResult) else made
            except BaseException:
                work.close()  # the next try takes the lock again
                raise

    return materialize


def code_of(function: Callable[..., Any]) -> dg.CodeReferencesMetadataValue:
    """Where a function stands in this checkout."""
    path, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    with warnings.catch_warnings():
        # Code references are in beta in this pinned release: https://docs.dagster.io/guides/build/assets/metadata-and-tags
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=function.__name__)
        return dg.CodeReferencesMetadataValue(code_references=[reference])


def dependencies(stage: Stage, profile: Profile) -> list[dg.AssetDep]:
    """Upstream assets under a profile, each with the corpora that are read of it. All assets of the same work count:
    a blocking check may stand at any of them."""
    corpus_of: dict[str, list[str]] = {}
    partitions = (*profile.corpora.names, ANY_CORPUS) if stage.partitioned else ("",)
    for need in stage.needs:
        if any(need.when(profile, partition) for partition in partitions):
            named = corpus_of.setdefault(need.stage, [])
            if need.of in ("train", "development"):
                named.append(str(getattr(profile.corpora, need.of)))
    return [
        dg.AssetDep(made, partition_mapping=dg.SpecificPartitionsPartitionMapping(named) if named else None)
        for name, named in corpus_of.items()
        for made in (name, *declared(name).also)
    ]


def check_definition(judgement: Judgement) -> dg.AssetChecksDefinition:
    """The asset check that Dagster runs."""
    stage = judgement.stage

    def judged(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
        node = Node(stage.name, context.partition_key if stage.partitioned else "")
        return judgement(Finished(node, workspace.settings, workspace.place))

    with warnings.catch_warnings():
        # Partitioned checks are a preview in this pinned release; without them a check could not be run from the
        # page on one corpus: https://docs.dagster.io/guides/test/asset-checks
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        return dg.asset_check(
            asset=judgement.asset,
            name=judgement.name,
            description=(inspect.getdoc(judgement.function) or "") + (AGAIN if stage.partitioned else ""),
            blocking=judgement.blocking,
            partitions_def=corpora if stage.partitioned else None,
        )(judged)


def definitions_of(
    stages: Sequence[Stage], profile: Profile
) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """The assets and checks of a profile: those of every stage that applies to it."""
    here = [stage for stage in stages if stage.applies(profile)]
    judgements = [judgement for stage in here for judgement in checks_of(stage.name)]
    return [definition(declared(stage.name), profile) for stage in here], [check_definition(j) for j in judgements]
