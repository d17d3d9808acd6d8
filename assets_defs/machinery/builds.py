"""Builds of a stage and their states: built, checked, in force.

A build lies in `assets/<stage>[/<partition>]/<fingerprint>/`. It is *built* once its `lineage.json` is written, and
*checked* once `checks.json` says that every blocking check passed on what it holds now: whoever ran the checks, nothing
builds on it before. Which build a profile means is worked out from what the profile asks for (`Builds`), never from
what was made last, so that two sets of settings in one home do not mix. `current.json` beside the builds names the one
that was *put in force* last, for those who ask without a profile: `visor ask`, the report.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from assets_defs.machinery.stage import Figure, Node
from visor_core.config import ChecksConfig, Home, Profile
from visor_core.errors import DataError
from visor_core.files import whole_file, write_json
from visor_core.inventory import Inventory, as_json, from_json

INCOMPLETE = "incomplete"
"""The figure of a build that says what it lacks."""


@dataclass(frozen=True)
class Record:
    """What a build made. `path` and the `files` of its output are relative to VISOR_HOME; `checks` names the blocking
    checks it has to pass."""

    stage: str
    partition: str
    fingerprint: str
    code_version: str
    data_version: str
    path: str
    upstream: dict[str, str]
    seed: int
    index_tag: str
    seconds: float
    figures: dict[str, Figure] = field(default_factory=dict)
    created: str = ""
    checks: tuple[str, ...] = ()
    files: Inventory = field(default_factory=dict)

    @property
    def incomplete(self) -> str:
        """Why the build is not all that was asked for, and is gone on with when it is asked for again; "" if it is."""
        return str(self.figures.get(INCOMPLETE, ""))

    @property
    def node(self) -> Node:
        """The node it was built for."""
        return Node(self.stage, self.partition)

    def folder(self, home: Home) -> Path:
        """The absolute folder of the output: a checkpoint, a dataset, a corpus."""
        return home.root / self.path

    def build_folder(self, home: Home) -> Path:
        """The folder of the build, with its lineage, its progress and its log."""
        return stage_folder(home, self.node) / self.fingerprint


def stage_folder(home: Home, node: Node) -> Path:
    """Where a node keeps its builds."""
    return home.asset(node.stage, node.partition) if node.partition else home.asset(node.stage)


def read_build(home: Home, node: Node, fingerprint: str) -> Record | None:
    """The record of a build, whatever its checks say; None if it was not finished.

    Raises:
        DataError: if its lineage cannot be read.
    """
    path = stage_folder(home, node) / fingerprint / "lineage.json"
    if not path.is_file():
        return None
    try:
        lineage = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name: lineage[f.name] for f in fields(Record) if f.name != "stage"}
        read = {"checks": tuple(known["checks"]), "files": from_json(known["files"])}
        return Record(stage=lineage["asset"], **known | read)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged or of another version of visor: delete its folder and materialize {node} again"
        ) from error


def write_build(home: Home, record: Record, more: dict[str, Any], *, named: bool = True) -> None:
    """Write a build's lineage: its record, and `more` of where it came from.

    A stage that works on a corpus in place finishes one build again and again, with other data: each data version keeps
    its own file, which whatever was made from it names.

    Args:
        named: whether `current.json` may come to name it.
    """
    folder = record.build_folder(home)
    set_aside(folder)
    _aside(folder, record.data_version).unlink(missing_ok=True)
    written = {f.name: getattr(record, f.name) for f in fields(Record) if f.name != "stage"}
    written["files"] = as_json(record.files)
    write_json(folder / "lineage.json", {"asset": record.stage, **written, **more})
    _follow(home, record, named=named)


def set_aside(folder: Path) -> None:
    """Keep the lineage of the data that a build holds under the name of its data version, if it holds any."""
    path = folder / "lineage.json"
    if path.is_file():
        try:
            version = str(json.loads(path.read_text(encoding="utf-8"))["data_version"])
        except (ValueError, TypeError, KeyError):
            return  # a damaged one names no data that anything could have been made from
        with whole_file(_aside(folder, version)) as partial:
            shutil.copyfile(path, partial)


def _aside(folder: Path, data_version: str) -> Path:
    return folder / f"lineage-{data_version}.json"


def judge(
    home: Home,
    record: Record,
    check: str,
    *,
    passed: bool,
    against: Mapping[str, float] | None = None,
    named: bool = True,
) -> None:
    """Keep the outcome of a check, and put the build in force or take it out of it, as its blocking checks say.

    Args:
        against: the thresholds that it was judged by, as fields of the section `checks`.
        named: whether `current.json` may come to name it.
    """
    folder = record.build_folder(home)
    # Two runs may check one build: neither may lose what the other has just written.
    with (folder / ".checks.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = {"passed": passed, "data_version": record.data_version, "against": dict(against or {})}
        outcomes = outcomes_of(home, record) | {check: outcome}
        write_json(folder / "checks.json", outcomes)
        _follow(home, record, named=named)


def is_checked(home: Home, record: Record, checks: ChecksConfig | None = None) -> bool:
    """Whether all blocking checks passed on what the build holds now, by these thresholds if any are given."""
    return not failing(home, record, checks)


def failing(home: Home, record: Record, checks: ChecksConfig | None = None) -> tuple[str, ...]:
    """The blocking checks that failed on a build, or were not made yet on what it holds now.

    Args:
        checks: the thresholds of who asks: what was judged by others was not made yet. None takes any.
    """
    outcomes = outcomes_of(home, record)
    return tuple(name for name in record.checks if verdict(outcomes, name, record, checks) is not True)


def verdict(
    outcomes: Mapping[str, Mapping[str, Any]], check: str, record: Record, checks: ChecksConfig | None
) -> bool | None:
    """Whether a check passed on what the build holds now, by these thresholds; None if it was not made so."""
    outcome = outcomes.get(check, {})
    if outcome.get("data_version") != record.data_version:
        return None
    if checks and any(getattr(checks, name, None) != value for name, value in outcome.get("against", {}).items()):
        return None
    return bool(outcome["passed"])


def outcomes_of(home: Home, record: Record) -> dict[str, dict[str, Any]]:
    """What came of each check of a build: `passed`, the `data_version` it looked at, the thresholds it went by.

    Raises:
        DataError: if it cannot be read.
    """
    path = record.build_folder(home) / "checks.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged: delete it and materialize {record.node} again") from error


def put_in_force(home: Home, record: Record) -> None:
    """Point `current.json` at a build whose blocking checks passed, whatever it says now; as it is, where it does."""
    try:
        pointed = _pointed(home, record.node)
    except DataError:
        pointed = ""
    if pointed != record.fingerprint:
        _follow(home, record)


def _follow(home: Home, record: Record, *, named: bool = True) -> None:
    """Point `current.json` at a build that is checked; take it away from one that no longer is."""
    pointer = stage_folder(home, record.node) / "current.json"
    if is_checked(home, record):
        if named:
            write_json(pointer, {"fingerprint": record.fingerprint})
    elif _pointed(home, record.node) == record.fingerprint:
        pointer.unlink()


def _pointed(home: Home, node: Node) -> str:
    """The fingerprint in a node's pointer, empty if there is none.

    Raises:
        DataError: if it cannot be read.
    """
    pointer = stage_folder(home, node) / "current.json"
    if not pointer.is_file():
        return ""
    try:
        return str(json.loads(pointer.read_text(encoding="utf-8"))["fingerprint"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{pointer} is damaged: delete it and materialize {node} again") from error


def find_record(home: Home, node: Node) -> Record | None:
    """The build put in force last under any settings; None where there is none, or it no longer passes.

    Raises:
        DataError: if a record cannot be read.
    """
    fingerprint = _pointed(home, node)
    record = read_build(home, node, fingerprint) if fingerprint else None
    return record if record and is_checked(home, record) else None


def read_record(home: Home, node: Node) -> Record:
    """The build put in force last.

    Raises:
        DataError: if there is none.
    """
    record = find_record(home, node)
    if record is None:
        raise DataError(f"{node} has not been materialized under {home.root} yet: `visor run --select {node.stage}`")
    return record


def records_in_force(home: Home) -> list[Record]:
    """The builds put in force last, one a node."""
    root = home.root / "assets"
    nodes = [
        Node(*pointer.parent.relative_to(root).parts)
        for pointer in sorted(root.glob("**/current.json"))
        if len(pointer.parent.relative_to(root).parts) <= 2
    ]
    return [record for node in nodes if (record := find_record(home, node)) is not None]


class Builds:
    """The builds that one profile asks for. Answers are remembered: make a new one after something was built."""

    def __init__(self, home: Home, profile: Profile) -> None:
        self.home, self.profile = home, profile
        self._found: dict[Node, tuple[str | None, Record | None]] = {}

    def fingerprint(self, node: Node) -> str | None:
        """The fingerprint that the profile asks for; None while something upstream is not in force."""
        return self._look_up(node)[0]

    def built(self, node: Node) -> Record | None:
        """The build that the profile asks for, whatever its checks say."""
        return self._look_up(node)[1]

    def find(self, node: Node) -> Record | None:
        """The build that the profile asks for, if its blocking checks passed."""
        record = self.built(node)
        return record if record and is_checked(self.home, record, self.profile.checks) else None

    def read(self, node: Node) -> Record:
        """The build that the profile asks for.

        Raises:
            DataError: if there is none, or naming the checks it does not pass.
        """
        record = self.built(node)
        again = f"`visor run --profile {self.profile.name} --select {node.stage}`"
        if record is None:
            raise DataError(f"{node} has not been materialized under {self.home.root} with these settings yet: {again}")
        if failed := failing(self.home, record, self.profile.checks):
            raise DataError(f"{node} is not in force: {', '.join(failed)} failed or was not run; try {again}")
        return record

    def versions(self, nodes: Sequence[Node]) -> dict[str, str]:
        """Data versions of upstream nodes, by their printed name.

        Raises:
            DataError: as `read`.
        """
        return {str(node): self.read(node).data_version for node in nodes}

    def _look_up(self, node: Node) -> tuple[str | None, Record | None]:
        from assets_defs.machinery.graph import stages

        if node not in self._found:
            stage, upstream = stages()[node.stage], {}
            self._found[node] = (None, None)
            for need in stage.inputs(self.profile, node.partition):
                record = self.find(need)
                if record is None:
                    return self._found[node]
                upstream[str(need)] = record.data_version
            fingerprint = stage.fingerprint(self.profile, node.partition, upstream, self.home)
            self._found[node] = (fingerprint, read_build(self.home, node, fingerprint))
        return self._found[node]
