"""How a worker is launched: each profile on its own devices."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from assets_defs.machinery.launching import ACCELERATE_CONFIGS, Launch, accelerate_config, launch_of, launcher
from assets_defs.machinery.stage import Node
from assets_defs.machinery.training_process import run_worker
from pipelines.resources import PROFILES
from visor_core.config import Profile, load_profile
from visor_core.errors import ConfigError


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_that_needs_a_gpu_trains_on_gpus(path: Path) -> None:
    profile = load_profile(path)
    launching = yaml.safe_load(accelerate_config(profile).read_text(encoding="utf-8"))
    assert launching["use_cpu"] is (profile.model.min_gpu_gib == 0)
    expected = {"nano": Launch(2, 1, cpu=True), "smolvlm": Launch(1, 1, cpu=True), "qwen2.5-vl-7b": Launch(8, 8)}
    assert launch_of(profile) == expected.get(path.stem, Launch(1, 1))


@pytest.mark.parametrize("path", sorted(ACCELERATE_CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_launcher_accepts_every_file(path: Path) -> None:
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "-m", "none"])
    arguments, given, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == given.num_processes
    assert arguments.use_fsdp is (path.stem == "fsdp")
    if arguments.use_fsdp:
        handed = prepare_multi_gpu_env(arguments)
        wanted = {"VERSION": "2", "STATE_DICT_TYPE": "FULL_STATE_DICT", "RESHARD_AFTER_FORWARD": "true"}
        assert {key: handed[f"FSDP_{key}"] for key in wanted} == wanted


def test_a_file_of_several_machines_and_one_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    profile = Profile(name="p", accelerate=str(path))
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 8\nnum_machines: 2\n", encoding="utf-8")
    assert launch_of(profile) == Launch(4, 1)
    path.write_text("- a list", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no launch file"):
        launch_of(profile)


def test_the_worker_is_launched_by_the_profiles_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("use_cpu: false", encoding="utf-8")
    commands: list[list[str]] = []

    def run(*, command: list[str], **options: Any) -> Any:
        commands.append(command)
        return SimpleNamespace(get_custom_messages=list)

    tracking = SimpleNamespace(experiment="e", uri="", artifacts="", run=lambda *a: nullcontext("r"))
    for name, expected in (("gpu.yaml", "infra/accelerate/gpu.yaml"), (str(own), str(own))):
        work = SimpleNamespace(
            profile=Profile(name="p", accelerate=name), folder=tmp_path, home=SimpleNamespace(root=tmp_path),
            node=Node("sft_checkpoint"), context=SimpleNamespace(run=SimpleNamespace(run_id="d")), tracking=tracking,
            pipes=SimpleNamespace(run=run), show_links=lambda: None,
        )  # fmt: skip
        run_worker(work, "sft", {}, accelerate=True)  # type: ignore[arg-type]
        command = commands[-1]
        assert command[command.index("--config_file") + 1].endswith(expected)
        assert command[-3:] == ["-m", "pipelines.workers.sft", str(tmp_path / "order.json")]
        assert json.loads((tmp_path / "order.json").read_text(encoding="utf-8"))["profile"]["accelerate"] == name


def test_several_processes_on_the_processor_are_started_without_accelerate(tmp_path: Path) -> None:
    """Its launcher would start one."""
    two = Profile(name="p", accelerate="cpu-2.yaml")
    assert launcher(two, launch_of(two)) == ["-m", "pipelines.workers.processes", "2"]
    alone = tmp_path / "one.yaml"
    alone.write_text("use_cpu: true\nnum_processes: 1", encoding="utf-8")
    one = Profile(name="p", accelerate=str(alone))
    assert launcher(one, launch_of(one))[:2] == ["-m", "accelerate.commands.launch"]


def test_a_file_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"tpu\.yaml; choose one of cpu-2\.yaml, cpu\.yaml, fsdp\.yaml, gpu\.yaml"):
        accelerate_config(Profile(name="p", accelerate="tpu.yaml"))
