"""Sensors: documents put into `VISOR_HOME/inbox/<corpus>/` are ingested into the corpus of that name."""

import hashlib
import json
import os
import stat
from pathlib import Path

import dagster as dg

from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.workspace import Workspace
from pipelines.jobs import ingest_job
from visor_core.config import corpus_name
from visor_core.errors import ConfigError


def folder_state(folder: Path) -> str:
    """Hash (16 hex digits) of names, sizes and times of the files under a folder; empty text if there are none."""
    rows = []
    for path in sorted(p for p in folder.rglob("*") if not p.name.startswith(".")):
        try:
            status = path.stat()
        except OSError:
            continue  # it went meanwhile, or is no file: the ingest says why it cannot be read
        if stat.S_ISREG(status.st_mode):
            # A name need not be UTF-8.
            rows.append(os.fsencode(path.relative_to(folder)) + f" {status.st_size} {status.st_mtime_ns}".encode())
    return hashlib.sha256(b"\n".join(rows)).hexdigest()[:16] if rows else ""


@dg.sensor(job=ingest_job, minimum_interval_seconds=30, description="Watches VISOR_HOME/inbox/<corpus>/.")
def inbox(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult | dg.SkipReason:
    """One run for every corpus whose inbox folder changed since the last look."""
    root = workspace.place.root / "inbox"
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    now: dict[str, str] = {}
    for folder in folders:
        try:
            now[corpus_name(folder.name)] = folder_state(folder)
        except ConfigError as error:
            context.log.warning(f"{folder} is left alone: {error}")
    changed = [name for name, state in now.items() if state and state != seen.get(name)]
    if not changed:
        return dg.SkipReason(f"nothing new under {root}")
    known = set(context.instance.get_dynamic_partitions(str(corpora.name)))
    fresh = [name for name in changed if name not in known]
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{name}-{now[name]}", partition_key=name) for name in changed],
        dynamic_partitions_requests=[corpora.build_add_request(fresh)] if fresh else [],
        cursor=json.dumps(now),
    )
