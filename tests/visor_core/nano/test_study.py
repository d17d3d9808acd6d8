"""The study: its tables from figures made by hand, and the profiles of its variants."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from tests.visor_core.nano.study_figures_by_hand import outcomes, policy, seed_figures
from visor_core.config import Profile, derived, load_profile
from visor_core.errors import ConfigError
from visor_core.nano.study_figures import SeedFigures, sampled_entropy
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
from visor_core.nano.study_variants import variant_profile, variants_of

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


def test_a_variant_is_a_profile_of_its_seed() -> None:
    profile = tiny()
    whole, longer = variant_profile(profile, "study", 3), variant_profile(profile, "longer-final", 3)
    assert (whole.seed, whole.study.variant, whole.study.split) == (3, "study", "development")
    assert (longer.study.variant, longer.study.split, longer.sft.steps) == ("longer", "test", 90)
    asked = (profile.study.rivals, profile.study.inference, profile.study.retrained)
    assert len(variants_of(profile)) == 2 * (3 + sum(map(len, asked)))
    with pytest.raises(ConfigError, match="no variant 'magic'"):
        variant_profile(profile, "magic", 0)


def test_corpora_have_names_of_their_own_where_they_hold_something_else() -> None:
    """A corpus holds one set of settings at a time: as the profile has it for its own seed, beside it for any other."""
    profile = tiny()
    assert variant_profile(profile, "study", profile.seed).corpora == profile.corpora
    others = [variant_profile(profile, "study", 1), variant_profile(profile, "study", 2)]
    others += [variant_profile(profile, name, 0) for name in ("longer", "rich", "visor")]
    assert len({other.corpora.train for other in [profile, *others]}) == 6
    assert others[0].corpora.train.startswith("nano-train-s1-")
    steps = {"visor": (3, 2), "vrag": (4, 1)}
    rivals = [variant_profile(profile, name, 1, steps) for name in ("visor", "vrag")]
    assert rivals[0].corpora == rivals[1].corpora  # one base model, so one index
    assert [(r.sft.steps, r.grpo.steps) for r in rivals] == [(3, 2), (4, 1)]


def test_reading_test_changes_no_setting_of_what_is_trained() -> None:
    one, other = variant_profile(tiny(), "study", 1), variant_profile(tiny(), "study-final", 1)
    assert one.model_copy(update={"study": other.study}) == other


def test_the_profiles_longer_studies_are_valid() -> None:
    profile = load_profile(PROFILE)
    longer, rich = (derived(profile, s, "study") for s in (profile.study.long, profile.study.rich))
    assert rich.nano is not None
    assert rich.nano.tier == "rich"
    assert rich.grpo.reward_weights == {"honesty": 0.1}
    assert (longer.sft.steps or 0) > (profile.sft.steps or 0)


def test_a_profile_without_nano_is_refused() -> None:
    with pytest.raises(ConfigError, match="no section `nano`"):
        variant_profile(Profile(name="other"), "study", 0)
