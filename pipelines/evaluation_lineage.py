"""The lineage of a `visor eval`: from which checkpoint, index and questions, how it was called, what came out.

It lies in `VISOR_HOME/evaluations/lineage/`, named by a digest of what its episodes are kept under and of its label:
the same episodes under two labels are two results.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visor_core.files import write_json
from visor_core.lineage import Build, find_build, read_builds
from visor_core.lineage.graph import EVALUATION, Made
from visor_core.lineage.provenance import provenance

if TYPE_CHECKING:
    from visor_core.config import Home, Profile
    from visor_core.evaluation.results import BenchmarkResult


@dataclass(frozen=True, slots=True)
class EvaluationCall:
    """How `visor eval` was called; `checkpoint` and `questions` are absolute paths, empty for a served model and for
    the questions of the corpus.
    """

    benchmark: str
    split: str
    corpus: str
    questions: str
    checkpoint: str
    engine: str
    temperature: float
    limit: int | None
    label: str
    policy: str = ""
    """The name of a policy without a model."""


def keep_lineage(
    home: Home,
    path: Path,
    result: BenchmarkResult,
    profile: Profile,
    checkpoint: Path | None,
    call: EvaluationCall,
    run_id: str = "",
) -> None:
    """Write where a result comes from.

    Args:
        path: the result's file.
        profile: the settings it was played under.
        checkpoint: its folder; None for a model behind an endpoint.
        run_id: its run in MLflow, if it was tracked.
    """
    from visor_core.evaluation.runner import evaluation_code
    from visor_core.lineage.comparison import rows_version
    from visor_core.policies.identity import digest_of

    known = read_builds(home)
    made, given = _made_from(home, call, result, checkpoint, known)
    fingerprint = digest_of({"episodes": result.identity, "label": call.label})
    stored: dict[str, Any] = {
        "asset": EVALUATION,
        "partition": "",
        "fingerprint": fingerprint,
        "data_version": rows_version(result.episodes),
        "code_version": evaluation_code(),
        "path": path.relative_to(home.root).as_posix(),
        "seed": result.seed,
        "index_tag": result.index_tag,
        "seconds": round(result.wall_seconds, 2),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "upstream": {build.node: build.data_version for build in made},
        "fingerprints": {build.node: build.fingerprint for build in made},
        "settings": {
            "agent": profile.agent.model_dump(mode="json"),
            "index": profile.index.model_dump(mode="json"),
            "temperature": call.temperature,
            "questions": call.limit,
        },
        "profile": profile.name,
        "configuration": profile.model_dump(mode="json"),
        **provenance(),
        "code_versions": {EVALUATION: evaluation_code()},
        "in_effect": _in_effect(profile, call) if checkpoint else {},
        "mlflow": {"run": run_id},
        "call": asdict(call),
        "from_outside": given,
    }
    if not any(build.stage == "page_index" for build in made):
        stored |= _corpus_as_it_is(home, call.corpus)
    write_json(home.evaluations / "lineage" / f"{fingerprint}.json", stored)


def kept_lineages(home: Home) -> dict[Path, dict[str, Any]]:
    """What `keep_lineage` has written, by the result's resolved file; of one file the newest."""
    found: dict[Path, dict[str, Any]] = {}
    for path in (home.evaluations / "lineage").glob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        place = (home.root / told["path"]).resolve()
        if place not in found or told["created"] > found[place]["created"]:
            found[place] = told
    return found


def _made_from(
    home: Home, call: EvaluationCall, result: BenchmarkResult, checkpoint: Path | None, known: dict[Made, Build]
) -> tuple[list[Build], dict[str, str]]:
    """The builds an evaluation stands on, and by hash what came from outside the graph."""
    from visor_core.errors import DataError
    from visor_core.evaluation.importing import digest_of_source
    from visor_core.policies.identity import checkpoint_digest

    made, given = [], dict[str, str]()
    if checkpoint is not None:
        own = [b for b in known.values() if b.folder(home) == checkpoint.resolve() and b.stage != "champion_model"]
        try:
            made.append(own[0] if own else find_build(home, str(checkpoint.resolve()), known))
        except DataError:
            given["checkpoint"] = checkpoint_digest(checkpoint, home.digests)
    else:
        given["policy" if call.policy else "server"] = result.policy
    index = [b for b in known.values() if b.node == f"page_index[{call.corpus}]"]
    made += [b for b in index if b.stored.get("index_tag") == result.index_tag][:1]
    if call.questions:
        given["questions"] = digest_of_source(Path(call.questions))
    else:
        asked = [b for b in known.values() if b.node == f"questions[{call.corpus}]"]
        made += sorted(asked, key=lambda b: str(b.stored["created"]))[-1:]
    return made, given


def _corpus_as_it_is(home: Home, corpus: str) -> dict[str, Any]:
    """Documents and settings of a corpus that was ingested outside the graph."""
    from visor_core.index import Corpus, read_settings
    from visor_core.index.register import recorded_documents

    store = Corpus(home.corpus(corpus))
    held = read_settings(store)
    sections = {"documents": held.documents, "index": held.index}
    return {
        "documents": recorded_documents(store),
        "corpus_settings": {n: s.model_dump(mode="json") for n, s in sections.items() if s is not None},
    }


def _in_effect(profile: Profile, call: EvaluationCall) -> dict[str, Any]:
    """What decides rounding in this process, beside the machine and the packages."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "processes": 1,
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": profile.model.dtype,
    }
