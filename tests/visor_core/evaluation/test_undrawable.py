"""A page that cannot be drawn costs its own episode, or its own crop, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_model import build_model, build_processor
from tests.visor_core.agent.small_index import SmallIndex, pages_of
from tests.visor_core.evaluation.model_server import model_server
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState
from visor_core.config import AgentConfig, EvaluationConfig, ImageConfig, ServerConfig
from visor_core.errors import DocumentError
from visor_core.evaluation import runner
from visor_core.evaluation.results import BenchmarkResult
from visor_core.geometry import FULL_PAGE
from visor_core.policies.base import Completion, ImageRef
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question
from visor_core.trajectories import playing

PAGES = pages_of("acme staff 47", "borel staff 31", "cato staff 12")
QUESTIONS = [Question(name, f"{name} staff", ("47",)) for name in ("acme", "borel", "cato")]
REASON = "report.pdf: page 2 cannot be drawn"


class TornIndex(SmallIndex):
    """The second page cannot be drawn; nor can a crop of the third."""

    def __call__(self, ref: ImageRef) -> Image.Image:
        if ref.page_id == "report/00002" or (ref.page_id == "report/00003" and ref.box != FULL_PAGE):
            raise DocumentError(f"report.pdf: page {int(ref.page_id[-5:])} cannot be drawn")
        return super().__call__(ref)


INDEX = TornIndex(PAGES)
SMALL = AgentConfig(
    max_turns=3,
    max_new_tokens=4,
    prompts="compact",
    first_search="question",
    image=ImageConfig(min_pixels=1024, max_pixels=1024, multiple=32),
)


def _evaluate(policy: object, mode: playing.Mode, store: Path | None = None) -> BenchmarkResult:
    return runner.evaluate(policy, Environment(INDEX, SMALL), QUESTIONS, EvaluationConfig(), mode=mode, store=store)  # type: ignore[arg-type]


def _tiny() -> TransformersPolicy:
    return TransformersPolicy.from_model(build_model(), build_processor(), INDEX, name="tiny")


@pytest.mark.parametrize("mode", ["reference", "throughput"])
def test_a_local_policy_goes_on_with_the_others(mode: playing.Mode) -> None:
    result = _evaluate(_tiny(), mode)
    assert [(row.question_id, row.failed) for row in result.episodes] == [
        ("acme", False),
        ("borel", True),
        ("cato", False),
    ]
    assert result.episodes[1].error == REASON


def test_an_endpoint_goes_on_with_the_others() -> None:
    with model_server() as server:
        policy = OpenAICompatiblePolicy(server.url, "toy", INDEX, server=ServerConfig(retries=0))
        result = _evaluate(policy, "throughput")
    assert [row.outcome for row in result.episodes] == ["answered", "error", "answered"]
    assert result.episodes[1].error == REASON
    assert result.failures == "1 failed of 3"


def test_an_interrupted_reference_batch_is_not_played_again_for_a_torn_page(tmp_path: Path) -> None:
    first = _evaluate(_tiny(), "reference", tmp_path)
    again = _evaluate(_tiny(), "reference", tmp_path)
    assert (first.kept, again.kept) == (0, 3)
    assert again.episodes[1].error == REASON


def test_the_batch_without_a_torn_page_is_the_batch_that_never_had_it() -> None:
    """Who shares a batch decides the rounding: the others' replies are those of a batch of their own."""
    both = [QUESTIONS[0], QUESTIONS[2]]
    alone = runner.evaluate(_tiny(), Environment(INDEX, SMALL), both, EvaluationConfig(), mode="reference")
    shared = _evaluate(_tiny(), "reference")
    assert [row.answer for row in alone.episodes] == [row.answer for row in shared.finished]


def test_a_crop_that_cannot_be_drawn_is_asked_for_again() -> None:
    env = Environment(INDEX, AgentConfig(max_turns=6))
    state = EpisodeState(Question("q", "cato staff", ()))
    for reply in ("<search>cato</search>", "<bbox>[20,20,200,200]</bbox>"):
        state = env.step(state, Completion(f"<think>x</think>{reply}"))
    seen = state.turns[-1].observation
    assert (seen.kind, seen.fault) == ("retry", "not drawn")
    assert "that region cannot be drawn" in seen.message
