"""The study: its tables from figures made by hand, its stages with a few steps, killed and continued."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tests.visor_core.nano.study_figures_by_hand import outcomes, policy, seed_figures
from visor_core.code_version import code_behind
from visor_core.config import Home, Profile, derived, load_profile
from visor_core.errors import ConfigError
from visor_core.nano import study_stages
from visor_core.nano.held_out import readings
from visor_core.nano.study import StudyRun, run_study
from visor_core.nano.study_figures import SeedFigures, sampled_entropy
from visor_core.nano.study_stages import SHAPING, Seed, code_of, stage, stage_record
from visor_core.nano.study_table import (
    MULTI_HOP,
    STRATA,
    chosen,
    gain,
    in_words,
    long_markdown,
    paired,
    pooled,
    study_markdown,
    targets,
)
from visor_core.tracking import RUN_FILE, Tracker

PROFILE = Path(__file__).parents[3] / "pipelines" / "profiles" / "nano.yaml"
TINY = {
    "nano.train_corpora": 1, "nano.development_corpora": 1, "nano.test_corpora": 1, "nano.primer_corpora": 1,
    "nano.companies": 4,
    "nano.topics": 3, "nano.damaged_titles": 0.0, "nano.train_questions": 24, "nano.development_questions": 8,
    "nano.test_questions": 8, "nano.vision_steps": 1, "nano.alignment_steps": 1, "nano.batch_size": 4,
    "nano.retriever_steps": 1, "index.embedders": ["hash"], "index.mode": "text", "teacher.trajectories": 12,
    "sft.steps": 1, "sft.batch_size": 4, "grpo.steps": 1, "grpo.questions_per_step": 2, "grpo.group_size": 2,
    "agent.max_turns": 5, "agent.max_new_tokens": 8,
    "study.sft_steps": None, "study.grpo_steps": None, "study.budgets": {},
}  # fmt: skip


def tiny() -> Profile:
    """The nano profile with one step a stage."""
    return load_profile(PROFILE, dict(TINY))


def _seeds() -> list[SeedFigures]:
    none, some, most = (0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 1, 0)
    return [
        seed_figures(seed, policy(none, none, none), policy(some, some, some), policy(most, (1, 0, 1, 0), most))
        for seed in (0, 1)
    ]


def test_shares_are_pooled_over_seeds_and_cut_into_strata() -> None:
    results = _seeds()
    interval, seeds = pooled(results, "grpo", "sampled")
    assert (interval.estimate, interval.count, seeds) == (0.5, 8, [0.5, 0.5])
    assert pooled(results, "grpo", "greedy", keep=MULTI_HOP)[0].estimate == 0.5
    assert pooled(results, "grpo", "greedy", keep=STRATA["legible without a crop"])[0].estimate == 1.0
    assert pooled(results, "grpo", "greedy", keep=STRATA["crop needed"])[0].estimate == pytest.approx(2 / 3)
    assert chosen(results[0], (True, False, False, False), STRATA["two-hop"]) == [False, False]


def _third(best: tuple[int, ...]) -> SeedFigures:
    """One more seed, GRPO's best temperature given."""
    some = (1, 0, 0, 0)
    return seed_figures(2, policy((0,) * 4, (0,) * 4, (0,) * 4), policy(some, some, some), policy(best, some, best))


def _gate_met(results: list[SeedFigures]) -> bool:
    return next(t.met for t in targets(results) if "gate" in t.name)


def test_the_gate_pairs_the_questions_with_the_seed_as_cluster() -> None:
    """Gains of 0.5, 0.5 and 0.75: t = 7, so with 2 degrees of freedom p = 1 - 7 / sqrt(51)."""
    test = gain([*_seeds(), _third((1, 1, 1, 1))], "best")
    assert (test.difference, test.clusters) == (pytest.approx(7 / 12), 3)
    assert test.p_value == pytest.approx(1 - 7 / math.sqrt(51))
    assert _gate_met([*_seeds(), _third((1, 1, 1, 1))])
    assert not _gate_met([*_seeds(), _third((1, 0, 0, 0))])


@pytest.mark.parametrize("seeds", [1, 2])
def test_without_scatter_between_seeds_there_is_no_test(seeds: int) -> None:
    assert math.isnan(gain(_seeds()[:seeds], "best").p_value)
    assert not _gate_met(_seeds()[:seeds])


def test_equal_gains_of_several_seeds_are_said_to_be_untested() -> None:
    """The same share gained in every seed: nothing is known of the scatter, and no p-value stands there."""
    seeds = [(seed, [True] * 4 + [False] * 6, [True] * 3 + [False] * 7) for seed in (1, 2, 3)]
    assert in_words(paired(seeds)) == "+0.100 in every seed: no scatter to test against"
    assert in_words(paired(seeds[:1])).endswith("one seed, no test over seeds")


def test_targets_say_what_is_met_and_what_is_missed() -> None:
    met = {t.name: t.met for t in targets(_seeds())}
    assert met["untrained base, greedy"]
    assert met["after SFT, sampled"]
    assert not met["after SFT, greedy"]
    assert met["after GRPO, sampled"]
    assert met["retriever: page recall@1 (BM25 alone)"]
    worse = [dataclasses.replace(r, ceiling=0.9, recall={**r.recall, "BM25": 0.8}) for r in _seeds()]
    missed = {t.name for t in targets(worse) if not t.met}
    assert {"scripted ceiling", "retriever: page recall@1 (BM25 alone)", "after SFT, greedy"} <= missed
    assert "**missed**" in study_markdown(worse, "test", "abc1234")


def test_one_bad_seed_misses_what_every_seed_must_reach() -> None:
    good, bad = _seeds()
    fallen = dataclasses.replace(bad, policies={**bad.policies, "grpo": policy((0,) * 4, (1, 0, 0, 0), (0,) * 4)})
    found = {t.name: t.met for t in targets([good, fallen])}
    assert not found["GRPO over SFT, sampled, every seed"]
    assert not found["after GRPO, greedy, every seed"]


def test_shortcuts_are_right_answers_without_their_evidence() -> None:
    assert outcomes((1, 0, 0), right=(1, 1, 0)).shortcuts == (False, True, False)


def test_the_table_is_stamped_and_names_its_split() -> None:
    table = study_markdown(_seeds(), "development", "fff0000")
    assert "2 seeds, 4 development questions each, 50% of them multi-hop; commit fff0000, trained at abc1234." in table
    assert "Temperatures were chosen on these very questions." in table
    assert "chosen on these" not in study_markdown(_seeds(), "test", "fff0000")
    assert "base 2.0, 2.0 (goal ≤ 4)" in table
    assert "The seeds do not scatter, so nothing is said of other seeds." in table
    assert "it is more than sharpening" in study_markdown([*_seeds(), _third((1, 1, 1, 1))], "development", "fff0000")
    killed = [dataclasses.replace(r, interrupted=("sft",)) for r in _seeds()]
    assert "SFT ≥ 2.5, ≥ 2.5" in study_markdown(killed, "test", "fff0000")


def test_a_gain_at_one_temperature_only_is_called_sharpening() -> None:
    same, none = (1, 0, 0, 0), (0, 0, 0, 0)
    after = ((1, 1, 1, 0), (1, 1, 1, 0), (1, 1, 1, 1))
    results = [
        seed_figures(seed, policy(same, same, same), policy(same, none, same), policy(same, sampled, same))
        for seed, sampled in enumerate(after)
    ]
    assert "the gain is sharpening" in study_markdown(results, "test", "c")


def test_the_longer_study_has_no_targets() -> None:
    table = long_markdown({"core": _seeds(), "rich": _seeds()}, {"core": "1 step", "rich": "2 steps"}, "test", "c")
    assert "**rich** (2 steps)" in table
    assert "goal" not in table
    assert "missed" not in table


def test_no_episode_has_no_entropy() -> None:
    assert sampled_entropy([]) == 0.0


def test_a_stage_is_timed_over_its_attempts_and_a_killed_one_is_marked(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), stage(tmp_path / "s", "a"):
        raise RuntimeError
    first = stage_record(tmp_path / "s")
    assert (first.done, first.interrupted, first.running) == (False, False, False)
    with stage(tmp_path / "s", "b"):
        assert stage_record(tmp_path / "s").running
    second = stage_record(tmp_path / "s")
    assert second.done
    assert second.seconds > first.seconds
    assert second.commit == "b"
    (tmp_path / "s" / "stage.json").write_text(
        json.dumps({**dataclasses.asdict(second), "running": True, "done": False})
    )
    with stage(tmp_path / "s", "c"):
        pass
    assert stage_record(tmp_path / "s").interrupted


def test_a_changed_setting_makes_a_new_stage_and_an_unchanged_one_none(tmp_path: Path) -> None:
    def folder(**settings: object) -> Path:
        profile = derived(tiny(), {k.replace("_", ".", 1): v for k, v in settings.items()}, "test")
        return Seed(profile, tmp_path, 0, "c", print).sft_folder(profile)

    assert folder() == folder(grpo_steps=9)
    assert len({folder(), folder(sft_steps=9), folder(nano_vision_steps=9), folder(agent_window=1)}) == 4


@pytest.mark.parametrize(
    ("module", "sft", "grpo"),
    [
        ("visor_core.nano.questions", True, True),
        ("visor_core.nano.pretraining", True, True),
        ("visor_core.nano.retriever", True, True),
        ("visor_core.nano.teacher", True, True),
        ("visor_core.training.sft", True, True),
        ("visor_core.training.grpo", False, True),
        ("visor_core.nano.study_table", False, False),
    ],
)
def test_changed_code_makes_new_stages_from_there_on(
    module: str, sft: bool, grpo: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folders() -> tuple[Path, Path]:
        seed = Seed(tiny(), tmp_path, 0, "c", print)
        return seed.sft_folder(tiny()), seed.grpo_folder(tiny())

    before = folders()
    monkeypatch.setattr(study_stages, "code_of", lambda *names: "changed" if module in names else code_of(*names))
    after = folders()
    assert (after[0] != before[0], after[1] != before[1]) == (sft, grpo)


def test_the_code_of_a_stage_is_all_that_shapes_it() -> None:
    """What a stage stands on, found by its imports: the lists cannot fall behind."""
    expected = {
        "visor_core.nano.pretraining": ("nano.views", "nano.closings", "nano.model", "nano.world", "training.forward"),
        "visor_core.training.sft": ("training.loop", "training.rows", "training.batching", "agent.prompts"),
        "visor_core.training.grpo": ("training.credit", "training.rewards.evidence_facts", "agent.episode", "geometry"),
    }
    for module, behind in expected.items():
        found = code_behind(module, within=SHAPING)
        assert {f"visor_core.{name}" for name in behind} <= found
        assert not {name for name in found if name.startswith("visor_core.nano.study")}


def test_another_teachers_episodes_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    """The faultless teacher never crops twice for one value; the one with loose crops does, from the same folder."""
    crops = []
    for loose in (0.0, 1.0):
        settings = {"teacher.loose_crop": loose, "teacher.wrong_page": 0.0, "teacher.wrong_label": 0.0}
        profile = derived(tiny(), settings, "test")
        seed = Seed(profile, tmp_path, 0, "c", print)
        turns = [turn for lesson in seed.lessons(profile) for turn in lesson.turns]
        crops.append(sum(turn.action.kind == "crop" for turn in turns) / len(turns))
        seed.close()
    assert crops[1] > crops[0]


def test_the_profiles_longer_studies_are_valid() -> None:
    profile = load_profile(PROFILE)
    longer, rich = (derived(profile, s, "study") for s in (profile.study.long, profile.study.rich))
    assert rich.nano is not None
    assert rich.nano.tier == "rich"
    assert rich.grpo.reward_weights == {"honesty": 0.1}
    assert (longer.sft.steps or 0) > (profile.sft.steps or 0)


def test_a_profile_without_nano_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section `nano`"):
        run_study(StudyRun(Profile(name="other"), tmp_path, [0], False, "c"))


def _run_of(tracker: Tracker, folder: Path) -> Any:
    return tracker.client.get_run((folder / RUN_FILE).read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_every_step_of_a_stage_is_in_its_run(tmp_path: Path) -> None:
    tracker = Tracker(Home(tmp_path / "home"), "study")
    seed = Seed(derived(tiny(), {"nano.alignment_steps": 2}, "test"), tmp_path / "seed-0", 0, "c", print, tracker)
    run = _run_of(tracker, seed.base())
    assert (run.info.status, run.data.tags["stage"], run.data.tags["commit"]) == ("FINISHED", "base", "c")
    assert run.data.params["nano.alignment_steps"] == "2"
    history = tracker.client.get_metric_history(run.info.run_id, "alignment/loss")
    assert [metric.step for metric in history] == [2, 3]
    with pytest.raises(RuntimeError), seed.training(tmp_path / "s", steps=1):
        raise RuntimeError
    assert _run_of(tracker, tmp_path / "s").info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_the_study_runs_continues_and_reads_test_only_when_final(tmp_path: Path) -> None:
    lines: list[str] = []
    tracker = Tracker(Home(tmp_path / "home"), "study")
    run = StudyRun(tiny(), tmp_path, [0], False, "c0ffee0", lines.append, tracker)
    table = run_study(run)
    assert "1 seed, 8 development questions" in table
    assert (tmp_path / "study-development.md").read_text(encoding="utf-8") == table
    assert readings(tmp_path) == []
    assert not list(tmp_path.rglob("pdf-*/test"))
    for stage_of, metric in (("retriever", "loss"), ("sft-visor", "loss"), ("grpo-visor", "reward")):
        (folder,) = (tmp_path / "seed-0").glob(f"{stage_of}-*")
        assert metric in _run_of(tracker, folder).data.metrics
    weights = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    lines.clear()
    assert run_study(run) == table
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == weights
    assert not [line for line in lines if "SFT" in line or "base model" in line]
    final = run_study(dataclasses.replace(run, final=True))
    assert "8 test questions" in final
    (logged,) = readings(tmp_path)
    assert (logged["seed"], logged["commit"]) == (0, "c0ffee0")
    assert re.fullmatch(r"study, settings [0-9a-f]{8}", logged["purpose"])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == weights
