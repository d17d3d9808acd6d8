"""Lineage files written as builds write them, with small values: a corpus, an index, two checkpoints, an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from visor_core.config import Home, Profile
from visor_core.lineage import Build
from visor_core.lineage.graph import read_lineage

MACHINE = {
    "system": "Linux",
    "architecture": "x86_64",
    "vendor": "GenuineIntel",
    "processor": "Xeon",
    "extensions": ["avx", "avx2"],
    "cores": 2,
    "gpus": [],
}
DOCUMENT = {
    "document_id": "d0" * 16,
    "filename": "<b>report</b>.pdf",
    "source_uri": "file:///gone/report.pdf",
    "partition": "",
    "num_bytes": 7,
    "num_pages": 1,
    "status": "ok",
}


def write_build(
    home: Home,
    node: str,
    fingerprint: str,
    data_version: str,
    upstream: tuple[Build, ...] = (),
    *,
    in_force: bool = True,
    file: str = "lineage.json",
    **more: Any,
) -> Build:
    """One build of a node (`stage[partition]`); fingerprints are padded to their 16 digits."""
    stage, _, rest = node.partition("[")
    partition = rest.removesuffix("]")
    fingerprint = fingerprint.ljust(16, "0")
    place = home.asset(stage, *([partition] if partition else []))
    folder = place / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".lock").touch()
    stored = {
        "asset": stage,
        "partition": partition,
        "fingerprint": fingerprint,
        "data_version": data_version,
        "code_version": "c0de",
        "path": (folder / "final").relative_to(home.root).as_posix(),
        "seed": 0,
        "index_tag": "",
        "seconds": 1.0,
        "created": "2026-11-30T10:00:00+00:00",
        "figures": {},
        "upstream": {build.node: build.data_version for build in upstream},
        "fingerprints": {build.node: build.fingerprint for build in upstream},
        "settings": {"sft": {"steps": 3}},
        "profile": "tiny",
        "configuration": Profile(name="tiny").model_dump(mode="json"),
        "python": "3.11.7",
        "code": {"commit": "ab" * 20, "dirty": False},
        "code_versions": {stage: "c0de"},
        "packages": {"torch": "2.13.0"},
        "machine": MACHINE,
        "in_effect": {},
        **more,
    }
    path = folder / file
    path.write_text(json.dumps(stored), encoding="utf-8")
    if in_force:
        (place / "current.json").write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
    return read_lineage(path)


def write_chain(home: Home, data_version: str = "weights-1", **of_checkpoint: Any) -> dict[str, Build]:
    """documents → page_index → sft_checkpoint, all in force."""
    documents = write_build(home, "documents[mine]", "d1", "docs-1", documents=[DOCUMENT])
    index = write_build(
        home,
        "page_index[mine]",
        "e1",
        "index-1",
        (documents,),
        index_tag="index-index-1",
        index={"tag": "index-index-1", "tables": {"pages": 3}, "data_version": "index-1"},
        documents=[DOCUMENT],
        dagster={"run": "run-of-the-corpus"},
    )
    checkpoint = write_build(
        home,
        "sft_checkpoint",
        "f1",
        data_version,
        (index,),
        **{
            "weights": "9" * 64,
            "index_tag": "index-index-1",
            "mlflow": {"run": "m" * 32, "model": "m-123456"},
            "dagster": {"run": "run-of-the-training"},
            **of_checkpoint,
        },
    )
    return {"documents": documents, "index": index, "checkpoint": checkpoint}


def folder_of(home: Home, build: Build) -> Path:
    """The output folder of a build, made."""
    folder = build.folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
