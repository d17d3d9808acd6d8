"""Dagster's and MLflow's pages in a real browser, on a fresh home: materialize all to the champion, the launchpad, a
failed check, a stopped run, checks, automations; in MLflow two runs, the champion and its answers.

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
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets_defs.machinery.builds import Record, find_record, read_record
from assets_defs.machinery.stage import Node
from pipelines.screenshots import browser
from pipelines.services import free_port
from tests.pipelines.test_kills import ended, processes_of
from visor_core.config import Home
from visor_core.tracking import RUN_FILE

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
    "grpo.reward": "vrag", "grpo.temperature": 0.7, "grpo.dynamic_sampling": "keep", "grpo.steps": 2,
    "grpo.questions_per_step": 4, "grpo.group_size": 4, "grpo.save_steps": 2, "grpo.eval_questions": 0,
    "evaluation.questions": 4, "retraining.cron": "* * * * *",
}  # fmt: skip
SETTINGS = [part for key, value in TINY.items() for part in ("--set", f"{key}={json.dumps(value)}")]
VISOR = [sys.executable, "-c", "from pipelines.cli import main; main()"]
RUNS = """{ runsOrError(limit: 40) { ... on Runs { results {
  runId status runConfigYaml assetSelection { path } assetCheckSelection { name } tags { key value } } } } }"""
STALE = "{ assetNodes { assetKey { path } staleStatus freshnessStatusInfo { freshnessStatus } } }"
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id status } } } }"

TRAINED = ("sft_dataset", "sft_checkpoint", "grpo_checkpoint", "benchmark_results", "champion_model")
CHAMPION = "assets/champion_model?view=events"


def downstream(asset: str) -> str:
    """The place of an asset and all that is made of it, in the graph."""
    selected = urllib.parse.quote(f'key:"{asset}"+', safe="")
    return f"asset-groups~{selected}/"


@dataclass
class Page:
    """`visor ui` on a home of its own, and a browser before it."""

    home: Home
    address: str
    mlflow: str
    pictures: Path

    def walk(self, step: str, *arguments: str, picture: str, mlflow: bool = False) -> dict[str, Any]:
        script, address = Path(__file__).with_name("walk_page.mjs"), self.mlflow if mlflow else self.address
        command = ["node", str(script), PLAYWRIGHT, BROWSER, address, step, str(self.pictures / f"{picture}.png")]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def ask(self, query: str) -> list[dict[str, Any]]:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = next(iter(json.load(answer)["data"].values()))
        return list(found if isinstance(found, list) else found["results"])

    def stale(self) -> set[str]:
        """The assets that the page shows as "Unsynced"."""
        return {asset["assetKey"]["path"][0] for asset in self.ask(STALE) if asset["staleStatus"] == "STALE"}

    def stated(self, stage: str) -> Record:
        """The build of a stage that was put in force last."""
        return read_record(self.home, Node(stage))

    def under_way(self, stage: str) -> list[Path]:
        """The folders of builds of a stage that train and are not finished."""
        begun = (path.parent for path in self.home.asset(stage).glob("*/metrics.jsonl"))
        return [build for build in begun if not (build / "lineage.json").exists()]

    def mlflow_run(self, stage: str) -> str:
        """The id of the MLflow run of that build."""
        return (self.stated(stage).build_folder(self.home) / RUN_FILE).read_text(encoding="utf-8").strip()

    def visor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line on this home, with the settings of the page."""
        command = [*VISOR, "--home", str(self.home.root), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

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
    dagster, mlflow = free_port(), free_port()
    ui = ["ui", "--profile", "nano", "--dagster-port", str(dagster), "--mlflow-port", str(mlflow), *SETTINGS]
    running = subprocess.Popen([*VISOR, "--home", str(home.root), *ui], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert any("Ctrl-C" in line for line in running.stdout)
        yield Page(home, f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}", pictures)
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=120)


def test_materialize_all_on_a_fresh_home_leads_to_the_champion(page: Page) -> None:
    """Runs for what has no partition and one for each corpus; every build is checked and in force."""
    page.walk("look", "asset-groups", picture="1-fresh-home")
    page.walk("materialize_all", picture="2-materialize-all")
    page.await_that(lambda: page.ask(BACKFILLS)[0]["status"] not in ("REQUESTED", "CANCELING"))
    assert {run["status"] for run in page.ask(RUNS)} == {"SUCCESS"}
    for stage, corpus in (("champion_model", ""), ("benchmark_results", ""), ("questions", "nano-development")):
        assert find_record(page.home, Node(stage, corpus)) is not None
    seen = page.walk("look", "assets/sft_checkpoint", "mlflow_run", picture="3-sft-checkpoint")["text"]
    assert "/#/runs/" in seen
    assert "worker.log" in seen
    assert "in editor" in seen
    seen = page.walk("look", "assets/pages", "Row count", picture="4-pages")["text"]
    assert "Row count" in seen
    assert "hash of the document's bytes" in seen


def test_the_launchpad_opens_with_the_profile_and_refuses_a_misspelt_field(page: Page) -> None:
    opened = page.walk("launchpad", "assets/sft_checkpoint", picture="5-launchpad")
    assert "steps: 60" in opened["opens"]
    assert "learning_rate: 0.0005" in opened["opens"]
    assert "profile:" not in opened["opens"]
    wrong = "ops:\n  sft_checkpoint:\n    config:\n      sft:\n        stepz: 3\n"
    refused = page.walk("launchpad", "assets/sft_checkpoint", wrong, picture="6-misspelt")
    assert refused["refused"]
    assert 'unexpected config entry "stepz"' in refused["dialog"]


def test_a_setting_given_in_the_launchpad_makes_only_what_depends_on_it_anew(page: Page) -> None:
    """It holds for that run and is recorded; the profile's own builds stay, and the page says which are not these."""
    assert page.stale() == set()
    own = {stage: page.stated(stage) for stage in TRAINED}
    given = "ops:\n  grpo_checkpoint:\n    config:\n      grpo:\n        steps: 3\n"
    assert not page.walk("launchpad", downstream("sft_dataset"), given, picture="7-a-setting")["refused"]
    run = page.newest_run()
    assert (run["status"], {a["path"][0] for a in run["assetSelection"]}) == ("SUCCESS", {*TRAINED, "grpo_rollouts"})
    changed = {stage for stage in TRAINED if page.stated(stage).fingerprint != own[stage].fingerprint}
    assert changed == {"grpo_checkpoint", "benchmark_results", "champion_model"}
    # Measured and judged is what that run made; it alone is not what the profile says.
    assert page.stale() == {"grpo_checkpoint", "grpo_rollouts"}
    lineage = json.loads((page.stated("grpo_checkpoint").build_folder(page.home) / "lineage.json").read_text())
    assert lineage["given"] == {"grpo.steps": 3}
    page.walk("look", downstream("sft_dataset"), picture="8-unsynced")
    # Asked for as the profile says: found, and not made again.
    weights = next(own["grpo_checkpoint"].folder(page.home).glob("*.safetensors"))
    made = weights.stat().st_mtime_ns
    page.walk("launchpad", downstream("sft_dataset"), "{}", picture="9-as-the-profile-says")
    assert page.newest_run()["status"] == "SUCCESS"
    assert page.stale() == set()
    assert page.stated("grpo_checkpoint").fingerprint == own["grpo_checkpoint"].fingerprint
    assert weights.stat().st_mtime_ns == made


def test_a_failed_check_blocks_what_is_made_of_it_and_is_still_failed_in_the_cli(page: Page) -> None:
    before = page.stated("sft_checkpoint"), page.stated("grpo_checkpoint")
    given = "ops:\n  sft_checkpoint:\n    config:\n      sft:\n        steps: 1\n"
    page.walk("launchpad", downstream("sft_checkpoint"), given, picture="10-one-step")
    run = page.newest_run()
    assert run["status"] == "FAILURE"
    seen = page.walk("look", f"runs/{run['runId']}", picture="11-a-failed-check")["text"]
    assert "sft_lowered_the_loss" in seen
    # Built, not in force, and nothing was made of it.
    assert (page.stated("sft_checkpoint"), page.stated("grpo_checkpoint")) == before
    told = page.visor("run", "--select", "grpo_checkpoint", *SETTINGS, "--set", "sft.steps=1")
    assert told.returncode == 2, told.stderr
    assert "sft_lowered_the_loss" in told.stdout + told.stderr
    assert (page.stated("sft_checkpoint"), page.stated("grpo_checkpoint")) == before
    # The page shows what was materialized last: by the profile that is what is in force.
    page.walk("launchpad", downstream("sft_checkpoint"), "{}", picture="11-back-again")
    assert page.newest_run()["status"] == "SUCCESS"
    assert (page.stated("sft_checkpoint"), page.stated("grpo_checkpoint")) == before


def test_a_run_is_stopped_from_its_own_page(page: Page) -> None:
    """Canceled for Dagster, killed for MLflow, and its trainer is gone."""
    given = "ops:\n  base_model:\n    config:\n      nano:\n        vision_steps: 20000\n"
    page.walk("launchpad", "assets/base_model", given, picture="12-a-long-run")
    page.await_that(lambda: bool(page.under_way("base_model")), 300)
    (build,) = page.under_way("base_model")
    assert "worker" in processes_of(page.home.root).values()
    page.walk("stop", page.ask(RUNS)[0]["runId"], picture="13-stopped")
    assert page.newest_run()["status"] == "CANCELED"
    assert ended(page.home.root, (build / RUN_FILE).read_text(encoding="utf-8").strip()) == ["KILLED", "KILLED"]
    page.await_that(lambda: not {"worker", "run"} & set(processes_of(page.home.root).values()), 60)


def test_checks_are_executed_from_the_page(page: Page) -> None:
    """Those of an asset without partitions by their button, those of a corpus by the job that has a field for it."""
    page.walk("checks", "nano_corpus", picture="14-checks")
    run = page.newest_run()
    assert run["status"] == "SUCCESS"
    assert [check["name"] for check in run["assetCheckSelection"]] == ["splits_share_no_document"]
    page.walk("check_corpus", "nano-train", picture="15-check-corpus")
    run = page.newest_run()
    assert (run["status"], run["assetCheckSelection"]) == ("SUCCESS", [])
    assert {"key": "dagster/partition", "value": "nano-train"} in run["tags"]
    seen = page.walk("look", "assets/pages?view=checks", picture="16-checked")["text"]
    assert "nano-train" in seen


def test_mlflow_shows_the_run_of_an_asset_two_runs_beside_each_other_and_the_champion_with_its_answers(
    page: Page,
) -> None:
    followed = page.walk("follow", "assets/sft_checkpoint", picture="17-mlflow-run")
    assert page.mlflow_run("sft_checkpoint") in followed["address"]
    assert "sft.steps" in followed["text"]
    runs = json.dumps([page.mlflow_run("sft_checkpoint"), page.mlflow_run("grpo_checkpoint")])
    compared = f'#/compare-runs?runs={runs}&experiments=["1"]'
    seen = page.walk("look", compared, picture="18-two-runs", mlflow=True)["text"]
    assert "Comparing 2 Runs" in seen
    champion = page.walk("registered", "visor-nano", picture="19-champion", mlflow=True)["text"]
    assert "champion" in champion
    table = f"#/experiments/1/runs/{page.mlflow_run('benchmark_results')}/artifacts/questions/grpo.json"
    seen = page.walk("look", table, picture="20-its-answers", mlflow=True)["text"]
    assert all(column in seen for column in ("question", "answer", "expected", "supported"))


def test_the_schedule_is_off_until_it_is_switched_on_and_says_on_the_champion_why_it_does_nothing(page: Page) -> None:
    seen = page.walk("look", "automation", picture="21-automation")["text"]
    assert all(name in seen for name in ("inbox", "regression", "retrain_when_changed", "weekly_retraining"))
    made = len(page.ask(RUNS))
    switched = page.walk("switch_on", "locations/visor/schedules/weekly_retraining", picture="22-switched-on")
    assert (switched["before"], switched["after"]) == (False, True)
    page.walk("look", CHAMPION, "nothing was run", picture="23-why-nothing")
    assert len(page.ask(RUNS)) == made
    verdicts = {a["assetKey"]["path"][0]: a["freshnessStatusInfo"] for a in page.ask(STALE) if a["freshnessStatusInfo"]}
    assert verdicts == {name: {"freshnessStatus": "HEALTHY"} for name in ("benchmark_results", "champion_model")}
