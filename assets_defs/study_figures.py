"""Asset `study_figures`: what a study measures of one variant of a seed; only a variant's profile has it."""

from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.training_process import finish_training, run_worker
from assets_defs.machinery.workspace import Work
from visor_core.config import Profile
from visor_core.config.policies import POLICIES
from visor_core.nano.ablations import played_agent
from visor_core.nano.study_variants import is_compared

READ = (*(policy.stage for policy in POLICIES), "retriever", "nano_corpus")
"""Stages whose outputs are measured, or measured with."""


def reads_development(profile: Profile, partition: str = "") -> bool:
    """Whether development questions are asked: to report on them, or to choose temperatures on them."""
    return profile.study.split == "development" or not is_compared(profile.study.variant)


STAGE = Stage(
    name="study_figures",
    begins=("assets_defs.study_figures", "pipelines.workers.study"),
    reads=("threads", "agent", "documents", "index", "model", "nano", "study.variant", "study.split"),
    settings=lambda profile, partition: {
        "measured": "rival" if is_compared(profile.study.variant) else "policies",
        "split": profile.study.split,
        "world": profile.nano.world() if profile.nano else {},
        "agent": played_agent(profile),
        "documents": profile.documents,
        "index": profile.index,
        "model": profile.model,
        "threads": profile.threads,
    },
    needs=(
        *(Need(stage) for stage in READ),
        Need("page_index", "development", when=reads_development),
        Need("questions", "development", when=reads_development),
    ),
    applies=lambda profile: profile.nano is not None and bool(profile.study.variant),
)


@asset(STAGE, group="study", kinds={"torch"}, pool="accelerator")
def study_figures(work: Work) -> dg.MaterializeResult[None]:
    """Outcomes question by question of a variant's policies, and what its base model and its search can do."""
    if not work.complete:
        inputs: dict[str, str | Path] = {stage: work.input_folder(stage) for stage in READ}
        tag = ""
        if reads_development(work.profile):
            corpus = work.profile.corpora.development
            index = work.input("page_index", corpus)
            tag = index.index_tag
            inputs |= {
                "questions": work.input_folder("questions", corpus) / "questions.parquet",
                "corpus": index.folder(work.home),
                "index_tag": tag,
            }
        reported = run_worker(work, "study", inputs)
        finish_training(work, reported, output="figures", index_tag=tag)
    return work.result()


@check(STAGE)
def every_question_has_its_outcomes(build: Finished) -> dg.AssetCheckResult:
    """Each run holds one outcome for every question of the split."""
    from visor_core.nano.study_figures import read_figures

    found = read_figures(build.folder)
    runs = [*found.rival.values(), *(p.greedy for p in found.policies.values())]
    counts = {len(run.right) for run in runs}
    return dg.AssetCheckResult(
        passed=counts == {len(found.strata.hops)}, metadata={"questions": len(found.strata.hops), "runs": len(runs)}
    )
