"""The lineage files of a home as one closed graph: every build names its upstream builds, down to document hashes.

A build is known by node, fingerprint and data version (`Made`): a stage that works on a corpus in place keeps one
fingerprint while its data changes, and has one file a data version, the newest in `lineage.json`, earlier ones in
`lineage-<data version>.json` beside it. Lineages that came with an imported checkpoint lie in `imported/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from visor_core.config import Home
from visor_core.errors import DataError

REQUIRED = (
    "asset", "partition", "fingerprint", "data_version", "code_version", "path", "seed", "created", "upstream",
    "fingerprints", "settings", "configuration", "python", "code", "code_versions", "packages", "machine",
)  # fmt: skip
"""What a file has to say to be a lineage of this version."""
EVALUATION = "evaluation"
"""The name of the node that a `visor eval` is."""


class EarlierVersionError(DataError):
    """A lineage that an earlier version of the project wrote: it says too little to be followed."""


class Made(NamedTuple):
    """What a build is known by."""

    node: str
    fingerprint: str
    data_version: str

    def __str__(self) -> str:
        return f"{self.node} {self.fingerprint}"


@dataclass(frozen=True)
class Build:
    """One lineage file: what was built, from what and on what; `stored` is its JSON."""

    file: Path
    stored: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The asset; `evaluation` for a `visor eval`."""
        return str(self.stored["asset"])

    @property
    def partition(self) -> str:
        """The corpus; empty for a stage without partitions."""
        return str(self.stored["partition"])

    @property
    def node(self) -> str:
        """`stage[partition]`, or the stage."""
        return f"{self.stage}[{self.partition}]" if self.partition else self.stage

    @property
    def fingerprint(self) -> str:
        """The hash of everything that decided the build."""
        return str(self.stored["fingerprint"])

    @property
    def data_version(self) -> str:
        """The hash of what came out."""
        return str(self.stored["data_version"])

    @property
    def made(self) -> Made:
        """What it is known by."""
        return Made(self.node, self.fingerprint, self.data_version)

    @cached_property
    def upstream(self) -> tuple[Made, ...]:
        """The builds it was made from."""
        fingerprints = self.stored["fingerprints"]
        return tuple(Made(node, str(fingerprints[node]), version) for node, version in self.stored["upstream"].items())

    @property
    def ids(self) -> tuple[str, ...]:
        """Names other systems have for it: MLflow's runs and models, Dagster's run."""
        told = [*self.stored.get("mlflow", {}).values(), *self.stored.get("dagster", {}).values()]
        return tuple(str(value) for value in told if value)

    def folder(self, home: Home) -> Path:
        """The absolute folder of its output."""
        return home.root / str(self.stored["path"])

    @property
    def build_folder(self) -> Path:
        """The folder of the build, with its progress and its log."""
        return self.file.parent


@dataclass(frozen=True)
class Lineage:
    """A build and everything it was made from, upstream first. `missing` are builds whose lineage is not kept."""

    target: Build
    builds: tuple[Build, ...]
    missing: tuple[Made, ...] = ()

    def by_node(self) -> dict[str, Build]:
        """The builds by node; of two of one node, the one nearer to the target."""
        return {build.node: build for build in self.builds}

    @cached_property
    def depths(self) -> dict[Made, int]:
        """How many builds stand above each one, along the longest way."""
        found: dict[Made, int] = dict.fromkeys(self.missing, 0)
        for build in self.builds:
            found[build.made] = max((found[above] + 1 for above in build.upstream), default=0)
        return found


def read_lineage(path: Path) -> Build:
    """A lineage file.

    Raises:
        EarlierVersionError: if it says too little.
        DataError: if it is damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        lacking = [name for name in REQUIRED if name not in stored]
        if lacking:
            again = f"`visor run --select {stored['asset']} --force`"
            raise EarlierVersionError(
                f"{path} was written by an earlier version, it does not say {lacking[0]}: build it again with {again}"
            )
        build = Build(path, stored)
        build.upstream  # noqa: B018 — every upstream node has its fingerprint
        return build
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged: delete its folder and build it again with `visor run`") from error


def lineage_files(home: Home) -> list[Path]:
    """All lineage files of a home: builds of the graph, evaluations, what came with imported checkpoints."""
    assets = [
        path
        for stage in _folders(home.asset())
        for build in (*_folders(stage), *(below for one in _folders(stage) for below in _folders(one)))
        for path in build.glob("lineage*.json")
    ]
    evaluations = sorted((home.evaluations / "lineage").glob("*.json"))
    return [*sorted(set(assets)), *evaluations, *sorted(home.imported.glob("*/lineage/*.json"))]


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def is_in_force(home: Home, build: Build) -> bool:
    """Whether the pointer of its node names a build, and it is the newest of its fingerprint.

    Raises:
        DataError: if the pointer is damaged.
    """
    pointer = home.asset(build.stage, *([build.partition] if build.partition else []), "current.json")
    if build.file.name != "lineage.json" or not pointer.is_file():
        return False
    try:
        return bool(json.loads(pointer.read_text(encoding="utf-8"))["fingerprint"] == build.fingerprint)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{pointer} is damaged: run `visor run --select {build.stage}` first") from error


def read_builds(home: Home, *exported: Path) -> dict[Made, Build]:
    """Every build whose lineage a home keeps, but for those of earlier versions; one that was imported only where it
    was not built here.

    Args:
        exported: folders that `visor export` may have written, whose lineages are read, too.

    Raises:
        DataError: as `read_lineage`.
    """
    found: dict[Made, Build] = {}
    carried = [path for folder in exported for path in sorted((folder / "lineage").glob("*.json"))]
    for path in [*lineage_files(home), *carried]:
        try:
            build = read_lineage(path)
        except EarlierVersionError:
            continue
        found.setdefault(build.made, build)
    return found


def ancestry(home: Home, target: Build, known: Mapping[Made, Build] | None = None) -> Lineage:
    """A build with everything upstream of it.

    Args:
        known: the builds of the home, if they were read already.

    Raises:
        DataError: as `read_lineage`, or if a build is upstream of itself.
    """
    known = read_builds(home) if known is None else known
    needs: dict[Made, tuple[Made, ...]] = {}
    waiting, missing = [target], set[Made]()
    while waiting:
        build = waiting.pop()
        if build.made in needs:
            continue
        needs[build.made] = build.upstream
        missing |= {made for made in build.upstream if made not in known}
        waiting += [known[made] for made in build.upstream if made in known]
    try:
        order = list(TopologicalSorter({made: sorted(above) for made, above in sorted(needs.items())}).static_order())
    except CycleError as error:
        raise DataError(f"{target.file}: its lineage runs in a circle: {error.args[1]}") from error
    builds = tuple(known.get(made, target) for made in order if made not in missing)
    return Lineage(target, builds, tuple(sorted(missing)))


def upstream_of(targets: Iterable[Build], known: Mapping[Made, Build]) -> set[Made]:
    """What builds are made from, directly and indirectly, and they themselves."""
    found: set[Made] = set()
    waiting = [build.made for build in targets]
    while waiting:
        made = waiting.pop()
        if made not in found:
            found.add(made)
            waiting += known[made].upstream if made in known else ()
    return found
