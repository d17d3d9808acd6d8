"""Which build is meant: by folder, result file, asset, fingerprint, MLflow's or Dagster's id, or as `champion`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.lineage.graph import EVALUATION, Build, Made, is_in_force, read_builds, read_lineage, upstream_of

CHAMPION = "champion"
FORMS = (
    "a folder, a result of visor eval, an asset such as sft_checkpoint or page_index[nano-train], a fingerprint, an id"
    " of MLflow or Dagster, or champion"
)
SHORTEST = 4
"""Characters of a fingerprint or an id that may stand for the whole."""


def find_build(home: Home, given: str, known: Mapping[Made, Build] | None = None) -> Build:
    """The build that a user means.

    Args:
        given: in one of the `FORMS`; an id may be shortened to where it is still the only one.
        known: the builds of the home, if they were read already.

    Raises:
        DataError: if there is none, or it could be several.
    """
    known = read_builds(home) if known is None else known
    path = Path(given).expanduser()
    if path.exists() and (path.is_absolute() or "/" in given or path.suffix == ".json" or not _named(home, given)):
        return _at(home, path, known)
    if given == CHAMPION:
        return _in_force(home, "champion_model", known)
    if _named(home, given):
        return _in_force(home, given, known)
    return _by_id(home, given, known)


def home_holding(given: str, home: Home) -> Home:
    """The home that a folder or a file lies in; the one given for everything else.

    So a build of another home, such as one that was rebuilt to compare, is named by its folder.
    """
    path = Path(given).expanduser()
    parents = path.resolve().parents if path.exists() else ()
    return next((Home(p.parent) for p in parents if p.name in ("assets", "evaluations", "imported")), home)


def _named(home: Home, given: str) -> bool:
    """Whether something is an asset's name, with or without a corpus."""
    stage = given.partition("[")[0]
    return given == CHAMPION or (bool(re.fullmatch(r"[a-z_]+", stage)) and home.asset(stage).is_dir())


def _at(home: Home, path: Path, known: Mapping[Made, Build]) -> Build:
    """The build that a folder or a result file belongs to."""
    path = path.resolve()
    by_file = {build.file.resolve(): build for build in known.values()}
    result = {build.folder(home).resolve(): build for build in known.values() if build.stage == EVALUATION}
    if path in by_file or path in result:
        return by_file.get(path) or result[path]
    for folder in (path, *path.parents)[:4]:
        if (found := by_file.get(folder / "lineage.json")) is not None:
            return found
        if (folder / "lineage.json").is_file():  # an exported checkpoint, or what says why it is none
            exported = read_lineage(folder / "lineage.json")
            return known.get(exported.made, exported)
    own = [build for build in known.values() if build.folder(home).resolve() == path]
    if own:
        return max(own, key=lambda build: str(build.stored["created"]))
    raise DataError(f"{path} is no build of {home.root}: give {FORMS}")


def _in_force(home: Home, name: str, known: Mapping[Made, Build]) -> Build:
    """The build of an asset that was put in force last."""
    stage, _, rest = name.partition("[")
    partition = rest.removesuffix("]")
    found = [
        build
        for build in known.values()
        if build.stage == stage and (not rest or build.partition == partition) and is_in_force(home, build)
    ]
    if len(found) > 1:
        raise DataError(f"{name} is several: choose one of {', '.join(sorted(build.node for build in found))}")
    if not found:
        asset = "champion" if name == "champion_model" else name
        raise DataError(f"{home.root} has no {asset} in force: `visor run --select {stage}` makes one")
    return found[0]


def _by_id(home: Home, given: str, known: Mapping[Made, Build]) -> Build:
    """The build with a fingerprint, a run or a model that begins so; of the builds of one run, the last."""
    if len(given) >= SHORTEST:
        of_print = [build for build in known.values() if build.fingerprint.startswith(given)]
        newest = {(build.node, build.fingerprint): build for build in _by_age(of_print)}
        if newest:
            return _only(given, newest.values())
        of_run = [build for build in known.values() if any(name.startswith(given) for name in build.ids)]
        if of_run:
            above = {made for build in of_run for made in upstream_of([build], known) - {build.made}}
            return _only(given, [build for build in of_run if build.made not in above])
    raise DataError(f"{home.root} knows no build {given!r}: give {FORMS}")


def _by_age(builds: Iterable[Build]) -> list[Build]:
    return sorted(builds, key=lambda build: (str(build.stored["created"]), build.file.name == "lineage.json"))


def _only(given: str, found: Iterable[Build]) -> Build:
    builds = list(found)
    if len(builds) > 1:
        names = ", ".join(sorted(str(build.made) for build in builds))
        raise DataError(f"{given!r} could be {names}: give more of its fingerprint")
    return builds[0]
