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
from visor_core.tracking.runs import QUIET, RUN_FILE, Outcome, meaningful, outcome_of, project_name, silence
from visor_core.tracking.tracker import MODEL_FILE, Tracker, knows_run

__all__ = [
    "MODEL_FILE",
    "MODEL_FILES",
    "PAGE",
    "QUIET",
    "RUN_FILE",
    "VARIABLE",
    "Outcome",
    "Store",
    "Tracker",
    "adopt",
    "configured",
    "connect",
    "knows_run",
    "meaningful",
    "outcome_of",
    "page_of",
    "project_name",
    "run_link",
    "silence",
    "store_of",
    "tracking_uri",
]
