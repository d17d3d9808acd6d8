"""The score of an answer by the rule its benchmark publishes, and whether an answer is a refusal.

Rules: MMLongBench-Doc's by answer format (`scoring.mmlongbench`; the nano world's questions have these formats too),
SlideVQA's exact match (`scoring.slidevqa`), LongDocURL's (`scoring.longdocurl`), MADQA's ANLS* (`scoring.anls_star`),
normalised exact match for the format `Exact`. ViDoSeek, VRAG and DocScope publish no rule but a language model's
judgement. Without a judge their answers have no score, never that of another benchmark's rule. A question that can be
answered and names no accepted answer measures page retrieval only.
"""

from __future__ import annotations

import re

from visor_core.questions import Question
from visor_core.scoring.anls_star import madqa_score
from visor_core.scoring.longdocurl import longdocurl_score
from visor_core.scoring.mmlongbench import clean, mmlongbench_score
from visor_core.scoring.slidevqa import slidevqa_scores

NO_RULE = "no published rule"
"""What stands in the place of a score where the benchmark has no rule that needs no judge."""
PAGES_ONLY = "page retrieval only"
"""The same where no accepted answer is known to a question that has one."""
UNSCORED = (NO_RULE, PAGES_ONLY)
_NO_RULE_HERE = ("vidoseek", "vrag", "docscope", "vidore")
_OWN_RULE = {"slidevqa": "SlideVQA", "longdocurl": "LongDocURL", "madqa": "MADQA"}
REFUSALS = ("not answerable", "unanswerable", "missing")
"""Answers that say that the information is not there: the wording of the prompts, and of the nano world."""


def rule_of(question: Question) -> str:
    """The name of the rule by which answers to a question are scored, as tables print it; one of `UNSCORED` where
    there is none."""
    if not question.answers and question.answerable:
        return PAGES_ONLY
    if question.benchmark in _NO_RULE_HERE:
        return NO_RULE
    if question.benchmark in _OWN_RULE:
        return _OWN_RULE[question.benchmark]
    return "exact match" if question.answer_format == "Exact" else "MMLongBench-Doc"


def says_missing(answer: str) -> bool:
    """Whether an answer says, and says no more than, that the documents do not hold the information.

    MMLongBench-Doc's string rule at its full score, closing marks aside: a phrase inside an answer is no refusal
    ("Missing persons unit").
    """
    return clean(answer).rstrip(".!").rstrip() in REFUSALS


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    words = re.sub(r"[^\w\s]", "", text.lower()).split()
    return " ".join(w for w in words if w not in ("a", "an", "the"))


def exact_match(reference: str, prediction: str) -> float:
    """1 when both are equal after `normalise`."""
    return float(normalise(reference) == normalise(prediction))


def answer_score(question: Question, answer: str) -> float | None:
    """Best score of an answer against the question's accepted answers, in [0, 1]; None where no rule is published.

    SlideVQA's is the exact match; `slidevqa_f1` is its other figure. An empty answer scores 0. A question that cannot
    be answered is scored against its gold refusal; where its format is `Exact`, any refusal is right.
    """
    rule = rule_of(question)
    if rule in UNSCORED:
        return None
    if not answer.strip():
        return 0.0
    if rule == "SlideVQA":
        scores = [slidevqa_scores(gold, answer, question.question)[0] for gold in question.answers]
    elif rule == "LongDocURL":
        scores = [longdocurl_score(gold, answer, question.answer_format) for gold in question.answers]
    elif rule == "MADQA":
        scores = [madqa_score(question.answers, answer)]
    elif rule == "MMLongBench-Doc":
        scores = [mmlongbench_score(gold, answer, question.answer_format or "Str") for gold in question.answers]
    elif question.answerable:
        scores = [exact_match(gold, answer) for gold in question.answers]
    else:
        scores = [float(says_missing(answer))]
    return max(scores, default=0.0)


def never_right(question: Question) -> bool:
    """Whether the rule calls even the gold answers wrong, as `twelve` where the format is Int: then nothing is right.

    Some questions of released files are so (MMLongBench-Doc has `21%` as Int); they count there, as everybody's do.
    """
    scores = [answer_score(question, gold) for gold in question.answers]
    return bool(scores) and all(score is not None and score < 1.0 for score in scores)


def slidevqa_f1(question: Question, answer: str) -> float | None:
    """SlideVQA's F1 over words, the best over the accepted answers; None for questions of another benchmark."""
    if rule_of(question) != "SlideVQA":
        return None
    return max((slidevqa_scores(gold, answer, question.question)[1] for gold in question.answers), default=0.0)
