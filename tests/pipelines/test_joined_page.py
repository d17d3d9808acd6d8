"""`visor run` beside an open `visor ui`: it joins its Dagster, and what is killed there loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from assets_defs.machinery.builds import Builds
from assets_defs.machinery.stage import Node
from pipelines.choice import SESSION_TAG, Choice
from pipelines.engine import open_page
from pipelines.gateway import Gateway
from pipelines.instance import open_instance
from pipelines.services import free_port
from tests.pipelines.test_kills import ROOT, TINY, processes_of, said, start, unfinished, wait_until_alone
from visor_core.config import Home

pytestmark = [pytest.mark.slow_walk, pytest.mark.filterwarnings("ignore::ResourceWarning")]
LONG = {"nano.vision_steps": 400}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A home, and the `visor ui` that is open in it."""
    home = tmp_path / "home"
    settings = [part for key, value in {**TINY, **LONG}.items() for part in ("--set", f"{key}={value}")]
    ports = ["--dagster-port", str(free_port()), "--mlflow-port", str(free_port())]
    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", "from pipelines.cli import main; main()", "ui", *ports, *settings],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "VISOR_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    deadline = time.monotonic() + 240
    while open_page(Home(home)) is None:
        assert process.poll() is None, (tmp_path / "ui.log").read_text(encoding="utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.3)
    yield home, process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)


def _runs(home: Path) -> list[dg.DagsterRun]:
    with open_instance(Home(home)) as instance:
        return list(instance.get_runs())


def _until(home: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 400
    while not list(home.glob(pattern)):
        assert process.poll() is None, said(home)
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_is_killed_under_a_page_loses_nothing_and_makes_nothing_twice(
    page: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    home, ui = page
    run = start(home, ("base_model",), **LONG)
    _until(home, "assets/base_model/*/metrics.jsonl", run)
    of_the_run = set(psutil.Process(run.pid).children(recursive=True))
    for process, kind in processes_of(home).items():
        if kind in ("daemon", "webserver", "code server"):
            assert process not in of_the_run, "the run has joined the page, and has none of its own"
            process.kill()
    assert run.wait(timeout=600) == 0, said(home)
    (only,) = _runs(home)
    assert only.status == dg.DagsterRunStatus.SUCCESS
    assert {"visor/profile", "visor/set", SESSION_TAG} <= only.tags.keys()
    # Another choice is made by the page's daemon, and not taken for the page's own.
    other = start(home, ("nano_corpus",), seed=3)
    assert other.wait(timeout=300) == 0, said(home)
    assert Builds(Home(home), Choice("nano", {**TINY, "seed": 3}).resolve()).find(Node("nano_corpus")) is not None
    assert len(_runs(home)) == 2
    # The page's end is that of its runs, also of those that were submitted by a `visor run`: here by a closed terminal.
    last = start(home, ("base_model",), **LONG, seed=4)
    _until(home, "assets/base_model/*/progress.json", last)
    assert ui.stdout is not None
    ui.stdout.close()
    ui.send_signal(signal.SIGHUP)
    assert ui.wait(timeout=120) == 0
    assert last.wait(timeout=120) in (0, 130), said(home)
    assert unfinished(home) == []
    assert wait_until_alone(home) == {}


def test_a_value_given_in_the_launchpad_holds_for_its_run(page: tuple[Path, subprocess.Popen[bytes]]) -> None:
    home, _ = page
    found = open_page(Home(home))
    assert found is not None
    gateway = Gateway(found.address)
    told = gateway.ask(
        """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
          ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        params={
            "selector": {
                **gateway.repository(),
                "jobName": "__ASSET_JOB",
                "assetSelection": [{"path": ["nano_corpus"]}],
            },
            "runConfigData": {"ops": {"nano_corpus": {"config": {"seed": 11}}}},
            "executionMetadata": {"tags": []},
        },
    )["launchRun"]
    assert told["__typename"] == "LaunchRunSuccess", told
    cursor, ended, deadline = None, "", time.monotonic() + 240
    while not ended and time.monotonic() < deadline:
        news = gateway.news(told["run"]["runId"], cursor)
        cursor, ended = news.cursor, news.ended
        time.sleep(0.3)
    gateway.close()
    assert ended == "SUCCESS"
    settings = {**TINY, **LONG}
    assert Builds(Home(home), Choice("nano", {**settings, "seed": 11}).resolve()).find(Node("nano_corpus")) is not None
    assert Builds(Home(home), Choice("nano", settings).resolve()).find(Node("nano_corpus")) is None
    (run,) = _runs(home)
    assert run.tags["visor/given"] == '{"seed": 11}'
