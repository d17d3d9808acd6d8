"""Why two builds differ: in code, data, configuration, seed, package or machine, and where their ancestries part.

Each build is compared by what decided it, as its lineage records: the settings that entered its fingerprint, not the
whole profile, so that what could not matter is not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visor_core.lineage.graph import Build, Lineage
from visor_core.lineage.listing import code_line
from visor_core.lineage.machine import kind_differences

REASONS = ("code", "data", "configuration", "seed", "package", "machine")
"""In the order in which they explain: what comes later may follow from what comes before."""
NAMED = 12
"""Documents and packages that are named in one line of a difference."""


@dataclass(frozen=True)
class Difference:
    """Two lineages compared. `reasons` holds the lines of each reason that applies, `parts` the first stage in which
    they part (empty where nothing does), `same` whether both targets hold the same data.
    """

    first: Build
    second: Build
    same: bool
    parts: str
    reasons: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """All of it, a line each."""
        pair = f"{self.first.made} and {self.second.made}"
        if self.first.made == self.second.made:
            return f"{pair} are one build"
        if self.first.node != self.second.node:
            held = "the same data" if self.same else "different data"
            lines = [f"{pair} are two stages, with {held}: compared is what both are made from"]
        else:
            lines = [f"{pair}: {'the same data' if self.same else 'different data'}"]
        lines.append(
            f"they part in {self.parts}" if self.parts else "they part nowhere: every stage compared is the same"
        )
        for reason in REASONS:
            found = self.reasons[reason]
            lines.append(f"{reason}: {'the same' if not found else ''}".rstrip())
            lines += [f"  {line}" for line in found]
        return "\n".join(lines)


def compare_lineages(first: Lineage, second: Lineage) -> Difference:
    """Say why the targets of two lineages differ; builds are paired by node."""
    one, other = first.by_node(), second.by_node()
    if first.target.node != second.target.node:
        # Two stages differ in everything that is theirs: what can be compared is what both are made from.
        shared = one.keys() & other.keys()
        one, other = ({node: build for node, build in side.items() if node in shared} for side in (one, other))
    reasons: dict[str, dict[str, None]] = {reason: {} for reason in REASONS}
    parts = ""
    for node in [*one, *(node for node in other if node not in one)]:
        before, after = one.get(node), other.get(node)
        if before is None or after is None:
            there = "first" if before else "second"
            reasons["code"][f"{node}: only the {there} is made from it"] = None
            parts = parts or f"{node}, which only the {there} is made from"
            continue
        if not parts and before.data_version != after.data_version:
            parts = node
        for reason, lines in _reasons(node, before, after).items():
            reasons[reason] |= dict.fromkeys(lines)
    return Difference(
        first.target,
        second.target,
        first.target.data_version == second.target.data_version,
        parts,
        {reason: tuple(lines) for reason, lines in reasons.items()},
    )


def _reasons(node: str, before: Build, after: Build) -> dict[str, list[str]]:
    """What differs between two builds of one node, by reason."""
    one, other = before.stored, after.stored
    code = []
    if before.stored["code_version"] != after.stored["code_version"]:
        code.append(f"{node}: {one['code_version']} → {other['code_version']}")
        if one["code"] != other["code"]:
            code.append(f"commit {code_line(before)} → {code_line(after)}")
    packages = dict(python=one["python"], **one["packages"]), dict(python=other["python"], **other["packages"])
    seed = [f"{one['seed']} → {other['seed']}"] if one["seed"] != other["seed"] else []
    return {
        "code": code,
        "data": _data(node, one, other),
        "configuration": [f"{node}: {line}" for line in changes(_flat(one["settings"]), _flat(other["settings"]))],
        "seed": seed,
        "package": changes(*packages),
        "machine": [*kind_differences(one["machine"], other["machine"]), *_in_effect(node, one, other)],
    }


def _in_effect(node: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Threads, processes and precision that differ; GPU and capability are the machine's."""
    return [f"{node}: {line}" for line in changes(one.get("in_effect") or {}, other.get("in_effect") or {})]


def _data(node: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Documents and questions that came from outside and differ. What differs upstream is said there."""
    lines = []
    if "documents" in one and "documents" in other and not one["upstream"] and not other["upstream"]:
        names = [{row["document_id"]: row["filename"] for row in side["documents"]} for side in (one, other)]
        for sign, held, lacking in (("-", names[0], names[1]), ("+", names[1], names[0])):
            only = [f"{name} ({document_id[:12]})" for document_id, name in held.items() if document_id not in lacking]
            if only:
                lines.append(f"{node}: {sign} {_few(only)}")
    given = one.get("from_outside") or {}, other.get("from_outside") or {}
    lines += [f"{node}: {line}" for line in changes(*given)]
    return lines


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys of two mappings whose values differ, as `key: old → new`.

    >>> changes({"steps": 3, "beta": 0}, {"steps": 4, "beta": 0, "rank": 8})
    ['steps: 3 → 4', 'rank: nothing → 8']
    """
    return [
        f"{key}: {before.get(key, 'nothing')} → {after.get(key, 'nothing')}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
