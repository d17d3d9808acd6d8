"""How large things get: checkpoints on disk, training and engine in a GPU's memory. Sums over a model's shape.

Bytes are counted as they are written and held: AdamW keeps two float32 moments a trained weight, a trained weight and
its gradient are float32, and so is the reference of GRPO. Under LoRA the model itself stays in the engine's precision,
and only the adapters are trained. What activations take is the coarsest: the states that recomputation keeps, and one
layer computed anew. Tests compare the sums with a small model's real checkpoint, state and saved activations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assets_defs.machinery.launching import launch_of
from pipelines.figures import NOTHING, Figure, number
from visor_core.config import GRPOConfig, Profile, SFTConfig

GIB = Figure(2.0**30, "2³⁰ bytes")
FLOAT = number(4, "bytes")
MOMENTS = number(8, "bytes of AdamW's moments")
OTHERS = "Qwen/Qwen2.5-VL-7B-Instruct"
"""Whose shape stands in for a model that is not in the list."""
CHUNK_LOGITS = number(32_000_000, "logits a chunk")
"""As visor_core.training.forward cuts them, whose import would load PyTorch."""
LOGIT_COPIES = number(6, "of them")
"""Logits, their log-softmax, its exponential and product, and the gradients of two."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Weights of a model: all, of its vision side, of its embedding, of a decoder layer; widths and key-value heads."""

    name: str
    parameters: float
    vision: float
    embedding: float
    layer: float
    layers: int
    hidden: int
    intermediate: int
    key_value: int
    tied: bool = False

    @property
    def adapted(self) -> float:
        """Inputs and outputs of a decoder layer's seven projections: what a rank of LoRA adds a layer."""
        attention = 4 * self.hidden + 2 * (self.hidden + self.key_value)
        return float(attention + 3 * (self.hidden + self.intermediate))


def shape_of(name: str, models: Mapping[str, Mapping[str, Any]]) -> Shape:
    """A model's recorded shape, or that of `OTHERS`."""
    known = name if name in models else OTHERS
    return Shape(known, **models[known])


def trained(shape: Shape, config: SFTConfig | GRPOConfig) -> Figure:
    """Weights that an optimizer changes."""
    if config.lora_rank:
        # Adapters of a vision side that is not frozen are few beside these.
        layers = number(shape.layers, "layers") * number(shape.adapted, "inputs and outputs")
        return number(config.lora_rank, "of rank") * layers
    if config.freeze_vision:
        return number(shape.parameters - shape.vision, "weights without vision")
    return number(shape.parameters, "weights")


def saved_checkpoints(steps: int, config: SFTConfig | GRPOConfig) -> int:
    """Checkpoints on disk at once at most: the newest, the best, and the one being written before the oldest goes."""
    return min(math.ceil(steps / config.save_steps), config.save_total_limit + 2)


def checkpoint_disk(shape: Shape, steps: int, config: SFTConfig | GRPOConfig, rest: Figure, dtype: int) -> Figure:
    """Bytes of a training stage: its checkpoints and what MLflow keeps of them, the final folder, likewise twice.

    Args:
        rest: bytes of a folder's other files, tokenizer and states of random numbers.
        dtype: bytes of a weight that LoRA leaves as it is.
    """
    changed = trained(shape, config)
    if config.lora_rank:
        weights = changed * FLOAT
        linear = number(shape.layer * shape.layers, "merged weights")
        others = number(shape.parameters - shape.layer * shape.layers, "others")
        final = linear * FLOAT + others * number(dtype, "bytes")
    else:
        weights = final = number(shape.parameters, "weights") * FLOAT
    held = number(saved_checkpoints(steps, config), "checkpoints at once")
    twice = number(2, "copies, one in MLflow")
    return held * (twice * weights + changed * MOMENTS + rest) + twice * (final + rest)


def training_memory(profile: Profile, shape: Shape) -> dict[str, Figure]:
    """Bytes that GRPO needs on each GPU beside the engine, by what they are for."""
    grpo, shards = profile.grpo, number(launch_of(profile).shards, "GPUs")
    changed, everything = trained(shape, grpo), number(shape.parameters, "weights")
    found: dict[str, Figure] = {}
    if grpo.lora_rank:
        found["weights"] = (
            everything * number(bytes_of(profile.model.dtype), "bytes") / shards + changed * FLOAT / shards
        )
    else:
        found["weights"] = everything * FLOAT / shards
        if grpo.beta:
            found["reference"] = everything * FLOAT / shards
    found["gradients"] = changed * FLOAT / shards
    found["optimizer"] = changed * MOMENTS / shards
    if shards.value > 1:
        found["gathered"] = _gathered(shape)
    found["activations"] = activations(shape, grpo)
    found["logits"] = CHUNK_LOGITS * LOGIT_COPIES * FLOAT
    return found


def _gathered(shape: Shape) -> Figure:
    """Whole pieces of a sharded model in a GPU at once: two layers, a layer's gradient, embedding and head with its."""
    layers = number(3, "layers and gradients") * number(shape.layer, "weights") * FLOAT
    return layers + number(3, "embedding, head, gradient") * number(shape.embedding, "weights") * FLOAT


def activations(shape: Shape, config: SFTConfig | GRPOConfig) -> Figure:
    """What a backward pass needs of the forward pass of one micro-batch.

    With recomputation each layer keeps its input in float32, the closing norm two such states, and the layer that is
    computed anew about 12 values a hidden and 4 an intermediate one. Without, every layer keeps those.
    """
    longest = config.micro_batch_tokens
    longest = max(longest, config.max_length if isinstance(config, SFTConfig) else _longest_row(config))
    tokens = number(longest, "tokens")
    values = number(12) * number(shape.hidden, "hidden") + number(4) * number(shape.intermediate, "intermediate")
    inner = tokens * values * number(2 if config.optimizer.bf16 else 4, "bytes")
    if not config.optimizer.gradient_checkpointing:
        return number(shape.layers, "layers") * inner
    return number(shape.layers + 2, "states") * tokens * number(shape.hidden, "hidden") * FLOAT + inner


def _longest_row(config: GRPOConfig) -> int:
    return config.max_prompt_tokens + config.max_completion_tokens


def engine_memory(profile: Profile, shape: Shape, context_tokens: int) -> Figure:
    """Bytes of vLLM's weights and of the key-value cache of one longest sequence."""
    size = number(bytes_of(profile.model.dtype), "bytes")
    cache = number(2, "key and value") * number(shape.layers, "layers") * number(shape.key_value, "values") * size
    return number(shape.parameters, "weights") * size + number(context_tokens, "tokens") * cache


def least_gpu(profile: Profile, parts: Mapping[str, Figure], engine: Figure) -> dict[str, Figure]:
    """What a GPU must have for training, and for the engine beside it; the larger of the two decides.

    vLLM takes its share of the whole GPU, `grpo.engine_memory`; the rest is for training and the embedder of searches.

    Args:
        parts: GiB of what trains, by what it is.
        engine: GiB of the engine.
    """
    training = sum((number(figure.value, name) for name, figure in parts.items()), NOTHING)
    if profile.model.engine != "vllm":
        return {"training in all": training}
    share = profile.grpo.engine_memory
    return {
        "training in all": training / number(1 - share, "of the GPU"),
        "engine": engine / number(share, "of the GPU"),
    }


def bytes_of(dtype: str) -> int:
    """Bytes of one weight."""
    return 2 if dtype == "bfloat16" else 4
