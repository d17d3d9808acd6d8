"""What the ablations leave out of visor, as settings of its agent: parts switched off, other windows, other strategies.

*Inference-only* plays one checkpoint, trained under the profile's own agent, under each of these settings: what a part
does at play for a policy that has learnt with it. *Retrained* trains a policy under each: what the part is worth.
`trained` is the profile's own agent, which all others are compared with; a setting that the profile has already plays
the same episodes, and its table says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visor_core.agent.strategies import preset
from visor_core.config import AgentConfig, Profile, derived
from visor_core.errors import ConfigError

TRAINED = "trained"
INFERENCE, RETRAINED = "inference-", "retrained-"
"""How the variants of the two studies begin."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    TRAINED: {},
    "window-1": {"agent.window": 1},
    "window-2": {"agent.window": 2},
    "window-3": {"agent.window": 3},
    "window-all": {"agent.window": None, "agent.context_tokens": None},
    "no-evidence": {"agent.evidence.enabled": False},
    "no-correction": {"agent.correction": False},
    "no-intent": {"agent.intent_injection": False},
    "no-verification": {"agent.verification_search": False},
}
"""Settings of the profile by dotted key."""
STRATEGIES = ("unidoc", "vrag", "react", "vanilla")
"""The strategies that rival visor, by their presets."""
ABLATIONS = (*SETTINGS, *STRATEGIES)


def ablations_of(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The ablations a profile asks for, the agent as trained first.

    Raises:
        ConfigError: naming the setting, if one is unknown or `trained` is not the first.
    """
    if unknown := [name for name in names if name not in ABLATIONS]:
        raise ConfigError(f"{where}: no ablation {unknown[0]!r}; choose among {', '.join(ABLATIONS)}")
    if tuple(names[:1]) != (TRAINED,):
        raise ConfigError(f"{where} must begin with {TRAINED}: the others are compared with it")
    return tuple(names)


def inference_of(profile: Profile) -> tuple[str, ...]:
    """The variants of the inference-only study.

    Raises:
        ConfigError: as `ablations_of`.
    """
    return tuple(f"{INFERENCE}{name}" for name in ablations_of(profile.study.inference, "study.inference"))


def retrained_of(profile: Profile) -> tuple[str, ...]:
    """The variants of the retrained study.

    Raises:
        ConfigError: as `ablations_of`.
    """
    return tuple(f"{RETRAINED}{name}" for name in ablations_of(profile.study.retrained, "study.retrained"))


def is_inference(variant: str) -> bool:
    """Whether a variant only plays otherwise than it was trained."""
    return variant.startswith(INFERENCE)


def is_retrained(variant: str) -> bool:
    """Whether a variant is an ablation that is trained."""
    return variant.startswith(RETRAINED)


def ablation_of(variant: str) -> str:
    """The ablation of a variant: its name without the study's."""
    return variant.removeprefix(INFERENCE).removeprefix(RETRAINED)


def ablated(profile: Profile, name: str) -> Profile:
    """The profile under an ablation."""
    if name in STRATEGIES:
        return profile.model_copy(update={"agent": preset(name, profile.agent)})
    return derived(profile, SETTINGS[name], f"the ablation {name}")


def played_agent(profile: Profile) -> AgentConfig:
    """The agent whose episodes are measured: the profile's own but for a variant that is inference-only."""
    variant = profile.study.variant
    return ablated(profile, ablation_of(variant)).agent if is_inference(variant) else profile.agent


def is_as_trained(profile: Profile, name: str) -> bool:
    """Whether an ablation changes nothing of a profile's agent."""
    return ablated(profile, name).agent == profile.agent
