"""Asset `champion_model`: the checkpoint to use, under the alias `champion` in MLflow.

The reigning champion is evaluated again on today's index and questions, and stays unless the gate
(`visor_core.evaluation.gate`) prefers one of today's checkpoints. One that stays keeps its own versions and upstream.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.builds import INCOMPLETE, Record, read_build
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.stage import Figure, Need, Node, Stage
from assets_defs.machinery.training_process import run_worker
from assets_defs.machinery.workspace import Work
from visor_core.config.policies import TRAINED, WARM_STARTED
from visor_core.errors import DataError
from visor_core.tracking import RUN_FILE, logged_model, project_name

if TYPE_CHECKING:
    from visor_core.evaluation.gate import Decision, Outcomes

CANDIDATES = {policy.stage: policy for policy in TRAINED}
"""Today's checkpoints; the preferred of equals last."""
STAGE = Stage(
    name="champion_model",
    begins=("assets_defs.champion_model", "pipelines.workers.champion", "visor_core.tracking"),
    reads=("evaluation", "agent", "index", "model"),
    settings=lambda profile, partition: {
        "name": profile.name,
        "evaluation": profile.evaluation,
        "agent": profile.agent,
        "index": profile.index,
        "model": profile.model,
    },
    needs=(*(Need(name) for name in CANDIDATES), Need("benchmark_results")),
)


@dataclass(frozen=True)
class Reigning:
    """The champion of the registry: its build, and what it was crowned with (the tags of its version)."""

    build: Record
    crowned: Mapping[str, str]


@asset(STAGE, group="evaluation", kinds={"mlflow"}, pool="accelerator")
def champion_model(work: Work) -> dg.MaterializeResult[None]:
    """The model to use, as the registered model's version `champion`.

    The reigning champion, unless one of today's checkpoints is the better choice on today's index and questions.
    `visor ask` and `models:/visor-<profile>@champion` of MLflow take this one.
    """
    tracker = work.tracking.tracker()
    crowned = tracker.champion(project_name(work.profile.name)) or {}
    # Other settings of this profile may have crowned another since this was decided: then it is decided again.
    if not work.complete or crowned.get("build") != work.record.figures["build"]:
        _hold_the_gate(work, crowned)
    benchmark = work.input("benchmark_results")
    return work.result({"benchmark": dg.MetadataValue.json(benchmark.figures)})


def _hold_the_gate(work: Work, crowned: Mapping[str, str]) -> None:
    """Decide who is champion today, and keep what it was made from."""
    from visor_core.evaluation.gate import decide

    benchmark = work.input("benchmark_results")
    measured = benchmark.folder(work.home)
    candidates = {name: _outcomes(measured / f"{policy.run()}.json") for name, policy in CANDIDATES.items()}
    if not any(candidates.values()):
        raise DataError(
            "no development question has a rule by which its answer is scored: no champion can be chosen; give the"
            " questions of corpora.development a benchmark or an answer_format that has one"
        )
    reigning = _reigning(work, crowned)
    reigns = next((n for n in CANDIDATES if reigning and _is_same(work.input(n), reigning.build)), "")
    outcomes, lacking = None, ""
    if reigning is not None:
        outcomes, lacking = (candidates[reigns], "") if reigns else _evaluated(work, reigning, benchmark)
    decision = decide(
        candidates,
        outcomes,
        warm_start=WARM_STARTED.stage,
        reigns=reigns,
        out_of_date=reigning is not None and _is_out_of_date(work, reigning.build),
    )
    proposed = _entry(work, decision.candidate)
    if decision.candidate == reigns:  # it keeps what it was crowned with
        proposed["tags"] = {name: crowned.get(name, value) for name, value in proposed["tags"].items()}
    work.tracking.tracker().propose(project_name(work.profile.name), **proposed)
    reason = decision.reason
    if crowned and reigning is None:
        reason = "the files of the reigning champion are gone"
    if decision.crowned or reigning is None:
        _crown(work, decision, reason, lacking)
    else:
        assert outcomes is not None
        _keep(work, reigning, decision, sum(outcomes.values()) / max(1, len(outcomes)), lacking)


def _crown(work: Work, decision: "Decision", reason: str, lacking: str) -> None:
    """Put one of today's checkpoints under the alias.

    Args:
        lacking: what the evaluation of the reigning champion lacks; the next run goes on with it and decides again.
    """
    stage = decision.crowned
    benchmark, build = work.input("benchmark_results"), work.input(stage)
    entry = _entry(work, stage)
    entry["tags"] |= {"reason": reason[:500]}
    version = work.tracking.tracker().promote(project_name(work.profile.name), **entry)
    figures = _figures(
        decision,
        reason,
        champion=stage,
        supported=float(entry["tags"]["supported"]),
        version=version,
        build=entry["tags"]["build"],
        lacking=lacking,
    )
    work.finish(build.data_version, figures, path=build.folder(work.home), index_tag=benchmark.index_tag)


def _entry(work: Work, stage: str) -> dict[str, Any]:
    """What the registry is told of one of today's checkpoints."""
    benchmark, build = work.input("benchmark_results"), work.input(stage)
    folder = build.build_folder(work.home)
    return {
        "folder": build.folder(work.home),
        "run_id": (folder / RUN_FILE).read_text(encoding="utf-8"),
        "model_id": logged_model(folder),
        "tags": {
            "supported": f"{float(benchmark.figures[CANDIDATES[stage].figure('supported')]):.6f}",
            "questions_version": benchmark.upstream[str(Node("questions", work.profile.corpora.development))],
            "stage": stage,
            "build": f"{stage}/{build.fingerprint}",
            "data_version": build.data_version,
            "index_tag": benchmark.index_tag,
            "upstream": json.dumps(work.upstream, sort_keys=True),
            "fingerprints": json.dumps({str(need): work.input(need.stage).fingerprint for need in work.inputs}),
        },
    }


def _keep(work: Work, reigning: Reigning, decision: "Decision", supported: float, lacking: str) -> None:
    """The reigning champion stays, with its own versions and upstream; `lacking` as for `_crown`."""
    crowned = reigning.crowned
    figures = _figures(
        decision,
        decision.reason,
        champion=crowned["stage"],
        supported=round(supported, 4),
        version=int(crowned["version"]),
        build=crowned["build"],
        lacking=lacking,
    )
    work.finish(
        reigning.build.data_version,
        figures,
        path=reigning.build.folder(work.home),
        index_tag=crowned["index_tag"],
        upstream=json.loads(crowned["upstream"]),
        told={"fingerprints": json.loads(crowned["fingerprints"])},
    )


def _figures(
    decision: "Decision", reason: str, *, champion: str, supported: float, version: int, build: str, lacking: str
) -> dict[str, Figure]:
    """Who reigns and why; where two were compared, by how much."""
    found: dict[str, Figure] = {
        "champion": champion,
        "supported": supported,
        "registry_version": version,
        "replaced": int(bool(decision.crowned)),
        "candidate": decision.candidate,
        "reason": reason,
        "build": build,
    }
    if lacking:
        found[INCOMPLETE] = lacking
    if decision.against.count:
        test = decision.against
        found |= {"candidate_gain": test.difference, "gain_low": test.low, "gain_high": test.high, "p": test.p_value}
    return found


def _reigning(work: Work, crowned: Mapping[str, str]) -> Reigning | None:
    """The reigning champion, if there is one and its checkpoint is still there."""
    stage, _, fingerprint = crowned.get("build", "").partition("/")
    build = read_build(work.home, Node(stage), fingerprint) if fingerprint else None
    if build is None or not any(build.folder(work.home).glob("*.safetensors")):
        return None
    return Reigning(build, crowned)


def _is_same(one: Record, other: Record) -> bool:
    """Whether two builds hold the same weights of the same stage."""
    return (one.stage, one.data_version) == (other.stage, other.data_version)


def _is_out_of_date(work: Work, build: Record) -> bool:
    """Whether what a checkpoint was made from is not what these settings have of it now."""
    return build.upstream != work.input(build.stage).upstream


def _evaluated(work: Work, reigning: Reigning, benchmark: Record) -> tuple["Outcomes", str]:
    """Outcomes of the reigning champion on the index and the questions of today's benchmark, and what is still to be
    played of them: "" if nothing."""
    from visor_core.evaluation.gate import REIGNING

    corpus = work.profile.corpora.development
    inputs = {
        REIGNING: reigning.build.folder(work.home),
        "questions": work.input_folder("questions", corpus) / "questions.parquet",
        "corpus": work.input_folder("page_index", corpus),
        "index_tag": benchmark.index_tag,
    }
    reported = run_worker(work, "champion", inputs)
    lacking = str(reported[work.node.stage].get(INCOMPLETE, ""))
    return _outcomes(work.folder / "results" / f"{REIGNING}.json"), lacking


def _outcomes(path: Path) -> "Outcomes":
    from visor_core.evaluation.gate import outcomes_of
    from visor_core.evaluation.results import read_result

    return outcomes_of(read_result(path))


@check(STAGE, blocking=True)
def the_alias_names_a_usable_checkpoint(build: Finished) -> dg.AssetCheckResult:
    """The registry's alias points at a folder with a model, the one this asset put in force."""
    from visor_core.policies.load import require_checkpoint

    found = build.tracker.champion(project_name(build.profile.name))
    require_checkpoint(build.folder)
    named = found["build"] if found else "none"
    return dg.AssetCheckResult(
        passed=named == build.figures["build"], metadata={"registry": named, "asset": str(build.figures["build"])}
    )
