"""Where everything a run writes lies, and what a corpus may be called there."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from visor_core.errors import ConfigError

LONGEST_NAME = 100
"""Bytes of a corpus name; file systems allow 255, and files named after a corpus need room."""
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever follows the dot."""


def corpus_name(name: str) -> str:
    """A corpus name fit to be a folder, a partition and a word of a command, in Unicode's composed form (NFC).

    >>> corpus_name("reports 2024")
    'reports 2024'

    Raises:
        ConfigError: if it is not.
    """
    composed = unicodedata.normalize("NFC", name)
    plain = all(c in "._- " or c.isalnum() or unicodedata.category(c)[0] == "M" for c in composed)
    if not plain or not composed[:1].isalnum() or composed[-1] in ". " or ".." in composed:
        raise ConfigError(
            f"{composed[:60]!r} is no corpus name: use letters, digits, spaces, dots, dashes and underscores,"
            " a letter or digit first"
        )
    if len(composed.encode()) > LONGEST_NAME:
        raise ConfigError(
            f"the corpus name {composed[:40]!r}… is longer than {LONGEST_NAME} bytes: choose a shorter one"
        )
    if RESERVED.fullmatch(composed):
        raise ConfigError(f"{composed!r} is no corpus name: Windows reserves it for a device")
    return composed


class Home:
    """The one folder under which a run writes everything (`VISOR_HOME`, default `.visor/`).

    Made once at the edge (command line, Dagster resource) and passed down; nothing below reads the environment.
    """

    def __init__(self, root: Path) -> None:
        """Take a folder, which need not be there yet.

        Raises:
            ConfigError: if it is an address, or cannot be a folder.
        """
        if not str(root).strip() or any(unicodedata.category(c) == "Cc" for c in str(root)):
            raise ConfigError(f"VISOR_HOME {str(root)!r} is blank or holds a control character: choose another folder")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(root)):
            raise ConfigError(
                f"VISOR_HOME {root} is an address: give a folder of this machine (documents may lie elsewhere:"
                " `visor ingest s3://…` reads them from there)"
            )
        try:
            self.root = root.expanduser().resolve()
            str(self.root).encode()
            taken = self.root.exists() and not self.root.is_dir()
        except UnicodeEncodeError as error:
            raise ConfigError(f"VISOR_HOME {str(root)!r} is not UTF-8: rename the folder or choose another") from error
        except (OSError, RuntimeError) as error:  # RuntimeError: `~name` of nobody, or links in a circle
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"VISOR_HOME {root} cannot be a folder: {reason}") from error
        if taken:
            raise ConfigError(f"VISOR_HOME {root} is a file: choose a folder")

    def below(self, path: Path) -> str:
        """A path as it is stored: relative to the home where it lies in it, which may be moved; else as it is."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    @property
    def dagster(self) -> Path:
        """Dagster's instance folder."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    def corpus(self, name: str) -> Path:
        """One corpus: its sources, LanceDB tables, tags and questions.

        Raises:
            ConfigError: as `corpus_name`.
        """
        return self.root / "corpora" / corpus_name(name)

    def corpora(self) -> list[str]:
        """Names of the corpora that are there."""
        folder = self.root / "corpora"
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def inbox(self, name: str) -> Path:
        """Where documents put aside for a corpus wait: a folder of its name, in whatever Unicode form it was made."""
        root, name = self.root / "inbox", corpus_name(name)
        there = root.iterdir() if root.is_dir() else ()
        return next((path for path in there if unicodedata.normalize("NFC", path.name) == name), root / name)

    def asset(self, *parts: str) -> Path:
        """Folder of an asset's files (checkpoints, datasets, trajectories)."""
        return self.root.joinpath("assets", *parts)

    @property
    def evaluations(self) -> Path:
        """Results of `visor eval`, and below them the episodes they were scored on."""
        return self.root / "evaluations"

    @property
    def imported(self) -> Path:
        """Checkpoints that `visor import` brought, each in a folder of its fingerprint."""
        return self.root / "imported"

    @property
    def rebuilt(self) -> Path:
        """Homes that `visor reproduce` built to compare, each in a folder of the fingerprint."""
        return self.root / "rebuilt"

    @property
    def fetched(self) -> Path:
        """Files of the hub, by benchmark and commit; may be deleted once they are ingested."""
        return self.root / "fetched"

    @property
    def stress(self) -> Path:
        """Documents of noise that a stress generated, by corpus; and the lock of those that run."""
        return self.root / "stress"

    @property
    def digests(self) -> Path:
        """Hashes of checkpoint files, by path, size and time; may be deleted at any time."""
        return self.root / "cache" / "digests.json"

    @property
    def calls(self) -> Path:
        """Replies of paid endpoints and what they cost (`policies.calls`); deleted, they are paid for again."""
        return self.root / "calls" / "calls.sqlite"

    @property
    def reports(self) -> Path:
        """HTML reports and episode pages."""
        return self.root / "reports"

    @property
    def bench(self) -> Path:
        """Measurements."""
        return self.root / "bench"
