"""Worker of the asset `benchmark_results`: evaluates the three policies, greedy and at the sampling temperature."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.workers.session import Session, worker_session
from visor_core.config import EvaluationConfig

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory

TRACED_SHARE = 0.03
"""Part of the evaluated episodes written as MLflow traces."""
SHORT = {"base_model": "base", "sft_checkpoint": "sft", "grpo_checkpoint": "grpo"}


def main() -> None:
    """Evaluate, attach the figures to the logged models, and report."""
    with worker_session() as session:
        figures: dict[str, int | float | str] = {}
        digest = hashlib.sha256()
        for policy, config, name in _planned(session):
            figures |= evaluate_checkpoint(session, policy, config, name, kept=session.folder / "episodes")
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


def evaluate_checkpoint(
    session: Session, policy: str, config: EvaluationConfig, name: str, *, kept: Path
) -> dict[str, int | float | str]:
    """Evaluate the input `policy` on the session's index and questions; its figures, named after `name`.

    The result lies in `results/<name>.json` of the build.

    Args:
        kept: where episodes are kept, and found again by what decides them.
    """
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
            store=kept,
            progress=lambda done, total: session.progress.show(done, total, name),
            on_episodes=episodes.extend,
        )
    index.close()
    session.traces(episodes, TRACED_SHARE)
    result.save(session.folder / "results" / f"{name}.json")
    metrics = result.metrics()
    session.evaluated(_model_of(checkpoint), name, metrics, digest=result.questions_version)
    shown = {key: metrics[key] for key in ("supported", "accuracy") if key in metrics}
    if name == "grpo" and "prompt_tokens_per_turn" in metrics:
        shown["prompt_tokens_a_turn"] = metrics["prompt_tokens_per_turn"]
    if result.failed:
        shown |= {key: metrics[key] for key in ("failed", "accuracy_of_all") if key in metrics}
    figures: dict[str, int | float | str] = {f"{name}_{key}": round(value, 4) for key, value in shown.items()}
    return figures if result.scored else {**figures, f"{name}_accuracy": result.rule}


def _model_of(checkpoint: Path) -> str:
    """The MLflow model id that the build of a checkpoint left beside it."""
    path = checkpoint.parent / "mlflow_model.txt"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


if __name__ == "__main__":
    main()
