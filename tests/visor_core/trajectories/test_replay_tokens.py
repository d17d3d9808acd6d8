"""A stored episode of a real (tiny) model replays token for token through the one processor path."""

from pathlib import Path

from tests.tiny_model import build_model, build_processor
from tests.visor_core.trajectories.episodes import INDEX
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import AgentConfig
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question
from visor_core.trajectories.replay import config_of, replay
from visor_core.trajectories.store import TrajectoryWriter, compact, read_trajectories

SMALL = {
    "prompts": "compact",
    "max_turns": 4,
    "max_new_tokens": 16,
    "first_search": "question",
    "image": {"min_pixels": 1024, "max_pixels": 1024, "multiple": 32, "pixels_per_token": 256},
}


def test_contexts_of_a_real_model_replay_token_for_token(tmp_path: Path) -> None:
    processor = build_processor()
    policy = TransformersPolicy.from_model(build_model(), processor, INDEX)
    env = Environment(INDEX, AgentConfig.model_validate(SMALL))
    questions = [Question(f"q{i}", text, ()) for i, text in enumerate(["acme staff", "borel staff"])]
    runs = [run_reference(env, policy, questions, rollouts=2, seed=7, temperature=1.0, batch_size=4) for _ in range(2)]
    first, second = ([[turn.completion.token_ids for turn in t.turns] for t in run] for run in runs)
    assert first == second  # reference mode: the same seed, the same episodes
    assert first[0] != first[1]  # but rollouts differ
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in runs[0]:
            writer.append(trajectory)
    compact(tmp_path)
    encoder = Encoder(processor, INDEX)
    for trajectory in read_trajectories(tmp_path):
        own = Environment(INDEX, config_of(trajectory))
        report = replay(trajectory, encode=lambda p: encoder.encode(p).input_ids, environment=own)
        assert report.identical
        sampled = [turn for turn in trajectory.turns if turn.completion.prompt_ids]
        assert report.tokens_compared == sum(len(turn.completion.prompt_ids) for turn in sampled)
        assert len(sampled) == len(trajectory.turns) - 1  # all but the environment's own first search
        for turn in sampled:
            assert len(turn.completion.token_ids) == len(turn.completion.logprobs) > 0
            assert turn.completion.image_tokens == 4 * len(turn.prompt.images)
