"""Asset `teacher_trajectories`: episodes of a teacher in the very environment the policy will act in, the good ones."""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.builds import INCOMPLETE
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import sample_rows, table
from assets_defs.machinery.stage import Figure, Need, Stage
from assets_defs.machinery.tables import trajectory_facts
from assets_defs.machinery.workspace import Work
from visor_core.config import ServerConfig
from visor_core.errors import ConfigError
from visor_core.index import PageIndex
from visor_core.questions import read_questions, teacher_questions

if TYPE_CHECKING:
    from visor_core.agent.environment import Environment
    from visor_core.policies.base import Policy
    from visor_core.questions import Question
    from visor_core.trajectories.playing import Played

REASON = 300
"""Most characters of why a build is incomplete."""
UNASKED = {"trajectories": True, "server": set(ServerConfig.PACE)}
"""How many episodes are wanted in the end, and how fast and at what price a server is asked."""

STAGE = Stage(
    name="teacher_trajectories",
    begins=("assets_defs.teacher_trajectories",),
    reads=("agent", "index", "teacher", "evaluation.concurrency"),
    settings=lambda profile, partition: {
        "agent": profile.agent,
        "index": profile.index,
        "teacher": profile.teacher.model_dump(mode="json", exclude=UNASKED),
    },
    needs=(
        Need("page_index", "train"),
        Need("questions", "train"),
        Need("nano_corpus", when=lambda profile, partition: profile.nano is not None),
    ),
)


@asset(STAGE, group="training", kinds={"parquet"}, pool="accelerator")
def teacher_trajectories(work: Work) -> dg.MaterializeResult[None]:
    """Episodes of a teacher on training questions: search, crop, answer. Only correct and well-formed ones are kept.

    The teacher of `nano` is a script that knows the world; other profiles name a model behind an OpenAI-compatible
    server in the section `teacher`. An interrupted run goes on where it was: no answer is paid for twice.
    """
    if not work.complete:
        _synthesise(work)
    store = work.folder / "trajectories"
    return work.result({**trajectory_facts(store, "episodes"), "sample": table(sample_rows(store))})


def _synthesise(work: Work) -> None:
    """Run the teacher over its training questions (what was finished before a kill is kept), filter, and turn what is
    kept into the student's frame."""
    from visor_core.agent.environment import Environment
    from visor_core.scoring.facts import supported
    from visor_core.trajectories.filters import keep_good
    from visor_core.trajectories.store import TrajectoryWriter, compact, trajectories_version
    from visor_core.trajectories.student import for_student

    corpus = work.profile.corpora.train
    record = work.input("page_index", corpus)
    index = PageIndex.under(record.folder(work.home), record.index_tag, work.profile)
    questions = teacher_questions(
        read_questions(work.input_folder("questions", corpus) / "questions.parquet"), work.profile
    )
    student, wanted = work.profile.agent, work.profile.teacher
    acted = wanted.plays(student)
    with _teacher(work, index) as teacher:
        played = _play(work, teacher, Environment(index, acted, work.profile.index), questions)
    filtered = keep_good(played.episodes, min_steps=wanted.min_steps, max_steps=wanted.max_steps)
    kept, rejected = filtered.kept, filtered.rejected
    if acted != student:
        converted = for_student(kept, Environment(index, student, work.profile.index))
        kept, rejected = converted.kept, rejected | converted.rejected
    index.close()
    store = work.folder / "trajectories"
    shutil.rmtree(store, ignore_errors=True)  # what an earlier, incomplete call kept is among what is kept now
    with TrajectoryWriter(store) as writer:
        for trajectory in kept:
            writer.append(trajectory)
    compact(store)
    failed = [episode for episode in played.episodes if episode.outcome == "error"]
    figures: dict[str, Figure] = {
        "episodes": len(played.episodes),
        "kept": len(kept),
        **({"failed": len(failed)} if failed else {}),
        "teacher_supported": _mean(supported(episode) for episode in played.finished),
        "turns_an_episode": _mean(len(episode.turns) for episode in played.finished),
        **{f"rejected_{reason.replace(' ', '_')}": count for reason, count in sorted(rejected.items())},
    }
    if failed:
        figures[INCOMPLETE] = f"{len(failed)} of {len(played.episodes)} questions not played: {failed[0].error}"[
            :REASON
        ]
    work.finish(trajectories_version(kept), figures, path=store, index_tag=record.index_tag)


def _play(work: Work, teacher: "Policy", environment: "Environment", questions: "Sequence[Question]") -> "Played":
    """The teacher's episodes, those of earlier calls among them; what it costs is added up over all calls."""
    from visor_core.policies.calls import Account, Calls
    from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
    from visor_core.trajectories.playing import folder_of, play

    # Beside the builds: another filter or scorer asks the teacher, who may be paid, for nothing again.
    store = work.folder.parent / "episodes"
    seed = work.profile.seed
    with ExitStack() as held:
        if isinstance(teacher, OpenAICompatiblePolicy):
            calls = held.enter_context(Calls(work.home.calls))
            same = folder_of(store, teacher, environment, questions, 0.0, seed).name
            # Asked anew, it is other work: no reply is reused, and its cost begins at nothing.
            anew = f" begun {datetime.now(UTC).isoformat()}" if work.rebuild else ""
            teacher.charge(Account(calls, "teacher", f"{same}{anew}", reuse=not work.rebuild))
        return play(
            teacher,
            environment,
            questions,
            seed=seed,
            concurrency=work.profile.evaluation.concurrency,
            store=store,
            fresh=work.rebuild,
            progress=work.progress.show,
        )


def _mean(values: Iterable[float]) -> float:
    """Rounded to what a person reads; 0 of none."""
    found = list(values)
    return round(sum(found) / max(1, len(found)), 4)


def _teacher(work: Work, index: PageIndex) -> "Policy":
    """The scripted teacher of the synthetic world, or a model behind an endpoint.

    Raises:
        ConfigError: if the profile names neither.
    """
    if work.profile.nano is not None:
        from visor_core.nano.teacher import ScriptedTeacher
        from visor_core.nano.world import write_world

        folder = work.input_folder("nano_corpus") / "train"
        world = write_world(folder, "train", work.profile.nano, work.profile.seed)
        return ScriptedTeacher(
            world, work.profile.teacher, work.profile.teacher.plays(work.profile.agent), seed=work.profile.seed
        )
    teacher = work.profile.teacher
    if not teacher.endpoint:
        raise ConfigError(
            f"the profile {work.profile.name!r} names no teacher: set teacher.endpoint and teacher.model to an "
            "OpenAI-compatible server and its model"
        )
    from visor_core.policies.load import load_policy

    return load_policy(teacher.model, index, base_url=teacher.endpoint, api_key=teacher.api_key, server=teacher.server)


@check(STAGE)
def every_question_was_played(build: Finished) -> dg.AssetCheckResult:
    """No episode ended because the teacher's budget was spent or its server was away. Run the asset again, the budget
    raised if that was it: what was played is kept, the rest is played."""
    lacking = build.record.incomplete
    return dg.AssetCheckResult(
        passed=not lacking, metadata={"failed": int(build.figures.get("failed", 0))}, description=lacking or None
    )


@check(STAGE, blocking=True, thresholds=("teacher_kept",))
def most_episodes_are_kept(build: Finished) -> dg.AssetCheckResult:
    """At least `checks.teacher_kept` of the teacher's episodes pass the filters, half of them by default."""
    figures = build.figures
    share = float(figures["kept"]) / max(1.0, float(figures["episodes"]))
    return dg.AssetCheckResult(passed=share >= build.profile.checks.teacher_kept, metadata={"kept_share": share})


@check(STAGE, blocking=True)
def no_page_is_from_development(build: Finished) -> dg.AssetCheckResult:
    """No page a training episode saw lies in a document of the development corpus, where that is indexed already."""
    from visor_core.trajectories.store import read_trajectories

    indexed = build.find("page_index", build.profile.corpora.development)
    if indexed is None:
        return dg.AssetCheckResult(passed=True, description="the development corpus is not indexed yet")
    index = PageIndex.open(indexed.folder, indexed.record.index_tag)
    forbidden = {document.document_id for document in index.documents()}
    index.close()
    episodes = read_trajectories(build.folder)
    leaked = sorted({page for t in episodes for page in t.pages_seen if page.rpartition("/")[0] in forbidden})
    return dg.AssetCheckResult(passed=not leaked, metadata={"leaked_pages": len(leaked)})
