"""A launchpad value that Dagster's types let pass and its section does not: the run says why, and nothing starts."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from assets_defs.machinery.links import links_address
from assets_defs.machinery.stage import Node
from pipelines.engine import open_page
from pipelines.following import failure
from pipelines.gateway import Event, Gateway
from tests.pipelines.test_joined_page import page  # noqa: F401 (a fixture)
from visor_core.config import Home

pytestmark = [pytest.mark.slow_walk, pytest.mark.filterwarnings("ignore::ResourceWarning")]
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""


def test_a_run_out_of_range_says_so_and_links_lead_to_the_pages(
    page: tuple[Path, subprocess.Popen[bytes]],  # noqa: F811
) -> None:
    home, _ = page
    found = open_page(Home(home))
    assert found is not None
    gateway = Gateway(found.address)
    told = gateway.ask(
        LAUNCH,
        params={
            "selector": {
                **gateway.repository(),
                "jobName": "__ASSET_JOB",
                "assetSelection": [{"path": ["nano_corpus"]}],
            },
            "runConfigData": {"ops": {"nano_corpus": {"config": {"nano": {"companies": -1}}}}},
            "executionMetadata": {"tags": []},
        },
    )["launchRun"]
    assert told["__typename"] == "LaunchRunSuccess", told
    events, cursor, ended, deadline = list[Event](), None, "", time.monotonic() + 240
    while not ended and time.monotonic() < deadline:
        news = gateway.news(told["run"]["runId"], cursor)
        events += news.events
        cursor, ended = news.cursor, news.ended
        time.sleep(0.3)
    gateway.close()
    assert ended == "FAILURE"
    (failed,) = [event for event in events if event.kind == "RunFailureEvent"]
    assert failed.text.startswith("launchpad: nano.companies: ")
    assert "launchpad: nano.companies: " in str(failure([failed], Node("nano_corpus")))
    assert not any(event.errors for event in events), "no traceback of the queue's"
    assert not list((home / "logs").glob("runs/*.log"))
    # What is recorded leads to the page of now.
    with httpx.Client(trust_env=False) as client:
        sent = client.get(f"{links_address(Home(home))}/dagster/runs/{told['run']['runId']}")
        assert sent.headers["location"] == f"{found.address}/runs/{told['run']['runId']}"
        assert client.get(sent.headers["location"]).status_code == 200
        mlflow = client.get(f"{links_address(Home(home))}/mlflow/").headers["location"]
        assert "mlflow" in client.get(mlflow).text.lower()
