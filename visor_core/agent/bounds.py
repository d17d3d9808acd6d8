"""How long a context and how many pictures a strategy can come to: what an engine is started for.

Bounds, not estimates: an engine refuses a prompt beyond them, and reserves memory for every token up to them. They are
sums over the parts of `context.build_prompt`, each at its largest. Text is counted in the project's approximate tokens,
of which a real tokenizer makes at most about three (digits one each, scripts without spaces two or three a sign).
"""

from __future__ import annotations

import math

from visor_core.agent.context import build_prompt, estimate_tokens
from visor_core.agent.state import EpisodeState
from visor_core.config import AgentConfig, VLLMConfig
from visor_core.policies.base import EngineLimits
from visor_core.policies.image_tokens import most_tiles
from visor_core.questions import Question

TOKENS_OF_ONE = 3
"""Tokens of a real tokenizer that one approximate token can be."""
REPEATED = 1.25
"""A sampled reply that is tokenised again as text, its tags neutralised, over its sampled tokens."""
OBSERVATION = 200
"""Approximate tokens of an observation's words and the intent after it: two file names of 120 characters, a note."""
QUESTION = 400
"""Approximate tokens of a question, which stands in a context up to three times."""
MARKS = 4
"""Tokens around a picture's own; families that mark its rows or tiles come out of `PICTURE_SLACK`."""
PICTURE_SLACK = 1.1


def most_images(config: AgentConfig) -> int:
    """Pictures that one context can hold; one more than the window's, for the page that a crop is of."""
    shown = max(1, config.pages_per_search)
    if config.select_enabled:
        shown = max(config.select_candidates, 1)
    if config.window is None:
        return most_turns(config) * shown if config.max_images is None else config.max_images + 1
    kept = min(max(config.window, 1), most_turns(config)) * shown
    return (kept if config.max_images is None else min(kept, config.max_images)) + 1


def most_turns(config: AgentConfig) -> int:
    """Turns that can stand before the last completion."""
    return config.max_turns if config.force_answer else max(1, config.max_turns - 1)


def longest_prompt(config: AgentConfig) -> int:
    """Tokens of the longest context, pictures included."""
    pictures = most_images(config) * image_bound(config)
    fixed = estimate_tokens(build_prompt(EpisodeState(Question("", "", ())), config), config.image)
    ledger = config.evidence.max_tokens if config.evidence.enabled else 0
    text = TOKENS_OF_ONE * (fixed + ledger + 3 * QUESTION)
    turn = math.ceil(REPEATED * config.max_new_tokens) + TOKENS_OF_ONE * OBSERVATION
    # A retry message stands beside the window while it is the newest turn.
    turns = most_turns(config) if config.window is None else min(config.window + 1, most_turns(config))
    whole = text + turns * turn + pictures
    if config.context_tokens is None:
        return whole
    # What cannot be cut: the fixed part and the newest turn.
    uncut = text + turn + pictures
    return min(whole, max(TOKENS_OF_ONE * config.context_tokens + pictures, uncut))


def image_bound(config: AgentConfig) -> int:
    """Tokens of the largest picture shown."""
    image = config.image
    if image.tiles is not None:
        # Each tile is announced by its row and column.
        return most_tiles(image.tiles) * (image.tiles.tokens + MARKS)
    return math.ceil(PICTURE_SLACK * image.max_pixels / (image.pixels_per_token or image.multiple**2)) + MARKS


def engine_limits(
    agent: AgentConfig, engine: VLLMConfig, *, episodes: int, gpu_memory: float | None = None
) -> EngineLimits:
    """What vLLM is started for: the profile's explicit settings, else what the strategy can come to.

    Args:
        episodes: episodes run side by side, so requests at once.
        gpu_memory: share of a GPU's memory where the engine is not alone on it; none takes the profile's.
    """
    return EngineLimits(
        max_model_len=engine.max_model_len or _rounded(longest_prompt(agent) + agent.max_new_tokens),
        max_images=engine.max_images or most_images(agent),
        max_num_seqs=episodes,
        gpu_memory=gpu_memory or engine.gpu_memory,
        cuda_graphs=engine.cuda_graphs,
        exact_length=engine.max_model_len is not None,
    )


def _rounded(tokens: int, grain: int = 256) -> int:
    """Up to a multiple of the prefix cache's blocks."""
    return -(-tokens // grain) * grain
