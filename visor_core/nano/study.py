"""Measures one variant of a seed of the study, on development documents or, once all is settled, on test ones.

Temperatures are chosen on development questions; figures are of the split that the profile names (`study.split`). This
module alone opens the test split: its documents lie, with their index, in the build that measures, never as a corpus
that a stage could be given, and every reading is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from visor_core.config.policies import POLICIES, REINFORCED, UNTRAINED
from visor_core.files import write_json
from visor_core.index import (
    EVERY_COLUMN,
    Corpus,
    PageIndex,
    build_index,
    load_embedders,
    register_documents,
    render_pages,
)
from visor_core.index.corpus_settings import with_retriever
from visor_core.nano.held_out import FinalStudy, write_test_world
from visor_core.nano.questions import ask_world
from visor_core.nano.study_figures import FIGURES, Chain, PolicyFigures, Split, VariantFigures
from visor_core.nano.study_variants import is_compared, nano_of
from visor_core.nano.world import World
from visor_core.policies.identity import digest_of

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads the test split: the folder with the log of readings, and the commit of the code that reads."""

    log: Path
    commit: str


def measure(chain: Chain, development: Split | None, reading: Reading, progress: Progress) -> VariantFigures:
    """Measure a variant and keep what was found as `figures.json` beside the figures it was put together from.

    Args:
        development: the development split; needed unless a strategy or an ablation is measured on test.
        reading: used where the split to report on is test.
    """
    profile = chain.profile
    reported = final_split(chain, reading) if profile.study.split == "test" else development
    assert reported is not None
    if is_compared(profile.study.variant):
        progress(f"{REINFORCED.label} on {reported.world.split}")
        figures = VariantFigures(reported.strata, rival=reported.rival(REINFORCED.stage))
    else:
        assert development is not None
        figures = _whole(development, reported, progress)
    if reported is not development:
        reported.index.close()
    write_json(chain.kept / FIGURES, asdict(figures))
    return figures


def _whole(development: Split, reported: Split, progress: Progress) -> VariantFigures:
    policies: dict[str, PolicyFigures] = {}
    for policy in POLICIES:
        progress(f"{policy.label} on {reported.world.split}")
        # An untrained model fails at every temperature, and its episodes run to the turn limit.
        best = 0.0 if policy is UNTRAINED else development.best_temperature(policy.stage)
        policies[policy.short] = reported.policy(policy.stage, best)
    progress(f"probes on {reported.world.split}")
    probes = reported.probes()
    return VariantFigures(
        strata=reported.strata,
        policies=policies,
        reading=probes["reading"],
        recall=probes["recall"],
        ceiling=probes["ceiling"]["supported"],
    )


def final_split(chain: Chain, reading: Reading) -> Split:
    """The documents and questions that nothing was made or chosen on; reading them is logged."""
    profile = chain.profile
    nano, folder = nano_of(profile), chain.kept / "test"
    purpose = f"{profile.study.variant}, settings {digest_of(profile.model_dump(mode='json'))[:8]}"
    study = FinalStudy(reading.log, reading.commit)
    world = write_test_world(study, folder / "pdf", nano, profile.seed, purpose)
    questions = ask_world(world, nano.test_questions, nano, profile.seed)
    return Split(chain, world, questions, index_world(world, chain, folder / "corpus"))


def index_world(world: World, chain: Chain, folder: Path) -> PageIndex:
    """The documents of a split as the stages of a corpus index them, in a folder of their own."""
    profile, corpus = chain.profile, Corpus(folder)
    config = with_retriever(profile.index, chain.folders["retriever"])
    register_documents(
        corpus, [world.folder], profile.documents, partition_of=lambda path: path.parent.name, exactly=True
    )
    render_pages(corpus, profile.documents)
    report = build_index(corpus, config, load_embedders(config), drop=(EVERY_COLUMN,))
    return PageIndex.under(folder, report.index_tag, profile)
