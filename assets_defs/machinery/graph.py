"""The graph of stages, as they declare it: the order they run in, and which nodes are up to date."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache
from graphlib import TopologicalSorter

import assets_defs
from assets_defs.machinery.builds import Builds, find_record
from assets_defs.machinery.stage import Node, Stage
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError, DataError


@cache
def stages() -> dict[str, Stage]:
    """Every stage by name, upstream first: those that modules of `assets_defs` declare as `STAGE`."""
    modules = [
        importlib.import_module(f"assets_defs.{found.name}") for found in pkgutil.iter_modules(assets_defs.__path__)
    ]
    declared: dict[str, Stage] = {module.STAGE.name: module.STAGE for module in modules if hasattr(module, "STAGE")}
    order = TopologicalSorter({name: stage.deps for name, stage in declared.items()}).static_order()
    return {name: declared[name] for name in order}


def depths() -> dict[str, int]:
    """How many stages stand above each one, along the longest way."""
    found: dict[str, int] = {}
    for name, stage in stages().items():
        found[name] = max((found[above] + 1 for above in stage.deps), default=0)
    return found


def plan(profile: Profile, select: Sequence[str] = (), corpus: str = "") -> list[Node]:
    """The nodes of a run in order: the selected stages and all they need, or everything.

    `corpus` restricts partitioned stages to one corpus, which need not be one of the profile's.

    Raises:
        ConfigError: if a selected stage does not exist or does not belong to the profile.
    """
    known = stages()
    for name in select:
        if name not in known:
            raise ConfigError(f"no asset {name!r}: choose from {', '.join(known)}")
        if not known[name].applies(profile):
            raise ConfigError(f"the asset {name!r} does not belong to the profile {profile.name!r}")
    chosen = [known[name] for name in select] or list(known.values())
    waiting = [
        node
        for stage in chosen
        for node in ([Node(stage.name, corpus)] if corpus and stage.partitioned else stage.nodes(profile))
    ]
    needs: dict[Node, tuple[Node, ...]] = {}
    while waiting:
        node = waiting.pop()
        if node not in needs:
            needs[node] = known[node.stage].inputs(profile, node.partition)
            waiting.extend(needs[node])
    return _in_order(profile, needs)


def _in_order(profile: Profile, needs: dict[Node, tuple[Node, ...]]) -> list[Node]:
    """Upstream first; what belongs to one corpus, or to none, after each other for as long as it can, as each such
    group is one run; then the least deep."""
    depth = depths()
    group = min(depth[name] for name, stage in stages().items() if stage.partitioned)
    corpora = {name: number for number, name in enumerate((profile.corpora.train, profile.corpora.development))}

    def urgency(node: Node) -> tuple[int, int, str, int]:
        if not node.partition:
            return depth[node.stage], -1, "", 0
        return group, corpora.get(node.partition, len(corpora)), node.partition, depth[node.stage]

    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ready: list[Node] = []
    ordered: list[Node] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        last = ordered[-1].partition if ordered else ""
        ready.sort(key=lambda node: (node.partition != last, urgency(node)))
        ordered.append(ready.pop(0))
        sorter.done(ordered[-1])
    return ordered


def is_current(node: Node, profile: Profile, home: Home) -> bool:
    """Whether a node stands (`is_built`), is the one put in force last, and Dagster and MLflow know it.

    Raises:
        ConfigError: if MLflow is a server that does not answer.
    """
    from assets_defs.machinery.history import is_told
    from assets_defs.machinery.relogging import is_logged
    from visor_core.tracking import configured

    try:
        record = Builds(home, profile).find(node)
        if record is None or find_record(home, node) != record:
            return False  # also where other settings were in force since: Dagster is told which build holds now
    except DataError:
        return False
    known = is_built(node, profile, home) and is_told(home, record)
    return known and is_logged(home, record, configured(profile.tracking.uri))


def is_built(node: Node, profile: Profile, home: Home) -> bool:
    """Whether a build from exactly the code, settings and upstream data of now is in force, complete and whole."""
    from assets_defs.machinery.losses import stands

    try:
        record = Builds(home, profile).find(node)
    except DataError:
        return False
    if record is None or record.incomplete or stages()[node.stage].watching(profile, node.partition):
        return False
    return stands(home, record)


def summary_order(nodes: Iterable[Node]) -> list[Node]:
    """Nodes by stage, then partition: the order of a summary."""
    order = list(stages())
    return sorted(nodes, key=lambda n: (order.index(n.stage), n.partition))
