"""`visor eval` through vLLM's own server on real PDFs: the champion of VISOR_HOME on MMLongBench-Doc.

The nano model reads synthetic pages only, so its score on ../shared/data/mmlongbench-doc is near zero; what is measured
is that the whole way holds: vLLM's server, the endpoint policy, real pages, every measure, and how long a turn takes.
Needs a champion (`visor run`) and vLLM.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.benchmarks.bench_recall import DATA, open_index
from tests.visor_core.policies.conftest import vllm_obstacle
from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.policies.base import ImageRef

QUESTIONS = 30
"""The first of the 371: a processor serves a handful of turns a second."""
SETTINGS = ("server.prefill=continue", "server.token_ids=true", "index.mode=hybrid", "agent.first_search=question")
"""A server continues a forced answer and gives its tokens; the corpus has no retriever of the nano world's; the first
search is the environment's own, since the model has no words for these questions."""
VISOR = [sys.executable, "-c", "import sys; from pipelines.cli import main; sys.argv[0] = 'visor'; main()"]


@contextmanager
def served(checkpoint: Path) -> Iterator[str]:
    """vLLM's OpenAI-compatible server on a checkpoint, as the model `nano`; its address.

    Raises:
        DataError: if it does not start within five minutes.
    """
    from visor_core.policies.transformers import TransformersPolicy

    forbidden = list(TransformersPolicy(checkpoint, _no_picture).forbidden)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "nano", "--dtype", "float32"]
    command += ["--enforce-eager", "--max-num-seqs", "8", "--generation-config", "vllm"]
    command += ["--logprobs-mode", "processed_logprobs"]
    command += ["--logits-processors", "visor_core.policies.vllm_logits:ForbiddenTokens"]
    command += ["--additional-config", json.dumps({"forbidden_token_ids": forbidden})]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    environment = os.environ | quiet | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=60)


def main(home: Path) -> dict[str, Any]:
    """Evaluate the champion on the first questions, searched as one collection."""
    from pipelines.cli.checkpoints import choose_checkpoint

    if obstacle := vllm_obstacle():
        raise DataError(obstacle)
    if not (DATA / "documents").is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    checkpoint = choose_checkpoint(Home(home), None)
    corpus = open_index(Home(home).corpus("mmlongbench"), "never")
    corpus.close()
    asked = ["--benchmark", "mmlongbench", "--questions", str(DATA / "samples_subset.json"), "--corpus", "mmlongbench"]
    asked += ["--profile", "nano", "--limit", str(QUESTIONS), "--label", "nano-served", "--fresh"]
    asked += [word for setting in SETTINGS for word in ("--set", setting)]
    began = time.monotonic()
    with served(checkpoint) as address:
        ready = time.monotonic()
        command = [*VISOR, "--home", str(home), "eval", "--endpoint", address, "--model", "nano", *asked]
        ended = subprocess.run(command, check=False)
        took = time.monotonic() - ready
    if ended.returncode not in (0, 1):
        raise DataError("`visor eval` through the server did not end: see above")
    path = max((home / "evaluations").glob("nano-served*.json"), key=lambda path: path.stat().st_mtime)
    metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    failed = metrics["failed"]
    return {
        "value": metrics["accuracy"],
        "unit": f"accuracy over {QUESTIONS} questions",
        "goal": "no episode fails",
        "met": failed == 0,
        "raw": {"metrics": metrics, "server_start_seconds": ready - began, "eval_seconds": took},
    }


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DataError(f"vLLM's server ended with {server.returncode} before it was ready")
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise DataError("vLLM's server was not ready within 300 s")


def _no_picture(ref: ImageRef) -> Image.Image:
    """Loads nothing: the policy is asked for its forbidden tokens only."""
    raise DataError(f"no picture of {ref.page_id} is drawn here")
