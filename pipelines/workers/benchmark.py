"""Worker of the asset `benchmark_results`: evaluates the three policies, greedy and at the sampling temperature."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pipelines.workers.session import Session, worker_session
from visor_core.config import EvaluationConfig
from visor_core.tracking import logged_model

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory

SHORT = {"base_model": "base", "sft_checkpoint": "sft", "grpo_checkpoint": "grpo"}


def main() -> None:
    """Evaluate, attach the figures to the logged models, and report."""
    with worker_session() as session:
        figures: dict[str, int | float | str] = {}
        digest = hashlib.sha256()
        for policy, config, name in _planned(session):
            figures |= _evaluate(session, policy, config, name)
            digest.update(f"{name} {sorted(figures.items())}".encode())
        session.report(digest.hexdigest()[:16], figures)


def _planned(session: Session) -> list[tuple[str, EvaluationConfig, str]]:
    """(policy, evaluation, name of its figures): the configured temperature for all, sampling for the trained ones."""
    usual = session.profile.evaluation
    sampled = usual.model_copy(update={"temperature": session.profile.grpo.temperature})
    plan = [(policy, usual, short) for policy, short in SHORT.items()]
    if sampled != usual:
        plan += [(policy, sampled, f"{SHORT[policy]}_sampled") for policy in ("sft_checkpoint", "grpo_checkpoint")]
    return plan


def _evaluate(session: Session, policy: str, config: EvaluationConfig, name: str) -> dict[str, int | float | str]:
    from visor_core.agent.bounds import engine_limits
    from visor_core.agent.environment import Environment
    from visor_core.evaluation.runner import evaluate
    from visor_core.policies.load import load_policy
    from visor_core.questions import read_questions

    profile = session.profile
    index = session.open_index()
    checkpoint = session.input(policy)
    episodes: list[Trajectory] = []
    model = profile.model
    limits = engine_limits(profile.agent, model.vllm, episodes=config.concurrency)
    # One at a time: an engine holds a GPU's memory until it is closed.
    with load_policy(
        checkpoint,
        index,
        engine=model.engine,
        dtype=model.dtype,
        name=policy,
        digests=session.home.digests,
        limits=limits,
        caches=model.caches,
    ) as opened:
        result = evaluate(
            opened,
            Environment(index, profile.agent, profile.index),
            read_questions(session.input("questions")),
            config,
            seed=profile.seed,
            store=session.folder / "episodes",
            progress=lambda done, total: session.progress.show(done, total, name),
            on_episodes=episodes.extend,
        )
    session.evaluated(name, result, episodes, index, logged_model(checkpoint.parent))
    index.close()
    result.save(session.folder / "results" / f"{name}.json")
    metrics = result.metrics()
    shown = {key: metrics[key] for key in ("supported", "accuracy") if key in metrics}
    if name == "grpo" and "prompt_tokens_per_turn" in metrics:
        shown["prompt_tokens_a_turn"] = metrics["prompt_tokens_per_turn"]
    if result.failed:
        shown |= {key: metrics[key] for key in ("failed", "accuracy_of_all") if key in metrics}
    figures: dict[str, int | float | str] = {f"{name}_{key}": round(value, 4) for key, value in shown.items()}
    return figures if result.scored else {**figures, f"{name}_accuracy": result.rule}


if __name__ == "__main__":
    main()
