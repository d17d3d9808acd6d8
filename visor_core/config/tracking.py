"""Where runs are tracked: one setting moves them from the database under VISOR_HOME to a server."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from visor_core.config.base import Section


class TrackingConfig(Section):
    """MLflow. Nothing here decides what a stage makes."""

    uri: str = ""
    """Address of an MLflow server (`http://…`); by reference (`env:NAME`, `file:PATH`) if it holds a secret. Empty
    takes that of MLFLOW_TRACKING_URI and, without one, a SQLite database under VISOR_HOME."""
    artifacts: str = ""
    """Where files of runs are kept if `uri` names a database (`s3://bucket/folder`); a server decides by itself."""
    system_metrics_seconds: float = Field(default=10.0, ge=0)
    """How often processor, memory, disk, network and GPU of a training are logged; 0 is never."""

    @field_validator("uri", "artifacts")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        if urlsplit(value).password:
            raise ValueError("an address with a password is given as env:NAME or file:PATH, never as itself")
        return value
