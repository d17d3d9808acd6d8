"""A stage of the graph: which code, configuration and upstream data decide its output, and the record it leaves.

A stage's *fingerprint* is the hash of all that. Its files live in `assets/<stage>[/<partition>]/<fingerprint>/`, so an
interrupted build finds its own half-done work again, and a finished one is reused. `current.json` beside those folders
names the one in force; `lineage.json` inside each says where it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from visor_core.code_version import code_version
from visor_core.config import Home, Profile, Section
from visor_core.errors import DataError
from visor_core.files import write_json

Figure = int | float | str
CORPUS_SPLITS = ("train", "development")
"""The splits of the synthetic world that a run may read; the third is for the final study alone."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A stage and, where it has them, one of its partitions."""

    stage: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.stage}[{self.partition}]" if self.partition else self.stage


@dataclass(frozen=True)
class Record:
    """What was materialized last for a node. `path` is relative to VISOR_HOME."""

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

    def folder(self, home: Home) -> Path:
        """The absolute folder of the output: a checkpoint, a dataset, a corpus."""
        return home.root / self.path

    def build_folder(self, home: Home) -> Path:
        """The folder of the build, with its lineage, its progress and its log."""
        return stage_folder(home, Node(self.stage, self.partition)) / self.fingerprint


def _nothing(profile: Profile, partition: str) -> tuple[Node, ...]:
    return ()


def _no_settings(profile: Profile, partition: str, home: Home) -> dict[str, Any]:
    return {}


def _always(profile: Profile) -> bool:
    return True


def _never(profile: Profile, partition: str) -> bool:
    return False


@dataclass(frozen=True)
class Stage:
    """What decides the output of one asset.

    `settings` picks the sections of the profile that matter; `inputs` names the upstream nodes; a `partitioned` stage
    has one node a corpus. An `incremental` stage keeps its data in a corpus and compares content itself, so
    a finished folder is no reason to skip it. A `watching` node also depends on files outside the graph. `kept` reads
    settings that lie with the node's data and hold in place of the profile's.
    """

    name: str
    code: tuple[str, ...]
    settings: Callable[[Profile, str], dict[str, Any]]
    inputs: Callable[[Profile, str], tuple[Node, ...]] = _nothing
    applies: Callable[[Profile], bool] = _always
    partitioned: bool = False
    incremental: bool = False
    watching: Callable[[Profile, str], bool] = _never
    kept: Callable[[Profile, str, Home], dict[str, Any]] = _no_settings

    @cached_property
    def version(self) -> str:
        """The code version."""
        return code_version("visor_core.errors", "visor_core.geometry", *self.code)

    def nodes(self, profile: Profile) -> list[Node]:
        """The nodes a run of this profile needs."""
        if not self.applies(profile):
            return []
        return [Node(self.name, name) for name in corpora_of(profile)] if self.partitioned else [Node(self.name)]

    def fingerprint(self, profile: Profile, partition: str, upstream: dict[str, str], home: Home | None = None) -> str:
        """Hash (16 hex digits) of everything the output depends on; without a home, of the profile's settings alone."""
        chosen = self.settings(profile, partition)
        held = self.kept(profile, partition, home) if home is not None else {}
        settings = {
            key: value.model_dump(mode="json") if isinstance(value, Section) else value
            for key, value in (chosen | {key: held[key] for key in chosen if key in held}).items()
        }
        decided_by = {
            "stage": self.name,
            "partition": partition,
            "code": self.version,
            "settings": settings,
            "upstream": upstream,
            "seed": profile.seed,
        }
        return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:16]


def corpora_of(profile: Profile) -> tuple[str, ...]:
    """The corpora a profile trains on and measures on."""
    return tuple(dict.fromkeys((profile.corpora.train, profile.corpora.development)))


def stage_folder(home: Home, node: Node) -> Path:
    """Where a node keeps its builds."""
    return home.asset(node.stage, node.partition) if node.partition else home.asset(node.stage)


def find_record(home: Home, node: Node) -> Record | None:
    """The record in force, or None if the node was never materialized here.

    Raises:
        DataError: if the record cannot be read.
    """
    path = stage_folder(home, node) / "current.json"
    if not path.is_file():
        return None
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: delete it and materialize {node} again") from error


def read_record(home: Home, node: Node) -> Record:
    """The record in force.

    Raises:
        DataError: if the node was never materialized here.
    """
    record = find_record(home, node)
    if record is None:
        raise DataError(f"{node} has not been materialized under {home.root} yet: `visor run --select {node.stage}`")
    return record


def write_record(home: Home, record: Record) -> None:
    """Put a record in force."""
    write_json(stage_folder(home, Node(record.stage, record.partition)) / "current.json", asdict(record))


def withdraw(home: Home, node: Node) -> None:
    """Take the record in force away: what was built did not pass its checks. Its files stay to be looked at."""
    (stage_folder(home, node) / "current.json").unlink(missing_ok=True)


def upstream_versions(home: Home, nodes: tuple[Node, ...]) -> dict[str, str]:
    """Data versions of upstream nodes, by their printed name.

    Raises:
        DataError: if one of them was never materialized.
    """
    return {str(node): read_record(home, node).data_version for node in nodes}


def folder_version(folder: Path, *patterns: str) -> str:
    """Content hash (16 hex digits) of the files of a folder that match any of the patterns; paths count, times do not.

    Raises:
        DataError: if nothing matches.
    """
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    if not files:
        raise DataError(
            f"{folder} holds none of {', '.join(patterns)}: the build that should have written it is broken"
        )
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            digest.update(f"{path.relative_to(folder).as_posix()} ".encode())
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


CHECKPOINT_FILES = ("*.safetensors", "tokenizer*.json", "*processor_config.json", "chat_template*")
"""The files of a Hugging Face folder that decide what the model does."""
