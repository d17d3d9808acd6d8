"""A stage of the graph: which code, configuration and upstream data decide its output.

A stage's *fingerprint* is the hash of all that. Its files live under the fingerprint's name, so an interrupted build
finds its own half-done work again, and a finished one is reused (`builds`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from visor_core.code_version import code_behind, code_version
from visor_core.config import Home, Profile, Section, corpus_name
from visor_core.errors import DataError

Figure = int | float | str
CORPUS_SPLITS = ("train", "development")
"""The splits of the synthetic world that a run may read; the third is for the final study alone."""
PROJECT = ("visor_core", "assets_defs", "pipelines.workers")
"""Where a stage's code is looked for."""
DECIDES_NOTHING = (
    # How a stage is started, followed and recorded.
    "assets_defs.machinery", "pipelines.workers.processes", "pipelines.workers.session", "visor_core.code_version",
    "visor_core.files", "visor_core.inventory", "visor_core.lineage", "visor_core.tracking",
    "visor_core.trajectories.traces",
    # What was paid, and that it is not paid twice.
    "visor_core.policies.calls", "visor_core.policies.spending",
    # What only a person looks at.
    "pipelines.workers.samples", "visor_core.training.curves", "visor_core.trajectories.strip",
    "visor_core.trajectories.viewer", "visor_core.trajectories.viewer_gallery", "visor_core.trajectories.viewer_page",
    "visor_core.trajectories.viewer_pictures", "visor_core.trajectories.viewer_style",
    "visor_core.evaluation.comparison", "visor_core.evaluation.comparison_text", "visor_core.evaluation.figures",
    "visor_core.evaluation.pairing", "visor_core.evaluation.published_figures",
    # The settings themselves, which count by their values.
    "visor_core.config",
)  # fmt: skip
"""Modules and packages that stages import and that do not decide what comes out."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A stage and, where it has them, one of its partitions, which is a corpus.

    Raises:
        ConfigError: if the partition is no corpus name.
    """

    stage: str
    partition: str = ""

    def __post_init__(self) -> None:
        if self.partition:
            object.__setattr__(self, "partition", corpus_name(self.partition))

    def __str__(self) -> str:
        return f"{self.stage}[{self.partition}]" if self.partition else self.stage


@dataclass(frozen=True, slots=True)
class Need:
    """An upstream stage, and which of its nodes: its only one, or that of the same, the training or the development
    corpus. `when` says for which profiles and partitions the need is there.
    """

    stage: str
    of: Literal["", "same", "train", "development"] = ""
    when: Callable[[Profile, str], bool] = lambda profile, partition: True

    def node(self, profile: Profile, partition: str) -> Node:
        """The node that a partition needs under a profile."""
        if not self.of:
            return Node(self.stage)
        return Node(self.stage, partition if self.of == "same" else str(getattr(profile.corpora, self.of)))


def _any_content(folder: Path, data_version: str) -> bool:
    return True


def _nothing_lost(folder: Path) -> tuple[str, ...]:
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

    `begins` names the modules its work begins in; what they import counts with them. `reads` are the sections and
    settings of the profile that a person may set for one run of it, by dotted key, the seed apart; `settings` picks of
    them what decides the output. `needs` are the upstream stages, for Dagster as well; a `partitioned` stage has one
    node a corpus. An `incremental` stage keeps its data in a corpus and compares content itself, so a finished folder
    is no reason to skip it; `holds` says whether the corpus still has the content of a data version, `lost` what of its
    own work there is gone. `beside` are parts of the output that lie in the build folder beside it. A `watching` node
    also depends on files outside the graph. `kept` reads settings that lie with the node's data and hold in place of
    those of the profile. `also` names further assets that the same work makes.
    """

    name: str
    begins: tuple[str, ...]
    settings: Callable[[Profile, str], dict[str, Any]]
    reads: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    applies: Callable[[Profile], bool] = _always
    partitioned: bool = False
    incremental: bool = False
    watching: Callable[[Profile, str], bool] = _never
    holds: Callable[[Path, str], bool] = _any_content
    lost: Callable[[Path], tuple[str, ...]] = _nothing_lost
    beside: tuple[str, ...] = ()
    kept: Callable[[Profile, str, Home], dict[str, Any]] = _no_settings
    also: tuple[str, ...] = ()

    @property
    def deps(self) -> tuple[str, ...]:
        """Names of the upstream stages under any profile."""
        return tuple(dict.fromkeys(need.stage for need in self.needs))

    def inputs(self, profile: Profile, partition: str) -> tuple[Node, ...]:
        """The upstream nodes of one node."""
        return tuple(need.node(profile, partition) for need in self.needs if need.when(profile, partition))

    @cached_property
    def version(self) -> str:
        """The code version: a hash over all code that the work runs through."""
        return code_version(*self.code)

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets its work makes."""
        return (self.name, *self.also)

    @property
    def code(self) -> frozenset[str]:
        """The modules that decide the output, by dotted name."""
        return code_behind(*self.begins, within=PROJECT, without=DECIDES_NOTHING)

    def nodes(self, profile: Profile) -> list[Node]:
        """The nodes a run of this profile needs."""
        if not self.applies(profile):
            return []
        return [Node(self.name, name) for name in profile.corpora.names] if self.partitioned else [Node(self.name)]

    def fingerprint(self, profile: Profile, partition: str, upstream: dict[str, str], home: Home | None = None) -> str:
        """Hash (16 hex digits) of everything the output depends on; without a home, of the profile's settings alone."""
        decided_by = {
            "stage": self.name,
            "partition": partition,
            "code": self.version,
            "settings": self.decisive(profile, partition, home),
            "upstream": upstream,
            "seed": profile.seed,
        }
        return _digest(decided_by, 16)

    def decisive(self, profile: Profile, partition: str, home: Home | None = None) -> dict[str, Any]:
        """The settings that decide a node's output, as JSON values: the profile's, and what lies with its data."""
        chosen = self.settings(profile, partition)
        held = self.kept(profile, partition, home) if home is not None else {}
        return _plain(chosen | {key: held[key] for key in chosen if key in held})

    def code_version(self, profile: Profile) -> str:
        """Hash (12 hex digits) of the code and of what this profile sets for it.

        Dagster compares it with that of the last materialization: once either has changed, the asset is out of date.
        """
        partitions = profile.corpora.names if self.partitioned else ("",)
        settings = {partition: _plain(self.settings(profile, partition)) for partition in partitions}
        return _digest({"code": self.version, "settings": settings, "seed": profile.seed}, 12)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as JSON values."""
    return {k: v.model_dump(mode="json") if isinstance(v, Section) else v for k, v in settings.items()}


def _digest(content: Mapping[str, Any], digits: int) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:digits]


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
