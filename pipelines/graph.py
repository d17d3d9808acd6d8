"""The stages of the asset graph in the order they run, and which of them are up to date."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from assets_defs.stage import Node, Stage, find_record
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError, DataError

ORDER = (
    "nano_corpus",
    "base_model",
    "retriever",
    "documents",
    "pages",
    "page_index",
    "questions",
    "teacher_trajectories",
    "sft_dataset",
    "sft_checkpoint",
    "grpo_checkpoint",
    "benchmark_results",
    "champion_model",
)


def stages() -> dict[str, Stage]:
    """Every stage by name, upstream first."""
    return {name: importlib.import_module(f"assets_defs.{name}").STAGE for name in ORDER}


def plan(profile: Profile, select: Sequence[str] = (), corpus: str = "") -> list[Node]:
    """The nodes of a run in order: the selected stages and all they need, or everything.

    `corpus` restricts partitioned stages to one corpus, which need not be one of the profile's.

    Raises:
        ConfigError: if a selected stage does not exist or does not belong to the profile.
    """
    known = stages()
    for name in select:
        if name not in known:
            raise ConfigError(f"no asset {name!r}: choose from {', '.join(ORDER)}")
        if not known[name].applies(profile):
            raise ConfigError(f"the asset {name!r} does not belong to the profile {profile.name!r}")
    chosen = [known[name] for name in select] or list(known.values())
    wanted: set[Node] = set()
    waiting = [
        node
        for stage in chosen
        for node in ([Node(stage.name, corpus)] if corpus and stage.partitioned else stage.nodes(profile))
    ]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting.extend(known[node.stage].inputs(profile, node.partition))
    corpora = [profile.corpora.train, profile.corpora.development]
    return sorted(
        wanted,
        key=lambda n: (
            ORDER.index(n.stage) if not n.partition else ORDER.index("documents"),
            corpora.index(n.partition) if n.partition in corpora else len(corpora),
            n.partition,
            ORDER.index(n.stage),
        ),
    )


def fingerprint_of(node: Node, profile: Profile, home: Home) -> str | None:
    """The fingerprint a node would be built with now; None while something upstream is missing."""
    stage = stages()[node.stage]
    upstream: dict[str, str] = {}
    for need in stage.inputs(profile, node.partition):
        record = find_record(home, need)
        if record is None:
            return None
        upstream[str(need)] = record.data_version
    return stage.fingerprint(profile, node.partition, upstream, home)


def is_current(node: Node, profile: Profile, home: Home) -> bool:
    """Whether the record in force was made from exactly the code, settings and upstream data of now, and is there."""
    stage = stages()[node.stage]
    try:
        record = find_record(home, node)
    except DataError:
        return False
    if record is None or stage.watching(profile, node.partition):
        return False
    if not (home.dagster / "history").is_dir():
        return False  # Dagster's own record was removed: a finished build is found again and told to it anew
    return record.fingerprint == fingerprint_of(node, profile, home) and record.folder(home).is_dir()


def summary_order(nodes: Iterable[Node]) -> list[Node]:
    """Nodes by stage, then partition: the order of a summary."""
    return sorted(nodes, key=lambda n: (ORDER.index(n.stage), n.partition))
