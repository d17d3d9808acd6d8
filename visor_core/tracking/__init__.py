"""MLflow: runs, every checkpoint as a logged model, a registry of those in use; in one SQLite file under VISOR_HOME or
on a server.

>>> from visor_core.tracking import connect
>>> connect(".visor")                                                # doctest: +SKIP
>>> import mlflow
>>> mlflow.transformers.load_model("models:/visor-nano@champion")    # doctest: +SKIP

`Tracker` logs what it is given and decides nothing; importing this package imports no MLflow.
"""

from visor_core.tracking.address import (
    PAGE,
    VARIABLE,
    Store,
    configured,
    page_of,
    run_link,
    store_of,
    tracking_uri,
)
from visor_core.tracking.checkpoints import MODEL_FILES
from visor_core.tracking.loading import connect
from visor_core.tracking.moving import adopt
from visor_core.tracking.runs import (
    COMPARISON,
    EVALUATION,
    KIND_TAG,
    RUN_FILE,
    STAGE,
    Outcome,
    commit_tags,
    outcome_of,
    project_name,
)
from visor_core.tracking.tracker import LOGGED, MODEL_FILE, Tracker, knows_run, logged_model, model_of
from visor_core.tracking.values import QUIET, flat, meaningful, silence

__all__ = [
    "COMPARISON",
    "EVALUATION",
    "KIND_TAG",
    "LOGGED",
    "MODEL_FILE",
    "MODEL_FILES",
    "PAGE",
    "QUIET",
    "RUN_FILE",
    "STAGE",
    "VARIABLE",
    "Outcome",
    "Store",
    "Tracker",
    "adopt",
    "commit_tags",
    "configured",
    "connect",
    "flat",
    "knows_run",
    "logged_model",
    "meaningful",
    "model_of",
    "outcome_of",
    "page_of",
    "project_name",
    "run_link",
    "silence",
    "store_of",
    "tracking_uri",
]
