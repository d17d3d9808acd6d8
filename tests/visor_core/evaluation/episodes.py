"""Small finished episodes built by hand, for the tests of evaluation and of the command line."""

from visor_core.agent.trajectory import Action, Citation, EvidenceEntry, Observation, Trajectory, Turn
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import Completion, ImageRef, Message, Prompt
from visor_core.questions import Fact, Question

PAGE, OTHER = "aaaa/00001", "aaaa/00002"
FACT = Fact("acme staff", "q3", "47", PAGE, Box(0.1, 0.1, 0.3, 0.3))
QUESTION = Question("q1", "acme staff q3", ("47",), "nano", "development", gold_pages=(PAGE,), gold_facts=(FACT,))


def turn(index: int, action: Action, observation: Observation, **completion: int) -> Turn:
    """One turn with a short prompt and the given token counts."""
    return Turn(
        index,
        Prompt((Message("user", ("acme staff q3",)),)),
        Completion("…", token_ids=(1, 2, 3), logprobs=(-0.1, -0.2, -0.3), **completion),
        action,
        observation,
    )


def episode(answer: str, *, question: Question = QUESTION, observation: str = "acme staff q3 47") -> Trajectory:
    """Search, crop, answer on one page; `observation` is what the ledger recorded of it."""
    page = ImageRef(PAGE, 128, 128, FULL_PAGE)
    crop = ImageRef(PAGE, 128, 128, Box(0.0, 0.0, 0.3, 0.3))
    entry = EvidenceEntry(1, PAGE, "acme.pdf", 1, observation)
    return Trajectory(
        trajectory_id=f"t-{question.question_id}",
        question=question,
        strategy="visor",
        policy="by hand",
        checkpoint="none",
        index_tag="tag",
        seed=0,
        turns=(
            turn(0, Action("search", "acme staff"), Observation("page", (page,)), prompt_tokens=40, image_tokens=0),
            turn(1, Action("crop", box=(0, 0, 3, 3)), Observation("crop", (crop,)), prompt_tokens=60, image_tokens=16),
            turn(2, Action("answer", answer), Observation("final"), prompt_tokens=80, image_tokens=32),
        ),
        evidence=(entry,) if observation else (),
        answer=answer,
        citations=(Citation(PAGE, "acme.pdf", 1),),
        outcome="answered",
        seconds=0.5,
    )
