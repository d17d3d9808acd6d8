"""Ingests killed between all commits of tables, tags and manifests, every one in a process of its own.

`main` runs in a process that has imported everything and opened nothing, and forks for each ingest: a start costs
nothing. All that changes a corpus is a commit here, so that right after one is right before the next. Documents are
rendered in the forked process itself; what a killed worker leaves is `killing`'s matter.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lance.dataset import DatasetOptimizer
from lancedb.db import LanceDBConnection
from lancedb.merge import LanceMergeInsertBuilder
from lancedb.table import LanceTable, Tags

from tests.visor_core.index.killing import contents
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents import mupdf  # noqa: F401 (imported once, before the forks)
from visor_core.documents.messages import Message
from visor_core.documents.worker import Task, perform
from visor_core.index import (
    EVERY_COLUMN,
    Corpus,
    PageIndex,
    build_index,
    load_embedders,
    pages,
    register,
    render_pages,
    validating,
)
from visor_core.index import tags as tags_module
from visor_core.index.corpus import PRIMARY_KEY
from visor_core.index.upkeep import verify

DOCUMENTS = DocumentsConfig(ocr="never", dpi=36)
COMMITS: tuple[tuple[Any, str], ...] = (
    (LanceDBConnection, "create_table"),
    *((LanceTable, name) for name in ("add", "delete", "update", "add_columns", "drop_columns", "create_index")),
    *((DatasetOptimizer, name) for name in ("optimize_indices", "compact_files")),
    (LanceMergeInsertBuilder, "execute"),
    (Tags, "create"),
    (Path, "replace"),
    (Path, "rename"),
)
"""What makes a new version of a table, names one, or puts a manifest or a copy of a document in its place."""


class OwnProcess:
    """In the place of the worker pool: the same tasks, done here."""

    def __init__(self, workers: int) -> None:
        self.spent: dict[str, float] = {}

    def __enter__(self) -> OwnProcess:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def run(self, tasks: Sequence[tuple[Task, float]]) -> Iterator[Message]:
        """The messages of all tasks, one after another."""
        self.spent = {task.key: 0.0 for task, _ in tasks}
        for task, _ in tasks:
            yield from perform(task)


def ingest(root: Path, folder: Path, dimension: int) -> None:
    """All three stages; what is gone from the folder is retired."""
    corpus = Corpus(root)
    index = IndexConfig(embedders=(f"hash:{dimension}",))
    register.register_documents(corpus, [folder], DOCUMENTS, prune=True)
    render_pages(corpus, DOCUMENTS)
    build_index(corpus, index, load_embedders(index), drop=(EVERY_COLUMN,))


class Commits:
    """Counts the outermost commits of this process and kills it when `kill_after` of them are done."""

    def __init__(self, kill_after: int = -1) -> None:
        self.names: list[str] = []
        self._kill_after = kill_after
        self._inside = threading.local()
        for owner, name in COMMITS:
            setattr(owner, name, self._watched(getattr(owner, name), f"{owner.__name__}.{name}"))

    def _watched(self, commit: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "commit", False):
                return commit(*arguments, **options)
            if self._kill_after == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._inside.commit = True
            try:
                done = commit(*arguments, **options)
            finally:
                self._inside.commit = False
            self.names.append(name)
            if len(self.names) == self._kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return watched


def in_a_fork(work: Callable[[], object], answer: Path) -> Any:
    """What `work` returns, done in a fork of this process; None if it was killed.

    Raises:
        RuntimeError: if it ended in another way.
    """
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            answer.write_bytes(pickle.dumps(work()))
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status:
        raise RuntimeError(f"a forked process ended with {status}")
    return pickle.loads(answer.read_bytes())


def faults_at_commits(
    base: Path, old: Path | None, dimension: int, every: int, last: str = ""
) -> tuple[list[str], list[str]]:
    """The commits of an ingest of `files`, and how killed and repeated ingests differ from an undisturbed one.

    Args:
        old: a corpus that the ingest starts from; none starts from nothing.
        dimension: of the hashed vectors.
        every: commits from one kill to the next.
        last: name of the commit at which the kills end.
    """
    answer, root, folder = base / "answer", base / "corpus", base / "files"

    def fresh() -> None:
        shutil.rmtree(root, ignore_errors=True)
        if old is not None:
            shutil.copytree(old, root)

    def undisturbed() -> tuple[list[str], Any]:
        commits = Commits()
        ingest(root, folder, dimension)
        return commits.names, state(root)

    def killed(number: int) -> None:
        Commits(number)
        ingest(root, folder, dimension)

    def repeated(versions: set[str]) -> list[str]:
        found = [] if not (root / "tags" / "latest.json").exists() else [PageIndex.open(root).data_version]
        faults = [] if set(found) <= versions else [f"{found[0]} is published, which is neither the old nor the new"]
        ingest(root, folder, dimension)
        faults += [f"the {part} differ" for part, value in state(root).items() if value != expected[part]]
        return [*faults, *verify(Corpus(root), deep=True), *(path.name for path in root.rglob("*.partial"))]

    fresh()
    names, expected = in_a_fork(undisturbed, answer)
    versions = {expected["version"]}
    if old is not None:
        versions.add(in_a_fork(lambda: PageIndex.open(old).data_version, answer))
    faults = []
    for number in range(0, (names.index(last) if last else len(names)) + 1, every):
        moment = f"after {number} commits ({', '.join(names[max(0, number - 1) : number + 1])})"
        fresh()
        if in_a_fork(lambda number=number: killed(number) or "alive", answer):  # type: ignore[misc, func-returns-value]
            faults.append(f"{moment}: the ingest was not killed")
        faults += [f"{moment}: {fault}" for fault in in_a_fork(lambda: repeated(versions), answer)]
    return names, faults


def state(root: Path) -> dict[str, Any]:
    """The rows of all tables, their keys, what they are searchable by, and the published version."""
    tables = {name: Corpus(root).table(name) for name in tags_module.read_manifest(Corpus(root), "latest").tables}
    return {
        "rows": contents(root),
        "indexes": {name: sorted(str(i.columns) for i in table.list_indices()) for name, table in tables.items()},
        "keys": {
            name: [field.name for field in table.schema if PRIMARY_KEY.encode() in (field.metadata or {})]
            for name, table in tables.items()
        },
        "version": PageIndex.open(root).data_version,
    }


def main() -> None:
    """Ingest `files` from nothing, then `new` in their place, killed at commits; print what came of it."""
    base, every = Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore", RuntimeWarning)  # LanceDB's remark that it was forked, which it is made for
    for module in (validating, pages):
        module.WorkerPool = OwnProcess  # type: ignore[attr-defined, assignment]
    # The indexes and the tag are built in the same way the second time.
    first, faults = faults_at_commits(base, None, 64, every, last="LanceTable.create_index")
    (base / "corpus").rename(base / "before")
    shutil.rmtree(base / "files")
    (base / "new").rename(base / "files")
    second, more = faults_at_commits(base, base / "before", 128, every)
    print(json.dumps({"first": first, "second": second, "faults": faults + more}))


if __name__ == "__main__":
    main()
