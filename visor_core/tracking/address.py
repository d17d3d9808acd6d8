"""Where runs are kept: the SQLite database under VISOR_HOME, or a server that one setting names.

Addresses travel as references (`env:MLFLOW_TRACKING_URI`), since they may hold a password; only the client reads one.
Files of local runs have addresses without a place (`mlflow-artifacts:/…`), which MLflow's server resolves by itself
and `local_files` resolves in this process: a home that was moved or copied names no other folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from visor_core.addresses import pasteable
from visor_core.config import Home, SecretReference
from visor_core.errors import ConfigError

VARIABLE = "MLFLOW_TRACKING_URI"
PAGE = "http://127.0.0.1:5000"
"""Where `visor ui` shows runs, unless it says otherwise."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
PROXIED = "mlflow-artifacts"
"""The scheme of addresses that a server resolves."""


@dataclass(frozen=True, slots=True)
class Store:
    """A store of runs: the address for MLflow's client, and where files of runs go (empty: the server decides)."""

    address: str = field(repr=False)
    files: str
    local: bool

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        if self.local:
            return self.address
        parts = urlsplit(self.address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def served(self) -> bool:
        """Whether a server answers at the address, with pages of its own."""
        return self.address.startswith(("http://", "https://"))


def configured(uri: str) -> str:
    """The setting `tracking.uri`, or a reference to the environment's address; empty without either.

    For the edge of a process: what is below gets the reference.
    """
    return uri or (f"env:{VARIABLE}" if os.environ.get(VARIABLE) else "")


def tracking_uri(home: Home) -> str:
    """The SQLite address MLflow's client and page share."""
    return f"sqlite:///{pasteable(home.mlflow) / 'mlflow.db'}"


def store_of(home: Home, uri: str = "", artifacts: str = "") -> Store:
    """The store that a reference names; without one, the home's own.

    Raises:
        ConfigError: if the reference cannot be read, or it is no address of a server or database.
    """
    if not uri:
        return Store(tracking_uri(home), f"{PROXIED}:/", local=True)
    address = uri
    if uri.startswith(("env:", "file:")):
        address = SecretReference.parse(uri, "tracking.uri").read_line().get_secret_value()
    scheme = urlsplit(address).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return Store(address.rstrip("/"), "", local=False)
    if scheme not in DATABASES:
        raise ConfigError(
            f"{_source(uri)} is no address of an MLflow server: give http://HOST:PORT (`mlflow server` starts one)"
        )
    if not artifacts:
        raise ConfigError(
            f"{_source(uri)} is a database: say where files of runs go with `--set tracking.artifacts=s3://…`,"
            " or give the address of an MLflow server"
        )
    return Store(address, artifacts, local=False)


def _source(uri: str) -> str:
    """A reference by its name; what was given as itself is not repeated."""
    return uri.partition(":")[2] if uri.startswith("env:") else "tracking.uri"


def run_link(page: str, run_id: str) -> str:
    """The address of a run on MLflow's page, which looks for the run's experiment itself; empty without a page.

    >>> run_link("http://127.0.0.1:5000", "7f3a")
    'http://127.0.0.1:5000/#/runs/7f3a'
    """
    return f"{page}/#/runs/{run_id}" if page and run_id else ""


def page_of(home: Home, uri: str = "", *, local: str = PAGE) -> str:
    """Where the runs of a home can be looked at: on the server, or on the page of its own (`local`).

    Empty for a database without a server, and for a reference that cannot be read yet.
    """
    try:
        store = store_of(home, uri, artifacts="elsewhere")
    except ConfigError:
        return ""  # said where the store is used
    if store.local:
        return local
    return store.shown if store.served else ""


def local_files(address: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """MLflow's artifact repository of an address that a server resolves; in a local store, a folder by its database.

    Registered for the scheme in place of MLflow's own, which it hands every other store on to.
    """
    import mlflow
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    store = tracking_uri or mlflow.get_tracking_uri()
    if not store.startswith("sqlite:///"):
        return MlflowArtifactsRepository(address, tracking_uri=tracking_uri, registry_uri=registry_uri)
    inside = [part for part in unquote(urlsplit(address).path).split("/") if part]
    if ".." in inside:
        raise ConfigError(f"{address} leaves the folder of the runs: the database was tampered with")
    folder = Path(store.removeprefix("sqlite:///")).parent / "artifacts"
    return LocalArtifactRepository(folder.joinpath(*inside).as_uri())


def use(store: Store) -> None:
    """Make a store this process's own: registering a model and writing a trace ask the process-wide address.

    MLflow would also leave the address in the environment, where it would pass for the user's.
    """
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    given = os.environ.get(VARIABLE)
    mlflow.set_tracking_uri(store.address)
    if given is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = given
    # MLflow reads plugins from the metadata of installed packages alone; this is what its loader of plugins calls.
    _artifact_repository_registry.register(PROXIED, local_files)
