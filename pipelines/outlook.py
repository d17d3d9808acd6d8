"""What a profile's chain is due for: which nodes are out of date and why, and which of them can run now.

The answer comes from the builds alone, as everywhere: a node is due where no build of today's code, configuration and
upstream data is in force. What fails a check is not tried again until something changes: it holds up what reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assets_defs.machinery.builds import Builds, find_record, outcomes_of, verdict
from assets_defs.machinery.graph import is_current, plan, stages
from assets_defs.machinery.inbox import WATCHED, watched_state
from assets_defs.machinery.losses import lost, stands
from assets_defs.machinery.stage import Node
from visor_core.config import Home, Profile

GOAL = "champion_model"
"""What retraining is for."""


@dataclass(frozen=True)
class Outlook:
    """Nodes that are out of date, upstream first, and nodes that a failed check holds back, each with the reason."""

    due: Mapping[Node, str] = field(default_factory=dict)
    held: Mapping[Node, str] = field(default_factory=dict)

    def reason(self) -> str:
        """Why nothing is run, or what is, in a line."""
        if self.due:
            return "; ".join(f"{node}: {why}" for node, why in self.due.items() if why != UPSTREAM)
        if self.held:
            return "; ".join(f"{node} is not in force: {why}" for node, why in self.held.items())
        return "documents, questions, code and configuration are those of the builds in force"


UPSTREAM = "its upstream is out of date"


def why_stale(node: Node, profile: Profile, home: Home) -> str:
    """Why a run of a node whose upstream is in force makes it, or checks it again; "" if it does not.

    Raises:
        DataError: if a record cannot be read.
        ConfigError: if MLflow is a server that does not answer.
    """
    builds = Builds(home, profile)
    if why := _due(node, profile, home, builds) or _failed(node, profile, home, builds):
        return why
    if is_current(node, profile, home):
        return ""
    if stages()[node.stage].watching(profile, node.partition):
        return "it reads an inbox: whether something changed is seen as it runs"
    return "its build stands, and is told to Dagster, to MLflow or as the one in force"


def look(profile: Profile, home: Home) -> Outlook:
    """The nodes of a profile's chain that are due.

    Raises:
        DataError: if a record cannot be read.
    """
    builds = Builds(home, profile)
    due: dict[Node, str] = {}
    held: dict[Node, str] = {}
    waiting: set[Node] = set()
    for node in plan(profile, [GOAL]):
        needs = stages()[node.stage].inputs(profile, node.partition)
        if any(need in held or need in waiting for need in needs):
            waiting.add(node)
        elif any(need in due for need in needs):
            due[node] = UPSTREAM
        elif why := _due(node, profile, home, builds):
            due[node] = why
        elif failed := _failed(node, profile, home, builds):
            held[node] = failed
    return Outlook(due, held)


def next_runs(profile: Profile, due: Mapping[Node, str]) -> dict[str, list[Node]]:
    """What can run now, by corpus ("" for what has none): due nodes with nothing due above them in another run."""
    ready: dict[str, list[Node]] = {}
    for node in due:
        needs = stages()[node.stage].inputs(profile, node.partition)
        above = [need for need in needs if need in due]
        if all(need in ready.get(node.partition, []) for need in above):
            ready.setdefault(node.partition, []).append(node)
    return ready


def _due(node: Node, profile: Profile, home: Home, builds: Builds) -> str:
    """Why a node whose upstream is in force has to run; "" if it has not."""
    stage = stages()[node.stage]
    record = builds.built(node)
    if record is None:
        return _changed(node, profile, home, builds)
    if gone := lost(home, record):
        return f"it has lost files: {gone[0]}"
    if not stands(home, record):
        return "other settings have replaced its output since"
    if record.incomplete:
        return f"it is incomplete: {record.incomplete}"
    if stage.watching(profile, node.partition) and watched_state(node, home) != record.figures.get(WATCHED, ""):
        return "what lies in its inbox changed"
    outcomes = outcomes_of(home, record)
    unjudged = [name for name in record.checks if verdict(outcomes, name, record, profile.checks) is None]
    return f"to be judged: {', '.join(unjudged)}" if unjudged else ""


def _failed(node: Node, profile: Profile, home: Home, builds: Builds) -> str:
    """The blocking checks that a node's build failed, as text."""
    record = builds.built(node)
    assert record is not None
    outcomes = outcomes_of(home, record)
    failed = [name for name in record.checks if verdict(outcomes, name, record, profile.checks) is False]
    return f"{', '.join(failed)} failed" if failed else ""


def _changed(node: Node, profile: Profile, home: Home, builds: Builds) -> str:
    """How today's build would differ from the one that was in force last."""
    stage = stages()[node.stage]
    last = find_record(home, node)
    if last is None:
        return "there is no build in force"
    upstream = builds.versions(stage.inputs(profile, node.partition))
    changed = sorted(name for name in upstream if last.upstream.get(name) != upstream[name])
    if changed:
        return f"{', '.join(changed)} changed"
    return "its code changed" if last.code_version != stage.version else "its configuration changed"
