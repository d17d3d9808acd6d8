"""Only faults that pass by themselves are tried again."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator

import dagster as dg
import httpx
import pytest

from assets_defs.machinery import faults
from assets_defs.machinery.faults import is_transient, transient_faults_are_retried
from visor_core.errors import ConfigError, PolicyError, UnreachableError

REQUEST = httpx.Request("GET", "http://127.0.0.1/v1")


def _from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def _answered(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(status))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        queue.Full(),
        httpx.ConnectError("down", request=REQUEST),
        httpx.ReadTimeout("slow", request=REQUEST),
        _answered(503),
        _answered(429),
        sqlite3.OperationalError("database is locked"),
        UnreachableError("http://127.0.0.1/v1 does not answer after 3 tries"),
        _from(RuntimeError("no run"), _from(OSError("no"), ConnectionRefusedError())),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_what_passes_by_itself(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("seed: unknown key"),
        PolicyError("no checkpoint"),
        _from(PolicyError("no checkpoint at x, and no download of that name"), ConnectionError()),
        ValueError(),
        FileNotFoundError(),
        _answered(404),
        sqlite3.OperationalError("no such table: runs"),
        KeyError("x"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_what_does_not(error: Exception) -> None:
    assert not is_transient(error)


def test_dagster_tries_again_what_passes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "WAIT_SECONDS", 0)
    tries: dict[str, int] = {}

    def made(name: str, error: Exception, times: int) -> dg.AssetsDefinition:
        @dg.asset(name=name)
        def asset() -> Iterator[dg.MaterializeResult[None]]:
            with transient_faults_are_retried():
                tries[name] = tries.get(name, 0) + 1
                if tries[name] <= times:
                    raise error
                yield dg.MaterializeResult()

        return asset

    assets = [
        made("busy", ConnectionResetError(), 2),
        made("down", UnreachableError("nobody answers"), 99),
        made("wrong", ConfigError("seed: unknown key"), 99),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(assets, instance=instance, raise_on_error=False)
    assert tries == {"busy": 3, "down": 1 + faults.RETRIES, "wrong": 1}
    failed = {event.step_key: event.step_failure_data.error for event in result.get_step_failure_events()}
    assert set(failed) == {"down", "wrong"}
    assert failed["down"] is not None
    # What is told at the end is why it was tried again.
    assert failed["down"].cause is not None
    assert failed["down"].cause.cls_name == "UnreachableError"
