"""Jobs: named selections of the asset graph."""

from __future__ import annotations

import dagster as dg

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("documents", "pages", "page_index"),
    description="Read, rasterise and index one corpus.",
)

retrain_job = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(
        "teacher_trajectories",
        "sft_dataset",
        "sft_checkpoint",
        "grpo_checkpoint",
        "grpo_rollouts",
        "benchmark_results",
        "champion_model",
    ),
    description="Teacher to champion. A stage whose inputs, code and settings are unchanged reuses what it has made.",
)
