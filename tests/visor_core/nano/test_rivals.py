"""The comparison of strategies: what each is, equal time, and what counts as a difference."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from tests.nano_setting import AGENT, INDEX, nano_index
from tests.visor_core.nano.study_figures_by_hand import outcomes
from tests.visor_core.nano.test_study import tiny
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import NanoConfig, RivalBudget, TeacherConfig
from visor_core.errors import ConfigError
from visor_core.nano.model import IMAGE_TOKENS, build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.rivals import (
    RIVALS,
    as_settings,
    budgets_of,
    neutral_profile,
    rival_profile,
    rivals_of,
)
from visor_core.nano.rivals_table import difference, rivals_markdown
from visor_core.nano.study_figures import RivalFigures, Strata
from visor_core.nano.study_table import STRATA
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.tiles import PAGE_SIDE, TILES, with_tiles
from visor_core.nano.world import write_world
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import load_checkpoint
from visor_core.scoring.facts import supported
from visor_core.trajectories.filters import keep_good

PERFECT = TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0)


@pytest.mark.parametrize("name", list(RIVALS))
def test_the_teacher_plays_every_strategy_by_its_own_rules(name: str, tmp_path: Path) -> None:
    """Every strategy has right, well-formed lessons whose facts were stated; what it forgoes, it does not use."""
    agent = RIVALS[name](AGENT)
    world = write_world(tmp_path / "pdf", "train", NanoConfig(train_corpora=1, companies=4, topics=3), seed=2)
    index = nano_index(tmp_path / "corpus", tmp_path / "pdf")
    questions = make_questions(world, 24, seed=5)
    config = TeacherConfig(wrong_page=0.2, loose_crop=0.2, wrong_label=0.1)
    for teacher, least in ((PERFECT, 0.95), (config, 0.6)):
        policy = ScriptedTeacher(world, teacher, agent, seed=1)
        episodes = run_reference(Environment(index, agent, INDEX), policy, questions)
        assert sum(map(supported, episodes)) / len(episodes) >= least
        assert len(keep_good(episodes, min_steps=2, max_steps=9).kept) >= least * len(episodes)
    turns = [turn for episode in episodes for turn in episode.turns]
    assert any(turn.action.kind == "crop" for turn in turns) == agent.crop_enabled
    assert any(turn.action.verdict for turn in turns) == agent.evidence.enabled
    assert any(episode.evidence for episode in episodes) == agent.evidence.enabled
    if agent.max_images is not None:
        assert max(len(turn.prompt.images) for turn in turns) <= agent.max_images
    elif agent.window is None:
        assert max(len(turn.prompt.images) for turn in turns) > 2


def test_without_an_evidence_space_facts_must_be_stated_at_the_sight_of_their_page(tmp_path: Path) -> None:
    agent = RIVALS["vrag"](AGENT)
    world = write_world(tmp_path / "pdf", "train", NanoConfig(train_corpora=1, companies=4, topics=3), seed=2)
    index = nano_index(tmp_path / "corpus", tmp_path / "pdf")
    policy = ScriptedTeacher(world, PERFECT, agent)
    (episode,) = run_reference(Environment(index, agent, INDEX), policy, make_questions(world, 1, seed=5, two_hop=0))
    assert supported(episode)
    assert episode.standing_evidence == ()
    assert [e.page_id for e in episode.readings][-1] == episode.question.gold_pages[0]

    class Silent(ScriptedTeacher):
        def reply(self, prompt: object, sampling: object) -> str:
            text = super().reply(prompt, sampling)  # type: ignore[arg-type]
            return "<think> done</think>" + text.partition("</think>")[2] if "<answer>" in text else text

    silent = Silent(world, PERFECT, agent)
    (shortcut,) = run_reference(Environment(index, agent, INDEX), silent, [episode.question])
    assert shortcut.answer == episode.answer
    assert not supported(shortcut)


def test_equal_rivals_show_as_many_pictures_as_visors_window() -> None:
    assert AGENT.window == 2
    assert {RIVALS[name](AGENT).max_images for name in ("full-equal", "vrag-equal", "react-equal")} == {2}
    assert RIVALS["full"](AGENT).max_images is None
    assert RIVALS["react-page"](AGENT).image.max_pixels == PAGE_SIDE**2


def test_all_strategies_start_from_one_base_model_that_practised_no_turns() -> None:
    profile = neutral_profile(tiny())
    assert profile.nano is not None
    assert (profile.nano.closing_lessons, profile.nano.pair_lessons) == (0, 0)
    assert profile.nano.reckoning_lessons == tiny().nano.reckoning_lessons  # type: ignore[union-attr]
    sections = [rival_profile(profile, name).model_dump(include={"nano", "model", "seed"}) for name in RIVALS]
    assert all(section == sections[0] for section in sections)


def test_all_strategies_train_under_the_same_limits() -> None:
    profiles = [rival_profile(tiny(), name, (3, 2)) for name in RIVALS]
    assert len({(p.sft.model_dump_json(), p.grpo.model_dump_json()) for p in profiles}) == 1
    assert (profiles[0].sft.steps, profiles[0].grpo.steps) == (3, 2)


def test_a_wrong_setting_of_the_neutral_base_is_refused() -> None:
    study = tiny().study.model_copy(update={"neutral": {"nano.lessons": 0}})
    with pytest.raises(ConfigError, match=r"study\.neutral: nano\.lessons: unknown key"):
        neutral_profile(tiny().model_copy(update={"study": study}))


def test_steps_come_from_the_profile_or_the_calibration(tmp_path: Path) -> None:
    profile = tiny().model_copy(update={"study": tiny().study.model_copy(update={"rivals": ("visor", "react")})})
    with pytest.raises(ConfigError, match="no training steps are recorded for visor, react"):
        budgets_of(profile, tmp_path)
    recorded = {name: RivalBudget(sft_steps=3, grpo_steps=2) for name in ("visor", "react")}
    study = profile.study.model_copy(update={"budgets": recorded, "sft_steps": 3, "grpo_steps": 2})
    assert budgets_of(profile.model_copy(update={"study": study}), tmp_path)["react"] == (3, 2)
    study = study.model_copy(update={"sft_steps": 4})
    with pytest.raises(ConfigError, match=r"study\.budgets are of other steps of visor"):
        budgets_of(profile.model_copy(update={"study": study}), tmp_path)
    kept = {"settings": "other", "budgets": {}}
    (tmp_path / "calibration.json").write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(ConfigError, match="measured with other settings"):
        budgets_of(profile, tmp_path)
    text = as_settings({"react": {"sft_steps": 3.0, "grpo_steps": 2.0}})
    assert text.splitlines()[-1] == "    react: {sft_steps: 3, grpo_steps: 2}"


def test_unknown_rivals_are_refused() -> None:
    study = tiny().study.model_copy(update={"rivals": ("visor", "magic")})
    with pytest.raises(ConfigError, match="no strategy 'magic'"):
        rivals_of(tiny().model_copy(update={"study": study}))
    study = tiny().study.model_copy(update={"rivals": ("react", "visor")})
    with pytest.raises(ConfigError, match="must begin with visor"):
        rivals_of(tiny().model_copy(update={"study": study}))


def test_a_page_in_full_resolution_is_nine_tiles_and_the_overview(tmp_path: Path) -> None:
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, tmp_path / "base")
    with_tiles(tmp_path / "base", tmp_path / "tiled", 0)
    model, tiled = load_checkpoint(tmp_path / "tiled")
    base, _ = load_checkpoint(tmp_path / "base")
    picture = Image.effect_noise((PAGE_SIDE, PAGE_SIDE), 60).convert("RGB")
    prompt = Prompt((Message("user", ("evidence", "page", ImageRef("d/00001", PAGE_SIDE, PAGE_SIDE), "question x")),))
    encoded = Encoder(tiled, lambda ref: picture).encode(prompt)
    assert encoded.image_tokens == (TILES**2 + 1) * IMAGE_TOKENS
    assert encoded.images[0].tensors["pixel_values"].shape[0] == TILES**2 + 1
    assert len(encoded.input_ids) < encoded.image_tokens + 50
    words = base.get_input_embeddings().weight
    assert (model.get_input_embeddings().weight[: len(words)] == words).all()


def _rivals(seed: int, ours: tuple[int, ...], theirs: tuple[int, ...]) -> RivalFigures:
    runs = {"visor": outcomes(ours), "react": outcomes(theirs, right=(1, 1, 1, 1))}
    seconds = {"visor": (60.0, 60.0), "react": (60.0, 66.0)}
    strata = Strata((1, 1, 2, 2), (True, False, False, False), (True,) * 4)
    return RivalFigures(seed, strata, runs, runs, seconds, interrupted=("react",), commits=("0ld", "abc1234"))


NEUTRAL = {"nano.closing_lessons": 0}


def test_differences_within_the_interval_are_called_so() -> None:
    """Differences of 0.75, 0.75 and 1: t = 10, so with 2 degrees of freedom p = 1 - 10 / sqrt(102)."""
    budgets = {"visor": (10, 2), "react": (20, 3)}
    clear = [_rivals(seed, (1, 1, 1, 1), (int(seed < 2), 0, 0, 0)) for seed in (0, 1, 2)]
    assert difference(clear, "react", "greedy").p_value == pytest.approx(1 - 10 / math.sqrt(102))
    table = rivals_markdown(clear, budgets, NEUTRAL, "test", "abc1234")
    assert "- react: greedy +0.833 [+0.475, +1.192], p = 0.010, beyond the interval; T = 1 +0.833" in table
    assert "3 seeds (0, 1, 2), 4 test questions each; commit abc1234, trained at 0ld." in table
    assert "the same base model (nano.closing_lessons: 0)" in table
    assert "| react | 20 + 3 | ≥ 2.1 | 0.167" in table
    mixed = [_rivals(0, (1, 0, 0, 0), (0, 1, 1, 0)), _rivals(1, (1, 1, 1, 0), (0, 0, 1, 0))]
    assert "within the interval" in rivals_markdown(mixed, budgets, NEUTRAL, "test", "abc1234")
    one = rivals_markdown(clear[:1], budgets, NEUTRAL, "test", "abc1234")
    assert "1 seed (0)" in one
    assert "nothing is said of other seeds" in one
    assert "- react: greedy +0.750 [+0.250, +1.000], beyond the interval; T = 1" in one


def test_strata_are_tested_as_the_gate_is() -> None:
    """On the two-page questions 1, 0.5 and 1; on the one page legible at once 0 in every seed, which says nothing."""
    found = [
        _rivals(0, (1, 1, 1, 1), (1, 0, 0, 0)),
        _rivals(1, (1, 1, 1, 0), (1, 0, 0, 0)),
        _rivals(2, (1, 1, 1, 1), (1, 0, 0, 0)),
    ]
    test = difference(found, "react", "greedy", STRATA["two-hop"])
    assert (test.difference, test.clusters, test.count) == (pytest.approx(5 / 6), 3, 6)
    assert test.p_value == pytest.approx(1 - 5 / math.sqrt(27))  # t = 5 with 2 degrees of freedom
    table = rivals_markdown(found, {"visor": (1, 1), "react": (1, 1)}, NEUTRAL, "test", "c")
    _, _, rows = table.partition(
        "| visor minus, greedy | single-hop | two-hop | legible without a crop | crop needed |"
    )
    react = next(line for line in rows.splitlines() if line.startswith("| react"))
    cells = [cell.strip() for cell in react.split("|")[2:-1]]
    assert cells[1] == "+0.833 [+0.116, +1.550], p = 0.038, beyond the interval"
    assert cells[2] == "+0.000 in every seed, no test without scatter"


def test_tokens_a_turn_come_by_stratum() -> None:
    """Episodes of four turns with 100, 200, 300 and 400 tokens, 80 of each of pictures."""
    found = [_rivals(0, (1, 1, 1, 1), (1, 0, 0, 0))]
    table = rivals_markdown(found, {"visor": (1, 1), "react": (1, 1)}, NEUTRAL, "test", "c")
    assert "| visor | 37.5 (20.0) | 87.5 (20.0) | 25.0 (20.0) | 75.0 (20.0) |" in table
    assert "| 62.5 | 20.0 | 4.00 |" in table
