"""A store made ready: a server asked whether it is there, a local database made where it is missing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from visor_core.addresses import pasteable
from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.tracking.address import PROXIED, Store, tracking_uri


def prepare(store: Store, home: Home) -> None:
    """Make sure that MLflow's client can work with a store.

    Raises:
        ConfigError: if no server answers.
    """
    if store.served:
        _require_server(store)
    elif store.local:
        _prepare_database(home)


def _require_server(store: Store) -> None:
    """Ask a server whether it is there, rather than wait for MLflow's many tries.

    Raises:
        ConfigError: if nothing answers.
    """
    import httpx

    try:
        httpx.get(f"{store.address}/health", timeout=10, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(
            f"no MLflow server answers at {store.shown} ({type(error).__name__}): start it, or take away tracking.uri"
            " and MLFLOW_TRACKING_URI"
        ) from None


def _prepare_database(home: Home) -> None:
    """Make the database where it is missing, with no folder of this machine in it.

    The client alone would note the working folder down, as the place of an experiment that nobody uses. MLflow makes
    its tables in some seventy steps, each waiting for the disk; here none does, and the whole is moved into place.
    """
    target = home.mlflow / "mlflow.db"
    if target.is_file():
        return
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    home.mlflow.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=pasteable(home.mlflow), prefix="new-") as folder:
        event.listen(Engine, "connect", _without_waiting)
        try:
            store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{PROXIED}:/")
            store.engine.dispose()
        finally:
            event.remove(Engine, "connect", _without_waiting)
        made = Path(folder) / "mlflow.db"
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(made, target)
        except FileExistsError:
            pass  # another process was as quick: its database has the same tables
        except OSError:  # a file system without links
            made.replace(target)

    # A process that used an earlier database of this name holds connections to the file that is gone.
    for known in (SqlAlchemyStore, Registry):
        engine = known._engine_map.get(tracking_uri(home))
        if engine is not None:
            engine.dispose()


def _without_waiting(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")
