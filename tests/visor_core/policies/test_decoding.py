"""The decoding loop against transformers' own `generate`, and what it spares."""

from typing import Any

import pytest
import torch

from tests.tiny_model import build_model, build_processor, picture, prompt
from tests.visor_core.training.qwen import QwenEncoder, build_qwen
from visor_core.policies.base import ImageRef, Sampling
from visor_core.policies.decoding import Sampler, decode
from visor_core.policies.encoding import TokenBatch, pad_left
from visor_core.policies.transformers import TransformersPolicy

TOKENS = 12


def qwen_prompts() -> tuple[Any, TokenBatch, dict[str, Any]]:
    """Prompts of Qwen2.5-VL's architecture with two pictures of different sizes, one and none."""
    model, encoder = build_qwen().eval(), QwenEncoder()
    wide, tall = ImageRef("a", 112, 56), ImageRef("b", 56, 84)
    shown = [(wide, tall), (tall,), ()]
    ids = [
        [1, *(i for ref in refs for i in encoder.image(ref).ids), *range(20, 25 + n)] for n, refs in enumerate(shown)
    ]
    batch = pad_left(ids, 0)
    pictures = encoder.stack([encoder.image(ref) for refs in shown for ref in refs])
    types = (batch.input_ids == encoder.image_token_id).long()
    return model, batch, {"mm_token_type_ids": types, **pictures}


def idefics_prompts() -> tuple[Any, TokenBatch, dict[str, Any]]:
    """Prompts of Idefics3's architecture with two pictures and one."""
    policy = TransformersPolicy.from_model(build_model(), build_processor(), picture)
    rows = [policy.encoder.encode(prompt("acme staff q1", pages)) for pages in (("a", "b"), ("a",))]
    batch = pad_left([row.input_ids for row in rows], policy.encoder.pad_token_id)
    return policy.model, batch, policy.encoder.stack([image for row in rows for image in row.images])


@pytest.mark.parametrize("prompts", [qwen_prompts, idefics_prompts], ids=["qwen2.5-vl", "idefics3"])
def test_greedy_replies_are_those_of_generate(prompts: Any) -> None:
    model, batch, pictures = prompts()
    expected = model.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=TOKENS, min_new_tokens=TOKENS,
        do_sample=False, **pictures,
    )[:, batch.input_ids.shape[1] :].tolist()  # fmt: skip
    ends = {model.generation_config.eos_token_id}
    # Rows of different lengths, so that rows leave the batch; two of them answer the first prompt.
    copies, limits = [0, *range(len(expected))], [3, *range(TOKENS, TOKENS - 5 * len(expected), -5)]
    sampler = Sampler([Sampling(0.0, n) for n in limits], sorted(ends), (), None)
    decode(model, batch, copies, sampler, pictures)
    assert sampler.tokens == [expected[place][:n] for place, n in zip(copies, limits, strict=True)]


def test_equal_prompts_are_read_once_and_ended_rows_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = TransformersPolicy.from_model(build_model(), build_processor(), picture, max_batch=16)
    asked = [prompt("acme staff q1", ("a",))] * 7 + [prompt("sum", ("b",))]
    limits = [Sampling(1.0, 2 if n < 6 else 9, key=(n,)) for n in range(8)]
    sizes: list[tuple[int, ...]] = []
    forward = policy.model.forward

    def counting(**arguments: Any) -> Any:
        sizes.append(tuple(arguments["input_ids"].shape))
        return forward(**arguments)

    alone = [policy.complete_batch([p], [s])[0] for p, s in zip(asked, limits, strict=True)]
    monkeypatch.setattr(policy.model, "forward", counting)
    policy.ends = ()  # so that replies are as long as their limits
    together = policy.complete_batch(asked, limits)
    assert sizes[0][0] == 2
    assert [size[0] for size in sizes[1:]] == [8] + [2] * 7
    for one, among in zip(alone, together, strict=True):
        assert among.token_ids[: len(one.token_ids)] == one.token_ids
        assert torch.allclose(torch.tensor(among.logprobs[: len(one.logprobs)]), torch.tensor(one.logprobs), atol=1e-4)
