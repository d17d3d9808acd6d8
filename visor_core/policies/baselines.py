"""Baselines without a model, so that a table has its floor and its ceilings: they play the protocol like any policy.

- `retrieval-only`, the floor: one search with the question and one look at what it finds. It answers the value that
  stands nearest to the question's words on the best page shown, zooms nowhere and looks no second time.
- `oracle-pages`: every search finds the gold pages, in their order, and it looks at as many as its turns allow; it
  reads them as the scripted reader does, but holds the best value for the answer however little it matches: the page is
  known to hold it. What is lost to it is lost in reading. Of a question without an answer there is no gold page, and it
  refuses.
- `oracle-evidence`: it is shown the gold pages too, zooms where the gold answer is printed, and gives the gold answer
  if it is printed exactly once on them (`scoring.located`); else it refuses. What is lost to it cannot be located.

The oracles know the gold of the questions they are made for. They tell questions by their words: questions in the same
words are shown the gold pages of all of them, and the first that is located gives its answer. Their index
(`OracleIndex`) changes which pages a search finds, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from visor_core.code_version import code_behind, code_version
from visor_core.config import AgentConfig
from visor_core.geometry import Box
from visor_core.policies.base import ImageRef, Prompt
from visor_core.policies.reader import Context, ReaderPolicy, WordsOf, noted, understood
from visor_core.policies.reading import Asked, Reading, coverage
from visor_core.questions import Question
from visor_core.scoring.crops import Region
from visor_core.scoring.located import gold_boxes

if TYPE_CHECKING:
    from PIL import Image

FLOOR, ORACLE_PAGES, ORACLE_EVIDENCE = "retrieval-only", "oracle-pages", "oracle-evidence"
ORACLES = frozenset({ORACLE_PAGES, ORACLE_EVIDENCE})
_REFUSAL = "<answer>not answerable</answer>"


class RetrievalOnly(ReaderPolicy):
    """One search, one look, the nearest value."""

    def __init__(self, words_of: WordsOf, config: AgentConfig) -> None:
        super().__init__(words_of, config, name=FLOOR)

    def identity(self) -> dict[str, Any]:
        """The code: the configuration and the words belong to the environment's identity."""
        return {"engine": "baseline", "name": self.name, "code": _code()}

    def _after_page(self, context: Context, asked: Asked) -> str:
        found = [(coverage(asked, self._seen(image)), self._read(asked, image)) for image in context.shown]
        share, reading = max(found, key=lambda pair: pair[1].match if pair[1] else -1.0)
        thought = f"The page has {share:.2f} of the question's words"
        if reading is None:
            return f"<think>{thought}, and no value beside them.</think>{self._judged('reject')}{_REFUSAL}"
        said = f"<think>{thought}. {noted(reading)}.</think>{self._judged('keep')}"
        cited = f" [{context.entries + 1}]" if self._config.evidence.enabled else ""
        return f"{said}<answer>{reading.value}{cited}</answer>"

    def _onward(self, context: Context, asked: Asked, thought: str, verdict: str, *, ends: bool = False) -> str:
        return self._answer(context, thought, verdict)


class Gold:
    """The questions an oracle knows, found by their words."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._by_words: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            self._by_words[_words(question.question)].append(question)
        rows = sorted([q.question_id, q.question, *q.answers, *q.gold_pages] for q in questions)
        self.digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def of(self, text: str) -> list[Question]:
        """The questions in these words; of one that was cut short, or shown a line of, those that begin so."""
        key = _words(text)
        if key in self._by_words or not key:
            return self._by_words.get(key, [])
        return [q for words, questions in self._by_words.items() if words.startswith(key) for q in questions]

    def pages(self, text: str) -> list[str]:
        """Their gold pages, each once, in their order."""
        return list(dict.fromkeys(page for question in self.of(text) for page in question.gold_pages))


def _words(text: str) -> str:
    """What is left of a question in every prompt and query: its words and numbers, without case."""
    return " ".join(re.findall(r"\w+", text.casefold()))


class OraclePages(ReaderPolicy):
    """Looks at every gold page, then answers what the reader reads there, however little it matches."""

    relevant = sure = 0.0

    def __init__(self, words_of: WordsOf, config: AgentConfig, gold: Gold, *, name: str = ORACLE_PAGES) -> None:
        super().__init__(words_of, config, name=name)
        self._gold = gold

    def identity(self) -> dict[str, Any]:
        """The code, and the gold that it knows."""
        return {"engine": "baseline", "name": self.name, "code": _code(), "gold": self._gold.digest}

    def _reply(self, prompt: Prompt) -> str:
        """A refusal where the gold says that there is no answer, and names no page."""
        context = understood(prompt, self._texts)
        known = self._gold.of(context.question)
        if known and not any(q.answerable or q.gold_pages for q in known) and not prompt.forced_prefix:
            return f"<think>No page holds the answer.</think>{_REFUSAL}"
        return super()._reply(prompt)

    def _onward(self, context: Context, asked: Asked, thought: str, verdict: str, *, ends: bool = False) -> str:
        wanted = len(self._gold.pages(context.question))
        if not wanted:
            return super()._onward(context, asked, thought, verdict, ends=ends)
        if context.final or ends or context.looked >= wanted or not self._config.search_enabled:
            return self._answer(context, thought, verdict)
        return f"<think>{thought}</think>{self._judged(verdict)}<search>{context.question}</search>"


class OracleEvidence(OraclePages):
    """Zooms where the gold answer is printed, and gives it where it is printed exactly once."""

    def __init__(self, words_of: WordsOf, config: AgentConfig, gold: Gold) -> None:
        super().__init__(words_of, config, gold, name=ORACLE_EVIDENCE)

    def _located(self, text: str) -> tuple[Question, tuple[Region, ...]] | None:
        """The first question in these words whose gold answer is located, and where."""
        for question in self._gold.of(text):
            if question.answers and (regions := gold_boxes(question, self._words_of)):
                return question, regions
        return None

    def _after_page(self, context: Context, asked: Asked) -> str:
        image = context.page or context.shown[-1]
        found = self._located(context.question)
        boxes = [region.box for region in found[1] if region.page_id == image.page_id] if found else []
        if found is None or not boxes:
            return self._onward(context, asked, "The answer is not printed on this page.", "reject")
        around = _around(boxes)
        thought = f"{noted(Reading(found[0].answers[0], around, around, 1.0))}."
        if not self._config.crop_enabled or context.final or context.page is None:
            return self._onward(context, asked, thought, "keep")
        return self._zoom(image, around, f"{thought} Zooming in to check it.", "keep")

    def _after_crop(self, context: Context, asked: Asked) -> str:
        found = self._located(context.question)
        if found is None:
            return self._onward(context, asked, "There is nothing here.", "reject")
        box = context.shown[-1].box
        return self._onward(context, asked, f"{noted(Reading(found[0].answers[0], box, box, 1.0))}.", "keep")

    def _answer(self, context: Context, thought: str, verdict: str) -> str:
        """The gold answer with every entry that notes it; a refusal where it is not located."""
        found = self._located(context.question)
        said = f"<think>{thought}</think>{self._judged(verdict)}"
        if found is None:
            return f"{said}{_REFUSAL}"
        entries = [note.entry for note in context.notes if note.entry]
        if self._config.evidence.enabled and verdict == "keep":
            entries.append(context.entries + 1)
        cited = "".join(f"[{entry}]" for entry in dict.fromkeys(entries))
        return f"{said}<answer>{found[0].answers[0]}{f' {cited}' if cited else ''}</answer>"


def _around(boxes: Sequence[Box]) -> Box:
    """The box around boxes."""
    return Box(min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes))


def _code() -> str:
    """The code version of the baselines: this module, the reader, and what locates an answer."""
    within = ("visor_core.policies", "visor_core.scoring.located", "visor_core.scoring.facts")
    return code_version(*code_behind(__name__, within=within))


class _Index(Protocol):
    """What an oracle's index stands on (`visor_core.index.PageIndex` is one)."""

    @property
    def tag(self) -> str: ...
    @property
    def corpus_name(self) -> str: ...
    @property
    def data_version(self) -> str: ...

    @property
    def search(self) -> Callable[..., Sequence[Any]]: ...
    def page(self, page_id: str) -> Any: ...
    def __call__(self, ref: ImageRef) -> Image.Image: ...


@dataclass(frozen=True, slots=True)
class GoldHit:
    """A page that a search finds because it is gold."""

    page_id: str


class OracleIndex:
    """An index whose searches with a known question find its gold pages; any other search is the index's own."""

    def __init__(self, index: _Index, gold: Gold) -> None:
        self._index, self._gold = index, gold

    @property
    def tag(self) -> str:
        """The tag of the index."""
        return self._index.tag

    @property
    def corpus_name(self) -> str:
        """The name of the corpus."""
        return self._index.corpus_name

    @property
    def data_version(self) -> str:
        """That of the index, and the gold that its searches know: other episodes come of it."""
        return f"{self._index.data_version}-gold-{self._gold.digest}"

    def search(self, query: str, **options: Any) -> Sequence[Any]:
        """The gold pages of the question in these words, all of them; else what the index finds, with its options."""
        pages = self._gold.pages(query)
        if pages:
            return [GoldHit(page) for page in pages]
        return self._index.search(query, **options)

    def page(self, page_id: str) -> Any:
        """One page's record."""
        return self._index.page(page_id)

    def __call__(self, ref: ImageRef) -> Image.Image:
        """The picture a reference names."""
        return self._index(ref)
