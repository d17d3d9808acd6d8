"""Choosing among episodes, fitting the chooser, and the curve of success against tokens, on tables worked by hand."""

import dataclasses
import math
import random

import pytest

from tests.visor_core.evaluation.episodes import QUESTION, episode
from visor_core.errors import DataError
from visor_core.verification.curve import best_of, doubt_auroc, examples_of, revised, sampled
from visor_core.verification.features import NAMES, describe
from visor_core.verification.learnt import crossed, fit, fold_of, read_scorer
from visor_core.verification.selection import SCORERS, choose


def _of(number: int, *answers: str):
    """Episodes of one question with these answers; the ledger holds 47, so right answers are covered."""
    question = dataclasses.replace(QUESTION, question_id=f"q{number}")
    return [episode(answer, question=question) for answer in answers]


def _described(*answers: str):
    return [describe(of) for of in _of(1, *answers)]


def test_the_majority_the_evidence_or_the_first_answers():
    assert choose(_described("48", "47", "47"), SCORERS["agreement"]) == 1
    assert choose(_described("48", "48", "47"), SCORERS["agreement"]) == 0
    assert choose(_described("48", "48", "47"), SCORERS["evidence"]) == 2
    assert choose(_described("48", "47"), SCORERS["first"]) == 0
    assert choose(_described("", "48"), SCORERS["first"]) == 1, "no answer is chosen over an answer"
    with pytest.raises(ValueError, match="no episode"):
        choose([], SCORERS["first"])


def test_the_curve_averages_over_all_subsets_and_counts_all_tokens():
    points = {(p.method, p.samples): p for p in best_of(sampled([_of(1, "47", "48", "48"), _of(2, "47", "47", "48")]))}
    first = points["first", 1]
    assert first.right.estimate == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert first.tokens == 180 + 9, "prompts of 40, 60 and 80 tokens, replies of three"
    majority = points["agreement", 3]
    assert majority.right.estimate == pytest.approx(0.5)
    assert majority.tokens == 3 * first.tokens
    assert majority.gain.difference == pytest.approx(0.0)
    assert points["evidence", 3].right.estimate == 1.0
    # Of the pairs of question 1 {47 48} {47 48} {48 48}, of question 2 {47 47} {47 48} {47 48}.
    assert points["oracle", 2].right.estimate == pytest.approx((2 / 3 + 1) / 2)
    assert all(points["oracle", n].right.estimate >= p.right.estimate - 1e-9 for (_, n), p in points.items() if n > 1)


def test_tokens_are_unknown_where_one_is_not_counted():
    uncounted = dataclasses.replace(
        _of(1, "47")[0],
        turns=tuple(
            dataclasses.replace(turn, completion=dataclasses.replace(turn.completion, prompt_tokens=0))
            for turn in _of(1, "47")[0].turns
        ),
    )
    assert best_of(sampled([[uncounted, uncounted]]))[0].tokens is None


def _world(questions: int, samples: int):
    """Right answers have their evidence, wrong ones mostly lack it: a world in which something can be learnt."""
    generator = random.Random(0)
    rows = []
    for number in range(questions):
        answers = ["47" if generator.random() < 0.5 else "48" for _ in range(samples)]
        question = dataclasses.replace(QUESTION, question_id=f"q{number}")
        rows.append(
            [
                episode(answer, question=question, observation="acme staff q3 48" if lucky else "acme staff q3 47")
                for answer, lucky in zip(answers, [generator.random() < 0.1 for _ in answers], strict=True)
            ]
        )
    return sampled(rows)


def test_a_learnt_scorer_ranks_by_what_tells_right_from_wrong():
    world = _world(60, 4)
    points = {(p.method, p.samples): p for p in best_of(world)}
    assert points["learnt", 4].right.estimate > points["agreement", 4].right.estimate + 0.15
    assert points["learnt", 4].gain.low > 0
    assert doubt_auroc(world) > 0.8


def test_no_question_is_judged_by_what_was_fitted_on_it():
    examples = examples_of(_world(40, 2))
    scorers = crossed(examples)
    for fold, scorer in enumerate(scorers):
        assert scorer.questions == len({name for name, _, _ in examples if fold_of(name) != fold})
        flipped = [(name, of, not right if fold_of(name) == fold else right) for name, of, right in examples]
        assert crossed(flipped)[fold] == scorer


def test_nothing_is_learnt_from_outcomes_that_are_all_the_same():
    world = sampled([_of(n, "47", "47") for n in range(10)])
    assert not any(point.method == "learnt" for point in best_of(world))
    assert math.isnan(doubt_auroc(world))
    with pytest.raises(DataError, match="right and wrong"):
        fit([(of, right) for _, of, right in examples_of(world)], 10)


def test_one_more_round_for_the_doubtful_questions():
    points = revised(_world(60, 4))
    assert [p.method for p in points] == [f"revise {s}%" for s in (0, 10, 25, 50, 75, 100)]
    assert points[0].gain.difference == pytest.approx(0.0, abs=1e-12)
    assert points[0].episodes == 1
    assert points[-1].right.estimate > points[0].right.estimate + 0.1
    assert points[3].tokens == pytest.approx(1.5 * points[0].tokens)
    assert points[3].right.estimate - points[0].right.estimate > 0.5 * (
        points[-1].right.estimate - points[0].right.estimate
    ), "the doubtful half holds most of what a second round mends"
    assert revised(sampled([_of(1, "47")])) == []


def test_a_scorer_is_kept_and_read_again(tmp_path):
    scorer = fit([(of, right) for _, of, right in examples_of(_world(20, 2))], 20)
    scorer.save(tmp_path / "scorer.json")
    assert read_scorer(tmp_path / "scorer.json") == scorer
    of = describe(_of(1, "47")[0]).features
    assert 0.5 < scorer(of) < 1
    assert len(scorer.weights) == 2 * len(NAMES) + 1
    (tmp_path / "scorer.json").write_text("{}")
    with pytest.raises(DataError, match=r"scorer\.json"):
        read_scorer(tmp_path / "scorer.json")
    (tmp_path / "scorer.json").write_text('{"names": ["a"], "means": [], "scales": [], "weights": [], "questions": 1}')
    with pytest.raises(DataError, match="best-of --learn"):
        read_scorer(tmp_path / "scorer.json")


def test_unlike_numbers_of_episodes_are_refused():
    with pytest.raises(ValueError, match="same number"):
        sampled([_of(1, "47", "48"), _of(2, "47")])
