"""A home whose runs name folders of another place, as versions before 0.2 stored them: noticed, and put right."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from visor_core.config import Home
from visor_core.errors import ConfigError, DataError
from visor_core.tracking.address import PROXIED


def adopt(home: Home) -> Path | None:
    """Make the database of a home name no folder at all; returns the folder it named before.

    Earlier versions stored absolute addresses of artifacts in a dozen columns, and folders in tags: addresses become
    those that any place of the home answers to, folders become relative to it, in one transaction.

    Raises:
        DataError: if there is no database, or it is damaged.
    """
    path = home.mlflow / "mlflow.db"
    if not path.is_file():
        raise DataError(f"{home.root} keeps no runs yet: there is nothing to adopt")
    try:
        with closing(sqlite3.connect(path)) as database, database:
            locations = [row[0] for row in database.execute("SELECT artifact_location FROM experiments")]
            former = next((p.parents[1] for p in map(_artifacts, locations) if p), None)
            if former is None:
                return None
            columns = _text_columns(database)
            for old, new in (((former / "mlflow" / "artifacts").as_uri(), f"{PROXIED}:/"), (str(former), "")):
                for table, column in columns:
                    database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" = ?', (new or ".", old))
                    inside = f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?)'
                    inside += f' WHERE substr("{column}", 1, ?) = ?'
                    database.execute(inside, (new, len(old) + 2, len(old) + 1, f"{old}/"))
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read as MLflow's database: {error}") from error
    return former


def _text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """(table, column) of everything that holds text."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [
        (table, row[1])
        for table in tables
        for row in database.execute(f'PRAGMA table_info("{table}")')
        if row[2].upper().startswith(("VARCHAR", "TEXT"))
    ]


def _artifacts(location: str) -> Path | None:
    """The folder of a `file://` address that is a home's folder of artifacts; None for any other."""
    folder = Path(unquote(urlsplit(location).path)) if location.startswith("file://") else None
    return folder if folder and folder.parts[-2:] == ("mlflow", "artifacts") else None


def refuse_placed(home: Home, location: str) -> None:
    """Stop before files of new runs are written to a folder that an older version noted down, here or elsewhere.

    Raises:
        ConfigError: naming both folders and the command that puts it right.
    """
    if artifacts := _artifacts(location):
        raise ConfigError(
            f"{home.root} was made by an older version, copied or moved: its runs keep their files in"
            f" {artifacts.parents[1]}; make it stand on its own with"
            f" `visor --home {shlex.quote(str(home.root))} adopt`"
        )
