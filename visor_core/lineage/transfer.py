"""A checkpoint carried to another machine: one folder that transformers loads, with all that says where it comes from.

FOLDER/config.json, *.safetensors, …   the checkpoint
FOLDER/README.md                       the model card
FOLDER/lineage.json, lineage/*.json    its own lineage, and that of everything upstream
FOLDER/profile.yaml, wording.yaml      the settings it was trained under, and what its prompts say
FOLDER/index.json                      the index it was trained on: tag, versions, document hashes
FOLDER/evaluation/*.json               what it scored
FOLDER/export.json                     the SHA-256 of every file
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visor_core.config import Home, shipped_wording
from visor_core.config.policies import CHAMPION, POLICIES
from visor_core.errors import DataError
from visor_core.evaluation.results import BenchmarkResult
from visor_core.files import write_json
from visor_core.inventory import Held, Verified, sha256_of
from visor_core.lineage.card import beside, card
from visor_core.lineage.comparison import MEASURED, results_of
from visor_core.lineage.graph import EVALUATION, Build, Lineage, Made, ancestry
from visor_core.policies.identity import NOTES, READ
from visor_core.policies.load import require_checkpoint

MANIFEST = "export.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported folder: whose checkpoint it holds, and how much."""

    folder: Path
    made: Made
    files: int
    size: int


def checkpoint_build(home: Home, build: Build, known: Mapping[Made, Build]) -> Build:
    """The build that trained a checkpoint, where the one given only names it, as `champion_model` does.

    Raises:
        DataError: if it is no checkpoint.
    """
    folder = build.folder(home)
    makers = [
        other
        for other in known.values()
        if other.folder(home) == folder and other.stage != CHAMPION and home.imported not in other.file.parents
    ]
    if build.stage != CHAMPION:
        makers = [build]
    if not makers or not (folder / "config.json").is_file():
        raise DataError(f"{build.made} is no checkpoint: name one, as sft_checkpoint, grpo_checkpoint or champion")
    return makers[0]


def export_checkpoint(home: Home, build: Build, known: Mapping[Made, Build], folder: Path) -> Exported:
    """Write a checkpoint with its lineage, card, settings and results into a new folder.

    Raises:
        DataError: if it is no checkpoint, the folder is not empty, or a result cannot be read.
        PolicyError: if its files are not all there.
    """
    build = checkpoint_build(home, build, known)
    source = build.folder(home)
    require_checkpoint(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: give a new folder")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "lineage").mkdir(parents=True)
    for path in sorted({path for pattern in READ for path in source.glob(pattern) if path.is_file()}):
        if path.name not in NOTES:
            target = partial / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    lineage = ancestry(home, build, known)
    for above in lineage.builds:
        write_json(partial / "lineage" / lineage_name(above), above.stored)
    write_json(partial / "lineage.json", build.stored)
    configuration = build.stored["configuration"]
    _write_yaml(partial / "profile.yaml", configuration)
    wording = configuration["agent"].get("wording") or shipped_wording().model_dump(mode="json")
    _write_yaml(partial / "wording.yaml", wording)
    index = _index_of(build, lineage)
    if index:
        write_json(partial / "index.json", index)
    results = measured(home, build, known)
    for name, result in results.items():
        result.save(partial / "evaluation" / f"{name}.json")
    text = card(build, lineage, index, results, beside(home, build, known))
    (partial / "README.md").write_text(text, encoding="utf-8")
    files = {path.relative_to(partial).as_posix(): sha256_of(path) for path in _files(partial)}
    write_json(partial / MANIFEST, {"format": _FORMAT, "made": build.made._asdict(), "files": files})
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)
    return _exported(folder)


def lineage_name(build: Build) -> str:
    """The name of a lineage file beside others."""
    return f"{build.node}.{build.fingerprint}.{build.data_version}.json"


def _write_yaml(path: Path, value: Any) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _index_of(build: Build, lineage: Lineage) -> dict[str, Any]:
    """What is recorded of the index that a checkpoint was trained on; empty for one that saw none."""
    tag = build.stored.get("index_tag")
    for above in lineage.builds:
        if tag and above.stage == "page_index" and above.stored.get("index_tag") == tag:
            return {"corpus": above.partition, "tag": tag, **above.stored["index"]}
    return {}


def measured(home: Home, build: Build, known: Mapping[Made, Build]) -> dict[str, BenchmarkResult]:
    """The evaluations of a checkpoint that lie in a home, by name.

    Raises:
        DataError: if one cannot be read.
    """
    own = {
        policy.run(sampled=sampled) for policy in POLICIES if policy.stage == build.stage for sampled in (False, True)
    }
    found: dict[str, BenchmarkResult] = {}
    for other in known.values():
        if other.stage in MEASURED and build.made in other.upstream and other.folder(home).exists():
            for name, result in results_of(other, home).items():
                if other.stage == EVALUATION:
                    found[other.folder(home).stem] = result
                elif name in own:
                    found[name] = result
    return found


def import_checkpoint(home: Home, folder: Path) -> Exported:
    """Bring an exported folder into a home, every file compared with its hash.

    Raises:
        DataError: if it is no exported folder, or a file is missing or damaged.
    """
    exported = _exported(folder)
    target = home.imported / exported.made.fingerprint
    if target.is_dir():
        there = None
        with suppress(DataError):  # a damaged manifest is replaced as any other file that is
            there = exported_made(target)
        if there is not None and there != exported.made:
            raise DataError(f"{target} holds {there}: move that folder away first")
        if there is not None and not damaged(target):
            return _exported(target)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    _verify(partial)
    if target.is_dir():  # one that has lost files since
        shutil.rmtree(target)
    partial.rename(target)
    return _exported(target)


def exported_made(folder: Path) -> Made | None:
    """Whose checkpoint an exported folder holds; None if it is none.

    Raises:
        DataError: if its manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Made(**json.loads(path.read_text(encoding="utf-8"))["made"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged: export the checkpoint again") from error


def _exported(folder: Path) -> Exported:
    made = exported_made(folder)
    if made is None:
        raise DataError(f"{folder} is no exported checkpoint: it holds no {MANIFEST}; `visor export` writes one")
    files = list(_files(folder))
    return Exported(folder, made, len(files), sum(path.stat().st_size for path in files))


def _verify(folder: Path) -> None:
    """Compare every file with its hash.

    Raises:
        DataError: naming the first file that is missing or differs; the copy is removed.
    """
    if fault := damaged(folder):
        shutil.rmtree(folder)
        raise DataError(f"{fault} in the exported folder: copy the folder again")


def damaged(folder: Path, verified: Verified | None = None) -> str:
    """The first file of an exported folder that is not what was written, and how; empty if all are.

    Args:
        verified: files that it knows are not hashed; it may come to know more.

    Raises:
        DataError: if its manifest is damaged.
    """
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, digest in expected.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if verified is not None and verified.holds(name, digest):
                continue
            if sha256_of(path) != digest:
                return f"{name} is damaged"
            if verified is not None:
                verified.note({name: Held(path.stat().st_size, digest)})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder / MANIFEST} is damaged: export the checkpoint again, and import that") from error
    return ""


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
