"""Who makes the runs of a `visor run`: the Dagster of an open `visor ui`, or one started for as long as it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.choice import GROUP_TAG, SESSION_TAG, Choice
from pipelines.gateway import Event, Gateway
from pipelines.instance import open_instance, place_partitions
from pipelines.launcher import reconcile
from pipelines.services import ROOT
from pipelines.sessions import new_session, session_lives
from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.files import write_json

MOST_HOSTS = 3
"""Hosts that a `visor run` starts at most, where they are killed."""
CLOSE_SECONDS = 15.0


class Engine(Protocol):
    """Makes runs, one after the other."""

    def submit(self, assets: Sequence[str], partition: str, choice: Choice, more: Mapping[str, str] = {}) -> None:
        """Queue one run, with `more` tags."""

    def news(self) -> tuple[tuple[Event, ...], str]:
        """What that run has said since the last call, and how it has ended: `SUCCESS`, `FAILURE`, `CANCELED` or ""."""

    def interrupt(self) -> None:
        """Ask that run to end."""

    def close(self, *, ended: bool) -> None:
        """Let go of what was started; unless all has `ended`, so do the runs."""


@dataclass(frozen=True)
class Page:
    """A `visor ui` that is open: where it answers, and the choice that its page materializes under."""

    address: str
    session: str
    choice: Choice


def page_file(home: Home) -> Path:
    """Where a `visor ui` says that it is open."""
    return home.root / "ui.json"


def write_page(home: Home, page: Page) -> None:
    """Say that a page is open."""
    told = {"profile": page.choice.profile, "settings": dict(page.choice.settings)}
    write_json(page_file(home), {"address": page.address, "session": page.session, **told})


def open_page(home: Home) -> Page | None:
    """The `visor ui` that is open in this home; None if there is none, whatever one that was killed has left."""
    try:
        told = json.loads(page_file(home).read_text(encoding="utf-8"))
        page = Page(told["address"], told["session"], Choice(told["profile"], told["settings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return page if session_lives(page.session) else None


class LocalEngine:
    """The Dagster of this machine, over GraphQL. It is ready when the first run is submitted."""

    def __init__(self, home: Home, choice: Choice) -> None:
        """Join a page of the same choice, or start what a run needs; this does not wait for it."""
        self.session = new_session()
        self._home, self._choice = home, choice
        self._cursor: str | None
        with open_instance(home) as instance:  # also so that no two services make its tables at once
            reconcile(instance)
            place_partitions(instance, home, choice.resolve())
        self._gateway: Gateway | None = None
        self._number, self._hosts = 0, 0
        self._run_id, self._cursor = "", None
        page = open_page(home)
        same = page is not None and (page.choice.tags() == Choice(choice.profile, choice.settings).tags())
        self._page = page if same else None
        self._host = self._start_host()

    def _start_host(self) -> subprocess.Popen[str]:
        self._hosts += 1
        if self._hosts > MOST_HOSTS:
            raise ConfigError(f"Dagster ends again and again: see the logs in {self._home.root / 'logs'}")
        serve = [] if self._page else ["--serve"]
        environment = {**os.environ, **self._choice.environment(), "VISOR_HOME": str(self._home.root)}
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.host", self.session, *serve],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which ends its runs first
        )

    def _ready(self) -> Gateway:
        """The gateway, once there is an address."""
        if self._gateway is None:
            address = self._page.address if self._page else self._said()
            self._gateway = Gateway(address, self._watch)
        return self._gateway

    def _said(self) -> str:
        """The address that the host says.

        Raises:
            ConfigError: the host's own, or if it ended without one.
        """
        assert self._host.stdout is not None
        line = self._host.stdout.readline()
        while not line:  # it was killed before it could say anything
            self._host.wait()
            self._host = self._start_host()
            assert self._host.stdout is not None
            line = self._host.stdout.readline()
        told = json.loads(line)
        if "error" in told:
            raise ConfigError(told["error"])
        return str(told["address"])

    def _watch(self) -> None:
        """While nothing answers: start again what was killed with all that kept it up.

        Raises:
            ConfigError: the host's own.
        """
        if self._page is not None and session_lives(self._page.session):
            return
        if self._page is None and self._host.poll() is None:
            return
        if self._page is not None:
            self._page = None
            self._let_go(b"done")
        elif self._host.stdout is not None and (line := self._host.stdout.readline()):
            raise ConfigError(json.loads(line).get("error", line))
        self._host = self._start_host()
        if self._gateway is not None:
            self._gateway.move(self._said())

    def submit(self, assets: Sequence[str], partition: str, choice: Choice, more: Mapping[str, str] = {}) -> None:
        """Queue one run, with `more` tags.

        Raises:
            ConfigError: if Dagster cannot be started, cannot load the definitions or refuses the run.
        """
        self._number += 1
        self._run_id, self._cursor = "", None
        tags = {**choice.tags(), **more, SESSION_TAG: self.session, GROUP_TAG: str(self._number)}
        self._run_id = self._ready().submit(assets, partition, tags)

    def news(self) -> tuple[tuple[Event, ...], str]:
        """What that run has said since the last call, and how it has ended.

        Raises:
            ConfigError: if Dagster answers no more.
        """
        found = self._ready().news(self._run_id, self._cursor)
        self._cursor = found.cursor
        return found.events, found.ended

    def interrupt(self) -> None:
        """Ask that run to end."""
        if self._run_id:
            self._ready().terminate([self._run_id])

    def close(self, *, ended: bool) -> None:
        """Let go of the host, which ends what it has started and, unless all has `ended`, the runs."""
        if self._gateway is not None:
            self._gateway.close()
        self._let_go(b"done" if ended else b"")

    def _let_go(self, word: bytes) -> None:
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        try:
            self._host.stdin.write(word.decode())
            self._host.stdin.close()
        except BrokenPipeError:
            pass  # it was killed
        try:
            self._host.wait(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._host.kill()
            self._host.wait()
        self._host.stdout.close()
