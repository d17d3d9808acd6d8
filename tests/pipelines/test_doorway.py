"""Links of a home lead to its pages of now and to its reports, and to nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from assets_defs.machinery.links import (
    begin_links,
    file_link,
    keep_links_port,
    links_address,
    links_file,
    links_of,
    links_port,
)
from pipelines.doorway import Doorway
from pipelines.services import free_port
from tests.pipelines.conftest import Visor
from visor_core.config import Home
from visor_core.tracking import RUN_FILE


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a report, a build with a log, and what is nobody's business."""
    home = Home(tmp_path / "home")
    build = home.asset("sft_checkpoint", "0" * 16)
    for path, text in {
        home.reports / "report.html": "<p>all of it</p>",
        build / "worker.log": "step 1",
        build / RUN_FILE: "7" * 32,
        build / "model.safetensors": "weights",
        home.root / "dagster" / "dagster.yaml": "storage:",
        tmp_path / "outside.html": "elsewhere",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (home.reports / "away.html").symlink_to(tmp_path / "outside.html")
    keep_links_port(home, free_port())
    return home


@pytest.fixture
def open_door(home: Home) -> Iterator[None]:
    pages = {"mlflow": "http://127.0.0.1:5123", "dagster": "http://127.0.0.1:3123"}
    doorway = Doorway(home, links_port(home), pages)
    yield
    doorway.close()


def test_what_metadata_links_to_is_found_wherever_the_pages_are(home: Home, open_door: None) -> None:
    address = links_address(home)
    shown = {name: str(link.value) for name, link in links_of(
        home.asset("sft_checkpoint", "0" * 16), home, f"{address}/mlflow"
    ).items()}  # fmt: skip
    assert shown["mlflow_run"] == f"{address}/mlflow/#/runs/{'7' * 32}"
    with httpx.Client(trust_env=False) as client:
        page, _, run = shown["mlflow_run"].partition("#")
        sent = client.get(page)
        assert (sent.status_code, sent.headers["location"], run) == (302, "http://127.0.0.1:5123/", f"/runs/{'7' * 32}")
        assert client.get(f"{address}/dagster/runs/1?a=b").headers["location"] == "http://127.0.0.1:3123/runs/1?a=b"
        assert client.get(shown["report"]).text == "<p>all of it</p>"
        log = client.get(shown["log"])
        assert (log.text, log.headers["content-type"]) == ("step 1", "text/plain; charset=utf-8")


def test_nothing_else_is_handed_out(home: Home, open_door: None) -> None:
    address = links_address(home)
    names = (
        "dagster/dagster.yaml", "reports/away.html", "../outside.html", "%2e%2e/outside.html", "reports", "", "a%00b",
        f"assets/sft_checkpoint/{'0' * 16}/model.safetensors",
    )  # fmt: skip
    with httpx.Client(trust_env=False) as client:
        assert {client.get(f"{address}/files/{name}").status_code for name in names} == {404}
        assert client.get(f"{address}/else").status_code == 404
        report = file_link(home, home.reports / "report.html")
        assert client.get(report, headers={"Host": f"attacker.example:{links_port(home)}"}).status_code == 403


def test_a_home_keeps_the_port_of_its_links(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    links_address(home)
    assert not links_file(home).exists(), "asking writes nothing"
    begin_links(home)
    kept = links_port(home)
    begin_links(home)
    assert links_port(home) == kept
    links_file(home).write_text("{", encoding="utf-8")
    assert links_address(home) == "http://127.0.0.1:3001"


def test_two_pages_on_one_port_are_refused(visor: Visor, home: Home) -> None:
    port = str(free_port())
    refused = visor("ui", "--links-port", port, "--dagster-port", port, home=home.root)
    assert refused.code == 2
    assert "give each its own port" in refused.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = str(taken.getsockname()[1])
        assert f"--links-port {busy} is taken" in visor("ui", "--links-port", busy, home=home.root).err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_pages_are_not_opened_to_other_machines(visor: Visor, home: Home, host: str) -> None:
    refused = visor("ui", "--host", host, "--dagster-port", "3123", "--mlflow-port", "5123", home=home.root)
    assert refused.code == 2
    assert "the pages know no login" in refused.err
    forwarded = f"-L 3123:127.0.0.1:3123 -L 5123:127.0.0.1:5123 -L {links_port(home)}:127.0.0.1:{links_port(home)}"
    assert f"`ssh {forwarded} USER@THIS-MACHINE`" in refused.err
