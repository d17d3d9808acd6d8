"""How a worker is launched: each profile on its own devices."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from assets_defs.stage import Node
from assets_defs.training_process import accelerate_config, run_worker
from pipelines.resources import PROFILES
from visor_core.config import Profile, load_profile
from visor_core.errors import ConfigError


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_that_needs_a_gpu_trains_on_gpus(path: Path) -> None:
    profile = load_profile(path)
    launching = yaml.safe_load(accelerate_config(profile).read_text(encoding="utf-8"))
    assert launching["use_cpu"] is (profile.model.min_gpu_gib == 0)
    assert (launching["num_processes"], launching["distributed_type"]) == (1, "NO")


def test_the_worker_is_launched_by_the_profiles_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("use_cpu: false", encoding="utf-8")
    commands: list[list[str]] = []

    def run(*, command: list[str], **options: Any) -> Any:
        commands.append(command)
        return SimpleNamespace(get_results=list)

    tracking = SimpleNamespace(experiment="e", open_run=lambda *a: "r", close_run=lambda *a, **k: None)
    for name, expected in (("gpu.yaml", "infra/accelerate/gpu.yaml"), (str(own), str(own))):
        work = SimpleNamespace(
            profile=Profile(name="p", accelerate=name), folder=tmp_path, home=SimpleNamespace(root=tmp_path),
            node=Node("sft_checkpoint"),
        )  # fmt: skip
        context = SimpleNamespace(run_id="d")
        run_worker(work, context, SimpleNamespace(run=run), tracking, "sft", {}, accelerate=True)  # type: ignore[arg-type]
        command = commands[-1]
        assert command[command.index("--config_file") + 1].endswith(expected)
        assert json.loads((tmp_path / "order.json").read_text(encoding="utf-8"))["profile"]["accelerate"] == name


def test_a_file_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"tpu\.yaml; choose one of cpu\.yaml, gpu\.yaml"):
        accelerate_config(Profile(name="p", accelerate="tpu.yaml"))
