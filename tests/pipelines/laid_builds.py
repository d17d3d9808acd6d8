"""Builds laid into a home without the work behind them: records, checks and folders are real, content is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg

from assets_defs.machinery.builds import Record, judge
from assets_defs.machinery.graph import plan, stages
from assets_defs.machinery.inbox import WATCHED, watched_state
from assets_defs.machinery.stage import Figure, Node
from assets_defs.machinery.workspace import Work
from visor_core.config import Home, Profile
from visor_core.index import Corpus
from visor_core.index.corpus import SCHEMAS, rows
from visor_core.index.pages import held_version
from visor_core.index.register import DOCUMENT_COLUMNS, documents_version
from visor_core.index.tags import latest_version


def lay(
    home: Home,
    profile: Profile,
    node: Node,
    data_version: str = "",
    *,
    path: Path | None = None,
    figures: Mapping[str, Figure] | None = None,
    index_tag: str = "",
    failing: str = "",
) -> Record:
    """A finished build of a node, all of whose blocking checks passed but the one that is named."""
    stage = stages()[node.stage]
    work = Work(stage, node, profile, home, rebuild=False)
    work.context = cast("dg.AssetExecutionContext", SimpleNamespace(run=SimpleNamespace(run_id="laid", tags={})))
    corpus = Corpus(home.corpus(node.partition)) if node.partition else None
    if stage.incremental and corpus is not None:
        held = {
            "documents": lambda: documents_version(rows(corpus.table("documents"), DOCUMENT_COLUMNS)),
            "pages": lambda: held_version(corpus),
            "page_index": lambda: latest_version(corpus),
        }
        data_version = held[node.stage]()
        path = path or corpus.root
        with corpus.writing():
            for table in SCHEMAS:
                corpus.table(table)
    elif not data_version:
        data_version = f"{node} {work.fingerprint}"
    watched = {WATCHED: watched_state(node, home)} if stage.watching(profile, node.partition) else {}
    work.finish(data_version, {**watched, **(figures or {})}, path=path, index_tag=index_tag)
    record = work.record
    work.close()
    for check in record.checks:
        judge(home, record, check, passed=check != failing)
    return record


def lay_chain(home: Home, profile: Profile) -> None:
    """Builds of everything that a champion needs."""
    for node in plan(profile, ["champion_model"]):
        lay(home, profile, node)
