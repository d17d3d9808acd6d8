"""What a team's tracking stands on, for real and on this machine: Postgres, an S3-compatible store, MLflow's server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.services import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test", "AWS_DEFAULT_REGION": "us-east-1"}
PASSWORD = "a-password-of-the-test"


@contextmanager
def running(
    command: list[str], port: int, log: Path, environment: dict[str, str] | None = None, user: str = ""
) -> Iterator[None]:
    """A server for as long as the block lasts, once it answers on its port.

    Raises:
        AssertionError: with its log, if it ends or does not answer within four minutes.
    """
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=written, stderr=written, user=user or None
        )
    try:
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a database of its own. Skips where Postgres is not installed, or only root could run it."""
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("Postgres is not installed")
    user = "" if os.getuid() else next((u.pw_name for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody")), "")
    if not os.getuid() and not user:
        pytest.skip("Postgres does not run as root, and there is no other user")
    data, secret = folder / "data", folder / "secret"
    folder.mkdir(parents=True)
    secret.write_text(PASSWORD, encoding="utf-8")
    if user:
        shutil.chown(folder, user)
        shutil.chown(secret, user)
        for parent in folder.parents:
            if parent.owner() == pwd.getpwuid(os.getuid()).pw_name and parent.is_relative_to("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
    made = subprocess.run(
        ["initdb", "-D", str(data), "-U", "visor", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"],
        user=user or None, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    port = free_port()
    command = ["postgres", "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    with running(command, port, folder.parent / "postgres.log", user=user):
        yield f"postgresql+psycopg2://visor:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """The address of an S3-compatible store with the bucket `runs`."""
    import boto3

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, folder / "objects.log"):
        named = {name.lower(): value for name, value in KEYS.items() if name != "AWS_DEFAULT_REGION"}
        client = boto3.client("s3", endpoint_url=address, region_name=KEYS["AWS_DEFAULT_REGION"], **named)
        client.create_bucket(Bucket="runs")
        client.close()
        yield address


@contextmanager
def mlflow_server(folder: Path, database: str, objects: str) -> Iterator[str]:
    """The address of MLflow's server on a database and an object store."""
    port = free_port()
    command = [
        *(sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--backend-store-uri", database),
        *("--artifacts-destination", "s3://runs/files", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    environment = {
        **KEYS,
        "MLFLOW_S3_ENDPOINT_URL": objects,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with running(command, port, folder / "mlflow.log", environment):
        yield f"http://127.0.0.1:{port}"
