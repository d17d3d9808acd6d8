"""Jobs: named selections of the asset graph, checks included: builds are put in force by them."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_defs.machinery.graph import stages
from visor_core.config import Profile

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("documents", "pages", "page_index", "questions"),
    description="Read, rasterise and index one corpus, and read its questions.",
)


def retrain_job(profile: Profile) -> UnresolvedAssetJobDefinition:
    """The whole chain of a profile, from documents to champion."""
    names = [name for stage in stages().values() if stage.applies(profile) for name in (stage.name, *stage.also)]
    return dg.define_asset_job(
        "retrain",
        selection=dg.AssetSelection.assets(*names),
        description="The whole chain, from documents to champion. What is unchanged reuses what it has made.",
    )
