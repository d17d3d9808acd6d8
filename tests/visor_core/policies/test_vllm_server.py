"""vLLM's own OpenAI server on the tiny checkpoint stands in for a large model behind an address."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.tiny_model import picture, prompt
from tests.visor_core.policies.conftest import vllm_obstacle
from visor_core.config import ServerConfig
from visor_core.policies.base import Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.transformers import TransformersPolicy

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if obstacle := vllm_obstacle():
        pytest.skip(obstacle)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forbidden = TransformersPolicy(checkpoint, picture).forbidden
    # The `vllm` command reads the version of a package named vllm, which the CPU build is not; its server is the same.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
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
    prompts = [prompt("what is acme staff q3 ?", ("a", "b")), prompt("sum", ("c",), prefix="<think>")]
    sampling = [Sampling(0.0, 10)] * 2
    remote = OpenAICompatiblePolicy(address, "tiny", picture, server=ServerConfig(prefill="continue", token_ids=True))
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
