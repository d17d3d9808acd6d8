"""vLLM's own OpenAI server, on an untrained nano checkpoint, stands in for a large model behind an address."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from pipelines.services import free_port
from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf
from tests.tiny_model import picture, prompt
from tests.visor_core.policies.conftest import vllm_obstacle
from visor_core.config import ServerConfig
from visor_core.nano.model import build_model, build_processor, save_checkpoint, vocabulary
from visor_core.policies.base import Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.transformers import TransformersPolicy
from visor_core.trajectories.store import read_trajectories

pytestmark = [pytest.mark.vllm, pytest.mark.slow_walk]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, processor = tmp_path_factory.mktemp("nano"), build_processor()
    model = build_model(processor.tokenizer, seed=0)
    # Untrained, it repeats roles, tags or bytes of the context; without an embedding nothing but words is likely.
    words = processor.tokenizer.convert_tokens_to_ids([f"Ġ{word}" for word in vocabulary() if word.isalpha()])
    with torch.no_grad():
        model.get_input_embeddings().weight[sorted({*range(len(processor.tokenizer))} - {*words})] = 0.0
    save_checkpoint(model, processor, folder)
    return folder


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if obstacle := vllm_obstacle():
        pytest.skip(obstacle)
    port = free_port()
    forbidden = TransformersPolicy(checkpoint, picture).forbidden
    # The `vllm` command reads the version of a package named vllm, which the CPU build is not; its server is the same.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "nano"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"]
    command += ["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"]
    command += ["--logits-processors", "visor_core.policies.vllm_logits:ForbiddenTokens"]
    command += ["--additional-config", json.dumps({"forbidden_token_ids": forbidden})]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as stream:
        environment = os.environ | quiet | {"PYTHONPATH": os.pathsep.join(sys.path)}
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=60)


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-4000:]
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(f"the server did not start within 300 s:\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}")


def test_it_completes_with_a_picture_as_the_reference_engine_does(address: str, checkpoint: Path) -> None:
    # The nano chat template writes one space before every part, an assistant's too.
    prompts = [prompt("what is acme staff q3 ?", ("a", "b")), prompt("sum", ("c",), prefix=" <think>")]
    sampling = [Sampling(0.0, 10)] * 2
    remote = OpenAICompatiblePolicy(address, "nano", picture, server=ServerConfig(prefill="continue", token_ids=True))
    for a, b in zip(
        remote.complete_batch(prompts, sampling),
        TransformersPolicy(checkpoint, picture).complete_batch(prompts, sampling),
        strict=True,
    ):
        assert a.prompt_ids == b.prompt_ids
        assert a.token_ids == b.token_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        assert a.prompt_tokens == b.prompt_tokens
        # The server decodes piece by piece, which places the spaces of a word-level tokenizer otherwise.
        assert "".join(a.text.split()) == "".join(b.text.split())


def test_ask_answers_about_a_pdf(visor: Visor, address: str, tmp_path: Path) -> None:
    write_pdf(tmp_path / "coast.pdf", ("Kent and Normandy lie on the English Channel coast",))
    assert visor("ingest", str(tmp_path / "coast.pdf"), "--set", "documents.ocr=never").code == 0
    settings = [
        "agent.prompts=compact", "agent.coordinates=grid10", "agent.first_search=question", "agent.max_turns=3",
        "agent.max_new_tokens=8", "agent.image.min_pixels=16384", "agent.image.max_pixels=16384",
        "agent.image.multiple=128", "server.prefill=continue", "server.token_ids=true",
    ]  # fmt: skip
    chosen = [word for setting in settings for word in ("--set", setting)]
    outcome = visor("ask", "English Channel coast", "--endpoint", address, "--model", "nano", *chosen)
    assert outcome.code == 0, outcome.err
    (episode,) = read_trajectories(tmp_path / "home" / "assets" / "asked")
    assert (len(episode.turns), episode.outcome) == (4, "forced")
    assert episode.answer
    assert episode.answer in outcome.out
    assert "coast.pdf, page 1, box " in outcome.out
    assert episode.turns[-1].completion.text.startswith("<answer>")
    assert [image.page_id for image in episode.turns[1].prompt.images] == [episode.pages_seen[0]]
    (page,) = (tmp_path / "home" / "reports").glob("ask-*.html")
    assert "data:image/" in page.read_text(encoding="utf-8")
    assert all(turn.completion.token_ids for turn in episode.turns[1:])  # the first is the environment's own search
    assert visor("replay", "--corpus", "documents").code == 0
