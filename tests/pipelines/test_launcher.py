"""Runs that were killed: noticed by their process, and given up so that they hold nothing up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from assets_defs.machinery.run_config import GIVEN_TAG
from pipelines import launcher
from pipelines.choice import SESSION_TAG, Choice
from pipelines.definitions import definitions
from pipelines.instance import open_instance
from pipelines.sessions import new_session, session_lives
from tests.pipelines.waiting_run import waiting
from visor_core.config import Home
from visor_core.processes import is_process, process_mark
from visor_core.tracking.runs import _is_gone, _this_process

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Dagster's SQLite storage


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[dg.DagsterInstance, subprocess.Popen[str], str]]:
    """An instance, a process in the middle of a run of it, and the run's id."""
    home = Home(tmp_path / "home")
    with open_instance(home) as instance:
        command = [sys.executable, "-m", "tests.pipelines.waiting_run", str(home.root)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root
        ) as process:
            assert process.stdout is not None
            yield instance, process, process.stdout.readline().strip()
            process.kill()


def test_a_killed_run_is_given_up_and_a_living_one_is_not(
    running: tuple[dg.DagsterInstance, subprocess.Popen[str], str],
) -> None:
    instance, process, run_id = running

    def state() -> tuple[WorkerStatus, dg.DagsterRunStatus]:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert isinstance(instance.run_launcher, launcher.LocalRunLauncher)
        return instance.run_launcher.check_run_worker_health(run).status, run.status

    assert launcher.reconcile(instance) == []
    assert state() == (WorkerStatus.RUNNING, dg.DagsterRunStatus.STARTED)
    process.kill()  # not yet collected by its parent: a zombie is no living run
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state() == (WorkerStatus.NOT_FOUND, dg.DagsterRunStatus.STARTED)
    process.wait()
    assert launcher.reconcile(instance) == [run_id]
    assert state()[1] == dg.DagsterRunStatus.FAILURE
    assert launcher.reconcile(instance) == []


def test_a_pid_that_was_given_out_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = process_mark(os.getpid())
    assert is_process(os.getpid(), mark)
    assert launcher._living(os.getpid(), mark) is not None
    assert mark not in (process_mark(os.getppid()), process_mark(1))
    boot, _, started = mark.rpartition(".")
    for other in (f"{boot}.{int(started) - 1}", f"{'0' * len(boot)}.{started}", "", mark[:-1]):
        assert launcher._living(os.getpid(), other) is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    of_it = process_mark(ended.pid)
    ended.wait()
    assert launcher._living(ended.pid, of_it) is None


def test_a_clock_that_is_set_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a machine has slept: the wall clock jumps, and with it the time of the boot and of every start."""
    mark, session, process = process_mark(os.getpid()), new_session(), _this_process()
    boot, began = psutil.boot_time(), psutil.Process().create_time()
    for step in (-3600, 3600):
        monkeypatch.setattr(psutil, "boot_time", lambda step=step: boot + step)
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda step=step: boot + step)
        assert psutil.Process().create_time() == pytest.approx(began + step, abs=1)
        assert launcher._living(os.getpid(), mark) is not None
        assert session_lives(session)
        assert not _is_gone(process)


def test_what_a_visor_run_that_is_gone_has_queued_does_not_start(tmp_path: Path) -> None:
    """The next `visor run` or `visor ui` takes it away; what another one that lives has queued stays."""
    gone = subprocess.run(
        [sys.executable, "-c", "from pipelines.sessions import new_session; print(new_session())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.strip()
    sessions = {"gone": gone, "another": new_session().replace(f"{os.getpid()}-", "1-"), "lives": new_session()}
    with open_instance(Home(tmp_path)) as instance:
        waits = {
            name: instance.create_run_for_job(waiting, tags={SESSION_TAG: session}).run_id
            for name, session in sessions.items()
        }
        assert set(launcher.reconcile(instance)) == {waits["gone"], waits["another"]}
        statuses = {name: instance.get_run_by_id(run_id).status.value for name, run_id in waits.items()}  # type: ignore[union-attr]
        assert statuses == {"gone": "CANCELED", "another": "CANCELED", "lives": "NOT_STARTED"}
        # A `visor run` that ends takes away its own.
        launcher.stop_runs(instance, session=sessions["lives"])
        assert instance.get_run_by_id(waits["lives"]).status == dg.DagsterRunStatus.CANCELED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nano": {"companies": -1}}, "launchpad: nano.companies: "),
        ({"nano": {"companies": 5}, "seed": 3}, ""),
        ({}, ""),
    ],
)
def test_a_launchpad_value_out_of_range_fails_its_run_with_the_reason(
    tmp_path: Path, given: dict[str, object], words: str
) -> None:
    """Dagster's configuration types let it pass; nothing is started for it."""
    home = Home(tmp_path / "home")
    job = definitions(home, Choice().resolve()).resolve_implicit_global_asset_job_def()
    config = {"ops": {"nano_corpus": {"config": given}}}
    with open_instance(home) as instance:
        run = instance.create_run_for_job(
            job.get_subset(asset_selection={dg.AssetKey("nano_corpus")}),
            run_config=config,
            tags={GIVEN_TAG: '{"seed": 1}'} if "seed" in given else {},
        )
        if words:
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
            (entry,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
            assert entry.dagster_event is not None
            assert str(entry.dagster_event.message).startswith(words)
            assert "\n" not in str(entry.dagster_event.message)
            assert not launcher.run_log(home, run.run_id).exists()
            return
    choice, tags = launcher.settled(run)
    assert choice.settings == ({"nano.companies": 5, "seed": 3} if given else {})
    assert tags == {"visor/profile": "nano"} | ({GIVEN_TAG: '{"nano.companies": 5, "seed": 3}'} if given else {}), (
        "what is empty has no tag"
    )
