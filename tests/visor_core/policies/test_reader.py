"""The scripted reader: what it takes a question to ask for, which value it reads, and whole episodes on real PDFs."""

from __future__ import annotations

import pytest

from tests.visor_core.agent.real_index import open_index, write_letter, write_report
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import preset
from visor_core.agent.trajectory import Trajectory
from visor_core.code_version import code_behind
from visor_core.config import AgentConfig
from visor_core.errors import ConfigError
from visor_core.index import PageIndex
from visor_core.policies.identity import policy_code
from visor_core.policies.reader import ReaderPolicy
from visor_core.policies.reading import Word, read, understand
from visor_core.questions import Question

READER = "visor_core.policies.reader"
TABLE: list[Word] = [
    ("Region", 0.10, 0.10, 0.18, 0.12), ("2022", 0.40, 0.10, 0.45, 0.12), ("2023", 0.60, 0.10, 0.65, 0.12),
    ("North", 0.10, 0.20, 0.18, 0.22), ("$41", 0.40, 0.20, 0.44, 0.22), ("52%", 0.60, 0.20, 0.64, 0.22),
    ("South", 0.10, 0.24, 0.18, 0.26), ("17", 0.40, 0.24, 0.44, 0.26), ("1,908", 0.60, 0.24, 0.65, 0.26),
    ("7", 0.50, 0.98, 0.51, 0.99),
]  # fmt: skip
"""A table by row and head; a page number at the foot."""


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many staff did Acme have?", "number"),
        ("What percentage of staff left?", "percentage"),
        ("In which year did it close?", "year"),
        ("When was the letter signed?", "date"),
        ("What is the email of the office?", "email"),
        ("What is the case number?", "code"),
        ("What are the regions? Answer in list format.", "list"),
        ("Was the plant closed?", "yes or no"),
        ("Who signed the letter?", "name"),
        ("Where does the ferry land?", "phrase"),
    ],
)
def test_what_a_question_asks_for(question: str, kind: str) -> None:
    assert understand(question).kind == kind


def test_a_cell_is_read_by_its_row_and_head() -> None:
    north = read(understand("How many people lived in North in 2022?"), TABLE)
    south = read(understand("How many people lived in South in 2023?"), TABLE)
    assert north is not None
    assert south is not None
    assert (north.value, south.value) == ("41", "1908")
    assert north.box.as_tuple() == (0.40, 0.20, 0.44, 0.22)
    # people, lived: 1 each and absent; North and 2022, names and numbers: 1.5 each
    assert north.match == pytest.approx(3 / 5)
    assert north.region.as_tuple() == (0.10, 0.10, 0.45, 0.22)


def test_values_are_of_the_kind_asked_for() -> None:
    share = read(understand("What percentage of North?"), TABLE)
    assert share is not None
    assert share.value == "52%"
    assert read(understand("What is the email of North?"), TABLE) is None
    assert read(understand("How many flamingos?"), TABLE) is None  # no word of the question stands there
    assert read(understand("How many in the South?"), [TABLE[6], TABLE[-1]]) is None  # a page number is no value


def test_dates_lists_and_counts_in_words() -> None:
    line = ["Signed", "on", "12", "May", "2021", "by", "three", "partners"]
    words: list[Word] = [(w, 0.1 + 0.08 * i, 0.1, 0.17 + 0.08 * i, 0.12) for i, w in enumerate(line)]
    date, count = (read(understand(q), words) for q in ("When was it signed?", "How many partners signed?"))
    assert date is not None
    assert count is not None
    assert (date.value, count.value) == ("12 May 2021", "3")
    cities: list[Word] = [("Ports:", 0.1, 0.1, 0.2, 0.12)]
    cities += [(w, 0.21 + 0.11 * i, 0.1, 0.31 + 0.11 * i, 0.12) for i, w in enumerate(("Kiel,", "Lübeck,", "Emden"))]
    listed = read(understand("What are the ports?"), cities)
    assert listed is not None
    assert listed.value == "['Kiel', 'Lübeck', 'Emden']"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """A report of two pages and two letters."""
    folder = tmp_path_factory.mktemp("reader")
    write_report(folder / "norvik.pdf")
    write_letter(folder / "harbour.pdf", "Harbour notice", "The ferry to Texel leaves the harbour at noon from pier 4.")
    write_letter(folder / "garden.pdf", "Garden club", "Members meet on Fridays. The club owns 23 apple trees.")
    return open_index(folder / "corpus", sorted(folder.glob("*.pdf")))


def play(index: PageIndex, question: str, config: AgentConfig) -> Trajectory:
    policy = ReaderPolicy(lambda page_id: index.page(page_id).words, config)
    (episode,) = run_reference(Environment(index, config), policy, [Question("q", question, ("",))])
    return episode


def test_it_searches_crops_points_and_cites_what_it_noted(index: PageIndex) -> None:
    episode = play(index, "How many people did Norvik Pumps employ at the end of the year?", AgentConfig())
    assert [turn.action.kind for turn in episode.turns[:3]] == ["search", "crop", "crop"]
    assert episode.turns[-1].action.kind == "answer"
    assert (episode.answer, episode.outcome, episode.well_formed) == ("3118", "answered", True)
    (citation,) = episode.citations
    assert (citation.document, citation.page) == ("norvik.pdf", 1)
    number = next(word for word in index.page(citation.page_id).words if word.text == "3,118")
    assert citation.box is not None
    assert citation.box.x0 < number.x0 < number.x1 < citation.box.x1
    pointed = [chosen for chosen in episode.chosen_regions if chosen is not None][1]
    assert pointed.box.x0 == pytest.approx(number.x0, abs=0.01)
    assert pointed.box.y1 == pytest.approx(number.y1, abs=0.01)


def test_it_refuses_where_nothing_matches(index: PageIndex) -> None:
    episode = play(index, "What is the wingspan of the albatross chick?", AgentConfig())
    assert (episode.answer, episode.outcome) == ("not answerable", "answered")
    assert episode.turns[-1].action.citations == ()
    assert all(turn.action.kind != "crop" for turn in episode.turns)


@pytest.mark.parametrize("strategy", ["unidoc", "vrag", "react", "vanilla"])
def test_it_plays_every_strategy_by_its_rules(index: PageIndex, strategy: str) -> None:
    config = preset(strategy, AgentConfig())
    episode = play(index, "How many apple trees does the garden club own?", config)
    assert (episode.answer, episode.outcome, episode.well_formed) == ("23", "answered", True)
    assert ("select" in [turn.action.kind for turn in episode.turns]) == (strategy == "unidoc")


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 0}, {"window": None}, {"max_turns": 2}, {"evidence": {"enabled": False}}, {"max_images": 1},
        {"first_search": "question"}, {"coordinates": "thousand"}, {"evidence": {"gate": "relevant"}},
        {"intent_injection": False},
    ],
)  # fmt: skip
def test_it_comes_to_an_answer_under_any_setting(index: PageIndex, changes: dict[str, object]) -> None:
    config = AgentConfig.model_validate(changes)
    episode = play(index, "How many apple trees does the garden club own?", config)
    assert (episode.answer, episode.well_formed) == ("23", changes != {"max_turns": 2} or episode.well_formed)
    assert episode.outcome in ("answered", "forced")


def test_the_same_prompts_get_the_same_replies(index: PageIndex) -> None:
    question = "How many people did Norvik Pumps employ?"
    once, again = play(index, question, AgentConfig()), play(index, question, AgentConfig())
    assert [turn.completion.text for turn in once.turns] == [turn.completion.text for turn in again.turns]


def test_it_reads_no_word_outside_what_is_shown(index: PageIndex) -> None:
    """The words it asks for are of pages that the environment has shown it."""
    asked: list[str] = []

    def words_of(page_id: str) -> tuple[Word, ...]:
        asked.append(page_id)
        return index.page(page_id).words

    config = AgentConfig()
    policy = ReaderPolicy(words_of, config)
    (episode,) = run_reference(Environment(index, config), policy, [Question("q", "Where does the ferry land?", ("",))])
    assert asked
    assert set(asked) <= set(episode.pages_seen)


def test_compact_prompts_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"--set agent\.prompts=full"):
        ReaderPolicy(lambda page_id: (), AgentConfig(prompts="compact"))


def test_its_identity_is_its_code_and_nothing_of_the_agent() -> None:
    one, other = (ReaderPolicy(lambda page_id: (), AgentConfig(max_turns=turns)) for turns in (3, 5))
    assert one.identity() == other.identity() == {"engine": "reader", "name": "reader", "code": policy_code(READER)}
    assert "visor_core.policies.reading" in code_behind(READER, within=("visor_core.policies",))
