"""What every worker process shares: its order, Dagster Pipes, progress, MLflow, and dying with the run that started it.

Rank 0 alone talks to Dagster and MLflow; the other ranks of a launch get the same order and stay silent.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesContext, open_dagster_pipes

from assets_defs.machinery.faults import is_transient
from assets_defs.machinery.progress import StageProgress, read_metrics
from assets_defs.machinery.stage import Figure
from pipelines.tied import die_with
from visor_core.config import AgentConfig, Home, Profile
from visor_core.errors import UnreachableError, VisorError
from visor_core.files import write_json
from visor_core.lineage.provenance import write_in_effect
from visor_core.tracking import LOGGED, MODEL_FILE, Tracker, meaningful

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.evaluation.results import BenchmarkResult
    from visor_core.index import PageIndex
    from visor_core.policies.base import Policy


LOGGED_EVERY = 25
"""Steps that go to MLflow in one request, which costs tens of milliseconds."""
LOGGED_AFTER = 5.0
"""Seconds that a step waits at most, where the next one comes meanwhile."""


class Session:
    """One worker's order and its ways of reporting."""

    def __init__(self, order: Mapping[str, Any], pipes: PipesContext | None) -> None:
        self.home = Home(Path(order["home"]))
        self.folder = Path(order["folder"])
        self.stage: str = order["stage"]
        self.profile = Profile.model_validate(order["profile"])
        self.inputs: dict[str, str] = order["inputs"]
        self.progress = StageProgress(self.folder, pipes.log.info if pipes else None)
        self.total = 0
        self.leads = os.environ.get("RANK", "0") == "0"
        self._latest: dict[str, Any] = {}
        self._logged_at = time.monotonic()
        self._pipes = pipes
        self._run_id = os.environ.get("MLFLOW_RUN_ID", "") if pipes else ""
        self._tracker = Tracker(self.home, **order["tracking"]) if self._run_id else None
        # What a killed run had not sent yet is sent with the rest of its steps; MLflow keeps each once.
        self._waiting = read_metrics(self.folder) if self._tracker else []
        self._monitor: Any = None

    def input(self, name: str) -> Path:
        """An input folder or file; one inside VISOR_HOME is ordered by its place there."""
        return self.home.root / self.inputs[name]

    def watch_machine(self) -> None:
        """Log what the work takes of the machine to the MLflow run, every so often, until `close`."""
        seconds = self.profile.tracking.system_metrics_seconds
        if self._tracker and seconds:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            address = self._tracker.store.address
            self._monitor = SystemMetricsMonitor(
                self._run_id, sampling_interval=seconds, resume_logging=True, tracking_uri=address
            )
            self._monitor.start()

    def close(self) -> None:
        """End what runs beside the work."""
        self._log_steps()
        if self._monitor:
            self._monitor.finish()

    def killed(self) -> None:
        """Mark the MLflow run, and that of the Dagster run above it, as killed."""
        self._log_steps()
        if self._tracker:
            self._tracker.kill(self._run_id)

    def open_index(self) -> PageIndex:
        """The input corpus at its tag, with the profile's limits, passwords and embedders' device."""
        from visor_core.index import PageIndex

        return PageIndex.under(self.input("corpus"), self.inputs["index_tag"], self.profile)

    def open_policy(self, stage: str, index: PageIndex, episodes: int, agent: AgentConfig | None = None) -> Policy:
        """The input checkpoint of a stage on the profile's engine, started for so many episodes side by side.

        Args:
            agent: whose contexts it is started for; none takes the profile's.
        """
        from visor_core.agent.bounds import engine_limits
        from visor_core.policies.load import load_policy

        model = self.profile.model
        return load_policy(
            self.input(stage),
            index,
            engine=model.engine,
            dtype=model.dtype,
            name=stage,
            digests=self.home.digests,
            limits=engine_limits(agent or self.profile.agent, model.vllm, episodes=episodes),
            caches=model.caches,
        )

    def on_step(self, values: Mapping[str, Any]) -> None:
        """One step's scalars: to the progress file, the curve and MLflow; `step`, `total`, `phase` are understood."""
        if not self.leads:
            return
        values = meaningful(values)
        self._latest.update(values)
        step, total = int(values.get("step", 0)), int(values.get("total", self.total))
        phase = str(values.get("phase", ""))
        shown = [f"{k} {v:.3g}" for k in ("loss", "reward", "accuracy") if isinstance(v := values.get(k), int | float)]
        self.progress.show(step, total, " ".join([phase, *shown]).strip())
        self._waiting.append(self.progress.step(dict(values)))
        if step % LOGGED_EVERY == 0 or time.monotonic() - self._logged_at >= LOGGED_AFTER:
            self._log_steps()

    def _log_steps(self) -> None:
        """Send the steps that wait to MLflow."""
        steps, self._waiting = self._waiting, []
        if steps and self._tracker:
            self._tracker.training_history(self._run_id, steps)
        self._logged_at = time.monotonic()

    def on_checkpoint(
        self, folder: Path, step: int, metrics: Mapping[str, Any] | None = None, samples: Sequence[Path] = ()
    ) -> str:
        """A checkpoint was saved: an MLflow logged model with metrics, lineage and the files of `samples`.

        Returns:
            The model id; "" without MLflow.
        """
        if self._tracker is None:
            return ""
        self._log_steps()
        self._follow_removed(self._tracker)
        model_id = self._tracker.checkpoint(
            self._run_id,
            f"{self.stage}-{step}",
            folder,
            step=step,
            metrics=None if metrics is None else meaningful(metrics),
            tags={"stage": self.stage, **self._lineage()},
            samples=samples,
        )
        if folder.parent == self.folder:
            self._remember(folder.name, model_id)
        if self._pipes:
            self._pipes.log.info(f"checkpoint of step {step}: {folder}")
        return model_id

    def _follow_removed(self, tracker: Tracker) -> None:
        """MLflow keeps the weights of the checkpoints that training keeps, and of all others what they earned."""
        for name, model_id in self._logged().items():
            if not (self.folder / name).is_dir():
                tracker.remove_weights(model_id)
                self._remember(name, "")

    def _logged(self) -> dict[str, str]:
        """Checkpoint folders of this stage → their logged models with weights, also from before an interruption."""
        path = self.folder / LOGGED
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _remember(self, name: str, model_id: str) -> None:
        logged = self._logged() | {name: model_id}
        write_json(self.folder / LOGGED, {key: value for key, value in logged.items() if value})

    def _lineage(self) -> dict[str, str]:
        """What the stage is made from, as tags: builds by their folders under VISOR_HOME, the index by its tag."""
        root = f"{self.home.root}/"
        made_from = {f"input.{name}": value.removeprefix(root) for name, value in self.inputs.items()}
        return {**made_from, "build": self.folder.name, "seed": str(self.profile.seed)}

    def _in_effect(self) -> dict[str, Any]:
        """What decides rounding in this worker, beside the machine and the packages."""
        import torch

        from visor_core.policies.precision import fast_bfloat16

        asked = {
            "base_model": True,
            "retriever": True,
            "sft_checkpoint": self.profile.sft.optimizer.bf16,
            "grpo_checkpoint": self.profile.grpo.optimizer.bf16,
        }
        mixed = asked.get(self.stage, False) and fast_bfloat16()
        return {
            "threads": torch.get_num_threads(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
            "capability": torch.backends.cpu.get_cpu_capability(),
            "precision": "bfloat16" if mixed else self.profile.model.dtype,
        }

    def last(self, *names: str) -> dict[str, Figure]:
        """The last value reported for each of these scalars, also by the run that this one continues."""
        if not self._latest:
            for row in read_metrics(self.folder):
                self._latest.update(row)
        return {name: round(float(self._latest[name]), 6) for name in names if name in self._latest}

    def log_final(self, folder: Path, figures: Mapping[str, Figure], samples: Sequence[Path] = ()) -> None:
        """Log the finished checkpoint with its curves; leave its model id beside it for benchmark and registry."""
        from visor_core.training.curves import CURVES, curve_image

        curves = curve_image(read_metrics(self.folder), CURVES)
        if curves is not None:
            path = self.folder / "curves.png"
            curves.save(path)
            self.artifacts([path])
        model_id = self.on_checkpoint(folder, int(figures.get("steps", 0)), figures, samples)
        (self.folder / MODEL_FILE).write_text(model_id, encoding="utf-8")

    def evaluated(
        self, name: str, result: BenchmarkResult, episodes: Sequence[Trajectory], index: PageIndex, model_id: str
    ) -> None:
        """A scored evaluation: figures of this run and of the logged model, the table of its questions, traces."""
        if self._tracker:
            from visor_core.evaluation.tracked import kind_of, track

            kind = kind_of(name)
            track(self._tracker, self._run_id, result, episodes, index, name=name, model_id=model_id, kind=kind)

    def artifacts(self, files: list[Path], folder: str = "") -> None:
        """Log files of the run to MLflow."""
        if self._tracker:
            self._tracker.artifacts(self._run_id, files, folder)

    def report(self, data_version: str, figures: Mapping[str, Figure], asset: str = "") -> None:
        """What was made of one asset, back to the work that ordered it, and its figures to MLflow; what held while it
        worked is kept beside it."""
        write_in_effect(self.folder, self._in_effect())
        if self._pipes:
            # No materialization: the run may be another asset's, which builds this stage under settings of its own.
            self._pipes.report_custom_message(
                {"asset": asset or self.stage, "data_version": data_version, "figures": dict(figures)}
            )
        if self._tracker:
            self._tracker.metrics(self._run_id, {f"final/{k}": v for k, v in figures.items()})


def die_with_order(before: Callable[[], None] | None = None) -> None:
    """The same for the process that ordered this one, where it has left its number."""
    if parent := os.environ.get("VISOR_PARENT_PID"):
        die_with(int(parent), before)


def _read_order(path: Path) -> dict[str, Any]:
    """The order, with the build folder, in which it lies, and the home, which it names from there."""
    order = json.loads(path.read_text(encoding="utf-8"))
    return {**order, "folder": str(path.parent), "home": str(path.parent / order["home"])}


@contextmanager
def worker_session() -> Iterator[Session]:
    """Read the order named on the command line and open a session.

    A `VisorError` is written to `error.json` for the ordering process and ends the worker with status 1.
    """
    order = _read_order(Path(sys.argv[1]).resolve())
    opened: list[Session] = []

    def say_killed() -> None:
        for session in opened:
            session.killed()

    die_with_order(say_killed)
    main_rank = os.environ.get("RANK", "0") == "0"
    try:
        with ExitStack() as held:
            reports = main_rank and DAGSTER_PIPES_CONTEXT_ENV_VAR in os.environ
            session = Session(order, held.enter_context(open_dagster_pipes()) if reports else None)
            opened.append(session)
            session.watch_machine()
            held.callback(session.close)
            yield session
    except KeyboardInterrupt:
        say_killed()
        raise
    except VisorError as error:
        write_json(Path(order["folder"]) / "error.json", {"type": type(error).__name__, "message": str(error)})
        raise SystemExit(1) from error
    except Exception as error:
        if is_transient(error):
            told = {"type": UnreachableError.__name__, "message": f"{type(error).__name__}: {error}"}
            write_json(Path(order["folder"]) / "error.json", told)
        raise
