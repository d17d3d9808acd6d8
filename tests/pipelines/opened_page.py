"""`visor ui` on a home, and Dagster's page by the requests that it makes itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.services import free_port
from visor_core.config import Home

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0


class Page:
    """Dagster's page, by the requests that it makes itself."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The answer to a GraphQL request."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        assert "errors" not in found, found
        return dict(found["data"])

    def switch_on(self, sensor: str) -> None:
        """Start a sensor."""
        nodes = self.ask("{repositoriesOrError{... on RepositoryConnection{nodes{name location{name}}}}}")
        (node,) = nodes["repositoriesOrError"]["nodes"]
        selector = {
            "repositoryName": node["name"],
            "repositoryLocationName": node["location"]["name"],
            "sensorName": sensor,
        }
        query = "mutation($s: SensorSelector!){startSensor(sensorSelector:$s){__typename}}"
        assert self.ask(query, s=selector)["startSensor"]["__typename"] == "Sensor"

    def runs(self) -> list[str]:
        """Job, partition, assets and state of every run, for a message."""
        query = "{runsOrError{... on Runs{results{jobName status assetSelection{path} tags{key value}}}}}"
        return [json.dumps(run)[:400] for run in self.ask(query)["runsOrError"]["results"]]


@contextmanager
def opened(home: Home, *options: str) -> Iterator[Page]:
    """`visor ui` with these options, until the end of the block."""
    port = free_port()
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home.root)]
    command += ["ui", "--dagster-port", str(port), "--mlflow-port", str(free_port()), *options]
    log = home.root / "ui.log"
    home.root.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        running = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=dict(os.environ))
    page = Page(port)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(page, running, log):
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(1)
        yield page
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)


def _answers(page: Page, running: subprocess.Popen[bytes], log: Path) -> bool:
    assert running.poll() is None, log.read_text(encoding="utf-8")
    try:
        return bool(page.ask("{version}"))
    except OSError:
        return False
