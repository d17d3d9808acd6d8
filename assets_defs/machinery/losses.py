"""What is gone of a finished build, and when it may be built again unasked.

A build's `lineage.json` lists the files of its output with size and hash: a look compares sizes, and the content of
what was touched since it was last known; a deep one all contents. A corpus keeps sizes alone, in `files.json`: content
that was changed there is found by `visor doctor --deep`. What is lost is built again, unless that costs more GPU hours
than the profile allows without a word (`rebuild.confirm_gpu_hours`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from assets_defs.machinery.builds import Builds, Record, set_aside
from assets_defs.machinery.graph import stages
from assets_defs.machinery.stage import Node, Stage
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError
from visor_core.inventory import Inventory, Verified, missing, take_inventory

NAMED = 3
"""Lost files that a message names."""
KEPT = (".lock", ".checks.lock")
"""What stays in a build folder that is emptied: who holds a lock goes on holding it."""


def output_of(home: Home, stage: Stage, output: Path, build: Path) -> Inventory:
    """The files that a build hands on: its output, and what its stage keeps beside it. Those of a corpus are its own.

    Args:
        output: the folder of the output; it may be the build folder itself, or another build's.
        build: the build folder.
    """
    if stage.incremental:
        return {}
    found = take_inventory(home.root, [output, *(build / name for name in stage.beside)], hashed=True)
    made = {name: held for name, held in found.items() if not _says_how(home.root / name, build)}
    known = _verified(home)
    known.note(made)
    known.keep()
    return made


def _verified(home: Home) -> Verified:
    """At which times the content of builds was known."""
    return Verified(home.root / "cache" / "verified.json", home.root)


def _says_how(path: Path, build: Path) -> bool:
    """Whether a file at the top of a build folder, which may be the output itself, tells of its making: by its kind."""
    return path.parent == build and path.suffix in (".json", ".jsonl", ".txt", ".log", ".png")


def lost(home: Home, record: Record, *, deep: bool = False) -> tuple[str, ...]:
    """A line for every file of a build's output that is gone, or has another size or other content.

    Args:
        deep: hash also what was not touched since its content was last known.
    """
    stage, folder = stages().get(record.stage), record.folder(home)
    if not folder.is_dir():
        return (f"{record.path} is gone",)
    if stage and stage.incremental:
        return stage.lost(folder)
    return tuple(f"{name} {fault}" for name, fault in _missing(home, record, deep=deep).items())


def _missing(home: Home, record: Record, *, deep: bool = False) -> dict[str, str]:
    """The files of a build that are lost, and how."""
    known = _verified(home)
    found = missing(home.root, record.files, deep=deep, verified=known)
    known.keep()
    return found


def stands(home: Home, record: Record) -> bool:
    """Whether the output of a build is there, whole and, in a corpus, not replaced by that of other settings since."""
    return not lost(home, record) and stages()[record.stage].holds(record.folder(home), record.data_version)


def discard(home: Home, record: Record) -> None:
    """Remove what is left of a build that lost files, so that it is made again: all of it, or the output alone where
    that has a folder of its own and nothing beside it is lost. Training then goes on from its last checkpoint."""
    build, output = record.build_folder(home), record.folder(home)
    set_aside(build)  # what was made from it names it by its lineage
    gone = [home.root / name for name in _missing(home, record)]
    confined = output != build and output.is_relative_to(build) and all(path.is_relative_to(output) for path in gone)
    unwanted = [output, build / "lineage.json", build / "checks.json"] if confined else list(build.iterdir())
    for path in unwanted:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT and not path.match("lineage-*.json"):
            path.unlink(missing_ok=True)


def require_word(node: Node, what: Iterable[str], profile: Profile, gpu_hours: Mapping[str, float]) -> None:
    """Refuse to build again what is lost where that costs more GPU hours than the profile allows unasked.

    Raises:
        ConfigError: naming what is lost, what it costs, and the command that confirms.
    """
    limit, hours = profile.rebuild.confirm_gpu_hours, gpu_hours.get(node.stage, 0.0)
    if limit is None or hours <= limit:
        return
    named = list(what)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    raise ConfigError(
        f"{node} was built and is lost ({', '.join(named[:NAMED])}{more}): to build it again takes about {hours:.1f} "
        f"GPU hours, and what is made of it follows. Put the files back, or confirm with "
        f"`visor run --profile {profile.name} --rebuild-lost` (from the page: rebuild.confirm_gpu_hours={hours:.0f})"
    )


def losses(nodes: Iterable[Node], profile: Profile, home: Home) -> dict[Node, tuple[str, ...]]:
    """The nodes whose build these settings ask for was finished and has lost something since, and what."""
    builds, found = Builds(home, profile), {}
    for node in nodes:
        record = builds.built(node)
        if record is not None and (gone := lost(home, record)):
            found[node] = gone
    return found
