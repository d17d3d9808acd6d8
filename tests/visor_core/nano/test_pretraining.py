"""Pretraining: what image tokens are taught to spell, and that a killed run ends where a whole one does."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.nano_setting import AGENT, INDEX, nano_index
from tests.visor_core.training import forking
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.nano import pretraining
from visor_core.nano.closings import arithmetic_lesson, closing_lesson, pair_lesson, reckoning_lesson, wanted
from visor_core.nano.model import build_model, build_processor
from visor_core.nano.panels import LABELS
from visor_core.nano.pretraining import WORDS, WordSpotter, spelled, tokens_of, train_base_model
from visor_core.nano.probes import probe_reading
from visor_core.nano.questions import make_questions
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.views import lessons, view_of, views
from visor_core.nano.world import COMPANIES, TOPICS, World, write_world
from visor_core.policies.base import Prompt

SHORT = NanoConfig(
    train_corpora=1,
    primer_corpora=1,
    development_corpora=1,
    companies=2,
    topics=3,
    vision_steps=3,
    alignment_steps=3,
    batch_size=8,
)


@pytest.fixture(scope="module")
def primer(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What only the base model reads."""
    return write_world(tmp_path_factory.mktemp("primer"), "primer", SHORT, seed=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A corpus of two companies."""
    return write_world(tmp_path_factory.mktemp("world"), "train", SHORT, seed=0)


def test_the_two_digits_of_a_crop_stand_in_two_image_tokens(world: World) -> None:
    page = next(p for p in world.pages if p.panels and not p.legible)
    panel = page.panels[0]
    targets = spelled(view_of(page, panel.target))
    cells = {WORDS[w]: [t for t in range(16) if targets[t, w]] for w in range(len(WORDS)) if targets[:, w].any()}
    assert cells[panel.label] == [0]
    tens, ones = panel.value
    assert 9 in cells[f"{tens}."]
    assert 10 in cells[f".{ones}"]


def test_a_digit_is_spelled_by_the_numbers_that_have_it_in_its_place() -> None:
    assert tokens_of("sales") == ["sales"]
    assert tokens_of("7.") == ["70", "71", "72", "73", "74", "75", "76", "77", "78", "79"]
    assert tokens_of(".4") == ["14", "24", "34", "44", "54", "64", "74", "84", "94"]
    embedding = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
    spotter = WordSpotter([[0], [1, 2]])
    feature = torch.tensor([[[8.0, 5.0]]])
    expected = torch.tensor([[[8.0 - 3.0, 5.0 * 3.0 - 3.0]]])  # the second word's vector is the mean (0, 3)
    targets = torch.tensor([[[1.0, 0.0]]])
    loss = spotter.loss(feature, embedding, targets).loss
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(expected, targets, reduction="sum")
    assert loss.item() == pytest.approx(by_hand.item())


def test_a_spotter_that_is_right_has_no_loss() -> None:
    spotter = WordSpotter([[4], [7]])
    embedding = torch.zeros(10, 2)
    embedding[4, 0] = embedding[7, 1] = 1.0
    targets = torch.zeros(1, 16, 2)
    targets[0, 3, 0] = targets[0, 5, 1] = 1.0
    with torch.no_grad():
        spotter.bias.fill_(-20.0)
        share = spotter.loss(40.0 * targets, embedding, targets)
        assert float(share.loss) == pytest.approx(0.0, abs=1e-6)
        assert (share.items, share.hits, share.tries) == (16, 4, 4)
        nothing = spotter.loss(torch.zeros_like(targets), embedding, targets)
        assert (nothing.hits, nothing.tries) == (0, 2)


def test_every_page_teaches_its_title_and_its_panels(world: World) -> None:
    kinds = {lesson.kind for view in views(world.pages, 0) for lesson in lessons(view)}
    assert {"title", "reading", "locate"} <= kinds
    page = next(p for p in world.pages if p.panels and not p.legible)
    replies = [lesson.reply for lesson in lessons(view_of(page, page.panels[0].target))]
    assert replies == [f" {page.panels[0].label} {page.panels[0].value}"]


def test_the_primer_holds_legible_pages_of_its_own(world: World, primer: World) -> None:
    assert primer.pages
    assert all(page.legible for page in primer.pages if page.panels)
    assert not {page.page_id for page in world.pages} & {page.page_id for page in primer.pages}


def test_lessons_in_words_put_the_recorded_and_the_read_value_together() -> None:
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    for _ in range(200):
        lesson = reckoning_lesson(("higher", "sum", "difference"), rng)
        _, known, read, question = str(lesson.prompt.messages[0].content[0]).splitlines()
        first, second = int(known.split()[-1]), int(read.split()[-1])
        operation = question.split()[1]
        assert lesson.reply.endswith(f"{second}</think><answer> {_right(operation, first, second)}</answer>")
        assert known.split()[1] == question.split()[2]
        assert first != second
        seen[operation] += 1
    assert len(seen) == 3


def test_bare_arithmetic_is_asked_of_two_different_values() -> None:
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    for _ in range(200):
        lesson = arithmetic_lesson(("higher", "sum", "difference"), rng)
        found = re.fullmatch(r"question (\w+) (\d\d) , (\d\d)", str(lesson.prompt.messages[0].content[0]))
        assert found is not None
        first, second = int(found[2]), int(found[3])
        assert lesson.reply == f"<answer> {_right(found[1], first, second)}</answer>"
        assert first != second
        seen[found[1]] += 1
    assert len(seen) == 3


def _right(operation: str, first: int, second: int) -> int:
    return {"higher": max(first, second), "sum": first + second, "difference": abs(first - second)}[operation]


def _form(prompt: Prompt, reply: str) -> tuple[str, ...]:
    """A turn with its last two actions, names and numbers left out: all that a closing lesson keeps of an episode."""
    messages = [*prompt.messages[:2], *prompt.messages[-2:]]
    parts = [part if isinstance(part, str) else "picture" for m in messages for part in m.content]
    names = rf"\b({'|'.join((*COMPANIES, *TOPICS, *LABELS))})\b"
    return tuple(
        re.sub(r"\b\d\d\b", "value", re.sub(r"\[.*?\]", "box", re.sub(names, "name", p))) for p in (*parts, reply)
    )


def test_closing_lessons_have_the_forms_of_the_agents_own_context(world: World, tmp_path: Path) -> None:
    """Those of all turns of real episodes that crop or read, of one-page and of two-page questions."""
    index = nano_index(tmp_path / "corpus", world.folder)
    teacher = ScriptedTeacher(world, TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0), AGENT)
    questions = make_questions(world, 14, seed=0)
    episodes = run_reference(Environment(index, AGENT, INDEX), teacher, questions)
    lived = {
        _form(turn.prompt, turn.completion.text)
        for episode in episodes
        for turn in episode.turns
        if re.search(r"\d\d</think>|<bbox>", turn.completion.text)
    }
    rng = random.Random(0)
    seen = [view for view in views(world.pages, 0) if wanted(view)]
    drawn = [closing_lesson(rng.choice(seen), rng) for _ in range(200)]
    drawn += [pair_lesson(rng.choice(seen), ("higher",), rng) for _ in range(400)]
    forms = {_form(lesson.prompt, lesson.reply) for lesson in drawn}
    assert lived <= forms
    assert len(lived) >= 6


def test_a_two_page_lesson_goes_on_after_the_first_value_and_answers_after_the_second(world: World) -> None:
    rng = random.Random(0)
    seen = [view for view in views(world.pages, 0) if wanted(view)]
    answered = cropped = 0
    for _ in range(300):
        view = rng.choice(seen)
        lesson = pair_lesson(view, ("higher",), rng)
        ledger, question = str(lesson.prompt.messages[1].content[0]), str(lesson.prompt.messages[-1].content[-1])
        first, second = question.split()[2], question.split()[4]
        read = re.search(r"(\d\d)</think>", lesson.reply)
        known = re.findall(r"\b\d\d\b", ledger)
        if read is None:
            cropped += 1
            sought = lesson.reply.removeprefix("<think> ").split("</think>")[0]
            panel = next(panel for panel in view.page.panels if panel.label == sought.split()[-1])
            assert sought.startswith(f"{second if known else first} ")
            assert [int(n) / 10 for n in re.findall(r"\d+", lesson.reply.split("<bbox>")[1])] == pytest.approx(
                panel.target.as_tuple()
            )
        elif known:
            answered += 1
            assert lesson.reply.endswith(f"<answer> {max(known[0], read[1])}</answer>")
            assert f"<think> {second} " in lesson.reply
            assert first in ledger
        else:
            assert lesson.reply.endswith(f"<search> {second} {question.split()[5]}</search>")
            assert f"<think> {first} " in lesson.reply
    assert 60 < answered < 160
    assert cropped > 20


def test_a_killed_run_ends_where_a_whole_one_does(world: World, primer: World, tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    figures = train_base_model(world, primer, tmp_path / "whole", SHORT, 0, seen.append)

    class KilledError(Exception):
        pass

    def kill(step: dict[str, object]) -> None:
        if step["phase"] == "alignment":
            raise KilledError

    with pytest.raises(KilledError):
        train_base_model(world, primer, tmp_path / "killed", SHORT, 0, kill)
    resumed: list[dict[str, object]] = []
    train_base_model(world, primer, tmp_path / "killed", SHORT, 0, resumed.append)
    assert set(figures) == {"vision_loss", "vision_accuracy", "alignment_loss", "alignment_accuracy"}
    assert [s["step"] for s in seen] == [1, 2, 3, 4, 5, 6]
    assert [s["step"] for s in resumed] == [4, 5, 6]
    first = load_file(tmp_path / "whole" / "model.safetensors")
    second = load_file(tmp_path / "killed" / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "killed" / "training_state.pt").exists()
    probe = probe_reading(tmp_path / "whole", world, number=16)
    assert max(probe.overview, probe.crop, probe.title) <= 0.2


def test_a_batch_is_shared_evenly_and_most_pages_stay_with_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, seen = random.Random(0), Counter[tuple[str, int]]()
    monkeypatch.setattr(pretraining.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(pretraining.dist, "get_world_size", lambda: 3)
    for _ in range(50):
        pages = [f"page-{rng.randrange(40)}" for _ in range(32)]
        shares = []
        for rank in range(3):
            monkeypatch.setattr(pretraining.dist, "get_rank", lambda rank=rank: rank)
            shares.append(pretraining._own(range(32), pages))
        assert [len(share) for share in shares] == [11, 11, 10]
        assert sorted(item for share in shares for item in share) == list(range(32))
        seen.update((pages[item], rank) for rank, share in enumerate(shares) for item in share)
    at_home = sum(max(seen[f"page-{page}", rank] for rank in range(3)) for page in range(40))
    assert at_home > 0.8 * seen.total()


@pytest.mark.slow
def test_two_processes_train_as_one(world: World, primer: World, tmp_path: Path) -> None:
    """The same figures at every step, and weights that differ by rounding; killed and continued, the same weights."""
    seen: list[dict[str, float]] = []
    train_base_model(world, primer, tmp_path / "one", SHORT, 0, seen.append)  # type: ignore[arg-type]
    for name, dies_at in (("two", 0), ("killed", 4)):
        arguments = (world.folder, primer.folder, tmp_path / name, dies_at)
        if dies_at:
            with pytest.raises(AssertionError, match="killed"):
                forking.run("tests.visor_core.nano.pretraining_script", arguments, 2, seconds=300)
            arguments = (*arguments[:3], 0)
        forking.run("tests.visor_core.nano.pretraining_script", arguments, 2, seconds=300)
    both = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))
    assert [step["step"] for step in both] == [1, 2, 3, 4, 5, 6]
    for one, two in zip(seen, both, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=0.01)
        assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)
    alone, together, again = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two", "killed"))
    start = build_model(build_processor().tokenizer, 0).state_dict()
    moved = sum(float((alone[n] - start[n]).norm() ** 2) for n in alone) ** 0.5
    apart = sum(float((alone[n] - together[n]).norm() ** 2) for n in alone) ** 0.5
    assert apart < 0.05 * moved
    assert all(torch.equal(together[name], again[name]) for name in together)
