"""The reference engine: reproducible draws, honest log-probabilities, batches that do not mix rows."""

import asyncio
from pathlib import Path

import pytest

from tests.tiny_model import build_model, build_processor, picture, prompt, replayed_logprobs
from visor_core.errors import PolicyError
from visor_core.policies.base import BatchPolicy, Completion, Sampling
from visor_core.policies.transformers import TransformersPolicy, load_checkpoint

PROMPTS = [
    prompt("acme staff q1", ("a",)),
    prompt("borel sales q2 and q3", ("b", "a")),
    prompt("sum", ()),
    prompt("look", ("a", "b", "c"), prefix="<think>"),
]


def samplings(temperature: float = 1.0, tokens: int = 10) -> list[Sampling]:
    return [Sampling(temperature, tokens, key=(3, i)) for i in range(len(PROMPTS))]


def written(completions: list[Completion]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    return [(c.token_ids, c.logprobs) for c in completions]


def test_is_a_batch_policy(live_policy: TransformersPolicy) -> None:
    assert isinstance(live_policy, BatchPolicy)


def test_the_same_keys_write_the_same_tokens(live_policy: TransformersPolicy) -> None:
    first = live_policy.complete_batch(PROMPTS, samplings())
    assert written(first) == written(live_policy.complete_batch(PROMPTS, samplings()))
    others = [Sampling(1.0, 10, key=(4, i)) for i in range(len(PROMPTS))]
    assert [c.token_ids for c in first] != [c.token_ids for c in live_policy.complete_batch(PROMPTS, others)]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_logprobs_are_those_of_the_sampling_distribution(live_policy: TransformersPolicy, temperature: float) -> None:
    for index, completion in enumerate(live_policy.complete_batch(PROMPTS, samplings(temperature))):
        expected = replayed_logprobs(live_policy, PROMPTS[index], completion, temperature or 1.0)
        assert completion.logprobs == pytest.approx(expected, abs=2e-4)


def test_rows_do_not_depend_on_their_neighbours(live_policy: TransformersPolicy) -> None:
    together = live_policy.complete_batch(PROMPTS, samplings())
    alone = [live_policy.complete_batch([p], [s])[0] for p, s in zip(PROMPTS, samplings(), strict=True)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert [c.prompt_ids for c in together] == [c.prompt_ids for c in alone]


def test_precomputed_features_and_raw_pixels_agree() -> None:
    features, pixels = (TransformersPolicy.from_model(build_model(), build_processor(), picture) for _ in range(2))
    assert features._takes_features
    pixels._takes_features = False
    for a, b in zip(
        features.complete_batch(PROMPTS, samplings()), pixels.complete_batch(PROMPTS, samplings()), strict=True
    ):
        assert a.token_ids == b.token_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_picture_tokens_are_never_sampled(live_policy: TransformersPolicy) -> None:
    hot = [Sampling(50.0, 64, key=(i,)) for i in range(8)]
    for completion in live_policy.complete_batch([PROMPTS[0]] * 8, hot):
        assert not set(completion.token_ids) & set(live_policy.forbidden)


def test_every_row_keeps_its_own_limit(live_policy: TransformersPolicy) -> None:
    limits = [Sampling(0.0, n) for n in (1, 4, 2, 7)]
    for completion, sampling in zip(live_policy.complete_batch(PROMPTS, limits), limits, strict=True):
        ended = completion.finish_reason == "stop"
        assert len(completion.token_ids) <= sampling.max_tokens
        assert ended or len(completion.token_ids) == sampling.max_tokens


def test_a_stop_string_ends_a_row(live_policy: TransformersPolicy) -> None:
    free = live_policy.complete_batch(PROMPTS[:1], [Sampling(1.0, 12, key=(3, 0))])[0]
    word = live_policy.encoder.tokenizer.decode(free.token_ids[4])
    stopped = live_policy.complete_batch(PROMPTS[:1], [Sampling(1.0, 12, stop=(word,), key=(3, 0))])[0]
    assert stopped.text.endswith(word)
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)]
    assert len(stopped.token_ids) == len(stopped.logprobs) <= 5


def test_text_starts_with_the_forced_prefix(live_policy: TransformersPolicy) -> None:
    completion = live_policy.complete_batch(PROMPTS[3:], samplings()[3:])[0]
    assert completion.text.startswith("<think>")
    assert completion.prompt_ids[-1] == live_policy.encoder.tokenizer.convert_tokens_to_ids("<think>")
    assert completion.image_tokens == 12


def test_concurrent_calls_share_batches(live_policy: TransformersPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = live_policy._run

    def counting(rows, prompts, samplings):  # type: ignore[no-untyped-def]
        sizes.append(len(rows))
        return run(rows, prompts, samplings)

    monkeypatch.setattr(live_policy, "_run", counting)

    async def gather() -> list[Completion]:
        calls = zip(PROMPTS * 2, samplings() * 2, strict=True)
        return list(await asyncio.gather(*(live_policy.complete(p, s) for p, s in calls)))

    together = asyncio.run(gather())
    assert sizes == [4, 4]
    assert [c.token_ids for c in together] == [
        c.token_ids for c in live_policy.complete_batch(PROMPTS, samplings())
    ] * 2


def test_live_weights_keep_their_training_mode() -> None:
    model = build_model().train()
    policy = TransformersPolicy.from_model(model, build_processor(), picture)
    policy.complete_batch(PROMPTS[:1], [Sampling(1.0, 2)])
    assert model.training


def test_settings_of_the_checkpoint_do_not_change_the_distribution(live_policy: TransformersPolicy) -> None:
    model = build_model()
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.temperature = 0.1
    model.generation_config.top_k = 1
    policy = TransformersPolicy.from_model(model, build_processor(), picture, max_batch=4)
    assert written(policy.complete_batch(PROMPTS, samplings())) == written(
        live_policy.complete_batch(PROMPTS, samplings())
    )


def test_a_saved_checkpoint_writes_the_same(live_policy: TransformersPolicy, checkpoint: Path) -> None:
    loaded = TransformersPolicy(checkpoint, picture, max_batch=4)
    assert written(loaded.complete_batch(PROMPTS, samplings())) == written(
        live_policy.complete_batch(PROMPTS, samplings())
    )
    assert loaded.checkpoint == str(checkpoint)


def test_an_unusable_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PolicyError, match="no usable checkpoint") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
