"""What the lineage of a build says beside its record: from which builds, by what code and settings, on what machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.graph import stages
from assets_defs.machinery.launching import launch_settings
from visor_core.lineage.provenance import provenance, read_in_effect, weights_hash
from visor_core.tracking import RUN_FILE, logged_model

if TYPE_CHECKING:
    from assets_defs.machinery.workspace import Work

SESSION = "visor/session"
"""The tag of Dagster's runs that one `visor run` has started."""


def lineage_of(work: Work, output: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a build's `lineage.json` holds beside its record, as JSON values.

    Args:
        output: the folder of what was made; its weights are hashed if it holds any.
        told: what the asset itself says: the documents of a corpus, the manifest of an index, what came `from_outside`.
    """
    settings = work.stage.decisive(work.profile, work.node.partition, work.home)
    lineage = {
        "profile": work.profile.name,
        "given": work.given,
        "configuration": work.profile.model_dump(mode="json"),
        "settings": settings,
        "fingerprints": {str(need): work.input(need.stage, need.partition).fingerprint for need in work.inputs},
        **provenance(),
        "code_versions": _code_versions(work),
        "in_effect": read_in_effect(work.folder),
        "mlflow": {"run": _noted(work.folder / RUN_FILE), "model": logged_model(work.folder)},
        "dagster": _dagster_ids(work),
        **told,
    }
    if settings.get("launch"):
        lineage["launch"] = {"file": work.profile.accelerate, "content": launch_settings(work.profile)}
    if weights := weights_hash(output):
        lineage["weights"] = weights
    return lineage


def _code_versions(work: Work) -> dict[str, str]:
    """The code versions of now of the stage and of all upstream of it.

    An upstream build may have been made by earlier code: it stays what it is where the present code makes the same.
    """
    known = stages()
    versions = {work.stage.name: work.stage.version}
    waiting = list(work.inputs)
    while waiting:
        node = waiting.pop()
        versions[node.stage] = known[node.stage].version
        inputs = known[node.stage].inputs(work.profile, node.partition)
        waiting += [need for need in inputs if need.stage not in versions]
    return versions


def _noted(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _dagster_ids(work: Work) -> dict[str, str]:
    """The run that made it, and the `visor run` that asked for it, if one did."""
    session = work.context.run.tags.get(SESSION, "")
    return {"run": work.context.run.run_id, **({"session": session} if session else {})}
