"""Keyed noise, forbidden tokens and where a reply ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_model import build_model, build_tokenizer
from visor_core.policies.base import Sampling
from visor_core.policies.sampling import cut_reply, derive_seed, end_tokens, forbidden_tokens, gumbel_noise

TOKENIZER = build_tokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6), st.integers(0, 4096))
def test_noise_is_a_function_of_key_and_token(key: list[int], index: int) -> None:
    first = gumbel_noise(key, index, 8)
    assert np.array_equal(first, gumbel_noise(tuple(key), index, 8))
    assert not np.array_equal(first, gumbel_noise(key, index + 1, 8))
    assert not np.array_equal(first, gumbel_noise([*key, 0], index, 8))
    assert np.isfinite(first).all()
    assert 0 <= derive_seed(key) < 2**63


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise((7,), 0, 200_000)
    # Mean is Euler's constant, variance π²/6.
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.var() == pytest.approx(1.6449, abs=0.03)


def test_gumbel_max_draws_from_the_distribution() -> None:
    logp = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    draws = [int(np.argmax(logp + gumbel_noise((1, i), 0, 3))) for i in range(4000)]
    assert np.bincount(draws, minlength=3) / 4000 == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_picture_tokens_and_padding_are_forbidden() -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(forbidden_tokens(TOKENIZER, build_model().config))
    assert sorted(tokens) == ["<fake_token_around_image>", "<global-img>", "<image>", "<pad>"]


def test_end_tokens_come_from_the_model_or_else_the_tokenizer() -> None:
    model = build_model()
    assert end_tokens(TOKENIZER, model.generation_config) == (TOKENIZER.eos_token_id,)
    model.generation_config.eos_token_id = [3, 9]
    assert end_tokens(TOKENIZER, model.generation_config) == (3, 9)
    assert end_tokens(TOKENIZER, None) == (TOKENIZER.eos_token_id,)


def test_a_reply_ends_at_the_end_token_and_keeps_it() -> None:
    tokens = [*ids("acme staff"), TOKENIZER.eos_token_id, *ids("q3")]
    assert cut_reply(TOKENIZER, tokens, Sampling(max_tokens=9), (TOKENIZER.eos_token_id,)) == (3, "acme staff", "stop")


def test_a_reply_without_an_end_is_cut_at_its_limit() -> None:
    assert cut_reply(TOKENIZER, ids("acme staff q3"), Sampling(max_tokens=2), (3,)) == (2, "acme staff", "length")


STOPS = Sampling(max_tokens=20, stop=("</answer>", "</search>"))
END = TOKENIZER.eos_token_id


def test_an_end_token_right_after_the_action_belongs_to_the_reply() -> None:
    tokens = [*ids("<answer> acme </answer>"), END]
    assert cut_reply(TOKENIZER, tokens, STOPS, (END,)) == (4, "<answer> acme </answer>", "stop")


@pytest.mark.parametrize("further", ["staff", "staff <answer> q1 </answer>", "\n"])
def test_what_is_written_after_the_action_is_cut(further: str) -> None:
    tokens = [*ids(f"<answer> acme </answer> {further}"), END]
    assert cut_reply(TOKENIZER, tokens, STOPS, (END,)) == (3, "<answer> acme </answer>", "stop")


def test_a_stop_string_inside_the_thought_does_not_count() -> None:
    thought = "<think> acme </search> staff"
    tokens = [*ids(f"{thought} </think> <search> q1 </search>"), END]
    kept, text, _ = cut_reply(TOKENIZER, tokens, STOPS, (END,))
    assert (kept, text.count("</search>")) == (9, 2)
    assert cut_reply(TOKENIZER, ids(thought), STOPS, (END,))[0] == 4
    # A template may have opened the thought in the prompt.
    assert cut_reply(TOKENIZER, ids("acme </think> q1 </search> q2"), STOPS, (END,))[0] == 4


def test_a_reply_ends_with_its_stop_string() -> None:
    tokens = ids("acme </search> staff </search>")
    sampling = Sampling(max_tokens=9, stop=("</answer>", "</search>"))
    assert cut_reply(TOKENIZER, tokens, sampling, (3,)) == (2, "acme </search>", "stop")
