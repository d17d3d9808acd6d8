"""The comparison of strategies: what each is, equal time, and what counts as a difference."""

from __future__ import annotations

import json
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
from visor_core.nano.rivals import RIVALS, RivalFigures, as_settings, budgets_of, rival_profile, rivals_of
from visor_core.nano.rivals_table import difference, rivals_markdown
from visor_core.nano.study import StudyRun, run_calibration, run_rivals
from visor_core.nano.study_figures import Strata
from visor_core.nano.study_stages import Seed
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


def test_visor_in_the_comparison_is_visor_of_the_main_study(tmp_path: Path) -> None:
    """Without steps of its own it is trained once for both."""
    profile = tiny()
    seed = Seed(profile, tmp_path, 0, "c", print)
    assert rival_profile(profile, "visor") == profile
    assert seed.sft_folder(rival_profile(profile, "visor")) == seed.sft_folder(profile)
    assert len({seed.sft_folder(rival_profile(profile, name)) for name in RIVALS}) == len(RIVALS)


def test_steps_come_from_the_profile_or_the_calibration(tmp_path: Path) -> None:
    profile = tiny().model_copy(update={"study": tiny().study.model_copy(update={"rivals": ("visor", "react")})})
    with pytest.raises(ConfigError, match="no training steps are recorded for visor, react"):
        budgets_of(profile, tmp_path)
    recorded = {name: RivalBudget(sft_steps=3, grpo_steps=2) for name in ("visor", "react")}
    study = profile.study.model_copy(update={"budgets": recorded})
    assert budgets_of(profile.model_copy(update={"study": study}), tmp_path)["react"] == (3, 2)
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
    return RivalFigures(seed, Strata((1, 1, 2, 2), (True, False, False, False), (True,) * 4), runs, runs, seconds)


def test_differences_within_the_interval_are_called_so() -> None:
    budgets = {"visor": (10, 2), "react": (20, 3)}
    clear = [_rivals(seed, (1, 1, 1, 1), (1, 0, 0, 0)) for seed in (0, 1, 2)]
    assert difference(clear, "react", "greedy").difference == 0.75
    table = rivals_markdown(clear, budgets, "test", "abc1234")
    assert "- react: greedy +0.750 [+0.750, +0.750], beyond the interval" in table
    assert "commit abc1234" in table
    assert "| react | 20 + 3 | 2.1 | 0.250" in table
    assert "| supported, greedy | single-hop | two-hop | legible without a crop | crop needed |" in table
    mixed = [_rivals(0, (1, 0, 0, 0), (0, 1, 1, 0)), _rivals(1, (1, 1, 1, 0), (0, 0, 1, 0))]
    assert "within the interval" in rivals_markdown(mixed, budgets, "test", "abc1234")
    assert "nothing is said of other seeds" in rivals_markdown(clear[:1], budgets, "test", "abc1234")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rivals_are_calibrated_trained_and_compared(tmp_path: Path) -> None:
    study = tiny().study.model_copy(update={"rivals": ("visor", "vrag", "react-page")})
    run = StudyRun(tiny().model_copy(update={"study": study}), tmp_path, [0], False, "c", lambda line: None)
    settings = run_calibration(run)
    assert [line.split(":")[0].strip() for line in settings.splitlines()[2:]] == ["visor", "vrag", "react-page"]
    assert "visor: {sft_steps: 1, grpo_steps: 1}" in settings
    table = run_rivals(run)
    assert (tmp_path / "rivals-development.md").read_text(encoding="utf-8") == table
    found = json.loads((tmp_path / "rivals-development.json").read_text(encoding="utf-8"))[0]["greedy"]
    assert {name: len(run["right"]) for name, run in found.items()} == {"visor": 8, "vrag": 8, "react-page": 8}
