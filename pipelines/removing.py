"""A corpus taken away for good: what it holds, the builds of it, and its partition in Dagster.

A partition is also all that is left of a corpus whose name was misspelt: no other command takes it off the page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.instance import open_instance
from visor_core.config import Home, corpus_name
from visor_core.errors import ConfigError
from visor_core.lineage.clearing import build_folders, is_held, size_of
from visor_core.lineage.graph import EVALUATION, Build, read_builds

MIB = 2**20


@dataclass(frozen=True)
class Removal:
    """What goes with a corpus: folders, and the partition, if Dagster knows one of that name."""

    corpus: str
    folders: tuple[Path, ...]
    partition: bool

    @property
    def text(self) -> list[str]:
        """A line each."""
        lines = [f"{folder}: {size_of(folder) / MIB:.1f} MiB" for folder in self.folders]
        return [*lines, *([f"the partition {self.corpus} on Dagster's page"] if self.partition else [])]


def what_goes(home: Home, name: str) -> Removal:
    """What a corpus consists of.

    Raises:
        ConfigError: if there is none of that name, its inbox would bring it back, something kept was made from it, or a
            process works on it.
    """
    from assets_defs.machinery.inbox import questions_file
    from assets_defs.machinery.partitions import corpora

    corpus = corpus_name(name)
    with open_instance(home) as instance:
        known = instance.get_dynamic_partitions(str(corpora.name))
    of_builds = [folder.parent for folder in build_folders(home) if folder.parent.name == corpus]
    folders = tuple(dict.fromkeys(path for path in (home.corpus(corpus), *of_builds) if path.is_dir()))
    if not folders and corpus not in known:
        there = ", ".join(sorted({*known, *home.corpora()})) or "none"
        raise ConfigError(f"no corpus {name!r} under {home.root} (there are: {there})")
    waiting = [path for path in (home.inbox(corpus), questions_file(home, corpus)) if path.exists()]
    if waiting:
        raise ConfigError(f"{waiting[0]} would bring corpus {corpus} back: move it away first")
    if made := sorted({str(build.made) for build in _made_from(home, corpus)}):
        more = f" and {len(made) - 1} more" if len(made) > 1 else ""
        raise ConfigError(f"{made[0]}{more} was made from corpus {corpus}, whose lineage would end there: it is kept")
    if held := next((path for path in folders if _is_in_use(path)), None):
        raise ConfigError(f"a process works on {held}: wait for it or stop it")
    return Removal(corpus, folders, corpus in known)


def _made_from(home: Home, corpus: str) -> Iterator[Build]:
    """Builds of no corpus or another one, evaluations among them, that were made from this one."""
    for build in read_builds(home).values():
        others = build.stage == EVALUATION or build.partition != corpus
        if others and any(made.node.endswith(f"[{corpus}]") for made in build.upstream):
            yield build


def _is_in_use(folder: Path) -> bool:
    """Whether a process holds a corpus or one of the builds of one."""
    return any(is_held(path) for path in (folder, *(path for path in folder.iterdir() if path.is_dir())))


def remove_corpus(home: Home, removal: Removal) -> None:
    """Take it away; the partition last, so that what was interrupted can be asked for again."""
    from assets_defs.machinery.partitions import corpora

    for folder in removal.folders:
        shutil.rmtree(folder)
    if removal.partition:
        with open_instance(home) as instance:
            instance.delete_dynamic_partition(str(corpora.name), removal.corpus)
