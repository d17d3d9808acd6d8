"""Asks a language model about the answers of an evaluation, by a protocol, without playing anything anew.

Answers are untrusted: each is fenced in by a mark drawn from the texts, which it cannot know, and its control tokens
are broken up by the client. Calls are kept (`policies.calls`): a stop loses none that came back, and the same call made
again costs nothing. A reply without a verdict is asked for again a set number of times; then the verdict has failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from visor_core.agent.trajectory import Trajectory
from visor_core.config.judging import ProtocolTexts
from visor_core.errors import BudgetError, ConfigError, DataError, PolicyError
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult
from visor_core.evaluation.verdicts import (
    ASKED,
    JUDGE,
    JUDGE_1_5,
    OFFICIAL,
    UNREAD,
    ProtocolScores,
    Verdict,
    answers_digest,
)
from visor_core.policies.base import Completion, Message, Prompt, Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.questions import Question, gold_is_complete
from visor_core.scoring.answers import rule_of
from visor_core.scoring.facts import evidence
from visor_core.scoring.judged import UnreadableError, answer_in, grade_in, right_by_grade, verdict_in
from visor_core.scoring.mmlongbench import mmlongbench_score

MAX_TOKENS = 1024
"""Longest reply, a thought included."""
TRIES = 3
"""Times that a verdict is asked for, where nothing else is said."""
LONGEST = 8000
"""Characters of an answer that are shown; an answer that is longer ends in a mark of the cut."""
CUT = " […]"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to be judged: its question, the accepted answers and what was answered."""

    question_id: str
    question: str
    answers: tuple[str, ...]
    reply: str
    answer_format: str = "Str"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How verdicts are asked for: by which protocol, in what words, how often at most."""

    name: str
    texts: ProtocolTexts
    tries: int = TRIES

    def prompt(self, asked: Asked, attempt: int) -> Prompt:
        """What the model is shown; from the second attempt on with the reminder of the form."""
        texts = self.texts.of(self.name)
        reply = asked.reply if len(asked.reply) <= LONGEST else asked.reply[:LONGEST] + CUT
        shown = {"question": asked.question, "reply": reply, "mark": mark_of(asked)}
        if self.name != OFFICIAL:  # who extracts never sees the gold answer
            shown["gold"] = "\n".join(asked.answers)
        user = texts.user.format(**shown)
        return Prompt(
            (Message("system", (texts.system,)), Message("user", (user, texts.again) if attempt else (user,)))
        )

    def read(self, asked: Asked, text: str) -> tuple[float, str]:
        """The score that a reply gives, and the short answer in it, if it is one that extracts.

        Raises:
            UnreadableError: if there is no verdict in it.
        """
        if self.name == JUDGE:
            return verdict_in(text), ""
        if self.name == JUDGE_1_5:
            return right_by_grade(grade_in(text)), ""
        answer = answer_in(text)
        return max(mmlongbench_score(gold, answer, asked.answer_format) for gold in asked.answers), answer


def mark_of(asked: Asked) -> str:
    """The word on the fences of an answer: a digest of all that stands between them, which none of it can contain."""
    told = json.dumps([asked.question, asked.answers, asked.reply])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def judge(
    result: BenchmarkResult,
    episodes: Sequence[Trajectory],
    policy: OpenAICompatiblePolicy,
    protocol: Protocol,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """The result with the verdicts of a protocol, in the place of those that the same model gave before.

    Args:
        episodes: those of the result; its rows hold no question.
        policy: the model that is asked.
        progress: called with (verdicts had, verdicts wanted).

    Raises:
        ConfigError: if the protocol is not for these questions.
        DataError: if an episode of the result is not among `episodes`.
        BudgetError: if the budget stopped it; what came back is kept.
        PolicyError: if not one verdict could be had.
    """
    played = {episode.trajectory_id: episode for episode in episodes}
    absent = [row.question_id for row in result.finished if row.trajectory_id not in played]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(result.finished)} episodes are not kept any more (the first: {absent[0]}):"
            " the same `visor eval` plays them again"
        )
    pairs = [(row, played[row.trajectory_id]) for row in result.finished]
    applies(protocol.name, [episode.question for _, episode in pairs])
    wanted = [_asked(row, episode.question) for row, episode in pairs]
    found = ask(policy, protocol, wanted, progress)
    verdicts = tuple(
        replace(verdict, supported=verdict.right and _complete(episode))
        for verdict, (_, episode) in zip(found, pairs, strict=True)
    )
    scores = ProtocolScores(
        protocol.name,
        policy.model,
        str(policy.identity()["endpoint"]),
        policy.server.revision,
        protocol.texts.digest(protocol.name),
        answers_digest(result.episodes),
        verdicts,
    )
    others = tuple(kept for kept in result.protocols if kept.label != scores.label)
    return replace(result, protocols=(*others, scores))


def applies(name: str, questions: Sequence[Question]) -> None:
    """Refuse a protocol that is not for these questions.

    Raises:
        ConfigError: if it is unknown, or made for another benchmark.
    """
    if name not in ASKED:
        raise ConfigError(f"--protocol {name!r} is not one of {', '.join(ASKED)} (rule is always there)")
    if name == OFFICIAL and any(rule_of(question) != "MMLongBench-Doc" for question in questions):
        raise ConfigError(
            "--protocol official is MMLongBench-Doc's extraction and rules, which these questions are not scored by:"
            " their rule stands in the table; --protocol judge is for any question"
        )


def ask(
    policy: OpenAICompatiblePolicy, protocol: Protocol, wanted: Sequence[Asked], progress: Progress | None = None
) -> list[Verdict]:
    """A verdict on each answer, in order; one that could not be had says why.

    Raises:
        BudgetError: if the budget stopped it; what came back is kept.
        PolicyError: if not one verdict could be had.
    """
    policy.identity()  # before a loop runs: what the server says it serves is part of every call
    had: dict[int, Verdict] = {}
    stopped: list[BudgetError] = []

    async def one(position: int, asked: Asked) -> None:
        if stopped:
            return
        try:
            had[position] = await _verdict(policy, protocol, asked)
        except BudgetError as error:
            stopped.append(error)
            return
        if progress is not None:
            progress(len(had), len(wanted))

    async def all_of_them() -> None:
        try:
            await asyncio.gather(*(one(position, asked) for position, asked in enumerate(wanted)))
        finally:
            await policy.disconnect()

    asyncio.run(all_of_them())
    if stopped:
        raise BudgetError(
            f"stopped by the budget: {len(had)} of {len(wanted)} judged; {stopped[0]}; raise --budget: what was judged"
            " is kept and costs nothing again"
        )
    verdicts = [had[position] for position in range(len(wanted))]
    if verdicts and all(verdict.score is None for verdict in verdicts):
        raise PolicyError(f"all {len(verdicts)} verdicts failed; the first: {verdicts[0].error}")
    return verdicts


async def _verdict(policy: OpenAICompatiblePolicy, protocol: Protocol, asked: Asked) -> Verdict:
    """One verdict; an answer without a word is wrong, and no model is asked.

    Raises:
        BudgetError: if nothing more may be asked.
    """
    if not asked.reply.strip():
        return Verdict(asked.question_id, 0.0)
    raw, fault = "", ""
    for attempt in range(protocol.tries):
        # The attempt is part of the call's content: the kept reply without a verdict is not read again in its place.
        sampling = Sampling(temperature=0.0, max_tokens=MAX_TOKENS, key=(0, attempt))
        try:
            completion = await policy.complete(protocol.prompt(asked, attempt), sampling)
        except BudgetError:
            raise
        except PolicyError as error:
            return Verdict(asked.question_id, None, raw, str(error))
        raw = completion.text
        try:
            score, answer = protocol.read(asked, _whole(completion))
        except UnreadableError as error:
            fault = str(error)
            continue
        return Verdict(asked.question_id, score, raw, answer=answer)
    return Verdict(asked.question_id, None, raw, f"{UNREAD}{protocol.tries} replies; of the last: {fault}")


def _whole(completion: Completion) -> str:
    """The text of a reply that came to its own end.

    Raises:
        UnreadableError: if the server refused it or cut it off.
    """
    if refusal := completion.metadata.get("refusal", ""):
        raise UnreadableError(f"the model refuses: {refusal}")
    if completion.finish_reason == "content_filter":
        raise UnreadableError("the server's filter took the reply")
    if completion.finish_reason == "length":
        raise UnreadableError(f"the reply is cut off at {MAX_TOKENS} tokens")
    return completion.text


def _asked(row: EpisodeResult, question: Question) -> Asked:
    return Asked(row.question_id, question.question, question.answers, row.answer, question.answer_format)


def _complete(episode: Trajectory) -> bool:
    """Whether all evidence was recorded, and all of it is known."""
    return evidence(episode) >= 1.0 and gold_is_complete(episode.question)


def carried_over(before: BenchmarkResult, now: BenchmarkResult) -> BenchmarkResult:
    """A result that was scored anew, with the protocols of an earlier one of the same answers."""
    same = answers_digest(now.episodes)
    kept = tuple(scores for scores in before.protocols if scores.answers == same)
    return replace(now, protocols=(*kept, *now.protocols))
