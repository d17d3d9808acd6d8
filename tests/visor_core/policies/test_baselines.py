"""The floor and the ceilings of a table, on real PDFs, and the answer format that a prompt states."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.visor_core.agent.real_index import open_index, write_letter, write_report
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.index import PageIndex
from visor_core.policies.base import BatchPolicy
from visor_core.policies.baselines import Gold, OracleEvidence, OracleIndex, OraclePages, RetrievalOnly
from visor_core.policies.reader import ReaderPolicy
from visor_core.questions import Question
from visor_core.trajectories.playing import identity_of

CONFIG = AgentConfig()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """A report of two pages and two letters."""
    folder = tmp_path_factory.mktemp("baselines")
    write_report(folder / "norvik.pdf")
    write_letter(folder / "harbour.pdf", "Harbour notice", "The ferry to Texel leaves the harbour at noon from pier 4.")
    write_letter(folder / "garden.pdf", "Garden club", "Members meet on Fridays. The club owns 23 apple trees.")
    return open_index(folder / "corpus", sorted(folder.glob("*.pdf")))


def _page(index: PageIndex, filename: str, page: int = 1) -> str:
    return next(p.page_id for p in index.pages() if (p.filename, p.page) == (filename, page))


def _play(index: PageIndex, policy: BatchPolicy, asked: Sequence[Question], *, oracle: bool = True) -> list[Trajectory]:
    searched = OracleIndex(index, Gold(asked)) if oracle else index
    return run_reference(Environment(searched, CONFIG), policy, asked)


def _words(index: PageIndex):  # type: ignore[no-untyped-def]
    return lambda page_id: index.page(page_id).words


def test_the_floor_searches_once_and_answers_the_nearest_value(index: PageIndex) -> None:
    asked = [Question("q", "How many apple trees does the club own?", ("23",))]
    (episode,) = _play(index, RetrievalOnly(_words(index), CONFIG), asked, oracle=False)
    assert [turn.action.kind for turn in episode.turns] == ["search", "answer"]
    assert (episode.answer, episode.well_formed, len(episode.pages_seen)) == ("23", True, 1)
    assert [c.document for c in episode.citations] == ["garden.pdf"]


def test_an_oracle_is_shown_the_gold_pages_whatever_the_search_would_find(index: PageIndex) -> None:
    gold = (_page(index, "norvik.pdf", 2), _page(index, "garden.pdf"))
    asked = [
        Question("q", "How many apple trees does the club own?", ("23",), gold_pages=gold),
        Question("none", "What is the price of tea?", ("Not answerable",), answerable=False),
    ]
    episode, refused = _play(index, OraclePages(_words(index), CONFIG, Gold(asked)), asked)
    assert set(episode.pages_seen) == set(gold)
    assert episode.answer == "23"
    assert (refused.answer, len(refused.turns)) == ("not answerable", 1)


def test_the_ceiling_gives_the_gold_answer_where_it_is_printed_once(index: PageIndex) -> None:
    garden, harbour = _page(index, "garden.pdf"), _page(index, "harbour.pdf")
    asked = [
        Question("there", "Which trees are there?", ("23 apple trees",), gold_pages=(garden,)),
        Question("both", "When, and what?", ("['noon', 'Fridays']",), gold_pages=(harbour, garden)),
        Question("elsewhere", "How many pumps?", ("9,999",), gold_pages=(garden,)),
    ]
    there, both, elsewhere = _play(index, OracleEvidence(_words(index), CONFIG, Gold(asked)), asked)
    assert (there.answer, both.answer, elsewhere.answer) == ("23 apple trees", "['noon', 'Fridays']", "not answerable")
    assert [turn.action.kind for turn in there.turns] == ["search", "crop", "answer"]
    assert {c.document for c in both.citations} == {"garden.pdf", "harbour.pdf"}
    (citation,) = there.citations
    word = next(word for word in index.page(garden).words if word.text == "23")
    assert citation.box is not None
    assert citation.box.y0 < word.y0 < word.y1 < citation.box.y1
    assert citation.box.area < 0.2


def test_gold_decides_what_is_kept(index: PageIndex) -> None:
    """A question whose gold is corrected is played anew by an oracle."""
    asked = [Question("q", "Which trees?", ("apple",), gold_pages=(_page(index, "garden.pdf"),))]
    other = [Question("q", "Which trees?", ("apple",), gold_pages=(_page(index, "harbour.pdf"),))]
    one, two = (
        identity_of(
            OraclePages(_words(index), CONFIG, Gold(gold)),
            Environment(OracleIndex(index, Gold(gold)), CONFIG),
            asked,
            0.0,
            0,
        )
        for gold in (asked, other)
    )
    assert one["policy"] != two["policy"]
    assert one["environment"]["content"] != two["environment"]["content"]


def test_a_stated_format_turns_the_reader(index: PageIndex) -> None:
    """The same question, read as a number or as a phrase by what the prompt says, and kept apart by it."""
    config = AgentConfig(answer_format=True)
    answers, identities = [], []
    for form in ("Int", "Str", ""):
        asked = [Question("q", "The club owns apple trees: which?", ("23",), answer_format=form)]
        policy = ReaderPolicy(_words(index), config)
        environment = Environment(index, config)
        answers.append(run_reference(environment, policy, asked)[0].answer)
        identities.append(str(identity_of(policy, environment, asked, 0.0, 0)["questions"]))
    assert answers[0] == "23"
    assert answers[1] == answers[2] != "23"
    assert len(set(identities)) == 3
