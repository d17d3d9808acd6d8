"""Which failed episodes of a benchmark make it incomplete: those that may end otherwise when they are played again."""

from __future__ import annotations

from pipelines.workers.benchmark import still_to_play
from tests.visor_core.evaluation.model_server import model_server
from tests.visor_core.evaluation.test_undrawable import INDEX, QUESTIONS, SMALL
from visor_core.agent.environment import Environment
from visor_core.config import EvaluationConfig, ServerConfig
from visor_core.evaluation.runner import evaluate
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.scripted import ScriptedPolicy


def test_a_server_that_failed_is_asked_again_and_a_torn_page_is_a_result() -> None:
    environment = Environment(INDEX, SMALL)
    with model_server(fault="cato") as server:
        served = OpenAICompatiblePolicy(server.url, "toy", INDEX, server=ServerConfig(retries=0))
        result = evaluate(served, environment, QUESTIONS, EvaluationConfig())
    assert still_to_play(result, served) == "2 failed of 3"
    scripted = ScriptedPolicy(lambda prompt: INDEX(prompt.images[-1]) and "<think>x</think><answer>47</answer>")
    result = evaluate(scripted, environment, QUESTIONS, EvaluationConfig())
    assert (result.failed, still_to_play(result, scripted)) == (1, "")
