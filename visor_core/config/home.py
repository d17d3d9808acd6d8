"""Where everything a run writes lies."""

from __future__ import annotations

from pathlib import Path


class Home:
    """The one folder under which a run writes everything (`VISOR_HOME`, default `.visor/`).

    Made once at the edge (command line, Dagster resource) and passed down; nothing below reads the environment.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    @property
    def dagster(self) -> Path:
        """Dagster's instance folder."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    def corpus(self, name: str) -> Path:
        """One corpus: its sources, LanceDB tables, tags and questions."""
        return self.root / "corpora" / name

    def asset(self, *parts: str) -> Path:
        """Folder of an asset's files (checkpoints, datasets, trajectories)."""
        return self.root.joinpath("assets", *parts)

    @property
    def evaluations(self) -> Path:
        """Results of `visor eval`, and below them the episodes they were scored on."""
        return self.root / "evaluations"

    @property
    def digests(self) -> Path:
        """Hashes of checkpoint files, by path, size and time; may be deleted at any time."""
        return self.root / "cache" / "digests.json"

    @property
    def reports(self) -> Path:
        """HTML reports and episode pages."""
        return self.root / "reports"

    @property
    def bench(self) -> Path:
        """Measurements."""
        return self.root / "bench"
