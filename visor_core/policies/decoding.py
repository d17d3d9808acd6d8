"""Batched decoding with a KV cache: equal prompts are read once, and replies that have ended leave the batch.

The rollouts of a group begin with the same prompt, often for several turns, and replies of a batch differ in length by
several times; `generate` of transformers reads every copy and decodes every row to the end of the longest. Positions
come from the model itself, so families with multimodal positions decode as in `generate`. Left out: beams, quantised
or static caches, and models without a cache of keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from visor_core.policies.base import Sampling
from visor_core.policies.encoding import TokenBatch
from visor_core.policies.kv_cache import with_room
from visor_core.policies.replies import stop_end
from visor_core.policies.sampling import gumbel_noise

KEPT_SHARE = 0.875
"""Share of running rows below which the others are taken out of the cache: that copies what is left of it."""


class Sampler:
    """Draws one token a row and decides which rows have ended; keeps what each row has written.

    Keyed Gumbel noise added to log p makes argmax a draw from softmax(logits / T); T = 0 stays greedy.

    Args:
        samplings: how to sample each row.
        forbidden: ids that are never drawn.
        ends: ids that end a reply.
        tokenizer: decodes the reply in which a stop string is sought.
    """

    def __init__(
        self, samplings: Sequence[Sampling], forbidden: Sequence[int], ends: Sequence[int], tokenizer: Any
    ) -> None:
        self.tokens: list[list[int]] = [[] for _ in samplings]
        self.logprobs: list[list[float]] = [[] for _ in samplings]
        """Of each token drawn, under softmax(logits / T) without the forbidden ids (T = 1 for greedy rows)."""
        self.ended: set[int] = set()
        self._samplings = samplings
        self._forbidden = list(forbidden)
        self._ends = frozenset(ends)
        self._tokenizer = tokenizer
        self._stopped: set[int] = set()
        self._temperatures = torch.tensor([[s.temperature if s.temperature > 0 else 1.0] for s in samplings])

    def draw(self, rows: Sequence[int], logits: Tensor) -> list[int]:
        """The next token of each of `rows`, from logits (len(rows), V); what rows draw after their end is not kept."""
        logits = logits.float().cpu()
        logits[:, self._forbidden] = float("-inf")
        logprobs = torch.log_softmax(logits / self._temperatures[list(rows)], dim=-1)
        noisy = logprobs.clone()
        for place, row in enumerate(rows):
            sampling = self._samplings[row]
            if sampling.temperature > 0 and row not in self.ended:
                noise = gumbel_noise(sampling.key, len(self.tokens[row]), noisy.shape[1])
                noisy[place] += torch.from_numpy(noise)
        drawn = noisy.argmax(dim=-1, keepdim=True)
        tokens, chances = drawn.squeeze(1).tolist(), logprobs.gather(1, drawn).squeeze(1).tolist()
        for row, token, chance in zip(rows, tokens, chances, strict=True):
            if row not in self.ended:
                self.tokens[row].append(token)
                self.logprobs[row].append(chance)
                if self._ends_with(row):
                    self.ended.add(row)
        return tokens

    def _ends_with(self, row: int) -> bool:
        """Whether a row's last token ends its reply: an end token, the last it may write, or the one after a stop
        string, which belongs to the reply if it is an end token (`sampling.cut_reply`)."""
        written, sampling = self.tokens[row], self._samplings[row]
        if written[-1] in self._ends or len(written) >= sampling.max_tokens or row in self._stopped:
            return True
        if sampling.stop and self._may_complete(written[-1], sampling.stop):
            text = self._tokenizer.decode(written, clean_up_tokenization_spaces=False)
            if stop_end(text, sampling.stop, sampling.thought) is not None:
                self._stopped.add(row)
        return False

    def _may_complete(self, token: int, stops: Sequence[str]) -> bool:
        """Whether a token's piece holds the last letter of a stop string; spares decoding the reply at every token."""
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        # Every family spells visible ASCII in its pieces as it is; other letters may be spelled in bytes.
        return any(stop[-1:] in piece or not "!" <= stop[-1:] <= "~" for stop in stops)


@torch.no_grad()
def decode(
    model: Any,
    prompts: TokenBatch,
    copies: Sequence[int],
    sampler: Sampler,
    arguments: Mapping[str, Any],
) -> None:
    """Let `sampler` write a reply to every row.

    Args:
        model: a causal model of transformers in eval mode.
        prompts: distinct prompts, (P, T) ids and mask, padded on the left, on the model's device.
        copies: for each row, which prompt it answers.
        sampler: of as many rows.
        arguments: what the forward pass over the prompts is given besides (pictures, token types).
    """
    mask = prompts.attention_mask
    places = {"attention_mask": mask, **arguments}
    positions = model._prepare_position_ids_for_generation(prompts.input_ids, places)
    output = model(
        input_ids=prompts.input_ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
        **arguments,
    )
    chosen = torch.tensor(list(copies), device=mask.device)
    cache = output.past_key_values
    if list(copies) != list(range(len(mask))):
        cache.batch_select_indices(chosen)
    with_room(cache)
    # Positions are (…, B, T): families with multimodal ones have several a token.
    mask, position = mask[chosen], positions[..., -1:][..., chosen, :]
    logits = output.logits[:, -1][chosen]
    rows = list(range(len(copies)))
    while True:
        tokens = sampler.draw(rows, logits)
        running = [place for place, row in enumerate(rows) if row not in sampler.ended]
        if not running:
            return
        if len(running) <= KEPT_SHARE * len(rows):
            kept = torch.tensor(running, device=mask.device)
            cache.batch_select_indices(kept)
            mask, position = mask[kept], position[..., kept, :]
            rows, tokens = [rows[place] for place in running], [tokens[place] for place in running]
        position = position + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        output = model(
            input_ids=torch.tensor(tokens, device=mask.device).unsqueeze(1),
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1]
