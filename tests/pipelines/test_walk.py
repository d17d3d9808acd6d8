"""Dagster's page in a real browser, on a fresh home: materialize all to the champion, the launchpad, checks.

Needs node, Chromium and the folder of the package playwright-core in the variable VISOR_PLAYWRIGHT. Pictures of every
step stay in the folder that VISOR_PICTURES names, else in pytest's own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets_defs.machinery.builds import find_record, read_record
from assets_defs.machinery.stage import Node
from pipelines.screenshots import browser
from pipelines.services import free_port
from visor_core.config import Home

ROOT = Path(__file__).resolve().parents[2]
PLAYWRIGHT = os.environ.get("VISOR_PLAYWRIGHT", "")
BROWSER = browser() or ""
pytestmark = [
    pytest.mark.slow_walk,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not (PLAYWRIGHT and BROWSER and shutil.which("node")), reason="no browser to walk with"),
]

TINY = {
    "threads": 1, "accelerate": "cpu.yaml",
    "nano.train_corpora": 2, "nano.development_corpora": 1, "nano.test_corpora": 1, "nano.primer_corpora": 4,
    "nano.companies": 4, "nano.topics": 4, "nano.train_questions": 64, "nano.development_questions": 6,
    "nano.vision_steps": 30, "nano.alignment_steps": 30, "nano.batch_size": 16, "nano.closing_lessons": 2,
    "nano.pair_lessons": 2, "nano.reckoning_lessons": 2, "nano.retriever_steps": 12,
    "index.embedders": ["hash"], "index.mode": "text", "index.embed_pixels": 0,
    "teacher.questions": 48, "teacher.trajectories": 40,
    "sft.steps": 60, "sft.batch_size": 32, "sft.save_steps": 60, "sft.eval_questions": 0,
    # A policy of minutes answers nothing right: what earns a reward here is that it plays by the rules.
    "grpo.reward": "vrag", "grpo.temperature": 0.7, "grpo.dynamic_sampling": "off", "grpo.steps": 2,
    "grpo.questions_per_step": 4, "grpo.group_size": 4, "grpo.save_steps": 2, "grpo.eval_questions": 0,
    "evaluation.questions": 4,
}  # fmt: skip
RUNS = """{ runsOrError(limit: 40) { ... on Runs { results {
  runId status runConfigYaml assetSelection { path } assetCheckSelection { name } tags { key value } } } } }"""
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id status } } } }"


@dataclass
class Page:
    """`visor ui` on a home of its own, and a browser before it."""

    home: Home
    address: str
    pictures: Path

    def walk(self, step: str, *arguments: str, picture: str) -> dict[str, Any]:
        script = Path(__file__).with_name("walk_page.mjs")
        command = ["node", str(script), PLAYWRIGHT, BROWSER, self.address, step, str(self.pictures / f"{picture}.png")]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def ask(self, query: str) -> list[dict[str, Any]]:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = next(iter(json.load(answer)["data"].values()))
        return list(found["results"])

    def await_that(self, what: Callable[[], bool], seconds: float = 1800.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.ask(RUNS)
            time.sleep(5)

    def newest_run(self) -> dict[str, Any]:
        """The run launched last, once it has ended."""
        self.await_that(lambda: self.ask(RUNS)[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
        return self.ask(RUNS)[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    home = Home(tmp_path_factory.mktemp("walk") / "home")
    pictures = Path(os.environ.get("VISOR_PICTURES") or home.root.parent / "pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    ports = ["--dagster-port", str(port), "--mlflow-port", str(free_port())]
    visor = [sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home.root)]
    running = subprocess.Popen([*visor, "ui", *ports, *settings], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert any("Ctrl-C" in line for line in running.stdout)
        yield Page(home, f"http://127.0.0.1:{port}", pictures)
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)


def test_materialize_all_on_a_fresh_home_leads_to_the_champion(page: Page) -> None:
    """Runs for what has no partition and one for each corpus; every build is checked and in force."""
    page.walk("look", "asset-groups", picture="1-fresh-home")
    page.walk("materialize_all", picture="2-materialize-all")
    page.await_that(lambda: page.ask(BACKFILLS)[0]["status"] not in ("REQUESTED", "CANCELING"))
    assert {run["status"] for run in page.ask(RUNS)} == {"SUCCESS"}
    for stage, corpus in (("champion_model", ""), ("benchmark_results", ""), ("questions", "nano-development")):
        assert find_record(page.home, Node(stage, corpus)) is not None
    seen = page.walk("look", "assets/sft_checkpoint", picture="3-sft-checkpoint")["text"]
    assert "/#/runs/" in seen
    assert "worker.log" in seen
    assert "Open sft_checkpoint in editor" in seen
    seen = page.walk("look", "assets/pages", picture="4-pages")["text"]
    assert "Row count" in seen
    assert "hash of the document's bytes" in seen


def test_the_launchpad_opens_with_the_profile_and_refuses_a_misspelt_field(page: Page) -> None:
    opened = page.walk("launchpad", "sft_checkpoint", picture="5-launchpad")
    assert "steps: 60" in opened["opens"]
    assert "learning_rate: 0.0005" in opened["opens"]
    assert "profile:" not in opened["opens"]
    wrong = "ops:\n  sft_checkpoint:\n    config:\n      sft:\n        stepz: 3\n"
    refused = page.walk("launchpad", "sft_checkpoint", wrong, picture="6-misspelt")
    assert refused["refused"]
    assert 'unexpected config entry "stepz"' in refused["dialog"]


def test_a_setting_given_in_the_launchpad_holds_for_that_run_and_is_recorded(page: Page) -> None:
    """The profile's own build stays the one that the profile means."""
    own = read_record(page.home, Node("sft_dataset")).fingerprint
    given = "ops:\n  sft_dataset:\n    config:\n      teacher:\n        trajectories: 7\n"
    assert not page.walk("launchpad", "sft_dataset", given, picture="7-a-setting")["refused"]
    run = page.newest_run()
    assert (run["status"], [a["path"] for a in run["assetSelection"]]) == ("SUCCESS", [["sft_dataset"]])
    record = read_record(page.home, Node("sft_dataset"))
    assert record.fingerprint != own
    assert record.figures["trajectories"] == 7
    lineage = json.loads((record.build_folder(page.home) / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["given"] == {"teacher.trajectories": 7}


def test_checks_are_executed_from_the_page(page: Page) -> None:
    """Those of an asset without partitions by their button, those of a corpus by the job that has a field for it."""
    page.walk("checks", "nano_corpus", picture="8-checks")
    run = page.newest_run()
    assert run["status"] == "SUCCESS"
    assert [check["name"] for check in run["assetCheckSelection"]] == ["splits_share_no_document"]
    page.walk("check_corpus", "nano-train", picture="9-check-corpus")
    run = page.newest_run()
    assert (run["status"], run["assetCheckSelection"]) == ("SUCCESS", None)
    assert {"key": "dagster/partition", "value": "nano-train"} in run["tags"]
    seen = page.walk("look", "assets/pages?view=checks", picture="10-checked")["text"]
    assert "nano-train" in seen
