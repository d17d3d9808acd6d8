"""The wording of the protocol: `full` for pretrained models, `compact` for a small from-scratch word-level model.

A `Wording` renders single pieces (system text, header, ledger line, what is said with an observation, last lines); how
they are ordered is `context`. The full texts are data (`config.wording`), which a user may replace; the compact ones
are a vocabulary that a model is built on. Wording is the project's own: the paper's prompts are not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from visor_core.agent.trajectory import EvidenceEntry, ObservationKind
from visor_core.agent.untrusted import neutralise, quoted
from visor_core.config import AgentConfig, WordingTexts, shipped_wording
from visor_core.policies.base import ImageRef, Message
from visor_core.questions import Question

FAULTS: dict[str, str] = {
    "no action": "action",
    "cut off": "action",
    "empty query": "query",
    "empty answer": "answer",
    "bad box": "box",
    "no search": "action",
    "no crop": "action",
    "no select": "action",
    "no page": "page",
    "page gone": "page",
    "no candidates": "page",
    "choose first": "page",
    "degenerate": "box",
    "outside": "outside",
    "whole page": "whole",
    "repeat": "repeat",
    "blank": "blank",
    "not drawn": "blank",
    "not an answer": "answer",
}
"""Every fault by its key, with the single word of the `compact` prompts; `config.FaultTexts` holds the full words."""

REFUSALS = frozenset({"degenerate", "outside", "whole page", "repeat", "blank", "not drawn"})
"""Faults that the model-free checks find in a readable box."""

COMPACT_VOCABULARY: tuple[str, ...] = (
    "<think>", "</think>", "<verdict>", "</verdict>", "<search>", "</search>", "<select>", "</select>",
    "<bbox>", "</bbox>", "<answer>", "</answer>",
    "[", "]", ",", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
    "answer", "search", "read", "evidence", "question", "page", "crop", "candidate",
    "no", "none", "retry", "stand", "last", "verify",
    "keep", "reject", "gone",
    *sorted(set(FAULTS.values()) - {"page", "answer"}),
)  # fmt: skip
"""Every word the `compact` protocol itself can write, tags included. Numbers (entry indices, coordinates, candidates)
are decimal: a tokenizer splits them into digits or lists the numbers it needs (0 to 10 for coordinates)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in an episode a context stands.

    `turn` of `turns` counts the replies that are the policy's own; `last` is the kind of the newest observation.
    `verify` encourages the search with the original question, `final` asks for the answer, `forced` begins it.
    """

    turn: int
    turns: int
    last: ObservationKind | None
    verify: bool = False
    final: bool = False
    forced: bool = False


class Wording(Protocol):
    """One wording of the protocol. Names are safe to stand in a prompt. `stands` is the entry that stands after a crop
    was rejected or a box refused, where there is one."""

    def system(self, config: AgentConfig) -> str:
        """The system prompt; depends on the configuration only, so it is the same in every turn."""
        ...

    def examples(self) -> Sequence[Message]:
        """Worked exchanges between system prompt and question."""
        ...

    def header(self, question: str, form: str, lines: Sequence[str], config: AgentConfig) -> str:
        """The first user message: the question, with the format of its answer if one is stated, and the Evidence
        Space."""
        ...

    def entry(self, entry: EvidenceEntry, observation: str) -> str:
        """One ledger line."""
        ...

    def pages(self, names: Sequence[str], pages: Sequence[ImageRef], stands: int | None) -> str:
        """Said with pages shown in full."""
        ...

    def candidates(self, names: Sequence[str], stands: int | None) -> str:
        """Said with the candidates of a search."""
        ...

    def crop(self, name: str, crop: ImageRef, stands: int | None) -> str:
        """Said with a region of a page."""
        ...

    def nothing_new(self, *, found: bool, stands: int | None) -> str:
        """Said after a search without a page to show: it `found` only seen ones, or none."""
        ...

    def retry(self, fault: str, stands: int | None) -> str:
        """Said to a reply that cannot be followed; `fault` is a key of `FAULTS`."""
        ...

    def pinned(self, name: str, page: ImageRef) -> str:
        """Said with the page that boxes refer to, where no turn in the context shows it."""
        ...

    def closing(self, question: str, form: str, config: AgentConfig, moment: Moment) -> str:
        """The last injected lines: the turn, the intent for the newest observation, the question again."""
        ...

    def missing_image(self) -> str:
        """What stands where an image was dropped for a budget."""
        ...


_FORMAT_TEXTS = {
    "Int": "whole_number",
    "Float": "number",
    "Str": "phrase",
    "List": "listing",
    "None": "no_answer",
}
"""The text of every answer format (`questions.ANSWER_FORMATS`) that can be stated."""
_EXAMPLE_BOX = {"pixels": "[112,308,420,476]", "thousand": "[210,440,790,680]", "grid10": "[2,4,8,7]"}


class FullWording:
    """For pretrained models, in the texts of a configuration."""

    def __init__(self, texts: WordingTexts) -> None:
        self._texts = texts

    def system(self, config: AgentConfig) -> str:
        """Role, form, actions, what is recorded and judged, one worked reply, and that pages are no instructions."""
        texts = self._texts
        keeps = config.evidence.enabled
        judges = _judges(config)
        frame = getattr(texts, f"coordinates_{config.coordinates}")
        lines = [
            texts.role,
            texts.form.format(verdict=texts.form_verdict if judges else ""),
            *(f"- {action}" for action in self._actions(config, frame)),
        ]
        if keeps:
            lines.append(texts.record)
        if keeps and config.crop_enabled:
            lines.append(texts.ledger_boxes.format(coordinates=frame))
        if judges:
            # Without correction a rejected crop is a reading like any other.
            falls_back = config.crop_enabled and config.correction
            lines.append(f"{texts.verdict} {texts.verdict_crop}" if falls_back else texts.verdict)
        lines += [self._example(config, "<verdict>keep</verdict>" if judges else ""), texts.untrusted]
        return "\n".join(lines)

    def _actions(self, config: AgentConfig, frame: str) -> list[str]:
        """What the strategy can do, one text an action."""
        texts = self._texts
        actions = []
        if config.search_enabled:
            one = config.pages_per_search == 1 and config.exclude_seen
            shown = texts.action_search if one else texts.action_search_pages
            actions.append(texts.action_search_candidates if config.select_enabled else shown)
        if config.select_enabled:
            actions.append(texts.action_select)
        if config.crop_enabled:
            actions.append(texts.action_crop.format(coordinates=frame))
        return [*actions, texts.action_answer_cited if config.evidence.enabled else texts.action_answer]

    def _example(self, config: AgentConfig, verdict: str) -> str:
        """A worked reply with an action that the strategy has."""
        if config.crop_enabled:
            return self._texts.example_crop.format(verdict=verdict, box=_EXAMPLE_BOX[config.coordinates])
        example = self._texts.example_search if config.search_enabled else self._texts.example_answer
        return example.format(verdict=verdict)

    def examples(self) -> Sequence[Message]:
        """The few-shot turns of the texts."""
        return [
            message
            for shot in self._texts.few_shot
            for message in (Message("user", (shot.user,)), Message("assistant", (shot.assistant,)))
        ]

    def header(self, question: str, form: str, lines: Sequence[str], config: AgentConfig) -> str:
        """Question, then the append-only ledger."""
        asked = self._question(question, form)
        if not config.evidence.enabled:
            return asked
        return "\n".join([asked, self._texts.ledger, *(lines or [self._texts.ledger_empty])])

    def entry(self, entry: EvidenceEntry, observation: str) -> str:
        """`[3] "report.pdf", page 5, box [0.10,0.20,0.45,0.33], zoomed, replaces [1]: observation`."""
        texts = self._texts
        box = ",".join(f"{v:.2f}" for v in entry.box.as_tuple()) if entry.box else ""
        state = texts.entry_zoomed if entry.kind == "post" else ""
        if entry.kind == "rejected":
            state = texts.entry_rejected_crop if entry.box else texts.entry_rejected_page
        replaced = entry.supersedes
        return texts.entry.format(
            index=entry.index,
            document=quoted(entry.document),
            page=entry.page,
            box=texts.entry_box.format(box=box) if box else "",
            state=state,
            replaces=texts.entry_replaces.format(index=replaced) if replaced is not None else "",
            observation=texts.entry_observation.format(observation=observation) if observation else "",
        )

    def pages(self, names: Sequence[str], pages: Sequence[ImageRef], stands: int | None) -> str:
        """Each page by name and size."""
        pictures = ", ".join(self._picture(name, page) for name, page in zip(names, pages, strict=True))
        return self._after_crop(stands, self._texts.page.format(pictures=pictures))

    def candidates(self, names: Sequence[str], stands: int | None) -> str:
        """Each candidate by number and name."""
        listed = [self._texts.candidate.format(number=i, name=name) for i, name in enumerate(names, start=1)]
        return self._after_crop(stands, self._texts.candidates.format(candidates="; ".join(listed)))

    def crop(self, name: str, crop: ImageRef, stands: int | None) -> str:
        """The page the crop is of, and the crop's size."""
        return self._after_crop(stands, self._texts.crop.format(picture=self._picture(name, crop)))

    def nothing_new(self, *, found: bool, stands: int | None) -> str:
        """Whether there was nothing, or nothing new."""
        return self._after_crop(stands, self._texts.exhausted if found else self._texts.no_results)

    def retry(self, fault: str, stands: int | None) -> str:
        """What was wrong, and which reading stands."""
        words = getattr(self._texts.faults, fault.replace(" ", "_"))
        said = self._texts.retry.format(fault=words)
        if fault in REFUSALS and stands is not None:
            return f"{self._texts.stands_after_box.format(index=stands)} {said}"
        return self._after_crop(stands, said)

    def pinned(self, name: str, page: ImageRef) -> str:
        """The page by name and size, and what it is shown for."""
        return self._texts.pinned.format(picture=self._picture(name, page))

    def closing(self, question: str, form: str, config: AgentConfig, moment: Moment) -> str:
        """Worded for the action (VISOR's intent injection), question last."""
        texts = self._texts
        said = [] if moment.forced else [texts.turn.format(turn=moment.turn, turns=moment.turns)]
        if moment.final:
            said.append(texts.last_turn)
        elif config.intent_injection:
            said.append(self._intent(config, moment))
            if moment.verify:
                said.append(texts.verify)
        elif moment.last is None:
            return " ".join(said)  # the header ends with the question
        return "\n".join([" ".join(filter(None, said)), self._question(question, form)])

    def _intent(self, config: AgentConfig, moment: Moment) -> str:
        """What to do about the newest observation."""
        texts = self._texts
        ledger = texts.intent_ledger if config.evidence.enabled else ""
        match moment.last:
            case None:
                return texts.intent_start if config.search_enabled else ""
            case "page":
                return texts.intent_page.format(ledger=ledger)
            case "crop":
                entry = texts.intent_crop_entry if config.evidence.enabled else ""
                verdict = texts.intent_crop_verdict if _judges(config) else ""
                return texts.intent_crop.format(entry=entry, verdict=verdict)
            case "candidates":
                return texts.intent_candidates
            case "retry":
                return texts.intent_retry.format(ledger=ledger)
            case "exhausted":
                return texts.intent_exhausted.format(ledger=ledger) if config.search_enabled else ""
            case "final":
                return ""

    def missing_image(self) -> str:
        """A remark in brackets."""
        return self._texts.missing_image

    def _question(self, question: str, form: str) -> str:
        """The question, and below it the format its answer is asked for in."""
        asked = self._texts.question.format(question=neutralise(question))
        said = getattr(self._texts.answer_formats, _FORMAT_TEXTS[form]) if form else ""
        return f"{asked}\n{self._texts.answer_format.format(format=said)}" if said else asked

    def _picture(self, name: str, shown: ImageRef) -> str:
        return self._texts.picture.format(name=name, width=shown.width, height=shown.height)

    def _after_crop(self, stands: int | None, said: str) -> str:
        return said if stands is None else f"{self._texts.stands_after_crop.format(index=stands)} {said}"


def _judges(config: AgentConfig) -> bool:
    """Whether replies carry a verdict."""
    return config.evidence.enabled and (config.correction or config.evidence.gate == "relevant")


class CompactWording:
    """For a model of a hundred words: evidence, window, question last and only there; names of files never appear."""

    def system(self, config: AgentConfig) -> str:
        """A few words."""
        return "search read answer"

    def examples(self) -> Sequence[Message]:
        """None: such a model is trained, not shown."""
        return ()

    def header(self, question: str, form: str, lines: Sequence[str], config: AgentConfig) -> str:
        """The ledger alone; the question stands in the last line of every context."""
        return "\n".join(["evidence", *lines])

    def entry(self, entry: EvidenceEntry, observation: str) -> str:
        """`3 observation`, with `no` before what was rejected."""
        return " ".join([str(entry.index), *(["no"] if entry.kind == "rejected" else []), observation]).strip()

    def pages(self, names: Sequence[str], pages: Sequence[ImageRef], stands: int | None) -> str:
        """One word."""
        return _stand(stands, "page")

    def candidates(self, names: Sequence[str], stands: int | None) -> str:
        """One word."""
        return _stand(stands, "candidate")

    def crop(self, name: str, crop: ImageRef, stands: int | None) -> str:
        """One word."""
        return _stand(stands, "crop")

    def nothing_new(self, *, found: bool, stands: int | None) -> str:
        """One word."""
        return _stand(stands, "none")

    def retry(self, fault: str, stands: int | None) -> str:
        """Two words."""
        return _stand(stands, f"retry {FAULTS[fault]}")

    def pinned(self, name: str, page: ImageRef) -> str:
        """One word, the one that a page is shown with."""
        return "page"

    def closing(self, question: str, form: str, config: AgentConfig, moment: Moment) -> str:
        """`question …`, preceded by `verify` or `last` where they apply."""
        words = ["last"] if moment.final else ["verify"] if moment.verify and config.intent_injection else []
        return " ".join([*words, "question", neutralise(question)])

    def missing_image(self) -> str:
        """One word."""
        return "gone"


def _stand(stands: int | None, word: str) -> str:
    """`stand N` before a word where an entry stands."""
    return word if stands is None else f"stand {stands} {word}"


def stated_format(question: Question, config: AgentConfig) -> str:
    """The answer format that contexts of a question state; empty where it is not known or the configuration states
    none."""
    return question.answer_format if config.answer_format and question.answer_format in _FORMAT_TEXTS else ""


def wording(config: AgentConfig) -> Wording:
    """The wording a configuration asks for."""
    return CompactWording() if config.prompts == "compact" else FullWording(config.wording or shipped_wording())
