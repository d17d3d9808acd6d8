"""How components become one reward: the presets `visor`, `score`, `unidoc`, `vrag`, `nano`, `answer_only`.

With a = answer, h = honesty, s = search economy, cov/cmp = ledger coverage and precision, f = evidence facts:

    visor        (a + 0.2·h·[a=0] + 0.5·[all gold pages shown]) · s          VISOR, weights unpublished
    score        cov + 0.2·[cov=1]·cmp + [cov=1]·a − [cov<1]                 SCoRE (arXiv 2609.15800)
    unidoc       [searched, selected, informed]
                 · (0.1 + 0.1·NDCG + 0.1·selection + 0.1·crop + 0.6·a)       UniDoc-RL (arXiv 2604.14967)
    vrag         [searched] · (0.7·a + 0.2·NDCG + 0.1)                       VRAG-RL (arXiv 2505.22019)
    nano         a·(0.4 + 0.6·f) + 0.2·f + 0·h·[a=0]                         the nano world's prototype
    answer_only  a                                                           the control

Two corrections to the published forms: a malformed rollout gets the *minimum of the preset's range* (with `1[format]·r`
it would beat a well-formed one with a negative reward), and the search factor multiplies non-negative sums only. A
rollout before a closed gate gets that minimum too. So the search or selection that opens a gate pays, however useless
its pages; behind open gates one more useless search never raises a reward.

`perception` and `citation` have weight 0 in every preset and are added by `grpo.reward_weights`; so is the honesty of
`nano`, where some questions have no answer (the rich tier).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.errors import ConfigError
from visor_core.training.rewards.answer import answer
from visor_core.training.rewards.base import Reward, RewardContext
from visor_core.training.rewards.citation import citation
from visor_core.training.rewards.crop import crop
from visor_core.training.rewards.evidence_facts import evidence_facts
from visor_core.training.rewards.formatting import well_formed
from visor_core.training.rewards.gates import informed, searched, selected
from visor_core.training.rewards.honesty import honesty
from visor_core.training.rewards.perception import perception
from visor_core.training.rewards.retrieval import (
    candidate_ndcg,
    ledger_coverage,
    ledger_precision,
    pages_found,
    shown_ndcg,
)
from visor_core.training.rewards.searches import search_economy
from visor_core.training.rewards.selection import selection

Components = Mapping[str, float]
Weights = Mapping[str, float]

COMPONENTS: Mapping[str, Reward] = {
    "format": well_formed,
    "searched": searched,
    "selected": selected,
    "informed": informed,
    "answer": answer,
    "honesty": honesty,
    "pages_found": pages_found,
    "coverage": ledger_coverage,
    "precision": ledger_precision,
    "candidate_ndcg": candidate_ndcg,
    "shown_ndcg": shown_ndcg,
    "searches": search_economy,
    "selection": selection,
    "crop": crop,
    "perception": perception,
    "evidence_facts": evidence_facts,
    "citation": citation,
}
"""Every component by name; all are computed and logged with every rollout, whatever the preset uses."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One way to combine components: `combine` for well-formed rollouts with all `gates` open, else `minimum`."""

    name: str
    combine: Callable[[Components, Weights], float]
    weights: Weights = field(default_factory=dict)
    minimum: Callable[[Weights], float] = lambda weights: 0.0
    gates: tuple[str, ...] = ()


def _visor(c: Components, w: Weights) -> float:
    honest = w["honesty"] * c["honesty"] if c["answer"] == 0.0 else 0.0
    found = w["retrieval"] * float(c["pages_found"] >= 1.0)
    return (w["answer"] * c["answer"] + honest + found) * c["searches"]


def _score(c: Components, w: Weights) -> float:
    if c["coverage"] < 1.0:
        return w["coverage"] * c["coverage"] - w["incomplete"]
    return w["coverage"] + w["precision"] * c["precision"] + w["answer"] * c["answer"]


def _unidoc(c: Components, w: Weights) -> float:
    return w["format"] + sum(w[name] * c[name] for name in ("candidate_ndcg", "selection", "crop", "answer"))


def _vrag(c: Components, w: Weights) -> float:
    return w["format"] + w["answer"] * c["answer"] + w["shown_ndcg"] * c["shown_ndcg"]


def _nano(c: Components, w: Weights) -> float:
    gated = c["answer"] * (w["answer"] + w["supported"] * c["evidence_facts"])
    honest = w["honesty"] * c["honesty"] if c["answer"] == 0.0 else 0.0
    return gated + w["evidence_facts"] * c["evidence_facts"] + honest


def _answer_only(c: Components, w: Weights) -> float:
    return w["answer"] * c["answer"]


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("visor", _visor, {"answer": 1.0, "honesty": 0.2, "retrieval": 0.5}),
        Preset(
            "score",
            _score,
            {"coverage": 1.0, "precision": 0.2, "answer": 1.0, "incomplete": 1.0},
            lambda weights: -weights["incomplete"],
        ),
        Preset(
            "unidoc",
            _unidoc,
            {"format": 0.1, "candidate_ndcg": 0.1, "selection": 0.1, "crop": 0.1, "answer": 0.6},
            gates=("searched", "selected", "informed"),
        ),
        Preset("vrag", _vrag, {"answer": 0.7, "shown_ndcg": 0.2, "format": 0.1}, gates=("searched",)),
        Preset("nano", _nano, {"answer": 0.4, "supported": 0.6, "evidence_facts": 0.2, "honesty": 0.0}),
        Preset("answer_only", _answer_only, {"answer": 1.0}),
    )
}
_ADDED = ("perception", "citation")


def resolve(name: str, overrides: Weights | None = None) -> Preset:
    """A preset with some weights replaced, or with `perception` and `citation` added.

    Raises:
        ConfigError: for an unknown preset or weight, or a negative weight.
    """
    if name not in PRESETS:
        raise ConfigError(f"grpo.reward: no preset {name!r}; choose one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    known = {*preset.weights, *_ADDED}
    for key, value in (overrides or {}).items():
        if key not in known:
            raise ConfigError(f"grpo.reward_weights: {key!r} is no weight of {name}; it has {', '.join(sorted(known))}")
        if value < 0:
            raise ConfigError(f"grpo.reward_weights: {key} must not be negative")
    return replace(preset, weights={**preset.weights, **(overrides or {})})


def check_reachable(preset: Preset, agent: AgentConfig) -> None:
    """Refuse a preset whose gates no episode of this configuration can open, so that it would pay nothing at all.

    Raises:
        ConfigError: naming the setting that closes the gate.
    """
    closed = [
        setting
        for gate, setting, open_ in (
            ("searched", "search_enabled", agent.search_enabled or agent.first_search == "question"),
            ("selected", "select_enabled", agent.select_enabled),
        )
        if gate in preset.gates and not open_
    ]
    if closed:
        raise ConfigError(
            f"grpo.reward: {preset.name} pays nothing while agent.{closed[0]} is false: set it true, or take another"
            " reward"
        )


def components(trajectory: Trajectory, context: RewardContext) -> dict[str, float]:
    """Every component of one rollout, by name."""
    return {name: reward(trajectory, context) for name, reward in COMPONENTS.items()}


def combine(preset: Preset, values: Components) -> float:
    """The reward: the preset's minimum for a malformed rollout or one before a closed gate, else its combination."""
    if any(values[name] < 1.0 for name in ("format", *preset.gates)):
        return preset.minimum(preset.weights)
    return preset.combine(values, preset.weights) + sum(preset.weights.get(n, 0.0) * values[n] for n in _ADDED)


def highest(preset: Preset) -> float:
    """The most that a preset gives: every component at its best."""
    return combine(preset, dict.fromkeys(COMPONENTS, 1.0))


def score(
    trajectory: Trajectory, preset: Preset | str, context: RewardContext | None = None, overrides: Weights | None = None
) -> Trajectory:
    """The trajectory with `rewards` (all components) and `reward` (their combination) filled in.

    Raises:
        ConfigError: as `resolve`.
    """
    chosen = resolve(preset, overrides) if isinstance(preset, str) else preset
    values = components(trajectory, context or RewardContext())
    return replace(trajectory, rewards=values, reward=combine(chosen, values))
