"""For a user's own Python: this home's runs, and its checkpoints by MLflow's own loader.

`connect()`, then `mlflow.transformers.load_model("models:/visor-nano@champion")` is a pipeline that takes messages with
pictures. Without `connect`, `load_model(…, return_type="components")` gives model and processor to any process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from visor_core.config import Home
from visor_core.tracking.address import configured, store_of, use
from visor_core.tracking.checkpoints import PROCESSOR, TASK
from visor_core.tracking.values import silence


def connect(home: Path | str = "", uri: str = "") -> str:
    """Point MLflow, in this process, at the runs of a home (VISOR_HOME, or `.visor`) or at the server that a setting,
    MLFLOW_TRACKING_URI or `uri` names, and teach transformers the pipeline of its checkpoints.

    Returns:
        The address, without what may be secret in it.

    Raises:
        ConfigError: if there is no such address.
    """
    silence()
    store = store_of(Home(Path(home or os.environ.get("VISOR_HOME") or ".visor")), configured(uri), artifacts="unused")
    use(store)
    register_pipeline()
    return store.shown


def register_pipeline() -> None:
    """Make the checkpoints' pipeline known to transformers by its name; a second call changes nothing."""
    from transformers import AutoModelForImageTextToText
    from transformers.pipelines import PIPELINE_REGISTRY, ImageTextToTextPipeline

    class PolicyPipeline(ImageTextToTextPipeline):
        """Words and pictures in, words out: transformers' own, with the processor given under MLflow's name for it."""

        _load_processor = False

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, processor=named.pop(PROCESSOR), **named)

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=PolicyPipeline, pt_model=AutoModelForImageTextToText, type="multimodal"
        )
