"""Worker of the asset `benchmark_results`: evaluates the three policies, greedy and at the sampling temperature."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from assets_defs.machinery.builds import INCOMPLETE
from assets_defs.machinery.stage import Figure
from pipelines.workers.session import Session, worker_session
from visor_core.config import EvaluationConfig
from visor_core.config.policies import POLICIES, REINFORCED, TRAINED
from visor_core.tracking import logged_model

if TYPE_CHECKING:
    from visor_core.evaluation.results import BenchmarkResult
    from visor_core.policies.base import Policy


def main() -> None:
    """Evaluate, attach the figures to the logged models, and report."""
    with worker_session() as session:
        figures: dict[str, Figure] = {}
        digest = hashlib.sha256()
        unplayed = []
        for policy, config, name in _planned(session):
            kept = session.folder / "episodes"
            shown, lacking = evaluate_checkpoint(session, policy, config, name, kept=kept)
            figures |= shown
            unplayed += [f"{name}: {lacking}"] if lacking else []
            digest.update(f"{name} {sorted(figures.items())}".encode())
        session.report(digest.hexdigest()[:16], figures | ({INCOMPLETE: "; ".join(unplayed)} if unplayed else {}))


def _planned(session: Session) -> list[tuple[str, EvaluationConfig, str]]:
    """(policy, evaluation, name of its figures): the configured temperature for all, sampling for the trained ones."""
    usual = session.profile.evaluation
    sampled = usual.model_copy(update={"temperature": session.profile.grpo.temperature})
    plan = [(policy.stage, usual, policy.run()) for policy in POLICIES]
    if sampled != usual:
        plan += [(policy.stage, sampled, policy.run(sampled=True)) for policy in TRAINED]
    return plan


def evaluate_checkpoint(
    session: Session, policy: str, config: EvaluationConfig, name: str, *, kept: Path
) -> tuple[dict[str, Figure], str]:
    """Evaluate the input `policy` on the session's index and questions; the result lies in `results/<name>.json`.

    Args:
        kept: where episodes are kept, and found again by what decides them.

    Returns:
        The figures, their names beginning with `name`, and what is still to be played: "" if nothing.
    """
    from visor_core.agent.environment import Environment
    from visor_core.evaluation.runner import chosen_questions, score, words_in
    from visor_core.questions import read_questions
    from visor_core.trajectories.playing import play

    profile = session.profile
    index = session.open_index()
    checkpoint = session.input(policy)
    # One at a time: an engine holds a GPU's memory until it is closed.
    with session.open_policy(policy, index, config.concurrency) as opened:
        played = play(
            opened,
            Environment(index, profile.agent, profile.index),
            chosen_questions(read_questions(session.input("questions")), config),
            seed=profile.seed,
            temperature=config.temperature,
            concurrency=config.concurrency,
            store=kept,
            progress=lambda done, total: session.progress.show(done, total, name),
        )
    result = score(played, words=words_in(index, played.episodes))
    session.evaluated(name, result, played.episodes, index, logged_model(checkpoint.parent))
    index.close()
    result.save(session.folder / "results" / f"{name}.json")
    metrics = result.metrics()
    shown = {key: metrics[key] for key in ("supported", "accuracy") if key in metrics}
    if name == REINFORCED.run() and "prompt_tokens_per_turn" in metrics:
        shown["prompt_tokens_a_turn"] = metrics["prompt_tokens_per_turn"]
    if result.failed:
        shown |= {key: metrics[key] for key in ("failed", "accuracy_of_all") if key in metrics}
    figures: dict[str, Figure] = {f"{name}_{key}": round(value, 4) for key, value in shown.items()}
    return (figures if result.scored else {**figures, f"{name}_accuracy": result.rule}), still_to_play(result, opened)


def still_to_play(result: BenchmarkResult, policy: Policy) -> str:
    """Which episodes the next run plays again; "" for none.

    A reproducible policy fails where a page cannot be drawn, and would again: that is its result.
    """
    from visor_core.policies.base import ReproduciblePolicy

    return result.failures if result.failed and not isinstance(policy, ReproduciblePolicy) else ""


if __name__ == "__main__":
    main()
