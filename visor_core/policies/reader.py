"""The scripted reader: a policy without a model that reads the text layer of what it is shown, through the protocol.

It searches with the question, crops the region whose words match it, points at the value of the kind asked for that
stands nearest to them, notes it in the Evidence Space and, after a few pages, answers with the best-matching note and
cites it; where nothing matched, it says so. Weak, but its figures are real: whatever measures a model measures it as
well. It keeps nothing between turns: all it knows is the prompt, and of a page the words inside the picture that the
prompt shows. What stands in pictures it cannot see. Left out: counting, comparing, arithmetic (`policies.reading`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from visor_core.config import AgentConfig, WordingTexts
from visor_core.errors import ConfigError
from visor_core.geometry import FULL_PAGE, Box, Frame
from visor_core.policies.base import Closing, Completion, ImageRef, Prompt, Sampling
from visor_core.policies.identity import policy_code
from visor_core.policies.reading import Asked, Reading, Word, coverage, read, stems, understand, wanting
from visor_core.policies.replies import with_prefix

WordsOf = Callable[[str], Sequence[Word]]
"""The words of a page, by its id."""

PAGES = 3
"""Pages looked at before it answers."""
RELEVANT = 0.3
"""A page that holds less than this share of the question's words is not read."""
SURE = 0.5
"""A value with less than this match is no answer."""
CERTAIN = 0.75
"""With such a match, one more page after the first is enough: that of the search that verifies."""

_NOTE = re.compile(r"Read “([^”]*)” with match (\d\.\d\d)")
_POINTING = "Pointing at it"


@dataclass(frozen=True, slots=True)
class _Note:
    """What a line of the ledger, or an earlier thought, says was read; `entry` is 0 where there is no ledger."""

    entry: int
    value: str
    match: float


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt as the reader sees it.

    `form` is the format of answer that is asked for, by the text of the wording that asks; empty where none is.
    `last` is what came back for its last `reply`, with the pictures `shown`; `page` is the page that a box refers to.
    `entries` counts the lines of the ledger, `looked` the pages seen; `final` says that an answer is due.
    """

    question: str
    form: str
    last: Literal["page", "crop", "candidates", "nothing"]
    shown: tuple[ImageRef, ...]
    page: ImageRef | None
    reply: str
    notes: tuple[_Note, ...]
    entries: int
    looked: int
    final: bool


class ReaderPolicy(Closing):
    """Writes the reader's turns under one configuration of the agent, whose wording tells it what a prompt says.

    Args:
        words_of: the words of a page, by its id; only those inside a picture of the prompt are read.
        config: the agent's, with `full` prompts.

    Raises:
        ConfigError: if the prompts are the compact ones, which do not name what they show.
    """

    reproducible: Literal[True] = True
    relevant, sure = RELEVANT, SURE

    def __init__(self, words_of: WordsOf, config: AgentConfig, *, name: str = "reader") -> None:
        if config.wording is None:
            raise ConfigError(
                "the reader reads the full prompts, and this profile has the compact ones: leave --profile out, or add"
                " --set agent.prompts=full"
            )
        self.name, self.checkpoint = name, ""
        self._words_of, self._config, self._texts = words_of, config, config.wording

    def identity(self) -> dict[str, Any]:
        """The reader's code; the configuration and the words it reads belong to the environment's identity."""
        return {"engine": "reader", "name": self.name, "code": policy_code(__name__)}

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The reader's next turn."""
        return self._write(prompt)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """The reader's next turns, in the order of the prompts."""
        return [self._write(prompt) for prompt in prompts]

    def _write(self, prompt: Prompt) -> Completion:
        return Completion(text=with_prefix(self._reply(prompt), prompt.forced_prefix, Sampling().thought))

    def _reply(self, prompt: Prompt) -> str:
        """One thought and one action, as the state of the episode asks for."""
        context = understood(prompt, self._texts)
        asked = wanting(understand(context.question), context.form)
        if prompt.forced_prefix:
            return self._answer(context, "No turn is left.", "")
        match context.last:
            case "candidates":
                found = [coverage(asked, self._seen(image)) for image in context.shown]
                best = 1 + max(range(len(found)), key=lambda n: (found[n], -n))
                return f"<think>Candidate {best} has most of the question's words.</think><select>{best}</select>"
            case "page":
                return self._after_page(context, asked)
            case "crop":
                return self._after_crop(context, asked)
            case "nothing" if context.reply or not self._config.search_enabled:
                # A search that found nothing new is the last; after a refused box, what was noted stands.
                thought = "There is nothing new to read."
                return self._onward(context, asked, thought, "", ends="<search>" in context.reply)
            case "nothing":
                return f"<think>Nothing has been looked at yet.</think><search>{context.question}</search>"

    def _after_page(self, context: Context, asked: Asked) -> str:
        """Read the page, or the best of several; zoom into the region of the value where there is one."""
        found = [(image, self._read(asked, image)) for image in context.shown]
        image, reading = max(found, key=lambda pair: pair[1].match if pair[1] else -1.0)
        share = max(coverage(asked, self._seen(shown)) for shown in context.shown)
        thought = f"The page has {share:.2f} of the question's words"
        if reading is None or share < self.relevant:
            verdict = "keep" if share >= self.sure else "reject"
            return self._onward(context, asked, f"{thought}, and no value beside them.", verdict)
        thought = f"{thought}. {noted(reading)}."
        if not self._config.crop_enabled or context.final or image != context.page:
            return self._onward(context, asked, thought, "keep")
        return self._zoom(image, reading.region, f"{thought} Zooming in to check it.", "keep")

    def _after_crop(self, context: Context, asked: Asked) -> str:
        """Judge the crop by whether a value stands in it, and point at a value that matches well."""
        crop = context.shown[-1]
        if _POINTING in context.reply and (said := _NOTE.search(context.reply)):
            there = stems(" ".join(word[0] for word in self._seen(crop)))
            if stems(said[1]) <= there:
                return self._onward(context, asked, f"{said[0]}.", "keep")
            return self._onward(context, asked, "The value is cut off here.", "reject")
        reading = self._read(asked, crop)
        if reading is None or reading.match < self.relevant:
            return self._onward(context, asked, "No value stands beside the question's words here.", "reject")
        thought = f"The region shows it. {noted(reading)}."
        if context.page is None or context.final or reading.match < self.sure:
            return self._onward(context, asked, thought, "keep")
        return self._zoom(context.page, reading.box, f"{thought} {_POINTING}.", "keep")

    def _onward(self, context: Context, asked: Asked, thought: str, verdict: str, *, ends: bool = False) -> str:
        """Search on, or answer: after enough pages, with a match that is certain and verified, or without more."""
        matches = [*(note.match for note in context.notes), *(float(n[2]) for n in _NOTE.finditer(thought))]
        enough = context.looked >= PAGES or (context.looked > 1 and max(matches, default=0.0) >= CERTAIN)
        if context.final or ends or enough or not self._config.search_enabled:
            return self._answer(context, thought, verdict)
        # The second search is the question again, which verifies; the third its telling words alone.
        telling = " ".join(asked.words)
        query = telling if context.looked % 2 == 0 and telling else context.question
        return f"<think>{thought}</think>{self._judged(verdict)}<search>{query}</search>"

    def _answer(self, context: Context, thought: str, verdict: str) -> str:
        """The best-matching note with its citation; a refusal where none matches well enough.

        What this very thought reads makes the next entry, which the answer may cite.
        """
        notes = list(context.notes)
        if newest := _NOTE.search(thought):
            keeps = self._config.evidence.enabled
            notes.append(_Note(context.entries + 1 if keeps else 0, newest[1], float(newest[2])))
        best = max(notes, key=lambda note: (note.match, note.entry), default=None)
        said = f"<think>{thought}</think>{self._judged(verdict)}<answer>"
        if best is None or best.match < self.sure:
            return f"{said}not answerable</answer>"
        return f"{said}{best.value}{f' [{best.entry}]' if best.entry else ''}</answer>"

    def _zoom(self, page: ImageRef, box: Box, thought: str, verdict: str) -> str:
        """A box on a page as shown, in the units of the configuration, rounded outwards."""
        x, y = Frame(page.box, page.width, page.height, self._config.coordinates).units
        corners = [math.floor(box.x0 * x), math.floor(box.y0 * y), math.ceil(box.x1 * x), math.ceil(box.y1 * y)]
        return f"<think>{thought}</think>{self._judged(verdict)}<bbox>{corners}</bbox>"

    def _judged(self, verdict: str) -> str:
        """The verdict on the newest picture, where replies carry one."""
        evidence = self._config.evidence
        judges = evidence.enabled and (self._config.correction or evidence.gate == "relevant")
        return f"<verdict>{verdict}</verdict>" if verdict and judges else ""

    def _seen(self, image: ImageRef) -> list[Word]:
        """The words inside a picture."""
        box = image.box
        return [
            word
            for word in self._words_of(image.page_id)
            if box.x0 <= (word[1] + word[3]) / 2 <= box.x1 and box.y0 <= (word[2] + word[4]) / 2 <= box.y1
        ]

    def _read(self, asked: Asked, image: ImageRef) -> Reading | None:
        return read(asked, self._seen(image))


def understood(prompt: Prompt, texts: WordingTexts) -> Context:
    """What a prompt says, by the texts it is made of."""
    said = [(m.role, [p for p in m.content if isinstance(p, str)]) for m in prompt.messages if m.role != "system"]
    user = "\n".join(text for role, parts in said if role == "user" for text in parts)
    newest = "\n".join(said[-1][1])
    replies = [text for role, parts in said if role == "assistant" for text in parts][len(texts.few_shot) :]
    shown, last = _newest_pictures(prompt, texts)
    entries, notes, pages = _ledger(user, texts)
    if not entries:
        notes = [_Note(0, n[1], float(n[2])) for reply in replies for n in _NOTE.finditer(reply)]
    looked = len(pages) + (len(shown) if last == "page" else 0) if entries else sum("<search>" in r for r in replies)
    referred = [image for image in prompt.images if image.box == FULL_PAGE and last in ("page", "crop")]
    return Context(
        question=_question(newest, texts) or _question(user, texts),
        form=_form(newest, texts),
        last=last,
        shown=shown,
        page=next((image for image in reversed(referred) if image.page_id == shown[-1].page_id), None),
        reply=replies[-1] if replies else "",
        notes=tuple(notes),
        entries=entries,
        looked=max(looked, len(shown) if last == "page" else 0),
        final=texts.last_turn in newest,
    )


def _newest_pictures(
    prompt: Prompt, texts: WordingTexts
) -> tuple[tuple[ImageRef, ...], Literal["page", "crop", "candidates", "nothing"]]:
    """The pictures of the newest observation and what they are; a page pinned for boxes is no observation."""
    shown: list[ImageRef] = []
    before = ""
    choice = False
    for part in prompt.messages[-1].content:
        if isinstance(part, str):
            before = part
            choice = choice or _opening(texts.candidates) in part
        elif _opening(texts.pinned) not in before or not _opening(texts.pinned):
            shown.append(part)
    if not shown:
        return (), "nothing"
    if choice:
        return tuple(shown), "candidates"
    return tuple(shown), "page" if shown[-1].box == FULL_PAGE else "crop"


def _opening(template: str) -> str:
    """The words of a text before its first placeholder."""
    return template.split("{", 1)[0]


def _question(text: str, texts: WordingTexts) -> str:
    """The question as it was put last."""
    before, _, after = texts.question.partition("{question}")
    found = re.findall(rf"^{re.escape(before)}(.+){re.escape(after)}$", text, re.MULTILINE)
    return found[-1].strip() if found else ""


def _form(text: str, texts: WordingTexts) -> str:
    """The format of answer that is asked for last: the key of its text; empty where none is."""
    if not texts.answer_format:
        return ""
    lines = text.splitlines()
    asked = {texts.answer_format.format(format=said): key for key, said in reversed(list(texts.answer_formats)) if said}
    return next((asked[line] for line in reversed(lines) if line in asked), "")


def _ledger(text: str, texts: WordingTexts) -> tuple[int, list[_Note], set[tuple[str, str]]]:
    """The ledger's last index, the notes of its entries that stand, and the pages it has entries of."""
    named = {"index": r"(?P<index>\d+)", "document": r"(?P<document>\"[^\"]*\")", "page": r"(?P<page>\d+)"}
    head = texts.entry.split("{box}")[0]
    line = re.escape(head)
    for name, pattern in named.items():
        line = line.replace(re.escape("{" + name + "}"), pattern)
    replaced = re.escape(texts.entry_replaces).replace(re.escape("{index}"), r"(\d+)")
    last, notes, pages, gone = 0, dict[int, _Note](), set[tuple[str, str]](), set[int]()
    for found in re.finditer(rf"^{line}(?P<rest>.*)$", text, re.MULTILINE):
        index = int(found["index"])
        last = max(last, index)
        pages.add((found["document"], found["page"]))
        note = _NOTE.search(found["rest"])
        marks = found["rest"][: note.start()] if note else found["rest"]
        if superseded := re.search(replaced, marks):
            gone.add(int(superseded[1]))
        rejected = any(mark in marks for mark in (texts.entry_rejected_crop, texts.entry_rejected_page))
        if note and not rejected:
            notes[index] = _Note(index, note[1], float(note[2]))
    return last, [note for index, note in notes.items() if index not in gone], pages


def noted(reading: Reading) -> str:
    """A reading in the words that the reader finds again; quotes inside it would end it."""
    value = reading.value.replace("“", "'").replace("”", "'")
    return f"Read “{value}” with match {min(reading.match, 1.0):.2f}"
