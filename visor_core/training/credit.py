"""Credit assignment: rewards → one advantage and one weight a token. Pure functions on plain numbers.

Maths (GRPO: DeepSeekMath, arXiv 2402.03300; leave-one-out: RLOO, arXiv 2402.14740; rows of turns: SCoRE, arXiv
2609.15800; sections: EVisRAG's RS-GRPO, arXiv 2510.09733). With r_i the reward of rollout i in a group of G,

    A_i = (r_i − mean(r)) / (std(r) + 1e-4),   std with ddof 1 (TRL's convention)           baseline `group`
    A_i = r_i − mean(r without i)              divided by the same std if scaled            baseline `leave_one_out`

`trajectory`: every token of rollout i gets A_i. `turn`: turn t adds λ·Â_it, its own dense reward normalised in the same
way over the group's turns with the same action (never raw: an action that always pays would otherwise always be
reinforced). `section`: a token inside a section gets the advantage of that section's reward, any other token A_i.
`imitation` μ adds μ to every token of a perfect rollout, one that earned all its preset can give: with ρ = 1 that adds
the gradient of μ times its weighted negative log-likelihood (VAPO's loss on positive examples, arXiv 2504.05118).

Every token has one weight that multiplies its policy *and* its KL term. The loss is Σ_tokens w·ℓ / L, with L the
completion tokens of the step and N its rollouts:

    rollout   w = L / (N·len_i), len_i = trained tokens of rollout i over all its turns: a rollout of 8 turns weighs as
              much as one of 2; per-rollout loss  −(1/N) Σ_i 1/(Σ_t |y_it|) Σ_t Σ_k …
    token     w = 1: DAPO (arXiv 2503.14476), all tokens of the step alike
    constant  w = L / (N·C), C a constant: Dr. GRPO (arXiv 2503.20783)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Baseline = Literal["group", "leave_one_out"]
Normalisation = Literal["rollout", "token", "constant"]
CreditMode = Literal["trajectory", "turn", "section"]

STD_EPSILON = 1e-4
"""Added to the standard deviation (TRL's value)."""

SECTION_REWARDS: Mapping[str, tuple[str, ...]] = {
    "think": ("evidence_facts", "coverage"),
    "search": ("pages_found",),
    "select": ("selection",),
    "bbox": ("crop",),
    "answer": ("answer",),
}
"""Which reward components judge a section; several are added up before normalisation."""


@dataclass(frozen=True, slots=True)
class CreditTurn:
    """What credit needs of a row: its trained tokens, its action, its dense reward and its tokens' sections."""

    tokens: int
    action: str = ""
    reward: float = 0.0
    sections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreditRollout:
    """One rollout of a step: its group, total reward, components by name, and turns.

    A malformed rollout has no components and no turn rewards: the format gates dense rewards as it gates the total.
    `perfect`: it earned all that its preset can give.
    """

    group: str
    reward: float
    turns: tuple[CreditTurn, ...]
    rewards: Mapping[str, float] = field(default_factory=dict)
    perfect: bool = False

    @property
    def tokens(self) -> int:
        """Trained tokens over all turns."""
        return sum(turn.tokens for turn in self.turns)


def advantages(values: Sequence[float], baseline: Baseline = "group", scale: bool = True) -> list[float]:
    """Advantages of one group's values; all 0 for a single value.

    Args:
        values: (G,) rewards.
        baseline: mean of the group, or of the others.
        scale: divide by std (ddof 1) + 1e-4.
    """
    count = len(values)
    if count < 2:
        return [0.0] * count
    mean = math.fsum(values) / count
    centred = [v - mean for v in values]
    std = math.sqrt(math.fsum(c * c for c in centred) / (count - 1))
    if baseline == "leave_one_out":
        centred = [c * count / (count - 1) for c in centred]
    return [c / (std + STD_EPSILON) for c in centred] if scale else centred


def by_group(
    keys: Sequence[object], values: Sequence[float], baseline: Baseline = "group", scale: bool = True
) -> list[float]:
    """`advantages` within each set of equal keys, in the order given."""
    members: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        members[key].append(index)
    result = [0.0] * len(values)
    for indices in members.values():
        for index, value in zip(indices, advantages([values[i] for i in indices], baseline, scale), strict=True):
            result[index] = value
    return result


TokenAdvantages = list[list[list[float]]]
"""Per rollout, per turn, per trained token."""


def trajectory_credit(
    rollouts: Sequence[CreditRollout], baseline: Baseline = "group", scale: bool = True
) -> TokenAdvantages:
    """The paper's: all tokens of a rollout share its group advantage."""
    shared = by_group([r.group for r in rollouts], [r.reward for r in rollouts], baseline, scale)
    return [[[a] * turn.tokens for turn in r.turns] for r, a in zip(rollouts, shared, strict=True)]


def turn_credit(
    rollouts: Sequence[CreditRollout], baseline: Baseline = "group", scale: bool = True, turn_weight: float = 0.5
) -> TokenAdvantages:
    """`trajectory_credit` plus `turn_weight` times the turn's own normalised dense reward."""
    shared = trajectory_credit(rollouts, baseline, scale)
    keys = [(r.group, turn.action) for r in rollouts for turn in r.turns]
    own = iter(by_group(keys, [turn.reward for r in rollouts for turn in r.turns], baseline, scale))
    credited: TokenAdvantages = []
    for turns in shared:
        extras = [turn_weight * next(own) for _ in turns]
        credited.append([[a + extra for a in tokens] for tokens, extra in zip(turns, extras, strict=True)])
    return credited


def section_credit(
    rollouts: Sequence[CreditRollout], baseline: Baseline = "group", scale: bool = True
) -> TokenAdvantages:
    """RS-GRPO: each section's tokens get the advantage of the section's own reward, all others the shared one."""
    groups = [r.group for r in rollouts]
    shared = by_group(groups, [r.reward for r in rollouts], baseline, scale)
    own = {
        section: by_group(
            groups, [math.fsum(r.rewards.get(name, 0.0) for name in names) for r in rollouts], baseline, scale
        )
        for section, names in SECTION_REWARDS.items()
    }
    return [
        [[own[s][i] if s in own else shared[i] for s in turn.sections or ("",) * turn.tokens] for turn in r.turns]
        for i, r in enumerate(rollouts)
    ]


def assign(
    rollouts: Sequence[CreditRollout],
    mode: CreditMode,
    *,
    baseline: Baseline = "group",
    scale: bool = True,
    turn_weight: float = 0.5,
    imitation: float = 0.0,
) -> TokenAdvantages:
    """Token advantages under a credit mode, with `imitation` added to those of perfect rollouts."""
    if mode == "trajectory":
        credited = trajectory_credit(rollouts, baseline, scale)
    elif mode == "turn":
        credited = turn_credit(rollouts, baseline, scale, turn_weight)
    else:
        credited = section_credit(rollouts, baseline, scale)
    return [
        [[advantage + imitation for advantage in tokens] for tokens in turns] if rollout.perfect else turns
        for rollout, turns in zip(rollouts, credited, strict=True)
    ]


def informative_groups(
    rollouts: Sequence[CreditRollout],
    mode: CreditMode = "trajectory",
    *,
    turn_weight: float = 0.5,
    imitation: float = 0.0,
    tolerance: float = 1e-9,
) -> set[str]:
    """Groups in which some token has an advantage: the others teach nothing (DAPO's dynamic sampling).

    Under `turn` and `section` credit a group of equal totals may teach by its dense rewards, with `imitation` by being
    perfect.
    """
    # Not divided by a standard deviation, which would blow rounding up.
    credited = assign(rollouts, mode, scale=False, turn_weight=turn_weight, imitation=imitation)
    return {
        rollout.group
        for rollout, turns in zip(rollouts, credited, strict=True)
        if any(abs(advantage) > tolerance for tokens in turns for advantage in tokens)
    }


def token_weights(
    rollouts: Sequence[CreditRollout], normalisation: Normalisation = "rollout", constant: int = 1
) -> list[float]:
    """The weight of every trained token of each rollout; 0 for a rollout without tokens.

    Args:
        rollouts: all rollouts of the step (over all processes).
        constant: Dr. GRPO's constant C, tokens.
    """
    total = sum(r.tokens for r in rollouts)
    count = len(rollouts)
    if normalisation == "token":
        return [1.0 if r.tokens else 0.0 for r in rollouts]
    if normalisation == "constant":
        return [total / (count * constant) if r.tokens else 0.0 for r in rollouts]
    return [total / (count * r.tokens) if r.tokens else 0.0 for r in rollouts]
