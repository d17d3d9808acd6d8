"""Run configuration: typed fields from the sections of a profile, and what a run was given beside it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import dagster as dg
import pytest

from assets_defs.machinery import graph
from assets_defs.machinery.run_config import GIVEN_TAG, config_fields, given_settings, stage_fields, with_given
from pipelines.resources import PROFILES, resources_for
from visor_core.config import Home, Profile, Section, derived, load_profile
from visor_core.errors import ConfigError

NANO = load_profile(PROFILES / "nano.yaml")
PRETRAINED = load_profile(PROFILES / "qwen2.5-vl-3b.yaml")


def _checked(fields: dict[str, dg.Field], given: dict[str, Any]) -> dict[str, Any]:
    """The configuration as Dagster resolves it before a run starts, defaults filled in."""

    @dg.op(config_schema=fields)
    def stage() -> None: ...

    @dg.job
    def job() -> None:
        stage()

    return dict(dg.validate_run_config(job, {"ops": {"stage": {"config": given}}})["ops"]["stage"]["config"])


@pytest.mark.parametrize("profile", [NANO, PRETRAINED], ids=lambda profile: profile.name)
def test_the_defaults_are_the_profile(profile: Profile) -> None:
    """Every stage's configuration, written out as the launchpad does, is the profile itself: nothing is given."""
    for stage in graph.stages().values():
        if stage.applies(profile):
            fields = stage_fields(stage, profile)
            assert given_settings({"ops": {stage.name: {"config": _checked(fields, {})}}}, profile) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"grpo": {"stepz": 7}}, "stepz"),
        ({"grpo": {"steps": "7"}}, "not valid for expected type"),
        ({"grpo": {"steps": 7.5}}, "not valid for expected type"),
        ({"grpo": {"loss_type": "ppo"}}, "not in enum type"),
        ({"grpo": {"optimizer": {"learning_rat": 1.0}}}, "learning_rat"),
        ({"grpo": {"reward_weights": {"honesty": "much"}}}, "not valid for expected type"),
    ],
)
def test_an_unknown_or_mistyped_field_is_refused_before_anything_runs(given: dict[str, Any], said: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=said):
        _checked(config_fields(NANO, ["grpo"]), given)


def test_a_word_that_yaml_reads_as_something_else_is_no_choice() -> None:
    """The page writes a choice without quotes, and reads it again."""

    class Sampling(Section):
        """Two choices of which one is false for YAML."""

        groups: Literal["off", "skip"] = "skip"

    with pytest.raises(TypeError, match="groups: YAML reads off as something else"):
        config_fields(Sampling(), ["groups"])  # type: ignore[arg-type]


def test_fields_have_the_help_of_the_sections() -> None:
    grpo = config_fields(NANO, ["grpo"])["grpo"].config_type.fields  # type: ignore[attr-defined]
    assert grpo["steps"].description == "Optimizer steps. (at least 1)"
    assert grpo["steps"].default_value == NANO.grpo.steps
    assert "the paper" in grpo["normalisation"].description
    model = config_fields(NANO, ["model.dtype"])["model"].config_type.fields  # type: ignore[attr-defined]
    assert set(model) == {"dtype"}


def test_what_is_given_holds_for_the_whole_run() -> None:
    """Another asset's written-out default is no contradiction; a second value is."""
    run_config: dict[str, Any] = {
        "ops": {
            "teacher_trajectories": {"config": {"index": {"top_k": 7}, "agent": {"max_turns": NANO.agent.max_turns}}},
            "grpo_checkpoint": {"config": {"index": {"top_k": NANO.index.top_k}, "grpo": {"beta": 1}}},
            "documents": {"config": {"prune": True, "documents": {"dpi": NANO.documents.dpi}}},
            "questions": None,
        }
    }
    given = given_settings(run_config, NANO)
    assert given == {"index.top_k": 7, "grpo.beta": 1}
    profile = with_given(NANO, given)
    assert (profile.index.top_k, profile.grpo.beta, profile.agent) == (7, 1.0, NANO.agent)
    assert given_settings({}, NANO) == {}
    run_config["ops"]["grpo_checkpoint"]["config"]["index"]["top_k"] = 8
    with pytest.raises(ConfigError, match=r"teacher_trajectories asks for index.top_k=7 and grpo_checkpoint for 8"):
        given_settings(run_config, NANO)


def test_rules_of_the_sections_hold_for_what_is_given() -> None:
    with pytest.raises(ConfigError, match=r"launchpad: grpo\.steps: Input should be greater than or equal to 1"):
        with_given(NANO, {"grpo.steps": 0})
    with pytest.raises(ConfigError, match=r"launchpad: grpo\.stepz: unknown key"):
        given_settings({"ops": {"grpo_checkpoint": {"config": {"grpo": {"stepz": 7}}}}}, NANO)


def test_a_secret_is_given_by_reference_and_wording_by_its_file() -> None:
    fields = config_fields(PRETRAINED, ["teacher", "agent"])
    config = _checked(fields, {"teacher": {"api_key": "env:KEY"}})
    assert config["agent"]["wording"] is None
    given = given_settings({"ops": {"teacher_trajectories": {"config": config}}}, PRETRAINED)
    assert given == {"teacher.api_key": "env:KEY"}
    profile = with_given(PRETRAINED, given)
    assert profile.teacher.api_key is not None
    assert given_settings({"ops": {"t": {"config": {"teacher": {"api_key": "env:KEY"}}}}}, profile) == {}


def _leaves(section: Section, above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, type and value of every setting."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.annotation, value


def _others(annotation: Any, value: Any) -> list[Any]:
    """Values of a type other than the one given."""
    if get_origin(annotation) is Literal:
        return [other for other in get_args(annotation) if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value / 2 + 0.001, value * 2]
    if isinstance(value, str):
        return ["gpu.yaml", "env:OTHER", "cuda"]
    return [1, 0.5, "env:OTHER"] if value is None else []


@pytest.mark.parametrize("profile", [NANO, PRETRAINED], ids=lambda profile: profile.name)
def test_whatever_decides_a_stage_can_be_given_to_it(profile: Profile) -> None:
    """`reads` names all that `settings` makes of the profile: each setting is changed, and the stages are asked."""

    def decided(changed: Profile) -> dict[str, str]:
        found = {}
        for name, stage in graph.stages().items():
            if stage.applies(profile):
                chosen = stage.settings(changed, changed.corpora.train)
                plain = {k: v.model_dump(mode="json") if isinstance(v, Section) else v for k, v in chosen.items()}
                found[name] = json.dumps(plain, sort_keys=True, default=str)
        return found

    before, tried = decided(profile), 0
    for key, annotation, value in _leaves(profile):
        if key.partition(".")[0] in ("name", "seed", "corpora", "study") or key.startswith("agent.wording"):
            continue
        for other in _others(annotation, value):
            try:
                changed = derived(profile, {key: other}, "test")
            except ConfigError:
                continue
            tried += 1
            for name, text in decided(changed).items():
                if text != before[name]:
                    reads = graph.stages()[name].reads
                    assert any(f"{key}.".startswith(f"{read}.") for read in reads), f"{name} reads {key}"
            break
    assert tried > 90


@pytest.mark.parametrize("started_with_it", [False, True], ids=["in this process", "by the launcher"])
def test_a_run_works_under_what_it_was_given(started_with_it: bool, tmp_path: Path) -> None:
    """Once: a run whose process was started with the values has them in its profile already."""
    given = {"grpo.steps": 7}
    base = with_given(NANO, given) if started_with_it else NANO
    found: list[tuple[Profile, dict[str, Any]]] = []

    @dg.op(config_schema=config_fields(base, ["grpo"]), required_resource_keys={"workspace"})
    def stage(context: dg.OpExecutionContext) -> None:
        workspace = context.resources.workspace
        found.append((workspace.settings, workspace.given))

    @dg.job(resource_defs={"workspace": resources_for(Home(tmp_path), base)["workspace"]})
    def job() -> None:
        stage()

    tags = {GIVEN_TAG: json.dumps(given)} if started_with_it else {}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    for config, expected in (({"grpo": {"steps": 7}}, given), ({}, {} if not started_with_it else given)):
        job.execute_in_process(run_config={"ops": {"stage": {"config": config}}, **quiet}, tags=tags)
        settings, said = found.pop()
        assert said == expected
        assert settings == with_given(NANO, expected)
