"""SIGKILL in the middle of a training stage, then the same order again: the weights are those of an undisturbed run.

The stages run as `make run` runs them: the worker module in a process of its own, on a real index of a small nano
world, in reference mode.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.resources import PROFILES
from tests.nano_setting import AGENT, nano_index
from tests.visor_core.training import forking
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import NanoConfig, TeacherConfig, load_profile
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import write_world
from visor_core.questions import write_questions
from visor_core.training.checkpoints import complete_checkpoints
from visor_core.trajectories.store import TrajectoryWriter, read_trajectories

STEPS = 6
EPISODES = 4
"""Of a step."""
PATIENCE = 240.0
PROFILE = {
    "threads": 1,
    "index.embedders": ["hash"],
    "agent.max_turns": 3,
    "agent.max_new_tokens": 6,
    "sft.steps": STEPS,
    "sft.batch_size": 4,
    "sft.save_steps": 2,
    "grpo.steps": STEPS,
    "grpo.questions_per_step": 2,
    "grpo.group_size": 2,
    "grpo.rollout_batch": 2,
    "grpo.save_steps": 2,
    # An untrained policy is never rewarded: the entropy bonus makes every rollout move the weights all the same.
    "grpo.dynamic_sampling": "keep",
    "grpo.entropy_coefficient": 0.1,
    "grpo.optimizer.schedule": "constant",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What both stages take: model, index, questions, teacher's episodes."""
    folder = tmp_path_factory.mktemp("inputs")
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, folder / "model")
    world = write_world(folder / "pdf", "train", NanoConfig(train_corpora=1, companies=3, topics=3), seed=2)
    questions = make_questions(world, 4, seed=5)
    write_questions(folder / "questions.parquet", questions)
    index = nano_index(folder / "corpus", folder / "pdf")
    teacher = ScriptedTeacher(world, TeacherConfig(), AGENT, seed=1)
    writer = TrajectoryWriter(folder / "lessons")
    for trajectory in run_reference(Environment(index, AGENT), teacher, questions):
        writer.append(trajectory)
    writer.close()
    tag = index.tag
    index.close()
    return {
        "base_model": str(folder / "model"),
        "sft_checkpoint": str(folder / "model"),
        "sft_dataset": str(folder / "lessons"),
        "questions": str(folder / "questions.parquet"),
        "corpus": str(folder / "corpus"),
        "index_tag": tag,
    }


def start(stage: str, folder: Path, inputs: dict[str, str], changes: dict[str, Any]) -> ForkServerProcess:
    """The stage's worker on an order in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    order = {
        "home": str(folder.parent),
        "folder": str(folder),
        "stage": f"{stage}_checkpoint",
        "profile": load_profile(PROFILES / "nano.yaml", {**PROFILE, **changes}).model_dump(mode="json"),
        "inputs": inputs,
        "experiment": "visor",
    }
    (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
    return forking.start(f"pipelines.workers.{stage}", [folder / "order.json"], folder / "worker.log")


def finish(process: ForkServerProcess, folder: Path) -> None:
    """Wait for a worker to end well."""
    process.join(PATIENCE)
    assert process.exitcode == 0, (folder / "worker.log").read_text(encoding="utf-8")[-3000:]


def kill_when(process: ForkServerProcess, folder: Path, due: Callable[[Path], bool]) -> None:
    """SIGKILL the worker at the moment `due` says so; it must not have ended by itself."""
    deadline = time.monotonic() + PATIENCE
    while not due(folder):
        assert process.is_alive(), (folder / "worker.log").read_text(encoding="utf-8")[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def steps_done(folder: Path) -> int:
    """Steps reported so far."""
    path = folder / "metrics.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def stored(folder: Path) -> int:
    """Finished episodes in the store's newest segment, which is this process's own."""
    segments = sorted((folder / "rollouts" / "segments").glob("*.jsonl"))
    return segments[-1].read_bytes().count(b"\n") if segments else 0


def between_checkpoints(folder: Path) -> bool:
    """After the third step; in GRPO when the first of two batches of a step's episodes has finished."""
    rolls_out = (folder / "rollouts").is_dir()
    return steps_done(folder) >= 3 and (not rolls_out or stored(folder) % EPISODES == EPISODES // 2)


def writing_checkpoint(folder: Path) -> bool:
    """While the second one is being written."""
    return (folder / "checkpoint-4").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "changes"),
    [("sft", {}), ("grpo", {}), pytest.param("grpo", {"grpo.steps_ahead": 1}, marks=pytest.mark.slow_walk)],
)
def test_a_killed_stage_ends_bit_identical(
    stage: str, changes: dict[str, Any], inputs: dict[str, str], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start(stage, whole, inputs, changes), whole)
    for due in (between_checkpoints, writing_checkpoint):
        kill_when(start(stage, broken, inputs, changes), broken, due)
        assert not (broken / "final").exists()
        if stage == "grpo" and due is between_checkpoints:
            cut_short = {t.trajectory_id for t in read_trajectories(broken / "rollouts")}
            assert len(cut_short) % EPISODES, "no step was cut short"
    assert complete_checkpoints(broken), "killed before the first checkpoint: nothing was resumed"
    finish(start(stage, broken, inputs, changes), broken)

    begun = load_file(Path(inputs["base_model"]) / "model.safetensors")
    for part in ("checkpoint-6", "final"):
        left, right = (load_file(folder / part / "model.safetensors") for folder in (whole, broken))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
        assert sum(not torch.equal(left[name], begun[name]) for name in left) > 20
    if stage == "grpo":
        # Rollouts of steps done twice are kept once, and none that had finished is lost.
        found = [read_trajectories(folder / "rollouts") for folder in (whole, broken)]
        assert len(found[0]) == STEPS * EPISODES
        assert {t.trajectory_id for t in found[0]} == {t.trajectory_id for t in found[1]} > cut_short
        replies = [{t.trajectory_id: [turn.completion.token_ids for turn in t.turns] for t in f} for f in found]
        assert replies[0] == replies[1]
