"""What MLflow's store knows of builds beside their lineage: which are under an alias, and which run is whose."""

from __future__ import annotations

import re
from typing import Any

from visor_core.errors import DataError

DAGSTER_RUN = "dagster_run_id"
"""The tag of a run that names the Dagster run it belongs to."""
RUN_ID = re.compile(r"[0-9a-f]{32}")


def aliased(uri: str) -> set[str]:
    """Ids of the runs and logged models whose versions the registry names by an alias.

    Raises:
        DataError: if the store does not answer: what it names is not known then.
    """
    from mlflow.exceptions import MlflowException

    client, found = _client(uri), set[str]()
    try:
        for model in client.search_registered_models():
            for version in (model.aliases or {}).values():
                named = client.get_model_version(model.name, version)
                found |= {str(name) for name in (named.run_id, named.model_id) if name}
    except MlflowException as error:
        raise DataError(f"MLflow's store does not say which models have an alias: {_line(error)}") from error
    return found


def dagster_run_of(uri: str, run_id: str) -> str:
    """The Dagster run that an MLflow run stands for; empty for one that is not known or stands for none."""
    from mlflow.exceptions import MlflowException

    if not RUN_ID.fullmatch(run_id):
        return ""
    try:
        return str(_client(uri).get_run(run_id).data.tags.get(DAGSTER_RUN, ""))
    except MlflowException:
        return ""  # no such run: the caller says what may be named


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
