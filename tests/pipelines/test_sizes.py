"""Figures of an estimate against what was measured: a small model's real checkpoints, states and saved activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from pipelines.estimates import estimate, least_gpu_gib, memory_gib, shape, unit_costs
from pipelines.figures import Figure, number
from pipelines.sizes import Shape, activations, checkpoint_disk, saved_checkpoints, shape_of, training_memory
from tests.tiny_model import build_model, picture, save_checkpoint
from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.hand_rows import row, weighted
from tests.visor_core.training.test_stages import lesson_config, lessons
from visor_core.config import GRPOConfig, OptimizerConfig, Profile, SFTConfig, load_profile
from visor_core.training.checkpoints import MARKER
from visor_core.training.sft import train_sft

PROFILES = Path(__file__).resolve().parents[2] / "pipelines" / "profiles"
VISION = {"vision_model", "visual", "vision_tower", "connector", "multi_modal_projector"}


def measured(name: str, model: Any) -> Shape:
    """A model's shape, counted."""
    text = model.config.get_text_config()
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    layers = [module for module in model.modules() if type(module).__name__.endswith("DecoderLayer")]
    return Shape(
        name,
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for key, p in model.named_parameters() if VISION & set(key.split("."))),
        embedding.numel(),
        sum(p.numel() for p in layers[0].parameters()),
        len(layers),
        text.hidden_size,
        text.intermediate_size,
        text.num_key_value_heads * (text.hidden_size // text.num_attention_heads),
        head is embedding,
    )


def qwen(hidden: int, intermediate: int, layers: int, heads: int, pairs: int, words: int, *, tied: bool) -> Any:
    """Qwen2.5-VL without memory, as its model card's config.json has it."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": hidden}
    text = {
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "vocab_size": words,
        "num_attention_heads": heads, "num_key_value_heads": pairs, "tie_word_embeddings": tied,
    }  # fmt: skip
    with torch.device("meta"):
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)
        model = Qwen2_5_VLForConditionalGeneration(config)
    if tied:
        model.tie_weights()
    return model


def nano() -> Any:
    from visor_core.nano.model import build_model as build
    from visor_core.nano.model import build_processor

    return build(build_processor().tokenizer, 0)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("nano", nano),
        ("Qwen/Qwen2.5-VL-3B-Instruct", lambda: qwen(2048, 11008, 36, 16, 2, 151_936, tied=True)),
        ("Qwen/Qwen2.5-VL-7B-Instruct", lambda: qwen(3584, 18944, 28, 28, 4, 152_064, tied=False)),
    ],
)
def test_recorded_shapes_are_those_of_the_architecture(name: str, build: Callable[[], Any]) -> None:
    costs = unit_costs()
    known = Shape("nano", **costs["nano"]["shape"]) if name == "nano" else shape_of(name, costs["pretrained"]["models"])
    assert known == measured(name, build())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tiny() -> Shape:
    return measured("tiny", build_model())


def test_checkpoints_are_limited_and_as_large_as_estimated(checkpoint: Path, tiny: Shape, tmp_path: Path) -> None:
    """Two newest, the best, `final/`; bytes within 2 % of the sum, the copies that MLflow keeps left out."""
    held: list[int] = []
    config = lesson_config(steps=8, save_steps=1, freeze_vision=True)

    def seen(folder: Path, step: int, metrics: object) -> None:
        held.append(len(list(tmp_path.glob("checkpoint-*"))))

    result = train_sft(checkpoint, lessons(), picture, config, tmp_path, 0, on_checkpoint=seen)
    kept = sorted(int(p.parent.name.rpartition("-")[2]) for p in tmp_path.glob(f"checkpoint-*/{MARKER}"))
    assert len(kept) <= 3
    assert kept[-2:] == [7, 8]
    assert result.checkpoint == tmp_path / "final"
    assert max(held) <= saved_checkpoints(8, config) == 4
    folder = tmp_path / "checkpoint-8"
    sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
    rest = sum(size for name, size in sizes.items() if name not in ("model.safetensors", "optimizer.pt"))
    one = lesson_config(steps=1, save_steps=1, freeze_vision=True)
    expected = checkpoint_disk(tiny, 1, one, number(rest), 4).value
    final = sum(p.stat().st_size for p in (tmp_path / "final").iterdir())
    # The sum has everything but the optimizer's state twice, for MLflow.
    found = sum(sizes.values()) + sizes["model.safetensors"] + 2 * final
    assert found == pytest.approx(expected, rel=0.02)


def test_training_holds_what_is_estimated(checkpoint: Path, tiny: Shape, tmp_path: Path) -> None:
    """Bytes of weights, gradients, AdamW's moments and reference in a real step of GRPO, to the byte but for steps."""
    trainer = build_trainer(
        checkpoint, tmp_path, bandit_config(beta=0.1, steps=1, dynamic_sampling="keep"),
        judge=lambda question, answer: float(len(answer) % 7),
    )  # fmt: skip
    gradients: list[int] = []
    trainer.add_callback(_Watching(lambda model: gradients.append(_bytes(p.grad for p in model.parameters()))))
    trainer.train()
    profile = Profile(name="p", accelerate="cpu.yaml", grpo=trainer.grpo)
    expected = training_memory(profile, tiny)
    assert _bytes(trainer.model.parameters()) == expected["weights"].value
    assert _bytes(trainer.ref_model.parameters()) == expected["reference"].value
    assert gradients == [expected["gradients"].value]
    moments = [value for state in trainer.optimizer.state.values() for value in state.values() if value.numel() > 1]
    assert _bytes(moments) == pytest.approx(expected["optimizer"].value, rel=1e-3)


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class _Watching(TrainerCallback):  # type: ignore[misc]
    """Looks at the model once its gradients are there."""

    def __init__(self, look: Callable[[Any], None]) -> None:
        self.look = look

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.look(kwargs["model"])


@pytest.mark.parametrize("recompute", [True, False])
def test_activations_are_of_the_size_estimated(checkpoint: Path, tmp_path: Path, recompute: bool) -> None:
    """What a forward pass saves for the backward one, within a factor of two; text rows, so no vision."""
    from visor_core.training.batching import collate
    from visor_core.training.forward import prepare

    optimizer = OptimizerConfig(gradient_checkpointing=recompute)
    trainer = build_trainer(checkpoint, tmp_path, bandit_config(optimizer=optimizer))
    if recompute:
        trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    rows = [w.row for w in weighted([row(trainer.encoder, i, i, (), 200 + i, [1, 2]) for i in range(8)])]
    batch = collate(rows, trainer.encoder)
    kept: dict[int, int] = {}
    weights = {p.data_ptr() for p in trainer.model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    trainer.model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        log_probs, *_ = trainer.model(row_batch=prepare(trainer.model, trainer.encoder, batch))
    model = measured("tiny", trainer.model)
    tokens = batch.input_ids.numel()
    config = SFTConfig(optimizer=optimizer, micro_batch_tokens=tokens, max_length=tokens)
    estimated = activations(model, config).value
    if recompute:
        # Only what stays until the backward pass; the layer computed anew comes after.
        estimated -= activations(replace(model, layers=-2), config).value
    assert log_probs.requires_grad
    assert 0.5 < sum(kept.values()) / estimated < 2.0


def test_profiles_ask_for_the_memory_that_was_derived() -> None:
    for name in ("qwen2.5-vl-3b", "qwen2.5-vl-7b"):
        profile = load_profile(PROFILES / f"{name}.yaml")
        assert 0.0 <= profile.model.min_gpu_gib - least_gpu_gib(profile) < 1.0, name


def test_the_parts_of_a_gpu_by_hand() -> None:
    """3B on one GPU: 20 bytes a weight; the engine has 0.3 of the GPU, what trains the rest."""
    profile = load_profile(PROFILES / "qwen2.5-vl-3b.yaml")
    parts = memory_gib(profile)
    four = ("weights", "reference", "gradients", "optimizer")
    assert sum(parts[name].value for name in four) == pytest.approx(20 * 3_754_622_976 / 2**30)
    trains = sum(value.value for name, value in parts.items() if name not in ("training in all", "engine"))
    assert parts["training in all"].value == pytest.approx(trains / 0.7)
    assert "÷ 0.7 of the GPU" in parts["training in all"].text
    seven = memory_gib(load_profile(PROFILES / "qwen2.5-vl-7b.yaml"))
    assert sum(seven[name].value for name in four) == pytest.approx(20 * 8_292_166_656 / 8 / 2**30)
    # A layer, not the model, is gathered: 0.87 GiB a layer, 2.03 GiB an embedding.
    assert seven["gathered"].value == pytest.approx(3 * (0.868 + 2.030), rel=1e-3)


def test_disk_of_a_large_profile_by_hand() -> None:
    """7B: a checkpoint is 12 bytes a weight, its copy in MLflow 4; four at once, not the 32 that are written."""
    profile = load_profile(PROFILES / "qwen2.5-vl-7b.yaml")
    stages = {stage.stage: stage for stage in estimate(profile)}
    weights, folder = 8_292_166_656, 20 * 2**20
    language = weights - 676_550_144
    expected = 4 * (2 * 4 * weights + 8 * language + folder) + 2 * (4 * weights + folder)
    assert stages["sft_checkpoint"].disk_gib.value == pytest.approx(expected / 2**30)
    unlimited = profile.sft.model_copy(update={"save_total_limit": 10_000})
    assert saved_checkpoints(1594, unlimited) == 32
    assert saved_checkpoints(1594, profile.sft) == 4
    assert shape(profile).name == profile.model.name


def test_lora_saves_adapters_only(tiny: Shape, checkpoint: Path) -> None:
    from peft import get_peft_model

    from visor_core.training.loop import load_for_training, lora

    model, _ = load_for_training(checkpoint)
    adapted = get_peft_model(model, lora(4, freeze=True))
    counted = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert training_memory(Profile(name="p", grpo=GRPOConfig(lora_rank=4)), tiny)["gradients"].value == 4 * counted


def test_a_figure_says_what_it_is() -> None:
    pages = number(1200, "pages")
    time = (pages + number(300, "more")) / number(2.5, "a second") * number(2)
    assert (time.value, time.text) == (1200.0, "(1,200 pages + 300 more) ÷ 2.5 a second × 2")
    assert (number(1) / (pages / number(4))).text == "1 ÷ (1,200 pages ÷ 4)"
    assert number(3.7546e9, "weights").text == "3.755e9 weights"
    assert Figure() + pages == pages
    assert not Figure()
