"""What a study varies. A variant of a seed is a profile like any other, whose stages make and measure its policies.

Builds are found by what they are made of, so what variants have in common (a world, a base model, an index) is made
once; only corpora, which hold one set of settings at a time, get names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from visor_core.config import NanoConfig, Profile, derived
from visor_core.errors import ConfigError
from visor_core.nano.ablations import (
    ablated,
    ablation_of,
    inference_of,
    is_inference,
    is_retrained,
    retrained_of,
)
from visor_core.nano.rivals import RIVALS, Budgets, neutral_profile, rival_profile, rivals_of
from visor_core.policies.identity import digest_of

Split = Literal["development", "test"]
MAIN, LONGER, RICH = "study", "longer", "rich"
"""The main study; the core tier with larger budgets; the rich tier."""
SEEDS = (0, 1, 2)
"""The seeds of the main study and of the comparison where none are named."""
FINAL = "-final"
"""Ends the name of a variant that is measured on the test split."""


def variants_of(profile: Profile) -> tuple[str, ...]:
    """Names of the variants of a profile, each measured on development documents or, by its second name, on test ones.

    Raises:
        ConfigError: if `study.rivals`, `study.inference` or `study.retrained` is wrong.
    """
    names = (MAIN, LONGER, RICH, *rivals_of(profile), *inference_of(profile), *retrained_of(profile))
    return (*names, *(f"{name}{FINAL}" for name in names))


def is_rival(variant: str) -> bool:
    """Whether a variant is a strategy of the comparison, of which less is measured."""
    return variant in RIVALS


def is_compared(variant: str) -> bool:
    """Whether of a variant only the last policy is measured, greedy and at T = 1: a strategy, or an ablation."""
    return is_rival(variant) or is_inference(variant) or is_retrained(variant)


def named(variant: str, split: Split) -> str:
    """The name of a variant measured on a split."""
    return f"{variant}{FINAL}" if split == "test" else variant


def variant_profile(profile: Profile, name: str, seed: int, budgets: Budgets | None = None) -> Profile:
    """The profile of one variant of one seed.

    Args:
        name: one of `variants_of`.
        budgets: training steps of the strategies, where it is one of them; none takes those of visor.

    Raises:
        ConfigError: if there is no such variant, the profile has no section `nano`, or a setting of the study is wrong.
    """
    nano_of(profile)
    if name not in variants_of(profile):
        raise ConfigError(f"the study has no variant {name!r}: choose one of {', '.join(variants_of(profile))}")
    variant = name.removesuffix(FINAL)
    if is_rival(variant):
        chosen = rival_profile(neutral_profile(profile), variant, budgets[variant] if budgets else None)
    elif is_inference(variant):
        chosen = profile  # trained as it is; `ablations.played_agent` is what it plays under
    elif is_retrained(variant):
        chosen = ablated(profile, ablation_of(variant))
    else:
        changes = {MAIN: {}, LONGER: profile.study.long, RICH: profile.study.rich}
        where = {LONGER: "study.long", RICH: "study.rich"}.get(variant, "study")
        chosen = derived(profile, changes[variant], where)
    split: Split = "test" if name.endswith(FINAL) else "development"
    study = chosen.study.model_copy(update={"variant": variant, "split": split})
    return _with_own_corpora(chosen.model_copy(update={"seed": seed, "study": study}), profile)


def _with_own_corpora(chosen: Profile, profile: Profile) -> Profile:
    """Corpora named after the seed and what shapes them; as in the profile where both are the profile's own."""
    shape = _shape(chosen)
    if shape == _shape(profile):
        return chosen
    end = f"-s{chosen.seed}-{digest_of(shape)[:8]}"
    names = {split: f"{getattr(profile.corpora, split)}{end}" for split in ("train", "development")}
    return chosen.model_copy(update={"corpora": chosen.corpora.model_copy(update=names)})


def is_study_corpus(name: str) -> bool:
    """Whether a corpus is one of a variant's, by its name."""
    return re.search(r"-s\d+-[0-9a-f]{8}$", name) is not None


def _shape(profile: Profile) -> dict[str, object]:
    """What the pages and vectors of a synthetic corpus come from."""
    sections = {"seed", "nano", "documents", "index", "model", "threads", "accelerate"}
    return profile.model_dump(mode="json", include=sections)


def nano_of(profile: Profile) -> NanoConfig:
    """The section `nano`.

    Raises:
        ConfigError: if the profile has none.
    """
    if profile.nano is None:
        raise ConfigError(f"the profile {profile.name!r} has no section `nano`: the study needs the nano profile")
    return profile.nano


def budget_of(profile: Profile) -> str:
    """The training budget of a profile in words."""
    nano = nano_of(profile)
    base = f"{nano.vision_steps} + {nano.alignment_steps} base"
    return f"{base}, {profile.sft.steps} SFT and {profile.grpo.steps} GRPO steps"


def tiers_of(profile: Profile) -> Mapping[str, str]:
    """The variants of the longer study, by the heading each has in its table."""
    return {"core, longer": LONGER, "rich": RICH}
