"""The throughput engine, really run: the same tokens as the reference engine, weights replaced in place."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes import runs
from tests.tiny_model import picture, prompt, replayed_logprobs
from visor_core.errors import PolicyError
from visor_core.policies.base import BatchPolicy, Completion, Sampling
from visor_core.policies.transformers import TransformersPolicy

# vLLM imports parts of torch that warn about torch itself: https://github.com/pytorch/pytorch/pull/189914
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.distributed.reduce_op:FutureWarning"),
]

PROMPTS = [prompt(f"acme staff q{i % 4} and {i}", ("a", "b", "c")[: i % 4], "<think>" * (i % 2)) for i in range(12)]
GREEDY = [Sampling(0.0, 12)] * len(PROMPTS)
# 120 words: several blocks of the prefix cache.
LONG = prompt("what is the sum of " * 24, ("a",))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> TransformersPolicy:
    return TransformersPolicy(checkpoint, picture)


@pytest.fixture
def restored(vllm_policy: Any, checkpoint: Path) -> Iterator[Any]:
    """The engine, with its first weights put back afterwards."""
    yield vllm_policy
    vllm_policy.load_weights(checkpoint)


def assert_same(engine: list[Completion], reference: list[Completion]) -> None:
    for a, b in zip(engine, reference, strict=True):
        assert (a.text, a.token_ids, a.prompt_ids, a.finish_reason) == (
            b.text,
            b.token_ids,
            b.prompt_ids,
            b.finish_reason,
        )
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        assert a.image_tokens == b.image_tokens


def test_greedy_tokens_are_those_of_transformers(vllm_policy: Any, reference: TransformersPolicy) -> None:
    assert isinstance(vllm_policy, BatchPolicy)
    assert vllm_policy.forbidden == reference.forbidden
    assert_same(vllm_policy.complete_batch(PROMPTS, GREEDY), reference.complete_batch(PROMPTS, GREEDY))


def test_logprobs_are_those_of_the_sampling_distribution(vllm_policy: Any, reference: TransformersPolicy) -> None:
    warm = [Sampling(0.7, 8, key=(i,)) for i in range(len(PROMPTS))]
    for shown, completion in zip(PROMPTS, vllm_policy.complete_batch(PROMPTS, warm), strict=True):
        assert completion.logprobs == pytest.approx(replayed_logprobs(reference, shown, completion, 0.7), abs=1e-3)


def test_picture_tokens_are_never_sampled(vllm_policy: Any) -> None:
    # vLLM's highest temperature.
    hot = [Sampling(2.0, 128, key=(i,)) for i in range(16)]
    for completion in vllm_policy.complete_batch([PROMPTS[1]] * 16, hot):
        assert not set(completion.token_ids) & set(vllm_policy.forbidden)


def test_a_stop_string_and_a_limit_end_a_reply(vllm_policy: Any, reference: TransformersPolicy) -> None:
    free = reference.complete_batch(PROMPTS[:1], GREEDY[:1])[0]
    word = reference.encoder.tokenizer.decode(free.token_ids[3])
    for sampling in (Sampling(0.0, 12, stop=(word,)), Sampling(0.0, 2)):
        assert_same(
            vllm_policy.complete_batch(PROMPTS[:1], [sampling]), reference.complete_batch(PROMPTS[:1], [sampling])
        )


def test_a_stop_string_inside_a_thought_ends_nothing(vllm_policy: Any, reference: TransformersPolicy) -> None:
    free = reference.complete_batch(PROMPTS[:1], GREEDY[:1])[0]
    words = [reference.encoder.tokenizer.decode(token) for token in free.token_ids]
    sampling = replace(GREEDY[0], stop=(words[3],), thought=(words[0], "never"))
    (engine,) = vllm_policy.complete_batch(PROMPTS[:1], [sampling])
    assert engine.token_ids == free.token_ids
    assert engine.logprobs == pytest.approx(free.logprobs, abs=1e-3)
    assert asyncio.run(vllm_policy.complete(PROMPTS[0], sampling)).token_ids == free.token_ids


def test_many_coroutines_are_served_at_once(vllm_policy: Any) -> None:
    async def gather() -> list[Completion]:
        return list(await asyncio.gather(*(vllm_policy.complete(p, s) for p, s in zip(PROMPTS, GREEDY, strict=True))))

    together = [c.token_ids for c in asyncio.run(gather())]
    assert together == [c.token_ids for c in vllm_policy.complete_batch(PROMPTS, GREEDY)]


def test_a_repeated_prefix_comes_from_the_cache(vllm_policy: Any) -> None:
    before = vllm_policy.statistics.cached_tokens
    vllm_policy.complete_batch([LONG], GREEDY[:1])
    again = vllm_policy.complete_batch([LONG], GREEDY[:1])[0]
    # Whole blocks of 32 tokens are kept; the last token is always computed.
    assert again.cached_tokens == (again.prompt_tokens - 1) // 32 * 32
    assert vllm_policy.statistics.cached_tokens - before >= again.cached_tokens
    assert 0 < vllm_policy.statistics.hit_rate < 1


def test_new_weights_replace_the_old_and_empty_the_caches(restored: Any, other_checkpoint: Path) -> None:
    restored.complete_batch([LONG], GREEDY[:1])
    old = restored.complete_batch(PROMPTS, GREEDY)
    restored.load_weights(other_checkpoint)
    assert restored.complete_batch([LONG], GREEDY[:1])[0].cached_tokens == 0
    new = restored.complete_batch(PROMPTS, GREEDY)
    assert [c.token_ids for c in new] != [c.token_ids for c in old]
    assert_same(new, TransformersPolicy(other_checkpoint, picture).complete_batch(PROMPTS, GREEDY))
    assert restored.checkpoint == str(other_checkpoint)


def test_a_prompt_that_does_not_fit_fails_alone(vllm_policy: Any) -> None:
    with pytest.raises(PolicyError, match="refuses a prompt"):
        vllm_policy.complete_batch([prompt("acme " * 2000)], GREEDY[:1])
    assert vllm_policy.complete_batch(PROMPTS[:1], GREEDY[:1])[0].token_ids


def test_settings_that_vllm_refuses_are_one_clear_line(vllm_policy: Any) -> None:
    with pytest.raises(PolicyError, match="temperature must be in"):
        vllm_policy.complete_batch(PROMPTS[:1], [Sampling(50.0, 4)])


def test_a_folder_without_weights_is_refused(vllm_policy: Any, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no weights to load"):
        vllm_policy.load_weights(tmp_path)


_ORPHAN = """
import multiprocessing, os, signal, sys
from visor_core.policies.vllm import VLLMPolicy

if __name__ == "__main__":
    policy = VLLMPolicy(sys.argv[1], None, max_num_seqs=2)
    children = [child.pid for child in multiprocessing.active_children()]
    print("engine", *children, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow_walk
def test_a_killed_process_leaves_no_engine_behind(vllm_policy: Any, checkpoint: Path, tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(_ORPHAN, encoding="utf-8")
    out = tmp_path / "out.txt"  # not a pipe: an engine left behind would hold it open
    with out.open("w") as file:
        ended = subprocess.run([sys.executable, str(script), str(checkpoint)], check=False, stdout=file, timeout=400)
    assert ended.returncode == -signal.SIGKILL
    lines = out.read_text(encoding="utf-8").splitlines()
    engines = [int(pid) for line in lines if line.startswith("engine") for pid in line.split()[1:]]
    assert engines
    deadline = time.monotonic() + 20
    while (left := [pid for pid in engines if runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
