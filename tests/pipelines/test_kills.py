"""Random kills of a `visor run` and of what it has started: the builds are those of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from assets_defs.machinery.builds import Builds
from assets_defs.machinery.graph import plan
from pipelines.choice import Choice
from pipelines.instance import open_instance
from pipelines.launcher import UNFINISHED, WAITING
from tests.pipelines.materializing import materialize
from visor_core.config import Home

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector; inside MLflow 3.17.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
SELECT = ("base_model", "questions")
TINY = {
    "threads": 1,
    "nano.primer_corpora": 1,
    "nano.train_corpora": 1,
    "nano.development_corpora": 1,
    "nano.companies": 3,
    "nano.topics": 4,
    "nano.train_questions": 4,
    "nano.development_questions": 4,
    "nano.vision_steps": 30,
    "nano.alignment_steps": 30,
    "nano.batch_size": 8,
    "index.embedders": ["hash"],
}
KINDS = {
    "pipelines.host": "host",
    "dagster api grpc": "code server",
    "dagster_webserver": "webserver",
    "dagster._daemon": "daemon",
    "dagster api execute_run": "run",
    "pipelines.workers.": "worker",
}
"""What is killed, by a part of its command."""


def processes_of(home: Path) -> dict[psutil.Process, str]:
    """The living processes that serve a home, with their kind."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("VISOR_HOME") == str(home):
                command = " ".join(process.cmdline())
                found[process] = next((kind for part, kind in KINDS.items() if part in command), "other")
        except psutil.Error:
            continue  # it went meanwhile
    return found


def start(home: Path, select: tuple[str, ...] = SELECT, **more: object) -> subprocess.Popen[bytes]:
    """A `visor run` of the small chain, in a process of its own."""
    asked = [part for name in select for part in ("--select", name)]
    settings = [part for key, value in {**TINY, **more}.items() for part in ("--set", f"{key}={value}")]
    with (home.parent / "visor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", "from pipelines.cli import main; main()", "run", *asked, *settings],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "VISOR_HOME": str(home)},
            stdout=log,
            stderr=log,
        )


def said(home: Path) -> str:
    """What the runs have said so far."""
    return (home.parent / "visor.log").read_text(encoding="utf-8", errors="replace")


def versions(home: Path, select: tuple[str, ...] = SELECT) -> dict[str, str]:
    """Data versions of the builds that the small chain asks for."""
    profile = Choice("nano", TINY).resolve()
    builds = Builds(Home(home), profile)
    return {str(node): builds.read(node).data_version for node in plan(profile, select)}


def wait_until_alone(home: Path) -> dict[psutil.Process, str]:
    """What still runs for a home 40 seconds after nothing should: nothing."""
    deadline = time.monotonic() + 40
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def disturb(home: Path, kills: int, chance: random.Random, longest: float, kinds: tuple[str, ...]) -> list[str]:
    """Run the chain until it has succeeded, and kill something every few seconds meanwhile; what was killed."""
    killed: list[str] = []
    for _ in range(kills + 2):  # a kill of the run or of its worker ends that run, all others do not
        process = start(home)
        while process.poll() is None:
            time.sleep(chance.uniform(0.5, longest))
            there = sorted(
                ((kind, p.pid, p) for p, kind in processes_of(home).items() if kind in kinds), key=lambda t: t[:2]
            )
            if len(killed) < kills and there:
                kind, _, victim = chance.choice(there)
                victim.kill()
                killed.append(kind)
        if process.returncode == 0:
            return killed
        assert process.returncode in (1, 2), said(home)
    raise AssertionError(f"the chain did not get through, killed: {killed}\n{said(home)}")


def unfinished(home: Path) -> list[dg.DagsterRun]:
    """Runs that wait or are under way, as Dagster says."""
    with open_instance(Home(home)) as instance:
        return list(instance.get_runs(filters=dg.RunsFilter(statuses=[*UNFINISHED, *WAITING])))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Versions of the chain where nothing was killed."""
    home = tmp_path_factory.mktemp("undisturbed")
    materialize(Choice("nano", TINY), Home(home), SELECT)
    return versions(home)


@pytest.mark.slow
def test_three_kills_change_nothing(undisturbed: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    killed = disturb(home, 3, random.Random(5), 4.0, ("daemon", "webserver", "code server", "worker"))
    assert killed
    assert versions(home) == undisturbed
    assert unfinished(home) == []
    assert wait_until_alone(home) == {}


@pytest.mark.slow_walk
def test_twenty_kills_change_nothing(undisturbed: dict[str, str], tmp_path: Path) -> None:
    chance, killed, rounds = random.Random(18), [], 0
    while len(killed) < 20:
        home = tmp_path / str(rounds) / "home"
        home.parent.mkdir()
        rounds += 1
        killed += disturb(home, 20 - len(killed), chance, 6.0, tuple(KINDS.values()))
        assert versions(home) == undisturbed
        assert unfinished(home) == []
        assert wait_until_alone(home) == {}
        # Each build was made once, however often it was begun.
        assert {len(list(folder.glob("*/lineage.json"))) for folder in _stage_folders(home)} == {1}
    print(f"{rounds} rounds, killed: {sorted(killed)}")


def _stage_folders(home: Path) -> list[Path]:
    profile = Choice("nano", TINY).resolve()
    return [Home(home).asset(*filter(None, (node.stage, node.partition))) for node in plan(profile, SELECT)]


@pytest.mark.slow
def test_a_killed_run_leaves_neither_server_nor_trainer_and_is_gone_on_with(tmp_path: Path) -> None:
    """`kill -9` of `visor run` in the middle of training; the next one goes on in the same MLflow run and build."""
    home = tmp_path / "home"
    process = start(home, ("base_model",), **{"nano.vision_steps": 4000})
    stage = Home(home).asset("base_model")
    deadline = time.monotonic() + 400
    while not list(stage.glob("*/metrics.jsonl")):
        assert process.poll() is None, said(home)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.kill()
    process.wait()
    assert wait_until_alone(home) == {}
    assert unfinished(home) == []
    (build,) = [path for path in stage.iterdir() if path.is_dir()]
    mlflow_run = (build / "mlflow_run.txt").read_text(encoding="utf-8")
    size = (build / "metrics.jsonl").stat().st_size
    again = start(home, ("base_model",), **{"nano.vision_steps": 4000})
    while (build / "metrics.jsonl").stat().st_size == size:
        assert again.poll() is None, said(home)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # An interrupted one ends its run and says so.
    again.send_signal(signal.SIGINT)
    assert again.wait(timeout=120) == 130, said(home)
    assert wait_until_alone(home) == {}
    assert unfinished(home) == []
    assert (build / "mlflow_run.txt").read_text(encoding="utf-8") == mlflow_run
    assert [path for path in stage.iterdir() if path.is_dir()] == [build]
    with open_instance(Home(home)) as instance:
        first, last = instance.get_runs(limit=2)[::-1]
    assert (first.status, last.status) == (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELED)
