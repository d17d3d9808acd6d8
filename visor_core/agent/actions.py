"""The action grammar: `<think>`, an optional `<verdict>`, then one of `<search>`, `<select>`, `<bbox>`, `<answer>`.

Tolerant of what models really write (case, white space, code fences, chatter around the tags, a missing closing tag,
several actions: the first valid one counts), strict in meaning: an action inside a closed thought is prose, a box has
four finite numbers, a choice is a positive integer. Never raises; runs in linear time on any text. A box may come in a
model family's own grounding form (`grounding`), inside `<bbox>` or instead of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from visor_core.agent.grounding import box_in, box_of, end_of_box
from visor_core.agent.trajectory import Action, ActionKind, Verdict
from visor_core.agent.untrusted import PROTOCOL_TAGS, neutralise

_TAG = re.compile(rf"<\s{{0,3}}(/?)\s{{0,3}}({'|'.join(PROTOCOL_TAGS)})\s{{0,3}}>", re.IGNORECASE)
_FENCE_TAG = re.compile(r"`{3,9}(?:[A-Za-z]{1,12}[ \t]{0,3}\r?\n|(?:json|xml)\s)", re.IGNORECASE)
_KINDS: dict[str, ActionKind] = {"search": "search", "select": "select", "bbox": "crop", "answer": "answer"}

MAX_QUERY_CHARS = 1000
"""A longer query is cut: no search engine gains from it."""


@dataclass(frozen=True, slots=True)
class _Element:
    """One tagged stretch of a reply up to `end`: `closed` by its own end tag, `nested` when other tags stood inside."""

    name: str
    text: str
    closed: bool
    end: int
    nested: bool = False


def parse(text: str, *, search: bool = True, crop: bool = True, select: bool = False) -> Action:
    """The meaning of one reply.

    Args:
        text: the reply as written, a forced prefix included.
        search, crop, select: whether these actions exist under the strategy.

    Returns:
        The first valid action, or an `invalid` one whose `text` names the fault (a key of `prompts.FAULTS`). An answer
        is given as written: which of its brackets are citations, the ledger decides (`citations.split_citations`).
    """
    elements, outside = _elements(text)
    between = "\n".join(text[start:end] for start, end in outside)
    clean = not between
    thoughts = [e for e in elements if e.name == "think"]
    thought = neutralise(thoughts[0].text) if thoughts else ""
    verdict, verdict_clean = _verdict(elements)
    actions = [e for e in elements if e.name in _KINDS]
    readings = [_read(e, search=search, crop=crop, select=select) for e in actions]
    valid = next((r for r in readings if r.kind != "invalid"), None)
    if valid is None and crop and (box := box_in(between)):
        valid = Action(
            "crop", box=box
        )  # grounding without the tag: its meaning is plain, its form is not the protocol's
    chosen = valid or (readings[0] if readings else Action("invalid", "no action"))
    well_formed = (
        clean
        and verdict_clean
        and chosen.kind != "invalid"
        and len(actions) == 1
        and len(thoughts) == 1
        and bool(thought)
        and all(e.closed and not e.nested for e in elements)
        and [e.name for e in elements if e.name != "verdict"] == ["think", actions[0].name]
        and elements[-1].name in _KINDS
    )
    return Action(
        kind=chosen.kind,
        text=chosen.text,
        box=chosen.box,
        choice=chosen.choice,
        thought=thought,
        verdict=verdict,
        well_formed=well_formed,
    )


def with_box(reply: str, box: tuple[int, int, int, int]) -> str:
    """A well-formed reply with the box of its action written anew, as `[x1,y1,x2,y2]`; its thought is left alone."""
    tags = list(_TAG.finditer(reply))
    opening = max((m for m in tags if not m.group(1) and m.group(2).lower() == "bbox"), key=lambda m: m.start())
    closing = next(m for m in tags if m.start() > opening.start())
    return f"{reply[: opening.end()]}[{','.join(map(str, box))}]{reply[closing.start() :]}"


def stop_strings(*, search: bool = True, crop: bool = True, select: bool = False) -> tuple[str, ...]:
    """The closing tags at which a reply ends: those of the actions that exist under the strategy (`Sampling.stop`)."""
    exists = {"search": search, "select": select, "bbox": crop, "answer": True}
    return tuple(f"</{name}>" for name in _KINDS if exists[name])


def upto_action(text: str, *, search: bool = True, crop: bool = True, select: bool = False) -> str:
    """A reply without what follows its first valid action, a box without its tag included; whole where it has none."""
    elements, between = _elements(text)
    for element in elements:
        if element.name in _KINDS and _read(element, search=search, crop=crop, select=select).kind != "invalid":
            return text[: element.end]
    if crop and (box := box_in("\n".join(text[start:end] for start, end in between))):
        for start, end in between:
            if box_in(text[start:end]) == box:
                return text[: start + end_of_box(text[start:end])]
    return text


def _elements(text: str) -> tuple[list[_Element], list[tuple[int, int]]]:
    """The tagged stretches in order, and where (from, to) something stood between them that is not white space."""
    tags = [(m.group(2).lower(), bool(m.group(1)), m.start(), m.end()) for m in _TAG.finditer(text)]
    elements: list[_Element] = []
    between: list[tuple[int, int]] = []
    position = 0
    i = 0
    while i < len(tags):
        name, closing, start, end = tags[i]
        lone_thought = closing and name == "think" and not elements
        if text[position:start].strip() and not lone_thought:
            between.append((position, start))
        if closing:
            # A template may write the opening tag of the thought itself: what precedes a lone end tag is the thought.
            if lone_thought:
                elements.append(_Element("think", text[position:start], False, end))
            else:
                between.append((start, end))
            position, i = end, i + 1
            continue
        last = _end_of(tags, i)
        if last < len(tags):
            stop_name, stop_closing, stop_start, stop_end = tags[last]
            closed = stop_closing and stop_name == name
            position = stop_end if closed else stop_start
            elements.append(_Element(name, text[end:stop_start], closed, position, nested=last > i + 1))
            i = last + 1 if closed else last
        else:
            elements.append(_Element(name, text[end:], False, len(text)))
            position, i = len(text), last
    if text[position:].strip():
        between.append((position, len(text)))
    return elements, between


def _end_of(tags: list[tuple[str, bool, int, int]], i: int) -> int:
    """Index of the tag that ends the element opened by tag `i`.

    Any tag ends an action or verdict. A thought runs to its end tag over whatever it mentions, unless none comes before
    the next thought: then the first action after it ends it.
    """
    if tags[i][0] != "think":
        return i + 1
    for j in range(i + 1, len(tags)):
        name, closing = tags[j][0], tags[j][1]
        if name == "think":
            if closing:
                return j
            break
    return next((j for j in range(i + 1, len(tags)) if not tags[j][1]), len(tags))


def _verdict(elements: list[_Element]) -> tuple[Verdict | None, bool]:
    """The first readable verdict, and whether there was at most one and it was readable."""
    found = [e for e in elements if e.name == "verdict"]
    words = [e.text.strip().lower() for e in found]
    verdict: Verdict | None = None
    for word in words:
        if word == "keep" or word == "reject":
            verdict = "keep" if word == "keep" else "reject"
            break
    return verdict, not found or (len(found) == 1 and verdict is not None)


def _read(element: _Element, *, search: bool, crop: bool, select: bool) -> Action:
    """One action element's meaning."""
    kind = _KINDS[element.name]
    body = _unfenced(element.text)
    if kind == "search":
        if not search:
            return Action("invalid", "no search")
        query = neutralise(body.strip("\"'"))[:MAX_QUERY_CHARS].strip()
        return Action("search", query) if query else Action("invalid", "empty query")
    if kind == "answer":
        answer = neutralise(body)
        return Action("answer", answer) if answer else Action("invalid", "empty answer")
    if kind == "crop":
        if not crop:
            return Action("invalid", "no crop")
        box = box_of(body)
        return Action("crop", box=box) if box else Action("invalid", "bad box")
    if not select:
        return Action("invalid", "no select")
    digits = re.fullmatch(r"(?:candidate|image|page)?\s{0,3}[\[(#]?\s{0,3}(\d{1,4})\s{0,3}[\])]?", body.lower())
    # UniDoc-RL: an unreadable choice falls back to the first candidate; 0 marks it for the environment.
    return Action("select", choice=int(digits.group(1)) if digits else 0)


def _unfenced(text: str) -> str:
    """The text without the code fence around it and the fence's language (a word on the fence's own line, or json)."""
    body = text.strip()
    tag = _FENCE_TAG.match(body)
    inside = body[tag.end() if tag else 0 :].strip("`").strip()
    return inside or body.strip("`").strip()
