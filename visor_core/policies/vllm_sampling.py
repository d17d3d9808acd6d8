"""How one reply is asked of vLLM: sampling parameters, and what its stop strings cannot know.

A stop string is given with a letter after it, which `sampling.cut_reply` takes off again: a reply that ends by itself
then keeps its end token, as it was taught and as policies/transformers.py keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visor_core.errors import PolicyError
from visor_core.policies.base import Sampling
from visor_core.policies.replies import stop_end
from visor_core.policies.sampling import derive_seed

_AFTER = ("\n", " ", "<", "\r", "\t")
"""What follows an action's closing tag where a reply goes on."""


def parameters_of(sampling: Sampling, ends: Sequence[int], *, seeded: bool) -> Any:
    """vLLM's `SamplingParams`.

    Args:
        ends: ids that end a reply.
        seeded: whether draws are seeded by request.

    Raises:
        PolicyError: if vLLM refuses the settings.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    try:
        return SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=derive_seed(sampling.key) if sampling.temperature > 0 and seeded else None,
            logprobs=0,
            ignore_eos=True,
            stop_token_ids=list(ends),
            stop=[stop + letter for stop in sampling.stop for letter in _AFTER] or None,
            include_stop_str_in_output=True,
            # Text is made by `cut_reply`; vLLM needs its own only to see a stop string.
            detokenize=bool(sampling.stop),
            skip_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )
    except (ValueError, VLLMClientError) as error:
        raise PolicyError(f"vLLM refuses these sampling settings: {' '.join(str(error).split())[:300]}") from error


def stopped_in_thought(output: Any, sampling: Sampling, tokenizer: Any) -> bool:
    """Whether vLLM, which knows no thoughts, took a stop string inside one for the end; the reply has to go on."""
    sampled = output.outputs[0]
    if not isinstance(sampled.stop_reason, str) or len(sampled.token_ids) >= sampling.max_tokens:
        return False
    text = tokenizer.decode(list(sampled.token_ids), clean_up_tokenization_spaces=False)
    return stop_end(text, sampling.stop, sampling.thought) is None
