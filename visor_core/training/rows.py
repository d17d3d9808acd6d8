"""Turn rows: a rollout of T turns becomes T training rows, each scored under its own rebuilt context.

Source: SCoRE (arXiv 2609.15800), "every turn is one row (prompt C_t, response y_t)". Only tokens the policy sampled are
in `completion_ids`; everything else (evidence, images, injected prompts, retry messages, a forced prefix) is in
`prompt_ids` and carries no loss. A token sampled in turn t and shown again inside E_t+1 is thus trained once.
Rows hold image references, never pixels, so they are small enough to send between processes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from visor_core.agent.trajectory import ActionKind, Trajectory, Turn
from visor_core.errors import DataError
from visor_core.policies.base import ImageRef, Prompt, Sampling
from visor_core.policies.encoding import Encoder
from visor_core.policies.replies import after_prefix
from visor_core.scoring.crops import Region, gold_regions, matches
from visor_core.training.rewards.answer import answer
from visor_core.training.rewards.base import RewardContext

Section = Literal["think", "search", "select", "bbox", "answer", "other"]

_SECTIONS = re.compile(r"<(think|search|select|bbox|answer)>.*?(?:</\1>|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One row.

    `rollout` counts rollouts of the step, `group` names the question's group, `turn` is the turn's index.
    `completion_ids`, `old_logprobs` and `mask` have one entry a sampled token; `old_logprobs` is empty where the engine
    gives none. `mask` is False for a token that must not be trained. `images` are those of the prompt, in order.
    """

    rollout: int
    group: str
    turn: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    images: tuple[ImageRef, ...]
    old_logprobs: tuple[float, ...]
    mask: tuple[bool, ...]
    action: ActionKind = "invalid"

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def content(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[ImageRef, ...]]:
        """All that the model's log-probabilities depend on; rows with the same content are scored once."""
        return self.prompt_ids, self.completion_ids, self.images


def rows_of(trajectory: Trajectory, rollout: int = 0) -> list[TurnRow]:
    """The rows of one rollout; turns without a sampled token (forced whole) give none.

    Raises:
        DataError: if a turn's log-probabilities do not match its tokens.
    """
    rows = []
    for turn in trajectory.turns:
        completion = turn.completion
        if not completion.token_ids:
            continue
        if completion.logprobs and len(completion.logprobs) != len(completion.token_ids):
            raise DataError(
                f"turn {turn.index} of trajectory {trajectory.trajectory_id} has {len(completion.token_ids)} tokens "
                f"but {len(completion.logprobs)} log-probabilities: roll it out again"
            )
        rows.append(
            TurnRow(
                rollout=rollout,
                group=trajectory.group_id or trajectory.question.question_id,
                turn=turn.index,
                prompt_ids=completion.prompt_ids,
                completion_ids=completion.token_ids,
                images=turn.prompt.images,
                old_logprobs=completion.logprobs,
                mask=(True,) * len(completion.token_ids),
                action=turn.action.kind,
            )
        )
    return rows


def encode_turn(turn: Turn, encoder: Encoder, *, rollout: int = 0, group: str = "") -> TurnRow:
    """One turn of any teacher as a row for the student: prompt and reply through the student's own processor.

    The reply ends with the tokenizer's end token; a forced prefix stays in the prompt, and what was written before it
    (a thought, prose around the answer) is left out.
    """
    text = after_prefix(turn.completion.text, turn.prompt.forced_prefix, Sampling().thought)
    return encode_reply(
        turn.prompt, text, encoder, rollout=rollout, group=group, turn=turn.index, action=turn.action.kind
    )


def encode_reply(
    prompt: Prompt,
    reply: str,
    encoder: Encoder,
    *,
    rollout: int = 0,
    group: str = "",
    turn: int = 1,
    action: ActionKind = "invalid",
) -> TurnRow:
    """A prompt and the reply to be learned as one row; the end token is added to the reply."""
    encoded = encoder.encode(prompt)
    tokenizer = encoder.tokenizer
    ids = (*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
    return TurnRow(
        rollout=rollout,
        group=group,
        turn=turn,
        prompt_ids=encoded.input_ids,
        completion_ids=tuple(int(token) for token in ids),
        images=prompt.images,
        old_logprobs=(),
        mask=(True,) * len(ids),
        action=action,
    )


def token_sections(pieces: Sequence[str], prefix: str = "") -> list[Section]:
    """The section each token belongs to, from the tokens' texts in order; a tag belongs to its own section.

    A token that straddles two sections belongs to the one its first character is in. `prefix` stands before the first
    token without being sampled: the tag that a forced answer opens with.
    """
    text = prefix + "".join(pieces)
    spans = [(m.start(), m.end(), m.group(1)) for m in _SECTIONS.finditer(text)]
    sections: list[Section] = []
    position = len(prefix)
    for piece in pieces:
        found: Section = "other"
        if piece:
            name = next((name for start, end, name in spans if start <= position < end), "other")
            found = name  # type: ignore[assignment]
        sections.append(found)
        position += len(piece)
    return sections


def turn_rewards(trajectory: Trajectory, context: RewardContext) -> dict[int, float]:
    """Dense reward of each turn's own action, by turn index (the basis of `turn` credit).

    A search earns 1 for a gold page not shown before, a selection 1 for a gold page (the top-ranked one where none was
    offered), a crop 1 for a match of the box asked for with a gold box at IoU ≥ 0.5, an answer its score; a malformed
    turn earns 0.
    """
    question = trajectory.question
    gold, seen = set(question.gold_pages), set[str]()
    boxes = gold_regions(question)
    earned: dict[int, float] = {}
    candidates: tuple[str, ...] = ()
    for turn, chosen in zip(trajectory.turns, trajectory.chosen_regions, strict=True):
        pages = [image.page_id for image in turn.observation.images]
        value = 0.0
        if turn.action.kind == "search":
            value = float(bool((set(pages) & gold) - seen))
            candidates = tuple(pages)
        elif turn.action.kind == "select" and pages:
            value = float(pages[0] in gold if gold & set(candidates) else pages[:1] == list(candidates[:1]))
        elif turn.action.kind == "crop" and chosen is not None:
            value = float(any(matches(Region(chosen.page_id, chosen.box), box) for box in boxes))
        elif turn.action.kind == "answer":
            value = answer(trajectory, context)
        seen.update(pages)
        earned[turn.index] = value if turn.action.well_formed else 0.0
    return earned
