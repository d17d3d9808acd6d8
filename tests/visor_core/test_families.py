"""What a profile leaves open follows the known family of its model and teacher; what contradicts it is said."""

import json
from pathlib import Path

import pytest
import yaml

from visor_core.config import AgentConfig, Profile, contradictions, derived, family_of, fit_agent, load_profile
from visor_core.policies.image_tokens import picture_tokens

PROFILES = Path(__file__).resolve().parents[2] / "pipelines" / "profiles"


def profile(tmp_path: Path, **sections: object) -> Profile:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", **sections}))
    return load_profile(path)


@pytest.mark.parametrize(
    ("name", "coordinates", "multiple"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "pixels", 28),
        ("Qwen/Qwen2-VL-2B-Instruct", "thousand", 28),
        ("Qwen/Qwen3-VL-8B-Instruct", "thousand", 32),
        ("qwen3-vl-235b-a22b", "thousand", 32),
        ("gpt-x", "pixels", 28),
    ],
)
def test_a_models_frame_and_multiple_are_chosen_where_the_profile_leaves_them_open(
    tmp_path: Path, name: str, coordinates: str, multiple: int
) -> None:
    agent = profile(tmp_path, model={"name": name}).agent
    assert (agent.image.multiple, agent.coordinates) == (multiple, coordinates)
    assert picture_tokens(multiple * 3, multiple * 5, agent.image) == 15
    again = derived(profile(tmp_path, model={"name": name}), {"seed": 1}, "test").agent
    assert again == agent


def test_a_checkpoints_configuration_says_its_family_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "qwen2.5-vl-tuned"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_vl"}))
    assert profile(tmp_path, model={"name": str(folder)}).agent.image.multiple == 32
    (folder / "config.json").write_text("[]")
    assert family_of(str(folder)) is None
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen2-VL-2B"}))
    found = family_of(str(folder))
    assert found is not None
    assert found.name == "Qwen2-VL"
    assert family_of("") is family_of("nano") is None


def test_the_teacher_has_a_frame_and_sizes_of_its_own(tmp_path: Path) -> None:
    teacher = {"endpoint": "http://127.0.0.1:9/v1", "model": "Qwen/Qwen3-VL-235B-A22B-Instruct"}
    agent = {"coordinates": "pixels", "image": {"max_pixels": 300_000, "multiple": 28}}
    mine = profile(tmp_path, model={"name": "Qwen/Qwen2.5-VL-7B-Instruct"}, agent=agent, teacher=teacher)
    played = mine.teacher.plays(mine.agent)
    assert (mine.agent.coordinates, mine.agent.image.multiple) == ("pixels", 28)
    assert (played.coordinates, played.image.multiple, played.image.max_pixels) == ("thousand", 32, 300_000)
    assert mine.frame_warnings() == []
    said = profile(tmp_path, teacher={**teacher, "coordinates": "grid10", "image": {"multiple": 64}})
    assert said.teacher.plays(said.agent).image.multiple == 64
    assert ["teacher.coordinates=thousand" in line for line in said.frame_warnings()] == [True]
    plain = profile(tmp_path, agent=agent, teacher={"endpoint": "http://127.0.0.1:9/v1", "model": "big"})
    assert plain.teacher.plays(plain.agent) == plain.agent


def test_a_contradiction_is_a_warning_with_the_setting_to_use(tmp_path: Path) -> None:
    agent = {"coordinates": "pixels", "image": {"multiple": 28}}
    mine = profile(tmp_path, model={"name": "Qwen/Qwen3-VL-8B-Instruct"}, agent=agent)
    assert (mine.agent.coordinates, mine.agent.image.multiple) == ("pixels", 28)  # what is said explicitly stays
    first, second = mine.frame_warnings()
    assert first.endswith("use --set agent.coordinates=thousand")
    assert second.endswith("use --set agent.image.multiple=32")
    fitted = fit_agent(AgentConfig(), family_of("qwen3-vl"))
    assert contradictions("qwen3-vl", fitted.coordinates, fitted.image, "agent") == []


@pytest.mark.parametrize("name", sorted(path.stem for path in PROFILES.glob("*.yaml")))
def test_no_profile_of_the_project_contradicts_its_model(name: str) -> None:
    assert load_profile(PROFILES / f"{name}.yaml").frame_warnings() == []
