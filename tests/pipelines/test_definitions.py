"""The definitions load, hold what they should, and every asset can fail a check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets_defs.machinery import graph
from assets_defs.machinery.stage import Node
from pipelines.definitions import definitions, defs
from pipelines.resources import PROFILES, environment
from pipelines.run import groups_of
from visor_core import code_version
from visor_core.config import Home, load_profile
from visor_core.errors import ConfigError

ASSETS = {
    "nano_corpus": set(),
    "base_model": {"nano_corpus"},
    "retriever": {"nano_corpus", "base_model"},
    "documents": {"nano_corpus"},
    "pages": {"documents"},
    "page_index": {"pages", "retriever"},
    "questions": {"page_index", "nano_corpus"},
    "teacher_trajectories": {"page_index", "questions", "nano_corpus"},
    "sft_dataset": {"teacher_trajectories"},
    "sft_checkpoint": {"base_model", "sft_dataset"},
    "grpo_checkpoint": {"sft_checkpoint", "page_index", "questions"},
    "grpo_rollouts": {"sft_checkpoint", "page_index", "questions"},
    "benchmark_results": {
        "base_model",
        "sft_checkpoint",
        "grpo_checkpoint",
        "grpo_rollouts",
        "page_index",
        "questions",
    },
    "champion_model": {"sft_checkpoint", "grpo_checkpoint", "grpo_rollouts", "benchmark_results"},
}


def test_definitions_are_sound() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_graph_is_the_one_of_the_architecture() -> None:
    found = defs.resolve_asset_graph()
    parents = {
        key.to_user_string(): {p.to_user_string() for p in found.get(key).parent_keys}
        for key in found.get_all_asset_keys()
    }
    assert parents == ASSETS
    assert all(found.get(key).code_version for key in found.get_all_asset_keys())


def test_every_asset_has_a_check() -> None:
    found = defs.resolve_asset_graph()
    checked = {key.asset_key.to_user_string() for key in found.asset_check_keys}
    assert checked == set(ASSETS)


def test_stages_and_assets_agree() -> None:
    """What a stage reads is among the dependencies Dagster knows, with all that the same work makes: a blocking check
    at any of it holds up the reader."""
    profile = load_profile(PROFILES / "nano.yaml")
    found = defs.resolve_asset_graph()
    for name, stage in graph.stages().items():
        if not stage.applies(profile):
            continue
        above = {parent.to_user_string() for parent in found.get(dg.AssetKey(name)).parent_keys}
        for partition in ("", profile.corpora.train):
            for node in stage.inputs(profile, partition):
                assert set(graph.stages()[node.stage].assets) <= above
        assert found.get(dg.AssetKey(name)).code_version == stage.code_version(profile)


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("index/search", {"teacher_trajectories", "grpo_checkpoint", "benchmark_results", "page_index"}),
        ("training/weights", {"sft_checkpoint", "grpo_checkpoint"}),
        ("training/credit", {"grpo_checkpoint"}),
        ("nano/teacher", {"teacher_trajectories"}),
        ("evaluation/report", set()),
        ("evaluation/comparison", set()),
        ("trajectories/viewer", set()),
        ("trajectories/viewer_gallery", set()),
    ],
)
def test_a_change_of_code_makes_stale_what_runs_through_it(
    module: str, stale: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How search ranks decides what the teacher saw; what only a person looks at decides nothing."""
    plain = code_version._digest

    def versions(mark: str) -> dict[str, str]:
        monkeypatch.setattr(code_version, "_digest", lambda p: plain(p) + mark * p.as_posix().endswith(f"{module}.py"))
        return {name: replace(stage).version for name, stage in graph.stages().items()}

    unchanged, other = versions(""), versions("changed")
    changed = {name for name in unchanged if unchanged[name] != other[name]}
    # Stages that read pages by way of the index may follow it too; those named must.
    assert stale <= changed
    assert not changed & {"nano_corpus", "sft_dataset"}
    if not stale:
        assert not changed


def test_a_launch_file_counts_by_what_it_says(tmp_path: Path) -> None:
    stage = graph.stages()["sft_checkpoint"]
    path = tmp_path / "mine.yaml"
    profile = load_profile(PROFILES / "nano.yaml", {"accelerate": str(path)})

    def fingerprint(text: str) -> str:
        path.write_text(text, encoding="utf-8")
        return stage.fingerprint(profile, "", {})

    one = fingerprint("num_processes: 1\n")
    assert fingerprint("# a comment\nnum_processes: 1\n") == one
    assert fingerprint("num_processes: 2\n") != one


def test_jobs_schedule_and_sensor_exist() -> None:
    repository = defs.get_repository_def()
    assert {"ingest", "retrain"} <= set(repository.job_names)
    assert [schedule.name for schedule in repository.schedule_defs] == ["weekly_retraining"]
    assert [schedule.cron_schedule for schedule in repository.schedule_defs] == ["0 3-9 * * 0"]
    assert {sensor.name for sensor in repository.sensor_defs} == {"inbox", "regression", "retrain_when_changed"}


def test_what_to_make_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISOR_HOME", str(tmp_path))
    # Values may hold commas, quotes and signs of equality.
    monkeypatch.setenv("VISOR_SET", json.dumps({"grpo.steps": 7, "index.embedders": ["hash:256", "hash:512"]}))
    monkeypatch.setenv("VISOR_REBUILD", '["pages"]')
    home, profile, rebuild = environment()
    assert (profile.grpo.steps, profile.index.embedders) == (7, ("hash:256", "hash:512"))
    assert (home.root, rebuild) == (tmp_path, ("pages",))
    monkeypatch.setenv("VISOR_SET", '{"grpo.stepz": 7}')
    with pytest.raises(ConfigError, match=r"grpo\.stepz: unknown key"):
        environment()
    monkeypatch.setenv("VISOR_SET", "grpo.steps=7")
    with pytest.raises(ConfigError, match="VISOR_SET is not of the form"):
        environment()


@pytest.mark.parametrize("name", ["nano", "smolvlm", "qwen2.5-vl-3b", "qwen2.5-vl-7b"])
def test_every_profile_resolves_and_builds_definitions(name: str, tmp_path: Path) -> None:
    profile = load_profile(PROFILES / f"{name}.yaml")
    assert profile.name == name
    found = definitions(Home(tmp_path), profile)
    dg.Definitions.validate_loadable(found)
    here = {key.to_user_string() for key in found.resolve_asset_graph().get_all_asset_keys()}
    assert here == (set(ASSETS) if profile.nano else set(ASSETS) - {"nano_corpus", "retriever"})
    assert json.loads(profile.model_dump_json())["name"] == name


def test_a_plan_holds_what_the_selection_needs_in_order() -> None:
    profile = load_profile(PROFILES / "nano.yaml")
    train = profile.corpora.train
    assert graph.plan(profile, ["pages"], train) == [
        Node("nano_corpus"),
        Node("documents", train),
        Node("pages", train),
    ]
    everything = graph.plan(profile)
    for node in everything:
        for need in graph.stages()[node.stage].inputs(profile, node.partition):
            assert everything.index(need) < everything.index(node)
    assert len(everything) == 17
    # The world and its models, a corpus, the other one, what is trained on them.
    assert [group[0].partition for group in groups_of(everything)] == ["", train, profile.corpora.development, ""]


def test_a_users_corpus_needs_neither_world_nor_its_retriever() -> None:
    profile = load_profile(PROFILES / "nano.yaml")
    assert {node.stage for node in graph.plan(profile, ["page_index"], "mine")} == {"documents", "pages", "page_index"}


def test_a_profile_without_a_world_plans_no_world() -> None:
    stages = {node.stage for node in graph.plan(load_profile(PROFILES / "qwen2.5-vl-3b.yaml"))}
    assert stages == set(graph.stages()) - {"nano_corpus", "retriever", "study_figures", "tiled_model"}


def test_an_unknown_asset_is_refused() -> None:
    profile = load_profile(PROFILES / "nano.yaml")
    with pytest.raises(ConfigError, match="no asset 'sft'"):
        graph.plan(profile, ["sft"])
    with pytest.raises(ConfigError, match="does not belong"):
        graph.plan(load_profile(PROFILES / "smolvlm.yaml"), ["retriever"])
