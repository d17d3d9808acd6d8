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
from visor_core.tracking import RUN_FILE, Tracker

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector; inside MLflow 3.17.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
SHORT, WHOLE = ("base_model",), ("base_model", "questions")
"""The small chains: one run, and one with two more for the corpora."""
TINY = {
    "threads": 1,
    "accelerate": "cpu.yaml",
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


def start(home: Path, select: tuple[str, ...] = SHORT, **more: object) -> subprocess.Popen[bytes]:
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


def versions(home: Path, select: tuple[str, ...]) -> dict[str, str]:
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


def disturb(
    home: Path, select: tuple[str, ...], kills: int, chance: random.Random, kinds: tuple[str, ...]
) -> list[str]:
    """Run a chain until it has succeeded, and kill something every few seconds meanwhile; what was killed."""
    killed: list[str] = []
    for _ in range(kills + 2):  # a kill of the run or of its worker ends that run, all others do not
        process = start(home, select)
        while process.poll() is None:
            time.sleep(chance.uniform(0.5, 5.0))
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


def until_it_trains(home: Path, process: subprocess.Popen[bytes]) -> Path:
    """Wait for the first step of the base model's training; the folder of its build."""
    deadline = time.monotonic() + 400
    while not (begun := list(Home(home).asset("base_model").glob("*/metrics.jsonl"))):
        assert process.poll() is None, said(home)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return begun[0].parent


def require_nothing_left(home: Path) -> None:
    """Neither a process nor a run that is under way."""
    assert wait_until_alone(home) == {}
    assert unfinished(home) == []


def ended(home: Path, run_id: str) -> list[str]:
    """How the MLflow run of a stage and that of the Dagster run above it ended."""
    client = Tracker(Home(home), "visor-nano").client
    run = client.get_run(run_id)
    return [run.info.status, client.get_run(run.data.tags["mlflow.parentRunId"]).info.status]


def undisturbed(home: Path, select: tuple[str, ...]) -> dict[str, str]:
    """Versions of a chain where nothing was killed."""
    materialize(Choice("nano", TINY), Home(home), select)
    return versions(home, select)


@pytest.mark.slow
def test_three_kills_change_nothing(tmp_path: Path) -> None:
    """The first is that of `visor run`: it leaves neither server nor trainer, and the next one goes on."""
    home = tmp_path / "home"
    process = start(home)
    build = until_it_trains(home, process)
    process.kill()
    process.wait()
    require_nothing_left(home)
    mlflow_run = (build / RUN_FILE).read_text(encoding="utf-8")
    assert ended(home, mlflow_run) == ["KILLED", "KILLED"]
    disturb(home, SHORT, 2, random.Random(5), ("daemon", "webserver", "code server", "worker"))
    require_nothing_left(home)
    assert [path for path in build.parent.iterdir() if path.is_dir()] == [build]
    assert (build / RUN_FILE).read_text(encoding="utf-8") == mlflow_run
    assert versions(home, SHORT) == undisturbed(tmp_path / "undisturbed", SHORT)


@pytest.mark.slow_walk
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "undisturbed", WHOLE)
    chance, killed, rounds = random.Random(18), [], 0
    while len(killed) < 20:
        home = tmp_path / str(rounds) / "home"
        home.parent.mkdir()
        rounds += 1
        killed += disturb(home, WHOLE, 20 - len(killed), chance, tuple(KINDS.values()))
        require_nothing_left(home)
        assert versions(home, WHOLE) == expected
        # Each build was made once, however often it was begun.
        assert {len(list(folder.glob("*/lineage.json"))) for folder in _stage_folders(home)} == {1}
        print(f"round {rounds}, killed so far: {sorted(killed)}", flush=True)


@pytest.mark.slow_walk
def test_an_interrupted_run_ends_its_trainer_and_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start(home)
    build = until_it_trains(home, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, said(home)
    assert "base_model was interrupted; the next run goes on from there" in said(home)
    require_nothing_left(home)
    with open_instance(Home(home)) as instance:
        (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert ended(home, (build / RUN_FILE).read_text(encoding="utf-8")) == ["KILLED", "KILLED"]
    assert start(home).wait(timeout=600) == 0, said(home)
    assert (build / "lineage.json").is_file()


def _stage_folders(home: Path) -> list[Path]:
    profile = Choice("nano", TINY).resolve()
    return [Home(home).asset(*filter(None, (node.stage, node.partition))) for node in plan(profile, WHOLE)]
