"""A one-turn toy world: a picture and a question, any short reply, a judge that likes some tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.tiny_model import picture, prompt
from tests.visor_core.training.episodes import episode, question, shown
from visor_core.agent.episode import OnFinished
from visor_core.agent.trajectory import Action, Observation, Trajectory, Turn
from visor_core.config import GRPOConfig, OptimizerConfig
from visor_core.policies.base import BatchPolicy, Sampling
from visor_core.policies.encoding import Encoder
from visor_core.questions import Question
from visor_core.training.batching import WeightedRow
from visor_core.training.engines import LivePolicy
from visor_core.training.grpo import trl_arguments
from visor_core.training.loop import load_for_training, lora
from visor_core.training.rewards import RewardContext
from visor_core.training.rollouts import Collector
from visor_core.training.turn_trainer import TurnGRPOTrainer

QUESTIONS = [question(question_id=f"q{i}") for i in range(4)]


def _nothing() -> None:
    """Nothing to copy."""


def liked(asked: Question, answer: str) -> float:
    """1 for a reply that opens with a digit."""
    return float(answer.strip()[:1].isdigit())


class Bandit:
    """A `RolloutSource`: one sampled token is the whole episode."""

    def __init__(
        self,
        policy: BatchPolicy,
        config: GRPOConfig,
        seed: int = 0,
        tokens: int = 1,
        refresh: Callable[[], None] | None = None,
    ) -> None:
        self.policy = policy
        self.config = config
        self.seed = seed
        self.tokens = tokens
        self.refresh: Callable[[], None] = refresh or _nothing

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        asked = [q for q in questions for _ in range(self.config.group_size)]
        prompts = [prompt(pages=(f"p{q.question_id}",)) for q in asked]
        samplings = [
            Sampling(self.config.temperature, self.tokens, key=(self.seed, step, i)) for i in range(len(asked))
        ]
        finished = []
        for number, (q, given, completion) in enumerate(
            zip(asked, prompts, self.policy.complete_batch(prompts, samplings), strict=True)
        ):
            turn = Turn(1, given, completion, Action("answer", completion.text), Observation("final"))
            finished.append(
                Trajectory(
                    f"{step}-{number}", q, "bandit", "live", "", "", self.seed, (turn,), (), completion.text, (),
                    "answered", group_id=f"{step}-{q.question_id}",
                )
            )  # fmt: skip
            on_finished(finished[-1])
        return finished


class Seeker(Bandit):
    """Two turns of a token each, a tag before them: a search, which finds the gold page by some words, and an answer.

    What one does is no help to the other, so credit decides what each token is taught.
    """

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        asked = [q for q in questions for _ in range(self.config.group_size)]
        turns: list[list[Turn]] = [[] for _ in asked]
        for index, kind in enumerate(("search", "answer"), 1):
            prompts = [prompt(pages=(f"p{q.question_id}",), prefix=f"<{kind}>") for q in asked]
            samplings = [
                Sampling(self.config.temperature, 1, key=(self.seed, step, i, index)) for i in range(len(asked))
            ]
            replies = self.policy.complete_batch(prompts, samplings)
            for played, q, given, reply in zip(turns, asked, prompts, replies, strict=True):
                text = reply.text.removeprefix(f"<{kind}>").strip()
                page = q.gold_pages[0] if "a" <= text[:1] < "n" else "elsewhere"
                seen = Observation("page", images=(shown(page),)) if kind == "search" else Observation("final")
                played.append(Turn(index, given, reply, Action(kind, text), seen))  # type: ignore[arg-type]
        finished = [
            episode(q, played, answer=played[1].action.text, group=f"{step}-{q.question_id}", name=f"{step}-{number}")
            for number, (q, played) in enumerate(zip(asked, turns, strict=True))
        ]
        for trajectory in finished:
            on_finished(trajectory)
        return finished


def bandit_config(**changes: Any) -> GRPOConfig:
    """Small and quick."""
    values: dict[str, Any] = {
        "steps": 40,
        "questions_per_step": 4,
        "group_size": 8,
        "reward": "answer_only",
        "beta": 0.0,
        "micro_batch_tokens": 512,
        "max_completion_tokens": 16,
        "save_steps": 1000,
        "dynamic_sampling": "skip",
        "optimizer": OptimizerConfig(learning_rate=3e-3, schedule="constant"),
    }
    return GRPOConfig(**{**values, **changes})


def build_trainer(
    folder: Path, output: Path, config: GRPOConfig, *, seed: int = 0, callbacks: Sequence[Any] = (), tokens: int = 1,
    judge: Callable[[Question, str], float] = liked, **options: Any,
) -> TurnGRPOTrainer:  # fmt: skip
    """A trainer on the tiny model with the bandit as its rollouts."""
    model, processor = load_for_training(folder, freeze=config.freeze_vision)
    trainer = TurnGRPOTrainer(
        model=model,
        args=trl_arguments(config, output, seed),
        processing_class=processor,
        encoder=Encoder(processor, picture),
        grpo=config,
        peft_config=lora(config.lora_rank, freeze=config.freeze_vision),
        callbacks=list(callbacks),
        **options,
    )
    live = LivePolicy(trainer, snapshot=config.steps_ahead > 0)
    trainer.collector = Collector(
        QUESTIONS,
        Bandit(live.policy, config, seed, tokens, live.refresh),
        config,
        seed,
        RewardContext(judge=judge),
        pieces=processor.tokenizer.convert_ids_to_tokens,
        process=trainer.accelerator.process_index,
        processes=trainer.accelerator.num_processes,
    )
    return trainer


def gradients(trainer: TurnGRPOTrainer, rows: Sequence[WeightedRow], **options: Any) -> dict[str, Any]:
    """Loss under "" and every parameter's gradient, by name, for one update over the rows."""
    trainer.model.zero_grad(set_to_none=True)
    loss = trainer.update(trainer.model, rows, **options)
    named = {
        name: (parameter.grad.clone() if parameter.grad is not None else None)
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }
    return {"": loss, **named}
