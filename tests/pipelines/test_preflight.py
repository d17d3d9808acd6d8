"""What a profile lacks is said in one line, from the machine as found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.preflight import Machine, inspect_machine, lacking, require, weights_present
from visor_core.config import IndexConfig, ModelConfig, Profile
from visor_core.errors import MissingDependencyError
from visor_core.lineage.machine import Gpu, parse_gpus

LAPTOP = Machine("3.11.7", "Linux x86_64", 2, 8.0, 50.0, ("avx2",), ())
SERVER = Machine("3.11.7", "Linux x86_64", 64, 512.0, 900.0, ("avx512f",), (Gpu("H100", 80.0), Gpu("H100", 80.0)))


def _checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_the_embedded_default_needs_nothing() -> None:
    assert lacking(Profile(name="nano"), LAPTOP) == []
    require(Profile(name="nano"), LAPTOP)


def test_everything_missing_is_named_in_one_line() -> None:
    profile = Profile(
        name="big",
        model=ModelConfig(name="someone/absent-model", requires=("no_such_module",), min_gpu_gib=40),
        index=IndexConfig(embedders=("no-package-needed", "colqwen2.5")),
    )
    with pytest.raises(MissingDependencyError) as caught:
        require(profile, LAPTOP)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("big", "no_such_module", "at least 40 GiB (none was found)", "hf download someone/absent-model"):
        assert words in message


def test_gpu_memory_is_compared_with_the_largest() -> None:
    asks = Profile(name="p", model=ModelConfig(min_gpu_gib=79))
    assert lacking(asks, SERVER) == []
    too_much = Profile(name="p", model=ModelConfig(min_gpu_gib=100))
    assert lacking(too_much, SERVER) == ["a CUDA GPU with at least 100 GiB (the largest here has 80 GiB)"]


def test_every_process_needs_a_gpu() -> None:
    def faults(needed: float, machine: Machine) -> list[str]:
        return lacking(Profile(name="p", accelerate="fsdp.yaml", model=ModelConfig(min_gpu_gib=needed)), machine)

    assert faults(79, SERVER) == ["8 CUDA GPUs with at least 79 GiB each (2 found)"]
    assert faults(100, SERVER) == ["8 CUDA GPUs with at least 100 GiB each (the largest here has 80 GiB)"]
    assert faults(79, replace(SERVER, gpus=SERVER.gpus * 4)) == []


def test_an_embedder_needs_its_revision_and_its_device() -> None:
    embedders = ("colqwen2@abc", "colpali:me/mine", "hash")
    (first, second, third) = lacking(Profile(name="p", index=IndexConfig(embedders=embedders, device="cuda")), LAPTOP)
    assert "hf download vidore/colqwen2-v1.0-hf --revision abc" in first
    assert "hf download me/mine)" in second
    assert "index.device = cuda" in third


def test_weights_in_a_folder(tmp_path: Path) -> None:
    assert weights_present(str(_checkpoint(tmp_path / "model")))
    assert not weights_present(str(tmp_path))
    assert not weights_present("someone/absent-model")
    assert not weights_present("not a repository name ///")


def test_nvidia_smi_lines() -> None:
    assert parse_gpus("NVIDIA H200, 143771\nNVIDIA T4, 15360\n") == (
        Gpu("NVIDIA H200", 143771 / 1024),
        Gpu("NVIDIA T4", 15.0),
    )
    assert parse_gpus("No devices were found\n") == ()
    assert parse_gpus("") == ()


def test_this_machine_has_a_cpu(tmp_path: Path) -> None:
    machine = inspect_machine(tmp_path / "not" / "there" / "yet")
    assert machine.cpus >= 1
    assert machine.memory_gib > 0
    assert machine.disk_gib > 0
