"""Dagster's instance under VISOR_HOME: the one place that puts `dagster.yaml` there and opens it.

The file is the user's: it is placed once, and later only completed (`pipelines.instance_settings`).
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from assets_defs.machinery.history import begin_history
from assets_defs.machinery.links import begin_links
from pipelines.instance_settings import merge_settings
from visor_core.addresses import pasteable
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError
from visor_core.files import whole_file
from visor_core.tracking import silence

if TYPE_CHECKING:
    import dagster as dg

TEMPLATE = Path(__file__).resolve().parents[1] / "dagster.yaml"
SAID = "dagster.yaml.kept"
"""Beside the user's file: which of its settings have been said to differ from the project's."""


def place_instance(home: Home) -> Path:
    """Make VISOR_HOME/dagster with the user's `dagster.yaml`, completed by what the project must set.

    A setting that differs from the project's stays, and is said once on stderr.

    Returns:
        The folder, as a path that Dagster can paste into an address: DAGSTER_HOME.

    Raises:
        ConfigError: if the template is missing, the user's file is no YAML mapping, or the folder cannot be written.
    """
    if not TEMPLATE.is_file():
        raise ConfigError(f"{TEMPLATE.name} is missing from the project folder: install visor from its repository")
    target = home.dagster / "dagster.yaml"
    try:
        home.dagster.mkdir(parents=True, exist_ok=True)
        begin_history(home)
        begin_links(home)
        given = target.read_bytes().decode() if target.exists() else ""
        merged = merge_settings(given, TEMPLATE.read_text(encoding="utf-8"), str(target))
        if merged.text != given:
            with whole_file(target, several_writers=True) as partial:
                partial.write_bytes(merged.text.encode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{target} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{error.filename or target} cannot be written: {error.strerror or error}") from error
    if merged.kept:
        _say_once(target, merged.kept)
    return pasteable(home.dagster)


def _say_once(target: Path, kept: tuple[str, ...]) -> None:
    """Say which of the user's settings stay; again only when they have changed, or nothing can be noted down."""
    said = target.with_name(SAID)
    text = "; ".join(kept)
    if said.is_file() and said.read_text(encoding="utf-8") == text:
        return
    print(f"note: {target} keeps your {text}", file=sys.stderr)
    if os.access(target.parent, os.W_OK):
        with whole_file(said, several_writers=True) as partial:
            partial.write_text(text, encoding="utf-8")


def prepare_process() -> None:
    """Set what child processes and libraries read from the environment; called once at the edge of a process."""
    silence()
    # Dagster warns about its own call of its own preview function when a Pipes session ends (dagster 1.13).
    warnings.filterwarnings("ignore", message=".*expected_writer_count.*")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Bars and advice of a library would break into the table of stages; a worker's own log has them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def open_instance(home: Home) -> dg.DagsterInstance:
    """The instance for runs in this process; their output is not captured, so that a live display stays whole.

    Raises:
        ConfigError: as `place_instance`, or if Dagster refuses what `dagster.yaml` says.
    """
    import dagster as dg
    from dagster._core.errors import DagsterError
    from dagster._core.instance.ref import InstanceRef
    from sqlalchemy.exc import SQLAlchemyError

    folder = place_instance(home)
    uncaptured = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    try:
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides={"compute_logs": uncaptured}))
    except (DagsterError, ImportError, SQLAlchemyError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(f"Dagster cannot start with {home.dagster / 'dagster.yaml'}: {reason}") from error


def place_partitions(instance: dg.DagsterInstance, home: Home, profile: Profile) -> None:
    """Make known to Dagster the corpora of a profile, made or not, those that lie in the home, and a study's seeds.

    Corpora of a study's variants, and those made of others, are none that a person builds one by one.
    """
    from assets_defs.machinery.partitions import corpora, study_seeds
    from visor_core.config.derived_corpora import is_derived
    from visor_core.nano.study_variants import SEEDS, is_study_corpus

    lying = [name for name in home.corpora() if not (is_study_corpus(name) or is_derived(name))]
    wanted = {str(corpora.name): (*profile.corpora.names, *lying)}
    if profile.nano is not None:
        wanted[str(study_seeds.name)] = tuple(map(str, SEEDS))
    for name, keys in wanted.items():
        known = set(instance.get_dynamic_partitions(name))
        instance.add_dynamic_partitions(name, [key for key in keys if key not in known])
