"""A home with a real corpus of one PDF and two kept evaluations on it, for the tests of pages that show them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipelines.evaluation_lineage import EvaluationCall, keep_lineage
from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.evaluation.results_by_hand import played, result
from visor_core.agent.trajectory import Citation, Trajectory
from visor_core.config import Home, IndexConfig, Profile
from visor_core.documents.sources import document_id_of
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.index import Corpus, build_index, register_documents, render_pages
from visor_core.index.records import page_id_of
from visor_core.policies.base import ImageRef
from visor_core.policies.identity import digest_of
from visor_core.trajectories.store import TrajectoryWriter


def compared_home(
    root: Path, answers: dict[str, dict[str, str]], *, document: str = "acme report.pdf", gold: str = "47"
) -> Home:
    """Write a home.

    Args:
        answers: answers by question, by the label of the evaluation.
        document: the file name of the one document, of three pages.
    """
    home = Home(root)
    profile = Profile.model_validate({"name": "documents"})
    source = write_pdf(root / "in" / document, ["acme staff q3 47", "acme sales", "acme costs"])
    corpus = Corpus(home.corpus("documents"))
    register_documents(corpus, [source], profile.documents)
    render_pages(corpus, profile.documents)
    tag = build_index(corpus, IndexConfig(embedders=()), []).index_tag
    page = page_id_of(document_id_of(source), 2)
    for label, given in answers.items():
        episodes = [_on(page, episode, document, tag) for episode in played(given, policy=label, gold=gold)]
        found = result(given, policy=label, gold=gold, corpus="documents", index_tag=tag)
        found = replace(found, episodes=tuple(map(score_episode, episodes)))
        with TrajectoryWriter(home.evaluations / "trajectories" / digest_of(found.identity)) as store:
            for episode in episodes:
                store.append(episode)
        _keep(home, found, profile, label)
    return home


def _keep(home: Home, found: BenchmarkResult, profile: Profile, label: str) -> None:
    name = "".join(sign if sign.isalnum() else "-" for sign in label)[:40]
    path = home.evaluations / f"{name}.json"
    found.save(path)
    call = EvaluationCall("nano", "development", "documents", "", "", "transformers", 0.0, None, label)
    keep_lineage(home, path, found, profile, None, call)


def _on(page: str, episode: Trajectory, document: str, tag: str) -> Trajectory:
    """An episode moved to a page of the corpus."""

    def moved(image: ImageRef) -> ImageRef:
        return replace(image, page_id=page)

    turns = tuple(
        replace(turn, observation=replace(turn.observation, images=tuple(map(moved, turn.observation.images))))
        for turn in episode.turns
    )
    facts = tuple(replace(fact, page_id=page) for fact in episode.question.gold_facts)
    return replace(
        episode,
        question=replace(episode.question, gold_pages=(page,), gold_facts=facts),
        turns=turns,
        evidence=tuple(replace(entry, page_id=page, document=document) for entry in episode.evidence),
        citations=(Citation(page, document, 2),),
        corpus="documents",
        index_tag=tag,
    )
