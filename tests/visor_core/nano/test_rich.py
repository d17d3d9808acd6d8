"""The rich tier: tables, charts, labels in any order, three pages a question, and questions to be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pymupdf
import pytest
import torch

from tests.nano_setting import AGENT, INDEX, nano_index
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.geometry import FULL_PAGE
from visor_core.index import PageIndex
from visor_core.nano.model import build_tokenizer, vocabulary
from visor_core.nano.pretraining import spelled, train_base_model, words_of
from visor_core.nano.probes import probe_reading
from visor_core.nano.questions import REFUSAL, RICH_SHARES, THEN, ask_world
from visor_core.nano.teacher import ScriptedTeacher, parse_question
from visor_core.nano.views import LEGIBLE_PIXELS, lessons, view_of
from visor_core.nano.world import World, WorldPage, write_world
from visor_core.questions import Question
from visor_core.scoring.facts import supported
from visor_core.training.rewards import score

# Titles are sound: the hashed index of these tests cannot find a page by its picture.
RICH = NanoConfig(
    tier="rich", train_corpora=2, companies=6, topics=5, damaged_titles=0.0,
    vision_steps=2, alignment_steps=2, batch_size=8,
)  # fmt: skip
TURNS = AGENT.model_copy(update={"max_turns": 12, "max_new_tokens": 32})
PERFECT = TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0)


@dataclass(frozen=True)
class Setting:
    """A rich world, its index and its questions."""

    world: World
    index: PageIndex
    questions: Sequence[Question]

    def play(self, config: TeacherConfig, questions: Sequence[Question]) -> list[Trajectory]:
        teacher = ScriptedTeacher(self.world, config, TURNS, seed=1)
        return run_reference(Environment(self.index, TURNS, INDEX), teacher, questions)

    def page(self, partition: str, title: str) -> WorldPage | None:
        return next((p for p in self.world.pages if (p.partition, p.title) == (partition, title)), None)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Two corpora, registered and indexed for real."""
    folder = tmp_path_factory.mktemp("rich")
    world = write_world(folder / "pdf", "train", RICH, seed=4)
    return Setting(world, nano_index(folder / "corpus", folder / "pdf"), ask_world(world, 120, RICH, 0))


def test_the_rich_world_is_seeded_and_differs_from_the_core_one(setting: Setting, tmp_path: Path) -> None:
    again = write_world(tmp_path / "again", "train", RICH, seed=4)
    assert [f.read_bytes() for f in again.files] == [f.read_bytes() for f in setting.world.files]
    core = write_world(tmp_path / "core", "train", RICH.model_copy(update={"tier": "core"}), seed=4)
    assert not {p.page_id for p in core.pages} & {p.page_id for p in again.pages}
    assert {p.layout for p in setting.world.pages} == {"cover", "2x2", "3x2", "big", "table", "bars"}


def test_labels_stand_in_any_order(setting: Setting) -> None:
    orders = {tuple(panel.label for panel in p.panels) for p in setting.world.pages if p.layout == "2x2"}
    assert len(orders) > 3


def test_only_titles_stand_in_the_text_layer(setting: Setting) -> None:
    for page in setting.world.pages:
        with pymupdf.open(setting.world.folder / page.path) as document:
            assert document[page.page - 1].get_text().split() == page.title.split()


def test_names_are_legible_in_the_overview_and_values_in_the_crop_only(setting: Setting) -> None:
    for page in (p for p in setting.world.pages if p.panels and not p.legible):
        overview = view_of(page).marks
        assert {m.word for m in overview if m.head == "label"} == {panel.label.split()[0] for panel in page.panels}
        assert not [m for m in overview if m.head in ("tens", "ones")]
        for panel in page.panels:
            marks = view_of(page, panel.target).marks
            words = [m.word for m in marks]
            assert set(panel.label.split()[:1]) <= set(words)
            tens, ones = panel.value
            assert {f"{tens}.", f".{ones}"} <= set(words)
            assert panel.target.x1 <= 1.0 + 1e-9
            assert panel.target.y1 <= 1.0 + 1e-9
    assert LEGIBLE_PIXELS == 11.0


def test_the_taller_bar_has_the_higher_value(setting: Setting) -> None:
    """The numbers on the bars rise with their values, by the marks of one chart."""
    page = next(p for p in setting.world.pages if p.layout == "bars")
    heights = {}
    for panel in page.panels:
        marks = view_of(page, panel.target).marks
        heights[int(panel.value)] = next(m.y for m in marks if m.head == "tens" and 0.3 < m.x < 0.5)
    ordered = [heights[value] for value in sorted(heights)]
    assert ordered == sorted(ordered, reverse=True)


def _expected(setting: Setting, question: Question) -> str:
    """The answer by the world alone."""
    words = question.question.split()
    operation = words.pop(0) if words[0] in ("higher", "sum", "difference") else ""
    then: list[str] = []
    if THEN in words:
        words, then = words[: words.index(THEN)], words[words.index(THEN) + 1 :]
    companies = [words.pop(0)]
    while words[0] == ",":
        companies.append(words[1])
        words = words[2:]
    pages = [setting.page(question.partition, f"{company} {words[0]}") for company in companies]
    panels = [page.panel(" ".join(words[1:])) if page else None for page in pages]
    if None in panels:
        return REFUSAL
    values = [int(panel.value) for panel in panels if panel]
    if then:
        page = setting.page(question.partition, f"{companies[values.index(max(values))]} {then[0]}")
        panel = page.panel(" ".join(then[1:])) if page else None
        return panel.value if panel else REFUSAL
    combined = {"higher": max(values), "sum": sum(values), "difference": abs(values[0] - values[-1]), "": values[0]}
    return str(combined[operation])


def test_questions_of_every_kind_have_the_worlds_answer(setting: Setting) -> None:
    for question in setting.questions:
        assert question.answers == (_expected(setting, question),), question.question
        assert question.answerable == (question.answers != (REFUSAL,))
        assert len(set(question.gold_pages)) == (question.hops if question.answerable else 0)
    count = {kind: round(share * 120) for kind, share in RICH_SHARES.items()}
    assert sum(not q.answerable for q in setting.questions) == count["unanswerable"]
    assert sum(THEN in q.question.split() for q in setting.questions) == count["then"]
    assert sum(q.hops == 3 for q in setting.questions) == count["then"] + count["triple"]
    layouts = {p.page_id: p.layout for p in setting.world.pages}
    assert {layouts[page] for q in setting.questions for page in q.gold_pages} == {"2x2", "3x2", "big", "table", "bars"}


def test_questions_that_follow_one_another_are_understood() -> None:
    need = parse_question("higher acme , borel sales q1 plan then staff h2 real")
    first, second = need.lookups
    assert need.next({}) == first
    third = need.next({first: 20, second: 30})
    assert third is not None
    assert (third.title, third.field) == ("borel staff", "h2 real")
    assert need.answer({first: 20, second: 30, third: 44}) == 44
    three = parse_question("sum acme , borel , cyan sales q1")
    assert three.subjects == ("acme sales", "borel sales", "cyan sales")
    assert three.answer(dict(zip(three.lookups, (11, 22, 33), strict=True))) == 66


def test_the_teacher_answers_what_can_be_answered_and_refuses_the_rest(setting: Setting) -> None:
    episodes = setting.play(PERFECT, setting.questions)
    answerable = [e for e in episodes if e.question.answerable]
    assert sum(supported(e) for e in answerable) / len(answerable) >= 0.98
    rows = tuple(score_episode(e) for e in episodes)
    result = BenchmarkResult("nano", "train", "t", "", "visor", "tag", 0, 0.0, "v", 1.0, rows)
    assert result.metrics()["refusals"] >= 0.98
    assert result.metrics()["false_refusals"] == 0.0
    assert all(e.well_formed for e in episodes)
    refused = [e for e in episodes if not e.question.answerable]
    assert all(row.supported for row in rows if not row.answerable and row.refused)
    assert {len(e.turns) for e in refused} != {1}


def test_mistakes_are_corrected_in_the_rich_tier(setting: Setting) -> None:
    episodes = setting.play(TeacherConfig(wrong_page=0.1, loose_crop=0.2, wrong_label=0.2), setting.questions[:60])
    assert any(turn.action.verdict == "reject" for e in episodes for turn in e.turns)
    assert sum(supported(e) for e in episodes) / len(episodes) >= 0.85


def test_honest_refusals_earn_credit_where_it_is_asked_for(setting: Setting) -> None:
    """Refusing before the pages were seen earns the honesty weight; refusing with all of them in sight earns none."""
    question = next(q for q in setting.questions if q.answerable and q.hops == 1)
    refuser = _Refusing(setting, looks=False)
    early = run_reference(Environment(setting.index, TURNS, INDEX), refuser, [question])[0]
    refuser = _Refusing(setting, looks=True)
    late = run_reference(Environment(setting.index, TURNS, INDEX), refuser, [question])[0]
    assert (early.answer, late.answer) == (REFUSAL, REFUSAL)
    assert score(early, "nano").reward == 0.0
    assert score(early, "nano", overrides={"honesty": 0.1}).reward == pytest.approx(0.1)
    assert score(late, "nano", overrides={"honesty": 0.1}).reward == 0.0
    absent = next(q for q in setting.questions if not q.answerable)
    right = run_reference(Environment(setting.index, TURNS, INDEX), _Refusing(setting, looks=False), [absent])[0]
    assert score(right, "nano", overrides={"honesty": 0.1}).reward == pytest.approx(0.4)


class _Refusing(ScriptedTeacher):
    """Refuses at once, or with the page it was asked for in sight."""

    def __init__(self, setting: Setting, *, looks: bool) -> None:
        super().__init__(setting.world, PERFECT, TURNS)
        self._looks = looks

    def reply(self, prompt: object, sampling: object) -> str:
        text = super().reply(prompt, sampling)  # type: ignore[arg-type]
        if self._looks and "<search>" in text:
            return text
        return f"<think> nothing</think><answer> {REFUSAL}</answer>"


def test_every_word_of_the_tier_is_one_token() -> None:
    tokenizer = build_tokenizer("rich")
    for word in vocabulary("rich"):
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1, word
    assert set(vocabulary("rich")) > set(vocabulary())
    assert {"plan", "real", THEN, REFUSAL} <= set(vocabulary("rich")) - set(vocabulary())


def test_lessons_teach_reading_tables_and_seeing_that_a_label_is_not_there(setting: Setting) -> None:
    table = next(p for p in setting.world.pages if p.layout == "table")
    asked = {lesson.prompt.messages[0].content[-1]: lesson for lesson in lessons(view_of(table))}
    assert asked[f"question crop {table.panels[0].label}"].kind == "locate"
    (absent,) = [lesson for lesson in asked.values() if lesson.kind == "absent"]
    assert absent.reply.endswith(f" {REFUSAL}")
    label = absent.reply.removesuffix(f" {REFUSAL}").strip()
    assert table.panel(label) is None
    crop = lessons(view_of(table, table.panels[0].target))
    assert f" {table.panels[0].label} {table.panels[0].value}" in [lesson.reply for lesson in crop]
    assert crop[0].prompt.messages[0].content[-1] == f"question read {table.panels[0].label}"
    words = words_of("rich")
    targets = spelled(view_of(table, table.panels[0].target), words)
    assert float(targets[:, words.index("plan")].sum()) == 1.0


def test_the_base_model_trains_on_the_rich_tier(setting: Setting, tmp_path: Path) -> None:
    steps: list[dict[str, float | str]] = []
    train_base_model(setting.world, setting.world, tmp_path / "base", RICH, 0, steps.append)
    assert [s["step"] for s in steps] == [1, 2, 3, 4]
    probe = probe_reading(tmp_path / "base", setting.world, number=8)
    assert 0.0 <= probe.crop <= 1.0
    assert torch.isfinite(torch.tensor([float(s["loss"]) for s in steps])).all()


def test_big_pages_are_the_legible_stratum(setting: Setting) -> None:
    for page in setting.world.pages:
        assert page.legible == (page.layout == "big")
        assert all((panel.target == FULL_PAGE) == page.legible for panel in page.panels)
