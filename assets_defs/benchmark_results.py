"""Asset `benchmark_results`: the untrained, the warm-started and the reinforced policy on development questions."""

import json
from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import table
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.training_process import finish_training, run_worker
from assets_defs.machinery.workspace import Work
from visor_core.config.policies import POLICIES, TRAINED, UNTRAINED, WARM_STARTED
from visor_core.files import write_json

FALL = "fall.json"
"""In a build: how the benchmark fell against the one before, by policy."""
STAGE = Stage(
    name="benchmark_results",
    begins=("assets_defs.benchmark_results", "pipelines.workers.benchmark"),
    reads=("threads", "evaluation", "agent", "index", "model", "grpo.temperature"),
    settings=lambda profile, partition: {
        "evaluation": profile.evaluation.model_dump(mode="json", exclude={"concurrency"}),
        "agent": profile.agent,
        "index": profile.index,
        "model": profile.model,
        "temperature": profile.grpo.temperature,
        "threads": profile.threads,
    },
    needs=(
        *(Need(policy.stage) for policy in POLICIES),
        Need("page_index", "development"),
        Need("questions", "development"),
    ),
)


@asset(STAGE, group="evaluation", kinds={"torch"}, pool="accelerator")
def benchmark_results(work: Work) -> dg.MaterializeResult[None]:
    """How well the untrained, the warm-started and the reinforced policy answer questions on documents no training saw.

    Greedy and sampled. `supported` is the share of questions answered right *with* the pages that prove it; an answer
    that is right without them counts as a shortcut.
    """
    from visor_core.evaluation.behaviour import beside_the_answers
    from visor_core.evaluation.comparison import against_the_warm_start
    from visor_core.evaluation.comparison_text import comparison_markdown
    from visor_core.evaluation.results import read_result

    corpus = work.profile.corpora.development
    index = work.input("page_index", corpus)
    if not work.complete:
        inputs = {
            **{policy.stage: work.input_folder(policy.stage) for policy in POLICIES},
            "questions": work.input_folder("questions", corpus) / "questions.parquet",
            "corpus": index.folder(work.home),
            "index_tag": index.index_tag,
        }
        reported = run_worker(work, "benchmark", inputs)
        finish_training(work, reported, output="results", index_tag=index.index_tag)
    results = {path.stem: read_result(path) for path in sorted((work.folder / "results").glob("*.json"))}
    rows = []
    for name, result in results.items():
        rows.append(
            {
                "policy": name,
                "rule": result.rule,
                "accuracy": result.accuracy.estimate if result.scored else result.rule,
                "supported": result.supported_success.estimate if result.scored else result.rule,
                "shortcut": result.shortcut_rate.estimate if result.scored else result.rule,
                "prompt tokens a turn": result.metrics().get("prompt_tokens_per_turn", "not counted"),
                "questions": len(result.episodes),
                "failed": result.failures,
                "accuracy of all": result.accuracy_of_all.estimate if result.scored else result.rule,
                "left out": ", ".join(f"{reason} {n}" for reason, n in result.left_out_by_reason.items()) or "none",
                **beside_the_answers(result.finished),
            }
        )
    compared = against_the_warm_start(results)
    told = {"comparison": dg.MetadataValue.md(comparison_markdown(compared))} if compared else {}
    return work.result({"results": table(rows), **told})


@check(STAGE, thresholds=("sft_gain",))
def sft_beats_the_untrained_policy(build: Finished) -> dg.AssetCheckResult:
    """Supported success after the warm start is above that of the untrained model by at least `checks.sft_gain`."""
    figures = build.figures
    base, sft = (float(figures[policy.figure("supported")]) for policy in (UNTRAINED, WARM_STARTED))
    return dg.AssetCheckResult(passed=sft >= base + build.profile.checks.sft_gain, metadata={"base": base, "sft": sft})


@check(STAGE)
def the_benchmark_did_not_fall(build: Finished) -> dg.AssetCheckResult:
    """Supported success of no trained policy is below that of the benchmark before beyond the interval: paired on the
    questions that both finished; where they share none, below the interval of the one before."""
    from visor_core.evaluation.gate import fall
    from visor_core.evaluation.results import read_result

    before = _before(build)
    fell: dict[str, str] = {}
    for policy in TRAINED if before is not None else ():
        assert before is not None
        name = f"{policy.run()}.json"
        told = fall(*(read_result(folder / "results" / name) for folder in (before, build.build_folder)))
        fell |= {policy.label: told} if told else {}
    earlier = before.name if before else ""
    write_json(build.build_folder / FALL, {"before": earlier, "fell": fell})
    return dg.AssetCheckResult(
        passed=not fell,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"before": earlier or "none", **fell},
        description=None if before else "there is no benchmark of this profile before this one",
    )


def _before(build: Finished) -> Path | None:
    """The build folder of the profile's newest benchmark that is older than this one."""
    found: list[tuple[str, Path]] = []
    for path in build.build_folder.parent.glob("*/lineage.json"):
        lineage = json.loads(path.read_text(encoding="utf-8"))
        if lineage["profile"] == build.profile.name and lineage["created"] < build.record.created:
            found.append((lineage["created"], path.parent))
    return max(found)[1] if found else None


@check(STAGE)
def no_episode_failed(build: Finished) -> dg.AssetCheckResult:
    """Every episode came to an end: accuracy is over those that did. Where an engine or a server was at fault, the next
    run plays the failed ones again."""
    failed = {name: count for name, count in build.figures.items() if name.endswith("_failed")}
    return dg.AssetCheckResult(passed=not failed, metadata=failed, description=build.record.incomplete or None)


@check(STAGE, blocking=True)
def development_questions_were_not_trained_on(build: Finished) -> dg.AssetCheckResult:
    """No question that was evaluated is among the training questions, and no document is in both corpora."""
    from visor_core.index import PageIndex
    from visor_core.questions import read_questions

    corpora = build.profile.corpora
    ids, documents = {}, {}
    for corpus in (corpora.train, corpora.development):
        path = build.other("questions", corpus).folder / "questions.parquet"
        ids[corpus] = {question.question_id for question in read_questions(path)}
        indexed = build.other("page_index", corpus)
        index = PageIndex.open(indexed.folder, indexed.record.index_tag)
        documents[corpus] = {document.document_id for document in index.documents()}
        index.close()
    shared = len(ids[corpora.train] & ids[corpora.development])
    shared_documents = len(documents[corpora.train] & documents[corpora.development])
    return dg.AssetCheckResult(
        passed=shared == 0 and shared_documents == 0,
        metadata={"shared_questions": shared, "shared_documents": shared_documents},
    )
