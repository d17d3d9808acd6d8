"""A lineage as text for a terminal, and as JSON for programs: every build, down to the hashes of the documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from visor_core.lineage.graph import Build, Lineage
from visor_core.lineage.machine import SAME_KIND

SHOWN_DOCUMENTS = 20
"""Documents of a corpus that the text names; JSON and HTML name all."""


def listing(lineage: Lineage) -> str:
    """The ancestry as a tree, the target first; what was printed once is named only."""
    known = {build.made: build for build in lineage.builds}
    seen: set[Any] = set()
    lines = list(_tree(lineage.target, known, seen, "", ""))
    lines += [f"missing: {made}, data {made.data_version}: its lineage is not kept here" for made in lineage.missing]
    return "\n".join([*lines, "", *_made_by(lineage)])


def _tree(build: Build, known: dict[Any, Build], seen: set[Any], first: str, further: str) -> Iterator[str]:
    again = build.made in seen
    seen.add(build.made)
    yield f"{first}{build.node}  {build.fingerprint}  data {build.data_version}{' (above)' if again else ''}"
    if again:
        return
    above = [known[made] for made in build.upstream if made in known]
    bar = "│ " if above else "  "
    for line in facts(build):
        yield f"{further}{bar}  {line}"
    for number, upstream in enumerate(above):
        last = number == len(above) - 1
        yield from _tree(
            upstream, known, seen, f"{further}{'└─' if last else '├─'} ", f"{further}{'   ' if last else '│  '}"
        )


def facts(build: Build, shown: int = SHOWN_DOCUMENTS) -> list[str]:
    """What a person wants to know of one build, a line each."""
    stored = build.stored
    told = [
        f"made {stored['created']} in {stored.get('seconds', 0):.1f} s, seed {stored['seed']},"
        f" code {stored['code_version']}"
    ]
    if weights := stored.get("weights"):
        told.append(f"weights {weights[:16]}")
    if tag := stored.get("index_tag"):
        told.append(f"index {tag}")
    names = {"MLflow": stored.get("mlflow", {}), "Dagster": stored.get("dagster", {})}
    ids = [f"{name} {kind} {value}" for name, found in names.items() for kind, value in found.items() if value]
    if ids:
        told.append(", ".join(ids))
    if effect := stored.get("in_effect"):
        told.append(", ".join(f"{name} {value}" for name, value in effect.items()))
    documents = stored.get("documents", [])
    if documents:
        told.append(f"{len(documents)} documents")
        told += [f"  {row['document_id']} {row['filename']}" for row in documents[:shown]]
        if len(documents) > shown:
            told.append(f"  and {len(documents) - shown} more (--json names all)")
    return told


def _made_by(lineage: Lineage) -> list[str]:
    """Code, Python, packages and machine, once for all builds that share them."""
    lines = []
    for name, read in (("code", code_line), ("machine", machine_line), ("packages", packages_line)):
        groups: dict[str, list[str]] = {}
        for build in lineage.builds:
            groups.setdefault(read(build), []).append(build.node)
        for text, nodes in groups.items():
            of = "" if len(groups) == 1 else f" ({', '.join(nodes)})"
            lines.append(f"{name}: {text}{of}")
    return lines


def code_line(build: Build) -> str:
    """The commit of a build's code."""
    code = build.stored["code"]
    commit = code["commit"] or "no repository"
    return f"{commit}, with changes that were not committed" if code["dirty"] else commit


def machine_line(build: Build) -> str:
    """The machine of a build, shortly."""
    machine = build.stored["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    kind = ", ".join(str(machine[name]) for name in SAME_KIND[:2])
    return f"{machine['processor'] or kind}, {machine['cores']} cores, {len(machine['extensions'])} extensions, {gpus}"


def packages_line(build: Build) -> str:
    """Python and how many packages, with the versions of those that compute."""
    packages = build.stored["packages"]
    telling = [f"{name} {packages[name]}" for name in ("torch", "transformers", "trl", "lancedb") if name in packages]
    return f"Python {build.stored['python']}, {len(packages)} packages ({', '.join(telling)})"


def lineage_json(lineage: Lineage) -> dict[str, Any]:
    """The whole of a lineage: the target's name, every build's file as stored, and what is missing."""
    return {
        "target": lineage.target.made._asdict(),
        "builds": [{"file": str(build.file), **build.stored} for build in lineage.builds],
        "missing": [made._asdict() for made in lineage.missing],
    }
