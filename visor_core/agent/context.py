"""The dynamic trajectory (VISOR): the context of a turn is rebuilt from the state, never appended to.

`C_t = [system ; question ; Evidence Space ; last W raw turns ; intent with the question again]`. The order keeps the
longest possible prefix unchanged from turn to turn (system, question, append-only ledger, then the window), for the
engine's prefix cache. What the next action may refer to is always in it: the page of a box, or the candidates of a
choice. Where no turn of the window shows them (after crops, or searches that found nothing new) they are pinned between
ledger and window. `build_prompt` is pure: same state and configuration, same prompt. A compact prompt leaves the
question out of the header (small models use it only at the end).
"""

from __future__ import annotations

from collections.abc import Sequence

from visor_core.agent.actions import upto_action
from visor_core.agent.prompts import Moment, Wording, stated_format, wording
from visor_core.agent.state import EpisodeState, is_last_turn, must_force
from visor_core.agent.trajectory import Turn
from visor_core.agent.untrusted import approximate_tokens, neutralise, neutralise_reply, shorten
from visor_core.config import AgentConfig, ImageConfig
from visor_core.policies.base import ImageRef, Message, Part, Prompt
from visor_core.policies.image_tokens import picture_tokens

FORCED_PREFIX = "<answer>"


def build_prompt(state: EpisodeState, config: AgentConfig) -> Prompt:
    """The context C_t of the next turn.

    Pictures over a budget go in this order: the oldest of the window, whole turns, and only where even the newest
    observation leaves no room what the next action may refer to (a box is then refused, see `environment`).
    """
    words = wording(config)
    window = window_turns(state.turns, config)
    wanted = referents(state, config)
    keep = len(_pictures(window, wanted))
    if config.max_images is not None:
        keep = min(keep, config.max_images)
    prompt = _assemble(state, config, words, window, wanted, keep)
    if config.context_tokens is None:
        return prompt
    last = window[-1].observation.images if window else ()
    newest = max(1, len(last))
    least = max(1, len({*last, *wanted}))
    while estimate_tokens(prompt, config.image) > config.context_tokens:
        if keep > least:
            keep -= 1
        elif len(window) > 1:
            window = window[1:]
        elif keep > newest:
            keep -= 1
        else:
            break
        prompt = _assemble(state, config, words, window, wanted, keep)
    return prompt


def referents(state: EpisodeState, config: AgentConfig) -> tuple[ImageRef, ...]:
    """What the next action may refer to: the candidates that wait for a choice, or the page of a box."""
    if must_force(state, config):
        return ()
    if config.select_enabled and state.candidates:
        return state.candidates
    page = state.current_page
    return (page,) if config.crop_enabled and page is not None else ()


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
    if not config.verification_search or not config.search_enabled or not state.evidence.standing:
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


def _pictures(window: Sequence[Turn], wanted: Sequence[ImageRef]) -> list[int]:
    """Positions of a context's pictures in the order in which they are kept: those of the newest observation, what the
    next action may refer to, then the others, newest first. Position -1 - k is the k-th `wanted` one, pinned."""
    images = [image for turn in window for image in turn.observation.images]
    newest_first = list(reversed(range(len(images))))
    newest = len(window[-1].observation.images) if window else 0
    spots = [max((i for i, image in enumerate(images) if image == w), default=-1 - k) for k, w in enumerate(wanted)]
    return list(dict.fromkeys([*newest_first[:newest], *spots, *newest_first]))


def _pinned(state: EpisodeState, words: Wording, wanted: Sequence[ImageRef], shown: Sequence[int]) -> list[Part]:
    """The parts of what is pinned; a candidate for which there is no room keeps its place, so that numbers hold."""
    view = state.page_view or state.choice_view
    if view is None or not any(position < 0 for position in shown):
        return []
    if view.kind == "page":
        return [words.pinned(view.names[-1], wanted[0]), wanted[0]]
    images: list[Part] = [image if -1 - k in shown else words.missing_image() for k, image in enumerate(wanted)]
    return [words.candidates(view.names, None), *images]


def _assemble(
    state: EpisodeState,
    config: AgentConfig,
    words: Wording,
    window: Sequence[Turn],
    wanted: Sequence[ImageRef],
    keep_images: int,
) -> Prompt:
    """Messages in order; of the pictures only the first `keep_images` by `_pictures` are shown."""
    question, form = state.question.question, stated_format(state.question, config)
    lines: tuple[str, ...] = ()
    if config.evidence.enabled:
        lines = state.evidence.render(words.entry, config.evidence.max_tokens).lines
    messages = [Message("system", (words.system(config),)), *words.examples()]
    shown = _pictures(window, wanted)[:keep_images]
    user: list[Part] = [words.header(question, form, lines, config), *_pinned(state, words, wanted, shown)]
    position = 0
    for turn in window:
        # Where there are no searches, that of the environment would show an action which does not exist.
        if config.window != 0 and (config.search_enabled or not turn.forced):
            messages.append(Message("user", tuple(user)))
            reply = shorten_reply(_upto_action(turn, config), config.max_new_tokens)
            messages.append(Message("assistant", (reply,)))
            user = []
        user.append(turn.observation.message)
        for image in turn.observation.images:
            user.append(image if position in shown else words.missing_image())
            position += 1
    moment = _moment(state, config)
    tail = words.closing(question, form, config, moment)
    if tail:
        user.append(tail)
    messages.append(Message("user", tuple(user)))
    return Prompt(tuple(messages), FORCED_PREFIX if moment.forced else "")


def _moment(state: EpisodeState, config: AgentConfig) -> Moment:
    """Where the episode stands; a search of the environment's own is no turn of the policy's."""
    given = sum(turn.forced for turn in state.turns)
    forced = must_force(state, config)
    return Moment(
        turn=len(state.turns) + 1 - given,
        turns=config.max_turns - given,
        last=state.last.kind if state.last else None,
        verify=verification_due(state, config),
        final=forced or is_last_turn(state, config),
        forced=forced,
    )


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
