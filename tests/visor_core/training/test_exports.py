"""What training hands on and takes up: merged adapters, the reference model, checkpoints to continue from."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from tests.tiny_model import picture
from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.test_stages import lesson_config, lessons
from visor_core.errors import DataError
from visor_core.policies.transformers import load_checkpoint
from visor_core.training.checkpoints import mark_complete
from visor_core.training.loop import load_for_training, lora
from visor_core.training.sft import train_sft
from visor_core.training.weights import whole_state, write_weights

SMALL = 1e-5
"""Standard deviation of what an adapter adds: an early step's, far below the grain of bfloat16 at these weights."""


@pytest.fixture
def adapted(checkpoint: Path) -> tuple[Any, Any]:
    """The tiny model in bfloat16 with small adapters, and its processor."""
    model, processor = load_for_training(checkpoint, dtype="bfloat16")
    wrapped = get_peft_model(model, lora(4, freeze=False))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in wrapped.modules():
            if hasattr(module, "lora_B"):
                down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
                up.normal_(generator=generator)
                up.mul_(SMALL / float((module.scaling["default"] * up @ down).std()))
    return wrapped.eval(), processor


def test_small_deltas_survive_the_merge(adapted: tuple[Any, Any]) -> None:
    """No adapted weight stays as it was where its adapter adds something."""
    model, _ = adapted
    state = whole_state(Accelerator(cpu=True), model)
    lost = total = 0
    worst = 0.0
    for name, module in model.named_modules():
        if not hasattr(module, "lora_B"):
            continue
        added = module.get_delta_weight("default").float()
        begun = module.base_layer.weight.float()
        merged = state[f"{name.removeprefix('base_model.model.')}.weight"].float()
        lost += int(((merged == begun) & (added != 0)).sum())
        total += added.numel()
        worst = max(worst, float((merged - begun - added).detach().abs().max() / begun.abs().max()))
    assert lost / total < 0.01
    assert worst < 1.2e-7  # of a weight: the grain of float32


def test_a_merged_folder_gives_the_logits_of_its_adapter(adapted: tuple[Any, Any], tmp_path: Path) -> None:
    """To a hundredth of what the adapter changes; what vLLM is handed is written by the same two functions."""
    model, processor = adapted
    state = whole_state(Accelerator(cpu=True), model)
    write_weights(model, state, processor, tmp_path)
    merged, _ = load_checkpoint(tmp_path)
    ids = torch.arange(8, 40)[None]
    with torch.no_grad():
        adapter = model.float()
        with adapter.disable_adapter():
            plain = adapter(input_ids=ids).logits
        own = adapter(input_ids=ids).logits
        found = merged(input_ids=ids).logits
    change = float((own - plain).norm())
    assert change > 0.0
    assert float((found - own).norm()) < 0.01 * change


def test_the_reference_is_loaded_as_the_trained_model_is(checkpoint: Path, tmp_path: Path) -> None:
    """A wrapper's prefix is taken off for both; where it was left, the reference was of random numbers."""
    folder = tmp_path / "wrapped"
    model, processor = load_checkpoint(checkpoint)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    prefixed = {f"module.{key}": value for key, value in weights.items()}
    save_file(prefixed, folder / "model.safetensors", metadata={"format": "pt"})
    trainer = build_trainer(folder, tmp_path / "out", bandit_config(beta=0.1))
    for trained in (trainer.ref_model, trainer.model):
        found = dict(trained.named_parameters())
        assert sum(not torch.equal(found[key], value) for key, value in weights.items()) == 0
    assert trainer.ref_model.config._attn_implementation == trainer.model.config._attn_implementation


def continued(checkpoint: Path, output: Path, change: Any) -> str:
    """What is said of a run whose last checkpoint was changed after it was written."""
    train_sft(checkpoint, lessons(), picture, lesson_config(steps=2, save_steps=1), output, 0)
    (output / "final").rename(output / "elsewhere")
    file = output / "checkpoint-2" / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    try:
        train_sft(checkpoint, lessons(), picture, lesson_config(steps=3, save_steps=1), output, 0)
    except DataError as error:
        return str(error)
    return ""


def test_an_unfit_checkpoint_is_not_continued_from(checkpoint: Path, tmp_path: Path) -> None:
    """Weights that it lacks would stay as the base model's."""
    half = continued(checkpoint, tmp_path / "half", lambda w: {k: w[k] for k in sorted(w)[:20]})
    assert "39 of the model's 59 are missing" in half
    spoilt = continued(checkpoint, tmp_path / "nan", lambda w: {k: v * float("nan") for k, v in w.items()})
    assert "hold NaN or infinity" in spoilt


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_checkpoints_are_written_with_the_users_umask(checkpoint: Path, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        train_sft(checkpoint, lessons(), picture, lesson_config(steps=1, save_steps=1), tmp_path, 0)
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*") if p.is_file()}
    assert {"checkpoint-1/model.safetensors", "final/model.safetensors"} <= modes.keys()
    assert set(modes.values()) == {mode}, modes


def test_old_checkpoints_go_once_a_newer_one_is_complete(tmp_path: Path) -> None:
    """The newest two and the best stay; of a torn one nothing is said, and equals are decided for the newest."""
    from visor_core.training.checkpoints import best_checkpoint, remove_old

    for step, reward in enumerate((0.2, 0.9, 0.1, 0.3, 0.3), start=1):
        (tmp_path / f"checkpoint-{step}").mkdir()
        mark_complete(tmp_path / f"checkpoint-{step}", step, {"reward": reward, "loss": -reward})
        remove_old(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    (tmp_path / "checkpoint-6").mkdir()  # being written
    remove_old(tmp_path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-5", "checkpoint-6"]
    assert best_checkpoint([tmp_path / "checkpoint-2", tmp_path / "checkpoint-5"]) == tmp_path / "checkpoint-2"


@pytest.mark.parametrize(("device", "cached"), [("cpu", True), ("cuda", False)])
def test_casts_are_brief_on_accelerators(device: str, cached: bool) -> None:
    """There autocast would keep a bfloat16 copy of every weight for the whole pass."""
    from visor_core.training.loop import BriefCasts

    class Made:
        def create_accelerator_and_postprocess(self) -> None:
            handler = AutocastKwargs() if device == "cpu" else None
            self.accelerator = SimpleNamespace(device=torch.device(device), autocast_handler=handler)

    class Brief(BriefCasts, Made):
        pass

    trainer = Brief()
    trainer.create_accelerator_and_postprocess()
    model = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16, **trainer.accelerator.autocast_handler.to_kwargs()):
        assert torch.is_autocast_cache_enabled() is cached
        assert model(torch.ones(1, 4)).dtype == torch.bfloat16
