"""`--policy NAME`: policies without a model, which need neither checkpoint nor endpoint.

Each is made for the index it is asked about, the profile it plays under and the questions that are put to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.cli.checkpoints import choose_checkpoint
from visor_core.errors import ConfigError

if TYPE_CHECKING:
    from visor_core.agent.environment import SearchIndex
    from visor_core.config import Home, Profile
    from visor_core.index import PageIndex
    from visor_core.policies.base import Policy
    from visor_core.questions import Question

POLICY = typer.Option(
    "",
    "--policy",
    help="Instead of a model: reader, retrieval-only, oracle-pages or oracle-evidence.",
    show_default="a checkpoint or endpoint",
)


def _reader(index: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
    """The scripted reader over the words of the index."""
    from visor_core.policies.reader import ReaderPolicy

    return ReaderPolicy(lambda page_id: index.page(page_id).words, profile.agent)


def _retrieval_only(index: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
    """One search and the nearest value: the floor of a table."""
    from visor_core.policies.baselines import RetrievalOnly

    return RetrievalOnly(lambda page_id: index.page(page_id).words, profile.agent)


def _oracle_pages(index: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
    """The reader on the gold pages: a ceiling of what better search can bring."""
    from visor_core.policies.baselines import Gold, OraclePages

    return OraclePages(lambda page_id: index.page(page_id).words, profile.agent, Gold(questions))


def _oracle_evidence(index: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
    """The gold answer where it is printed: the ceiling."""
    from visor_core.policies.baselines import Gold, OracleEvidence

    return OracleEvidence(lambda page_id: index.page(page_id).words, profile.agent, Gold(questions))


WITHOUT_MODEL: dict[str, Callable[[PageIndex, Profile, Sequence[Question]], Policy]] = {
    "reader": _reader,
    "retrieval-only": _retrieval_only,
    "oracle-pages": _oracle_pages,
    "oracle-evidence": _oracle_evidence,
}
"""The policies without a model by name."""


def index_for(policy: str, index: PageIndex, questions: Sequence[Question]) -> SearchIndex:
    """The index that a policy plays on: that of an oracle finds the gold pages of the questions.

    Raises:
        ConfigError: if an oracle is asked, and no question has gold.
    """
    from visor_core.policies.baselines import ORACLES, Gold, OracleIndex

    if policy not in ORACLES:
        return index
    if not any(question.gold_pages for question in questions):
        raise ConfigError(f"--policy {policy} plays questions whose gold pages are known, in `visor eval`")
    return OracleIndex(index, Gold(questions))


def weights_of(home: Home, policy: str, checkpoint: Path | None, endpoint: str, model: str) -> Path | None:
    """The folder of the checkpoint that is asked for; None for a policy without a model and for an endpoint.

    Raises:
        ConfigError: if the policy is unknown, or a model is named beside it.
        DataError: if there is no such checkpoint.
    """
    if policy:
        if policy not in WITHOUT_MODEL:
            raise ConfigError(
                f"--policy {policy!r} is not one of {', '.join(WITHOUT_MODEL)}; a model needs no --policy"
            )
        named = {"--checkpoint": checkpoint, "--endpoint": endpoint, "--model": model}
        if given := [option for option, value in named.items() if value]:
            raise ConfigError(f"--policy {policy} has no model: leave out {' and '.join(given)}, or --policy")
        return None
    return None if endpoint else choose_checkpoint(home, checkpoint)


def scripted_policy(policy: str, index: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
    """The policy of a name that `weights_of` has checked.

    Raises:
        ConfigError: if the profile is none it can play under.
    """
    return WITHOUT_MODEL[policy](index, profile, questions)
