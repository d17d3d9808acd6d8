"""The dynamic trajectory (VISOR): the context of a turn is rebuilt from the state, never appended to.

`C_t = [system ; question ; Evidence Space ; last W raw turns ; intent with the question again]`. The order keeps the
longest possible prefix unchanged from turn to turn (system, question, append-only ledger, then the window), for the
engine's prefix cache. `build_prompt` is pure: same state and configuration, same prompt. A compact prompt leaves the
question out of the header (small models use it only at the end).
"""

from __future__ import annotations

from collections.abc import Sequence

from visor_core.agent.actions import upto_action
from visor_core.agent.prompts import Wording, wording
from visor_core.agent.state import EpisodeState, is_last_turn, must_force
from visor_core.agent.trajectory import Turn
from visor_core.agent.untrusted import approximate_tokens, neutralise, neutralise_reply, shorten
from visor_core.config import AgentConfig, ImageConfig
from visor_core.policies.base import ImageRef, Message, Part, Prompt
from visor_core.policies.image_tokens import picture_tokens

FORCED_PREFIX = "<answer>"


def build_prompt(state: EpisodeState, config: AgentConfig) -> Prompt:
    """The context C_t of the next turn."""
    words = wording(config)
    window = window_turns(state.turns, config)
    images = sum(len(t.observation.images) for t in window)
    keep = images if config.max_images is None else min(images, config.max_images)
    prompt = _assemble(state, config, words, window, keep)
    if config.context_tokens is None:
        return prompt
    newest = len(window[-1].observation.images) if window else 0
    while estimate_tokens(prompt, config.image) > config.context_tokens:
        if keep > max(newest, 1):
            keep -= 1
        elif len(window) > 1:
            window = window[1:]
        else:
            break
        prompt = _assemble(state, config, words, window, keep)
    return prompt


def window_turns(turns: Sequence[Turn], config: AgentConfig) -> tuple[Turn, ...]:
    """The raw turns kept: the last W, a turn that ended in a retry message only while it is the newest.

    So mistakes do not push the page out of sight that the next action is about.
    """
    if config.window is None:
        return tuple(turns)
    productive = [t for t in turns if t.observation.kind != "retry"]
    kept = productive[-config.window :] if config.window else []
    if turns and (turns[-1].observation.kind == "retry" or config.window == 0):
        kept = [*kept, turns[-1]]
    return tuple(kept)


def verification_due(state: EpisodeState, config: AgentConfig) -> bool:
    """Whether to encourage the search with the original question: something is recorded, and it was not made since."""
    if not config.verification_search or not state.evidence.standing:
        return False
    question = neutralise(state.question.question).casefold()
    first = next(i for i, t in enumerate(state.turns) if t.evidence_added)
    return not any(t.action.kind == "search" and t.action.text.casefold() == question for t in state.turns[first:])


def compactions(state: EpisodeState, config: AgentConfig) -> int:
    """How often the ledger had to be shrunk to its budget so far."""
    return state.evidence.render(wording(config).entry, config.evidence.max_tokens).compactions


def estimate_tokens(prompt: Prompt, image: ImageConfig) -> int:
    """Approximate tokens of a prompt: words and signs of its text, pixels of its images."""
    text = sum(approximate_tokens(p) for m in prompt.messages for p in m.content if isinstance(p, str))
    return text + image_tokens(prompt.images, image)


def image_tokens(images: Sequence[ImageRef], image: ImageConfig) -> int:
    """Visual tokens of pictures at their shown sizes, as the model family's processor makes them."""
    return sum(picture_tokens(i.width, i.height, image) for i in images)


def _assemble(
    state: EpisodeState, config: AgentConfig, words: Wording, window: Sequence[Turn], keep_images: int
) -> Prompt:
    """Messages in order; only the newest `keep_images` pictures of the window are shown."""
    question = state.question.question
    lines: tuple[str, ...] = ()
    if config.evidence.enabled:
        lines = state.evidence.render(words.entry, config.evidence.max_tokens).lines
    messages = [Message("system", (words.system(config),))]
    user: list[Part] = [words.header(question, lines, config)]
    hidden = sum(len(t.observation.images) for t in window) - keep_images
    for turn in window:
        if config.window != 0:
            messages.append(Message("user", tuple(user)))
            reply = shorten_reply(_upto_action(turn, config), config.max_new_tokens)
            messages.append(Message("assistant", (reply,)))
            user = []
        user.append(turn.observation.message)
        for image in turn.observation.images:
            user.append(words.missing_image() if hidden > 0 else image)
            hidden -= 1
    forced = must_force(state, config)
    tail = words.intent(
        state.last,
        question,
        config,
        verify=verification_due(state, config),
        final=forced or is_last_turn(state, config),
    )
    if tail:
        user.append(tail)
    messages.append(Message("user", tuple(user)))
    return Prompt(tuple(messages), FORCED_PREFIX if forced else "")


def _upto_action(turn: Turn, config: AgentConfig) -> str:
    """A turn's reply up to its action: an observation or an answer imagined after it is none of the episode's."""
    return upto_action(
        turn.completion.text,
        search=config.search_enabled or turn.forced,
        crop=config.crop_enabled,
        select=config.select_enabled,
    )


def shorten_reply(text: str, max_tokens: int) -> str:
    """A reply as it stands in later contexts: special tokens neutralised, never empty, runaway text cut.

    Args:
        max_tokens: the sampling limit; an approximate count may pass it only for text without white space.
    """
    reply = neutralise_reply(text)
    if approximate_tokens(reply) > 2 * max_tokens:
        reply = shorten(reply, max_tokens)
    return reply or "(empty)"
