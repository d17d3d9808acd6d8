"""Asset `teacher_trajectories`: episodes of a teacher in the very environment the policy will act in, the good ones."""

from typing import TYPE_CHECKING

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import sample_rows, table
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import trajectory_facts
from assets_defs.machinery.workspace import Work
from visor_core.config import EvaluationConfig, ServerConfig
from visor_core.errors import ConfigError
from visor_core.index import PageIndex
from visor_core.questions import read_questions, teacher_questions

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.policies.base import Policy

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
    from visor_core.evaluation.runner import evaluate
    from visor_core.trajectories.filters import keep_good
    from visor_core.trajectories.store import TrajectoryWriter, compact, trajectories_version
    from visor_core.trajectories.student import for_student

    corpus = work.profile.corpora.train
    record = work.input("page_index", corpus)
    index = PageIndex.open(
        record.folder(work.home),
        record.index_tag,
        documents=work.profile.documents,
        device=work.profile.index.device,
    )
    questions = teacher_questions(
        read_questions(work.input_folder("questions", corpus) / "questions.parquet"), work.profile
    )
    episodes: list[Trajectory] = []
    student, wanted = work.profile.agent, work.profile.teacher
    played = wanted.plays(student)
    with _teacher(work, index) as teacher:
        result = evaluate(
            teacher,
            Environment(index, played, work.profile.index),
            questions,
            EvaluationConfig(concurrency=work.profile.evaluation.concurrency),
            seed=work.profile.seed,
            # Beside the builds: another filter or scorer asks the teacher, who may be paid, for nothing again.
            store=work.folder.parent / "episodes",
            fresh=work.rebuild,
            progress=work.progress.show,
            on_episodes=episodes.extend,
        )
    filtered = keep_good(episodes, min_steps=wanted.min_steps, max_steps=wanted.max_steps)
    kept, rejected = filtered.kept, filtered.rejected
    if played != student:
        converted = for_student(kept, Environment(index, student, work.profile.index))
        kept, rejected = converted.kept, rejected | converted.rejected
    index.close()
    with TrajectoryWriter(work.folder / "trajectories") as writer:
        for trajectory in kept:
            writer.append(trajectory)
    compact(work.folder / "trajectories")
    figures = {
        "episodes": len(episodes),
        "kept": len(kept),
        **({"failed": result.failed} if result.failed else {}),
        "teacher_supported": round(result.supported_success.estimate, 4),
        "turns_an_episode": round(result.metrics()["turns"], 3),
        **{f"rejected_{reason.replace(' ', '_')}": count for reason, count in sorted(rejected.items())},
    }
    version = trajectories_version(kept)
    work.finish(version, figures, path=work.folder / "trajectories", index_tag=record.index_tag)


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


@check(STAGE, blocking=True)
def most_episodes_are_kept(build: Finished) -> dg.AssetCheckResult:
    """At least half of the teacher's episodes pass the filters."""
    figures = build.figures
    share = float(figures["kept"]) / max(1.0, float(figures["episodes"]))
    return dg.AssetCheckResult(passed=share >= 0.5, metadata={"kept_share": share})


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
