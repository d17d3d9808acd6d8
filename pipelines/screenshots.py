"""Screenshots for the README: the pages of a home, opened by `visor ui` and taken by a headless Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.services import ADDRESS, ROOT, answers, free_port
from visor_core.config import Home

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1400, 860
DRAWING_MS = 20_000
"""How long a page may fetch and draw before its picture is taken, milliseconds of the browser's own clock."""
START_SECONDS = 180.0


def browser() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def take(address: str, picture: Path, chromium: str, *, height: int = HEIGHT) -> None:
    """Open an address and keep what it shows as a PNG.

    Raises:
        subprocess.CalledProcessError: if the browser fails.
    """
    with tempfile.TemporaryDirectory() as profile:
        unprivileged = [] if os.geteuid() else ["--no-sandbox"]
        subprocess.run(
            [
                *(chromium, "--headless", *unprivileged, "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{height}",
                f"--virtual-time-budget={DRAWING_MS}",
                f"--screenshot={picture}",
                address,
            ],
            check=True,
            capture_output=True,
            timeout=180,
        )


@contextmanager
def pages(home: Home) -> Iterator[tuple[str, str]]:
    """The addresses of Dagster's and MLflow's pages over a home, for as long as the block lasts.

    Raises:
        RuntimeError: if they do not answer.
    """
    ports = free_port(), free_port()
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home.root), "ui"]
    command += ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            began = time.monotonic()
            while not all(map(answers, ports)):
                if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                    raise RuntimeError(f"the pages do not answer: see {home.root / 'logs'}")
                time.sleep(1.0)
            yield f"http://{ADDRESS}:{ports[0]}", f"http://{ADDRESS}:{ports[1]}"
        finally:
            process.send_signal(signal.SIGTERM)
