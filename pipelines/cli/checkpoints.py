"""Which checkpoint `visor ask` and `visor eval` take, and whether it is whole: what is lost is told with its remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipelines.choice import PROFILES, Choice
from pipelines.cli.session import command_line, errors, read_lineage
from visor_core.errors import DataError, PolicyError

if TYPE_CHECKING:
    from visor_core.config import Home


def choose_checkpoint(home: Home, given: Path | None) -> Path:
    """The checkpoint asked for, as a folder or as `visor lineage` takes it; unasked the champion, else the only one
    that was imported, else the newest that training has put in force. What was chosen unasked is said on stderr.

    Raises:
        PolicyError: if there is none, it cannot be told which, or it has lost files, with the command that helps.
    """
    from visor_core.policies.load import require_checkpoint

    if given is not None:
        folder = given if given.exists() else _of_build(home, str(given))
    else:
        folder, why = _unasked(home)
        errors.print(f"checkpoint: {home.below(folder)}, {why}", style="dim", markup=False, soft_wrap=True)
    _require_whole(home, folder)
    require_checkpoint(folder)
    return folder


def _unasked(home: Home) -> tuple[Path, str]:
    """The checkpoint that is taken where none is named, and why.

    Raises:
        PolicyError: if there is none, or several were imported and nothing else is there.
    """
    from assets_defs.machinery.builds import find_record
    from assets_defs.machinery.stage import Node
    from visor_core.config.policies import CHAMPION, TRAINED

    imported = sorted(path.parent for path in home.imported.glob("*/export.json"))
    names = ", ".join(folder.name for folder in imported)
    beside = f"; imported, taken by --checkpoint: {names}" if imported else ""
    if (champion := find_record(home, Node(CHAMPION))) is not None:
        return champion.folder(home), f"the champion ({champion.figures.get('champion', 'no stage named')}){beside}"
    if len(imported) == 1:
        return imported[0], "which was imported: no champion was trained here"
    for policy in reversed(TRAINED):
        if (record := find_record(home, Node(policy.stage))) is not None:
            return record.folder(home), f"the newest in force: no champion was chosen yet{beside}"
    if imported:
        raise PolicyError(f"{len(imported)} checkpoints were imported: choose one by --checkpoint, of {names}")
    raise PolicyError(
        f"no checkpoint under {home.root} yet: `visor run` trains one; or give --checkpoint FOLDER, or --endpoint URL"
    )


def _of_build(home: Home, name: str) -> Path:
    """The checkpoint folder of a build, made here or imported.

    Raises:
        PolicyError: if there is no such build.
    """
    from visor_core.lineage import find_build

    try:
        build = find_build(home, name)
    except DataError as error:
        raise PolicyError(f"no checkpoint at {name}, and no build of that name: {error}") from error
    folder = build.folder(home)
    # Only what was built here lies at its path; the lineage of an imported one says where it lay elsewhere.
    return home.imported / build.fingerprint if home.imported in build.file.parents else folder


def _require_whole(home: Home, folder: Path) -> None:
    """A checkpoint of this home, built or imported, holds the files that were written; one from elsewhere is not known.

    Raises:
        PolicyError: naming the first file that is lost or damaged, and the command that brings it back.
    """
    from assets_defs.machinery.builds import read_build
    from assets_defs.machinery.losses import lost
    from assets_defs.machinery.stage import Node
    from visor_core.inventory import Verified
    from visor_core.lineage.transfer import damaged

    folder = folder.resolve()
    if home.imported.resolve() in folder.parents:
        known = Verified(home.root / "cache" / f"verified-{folder.name}.json", folder)
        fault = damaged(folder, known)
        known.keep()
        if fault:
            raise PolicyError(f"{folder / fault}: `visor import FOLDER` of the exported folder brings it again")
        return
    stored = read_lineage(folder)
    if home.root.resolve() not in folder.parents or "asset" not in stored:
        return
    record = read_build(home, Node(stored["asset"], stored["partition"]), stored["fingerprint"])
    if record is not None and record.folder(home).resolve() == folder and (gone := lost(home, record)):
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise PolicyError(f"{home.root / gone[0]}{more}: `{command_that_made(home, stored)}` makes it again")


def command_that_made(home: Home, stored: Mapping[str, Any]) -> str:
    """The `visor run` that makes a build again under its own settings.

    Args:
        stored: its lineage.
    """
    name = str(stored["profile"])
    known = (PROFILES / f"{name}.yaml").is_file()
    arguments = [] if name == "nano" else ["--profile", name if known else "FILE"]
    arguments += ["--select", str(stored["asset"])]
    arguments += ["--corpus", str(stored["partition"])] if stored["partition"] else []
    if known:
        usual = Choice(name).resolve().model_dump(mode="json")
        for key, value in _differing(usual, stored["configuration"]):
            arguments += ["--set", f"{key}={_as_yaml(value)}"]
    return command_line(home, "run", *arguments)


def _as_yaml(value: Any) -> str:
    """A value as `--set` reads it, which takes the word `off` for a truth value.

    >>> [_as_yaml(value) for value in ("off", "skip", 3, None, ["a"])]
    ['"off"', 'skip', '3', 'null', '["a"]']
    """
    plain = isinstance(value, str) and yaml.safe_load(value) == value
    return str(value) if plain else json.dumps(value)


def _differing(usual: Mapping[str, Any], held: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of a configuration that are not those of its profile, by dotted key; those of another version left out.

    >>> list(_differing({"seed": 0, "sft": {"steps": 9, "lr": 1}}, {"seed": 0, "sft": {"steps": 3, "lr": 1}}))
    [('sft.steps', 3)]
    """
    for name in usual.keys() & held.keys():
        one, other = usual[name], held[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() & other.keys():
            yield from _differing(one, other, f"{above}{name}.")
        elif one != other:
            yield f"{above}{name}", other
