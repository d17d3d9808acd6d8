"""A teacher's episodes as the student would have played them: boxes in the student's own frame, contexts rebuilt.

Teacher and student may write boxes in different units (Qwen3-VL thousandths, Qwen2.5-VL pixels) and be shown pages at
different sizes. Each reply is played again in the student's environment on the same index, its box mapped from the page
as the teacher saw it to the page as the student sees it, so that contexts, crops and ledger are the student's. Left
out: coordinates that a thought mentions in prose.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from visor_core.agent.actions import with_box
from visor_core.agent.correction import frame_of
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState, citations
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.config import AgentConfig
from visor_core.trajectories.filters import Filtered
from visor_core.trajectories.replay import config_of

DIFFERENT = "other for the student"
"""Why an episode is left out: a reply does not do for the student what it did for the teacher (a box so small that the
student's units cannot hold it, a crop that is a repeat at other sizes)."""


def for_student(trajectories: Iterable[Trajectory], environment: Environment) -> Filtered:
    """Well-formed episodes of a teacher as the student's, in order; those that cannot be are counted."""
    kept = []
    rejected: Counter[str] = Counter()
    for trajectory in trajectories:
        converted = as_student(trajectory, environment)
        if converted is None:
            rejected[DIFFERENT] += 1
        else:
            kept.append(converted)
    return Filtered(tuple(kept), dict(rejected))


def as_student(trajectory: Trajectory, environment: Environment) -> Trajectory | None:
    """One well-formed episode as the student's; none where one of its turns would have come out differently.

    Args:
        environment: the student's, on the index the teacher searched.
    """
    if not trajectory.well_formed:
        return None
    teacher = config_of(trajectory)
    state = environment.start(trajectory.question)
    for n, turn in enumerate(trajectory.turns[len(state.turns) :], start=len(state.turns)):
        text = _reply(turn, EpisodeState(trajectory.question, trajectory.turns[:n]), state, teacher, environment.config)
        # Tokens are the teacher's, of another context: the student's encoder makes its own.
        completion = replace(turn.completion, text=text, token_ids=(), logprobs=(), prompt_ids=())
        state = environment.step(state, completion)
    if [_course(turn) for turn in state.turns] != [_course(turn) for turn in trajectory.turns]:
        return None
    config = environment.config.model_dump_json()
    return replace(
        trajectory,
        trajectory_id=hashlib.sha256(f"{trajectory.trajectory_id} {config}".encode()).hexdigest()[:16],
        turns=state.turns,
        evidence=state.evidence.entries,
        answer=state.turns[-1].action.text if state.answered else "",
        citations=citations(state, environment.facts),
        config=config,
    )


def _reply(turn: Turn, before: EpisodeState, state: EpisodeState, teacher: AgentConfig, student: AgentConfig) -> str:
    """A reply of the teacher with its box, if it has one, in the student's frame."""
    seen, shown = before.current_page, state.current_page
    if turn.action.box is None or seen is None or shown is None:
        return turn.completion.text
    corners = frame_of(seen, teacher.coordinates).to_page(*turn.action.box)
    return with_box(turn.completion.text, frame_of(shown, student.coordinates).in_units(*corners))


def _course(turn: Turn) -> tuple[object, ...]:
    """What a turn did, whatever the units and sizes."""
    pages = [image.page_id for image in turn.observation.images]
    kinds = (turn.action.kind, turn.action.text, turn.action.well_formed, turn.observation.kind, turn.observation.fault)
    return (*kinds, pages, [entry.kind for entry in turn.evidence_added])
