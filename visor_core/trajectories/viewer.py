"""The episode viewer: one self-contained HTML page an episode, or two episodes of one question side by side.

Shows the pages the answer rests on, large, then each turn's action, the page with the crop drawn on it, the crop, the
Evidence Space as it stood, verdicts, tokens and reward. All text is untrusted and escaped; a content security policy
forbids scripts and every network address. `viewer_gallery` shows many episodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape

from visor_core.agent.correction import frame_of
from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.state import EpisodeState
from visor_core.agent.trajectory import Citation, EvidenceEntry, Trajectory, Turn
from visor_core.geometry import Box, clamp
from visor_core.policies.base import ImageLoader, ImageRef, Prompt
from visor_core.policies.replies import describe_empty
from visor_core.trajectories.filters import is_correct
from visor_core.trajectories.replay import evidence_compactions
from visor_core.trajectories.viewer_page import Link, anchor, page
from visor_core.trajectories.viewer_pictures import Mark, Pictures, whole_page

PageAddress = Callable[[str], str]
"""Page id → where a person opens that page of its document; "" where nowhere."""


def nowhere(page_id: str) -> str:
    """The address of every page where documents cannot be linked."""
    return ""


def episode_html(
    trajectory: Trajectory,
    images: ImageLoader,
    *,
    address_of: PageAddress = nowhere,
    navigation: Sequence[Link] = (),
) -> str:
    """One episode as a page.

    Args:
        images: renders pages and crops; a page that cannot be rendered any more leaves a remark in its place.
        address_of: links the pages that the answer rests on, and those beside them, to their documents.
        navigation: links to the gallery and to the neighbours.
    """
    pictures = Pictures(images)
    question = trajectory.question.question
    head = f'<div class="eyebrow">VISOR episode</div><h1><bdi>{escape(question)}</bdi></h1>'
    body = head + _episode(trajectory, pictures, address_of)
    return page(question, body, style=pictures.style, navigation=navigation)


def side_by_side_html(
    episodes: Sequence[tuple[str, Trajectory | None]],
    images: ImageLoader,
    *,
    address_of: PageAddress = nowhere,
    navigation: Sequence[Link] = (),
) -> str:
    """Episodes of one question beside each other, each under its name; one that is not kept leaves a remark.

    Raises:
        ValueError: if none is kept.
    """
    question = next((t.question.question for _, t in episodes if t is not None), None)
    if question is None:
        raise ValueError("there is no episode to show")
    pictures = Pictures(images)
    sides = []
    for name, trajectory in episodes:
        told = '<p class="note">This episode is not kept.</p>'
        shown = _episode(trajectory, pictures, address_of) if trajectory is not None else told
        label = escape(name, quote=True)
        sides.append(f'<section aria-label="{label}"><h2>{escape(name)}</h2>{shown}</section>')
    head = f'<div class="eyebrow">VISOR comparison</div><h1><bdi>{escape(question)}</bdi></h1>'
    body = f'{head}<div class="sides">{"".join(sides)}</div>'
    return page(question, body, style=pictures.style, navigation=navigation)


def _episode(trajectory: Trajectory, pictures: Pictures, address_of: PageAddress) -> str:
    """Answer, the pages it rests on, then turn by turn."""
    pages = shown_pages(trajectory)
    body = [
        _summary(trajectory),
        _sources(trajectory, pictures, pages, address_of),
        "<h2>The episode</h2>",
        *(_turn(trajectory, turn, pictures, pages) for turn in trajectory.turns),
        _failure(trajectory),
    ]
    return "\n".join(body)


def _summary(t: Trajectory) -> str:
    """Question, answer against gold, figures, tokens by turn."""
    judged = ""
    if t.question.answers:
        right = is_correct(t)
        gold = " · ".join(t.question.answers)
        judged = f'<span class="chip {"good" if right else "bad"}">{"correct" if right else "not correct"}</span> '
        judged += f'<span class="note">expected <bdi>{escape(gold)}</bdi></span>'
    counted = t.tokens()
    compacted = evidence_compactions(t)
    tokens = [
        ("prompt tokens", counted["prompt_tokens"]),
        ("image tokens", counted["image_tokens"]),
        ("written tokens", counted["completion_tokens"]),
    ]
    facts = [
        ("turns", str(len(t.turns))),
        *((name, f"{count:,}") for name, count in tokens if count),
        *([("ledger compactions", str(compacted))] if compacted is not None else []),
        ("seconds", f"{t.seconds:.1f}"),
    ]
    if t.reward is not None:
        facts.insert(0, ("reward", f"{t.reward:.3f}"))
    meta = " · ".join(
        escape(f"{name} {value}")
        for name, value in [
            ("strategy", t.strategy),
            ("policy", t.policy),
            ("checkpoint", t.checkpoint),
            ("corpus", t.corpus),
            ("index", t.index_tag),
            ("group", t.group_id),
            ("trajectory", t.trajectory_id),
        ]
        if value
    )
    answer = f"<bdi>{escape(t.answer)}</bdi>" if t.answer else '<span class="note">no answer</span>'
    return (
        f'<div class="summary"><div class="card"><div class="head"><b>Answer</b>{outcome_chips(t)}</div>'
        f'<div class="answer">{answer}</div>{judged}{facts_list(facts)}<p class="meta">{meta}</p></div>'
        f"{_costs(t)}</div>"
    )


def _costs(t: Trajectory) -> str:
    """Tokens by turn and rewards by name, where there are any."""
    rewards = "".join(f"<tr><td>{escape(k)}</td><td>{v:.3f}</td></tr>" for k, v in sorted(t.rewards.items()))
    table = f"<table>{rewards}</table>" if rewards else ""
    bars = _bars(t)
    if not bars and not table:
        return ""
    divided = t.tokens()["image_tokens"] is not None
    what = '<i></i>text<i class="im"></i>images, tokens' if divided else "<i></i>tokens, pictures included"
    key = f'<b>Context by turn</b> <span class="key">{what}</span>'
    return f'<div class="card costs">{key if bars else "<b>Rewards</b>"}{bars}{table}</div>'


def outcome_chips(t: Trajectory) -> str:
    style = {"answered": "good", "forced": "warn"}.get(t.outcome, "bad")
    form = "" if t.well_formed else ' <span class="chip warn">not well formed</span>'
    return f'<span class="chip {style}">{escape(t.outcome.replace("_", " "))}</span>{form}'


def facts_list(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for name, value in facts)
    return f'<ul class="facts">{items}</ul>'


def _bars(t: Trajectory) -> str:
    """Prompt tokens by turn, images beside text."""
    most = max((turn.completion.prompt_tokens for turn in t.turns), default=0)
    if most == 0:
        return ""
    columns = []
    for turn in t.turns:
        c = turn.completion
        # Where nobody counted the pictures' tokens, the bar is not divided.
        pictures = c.image_tokens or 0
        image, text = pictures / most * 74, (c.prompt_tokens - pictures) / most * 74
        columns.append(
            f'<div><span>{c.prompt_tokens:,}</span><u class="tx" style="height:{text:.1f}%"></u>'
            f'<u class="im" style="height:{image:.1f}%"></u><span>{turn.index}</span></div>'
        )
    return f'<div class="bars">{"".join(columns)}</div>'


def _turn(t: Trajectory, turn: Turn, pictures: Pictures, pages: dict[str, ImageRef]) -> str:
    action = turn.action
    chips = [f'<span class="chip act">{escape(action.kind)}</span>']
    if action.verdict:
        style = "good" if action.verdict == "keep" else "bad"
        chips.append(f'<span class="chip {style}">verdict: {escape(action.verdict)}</span>')
    if turn.forced:
        chips.append('<span class="chip warn">forced, not sampled</span>')
    if not action.well_formed:
        chips.append('<span class="chip warn">not well formed</span>')
    if turn.observation.fault:
        chips.append(f'<span class="chip bad">{escape(turn.observation.fault)}</span>')
    c = turn.completion
    if missed := c.metadata.get("not_as_asked"):
        chips.append(f'<span class="chip warn">not as asked: {escape(missed)}</span>')
    out = "" if c.tokens_out is None else f"{c.tokens_out:,} out · "
    cost = f"{c.prompt_tokens:,} in · {out}{c.seconds:.2f} s" if c.prompt_tokens else ""
    thought = (
        f'<p class="think t">{escape(action.thought)}</p>' if action.thought else '<p class="think none">no thought</p>'
    )
    left = (
        f'<div class="head">{"".join(chips)}<span class="sp"></span><span class="key">{cost}</span></div>'
        f"{thought}{_says(turn)}{_ledger(t, turn)}"
        f"<details><summary>Reply as written</summary><pre>{escape(c.text)}</pre></details>"
        f"<details><summary>Context it was given</summary>{_context(turn.prompt)}</details>"
    )
    right = _returned(t, turn, pictures, pages)
    return (
        f'<section class="turn"><div class="num"><b>{turn.index}</b><i></i></div>'
        f'<div class="card"><div class="grid"><div>{left}</div><div>{right}</div></div></div></section>'
    )


def _says(turn: Turn) -> str:
    """What the reply asked for, in one line."""
    action = turn.action
    if action.kind == "invalid":
        empty = describe_empty(turn.completion, turn.prompt.forced_prefix)
        return f'<p class="says bad">{escape(empty or f"no valid action: {action.text}")}</p>'
    if action.kind == "crop" and action.box:
        return f'<p class="says">look at [{escape(", ".join(f"{v:g}" for v in action.box))}]</p>'
    if action.kind == "select":
        return f'<p class="says">candidate {action.choice}</p>'
    cited = "".join(f" [{n}]" for n in action.citations)
    return f'<p class="says"><bdi>{escape(action.text)}</bdi>{cited}</p>'


def _ledger(t: Trajectory, turn: Turn) -> str:
    """The Evidence Space as it stood after the reply; entries of this turn stand out."""
    entries = tuple(e for x in t.turns[: turn.index] for e in x.evidence_added)
    if not entries:
        return ""
    new = {e.index for e in turn.evidence_added}
    gone = EvidenceSpace(entries).superseded
    lines = "".join(_entry(e, e.index in new, e.index in gone) for e in entries)
    return f'<div class="ledger"><h3>Evidence Space</h3><ol>{lines}</ol></div>'


def _entry(e: EvidenceEntry, new: bool, gone: bool) -> str:
    classes = " ".join(name for name, on in [("new", new), ("gone", gone), ("rej", e.kind == "rejected")] if on)
    source = f"{e.document}, page {e.page}"
    if e.box is not None:
        source += " · box " + " ".join(f"{v:.2f}" for v in e.box.as_tuple())
    kind = {"pre": "first reading", "post": "after zoom", "rejected": "rejected"}[e.kind]
    replaces = f" · replaces [{e.supersedes}]" if e.supersedes is not None else ""
    observation = escape(e.observation) if e.observation else "<i>nothing noted</i>"
    return (
        f'<li class="{classes}"><span class="n">[{e.index}]</span><span><span class="obs t">{observation}</span>'
        f'<span class="src t">{escape(source)} · {kind}{replaces}</span></span></li>'
    )


def _context(prompt: Prompt) -> str:
    rows = []
    for message in prompt.messages:
        parts = "".join(
            f"<pre>{escape(p)}</pre>" if isinstance(p, str) else f'<span class="ref">{escape(_reference(p))}</span>'
            for p in message.content
        )
        rows.append(f'<div class="msg"><b>{escape(message.role)}</b><div>{parts}</div></div>')
    if prompt.forced_prefix:
        rows.append(f'<div class="msg"><b>prefix</b><div><pre>{escape(prompt.forced_prefix)}</pre></div></div>')
    return "".join(rows)


def _reference(i: ImageRef) -> str:
    part = "" if i.box.area == 1.0 else " box " + " ".join(f"{v:.3f}" for v in i.box.as_tuple())
    return f"image {i.page_id}{part} at {i.width} × {i.height}"


def _returned(t: Trajectory, turn: Turn, pictures: Pictures, pages: dict[str, ImageRef]) -> str:
    """What came back: pages with the boxes drawn on them later, or the page with this crop and the crop."""
    o = turn.observation
    message = f'<p class="note t">{escape(o.message)}</p>' if o.message else ""
    if o.kind == "crop":
        (crop,) = o.images
        page = pages[crop.page_id]
        marks = [Mark(box, style="past") for n, box in crops(t, crop.page_id) if n < turn.index]
        marks.append(Mark(crop.box, f"turn {turn.index}"))
        seen = f"the crop, shown to the policy at {crop.width} × {crop.height}"
        drawn = pictures.figure(page, f"{_page_name(t, page)} with the region drawn", marks, max_width=180)
        return f'{message}<div class="pics">{pictures.figure(crop, seen, max_width=340)}{drawn}</div>'
    figures = [_refused(t, turn, pictures)]
    for n, image in enumerate(o.images, start=1):
        marks = [Mark(f.box, "gold", "gold") for f in t.question.gold_facts if f.page_id == image.page_id]
        if o.kind == "page":
            marks += [Mark(box, f"turn {k}") for k, box in crops(t, image.page_id) if k > turn.index]
        name = f"candidate {n}: " if o.kind == "candidates" else ""
        gold = " · gold page" if image.page_id in t.question.gold_pages else ""
        caption = f"{name}{_page_name(t, image)}, shown to the policy at {image.width} × {image.height}{gold}"
        figures.append(pictures.figure(image, caption, marks, max_width=400 if len(o.images) == 1 else 220))
    ranking = ""
    if len(o.ranking) > 1:
        listed = "".join(f"<li>{escape(p)}</li>" for p in o.ranking)
        ranking = f"<details><summary>{len(o.ranking)} pages ranked</summary><ol>{listed}</ol></details>"
    return f'{message}<div class="pics{" many" if len(o.images) > 3 else ""}">{"".join(figures)}</div>{ranking}'


def _refused(t: Trajectory, turn: Turn, pictures: Pictures) -> str:
    """The page with the box that the model-free checks refused, where there is one to draw."""
    page = EpisodeState(t.question, t.turns[: turn.index - 1]).current_page
    if turn.observation.kind != "retry" or turn.action.box is None or page is None or not t.config:
        return ""
    coordinates = json.loads(t.config).get("coordinates", "pixels")  # of another version, the record still says it
    region = clamp(*frame_of(page, coordinates).to_page(*turn.action.box))
    if region is None:
        return ""
    marks = [Mark(region, turn.observation.fault, "past")]
    return pictures.figure(page, f"{_page_name(t, page)} with the refused box", marks, max_width=230)


def _page_name(t: Trajectory, image: ImageRef) -> str:
    """Page number and document: its name where the episode recorded or cited one of its pages, else its short hash."""
    document, _, page = image.page_id.rpartition("/")
    if not (page.isascii() and page.isdigit()):
        return image.page_id
    names = {e.page_id.rpartition("/")[0]: e.document for e in t.evidence}
    names |= {c.page_id.rpartition("/")[0]: c.document for c in t.citations}
    return f"page {int(page)} of {names.get(document, document[:10])}"


def _failure(t: Trajectory) -> str:
    return f'<div class="card"><span class="chip bad">error</span> {escape(t.error)}</div>' if t.error else ""


def _sources(t: Trajectory, pictures: Pictures, pages: dict[str, ImageRef], address_of: PageAddress) -> str:
    """The pages the answer rests on, large, each with the boxes cited on it and links into its document."""
    by_page: dict[str, list[Citation]] = {}
    for citation in t.citations:
        by_page.setdefault(citation.page_id, []).append(citation)
    figures = []
    for page_id, cited in by_page.items():
        marks = [Mark(c.box, "cited") for c in cited if c.box is not None and c.box.area < 1.0]
        marks += [Mark(f.box, "gold", "gold") for f in t.question.gold_facts if f.page_id == page_id]
        if page_id in pages:
            gold = " · gold page" if page_id in t.question.gold_pages else ""
            caption = f"{escape(cited[0].document)}, page {cited[0].page}{gold}{_document_links(page_id, address_of)}"
            figures.append(pictures.large(pages[page_id], caption, marks))
    return f'<h2>What the answer rests on</h2><div class="cites">{"".join(figures)}</div>' if figures else ""


def _document_links(page_id: str, address_of: PageAddress) -> str:
    """Links to a page of its document and to the pages before and after it."""
    document, _, number = page_id.rpartition("/")
    if not (number.isascii() and number.isdigit()):
        return ""
    page_number, links = int(number), []
    for name, at in (("open the page", 0), ("page before", -1), ("page after", 1)):
        address = address_of(f"{document}/{page_number + at:05d}") if page_number + at > 0 else ""
        if address:
            links.append(anchor(name, address, new=True))
    return "".join(f" · {link}" for link in links)


def shown_pages(t: Trajectory) -> dict[str, ImageRef]:
    """Each page shown, in full."""
    pages: dict[str, ImageRef] = {}
    for turn in t.turns:
        for image in turn.observation.images:
            pages.setdefault(image.page_id, whole_page(image))
    return pages


def crops(t: Trajectory, page_id: str) -> list[tuple[int, Box]]:
    """(turn, region) of each crop of a page."""
    return [
        (turn.index, image.box)
        for turn in t.turns
        if turn.observation.kind == "crop"
        for image in turn.observation.images
        if image.page_id == page_id
    ]
