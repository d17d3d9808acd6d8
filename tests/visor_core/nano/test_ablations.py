"""The ablations: settings of the agent alone, one checkpoint for all that are inference-only, and their table."""

from __future__ import annotations

import re

import pytest

from assets_defs.machinery.graph import plan
from assets_defs.machinery.stage import Node
from assets_defs.machinery.studies import variant_names
from tests.visor_core.nano.study_figures_by_hand import outcomes
from tests.visor_core.nano.test_study import tiny
from tests.visor_core.trajectories.episodes import INDEX, episodes
from tests.visor_core.trajectories.test_viewer import elements
from visor_core.agent.environment import Environment
from visor_core.config import AgentConfig, derived
from visor_core.errors import ConfigError
from visor_core.nano.ablations import ABLATIONS, STRATEGIES, ablated, is_as_trained, played_agent
from visor_core.nano.ablations_table import ablations_html, ablations_markdown
from visor_core.nano.study_figures import RivalFigures, Strata
from visor_core.nano.study_variants import variant_profile, variants_of
from visor_core.trajectories.replay import config_of, replay


def test_the_names_say_what_is_set() -> None:
    profile = tiny()
    assert {name for name in ABLATIONS if is_as_trained(profile, name)} == {"trained", "window-2", "no-verification"}
    assert ablated(profile, "window-all").agent.window is None
    assert not ablated(profile, "no-evidence").agent.evidence.enabled
    assert [ablated(profile, name).agent.strategy for name in STRATEGIES] == list(STRATEGIES)


@pytest.mark.parametrize("name", ABLATIONS)
def test_stored_episodes_of_every_ablation_replay_identically(name: str) -> None:
    settings = ablated(derived(tiny(), {"agent": AgentConfig(max_turns=5).model_dump()}, "test"), name).agent
    for trajectory in episodes(1, **settings.model_dump()):
        assert config_of(trajectory) == settings
        assert replay(trajectory, environment=Environment(INDEX, config_of(trajectory))).identical


def test_an_inference_only_variant_differs_from_the_study_in_nothing_that_trains() -> None:
    profile = tiny()
    trained = variant_profile(profile, "study", 1)
    for name in variant_names(profile, "inference", "development"):
        variant = variant_profile(profile, name, 1)
        assert variant.model_copy(update={"study": trained.study}) == trained
        assert played_agent(variant) == ablated(profile, name.removeprefix("inference-")).agent
    assert Node("grpo_checkpoint") in plan(variant, ["study_figures"])
    retrained = variant_profile(profile, "retrained-window-1", 1)
    assert (retrained.agent.window, played_agent(retrained)) == (1, retrained.agent)
    assert {"inference-vanilla-final", "retrained-no-evidence"} <= set(variants_of(profile))


def test_wrong_ablations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"study\.inference: no ablation 'windw'; choose among trained"):
        variants_of(derived(tiny(), {"study.inference": ["trained", "windw"]}, "test"))
    with pytest.raises(ConfigError, match=r"study\.retrained must begin with trained"):
        variants_of(derived(tiny(), {"study.retrained": ["window-1"]}, "test"))


def figures_of(seed: int) -> RivalFigures:
    """Ten questions under four settings."""
    runs = {
        "trained": outcomes([1] * 9 + [0]),
        "window-2": outcomes([1] * 9 + [0]),
        "window-1": outcomes([0] * 9 + [1]),
        "no-intent": outcomes([1] * 8 + [0, 0]),
    }
    return RivalFigures(seed, Strata((1,) * 10, (True,) * 10, (True,) * 10), runs, runs, commits=("abc1234",))


def test_the_table_compares_with_the_agent_as_trained() -> None:
    """Nine lost and one won: McNemar 22 / 1024, by Holm twice that; one lost: 1."""
    table = ablations_markdown([figures_of(0)], "inference", "development", "c0ffee0", {"trained", "window-2"})
    rows = {row.split(" | ")[0].strip("| "): row for row in table.splitlines() if row.startswith("| ")}
    assert "-0.800 [-1.000, -0.400], p 0.021, Holm 0.043" in rows["window-1"]
    assert "p 1.000, Holm 1.000" in rows["no-intent"]
    assert rows["window-2"].count("the same setting") == 2
    assert rows["trained"].count("–") == 2
    assert "10 development questions each, scored by the rule; commit c0ffee0, trained at abc1234" in table
    several = ablations_markdown([figures_of(0), figures_of(1)], "retrained", "test", "c0ffee0")
    assert "the seed as cluster (t test)" in several
    assert "in every seed: no scatter to test against" in several


def test_the_page_has_a_plot_and_no_script() -> None:
    html = ablations_html([figures_of(0)], "inference", "development", "<b>", {"trained"})
    seen = elements(html)
    assert (seen.scripts, seen.addresses) == ([], [])
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="supported, ', html)) == 2
    assert "commit &lt;b&gt;" in html
