"""What an evaluation is kept under: each thing that decides its episodes changes it, and nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import build_model, save_checkpoint
from tests.visor_core.agent.small_index import SmallIndex, pages_of
from tests.visor_core.evaluation.model_server import ModelServer, model_server
from visor_core.agent.environment import Environment
from visor_core.code_version import code_behind, code_version
from visor_core.config import AgentConfig, EvaluationConfig, IndexConfig, ServerConfig
from visor_core.evaluation import runner
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question
from visor_core.trajectories import playing

PAGES = pages_of("acme staff 47", "borel staff 31")
QUESTION = Question("q1", "acme staff", ("47",), gold_pages=("report/00001",))


class NamedIndex(SmallIndex):
    """A small index that has a corpus and says what it holds."""

    corpus_name = "reports"
    data_version = "v1"


def _environment(**changes: Any) -> Environment:
    index = NamedIndex(PAGES, changes.get("tag", "t1"))
    index.corpus_name = changes.get("corpus", "reports")
    index.data_version = changes.get("content", "v1")
    agent = AgentConfig.model_validate({"max_turns": 4, **changes.get("agent", {})})
    return Environment(index, agent, IndexConfig.model_validate(changes.get("index", {})))


def _key(policy: Any, *, environment: Environment | None = None, question: Question = QUESTION, **changes: Any) -> str:
    given = {"temperature": 0.0, "seed": 0, **changes}
    return playing.folder_of(
        Path("store"), policy, environment or _environment(), [question], given["temperature"], given["seed"]
    ).name


def _endpoint(server: ModelServer, url: str = "", **settings: Any) -> OpenAICompatiblePolicy:
    return OpenAICompatiblePolicy(
        url or server.url, "toy", SmallIndex(PAGES), server=ServerConfig.model_validate({"retries": 0, **settings})
    )


DECIDING = [
    {"extra_body": {"top_k": 1}},
    {"prefill": "continue"},
    {"token_ids": True},
    {"seed": False},
    {"revision": "second training"},
]


@pytest.mark.parametrize("settings", DECIDING, ids=lambda s: next(iter(s)))
def test_what_reaches_a_request_changes_the_key(settings: dict[str, Any]) -> None:
    with model_server() as server:
        assert _key(_endpoint(server, **settings)) != _key(_endpoint(server))


@pytest.mark.parametrize(
    "change", [{"root": "/weights/b"}, {"max_model_len": 8192}, {"id": "toy", "root": None}], ids=str
)
def test_other_weights_behind_the_same_name_change_the_key(change: dict[str, Any]) -> None:
    with model_server() as server:
        before = _key(_endpoint(server))
        server.entry = {**server.entry, **change}
        assert _key(_endpoint(server)) != before


def test_another_server_with_the_same_model_name_changes_the_key() -> None:
    with model_server() as one, model_server() as other:
        assert _key(_endpoint(one)) != _key(_endpoint(other))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"environment": {"agent": {"window": 3}}}, "agent"),
        ({"environment": {"agent": {"crop": {"pad_pixels": 1.0}}}}, "crop"),
        ({"environment": {"index": {"top_k": 3}}}, "top_k"),
        ({"environment": {"index": {"mode": "text"}}}, "mode"),
        ({"environment": {"tag": "t2"}}, "tag"),
        ({"environment": {"corpus": "others"}}, "corpus"),
        ({"environment": {"content": "v2"}}, "content of the corpus"),
        ({"question": replace(QUESTION, question="acme staff?")}, "question"),
        ({"question": replace(QUESTION, partition="p")}, "partition"),
        ({"question": replace(QUESTION, question_id="q2")}, "question id"),
        ({"seed": 1}, "seed"),
        ({"temperature": 1.0}, "temperature"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_episode_depends_on_changes_the_key(changes: dict[str, Any], what: str) -> None:
    with model_server() as server:
        policy = _endpoint(server)
        given = {k: _environment(**v) if k == "environment" else v for k, v in changes.items()}
        assert _key(policy, **given) != _key(policy), what


def test_the_code_of_the_agent_is_part_of_the_key_and_that_of_scoring_is_not() -> None:
    with model_server() as server:
        identity = playing.identity_of(_endpoint(server), _environment(), [QUESTION], 0.0, 0)
    played = code_behind(*playing.EPISODE_CODE, within=("visor_core",), without=playing.APART)
    assert identity["code"] == code_version(*played)
    assert {f"visor_core.{name}" for name in ("agent.context", "agent.prompts", "index.fusion", "geometry")} <= played
    assert not any(name.startswith(("visor_core.scoring", "visor_core.evaluation")) for name in played)
    assert identity["policy"]["code"] != identity["code"]


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout_seconds": 9},
        {"retries": 1},
        {"backoff_seconds": 0.1},
        {"max_backoff_seconds": 9},
        {"concurrency": 3},
        {"requests_per_minute": 6000},
        {"prompt_price": 1.0, "completion_price": 2.0, "max_cost": 3.0},
        {"picture_cache_mib": 16},
    ],
    ids=lambda s: next(iter(s)),
)
def test_pace_and_price_do_not_change_the_key(settings: dict[str, Any]) -> None:
    with model_server() as server:
        assert _key(_endpoint(server, **settings)) == _key(_endpoint(server))


def test_a_new_server_setting_is_part_of_the_key_until_it_is_named_as_pace() -> None:
    assert ServerConfig().asked().keys() == ServerConfig.model_fields.keys() - ServerConfig.PACE
    assert ServerConfig.model_fields.keys() > ServerConfig.PACE


def test_what_only_tells_does_not_change_the_key() -> None:
    with model_server() as server:
        before = _key(_endpoint(server))
        server.entry |= {"created": 1234, "owned_by": "vllm", "permission": [{"id": "x"}]}
        named = _endpoint(server, server.url.replace("http://", "http://user:secret@"))
        assert _key(named) == before
        assert named.identity()["recorded"]["created"] == 1234
        assert "secret" not in str(named.identity())
        gold = replace(QUESTION, answers=("48",), gold_pages=(), metadata={"note": "corrected"})
        assert _key(_endpoint(server), question=gold) == before


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint."""
    return save_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def _local(folder: Path, **options: Any) -> str:
    return _key(TransformersPolicy(folder, SmallIndex(PAGES), **options))


def _other_weights(folder: Path) -> None:
    build_model(seed=1).save_pretrained(folder)


def _other_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")


def _other_generation(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}', encoding="utf-8")


@pytest.mark.parametrize("change", [_other_weights, _other_template, _other_generation])
def test_a_changed_checkpoint_in_the_same_folder_changes_the_key(
    change: Callable[[Path], None], checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    before = _local(folder)
    change(folder)
    assert _local(folder) != before


def test_precision_and_batch_size_change_the_key(checkpoint: Path) -> None:
    usual = _local(checkpoint)
    assert _local(checkpoint, dtype="bfloat16") != usual
    assert _local(checkpoint, max_batch=2) != usual


def test_a_moved_or_annotated_checkpoint_keeps_its_key(checkpoint: Path, tmp_path: Path) -> None:
    before = _local(checkpoint)
    moved = tmp_path / "elsewhere"
    shutil.copytree(checkpoint, moved)
    (moved / "lineage.json").write_text('{"asset": "sft_checkpoint"}', encoding="utf-8")
    (moved / "README.md").write_text("notes", encoding="utf-8")
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    policy = TransformersPolicy(moved, SmallIndex(PAGES), name="tiny")
    assert _key(policy) == before


def test_weights_in_memory_have_an_identity_that_follows_them(checkpoint: Path) -> None:
    loaded = TransformersPolicy(checkpoint, SmallIndex(PAGES))
    live = TransformersPolicy.from_model(loaded.model, loaded.encoder.processor, SmallIndex(PAGES))
    before = live.identity()
    assert before == live.identity()
    live.model.get_output_embeddings().weight.data[0, 0] += 1.0
    assert live.identity() != before


def test_a_large_checkpoint_is_read_once(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visor_core.policies import identity

    known = tmp_path / "cache" / "digests.json"
    first = identity.checkpoint_digest(checkpoint, known)

    def read(*_: object) -> None:
        raise AssertionError("a file was read again")

    monkeypatch.setattr(identity.hashlib, "file_digest", read)
    assert identity.checkpoint_digest(checkpoint, known) == first
    with pytest.raises(AssertionError, match="read again"):
        identity.checkpoint_digest(checkpoint)


def test_a_copy_that_was_given_the_old_times_is_another_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    """`cp -p` and `rsync -t` restore times: same path, same size, same time of modification, other weights."""
    from visor_core.policies.identity import checkpoint_digest

    folder, known = tmp_path / "tiny", tmp_path / "digests.json"
    shutil.copytree(checkpoint, folder)
    before = checkpoint_digest(folder, known)
    weights = folder / "model.safetensors"
    state = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert checkpoint_digest(folder, known) != before


def test_a_hub_id_stands_for_the_snapshot_that_was_downloaded(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from visor_core.errors import PolicyError
    from visor_core.policies.identity import checkpoint_digest

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--tiny"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(checkpoint, repository / "snapshots" / commit)
    _other_weights(repository / "snapshots" / ("b" * 40))
    (repository / "refs").mkdir()
    digests = []
    for commit in ("a" * 40, "b" * 40):
        (repository / "refs" / "main").write_text(commit, encoding="utf-8")
        digests.append(checkpoint_digest("owner/tiny"))
    assert digests == [checkpoint_digest(checkpoint), digests[1]]
    assert digests[0] != digests[1]
    with pytest.raises(PolicyError, match="which weights are meant"):
        checkpoint_digest("owner/other")


def test_kept_episodes_are_scored_by_the_gold_as_it_is_now(tmp_path: Path) -> None:
    """A corrected gold answer, like a mended scorer, asks the server for nothing again."""
    with model_server(answer="47") as server:
        wrong = replace(QUESTION, answers=("48",))
        first = runner.evaluate(_endpoint(server), _environment(), [wrong], EvaluationConfig(), store=tmp_path)
        asked = server.asked
        again = runner.evaluate(_endpoint(server), _environment(), [QUESTION], EvaluationConfig(), store=tmp_path)
    assert (asked, server.asked) == (2, 2)
    assert (first.accuracy.estimate, again.accuracy.estimate) == (0.0, 1.0)
    assert (first.kept, again.kept) == (0, 1)
    assert again.scoring == first.scoring != ""
    assert again.kept_from.startswith("20")


def test_a_fresh_evaluation_sets_the_kept_episodes_aside(tmp_path: Path) -> None:
    with model_server() as server:
        for asked, fresh in ((2, False), (2, False), (4, True), (4, False)):
            result = runner.evaluate(
                _endpoint(server), _environment(), [QUESTION], EvaluationConfig(), store=tmp_path, fresh=fresh
            )
            assert server.asked == asked
        assert result.kept == 1
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == 2


def test_a_changed_fingerprint_is_kept_and_shown(tmp_path: Path) -> None:
    questions = [QUESTION, replace(QUESTION, question_id="q2", question="borel staff")]
    with model_server(fingerprint="fp-a", fault="borel staff") as server:
        runner.evaluate(_endpoint(server), _environment(), questions, EvaluationConfig(), store=tmp_path)
        server.fault, server.fingerprint = "", "fp-b"
        result = runner.evaluate(_endpoint(server), _environment(), questions, EvaluationConfig(), store=tmp_path)
    assert result.fingerprints == ("fp-a", "fp-b")
