"""What of a home nothing needs any more: builds out of force that made nothing that is kept, set-aside stores, corpora
that were made of others to measure something, logs.

Kept are the builds in force, the champion, what the registry names by an alias, what an evaluation or a study measured,
and everything upstream of these. What a running process holds, or reads, is never touched.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from visor_core.config import Home
from visor_core.config.derived_corpora import RUNNING, is_derived
from visor_core.errors import DataError
from visor_core.files import is_locked
from visor_core.lineage.graph import EVALUATION, Build, Made, is_in_force, read_builds, upstream_of
from visor_core.policies.identity import digest_of

FINGERPRINT = re.compile(r"[0-9a-f]{16}")
STUDY = "study_figures"
"""The stage that measures a study's variants, whose builds are in force for nobody else."""
LOG_SECONDS = 7 * 24 * 3600.0
"""How long the output of a run is left to be looked at, whatever came of it."""
SET_ASIDE = "*.until-*"
"""Episode stores that `--fresh` has put aside."""


@dataclass(frozen=True, slots=True)
class Clearable:
    """One folder or log that nothing needs: where, how large, and why it may go."""

    path: Path
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Clearing:
    """What may go, and why the builds that stay do, by the folder of the build."""

    clearable: tuple[Clearable, ...]
    kept: dict[Path, str]

    @property
    def size(self) -> int:
        """Bytes that would be freed."""
        return sum(item.size for item in self.clearable)


def find_clearable(home: Home, tagged: Iterable[str] = (), *, unfinished: bool = False) -> Clearing:
    """Say what a home could do without.

    Args:
        tagged: runs and models of MLflow that the registry names by an alias.
        unfinished: whether builds that were begun and not finished may go, too; otherwise they can be continued.

    Raises:
        DataError: if a lineage or a result cannot be read: what it needs is not known.
    """
    known = read_builds(home)
    kept = _kept(home, known, set(tagged))
    stays = {known[made].build_folder: why for made, why in kept.items() if made in known}
    understood = {build.build_folder for build in known.values()}
    clearable = []
    for folder in build_folders(home):
        finished = (folder / "lineage.json").is_file()
        if folder in stays or is_held(folder):
            stays.setdefault(folder, "a running process holds it")
        elif finished and folder not in understood:
            stays[folder] = "of an earlier version: what was made from it is not known"
        elif finished or unfinished:
            reason = "out of force, and nothing that is kept was made from it" if finished else "begun, not finished"
            clearable.append(Clearable(folder, size_of(folder), reason))
        else:
            stays[folder] = "begun, can be continued (--unfinished frees it)"
    found = chain(_stores(home), _stressed(home))
    clearable += [
        Clearable(path, size_of(path), reason) for path, reason in found if path.is_dir() and not is_held(path)
    ]
    clearable += _logs(home, [known[made] for made in kept if made in known])
    return Clearing(tuple(clearable), stays)


def build_folders(home: Home) -> list[Path]:
    """The folders of all builds, finished or not."""
    root = home.asset()
    candidates = [*root.glob("*/*"), *root.glob("*/*/*")] if root.is_dir() else []
    return sorted(path for path in candidates if FINGERPRINT.fullmatch(path.name) and _is_build(path))


def _is_build(folder: Path) -> bool:
    """Whether a folder is one of a stage: episode stores have names of the same form."""
    return folder.is_dir() and (folder / ".lock").is_file() and not (folder / "segments").is_dir()


def _kept(home: Home, known: dict[Made, Build], tagged: set[str]) -> dict[Made, str]:
    """Every build that stays, with the reason."""
    by_folder = {build.folder(home): build for build in known.values() if build.stage != "champion_model"}
    roots: dict[Made, str] = {}
    for build in known.values():
        if build.stage == EVALUATION:
            roots[build.made] = "an evaluation"
        elif build.stage == STUDY:
            roots[build.made] = "figures of a study"
        elif home.imported in build.file.parents:
            roots[build.made] = "imported"
        elif not tagged.isdisjoint(build.ids):
            roots[build.made] = "under an alias in MLflow's registry"
        elif is_in_force(home, build):
            roots[build.made] = "in force"
            if build.stage == "champion_model" and (reigning := by_folder.get(build.folder(home))) is not None:
                roots[reigning.made] = "the champion"
    for path in _read_by_running(home):
        for folder, build in by_folder.items():
            if path == folder or folder in path.parents:
                roots.setdefault(build.made, "a running process reads it")
    kept = dict(roots)
    for made, why in roots.items():
        for above in upstream_of([known[made]], known):
            kept.setdefault(above, f"upstream of {made} ({why})")
    return kept


def _read_by_running(home: Home) -> Iterator[Path]:
    """What the workers of running builds were given to read."""
    for folder in build_folders(home):
        order = folder / "order.json"
        if order.is_file() and is_held(folder):
            yield from map(Path, json.loads(order.read_text(encoding="utf-8"))["inputs"].values())


def _stores(home: Home) -> Iterator[tuple[Path, str]]:
    """Episode stores that nothing reads any more, and homes that were rebuilt for a comparison."""
    results = [path for path in home.evaluations.glob("*.json") if path.stat().st_size]
    named = set()
    for path in results:
        try:
            named.add(digest_of(json.loads(path.read_text(encoding="utf-8"))["identity"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not an evaluation of this version: delete it, or evaluate again") from error
    for path in home.evaluations.glob("best-of/*.json"):
        named |= set(json.loads(path.read_text(encoding="utf-8"))["stores"])
    named |= {store for _, stores in _stress_reports(home) for store in stores}
    measuring = _is_measuring(home)
    played = home.evaluations / "trajectories"
    for path in sorted(played.glob("*")) if played.is_dir() else []:
        if ".until-" in path.name:
            yield path, "set aside by --fresh"
        elif path.name not in named and not measuring:
            yield path, "episodes of an evaluation without a result"
    for stage in ("teacher_trajectories/episodes", "benchmark_results/*/episodes"):
        for path in sorted(home.asset().glob(f"{stage}/{SET_ASIDE}")):
            yield path, "set aside by --force"
    for path in sorted(home.rebuilt.glob("*")) if home.rebuilt.is_dir() else []:
        yield path, "rebuilt by visor reproduce"


def _stressed(home: Home) -> Iterator[tuple[Path, str]]:
    """Corpora that were made of others to measure something, and generated documents, that no report names."""
    if _is_measuring(home):
        return
    named = {name for corpora, _ in _stress_reports(home) for name in corpora}
    for name in home.corpora():
        if is_derived(name) and name not in named:
            yield home.root / "corpora" / name, "made for a stress or counterfactual without a report"
    noise = home.stress / "noise"
    for path in sorted(noise.iterdir()) if noise.is_dir() else []:
        if not any(name.startswith(f"{path.name}.noise-") for name in named):
            yield path, "generated for a stress without a report"


def _stress_reports(home: Home) -> Iterator[tuple[list[str], list[str]]]:
    """(corpora, episode stores) of every measurement by `visor stress` and `visor counterfactual`.

    Raises:
        DataError: if a file of the reports is none.
    """
    for path in sorted(home.reports.glob("*.json")) if home.reports.is_dir() else []:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is no JSON ({error}): delete it, or measure again") from error
        if isinstance(told, dict) and {"corpora", "stores"} <= told.keys():
            yield told["corpora"], told["stores"]


def _is_measuring(home: Home) -> bool:
    """Whether a stress runs, whose corpora and episodes no report names yet."""
    lock = home.stress / RUNNING
    return lock.is_file() and is_locked(lock)


def _logs(home: Home, kept: Iterable[Build]) -> Iterator[Clearable]:
    """The output of runs that have ended and made nothing that is kept, those of the last days left out."""
    made = {str(build.stored.get("dagster", {}).get("run", "")) for build in kept}
    for path in sorted((home.root / "logs" / "runs").glob("*.log")):
        status = path.stat()
        if path.stem not in made and time.time() - status.st_mtime > LOG_SECONDS and not is_held(path):
            yield Clearable(path, status.st_size, "log of a run that made nothing that is kept")


def is_held(folder: Path) -> bool:
    """Whether a living process has locked a build, a store, or anything directly in it; or the file of a log."""
    if folder.is_file():
        return is_locked(folder)
    locks = [folder / ".lock", folder / ".running", *folder.glob("segments/*.jsonl")]
    return any(is_locked(path) for path in locks if path.is_file())


def clear(item: Clearable) -> bool:
    """Remove one folder or log; false if a process has begun to use it meanwhile."""
    with _holding(item.path) as held:
        if held and item.path.is_file():
            item.path.unlink()
        elif held:
            shutil.rmtree(item.path)
        return held


@contextmanager
def _holding(folder: Path) -> Iterator[bool]:
    """Whether this process now holds the folder's lock, so that no build can begin in it."""
    lock = folder / ".lock"
    if is_held(folder):
        yield False
        return
    if not lock.is_file():
        yield True
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def size_of(folder: Path) -> int:
    """Bytes of the files under a folder; of one with several names, once."""
    states = [path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(state.st_dev, state.st_ino): state.st_size for state in states}.values())
