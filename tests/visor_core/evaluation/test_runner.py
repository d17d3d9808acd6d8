"""The runner on a scripted policy and a small index in memory: scores, resuming, both modes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from visor_core.agent.environment import Environment
from visor_core.config import AgentConfig, EvaluationConfig
from visor_core.errors import DataError, PolicyError
from visor_core.evaluation import runner
from visor_core.policies.base import Completion, ImageRef, Prompt, Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories import playing

QUESTIONS = [
    Question(f"q{i}", f"what is the number of item {i}?", (str(i),), "toy", "dev", gold_pages=("doc/00001",))
    for i in range(6)
]


@dataclass(frozen=True)
class Hit:
    """A ranked page."""

    page_id: str


@dataclass(frozen=True)
class Page:
    """A page's record."""

    filename: str = "doc.pdf"
    page: int = 1
    width_pt: float = 500.0
    height_pt: float = 500.0


class OnePageIndex:
    """An index of one page."""

    tag = "toy-index"

    def search(
        self, query: str, *, k: int = 10, mode: str = "hybrid", partition: str = "", where: Sequence[str] = ()
    ) -> Sequence[Hit]:
        return [Hit("doc/00001")]

    def page(self, page_id: str) -> Page:
        return Page()

    def __call__(self, ref: ImageRef) -> Image.Image:
        return Image.new("RGB", (ref.width, ref.height), "white")


def _reader(prompt: Prompt) -> str:
    """Searches, then answers with the number in the question; item 3 is always wrong."""
    text = " ".join(part for message in prompt.messages for part in message.content if isinstance(part, str))
    item = text.split("number of item ")[1][0]
    if not prompt.images:
        return "<think>look</think><search>item</search>"
    return f"<think>item {item}</think><answer>{'wrong' if item == '3' else item}</answer>"


class Fragile(ScriptedPolicy):
    """Fails for good after some replies, as an engine that is stopped."""

    def __init__(self, replies: int) -> None:
        super().__init__(_reader, name="reader")
        self.replies = replies

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        self.replies -= len(prompts)
        if self.replies < 0:
            raise PolicyError("the engine stopped")
        return super().complete_batch(prompts, samplings)


def _environment() -> Environment:
    return Environment(OnePageIndex(), AgentConfig(max_turns=3))


@pytest.mark.parametrize("mode", ["reference", "throughput"])
def test_scores_and_progress(mode: playing.Mode) -> None:
    calls: list[tuple[int, int]] = []
    result = runner.evaluate(
        ScriptedPolicy(_reader, name="reader"),
        _environment(),
        QUESTIONS,
        EvaluationConfig(),
        mode=mode,
        progress=lambda *call: calls.append(call),
    )
    assert result.accuracy.estimate == pytest.approx(5 / 6)
    assert [row.question_id for row in result.episodes] == [q.question_id for q in QUESTIONS]
    assert [row.right for row in result.episodes] == [True, True, True, False, True, True]
    assert (result.benchmark, result.split, result.index_tag, result.policy) == ("toy", "dev", "toy-index", "reader")
    assert calls[-1] == (6, 6)
    assert result.metrics()["turns"] == 2.0


def test_only_the_first_questions(tmp_path: Path) -> None:
    config = EvaluationConfig(questions=2)
    assert len(runner.evaluate(ScriptedPolicy(_reader), _environment(), QUESTIONS, config).episodes) == 2


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "BATCH", 2)
    config = EvaluationConfig()
    whole = runner.evaluate(Fragile(100), _environment(), QUESTIONS, config)
    with pytest.raises(PolicyError, match="stopped"):
        runner.evaluate(Fragile(10), _environment(), QUESTIONS, config, store=tmp_path)  # two batches of 2 × 2 turns
    second = Fragile(100)
    resumed = runner.evaluate(second, _environment(), QUESTIONS, config, store=tmp_path)
    assert second.replies == 100 - 4  # one batch of two episodes was left
    assert [(r.question_id, r.answer, r.trajectory_id) for r in resumed.episodes] == [
        (r.question_id, r.answer, r.trajectory_id) for r in whole.episodes
    ]
    third = Fragile(0)
    assert runner.evaluate(third, _environment(), QUESTIONS, config, store=tmp_path).accuracy == whole.accuracy


def test_another_seed_is_another_evaluation(tmp_path: Path) -> None:
    policy = ScriptedPolicy(_reader)
    folders = {
        playing.folder_of(tmp_path, policy, _environment(), QUESTIONS, temperature, seed)
        for temperature in (0.0, 1.0)
        for seed in (0, 1)
    }
    assert len(folders) == 4


def test_failed_episodes_are_tried_again(tmp_path: Path) -> None:
    class Server(ScriptedPolicy):
        """An endpoint that is down for some questions."""

        def __init__(self, down: str) -> None:
            super().__init__(_reader, name="server")
            self.down = down

        async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
            if self.down and f"item {self.down}" in json.dumps([m.content for m in prompt.messages], default=str):
                raise PolicyError("connection refused")
            return await super().complete(prompt, sampling)

    config = EvaluationConfig()
    first = runner.evaluate(Server("5"), _environment(), QUESTIONS, config, store=tmp_path, mode="throughput")
    assert first.outcomes() == {"answered": 5, "error": 1}
    again = runner.evaluate(Server(""), _environment(), QUESTIONS, config, store=tmp_path, mode="throughput")
    assert again.outcomes() == {"answered": 6}


def test_an_endpoint_that_refuses_one_request_costs_one_episode() -> None:
    """Endpoints can run batches, but are no reproducible policies: lock-step, one refusal would end the run."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":  # it has no list of models
            return httpx.Response(404)
        messages = json.loads(request.content)["messages"]
        text = json.dumps(messages)
        if "item 3" in text:
            return httpx.Response(400, text="prompt too long")
        item = text.split("number of item ")[1][0]
        shown = "image_url" in text
        reply = f"<answer>{item}</answer>" if shown else "<search>item</search>"
        message = {"role": "assistant", "content": f"<think>item {item}</think>{reply}"}
        return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})

    policy = OpenAICompatiblePolicy("http://server/v1", "big", OnePageIndex(), transport=httpx.MockTransport(answer))
    result = runner.evaluate(policy, _environment(), QUESTIONS, EvaluationConfig())
    assert result.outcomes() == {"answered": 5, "error": 1}
    assert [row.right for row in result.episodes] == [True, True, True, False, True, True]


def test_a_reproducible_policy_runs_in_batches_unless_asked_otherwise() -> None:
    batches: list[int] = []

    class Counting(ScriptedPolicy):
        """Keeps the size of every batch."""

        def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
            batches.append(len(prompts))
            return super().complete_batch(prompts, samplings)

    runner.evaluate(Counting(_reader), _environment(), QUESTIONS, EvaluationConfig())
    assert batches == [6, 6]
    runner.evaluate(Counting(_reader), _environment(), QUESTIONS, EvaluationConfig(), mode="throughput")
    assert batches == [6, 6]


def test_refusals() -> None:
    policy = ScriptedPolicy(_reader)
    with pytest.raises(DataError, match="no question"):
        runner.evaluate(policy, _environment(), [], EvaluationConfig())
    with pytest.raises(DataError, match="twice"):
        runner.evaluate(policy, _environment(), [QUESTIONS[0]] * 2, EvaluationConfig())
