"""Hand-made episodes for the training tests: exact pages, boxes, texts and rewards, no environment needed."""

from __future__ import annotations

from collections.abc import Sequence

from tests.tiny_model import IMAGE_SIZE
from visor_core.agent.trajectory import (
    Action,
    ActionKind,
    Citation,
    EvidenceEntry,
    Observation,
    ObservationKind,
    Outcome,
    Trajectory,
    Turn,
)
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import Completion, ImageRef, Message, Prompt
from visor_core.questions import Fact, Question

PANEL = Box(0.1, 0.1, 0.4, 0.4)


def question(
    gold: Sequence[str] = ("p1",),
    *,
    answers: Sequence[str] = ("47",),
    facts: Sequence[Fact] = (),
    boxes: Sequence[Box] = (),
    answerable: bool = True,
    question_id: str = "q",
) -> Question:
    """A question with gold pages."""
    return Question(
        question_id=question_id,
        question="what is acme staff q3 ?",
        answers=tuple(answers),
        answer_format="Exact",
        gold_pages=tuple(gold),
        gold_facts=tuple(facts),
        gold_boxes=tuple(boxes),
        hops=max(1, len(gold)),
        answerable=answerable,
    )


def shown(page: str, box: Box = FULL_PAGE) -> ImageRef:
    """A picture at the tiny model's size."""
    return ImageRef(page, IMAGE_SIZE, IMAGE_SIZE, box)


def turn(
    index: int,
    kind: ActionKind,
    *,
    text: str = "",
    pages: Sequence[str] = (),
    box: Box | None = None,
    returned: ObservationKind | None = None,
    well_formed: bool = True,
    context: Sequence[ImageRef] = (),
    reply: str = "",
    choice: int | None = None,
    added: Sequence[EvidenceEntry] = (),
) -> Turn:
    """One turn; the observation follows from the action unless `returned` says otherwise."""
    usual: dict[str, ObservationKind] = {
        "search": "page" if pages else "exhausted",
        "select": "page",
        "crop": "crop",
        "answer": "final",
        "invalid": "retry",
    }
    images = tuple(shown(page, box or FULL_PAGE) for page in pages)
    reply = reply or f"<think>read {text}</think><{'search' if kind != 'answer' else 'answer'}>{text}</answer>"
    return Turn(
        index=index,
        prompt=Prompt((Message("user", (*context, "what is acme staff q3 ?")),)),
        completion=Completion(text=reply),
        action=Action(kind, text, choice=choice, well_formed=well_formed),
        observation=Observation(returned or usual[kind], images=images, ranking=tuple(pages)),
        evidence_added=tuple(added),
    )


def entry(index: int, page: str, text: str, *, box: Box | None = None) -> EvidenceEntry:
    """A line of the ledger."""
    return EvidenceEntry(index, page, f"{page}.pdf", 1, text, box=box)


def episode(
    asked: Question,
    turns: Sequence[Turn],
    *,
    answer: str = "",
    evidence: Sequence[EvidenceEntry] = (),
    cited: Sequence[str] = (),
    outcome: Outcome = "answered",
    group: str = "",
    name: str = "t",
) -> Trajectory:
    """A finished episode."""
    return Trajectory(
        trajectory_id=name,
        question=asked,
        strategy="visor",
        policy="hand",
        checkpoint="",
        index_tag="",
        seed=0,
        turns=tuple(turns),
        evidence=tuple(evidence),
        answer=answer,
        citations=tuple(Citation(page, f"{page}.pdf", 1) for page in cited),
        outcome=outcome,
        group_id=group,
    )
