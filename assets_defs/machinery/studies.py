"""What a study has made under VISOR_HOME, put together into its tables; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from assets_defs.machinery.attempts import attempts_of
from assets_defs.machinery.builds import Builds, Record
from assets_defs.machinery.graph import is_built
from assets_defs.machinery.stage import Node
from visor_core.config import Home, Profile
from visor_core.config.policies import REINFORCED, UNTRAINED, WARM_STARTED
from visor_core.files import write_json, write_text
from visor_core.nano.ablations import ablation_of, inference_of, is_as_trained, retrained_of
from visor_core.nano.rivals import budgets_of, neutral_profile, rivals_of
from visor_core.nano.study_variants import (
    FINAL,
    MAIN,
    Split,
    budget_of,
    is_rival,
    named,
    nano_of,
    tiers_of,
    variant_profile,
)

if TYPE_CHECKING:
    from visor_core.nano.study_figures import RivalFigures, SeedFigures, VariantFigures

Kind = Literal["study", "long", "rivals", "inference", "retrained"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The tables of a study."""
FIGURES = Node("study_figures")
TIMED = {
    UNTRAINED.short: (UNTRAINED.stage,),
    WARM_STARTED.short: ("teacher_trajectories", "sft_dataset", WARM_STARTED.stage),
    REINFORCED.short: (REINFORCED.stage,),
    "retriever": ("retriever",),
}
"""The stages whose time stands under a name of the tables."""


def study_folder(home: Home) -> Path:
    """Where tables, the calibration and the log of readings lie."""
    return home.root / "study"


def variant_names(profile: Profile, kind: Kind, split: Split) -> tuple[str, ...]:
    """The variants of which a table is made.

    Raises:
        ConfigError: if `study.rivals`, `study.inference` or `study.retrained` is wrong.
    """
    variants: dict[Kind, Callable[[], Iterable[str]]] = {
        "study": lambda: (MAIN,),
        "long": lambda: tiers_of(profile).values(),
        "rivals": lambda: rivals_of(profile),
        "inference": lambda: inference_of(profile),
        "retrained": lambda: retrained_of(profile),
    }
    return tuple(named(variant, split) for variant in variants[kind]())


def profile_of(profile: Profile, home: Home, name: str, seed: int) -> Profile:
    """The profile of a variant, with the recorded steps where it is a strategy of the comparison.

    Raises:
        ConfigError: as `variant_profile` and `budgets_of`.
    """
    nano_of(profile)
    rival = is_rival(name.removesuffix(FINAL))
    budgets = budgets_of(neutral_profile(profile), study_folder(home)) if rival else None
    return variant_profile(profile, name, seed, budgets)


def is_measured(profile: Profile, home: Home, name: str, seed: int) -> bool:
    """Whether the figures of a variant stand."""
    return is_built(FIGURES, profile_of(profile, home, name, seed), home)


def write_table(profile: Profile, home: Home, kind: Kind, split: Split, seeds: Sequence[int], commit: str) -> str:
    """Write a study's table as `<kind>-<split>.md` and its figures as `<kind>-<split>.json`; returns the table.

    Raises:
        DataError: if a variant of a seed is not measured.
    """
    from visor_core.nano.rivals_table import rivals_markdown
    from visor_core.nano.study_table import long_markdown, study_markdown

    data: object
    if kind == "rivals":
        neutral = neutral_profile(profile)
        rivals = [
            _rival_figures(profile, home, split, seed, {name: name for name in rivals_of(profile)}) for seed in seeds
        ]
        budgets = budgets_of(neutral, study_folder(home))
        table = rivals_markdown(rivals, budgets, profile.study.neutral, split, commit)
        data = [asdict(found) for found in rivals]
    elif kind in ("inference", "retrained"):
        table, data = _ablations(profile, home, kind, split, seeds, commit)
    elif kind == "long":
        tiers = {head: named(variant, split) for head, variant in tiers_of(profile).items()}
        results = {head: [_seed_figures(profile, home, name, seed) for seed in seeds] for head, name in tiers.items()}
        steps = {head: budget_of(profile_of(profile, home, name, seeds[0])) for head, name in tiers.items()}
        table = long_markdown(results, steps, split, commit)
        data = {head: [asdict(found) for found in figures] for head, figures in results.items()}
    else:
        found = [_seed_figures(profile, home, named(MAIN, split), seed) for seed in seeds]
        table = study_markdown(found, split, commit)
        data = [asdict(figures) for figures in found]
    folder = study_folder(home)
    write_text(folder / f"{kind}-{split}.md", table)
    write_json(folder / f"{kind}-{split}.json", data)
    return table


def _seed_figures(profile: Profile, home: Home, name: str, seed: int) -> SeedFigures:
    from visor_core.nano.study_figures import SeedFigures

    variant = profile_of(profile, home, name, seed)
    found, timing = _figures(variant, home), _Timing(variant, home)
    return SeedFigures(
        seed=seed,
        strata=found.strata,
        policies=found.policies,
        reading=found.reading,
        recall=found.recall,
        ceiling=found.ceiling,
        seconds={name: timing.seconds(*stages) for name, stages in TIMED.items()},
        interrupted=tuple(name for name, stages in TIMED.items() if timing.interrupted(*stages)),
        commits=timing.commits(),
    )


def _ablations(
    profile: Profile,
    home: Home,
    kind: Literal["inference", "retrained"],
    split: Split,
    seeds: Sequence[int],
    commit: str,
) -> tuple[str, list[dict[str, object]]]:
    """The table of ablations and its figures; a page with plots is written beside them."""
    from visor_core.nano.ablations_table import ablations_html, ablations_markdown

    names = inference_of(profile) if kind == "inference" else retrained_of(profile)
    variants = {ablation_of(name): name for name in names}
    found = [_rival_figures(profile, home, split, seed, variants) for seed in seeds]
    same = {name for name in variants if is_as_trained(profile, name)}
    write_text(study_folder(home) / f"{kind}-{split}.html", ablations_html(found, kind, split, commit, same))
    return ablations_markdown(found, kind, split, commit, same), [asdict(figures) for figures in found]


def _rival_figures(profile: Profile, home: Home, split: Split, seed: int, named_as: Mapping[str, str]) -> RivalFigures:
    """The figures of one seed of strategies, or ablations; `named_as` gives the variant that each is."""
    from visor_core.nano.study_figures import RivalFigures

    variants = {name: profile_of(profile, home, named(variant, split), seed) for name, variant in named_as.items()}
    found = {name: _figures(variant, home) for name, variant in variants.items()}
    timings = {name: _Timing(variant, home) for name, variant in variants.items()}
    warm, reinforced = TIMED[WARM_STARTED.short], TIMED[REINFORCED.short]
    return RivalFigures(
        seed=seed,
        strata=next(iter(found.values())).strata,
        greedy={name: figures.rival["greedy"] for name, figures in found.items()},
        sampled={name: figures.rival["sampled"] for name, figures in found.items()},
        seconds={name: (timing.seconds(*warm), timing.seconds(*reinforced)) for name, timing in timings.items()},
        interrupted=tuple(name for name, timing in timings.items() if timing.interrupted(*warm, *reinforced)),
        commits=tuple(sorted({commit for timing in timings.values() for commit in timing.commits()})),
    )


def _figures(variant: Profile, home: Home) -> VariantFigures:
    from visor_core.nano.study_figures import read_figures

    return read_figures(Builds(home, variant).read(FIGURES).folder(home))


class _Timing:
    """How long the stages of a variant took, at which commits, and whether a process was killed in them."""

    def __init__(self, variant: Profile, home: Home) -> None:
        self._home = home
        builds = Builds(home, variant)
        self._records = {stage: builds.read(Node(stage)) for stages in TIMED.values() for stage in stages}

    def seconds(self, *stages: str) -> float:
        """Seconds over all attempts that came to an end."""
        return sum(self._attempts(stage)[0] for stage in stages)

    def interrupted(self, *stages: str) -> bool:
        """Whether an attempt came to none."""
        return any(self._attempts(stage)[1] for stage in stages)

    def commits(self) -> tuple[str, ...]:
        """The commits that the stages were run at, as far as they are recorded."""
        return tuple(sorted({found for record in self._records.values() if (found := _commit(record, self._home))}))

    def _attempts(self, stage: str) -> tuple[float, bool]:
        record = self._records[stage]
        found = attempts_of(record.build_folder(self._home))
        return found.seconds or record.seconds, found.interrupted


def _commit(record: Record, home: Home) -> str:
    """The commit in a build's lineage, with `+changes` where the code differed from it."""
    lineage = json.loads((record.build_folder(home) / "lineage.json").read_text(encoding="utf-8"))
    code = lineage.get("code", {})
    return f"{code['commit'][:7]}{'+changes' if code['dirty'] else ''}" if code.get("commit") else ""
