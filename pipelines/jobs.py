"""Jobs: named selections of the asset graph, checks included: builds are put in force by them."""

from __future__ import annotations

import dagster as dg

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("documents", "pages", "page_index", "questions"),
    description="Read, rasterise and index one corpus, and read its questions.",
)

retrain_job = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.all(),
    description="The whole chain, from documents to champion. What is unchanged reuses what it has made.",
)
