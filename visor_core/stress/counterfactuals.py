"""Counterfactuals: the gold value is changed in the document, and the answer must follow.

A question qualifies when its answer is printed exactly once on its gold pages by the words of their text layer
(`scoring.located`, which takes no single digit), and a value of the same form can take its place. *Faithfulness* is, of
the questions answered right on the original and finished on the changed documents, the share answered with the new
value; what kept the old one had it from memory or from elsewhere. Left out: answers that are counted, computed or shown
only, and lists.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from visor_core.evaluation.benchmarks.resolve import LeftOut, count_reasons
from visor_core.evaluation.statistics import Interval, wilson
from visor_core.geometry import Box, iou
from visor_core.index import PageIndex
from visor_core.index.records import split_page_id
from visor_core.policies.identity import digest_of
from visor_core.questions import Question
from visor_core.scoring.answers import UNSCORED, answer_score, rule_of, says_missing
from visor_core.scoring.located import gold_boxes, printed
from visor_core.stress.conditions import Condition, Measured, Subject, measure
from visor_core.stress.curves import known
from visor_core.stress.derived import Change, Derived, derive
from visor_core.stress.edits import Edit, Replace
from visor_core.stress.values import changed, new_value, printed_new

KIND = "counterfactual"
FORMATS = ("Int", "Float", "Str")
Outcome = Literal["followed", "kept the old", "refused", "neither"]
OUTCOMES: tuple[Outcome, ...] = ("followed", "kept the old", "refused", "neither")

NOT_ANSWERABLE = "not answerable"
NO_GOLD = "gold pages not known"
NO_FORM = "answer is a list or of no known form"
NOT_PRINTED = "answer is not printed on its gold pages"
PRINTED_TWICE = "answer is one digit, or is printed more than once on its gold pages"
NO_VALUE = "no other value of the same form"
TAKEN = "its place is that of another question's answer"
NOT_EDITED = "the edit cannot be verified"


@dataclass(frozen=True)
class Counterfactual:
    """A question, the same with its new gold answer, and the edits (document id, edit) that make it so."""

    question: Question
    asked: Question
    edits: tuple[tuple[str, Edit], ...]


@dataclass(frozen=True)
class Plan:
    """What can be changed of a question set; `considered` are its questions."""

    counterfactuals: tuple[Counterfactual, ...]
    left_out: tuple[LeftOut, ...]
    considered: int

    @property
    def change(self) -> Change:
        """All edits together, each once."""
        edits: dict[str, dict[Edit, None]] = {}
        for document, edit in (pair for planned in self.counterfactuals for pair in planned.edits):
            edits.setdefault(document, {})[edit] = None
        return Change({document: tuple(found) for document, found in edits.items()})


@dataclass(frozen=True, slots=True)
class Row:
    """One question: gold and answer on the original documents and on the changed ones."""

    question_id: str
    question: str
    answer_format: str
    pages: tuple[str, ...]
    old: str
    new: str
    answer_before: str
    answer_after: str
    right_before: bool
    outcome: str


@dataclass(frozen=True)
class Faithfulness:
    """What came of a plan: a row a question that was changed. `considered` are all questions of the set."""

    policy: str
    checkpoint: str
    benchmark: str
    rule: str
    corpus: str
    changed_corpus: str
    seed: int
    considered: int
    answerable: int
    located: int
    rows: tuple[Row, ...]
    failed: int
    left_out: tuple[LeftOut, ...] = field(default=())
    stores: tuple[str, ...] = ()
    """What its episodes are kept under."""

    @property
    def right(self) -> list[Row]:
        """Rows answered right on the original that came to an end on the changed documents."""
        return [row for row in self.rows if row.right_before and row.outcome]

    def share(self, outcome: Outcome, answer_format: str = "") -> Interval:
        """Share of the rows answered right before, with Wilson's 95 % interval."""
        rows = [row for row in self.right if not answer_format or row.answer_format == answer_format]
        return wilson(sum(row.outcome == outcome for row in rows), len(rows))

    @property
    def rate(self) -> Interval:
        """The faithfulness rate."""
        return self.share("followed")

    @property
    def formats(self) -> tuple[str, ...]:
        """Answer formats among the rows, in order."""
        return tuple(sorted({row.answer_format for row in self.rows}))

    @property
    def coverage(self) -> Interval:
        """Share of the answerable questions whose answer was located, changed and verified."""
        return wilson(len(self.rows), self.answerable)

    def as_json(self) -> dict[str, Any]:
        """Figures, then rows."""
        values = {
            "figures": {
                "faithfulness": asdict(self.rate),
                "coverage": asdict(self.coverage),
                "outcomes": dict(Counter(row.outcome for row in self.right)),
                "by_format": {
                    name: {outcome: asdict(self.share(outcome, name)) for outcome in OUTCOMES} for name in self.formats
                },
                "left_out_by_reason": count_reasons(self.left_out),
            },
            "corpora": [self.changed_corpus],
            **asdict(self),
        }
        return dict(known(values))


def plan(questions: Sequence[Question], index: PageIndex, seed: int = 0) -> Plan:
    """What can be changed: for every question that qualifies its edit and its new gold, for every other why not."""
    pools: dict[str, list[str]] = {}
    for question in questions:
        if question.answerable:
            pools.setdefault(question.answer_format, []).append(question.answers[0].strip())
    planned: list[Counterfactual] = []
    left_out: list[LeftOut] = []
    taken: dict[tuple[str, Box], tuple[str, Replace]] = {}
    for question in questions:
        found = _planned(question, index, pools.get(question.answer_format, []), seed, taken)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            planned.append(found)
    return Plan(tuple(planned), tuple(left_out), len(questions))


def _planned(
    question: Question,
    index: PageIndex,
    pool: Sequence[str],
    seed: int,
    taken: dict[tuple[str, Box], tuple[str, Replace]],
) -> Counterfactual | LeftOut:
    """One question's edit; places that others have taken are shared where the answer is the same."""
    if not question.answerable:
        return LeftOut(question.question_id, NOT_ANSWERABLE, question.answers[0] if question.answers else "")
    if (rule := rule_of(question)) in UNSCORED:
        return LeftOut(question.question_id, rule, question.benchmark)
    if question.answer_format not in FORMATS:
        return LeftOut(question.question_id, NO_FORM, question.answer_format)
    if not question.gold_pages:
        return LeftOut(question.question_id, NO_GOLD, "")
    answer = question.answers[0].strip()
    located = gold_boxes(replace(question, gold_boxes=(), gold_facts=()), lambda page: index.page(page).words)
    if located is None or len(located) != 1:
        times = sum(len(printed(answer, index.page(page).words)) for page in question.gold_pages)
        return LeftOut(question.question_id, PRINTED_TWICE if times else NOT_PRINTED, f"{answer!r}, {times} times")
    page_id, box = located[0].page_id, located[0].box
    for (other_page, other_box), (new, edit) in taken.items():
        if other_page == page_id and iou(other_box, box) > 0:
            asked = changed(question, new)
            if other_box == box and answer_score(question, new) == 0.0:
                return Counterfactual(question, asked, ((split_page_id(page_id)[0], edit),))
            return LeftOut(question.question_id, TAKEN, answer)
    words = tuple(word.text for word in index.page(page_id).words if _inside(word, box))
    drawn = new_value(question, pool, random.Random(f"{seed}/{question.question_id}"), " ".join(words))
    wanted = drawn and printed_new(words, answer, drawn)
    if not drawn or not wanted:
        return LeftOut(question.question_id, NO_VALUE, answer)
    document, number = split_page_id(page_id)
    edit = Replace(number, box, words, wanted)
    taken[page_id, box] = (drawn, edit)
    return Counterfactual(question, changed(question, drawn), ((document, edit),))


def _inside(word: tuple[str, float, float, float, float], box: Box) -> bool:
    return box.x0 <= (word[1] + word[3]) / 2 <= box.x1 and box.y0 <= (word[2] + word[4]) / 2 <= box.y1


def verified(planned: Plan, corpus: Derived) -> tuple[list[Counterfactual], list[LeftOut]]:
    """What of a plan stands in the changed corpus, and what does not, with the reason."""
    order = planned.change.edits
    kept: list[Counterfactual] = []
    lost: list[LeftOut] = []
    for item in planned.counterfactuals:
        faults = [corpus.fault(document, order[document].index(edit)) for document, edit in item.edits]
        fault = next((fault for fault in faults if fault), "")
        if fault:
            lost.append(LeftOut(item.question.question_id, NOT_EDITED, fault))
        else:
            kept.append(item)
    return kept, lost


def outcome_of(item: Counterfactual, answer: str) -> Outcome:
    """What an answer on the changed documents is: by the question's rule, with the new gold and with the old."""
    if (answer_score(item.asked, answer) or 0.0) >= 1.0:
        return "followed"
    if (answer_score(item.question, answer) or 0.0) >= 1.0:
        return "kept the old"
    return "refused" if says_missing(answer) else "neither"


def measure_faithfulness(
    subject: Subject, planned: Plan, progress: Callable[[int, int], None] | None = None
) -> Faithfulness:
    """Play the original questions, then those answered right on the changed documents.

    Raises:
        VisorError: as `measure`.
    """
    corpus = derive(subject.index, planned.change, KIND, subject.profile.documents)
    kept, lost = verified(planned, corpus)
    before = after = None
    if kept:
        asked = tuple(item.question for item in kept)
        before = measure(subject, KIND, Condition("original", 0.0, asked), progress=progress)
        right = {row.question_id for row in before.result.episodes if row.right and not row.failed}
        again = tuple(item.asked for item in kept if item.question.question_id in right)
        if again:
            condition = Condition("changed", 1.0, again, planned.change)
            after = measure(subject, KIND, condition, progress=progress)
    return _found(subject, planned, corpus, kept, lost, before, after)


def _found(
    subject: Subject,
    planned: Plan,
    corpus: Derived,
    kept: Sequence[Counterfactual],
    lost: Sequence[LeftOut],
    before: Measured | None,
    after: Measured | None,
) -> Faithfulness:
    """The rows of a measurement."""
    was = {row.question_id: row for row in before.result.episodes} if before else {}
    now = {row.question_id: row for row in after.result.episodes} if after else {}
    rows = []
    for item in kept:
        name = item.question.question_id
        ended = name in now and not now[name].failed
        rows.append(
            Row(
                question_id=name,
                question=item.question.question,
                answer_format=item.question.answer_format,
                pages=item.question.gold_pages,
                old=item.question.answers[0],
                new=item.asked.answers[0],
                answer_before=was[name].answer,
                answer_after=now[name].answer if ended else "",
                right_before=was[name].right and not was[name].failed,
                outcome=outcome_of(item, now[name].answer) if ended else "",
            )
        )
    unanswerable = sum(item.reason == NOT_ANSWERABLE for item in planned.left_out)
    first = planned.counterfactuals[0].question if planned.counterfactuals else None
    return Faithfulness(
        policy=before.played.policy if before else "",
        checkpoint=before.played.checkpoint if before else "",
        benchmark=first.benchmark if first else "",
        rule=before.result.rule if before else "",
        corpus=subject.index.corpus_name,
        changed_corpus=corpus.name,
        seed=subject.seed,
        considered=planned.considered,
        answerable=planned.considered - unanswerable,
        located=len(planned.counterfactuals),
        rows=tuple(rows),
        failed=sum(row.failed for row in (*was.values(), *now.values())),
        left_out=(*planned.left_out, *lost),
        stores=tuple(digest_of(of.played.identity) for of in (before, after) if of),
    )
